"""Residence times: which share of what enters a unit at once has left it after a time (ICH Q13, residence time distribution).

Three forms: tanks in series with a dead time, axial dispersion, a measured tracer curve. Units in a row convolve: means and variances add.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from models.limits import gamma_share

Float64 = NDArray[np.float64]

WASHED: Final = 0.9995
"""Share of what entered at which a curve is cut off; what is left goes with its last step."""
LONGEST: Final = 20_000
"""Steps that a curve may have at most."""


class _Unit(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Tanks(_Unit):
    """Tanks in series behind a dead time; the number of tanks need not be whole (gamma distribution).

    >>> blender = Tanks(tau_s=120, tanks=3)
    >>> [round(blender.left(t), 4) for t in (60, 120, 240)]
    [0.1912, 0.5768, 0.938]
    """

    kind: Literal["tanks"] = "tanks"
    """Tanks in series: blenders, feed frames, hoppers."""
    tau_s: Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]
    """Mean residence time at nominal flow behind the dead time, s: hold-up over flow."""
    tanks: Annotated[float, Field(ge=0.5, le=200, allow_inf_nan=False)] = 1.0
    """Number of tanks; 1 is one well-mixed vessel, large numbers are a plug."""
    dead_s: Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)] = 0.0
    """Time in which nothing of it leaves, s: chutes, belts, pipes."""

    def left(self, t_s: float) -> float:
        """Share that has left after `t_s` seconds at nominal flow."""
        since = t_s - self.dead_s
        if self.tau_s == 0.0:
            return 1.0 if since >= 0.0 else 0.0
        return gamma_share(self.tanks * since / self.tau_s, self.tanks)


class Dispersion(_Unit):
    """Plug flow with axial dispersion, open at both ends: E = sqrt(Pe / (4 pi theta)) exp(-Pe (1 - theta)^2 / (4 theta)), theta = t / tau.

    Its mean is tau (1 + 2 / Pe): what disperses upstream comes later.
    """

    kind: Literal["dispersion"] = "dispersion"
    """Axial dispersion: screws, tubes, roller compactors' feed."""
    tau_s: Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
    """Hold-up over nominal flow, s."""
    peclet: Annotated[float, Field(gt=0.1, le=2000, allow_inf_nan=False)]
    """Peclet number: large is a plug."""

    def left(self, t_s: float) -> float:
        """Share that has left after `t_s` seconds at nominal flow."""
        theta = t_s / self.tau_s
        if theta <= 0.0:
            return 0.0
        # The integral of E in closed form, by the normal distribution, as theta E is the density of an inverse Gaussian variable.
        a = math.sqrt(self.peclet / (2.0 * theta))
        below, mirrored = 0.5 * math.erfc(a * (1.0 - theta) / math.sqrt(2.0)), a * (1.0 + theta)
        tail = math.exp(self.peclet - mirrored * mirrored / 2.0) * _mills(mirrored)
        return min(1.0, max(0.0, below - tail))


def _mills(x: float) -> float:
    """Upper tail of the normal distribution over exp(-x^2 / 2), for x > 0, without underflow."""
    if x < 25.0:
        return 0.5 * math.erfc(x / math.sqrt(2.0)) * math.exp(x * x / 2.0)
    return (1.0 - 1.0 / x**2 + 3.0 / x**4) / (x * math.sqrt(2.0 * math.pi))


def equivalent_tanks(peclet: float) -> float:
    """Tanks in series of the same variance as axial dispersion between closed ends: 1 / (2/Pe - 2/Pe^2 (1 - exp(-Pe))).

    >>> [round(equivalent_tanks(pe), 2) for pe in (5, 20, 50)]
    [3.12, 10.53, 25.51]
    """
    return 1.0 / (2.0 / peclet - 2.0 / peclet**2 * (1.0 - math.exp(-peclet)))


class Measured(_Unit):
    """A tracer curve: what came out of a unit after a pulse at its inlet, baseline taken off."""

    kind: Literal["measured"] = "measured"
    """A measured tracer curve, straight between its points."""
    time_s: tuple[Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)], ...]
    """Seconds since the pulse at nominal flow, rising."""
    tracer: tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...]
    """Concentration at the outlet at these times, any unit."""

    @model_validator(mode="after")
    def _curve(self) -> Measured:
        if len(self.time_s) != len(self.tracer) or len(self.time_s) < 3:
            raise ValueError(f"as many points in time_s as in tracer, at least 3, found {len(self.time_s)} and {len(self.tracer)}")
        if any(b <= a for a, b in zip(self.time_s, self.time_s[1:], strict=False)) or not any(self.tracer):
            raise ValueError("time_s rising and a tracer above 0, found another curve")
        return self

    def left(self, t_s: float) -> float:
        """Share that has left after `t_s` seconds at nominal flow."""
        t, c = np.array(self.time_s), np.array(self.tracer)
        parts = 0.5 * (c[1:] + c[:-1]) * np.diff(t)
        if t_s <= t[0]:
            return 0.0
        if t_s >= t[-1]:
            return 1.0
        i = int(np.searchsorted(t, t_s, side="right")) - 1
        at = c[i] + (c[i + 1] - c[i]) * (t_s - t[i]) / (t[i + 1] - t[i])
        return float((parts[:i].sum() + 0.5 * (c[i] + at) * (t_s - t[i])) / parts.sum())


Residence = Annotated[Tanks | Dispersion | Measured, Field(discriminator="kind")]
"""One unit of a train; `kind` says which form."""


def shares(unit: Tanks | Dispersion | Measured, step_s: float, stretch: float = 1.0) -> Float64:
    """(k,) share of what entered in one step that leaves in each step behind; they sum to 1. `stretch`: factor on all its times.

    ValueError when the curve is longer than LONGEST steps.
    """
    found: list[float] = []
    before = 0.0
    while before < WASHED:
        if len(found) == LONGEST:
            raise ValueError(f"a residence time of at most {LONGEST} steps of {step_s:g} s, found {before:.1%} left behind them")
        reached = unit.left((len(found) + 1) * step_s / stretch)
        found.append(reached - before)
        before = reached
    found[-1] += 1.0 - before
    return np.array(found)


def train(units: Sequence[Tanks | Dispersion | Measured], step_s: float, stretch: float = 1.0) -> Float64:
    """(k,) shares of units in a row; none: what enters leaves in the same step."""
    whole = np.ones(1)
    for unit in units:
        whole = np.convolve(whole, shares(unit, step_s, stretch))
    cut = int(np.searchsorted(np.cumsum(whole), WASHED)) + 1
    if cut > LONGEST:
        raise ValueError(f"a residence time of at most {LONGEST} steps of {step_s:g} s, found {cut}")
    whole[cut - 1] += whole[cut:].sum()
    return np.ascontiguousarray(whole[:cut])


def quantile(left: Callable[[float], float], share: float, high_s: float = 1.0) -> float:
    """Seconds after which `share` has left.

    >>> [round(quantile(Tanks(tau_s=120, tanks=3).left, p), 1) for p in (0.005, 0.995)]
    [13.5, 371.0]
    """
    while left(high_s) < share:
        high_s *= 2.0
    low = 0.0
    for _ in range(100):
        middle = 0.5 * (low + high_s)
        low, high_s = (middle, high_s) if left(middle) < share else (low, middle)
    return 0.5 * (low + high_s)


def tolerated(left: Callable[[float], float], seconds: float, limit: float, horizon_s: float) -> float:
    """The largest step of the feed over `seconds` that moves the outlet by no more than `limit`, in its unit (the funnel plot).

    limit / max over t of F(t) - F(t - d) (Engisch and Muzzio 2016, traceability by residence time distributions). Looked for up to `horizon_s`.

    >>> blender = Tanks(tau_s=120, tanks=3)
    >>> [round(tolerated(blender.left, d, 5.0, 1000.0), 2) for d in (20, 60, 300)]
    [37.14, 12.89, 5.09]
    """
    t = np.linspace(0.0, horizon_s, 4001)
    most = max(left(float(x)) - left(float(x) - seconds) for x in t)
    return limit / most


def described(units: Sequence[Any], step_s: float) -> dict[str, float]:
    """Mean and the times at which 0.5, 50 and 99.5 % have left a train, s."""
    w = train(units, step_s)
    gone = np.cumsum(w)
    at = {f"t{p:g}_s": float((np.searchsorted(gone, p / 100.0) + 1) * step_s) for p in (0.5, 50.0, 99.5)}
    return {"mean_s": float(((np.arange(len(w)) + 0.5) * step_s * w).sum()), **at}
