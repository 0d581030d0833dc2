"""The faults of the simulated lines: shape, size, affected tags and when they can be seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from simulators.sensor import stream
from simulators.signals import Truth


@dataclass(frozen=True)
class FaultKind:
    """A kind of fault at its natural pace: an effect that grows over `rise_s`, holds, and fades."""

    name: str
    what: str
    magnitude: float
    """Full effect, as a share (0.08 = 8 %)."""
    rise_s: float
    """Seconds from onset to the full effect."""
    visible_share: float
    """Share of the full effect that stands five sigma out of the noise of the best signal."""
    reaction_s: float
    """Seconds the measuring itself takes: averaging, sample period, alarm delay."""
    settle_s: float
    """Seconds from the end of the cause until the line runs as before."""
    tags: tuple[str, ...]
    """Signals of the unit that move, without the unit's name; model outputs where they are watched."""


KINDS: dict[str, FaultKind] = {
    k.name: k
    for k in (
        FaultKind(
            "punch_sticking", "one station loses force once per turn; its ejection force rises",
            0.09, 5.0, 0.45, 7.5, 8.0,
            ("station_dev", "station_no", "peak_force", "ejection_peak", "force_rsd", "ejection_force"),
        ),
        FaultKind(
            "feeder_starvation", "the feeder bridges: weight and force fall, scatter doubles, fill depth climbs to its limit",
            0.08, 40.0, 0.6, 5.0, 120.0,
            ("main_force", "main_force.ewma.z", "peak_force", "pre_force", "force_rsd", "fill_depth", "tablet_weight",
             "hardness", "thickness", "ejection_force", "ejection_force.ewma.z", "ejection_peak", "drive_torque",
             "hopper_level", "station_dev", "station_no"),
        ),
        FaultKind(
            "low_lubricant", "ejection force and torque rise, later a punch sticks",
            0.75, 2400.0, 0.65, 4.0, 60.0,
            ("ejection_force", "ejection_force.ewma.z", "ejection_peak", "drive_torque", "station_dev", "station_no"),
        ),
        FaultKind(
            "load_cell_drift", "the force reads 1 %/h more; the weight loop compensates and the weight moves the other way",
            0.08, 28800.0, 0.55, 4.5, 120.0,
            ("weight_force_ratio", "tablet_weight", "main_force", "main_force.ewma.z", "peak_force", "fill_depth",
             "hardness", "thickness", "pre_force", "ejection_force", "ejection_force.ewma.z", "ejection_peak",
             "drive_torque", "force_rsd", "station_dev", "station_no"),
        ),
        FaultKind(
            "blend_segregation", "API drifts off at the feed frame near the end of the hopper, the weight does not",
            0.03, 1440.0, 0.75, 6.0, 60.0,
            ("nir_api", "nir_api.ewma.z"),
        ),
    )
}
"""Sizes and times of domain practice for a 36 station press; a register read by name."""

HALL_KINDS: dict[str, FaultKind] = {
    "power_dip": FaultKind(
        "power_dip", "a dip of the mains opens the breakers of all five sections: 305 signals fall below their limits within a minute",
        1.0, 0.2, 1.0, 3.0, 60.0, ("voltage",),
    ),
}
"""The fault of the hall: the sections stay dead until somebody closes the breakers."""
HALL_DEAD_S = 120.0
"""Seconds until they are closed."""

DEMO_TIME_SCALE: dict[str, float] = {
    "punch_sticking": 5.0,  # 5 s -> 1 s
    "feeder_starvation": 20.0,  # 40 s -> 2 s
    "low_lubricant": 600.0,  # 40 min -> 4 s
    "load_cell_drift": 3600.0,  # 8 h -> 8 s: the hour of 1 % passes in a second
    "blend_segregation": 480.0,  # 24 min -> 3 s
}
"""How many seconds of a fault's growth pass in one second of a demo, so that a minute shows all five."""

DEMO_SEVERITY: dict[str, float] = {"blend_segregation": 3.0, "punch_sticking": 1.1}
"""Factor on the magnitude in a demo; 1 where not named. The NIR noise of 1 %LC hides a 3 % drift within seconds."""


@dataclass(frozen=True)
class Fault:
    """One fault to happen; times in seconds since the start of the line."""

    name: str
    onset_s: float
    duration_s: float
    time_scale: float = 1.0
    severity: float = 1.0
    settle_s: float | None = None
    kind: FaultKind = field(init=False)

    def __post_init__(self) -> None:
        known = KINDS | HALL_KINDS
        if self.name not in known:
            raise ValueError(f"fault: expected one of {', '.join(sorted(known))}, found {self.name!r}")
        if self.onset_s < 0.0 or self.duration_s <= 0.0 or self.time_scale <= 0.0:
            raise ValueError(f"fault {self.name}: expected onset >= 0, duration > 0, time scale > 0, found "
                             f"{self.onset_s}, {self.duration_s}, {self.time_scale}")
        object.__setattr__(self, "kind", known[self.name])

    @property
    def rise_s(self) -> float:
        """Seconds from onset to the full effect at this time scale."""
        return self.kind.rise_s / self.time_scale

    @property
    def end_s(self) -> float:
        """Moment at which the line runs as before."""
        return self.onset_s + self.duration_s + self.fade_s + self.recovery_s

    @property
    def recovery_s(self) -> float:
        """Seconds the line needs after the cause has gone."""
        return self.kind.settle_s if self.settle_s is None else self.settle_s

    @property
    def fade_s(self) -> float:
        """Seconds in which the cause goes away: a person cleans, refills, re-zeroes."""
        return min(1.0, self.recovery_s)

    @property
    def detect_within_s(self) -> float:
        """Seconds after onset in which a sound alarm system has called."""
        return self.rise_s * self.kind.visible_share + self.kind.reaction_s

    def effect(self, t_s: float) -> float:
        """Effect at `t_s`, as a share: 0 outside, a ramp to magnitude x severity inside, a short fade after.

        >>> f = Fault("feeder_starvation", 10.0, 100.0)
        >>> [round(f.effect(t), 3) for t in (9.0, 30.0, 60.0, 110.5, 112.0)]
        [0.0, 0.04, 0.08, 0.04, 0.0]
        """
        full = self.kind.magnitude * self.severity
        since = t_s - self.onset_s
        if since <= 0.0:
            return 0.0
        reached = full * min(1.0, min(since, self.duration_s) / self.rise_s)
        if since <= self.duration_s:
            return reached
        left = 1.0 - (since - self.duration_s) / self.fade_s if self.fade_s > 0.0 else 0.0
        return reached * max(0.0, left)

    def truth(self, unit: str) -> Truth:
        """The ground truth line of this fault on one unit."""
        return Truth(self.name, self.onset_s, self.end_s, tuple(f"{unit}/{t}" for t in self.kind.tags),
                     round(self.detect_within_s, 3))


DEMO_DURATION_S = 6.5
DEMO_SETTLE_S = 3.0
DEMO_SLOT_S = DEMO_DURATION_S + 1.0 + DEMO_SETTLE_S
"""Seconds one demo fault occupies: cause, fade, recovery."""


def demo_fault(name: str, onset_s: float) -> Fault:
    """A fault at the pace of the demo."""
    return Fault(name, onset_s, DEMO_DURATION_S, DEMO_TIME_SCALE[name], DEMO_SEVERITY.get(name, 1.0), DEMO_SETTLE_S)


def random_faults(seed: int, duration_s: float, *, lead_s: float = 5.0,
                  names: Sequence[str] = tuple(KINDS)) -> tuple[Fault, ...]:
    """Each named fault once in random order, one in each equal part of the run, at a random moment in it.

    `lead_s` seconds at the start stay free. A run too short for all gets as many as fit without overlap.

    >>> len(random_faults(7, 60.0)), len(random_faults(7, 30.0)), len(random_faults(7, 10.0))
    (5, 2, 0)
    """
    rng = stream(seed, "faults")
    order = rng.permutation(len(names))
    fit = min(len(names), max(0, int((duration_s - lead_s) // DEMO_SLOT_S)))
    part = (duration_s - lead_s) / max(fit, 1)
    return tuple(
        demo_fault(names[int(which)], round(lead_s + place * part + float(rng.uniform(0.0, part - DEMO_SLOT_S)), 3))
        for place, which in enumerate(order[:fit])
    )


def endless_faults(seed: int, *, cycle_s: float = 300.0, cycles: int = 2016) -> tuple[Fault, ...]:
    """All five faults in every cycle, for a run without a set end (a week of 5 minute cycles)."""
    return tuple(
        replace(f, onset_s=round(f.onset_s + cycle * cycle_s, 3))
        for cycle in range(cycles)
        for f in random_faults(seed + cycle, cycle_s)
    )


def fault_from_text(text: str, seed: int, duration_s: float | None) -> tuple[Fault, ...]:
    """Faults asked for on the command line: `NAME@SECONDS`, `NAME` (random moment), `random` (all five
    once) or `endless` (all five in every five minutes).

    >>> fault_from_text("low_lubricant@30", 1, None)[0].onset_s
    30.0
    """
    span = 60.0 if duration_s is None else duration_s
    if text == "random":
        return random_faults(seed, span)
    if text == "endless":
        return endless_faults(seed)
    name, at, when = text.partition("@")
    if name not in KINDS:
        raise ValueError(f"--fault: expected one of {', '.join(sorted(KINDS))} random or endless, found {name!r}")
    if not at:
        return random_faults(seed, max(span, 20.0), names=(name,))
    return (demo_fault(name, _seconds(name, when)),)


def hall_fault_from_text(text: str) -> tuple[Fault, ...]:
    """The fault of the hall asked for on the command line: `power_dip@SECONDS`.

    >>> hall_fault_from_text("power_dip@30")[0].onset_s
    30.0
    """
    name, _, when = text.partition("@")
    if name not in HALL_KINDS:
        raise ValueError(f"--fault: expected {', '.join(f'{known}@SECONDS' for known in HALL_KINDS)}, found {text!r}")
    return (Fault(name, _seconds(name, when), HALL_DEAD_S),)


def _seconds(name: str, when: str) -> float:
    try:
        onset = float(when.removesuffix("s"))
    except ValueError:
        raise ValueError(f"--fault {name}@: expected seconds since start, found {when!r}") from None
    if not (np.isfinite(onset) and onset >= 0.0):
        raise ValueError(f"--fault {name}@: expected seconds >= 0, found {when!r}")
    return onset
