"""What goes wrong on a continuous line: shape, size, what moves, and whether material leaves its limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simulators.sensor import stream
from simulators.signals import Truth

UNIT = "cm1"


@dataclass(frozen=True)
class LineFaultKind:
    """A kind of fault at the pace of a real line; with shorter residence times all its times shrink alike."""

    name: str
    what: str
    magnitude: float
    """Share of the flow or of label claim by which it moves what it moves; 1 where it is there or not."""
    rise_s: float
    hold_s: float
    tags: tuple[str, ...]


LINE_FAULTS: dict[str, LineFaultKind] = {
    k.name: k
    for k in (
        LineFaultKind("api_overfeed", "the API feeder gives a quarter too much, and its flow says so", 0.25, 5.0, 150.0, ("api_flow", "nir_api")),
        LineFaultKind("api_bridge", "powder bridges: the API flow falls away, the screw goes to its limit", -0.7, 60.0, 90.0,
                      ("api_flow", "api_screw", "nir_api")),
        LineFaultKind("excipient_low", "the excipient feeder gives too little", -0.15, 10.0, 120.0, ("excipient_flow", "nir_api")),
        LineFaultKind("refill_overfeed", "a refill pushes a third too much through a feeder that nobody weighs", 0.3, 1.0, 20.0,
                      ("api_refill", "nir_api")),
        LineFaultKind("scale_drift", "the API scale loses its calibration: the true flow drifts up and the told one stays", 0.12, 400.0, 300.0,
                      ("nir_api",)),
        LineFaultKind("false_flow", "vibration at the API scale: the told flow jumps and the true one stays", 0.15, 1.0, 90.0, ("api_flow",)),
        LineFaultKind("flow_lost", "the API flow is bad", 1.0, 0.0, 60.0, ("api_flow",)),
        LineFaultKind("nir_lost", "the NIR says nothing", 1.0, 0.0, 90.0, ("nir_api",)),
        LineFaultKind("nir_fouling", "the window of the NIR fouls: it reads less and less", -0.06, 600.0, 120.0, ("nir_api",)),
        LineFaultKind("standstill", "both feeders stop and start again", 1.0, 0.0, 120.0, ("api_flow", "excipient_flow")),
        LineFaultKind("diverter_stuck", "the API feeder gives a quarter too much and the diverter does not move", 0.25, 5.0, 150.0,
                      ("api_flow", "nir_api", "diverter")),
    )
}
"""A register read by name."""


@dataclass(frozen=True)
class LineFault:
    """One fault to happen; `onset_s` since the start of the line, `pace` what a second of the kind takes here."""

    kind: LineFaultKind
    onset_s: float
    pace: float = 1.0

    @property
    def end_s(self) -> float:
        """When its cause is gone."""
        return self.onset_s + (self.kind.rise_s + self.kind.hold_s) * self.pace

    def effect(self, t_s: float) -> float:
        """What it does at `t_s`: 0 outside, a ramp to its magnitude inside.

        >>> [LineFault(LINE_FAULTS["api_bridge"], 10.0).effect(t) for t in (9.0, 40.0, 100.0, 160.5)]
        [0.0, -0.35, -0.7, 0.0]
        """
        since = t_s - self.onset_s
        if since < 0.0 or t_s >= self.end_s:
            return 0.0
        rise = self.kind.rise_s * self.pace
        return self.kind.magnitude * (1.0 if rise == 0.0 else min(1.0, since / rise))

    def truth(self, washed_s: float) -> Truth:
        """Its ground truth; `washed_s`: how long the line remembers."""
        return Truth(self.kind.name, self.onset_s, self.end_s + washed_s, tuple(f"{UNIT}/{t}" for t in self.kind.tags), washed_s)


def line_faults(texts: Sequence[str], seed: int, duration_s: float | None, pace: float) -> tuple[LineFault, ...]:
    """Faults asked for on the command line: `NAME@SECONDS` or `NAME` (a random moment in the last two thirds)."""
    found = []
    for text in texts:
        name, at, when = text.partition("@")
        if name not in LINE_FAULTS:
            raise ValueError(f"--fault: expected one of {', '.join(sorted(LINE_FAULTS))}, found {name!r}")
        try:
            onset = float(when.removesuffix("s")) if at else float(stream(seed, f"fault/{name}").uniform(1 / 3, 0.9)) * (duration_s or 3600.0)
        except ValueError:
            raise ValueError(f"--fault {name}@: expected seconds since start, found {when!r}") from None
        if not (np.isfinite(onset) and onset >= 0.0):
            raise ValueError(f"--fault {name}@: expected seconds >= 0, found {when!r}")
        found.append(LineFault(LINE_FAULTS[name], onset, pace))
    return tuple(found)
