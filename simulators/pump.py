"""A pump with its motor, its bearing and the filter before it: process signals each second, a waveform of vibration now and then, faults that grow.

The machine of a plant's utilities: 4 poles on a frequency converter, 1,480 r/min and a little to either side, a 6205 at the drive end. Growth is
exponential, as damage grows, and is over in `GROWS_S` seconds of the line: days of a plant pass in minutes.
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from simulators.rotating import waveform
from simulators.sensor import Sensor, stream
from simulators.signals import SECOND_NS, SIMULATED, Emission, Signal, Truth, emission

UNIT: Final = "pump1"
TOPIC: Final = "plant/pump1/vibration"
SPEED_RPM: Final = 1480.0
SWING_RPM: Final = 25.0
"""By so much the converter moves the speed, within five minutes."""
OUTER: Final = 3.5848
INNER: Final = 5.4152
"""Orders of the races of a 6205: 9 balls of 7.94 mm on 39.04 mm."""
RATE_HZ: Final = 25_600.0
WAVE_S: Final = 1.0
WAVE_EVERY_S: Final = 10.0
WAVE_POINTS: Final = round(RATE_HZ * WAVE_S)
WAVEFORM: Final = "pump1/vibration"
"""Node of the waveform over OPC UA."""
GROWS_S: Final = 300.0
"""Seconds in which a fault is fully grown."""


@dataclass(frozen=True)
class PumpFaultKind:
    """What a fault is, the derived tags by which it is seen, and how soon."""

    name: str
    what: str
    tags: tuple[str, ...]
    within_s: float


KINDS: Final[Mapping[str, PumpFaultKind]] = {
    k.name: k
    for k in (
        PumpFaultKind("outer_spall", "the outer race of the bearing spalls: knocks grow, late the bearing warms up", ("drive_end.outer",), 150.0),
        PumpFaultKind("inner_spall", "the inner race spalls: knocks that follow the shaft", ("drive_end.inner",), 200.0),
        PumpFaultKind("unbalance", "the impeller loses a piece: the vibration at the shaft's speed triples", ("drive_end.velocity",), 260.0),
        PumpFaultKind("filter_clogging", "the filter before the pump clogs: its pressure drop rises from 0.5 to 1.6 kPa, the flow falls a little",
                      ("filter_dp", "filter_dp.wear.rul_low", "filter_dp.wear.health"), 200.0),
    )
}  # fmt: skip

SIGNALS: Final = tuple(
    Signal(f"{UNIT}/{name}", unit, low, high, decimals, 1.0, "mqtt", en, zh, tag_class="other")
    for name, unit, low, high, decimals, en, zh in (
        ("speed", "r/min", 0, 2000, 1, "Speed of the shaft", "轴转速"),
        ("power", "kW", 0, 30, 2, "Motor power", "电机功率"),
        ("energy", "kWh", 0, 1e7, 4, "Energy meter", "电能表"),
        ("bearing_temp", "Cel", 0, 150, 1, "Temperature of the drive end bearing", "驱动端轴承温度"),
        ("flow", "m3/h", 0, 120, 1, "Flow", "流量"),
        ("discharge_pressure", "bar", 0, 10, 2, "Discharge pressure", "出口压力"),
        ("filter_dp", "kPa", 0, 5, 3, "Pressure drop of the filter", "过滤器压差"),
    )
)
_NOISE: Final = {"speed": 0.5, "power": 0.04, "energy": 0.0, "bearing_temp": 0.15, "flow": 0.4, "discharge_pressure": 0.01, "filter_dp": 0.012}


@dataclass(frozen=True)
class PumpFault:
    """One fault that begins at a moment of the line, seconds, and grows until it is full."""

    name: str
    onset_s: float

    def share(self, t_s: float) -> float:
        """How far it has grown: 0 to 1, slowly first.

        >>> f = PumpFault("unbalance", 10.0)
        >>> f.share(5.0), round(f.share(160.0), 2), f.share(1000.0)
        (0.0, 0.12, 1.0)
        """
        x = min(max((t_s - self.onset_s) / GROWS_S, 0.0), 1.0)
        return x if self.name == "filter_clogging" else math.expm1(4.0 * x) / math.expm1(4.0)


def pump_fault(text: str) -> PumpFault:
    """`NAME@SECONDS` of the command line.

    >>> pump_fault("outer_spall@30")
    PumpFault(name='outer_spall', onset_s=30.0)
    """
    name, _, when = text.partition("@")
    if name not in KINDS:
        raise ValueError(f"--fault: expected one of {', '.join(sorted(KINDS))}, found {name!r}")
    try:
        onset = float(when.removesuffix("s"))
    except ValueError:
        onset = math.nan
    if not (math.isfinite(onset) and onset >= 0.0):
        raise ValueError(f"--fault {name}@: expected seconds since the start, found {when!r}")
    return PumpFault(name, onset)


@dataclass(frozen=True)
class Wave:
    """One waveform: ns since the start of the line, and acceleration in m/s2 at RATE_HZ."""

    time_ns: int
    values: NDArray[np.float64]


class Pump:
    """The machine, stepped in seconds; the same seed and faults give the same bytes. Waveforms wait in `waves` after each step."""

    end_ns: int | None = None

    def __init__(self, seed: int = 1, faults: Sequence[PumpFault] = ()) -> None:
        self.signals = SIGNALS
        self.waves: list[Wave] = []
        self._faults = tuple(faults)
        names = [s.name.partition("/")[2] for s in SIGNALS]
        self._sensors = [
            Sensor(stream(seed, f"pump/{n}"), sigma=_NOISE[n], phi=0.3, low=s.low, high=s.high) for n, s in zip(names, SIGNALS, strict=True)
        ]
        self._rng = stream(seed, "pump/vibration")
        self._energy = 1000.0
        self._second = -1

    def grown(self, name: str, t_s: float) -> float:
        """How far faults of a name have grown, 0 to 1."""
        return max((f.share(t_s) for f in self._faults if f.name == name), default=0.0)

    def speed(self, t_s: float) -> float:
        """True speed of the shaft, r/min."""
        return SPEED_RPM + SWING_RPM * math.sin(2 * math.pi * t_s / 300.0)

    def _true(self, t_s: float) -> tuple[float, ...]:
        clogged, spall = self.grown("filter_clogging", t_s), max(self.grown("outer_spall", t_s), self.grown("inner_spall", t_s))
        n = self.speed(t_s) / SPEED_RPM
        power = 11.0 * n**3 * (1 + 0.03 * spall)
        return (
            self.speed(t_s), power, self._energy, 52.0 + 9.0 * max(0.0, spall - 0.8) / 0.2, 62.0 * n * (1 - 0.06 * clogged), 5.1 * n**2,
            0.5 + 1.1 * clogged,
        )  # fmt: skip

    def step(self, until_ns: int) -> Emission:
        """All samples later than the last step and not later than `until_ns` (ns since start)."""
        rows: list[tuple[int, int, float, int]] = []
        self.waves = []
        while (self._second + 1) * SECOND_NS <= until_ns:
            self._second += 1
            t_s, at = float(self._second), self._second * SECOND_NS
            true = self._true(t_s)
            self._energy += true[1] / 3600.0
            for i, value in enumerate(true):
                # A meter counts and has no noise.
                rows.append((at, i, round(value, 4) if SIGNALS[i].unit == "kWh" else self._sensors[i].measure(value), SIMULATED))
            if self._second % int(WAVE_EVERY_S) == int(WAVE_S) + 1:
                self.waves.append(self._wave(t_s - WAVE_S))
        return emission(rows)

    def _wave(self, t_s: float) -> Wave:
        hz = self.speed(t_s + WAVE_S / 2) / 60.0
        outer, inner = self.grown("outer_spall", t_s), self.grown("inner_spall", t_s)
        made = waveform(
            self._rng, seconds=WAVE_S, rate_hz=RATE_HZ, shaft_hz=hz, knocks_hz=(OUTER if outer >= inner else INNER) * hz,
            size=14.0 * max(outer, inner), inner=inner > outer, noise=0.5, shaft=0.35 * (1.0 + 2.5 * self.grown("unbalance", t_s)),
        )  # fmt: skip
        return Wave(int(t_s * SECOND_NS), made)

    def truth(self) -> tuple[Truth, ...]:
        """Faults that have begun so far; they do not end."""
        now = float(max(self._second, 0))
        return tuple(
            Truth(f.name, f.onset_s, max(now, f.onset_s + GROWS_S), tuple(f"{UNIT}/{t}" for t in KINDS[f.name].tags), KINDS[f.name].within_s)
            for f in self._faults
            if f.onset_s <= now
        )


def wave_message(wave: Wave, time_ns: int) -> bytes:
    """A waveform in the binary form for blocks over MQTT: 16 bit numbers with a scale, a checksum behind them."""
    scale = float(np.abs(wave.values).max()) / 32_000.0 or 1.0
    stored = np.round(wave.values / scale).astype("<i2").tobytes()
    head = {
        "t": time_ns, "s": SIMULATED, "n": 1, "k": len(wave.values), "type": "i2", "scale": scale, "axis": {"low": 0.0, "step": 1.0 / RATE_HZ},
        "axis_unit": "s", "unit": "m/s2",
    }  # fmt: skip
    text = json.dumps(head).encode()
    whole = b"PhBk" + struct.pack("<I", len(text)) + text + stored
    return whole + struct.pack("<I", zlib.crc32(whole))


def wave_file(wave: Wave, time_ns: int) -> str:
    """A waveform as the CSV of a source of kind spectra."""
    when = datetime.fromtimestamp(time_ns / 1e9, UTC).isoformat()
    head = [f"# time: {when}", "# axis_unit: s", "# unit: m/s2", f"# status_code: {SIMULATED}", "s,m/s2"]
    return "\n".join([*head, *(f"{i / RATE_HZ:.9f},{a:.6f}" for i, a in enumerate(wave.values))]) + "\n"
