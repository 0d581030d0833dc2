"""`energy`: what a batch, a phase or a day has used, against a baseline that knows how much was made (EnPI, ISO 50001 and 50006)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from models.compiled import kernel
from models.model import UnlearnedConfig
from models.records.roles import Counting, PeriodConfig

NEVER: Final = -(2**62)
HUGE: Final = 1e12
LEAST_R2: Final = 0.75
MOST_CV: Final = 0.2
LEAST_POINTS: Final = 10
"""What a baseline should reach before anything is judged by it."""


class EnergyConfig(PeriodConfig, UnlearnedConfig):
    """kWh of each batch (phase, period) and its quotient with the baseline `base_kwh` + `per_unit_kwh` x production.

    `saved` adds up baseline minus use from batch to batch. A counter may roll over or start anew; an interval over the end of a batch is divided in
    proportion to time. It learns nothing: the baseline is a figure of the configuration, as static factors are.
    """

    kind: Literal["energy"] = "energy"
    roles: ClassVar[tuple[str, ...]] = ("counter", "power", "production")
    counter: str | None = None
    """Tag of an energy meter that counts up; this or `power`."""
    power: str | None = None
    """Tag of a power; integrated by trapezoids, nothing over an interval longer than `gap_s`."""
    production: str | None = None
    """Tag of a counter of what is made, for the baseline."""
    kwh: float = Field(1.0, gt=0)
    """kWh in one unit of the meter, or kW in one unit of the power; 0.001 for Wh and W."""
    rollover: float | None = Field(None, gt=0)
    """Value at which the meter goes back to 0, in its unit."""
    base_kwh: float = Field(0.0, ge=0)
    """Baseline of a batch that makes nothing, kWh."""
    per_unit_kwh: float = Field(0.0, ge=0)
    """Baseline of each unit made, kWh."""
    gap_s: float = Field(600.0, gt=0, le=86_400)
    """Seconds without a value of the power over which nothing is added."""
    step_s: float | None = Field(10.0, gt=0)
    """Seconds of the grid on which the last value of each tag is taken."""
    hold_s: float | None = Field(120.0, gt=0)
    """Seconds for which a value is held."""

    @model_validator(mode="after")
    def _one_meter(self) -> Self:
        if (self.counter is None) == (self.power is None):
            raise ValueError("either counter or power, not both or neither")
        return self

    @classmethod
    def group(cls) -> type[Energy]:
        """The model that runs it."""
        return Energy


@dataclass(frozen=True, slots=True)
class Baseline:
    """base + per_unit x production, kWh; r2 and cv (of the RMSE, ddof 2) of the points behind it."""

    base: float
    per_unit: float
    r2: float
    cv: float
    points: int

    @property
    def sound(self) -> bool:
        """Enough points that lie close enough (ISO 50006, IPMVP)."""
        return self.r2 >= LEAST_R2 and self.cv <= MOST_CV and self.points >= LEAST_POINTS

    def predicted(self, production: float) -> float:
        """kWh that the baseline gives."""
        return self.base + self.per_unit * production


def baseline(production: NDArray[np.float64], energy: NDArray[np.float64]) -> Baseline:
    """Least squares of energy (n,) over production (n,); ValueError below 3 points or where all made the same.

    >>> b = baseline(np.array([10.0, 12, 8, 15, 11, 9]), np.array([1210.0, 1390, 1010, 1690, 1300, 1100]))
    >>> round(b.base, 1), round(b.per_unit, 2), round(b.r2, 4), round(100 * b.cv, 2), round(b.predicted(13.0), 1), b.sound
    (231.6, 97.08, 0.9995, 0.46, 1493.7, False)
    """
    x, y = np.asarray(production, np.float64), np.asarray(energy, np.float64)
    n = len(x)
    if n < 3 or len(y) != n or float(np.ptp(x)) == 0.0:
        raise ValueError(f"baseline: expected 3 or more points of different production, found {n}")
    slope = float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())
    base = float(y.mean() - slope * x.mean())
    rest = y - base - slope * x
    r2 = 1.0 - float((rest**2).sum() / ((y - y.mean()) ** 2).sum()) if float(np.ptp(y)) > 0 else 1.0
    return Baseline(base, slope, r2, float(np.sqrt((rest**2).sum() / (n - 2)) / y.mean()), n)


@kernel("float64(float64, float64, float64)")
def counted(now: float, before: float, rollover: float) -> float:
    """What a counter has gone on by: over its end where it has one, from 0 where it began anew.

    >>> counted(5.0, 3.0, 0.0), counted(2.0, 99_999.0, 100_000.0), counted(2.0, 500.0, 0.0), counted(2.0, 500.0, 100_000.0)
    (2.0, 3.0, 2.0, 2.0)
    """
    d = now - before
    if d < 0.0:
        d = d + rollover if rollover > 0.0 and before > 0.5 * rollover and now < 0.5 * rollover else now
    return max(d, 0.0)


@kernel(
    "void(Array(int64, 1, 'C', readonly=True), Array(float64, 2, 'C', readonly=True), Array(uint8, 2, 'C', readonly=True), float64[:, ::1],"
    " float64[::1], float64[::1], int64[::1], float64[::1])"
)
def used(
    time_ns: NDArray[np.int64],
    value: NDArray[np.float64],
    usable: NDArray[np.uint8],
    out: NDArray[np.float64],
    options: NDArray[np.float64],
    last: NDArray[np.float64],
    last_ns: NDArray[np.int64],
    sums: NDArray[np.float64],
) -> None:
    """options (7,): 1 for a counter, kWh a unit, rollover, gap ns, base, per unit, 1 with a counter of production.

    last, last_ns (2,) value and time of meter and production; sums (9,): kWh and units so far, kWh and units of what came last, 1 when that is not
    told yet, saved kWh, 1 while something is on, its beginning and 1 when an interval across it is open.
    """
    for i in range(len(time_ns)):
        t = time_ns[i]
        for c in range(out.shape[1]):
            out[i, c] = np.nan
        for j in range(value.shape[1]):
            x = value[i, j]
            if usable[i, j] == 0 or not abs(x) <= HUGE or (x < 0.0 and (j == 1 or options[0] == 1.0)):
                continue
            dt = t - last_ns[j]
            if last_ns[j] != NEVER and dt > 0:
                if j == 1:
                    d = counted(x, last[j], 0.0)
                elif options[0] == 1.0:
                    d = options[1] * counted(x, last[j], options[2])
                else:
                    d = options[1] * 0.5 * (x + last[j]) * 1e-9 * dt / 3600.0 if dt <= options[3] else 0.0
                # Of an interval over a beginning the earlier part belongs to what was before.
                before = 0.0
                if sums[8] == 1.0 and sums[7] > last_ns[j]:
                    before = min(1.0, (sums[7] - last_ns[j]) / dt)
                sums[2 + j] += before * d
                sums[j] += (1.0 - before) * d
            last[j] = x
            last_ns[j] = t
        if last_ns[0] == NEVER:
            continue
        out[i, 0] = sums[0]
        whole = last_ns[0] > sums[7] and (options[6] == 0.0 or last_ns[1] > sums[7])
        if sums[4] == 1.0 and whole:
            predicted = options[4] + options[5] * sums[3]
            out[i, 1] = sums[2]
            if predicted > 0.0:
                out[i, 2] = sums[2] / predicted
                sums[5] += predicted - sums[2]
                out[i, 3] = sums[5]
                out[i, 4] = predicted
            out[i, 5] = sums[3]
            sums[4] = 0.0
        if whole:
            sums[8] = 0.0


class Energy(Counting):
    """Model of one meter (`models.model.Group`): `used` counts up, the others come once for each batch that is over."""

    outputs: ClassVar[tuple[str, ...]] = ("used", "batch", "enpi", "saved")
    units: ClassVar[tuple[str, ...]] = ("kWh", "kWh", "", "kWh")
    watched: ClassVar[tuple[str, ...]] = ()
    reasons: ClassVar[tuple[str, ...]] = ("baseline", "production")

    def __init__(self, config: EnergyConfig, k: int) -> None:
        super().__init__(config)
        c = config
        self._options = np.array(
            [
                float(c.counter is not None), c.kwh, (c.rollover or 0.0), 1e9 * c.gap_s, c.base_kwh, c.per_unit_kwh,
                float(c.production is not None and k > 1),
            ]
        )  # fmt: skip
        self._kept: dict[str, NDArray[Any]] = {"last": np.zeros(2), "last_ns": np.full(2, NEVER, np.int64), "sums": np.zeros(9)}
        self._state |= self._kept

    def _run(self, time_ns: NDArray[np.int64], value: NDArray[np.float64], usable: NDArray[np.uint8], out: NDArray[np.float64]) -> None:
        used(time_ns, value, usable, out, self._options, *self._kept.values())

    def _turn(self, begin_ns: int, on: bool) -> None:
        sums = self._kept["sums"]
        if sums[6] == 1.0:
            sums[2:5] = sums[0], sums[1], 1.0
        sums[:2] = 0.0
        # What began before the first value of the meter is not known as a whole.
        sums[6:] = float(on and self._kept["last_ns"][0] != NEVER), float(begin_ns), 1.0
