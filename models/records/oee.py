"""`oee`: is the equipment running, and how much of the planned time became good product: availability x performance x quality (ISO 22400-2)."""

from __future__ import annotations

from typing import Any, ClassVar, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from models.compiled import kernel
from models.model import UnlearnedConfig
from models.records.energy import HUGE, counted
from models.records.roles import Counting, PeriodConfig

NEVER: Final = -(2**62)


class OeeConfig(PeriodConfig, UnlearnedConfig):
    """State and OEE of a machine from its state (PackML numbers, or any signal above a threshold) and its counters.

    Planned time is the time of known state outside `unplanned` states; time in which the unit is cleaned, maintained or calibrated is not planned,
    because values of those modes are not judged. It learns nothing.
    """

    kind: Literal["oee"] = "oee"
    roles: ClassVar[tuple[str, ...]] = ("state", "total", "good")
    state: str
    """Tag of the state: a PackML number, or a signal such as a speed with `running_above`."""
    total: str | None = None
    """Tag of the counter of everything made."""
    good: str | None = None
    """Tag of the counter of what is good; needs `total`."""
    running: tuple[float, ...] = (6.0,)
    """States in which it runs; 6 is Execute in PackML."""
    running_above: float | None = None
    """It runs while the state is above this number, whatever `running` says."""
    unplanned: tuple[float, ...] = ()
    """States that are no planned time: no order, no staff."""
    ideal_per_h: float | None = Field(None, gt=0)
    """Pieces an hour at the rated speed; without it performance is not told and counts as 100 %."""
    per: Literal["batch", "phase", "period"] = "period"
    """What is counted together: a batch or a phase of the unit as its text tags tell them, or a period of the clock."""
    every_h: float = Field(8.0, gt=0, le=24 * 31)
    """Hours of a period: a shift."""
    gap_s: float = Field(120.0, gt=0, le=86_400)
    """A state stands for so many seconds at most; what lies beyond is not known and not planned."""
    step_s: float | None = Field(1.0, gt=0)
    """Seconds of the grid on which the last value of each tag is taken."""
    hold_s: float | None = Field(30.0, gt=0)
    """Seconds for which a value is held."""

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.good is not None and self.total is None:
            raise ValueError("good: expected total beside it, found good alone")
        return self

    @classmethod
    def group(cls) -> type[Oee]:
        """The model that runs it."""
        return Oee


@kernel("int64(float64, float64[::1], float64[::1], float64)")
def kind_of(state: float, running: Any, unplanned: Any, above: float) -> int:
    """1 running, 0 planned but not running, -1 not planned; above is NaN when states are listed."""
    for u in unplanned:
        if state == u:
            return -1
    if not np.isnan(above):
        return 1 if state > above else 0
    for r in running:
        if state == r:
            return 1
    return 0


@kernel("void(float64[::1], float64, float64[::1])")
def shares(sums: Any, per_h: float, out: Any) -> None:
    """Availability, performance, quality and OEE in % of sums: planned s, running s, made, good; NaN where unknown; per_h NaN: no ideal rate."""
    for c in range(4):
        out[c] = np.nan
    if sums[0] <= 0.0:
        return
    out[0] = 100.0 * sums[1] / sums[0]
    if sums[2] > 0.0:
        out[2] = 100.0 * min(1.0, sums[3] / sums[2])
    performance = 100.0
    if not np.isnan(per_h):
        if sums[1] > 0.0:
            out[1] = 100.0 * sums[2] / (per_h * sums[1] / 3600.0)
            performance = out[1]
        else:
            performance = 0.0
    quality = out[2] if sums[2] > 0.0 else 100.0
    out[3] = out[0] * performance * quality / 1e4


@kernel(
    "void(Array(int64, 1, 'C', readonly=True), Array(float64, 2, 'C', readonly=True), Array(uint8, 2, 'C', readonly=True), float64[:, ::1],"
    " float64[::1], float64[::1], float64[::1], float64[::1], int64[::1], float64[::1], float64[::1])"
)
def effective(
    time_ns: NDArray[np.int64],
    value: NDArray[np.float64],
    usable: NDArray[np.uint8],
    out: NDArray[np.float64],
    options: NDArray[np.float64],
    running: NDArray[np.float64],
    unplanned: NDArray[np.float64],
    last: NDArray[np.float64],
    last_ns: NDArray[np.int64],
    sums: NDArray[np.float64],
    done: NDArray[np.float64],
) -> None:
    """options (4,): running above, ideal per h, gap ns, 1 with a counter of what is good.

    last, last_ns (3,) of state, total, good; sums (5,): planned s, running s, made, good, stops; done (2,): the last OEE, 1 until it is told.
    """
    share = np.empty(4)
    for i in range(len(time_ns)):
        t = time_ns[i]
        for c in range(out.shape[1]):
            out[i, c] = np.nan
        for j in range(value.shape[1]):
            x = value[i, j]
            if usable[i, j] == 0 or not abs(x) <= HUGE or (j > 0 and x < 0.0):
                continue
            dt = t - last_ns[j]
            if last_ns[j] != NEVER and dt > 0:
                if j > 0:
                    d = counted(x, last[j], 0.0)
                    sums[1 + j] += d
                    if j == 1 and options[3] == 0.0:
                        sums[3] += d
                else:
                    was = kind_of(last[0], running, unplanned, options[0])
                    if dt <= options[2] and was >= 0:
                        sums[0] += 1e-9 * dt
                        if was == 1:
                            sums[1] += 1e-9 * dt
                    if was == 1 and kind_of(x, running, unplanned, options[0]) == 0:
                        sums[4] += 1.0
            last[j] = x
            last_ns[j] = t
        if last_ns[0] == NEVER or usable[i, 0] == 0:
            continue
        out[i, 0] = 1.0 if kind_of(last[0], running, unplanned, options[0]) == 1 else 0.0
        shares(sums, options[1], share)
        for c in range(4):
            out[i, 1 + c] = share[c]
        if done[1] == 1.0:
            out[i, 5] = done[0]
            done[1] = 0.0
        out[i, 6] = sums[0]
        out[i, 7] = sums[1]
        out[i, 8] = sums[4]


class Oee(Counting):
    """Model of one machine (`models.model.Group`): figures of the period so far, and `last`, once for each period that is over."""

    outputs: ClassVar[tuple[str, ...]] = ("running", "availability", "performance", "quality", "oee", "last")
    units: ClassVar[tuple[str, ...]] = ("", "%", "%", "%", "%", "%")
    watched: ClassVar[tuple[str, ...]] = ()
    reasons: ClassVar[tuple[str, ...]] = ("planned_s", "running_s", "stops")

    def __init__(self, config: OeeConfig, k: int) -> None:  # noqa: ARG002
        super().__init__(config)
        c = config
        above, per_h = (np.nan if x is None else x for x in (c.running_above, c.ideal_per_h))
        self._options = np.array([above, per_h, 1e9 * c.gap_s, float(c.good is not None)])
        self._running, self._unplanned = np.array(c.running, np.float64), np.array(c.unplanned, np.float64)
        self._kept: dict[str, NDArray[Any]] = {
            "last": np.zeros(3), "last_ns": np.full(3, NEVER, np.int64), "sums": np.zeros(5), "done": np.zeros(2)
        }  # fmt: skip
        self._state |= self._kept

    def _run(self, time_ns: NDArray[np.int64], value: NDArray[np.float64], usable: NDArray[np.uint8], out: NDArray[np.float64]) -> None:
        effective(time_ns, value, usable, out, self._options, self._running, self._unplanned, *self._kept.values())

    def _turn(self, begin_ns: int, on: bool) -> None:  # noqa: ARG002
        share = np.empty(4)
        shares(self._kept["sums"], float(self._options[1]), share)
        if np.isfinite(share[3]):
            self._kept["done"][:] = share[3], 1.0
        self._kept["sums"][:] = 0.0
