"""A production hall: five motor control centres, twenty machines behind them, and the power dip that trips them all.

Physics in short. A dip of the mains opens the undervoltage release of every motor control centre (MCC); the sections stay dead until
somebody closes the breakers. Behind a dead section each signal falls, after its own dead time, to its value without power with a first-order
lag, and comes back the same way, four times as fast.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from simulators.faults import Fault
from simulators.sensor import Sensor, stream
from simulators.signals import SECOND_NS, SIMULATED, Emission, Signal, Truth, emission

TICK_NS = SECOND_NS // 5
VOLTAGE_V = 400.0
FAST_S, SLOW_S = 1.0, 5.0
"""Sample periods of machines over OPC UA and of rooms and temperatures over MQTT, seconds."""
RISE_S = 0.2
"""Seconds in which the voltage of a section is gone, and in which it is back."""


@dataclass(frozen=True)
class Kind:
    """One signal that every machine of the hall has."""

    name: str
    unit: str
    high: float
    """Upper end of the range; the lower one is 0."""
    decimals: int
    running: float
    """Value while the machine runs."""
    off: float
    """Value long after the power has gone."""
    limit: float
    """Low limit of its alarm."""
    dead_s: float
    """Seconds from the loss of power until it begins to fall."""
    tau_s: float
    """Time constant of the fall."""
    en: str
    zh: str
    road: Literal["opcua", "mqtt"] = "opcua"
    called: bool = False
    """A person has something to do about it; the others only follow from the loss of power."""

    def crosses_s(self) -> float:
        """Seconds from the loss of power until the limit is crossed.

        >>> round(KINDS[0].crosses_s(), 2)
        2.39
        """
        return self.dead_s + self.tau_s * math.log((self.running - self.off) / (self.limit - self.off))


KINDS = (
    Kind("drive_speed", "%", 120, 1, 80, 0, 40, 1.0, 2.0, "Main drive speed", "主驱动转速"),
    Kind("drive_current", "A", 100, 1, 42, 0, 15, 1.0, 0.5, "Main drive current", "主驱动电流"),
    Kind("drive_torque", "%", 120, 1, 55, 0, 20, 1.0, 0.6, "Main drive torque", "主驱动扭矩"),
    Kind("control_voltage", "V", 30, 1, 24, 0, 21, 4.0, 3.0, "Control voltage", "控制电压"),
    Kind("fan_speed", "%", 120, 1, 70, 0, 30, 1.5, 5.0, "Fan speed", "风机转速"),
    Kind("coolant_flow", "L/min", 50, 1, 20, 0, 10, 2.0, 3.0, "Coolant flow", "冷却水流量"),
    Kind("lube_pressure", "bar", 10, 2, 3.5, 0, 2.0, 3.0, 6.0, "Lubrication pressure", "润滑压力"),
    Kind("hydraulic_pressure", "bar", 200, 0, 120, 0, 80, 3.0, 12.0, "Hydraulic pressure", "液压压力"),
    Kind("air_pressure", "bar", 10, 2, 6.0, 0, 5.0, 5.0, 60.0, "Compressed air pressure", "压缩空气压力"),
    Kind("vacuum", "kPa", 100, 1, 60, 0, 40, 3.0, 10.0, "Vacuum of the transfer", "输送真空度"),
    Kind("feed_rate", "kg/h", 500, 1, 180, 0, 100, 1.5, 4.0, "Feed rate", "进料速率", called=True),
    Kind("exhaust_flow", "m3/h", 5000, 0, 2400, 0, 1600, 2.0, 8.0, "Exhaust air flow", "排风量", called=True),
    Kind("room_dp", "Pa", 50, 1, 15, 0, 8, 10.0, 6.0, "Room differential pressure", "房间压差", road="mqtt", called=True),
    Kind("jacket_temp", "Cel", 120, 1, 60, 22, 55, 12.0, 180.0, "Jacket temperature", "夹套温度", road="mqtt", called=True),
    Kind("product_temp", "Cel", 120, 1, 45, 22, 42, 15.0, 200.0, "Product temperature", "物料温度", road="mqtt", called=True),
)
"""Signals of one machine; each has a low alarm in configs/hall."""

SECTIONS = {
    "mcc1": ("granulator1", "dryer1", "mill1", "blender1"),
    "mcc2": ("press1", "press2", "press3", "press4"),
    "mcc3": ("coater1", "coater2", "solution1", "inspector1"),
    "mcc4": ("blister1", "cartoner1", "weigher1", "labeller1"),
    "mcc5": ("ahu1", "chiller1", "compressor1", "water1"),
}
"""Machines by the motor control centre that feeds them."""


def hall_signals() -> tuple[Signal, ...]:
    """The voltage of each section and the signals of each machine: 305 in all."""
    signals = []
    for section, machines in SECTIONS.items():
        signals.append(Signal(f"{section}/voltage", "V", 0, 500, 0, 0.2, "opcua", "Section voltage", "母线电压"))
        for machine, k in itertools.product(machines, KINDS):
            period_s = SLOW_S if k.road == "mqtt" else FAST_S
            signals.append(Signal(f"{machine}/{k.name}", k.unit, 0, k.high, k.decimals, period_s, k.road, k.en, k.zh,
                                  tag_class="gmp" if k.called else "other"))
    return tuple(signals)


class Hall:
    """The hall, stepped in ticks of 200 ms; the same seed and faults give the same bytes."""

    end_ns: int | None = None

    def __init__(self, seed: int = 1, faults: Sequence[Fault] = ()) -> None:
        self.signals = hall_signals()
        self._faults = tuple(sorted(faults, key=lambda f: f.onset_s))
        self._kinds = [next((k for k in KINDS if s.name.endswith(f"/{k.name}")), None) for s in self.signals]
        self._sensors = [
            Sensor(stream(seed, f"noise/{s.name}"), sigma=0.002 * (s.high - s.low), phi=0.3, low=s.low, high=s.high) for s in self.signals
        ]
        # Machines do not fall in step: each signal keeps within a tenth of its dead time and time constant.
        self._pace = [float(stream(seed, f"pace/{s.name}").uniform(0.9, 1.1)) for s in self.signals]
        self._now_ns = -TICK_NS

    def step(self, until_ns: int) -> Emission:
        """All samples later than the last step and not later than `until_ns` (ns since start)."""
        rows: list[tuple[int, int, float, int]] = []
        while self._now_ns + TICK_NS <= until_ns:
            self._now_ns += TICK_NS
            t_s, tick = self._now_ns / 1e9, self._now_ns // TICK_NS
            for i, s in enumerate(self.signals):
                # Signals take turns, so that each tick carries as many as the next.
                every = round(s.period_s * SECOND_NS / TICK_NS)
                if tick % every != i % every:
                    continue
                rows.append((self._now_ns, i, self._sensors[i].measure(self._true(i, t_s)), SIMULATED))
        return emission(rows)

    def _true(self, i: int, t_s: float) -> float:
        """Value without noise at a moment."""
        begun = [f for f in self._faults if f.onset_s <= t_s]
        kind = self._kinds[i]
        if not begun:
            return VOLTAGE_V if kind is None else kind.running
        dead_for = min(t_s - begun[-1].onset_s, begun[-1].duration_s)
        back_for = max(0.0, t_s - begun[-1].onset_s - begun[-1].duration_s)
        if kind is None:
            left = max(0.0, 1.0 - dead_for / RISE_S)
            return VOLTAGE_V * (left + (1.0 - left) * min(1.0, back_for / RISE_S))
        dead_s, tau_s = kind.dead_s * self._pace[i], kind.tau_s * self._pace[i]
        share = math.exp(-max(0.0, dead_for - dead_s) / tau_s)
        share = 1.0 - (1.0 - share) * math.exp(-back_for / (tau_s / 4.0))
        return kind.off + (kind.running - kind.off) * share

    def truth(self) -> tuple[Truth, ...]:
        """Faults that have begun so far."""
        tags = tuple(s.name for s in self.signals)
        return tuple(Truth(f.name, f.onset_s, f.end_s, tags, round(f.detect_within_s, 3)) for f in self._faults if f.onset_s * 1e9 <= self._now_ns)
