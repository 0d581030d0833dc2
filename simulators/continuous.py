"""A continuous line: two loss-in-weight feeders, blender with NIR, chute, feed frame, diverter, press. 20 kg/h, 10 % of API.

Physics in short. Feeders wander around their setpoints, are weighed except during refills, and push a little too much while they are refilled.
The blender is three unequal tanks (hold-up 0.8 kg, mean 144 s, as many as 2.6 equal ones), the chute a plug, the feed frame a tank:
dc/dm = (c_in - c) / M in passed mass, so everything waits while nothing flows. The line knows the true content of every gram and where it went.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from simulators.continuous_faults import UNIT, LineFault
from simulators.sensor import Sensor, stream
from simulators.signals import BAD_SENSOR_FAILURE, SECOND_NS, SIMULATED, Emission, Signal, TextValue, Truth, emission

TICK_NS = SECOND_NS // 10
TICK_S = 0.1
API_KG_H = 2.0
EXCIPIENT_KG_H = 18.0
TARGET = 0.1
LIMITS = (95.0, 105.0)
TANKS = (0.5, 0.3, 0.2)
"""Shares of the blender's hold-up."""
ACTUATOR_S = 0.5
"""Seconds the diverter takes."""


@dataclass(frozen=True)
class ContinuousSettings:
    """Size of the line; `FAST` is one that is washed out in a few seconds."""

    blender_s: float = 144.0
    """Mean residence time of the blender, s: hold-up over nominal flow."""
    chute_s: float = 12.0
    frame_s: float = 30.0
    refill_every_s: float = 600.0
    refill_s: float = 15.0
    pace: float = 1.0
    """What a second of a fault takes here."""
    period_s: float = 1.0
    """Sample period of flows; the NIR takes twice as long."""


FAST = ContinuousSettings(blender_s=1.0, chute_s=2.5, frame_s=0.3, refill_every_s=60.0, refill_s=0.3, pace=0.02, period_s=0.1)


def _signal(name: str, unit: str, low: float, high: float, decimals: int, period_s: float, road: str, en: str, zh: str) -> Signal:
    critical = "gmp_critical" if name in ("api_flow", "nir_api") else "gmp"
    return Signal(f"{UNIT}/{name}", unit, low, high, decimals, period_s, road, en, zh, tag_class=critical)  # type: ignore[arg-type]


def continuous_signals(period_s: float) -> tuple[Signal, ...]:
    """All signals of the line; period 0: sent when they change."""
    p = period_s
    return (
        _signal("api_flow", "kg/h", 0, 6, 3, p, "opcua", "API feeder flow", "原料药失重给料流量"),
        _signal("excipient_flow", "kg/h", 0, 40, 2, p, "opcua", "Excipient feeder flow", "辅料失重给料流量"),
        _signal("api_screw", "r/min", 0, 200, 1, p, "opcua", "API feeder screw speed", "原料药给料螺杆转速"),
        _signal("api_hopper", "kg", 0, 10, 3, p, "opcua", "API hopper net weight", "原料药料斗净重"),
        _signal("api_refill", "", 0, 1, 0, 0.0, "opcua", "API hopper is refilled", "原料药料斗补料"),
        _signal("blender_speed", "r/min", 0, 400, 0, p, "opcua", "Blender speed", "混合机转速"),
        _signal("blender_torque", "Nm", 0, 10, 2, p, "opcua", "Blender torque", "混合机扭矩"),
        _signal("nir_api", "%LC", 0, 250, 2, 2 * p, "mqtt", "API behind the blender by NIR", "混合机出口 NIR 含量"),
        _signal("nir_t2", "", 0, 100, 2, 2 * p, "mqtt", "Hotelling T2 of the NIR spectrum", "NIR 光谱 T²"),
        _signal("diverter_command", "", 0, 1, 0, 0.0, "opcua", "Diverter command: 1 diverts", "换向阀指令（1＝剔除）"),
        _signal("diverter", "", 0, 1, 0, 0.0, "opcua", "Diverter feedback: 1 diverts", "换向阀反馈（1＝剔除）"),
        _signal("press_force", "kN", 0, 40, 2, p, "opcua", "Main compression force", "主压力"),
        Signal(f"{UNIT}/phase", "", 0, 0, 0, 0.0, "opcua", "Phase", "工序", kind="text", role="phase"),
    )


NOISE = {
    "api_flow": 0.016, "excipient_flow": 0.10, "api_screw": 0.2, "api_hopper": 0.003, "blender_speed": 0.5, "blender_torque": 0.1, "nir_api": 1.0,
    "nir_t2": 0.6, "press_force": 0.15,
}  # fmt: skip
"""Noise of the instruments, 1 sigma, in their units."""


class Continuous:
    """The line, stepped in ticks of 100 ms; the same seed, settings and commands give the same bytes."""

    end_ns: int | None = None

    def __init__(self, seed: int = 1, settings: ContinuousSettings | None = None, faults: Sequence[LineFault] = ()) -> None:
        self.settings = s = settings or ContinuousSettings()
        self.signals = continuous_signals(s.period_s)
        self._index = {signal.name.rpartition("/")[2]: i for i, signal in enumerate(self.signals)}
        self._faults = tuple(sorted(faults, key=lambda f: f.onset_s))
        self._sensors = {
            n: Sensor(stream(seed, f"noise/{n}"), sigma=sigma, phi=0.2, low=self.signals[self._index[n]].low, high=self.signals[self._index[n]].high)
            for n, sigma in NOISE.items()
        }
        self._wander = {n: stream(seed, f"wander/{n}") for n in ("api", "excipient")}
        self._off = {"api": 0.0, "excipient": 0.0}
        self._refill_at = s.refill_every_s * float(stream(seed, "refill").uniform(0.4, 1.0))
        self._pushed = stream(seed, "pushed")
        self._overfeed = 0.0
        self._refilling_until = -1.0
        self._held = API_KG_H
        nominal_kg_s = (API_KG_H + EXCIPIENT_KG_H) / 3600.0
        self._masses = [share * s.blender_s * nominal_kg_s for share in TANKS]
        self._frame_kg = s.frame_s * nominal_kg_s
        self._chute: deque[tuple[float, float]] = deque([(s.chute_s * nominal_kg_s, 0.0)] if s.chute_s else [])
        self._chute_kg = s.chute_s * nominal_kg_s
        # An empty line is filled with excipient first: the first material is none of the product.
        self._blender = [0.0] * len(TANKS)
        self._frame = 0.0
        self._hopper = 4.0
        self._tick = 0
        self._accept = False
        self._until_ns = 0
        self._position = True
        self._moved_at = -1e9
        self._wanted = True
        self._last: dict[str, float] = {}
        self._phase = ""
        self._kg = dict.fromkeys(("out", "accepted", "diverted", "accepted_outside", "diverted_good", "outside"), 0.0)
        self.content = 0.0
        """True content at the diverter, % of label claim."""

    def command(self, accept: bool, until_ns: int) -> None:
        """What the PLC wants of the diverter, and until which line time it may want to accept without saying so again."""
        self._accept, self._until_ns = accept, until_ns

    @property
    def now_ns(self) -> int:
        """Line time of the next tick."""
        return self._tick * TICK_NS

    def account(self) -> dict[str, float]:
        """Masses in kg: what came out, was accepted and diverted; accepted although outside its limits, diverted although inside; all outside."""
        return {f"{name}_kg": round(kg, 6) for name, kg in self._kg.items()}

    def truth(self) -> tuple[Truth, ...]:
        """Faults that have begun so far."""
        now, s = self._tick * TICK_S, self.settings
        return tuple(f.truth(4.0 * (s.blender_s + s.frame_s) + s.chute_s) for f in self._faults if f.onset_s <= now)

    def step(self, until_ns: int) -> Emission:
        """All samples of the ticks later than the last step and not later than `until_ns`."""
        rows: list[tuple[int, int, float, int]] = []
        texts: list[TextValue] = []
        while self._tick * TICK_NS <= until_ns:
            self._advance(rows)
            if not self._phase:
                self._phase = "running"
                texts.append(TextValue(self._tick * TICK_NS, self._index["phase"], self._phase))
            self._tick += 1
        return emission(rows, texts)

    def _effect(self, name: str) -> float:
        now = self._tick * TICK_S
        return sum(f.effect(now) for f in self._faults if f.kind.name == name)

    def _feed(self, now: float) -> tuple[float, float, bool]:
        """True flows of API and excipient, kg/h, and whether the API hopper is refilled."""
        s = self.settings
        if now >= self._refill_at or any(f.kind.name == "refill_overfeed" and abs(now - f.onset_s) < TICK_S / 2 for f in self._faults):
            self._refill_at = now + s.refill_every_s
            self._refilling_until = now + s.refill_s
            self._overfeed = float(self._pushed.uniform(0.02, 0.08))
        blind = self._effect("refill_overfeed")
        refilling = now < self._refilling_until or blind > 0.0
        for name in self._off:  # true flows wander: AR(1) of 1 % with 5 s
            keep = math.exp(-TICK_S / (5.0 * s.pace))
            self._off[name] = keep * self._off[name] + math.sqrt(1 - keep * keep) * 0.01 * float(self._wander[name].standard_normal())
        api = API_KG_H * (1.0 + self._off["api"] + self._effect("api_overfeed") + self._effect("diverter_stuck") + self._effect("scale_drift"))
        api *= 1.0 + self._effect("api_bridge")
        api *= 1.0 + (max(self._overfeed, blind) if refilling else 0.0)
        excipient = EXCIPIENT_KG_H * (1.0 + 0.5 * self._off["excipient"] + self._effect("excipient_low"))
        return (0.0, 0.0, refilling) if self._effect("standstill") else (max(0.0, api), max(0.0, excipient), refilling)

    def _advance(self, rows: list[tuple[int, int, float, int]]) -> None:
        now = self._tick * TICK_S
        api, excipient, refilling = self._feed(now)
        kg = (api + excipient) * TICK_S / 3600.0
        behind = self._blender[-1]
        if kg > 0.0:
            c = api / (api + excipient) / TARGET * 100.0
            for i, mass in enumerate(self._masses):
                self._blender[i] += (1.0 - math.exp(-kg / mass)) * (c - self._blender[i])
                c = self._blender[i]
            behind = c
            self._frame += (1.0 - math.exp(-kg / self._frame_kg)) * (self._through(kg, c) - self._frame)
            self.content = self._frame
        self._divert(now)
        self._book(kg)
        self._hopper += -api * TICK_S / 3600.0 + (4.0 - self._hopper) * (0.02 if refilling else 0.0)
        self._emit(rows, api, excipient, refilling, behind)

    def _through(self, kg: float, c: float) -> float:
        """A plug: what leaves the chute when so much enters."""
        if not self._chute_kg:
            return c
        self._chute.append((kg, c))
        left, out = kg, 0.0
        while left > 1e-12:
            mass, content = self._chute[0]
            part = min(mass, left)
            out += part * content
            left -= part
            if part >= mass - 1e-15:
                self._chute.popleft()
            else:
                self._chute[0] = (mass - part, content)
        return out / kg

    def _divert(self, now: float) -> None:
        wanted = not (self._accept and self._tick * TICK_NS <= self._until_ns)
        if wanted != self._wanted:
            self._wanted, self._moved_at = wanted, now
        moved = now - self._moved_at >= ACTUATOR_S * min(1.0, 10.0 * self.settings.pace)
        if moved and not self._effect("diverter_stuck"):
            self._position = self._wanted

    def _book(self, kg: float) -> None:
        good = LIMITS[0] <= self.content <= LIMITS[1]
        self._kg["out"] += kg
        self._kg["diverted" if self._position else "accepted"] += kg
        if not good:
            self._kg["outside"] += kg
        if self._position and good:
            self._kg["diverted_good"] += kg
        if not self._position and not good:
            self._kg["accepted_outside"] += kg

    def _emit(self, rows: list[tuple[int, int, float, int]], api: float, excipient: float, refilling: bool, behind: float) -> None:
        told = api / (1.0 + self._effect("scale_drift") / max(1e-9, 1.0 + self._effect("api_overfeed")))
        if refilling and api > 0.0:
            told = self._held  # nobody weighs: the last flow stays
        elif api > 0.0:
            self._held = told
        shown = {
            "api_flow": told * (1.0 + self._effect("false_flow")), "excipient_flow": excipient,
            "api_screw": 80.0 * (1.0 - 1.2 * self._effect("api_bridge")) if api > 0.0 else 0.0, "api_hopper": self._hopper, "blender_speed": 240.0,
            "blender_torque": 3.5, "nir_api": behind + 100.0 * self._effect("nir_fouling"), "nir_t2": 2.0 + 200.0 * abs(self._effect("nir_fouling")),
            "press_force": 12.0 if api + excipient > 0.0 else 0.0,
        }  # fmt: skip
        for name, value in shown.items():
            ticks = max(1, round(self.signals[self._index[name]].period_s / TICK_S))
            if self._tick % ticks:
                continue
            if name.startswith("nir") and self._effect("nir_lost"):
                continue
            read = self._sensors[name].measure(value) if value or name.startswith("nir") else 0.0
            bad = name == "api_flow" and self._effect("flow_lost")
            rows.append((self._tick * TICK_NS, self._index[name], math.nan if bad else read, BAD_SENSOR_FAILURE if bad else SIMULATED))
        for name, switch in (("api_refill", refilling), ("diverter_command", self._wanted), ("diverter", self._position)):
            if self._last.get(name) != float(switch):
                self._last[name] = float(switch)
                rows.append((self._tick * TICK_NS, self._index[name], float(switch), SIMULATED))

