"""The rotary tablet press: 36 stations, weight loop, hopper, feed frame NIR, in-process control, batches and modes.

Physics in short. A tablet's force follows its weight: F_i = F0 (1 + 3 (w_i / w0 - 1)) s_j with station factor
s_j ~ N(1, 0.005); the weight follows fill depth, density and feed. Once a turn a PI controller moves the fill depth so
that the moving mean of the *measured* force stays at its setpoint. All values are typical engineering values.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simulators.faults import Fault
from simulators.press_signals import DIGITAL, NOISE, STATIONS, UNIT, press_signals
from simulators.sensor import Sensor, lag, stream
from simulators.signals import BAD_SENSOR_FAILURE, SECOND_NS, SIMULATED, Emission, TextValue, Truth, emission

TICK_NS = SECOND_NS // 10
TICK_S = 0.1

FORCE_KN = 12.0
WEIGHT_MG = 300.0
FILL_MM = 10.0
EJECTION_N = 200.0
PRE_KN = 2.5
SPEED_RPM = 40.0
FEEDER_RPM = 35.0
TORQUE_PERCENT = 47.0
HARDNESS_N = 100.0
THICKNESS_MM = 4.0

DIE_FILL_SIGMA = 0.007
"""Scatter of a single tablet's weight from die filling; with the balance's 0.7 % a single weighing scatters 1 %."""
BALANCE_SIGMA = 0.007
STATION_EWMA = 0.25
"""Weight of the newest turn in the per-station mean that `station_dev` is taken from."""

DISTURBED_RSD = 3.5
"""Force RSD in percent of one turn above which the feed, not a punch, is at fault: the station means pause."""
NEIGHBOURS = np.array([1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0]) / 8.0
"""Weights of the stations a station is compared with."""


def peak_force(weight_ratio: float, station_factor: float = 1.0) -> float:
    """Main compression force in kN of a tablet that weighs `weight_ratio` times its nominal weight.

    >>> round(peak_force(1.01), 4)
    12.36
    """
    return FORCE_KN * (1.0 + 3.0 * (weight_ratio - 1.0)) * station_factor


@dataclass(frozen=True)
class PressSettings:
    """Pace of everything slow on the press; defaults are a real press, `DEMO` packs a shift into minutes."""

    ipc_period_s: float = 600.0
    """Seconds between in-process controls (weight, hardness, thickness)."""
    loop_s: float = 90.0
    """Closed-loop time constant of the weight loop in seconds."""
    loop_turns: int = 8
    """Turns in the moving mean the weight loop works on."""
    rtd_s: float = 30.0
    """Residence time of the feed frame seen by the NIR, in seconds."""
    batch_s: float = 14400.0
    """Seconds of pressing per batch."""
    changeover_s: float = 1800.0
    """Seconds of cleaning between batches; 0 = the next batch follows at once."""
    refill_s: float = 450.0
    """Seconds from hopper refill to hopper refill."""
    fill_window_mm: tuple[float, float] = (9.5, 10.5)
    """Limits of the recipe for the fill depth."""
    hardness_bad_share: float = 0.5
    """Share of hardness tests on starved, too soft tablets in which they break in the gripper and the value is Bad."""


DEMO = PressSettings(ipc_period_s=2.0, loop_s=4.0, loop_turns=2, rtd_s=1.5, batch_s=300.0, changeover_s=0.0)
"""Settings of the demo: in-process control each 2 s, a batch each 5 min; sample rates and noise are untouched."""


class Press:
    """One press, stepped in ticks of 100 ms; the same seed and settings give the same bytes."""

    end_ns: int | None = None

    def __init__(self, seed: int = 1, settings: PressSettings = DEMO, faults: Sequence[Fault] = ()) -> None:
        self.settings = settings
        self.signals = press_signals(settings.ipc_period_s)
        self._index = {s.name.removeprefix(f"{UNIT}/"): i for i, s in enumerate(self.signals)}
        self._seed = seed
        self._faults = tuple(sorted(faults, key=lambda f: f.onset_s))
        self._sensors = {
            short: Sensor(stream(seed, f"noise/{short}"), sigma=NOISE[short][0], phi=NOISE[short][1], low=s.low, high=s.high)
            for short, s in ((n, self.signals[i]) for n, i in self._index.items())
            if s.kind == "numeric"
        }
        self._jitter = {short: stream(seed, f"jitter/{short}") for short in self._sensors}
        self._period_ticks = {short: max(1, round(self.signals[i].period_s / TICK_S)) for short, i in self._index.items()}
        setup = stream(seed, "setup")
        self.station_factor = 1.0 + 0.005 * setup.standard_normal(STATIONS)
        self.sticking_station = int(setup.integers(STATIONS))
        self._drift_sign = {f: (1.0 if stream(seed, f"sign/{f.onset_s}").random() < 0.5 else -1.0) for f in self._faults}
        self._tablets = stream(seed, "tablets")
        self._ipc = stream(seed, "ipc")
        self._tick = 0
        self._over = 0
        self._turned = 0.0
        self._speed = SPEED_RPM
        self._feeder = FEEDER_RPM
        self._torque = TORQUE_PERCENT
        self._fill = self._fill_sp = FILL_MM
        self._last_error = 0.0
        self._hopper = 70.0
        self._api = 100.0
        self._made = 0
        self._batch = 0
        self._batch_began = 0.0
        self._text: dict[str, str] = {}
        # Measured force, pre-force and ejection force of the tablets of the last second.
        self._second: deque[tuple[float, float, float]] = deque(maxlen=24)
        self._sampled: deque[tuple[float, float]] = deque(maxlen=20)  # weight ratio and force of the last 20 tablets
        self._turn: list[float] = []
        self._turn_means: deque[float] = deque(maxlen=settings.loop_turns)
        self._station_mean = np.zeros(STATIONS)
        self._rsd = 2.2
        self._starved = False
        self._worst = (0, 0.0)
        self._last = (FORCE_KN, EJECTION_N)

    def truth(self) -> tuple[Truth, ...]:
        """Faults that have begun so far."""
        now = self._tick * TICK_S
        return tuple(f.truth(UNIT) for f in self._faults if f.onset_s <= now)

    def step(self, until_ns: int) -> Emission:
        """All samples of the ticks later than the last step and not later than `until_ns`."""
        rows: list[tuple[int, int, float, int]] = []
        texts: list[TextValue] = []
        while self._tick * TICK_NS <= until_ns:
            self._advance()
            self._context(texts)
            self._emit(rows)
            self._tick += 1
        return emission(rows, texts)

    # --- process -----------------------------------------------------------------------------------------------
    def _effect(self, name: str, t_s: float) -> float:
        total = 0.0
        for f in itertools.islice(self._faults, self._over, None):
            if f.onset_s > t_s:
                break
            if f.name == name and t_s < f.end_s:
                total += f.effect(t_s) * (self._drift_sign[f] if name == "blend_segregation" else 1.0)
        return total

    def _batch_time(self, t_s: float) -> tuple[int, float]:
        cycle = self.settings.batch_s + self.settings.changeover_s
        return int(t_s // cycle), t_s % cycle

    def _advance(self) -> None:
        t_s = self._tick * TICK_S
        number, in_batch = self._batch_time(t_s)
        if number != self._batch:
            self._batch, self._made = number, 0
        pressing = in_batch < self.settings.batch_s
        while self._over < len(self._faults) and self._faults[self._over].end_s <= t_s:
            self._over += 1  # faults before this one have faded; a later one that ends earlier is skipped by its own end
        starve = self._effect("feeder_starvation", t_s)
        self._starved = starve > 0.02
        lubricant = self._effect("low_lubricant", t_s)
        stick = self._effect("punch_sticking", t_s)
        drift = self._effect("load_cell_drift", t_s)
        # A punch begins to stick in the last third of a lubrication fault.
        late_stick = 0.04 * max(0.0, lubricant / 0.75 - 0.7) / 0.3

        self._speed = lag(self._speed, SPEED_RPM if pressing else 0.0, TICK_S, 5.0 / 3.0)
        if self._speed < 0.05 and not pressing:
            self._speed = 0.0
        self._feeder = lag(self._feeder, FEEDER_RPM * self._speed / SPEED_RPM, TICK_S, 2.0)
        self._fill = lag(self._fill, self._fill_sp, TICK_S, 2.0 if self.settings.loop_s > 20.0 else 0.5)
        before = self._turned
        self._turned += self._speed / 60.0 * TICK_S
        for k in range(math.floor(before * STATIONS) + 1, math.floor(self._turned * STATIONS) + 1):
            self._press_tablet(k % STATIONS, starve, lubricant, stick, late_stick, drift)
        force = float(np.mean([s[0] for s in self._second])) if self._second else 0.0
        running = self._speed / SPEED_RPM
        load = 0.6 + 0.4 * force / FORCE_KN
        self._torque = lag(self._torque, TORQUE_PERCENT * load * (1.0 + 0.13 * lubricant) * min(1.0, running * 1.5)
                           if running > 0.02 else 0.0, TICK_S, 3.0)
        self._run_hopper(running, starve)
        potency = 100.0 * (1.0 + self._effect("blend_segregation", t_s)) + 0.2 * math.sin(2.0 * math.pi * t_s / 900.0)
        self._api = lag(self._api, potency, TICK_S, self.settings.rtd_s)

    def _run_hopper(self, running: float, starve: float) -> None:
        if starve > 0.0:
            return  # bridged: nothing leaves the hopper
        self._hopper -= 50.0 / self.settings.refill_s * TICK_S * running
        if self._hopper < 30.0:
            self._hopper = 80.0

    def _press_tablet(self, station: int, starve: float, lubricant: float, stick: float, late_stick: float,
                      drift: float) -> None:
        scatter, friction = self._tablets.standard_normal(2)
        sigma = DIE_FILL_SIGMA * (2.0 if starve > 0.02 else 1.0)
        weight = (self._fill / FILL_MM) * (1.0 - starve) * (1.0 + sigma * float(scatter))
        lost = stick + late_stick if station == self.sticking_station else 0.0
        force = peak_force(weight, float(self.station_factor[station])) * (1.0 - lost)
        measured = force * (1.0 + drift)
        ejection = EJECTION_N * math.sqrt(max(force, 0.0) / FORCE_KN) * (1.0 + lubricant) * (1.0 + 7.0 * lost)
        ejection *= 1.0 + 0.03 * float(friction)
        pre = PRE_KN * (1.0 + 1.5 * (weight - 1.0))
        self._second.append((measured, pre, ejection))
        self._sampled.append((weight, measured))
        self._last = (measured, ejection)
        self._turn.append(measured)
        self._made += 1
        if station == STATIONS - 1:
            self._end_turn()

    def _end_turn(self) -> None:
        if len(self._turn) == STATIONS:
            forces = np.array(self._turn)
            mean = float(np.mean(forces))
            self._rsd = 100.0 * float(np.std(forces, ddof=1)) / mean
            even = forces / self.station_factor
            # Against eight neighbours, so that a force that moves during a turn looks the same on all stations.
            deviation = 100.0 * (even / (np.convolve(np.concatenate([even[-4:], even, even[:4]]), NEIGHBOURS, "valid")) - 1.0)
            if self._rsd < DISTURBED_RSD:
                self._station_mean += STATION_EWMA * (deviation - self._station_mean)
            worst = int(np.argmin(self._station_mean))
            self._worst = (worst + 1, float(self._station_mean[worst]))
            self._turn_means.append(mean)
            self._move_fill_depth()
        self._turn.clear()

    def _move_fill_depth(self) -> None:
        """PI controller in velocity form: a share e of force error asks for e / 3 of fill depth."""
        error = (FORCE_KN - float(np.mean(self._turn_means))) / FORCE_KN
        turn_s = 60.0 / SPEED_RPM
        move = 0.2 * (error - self._last_error) + turn_s / self.settings.loop_s * error
        self._last_error = error
        low, high = self.settings.fill_window_mm
        self._fill_sp = min(max(self._fill_sp + FILL_MM * move / 3.0, low), high)

    # --- what the instruments say ------------------------------------------------------------------------------
    def _context(self, texts: list[TextValue]) -> None:
        number, in_batch = self._batch_time(self._tick * TICK_S)
        pressing = in_batch < self.settings.batch_s
        share = in_batch / self.settings.batch_s
        phase = "start_up" if share < 0.02 else "compression" if share < 0.9 else "run_out" if pressing else "cleaning"
        now = {
            "batch": f"TB{self._seed % 100:02d}{number + 1:04d}",
            "phase": phase,
            "mode": "production" if pressing else "cleaning",
        }
        for short, value in now.items():
            if self._text.get(short) != value:
                self._text[short] = value
                texts.append(TextValue(self._tick * TICK_NS, self._index[short], value))

    def _emit(self, rows: list[tuple[int, int, float, int]]) -> None:
        due = [short for short in self._sensors if self._tick % self._period_ticks[short] == 0]
        if "tablet_weight" in due:
            control = self._in_process_control()
        for short in due:
            true = control[short] if short in IPC else self._true(short)
            period_s = self._period_ticks[short] * TICK_S
            early = float(self._jitter[short].uniform(0.0, min(0.02 * period_s, 0.05)))
            # Microseconds: the finest step both protocols and the reference software carry unchanged.
            time_ns = self._tick * TICK_NS - round(early * 1e6) * 1000
            value = true if short in DIGITAL else self._sensors[short].measure(true)
            bad = short == "hardness" and self._starved and self._ipc.random() < self.settings.hardness_bad_share
            rows.append((time_ns, self._index[short], math.nan if bad else value, BAD_SENSOR_FAILURE if bad else SIMULATED))

    def _true(self, short: str) -> float:
        running = self._speed > 0.05
        second = np.mean(self._second, axis=0) if self._second and running else np.zeros(3)
        values: dict[str, float] = {
            "turret_speed": self._speed,
            "main_force": float(second[0]),
            "pre_force": float(second[1]),
            "ejection_force": float(second[2]),
            "fill_depth": self._fill,
            "feeder_speed": self._feeder,
            "hopper_level": self._hopper,
            "drive_torque": self._torque,
            "tablets_made": self._made / 1000.0,
            "force_rsd": self._rsd if running else 0.0,
            "station_dev": self._worst[1] if running else 0.0,
            "station_no": float(self._worst[0]),
            "peak_force": self._last[0] if running else 0.0,
            "ejection_peak": self._last[1] if running else 0.0,
            "nir_api": self._api,
            "room_temp": 21.0,
            "room_rh": 45.0,
        }
        return values[short]

    def _in_process_control(self) -> dict[str, float]:
        """Mean of the last 20 tablets on the balance; hardness and thickness of ten."""
        if not self._sampled:
            return {"tablet_weight": WEIGHT_MG, "weight_force_ratio": 1.0, "hardness": HARDNESS_N, "thickness": THICKNESS_MM}
        weight = float(np.mean([s[0] for s in self._sampled])) * (
            1.0 + BALANCE_SIGMA / math.sqrt(20.0) * float(self._ipc.standard_normal())
        )
        force = float(np.mean([s[1] for s in self._sampled])) / FORCE_KN
        expected = 1.0 + (force - 1.0) / 3.0
        true_force = peak_force(weight) / FORCE_KN
        return {
            "tablet_weight": WEIGHT_MG * weight,
            "weight_force_ratio": weight / expected,
            "hardness": HARDNESS_N * true_force * (1.0 + 0.05 / math.sqrt(10.0) * float(self._ipc.standard_normal())),
            "thickness": THICKNESS_MM * (1.0 - 0.1 * (true_force - 1.0)),
        }


IPC = frozenset({"tablet_weight", "weight_force_ratio", "hardness", "thickness"})
"""Signals of the in-process control, all measured on the same tablets."""
