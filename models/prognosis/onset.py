"""`degradation`: the first lasting departure of a machine's vibration from its own baseline, while it runs (first-degradation alarm)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from models.baseline import HUGE, check_rows
from models.compiled import kernel
from models.model import ModelConfig
from models.prognosis.degradation import NEED, OF, RATIO, SEVERE
from models.state import ArrayState

MOST: Final = 1000
"""Values that a baseline holds at the most."""


class DegradationConfig(ModelConfig):
    """1 when 5 of the last 10 values lie above the limit, or one above four limits; 0 again behind `quiet` values in a row below it.

    The limit is `ratio` times the median of the machine's own first values, and never below `limit`. Take the `level` of a machine, which grows with
    energy and with impacts, or any figure that only grows with wear. The baseline is taken once, anew only when the part is as new. Values of
    a machine at rest (up to `idle`) are passed over: they neither teach nor end anything.
    """

    kind: Literal["degradation"] = "degradation"
    limit: float = Field(0.0, ge=0, le=HUGE)
    """Lowest limit, in the tag's unit, where machines of the same type tell one: judged by it from the first value on. 0: own baseline alone."""
    idle: float = Field(0.0, ge=0, le=HUGE)
    """Values up to this, in the tag's unit, are those of a machine at rest: above what its sensor says at standstill, below what it says running."""
    ratio: float = Field(RATIO, gt=1, le=100)
    """Times its own baseline a machine may become."""
    skip: int = Field(10, ge=0, le=10_000)
    """Values of the run-in, which are no baseline."""
    baseline: int = Field(100, ge=2, le=MOST)
    """Values behind them that are the baseline."""
    quiet: int = Field(360, ge=1, le=1_000_000)
    """Values in a row below the limit that end it: an hour of a value every 10 s."""

    @model_validator(mode="after")
    def _rests_below_its_limit(self) -> Self:
        if self.limit and not self.idle < self.limit:
            raise ValueError(f"idle: expected less than limit ({self.limit:g}), found {self.idle:g}")
        return self

    @model_validator(mode="after")
    def _no_file(self) -> Self:
        if self.file is not None:
            raise ValueError("no file: degradation takes its baseline from the machine itself")
        return self

    @classmethod
    def bank(cls) -> type[Onset]:
        """The bank that runs it."""
        return Onset


@kernel(
    "void(Array(int32, 1, 'C', readonly=True), Array(float64, 1, 'C', readonly=True), Array(uint8, 1, 'C', readonly=True), float64[:, ::1],"
    " float64[:, ::1], int64, int64, float64, float64[:, ::1], int64[:, ::1], int64[:, ::1])"
)
def onset(
    slot: NDArray[np.int32],
    value: NDArray[np.float64],
    usable: NDArray[np.uint8],
    out: NDArray[np.float64],
    options: NDArray[np.float64],
    need: int,
    of: int,
    severe: float,
    known: NDArray[np.float64],
    ints: NDArray[np.int64],
    above: NDArray[np.int64],
) -> None:
    """options (slots, 6): limit, ratio, values skipped, of the baseline, quiet ones, the highest of a machine at rest;

    known (slots, most): the baseline so far, ascending;
    ints (slots, 4): values seen, held, quiet in a row, on; above (slots, of) a ring. The streaming form of `models.prognosis.degradation.watched`.
    """
    for i in range(len(slot)):
        s = slot[i]
        x = value[i]
        for c in range(out.shape[1]):
            out[i, c] = np.nan
        if usable[i] == 0 or not options[s, 5] < x <= 1e150:
            continue
        n, held = ints[s, 0], ints[s, 1]
        if options[s, 2] <= n and held < options[s, 3]:
            at = held
            while at > 0 and known[s, at - 1] > x:
                known[s, at] = known[s, at - 1]
                at -= 1
            known[s, at] = x
            held += 1
        base = 0.5 * (known[s, (held - 1) // 2] + known[s, held // 2]) if held > 0 else 0.0
        ints[s, 0], ints[s, 1] = n + 1, held
        over = max(options[s, 0], options[s, 1] * base)
        if (options[s, 0] == 0.0 and held < options[s, 3]) or not over > 0.0:
            above[s, n % of] = 0
            continue
        weight = need if x > severe * over else 1 if x > over else 0
        above[s, n % of] = weight
        ints[s, 2] = 0 if weight > 0 else ints[s, 2] + 1
        count = 0
        for k in range(of):
            count += above[s, k]
        if count >= need:
            ints[s, 3] = 1
        elif ints[s, 2] >= options[s, 4]:
            ints[s, 3] = 0
        out[i, 0] = ints[s, 3]
        out[i, 1] = min(max(x / over, -1e6), 1e6)
        out[i, 2] = base if held > 0 else np.nan
        out[i, 3] = over


class Onset(ArrayState):
    """Bank of first degradations (`models.model.Bank`).

    >>> bank = Onset([DegradationConfig(tags=("a",), skip=0, baseline=10)])
    >>> out = np.empty((30, 4))
    >>> level = np.where(np.arange(30) < 20, 1.0, 2.5)
    >>> bank.step(np.zeros(30, np.int32), np.arange(30) * 10**9, level, np.ones(30, np.uint8), out)
    >>> out[8:11, 0].tolist(), int(np.flatnonzero(out[:, 0] == 1)[0])
    ([nan, 0.0, 0.0], 24)
    """

    outputs: ClassVar[tuple[str, ...]] = ("degraded", "ratio")
    units: ClassVar[tuple[str, ...]] = ("", "")
    watched: ClassVar[tuple[str, ...]] = ()
    reasons: ClassVar[tuple[str, ...]] = ("baseline", "limit")
    ragged: ClassVar[tuple[str, ...]] = ()

    def __init__(self, configs: Sequence[DegradationConfig]) -> None:
        n = len(configs)
        self._options = np.array([(c.limit, c.ratio, c.skip, c.baseline, c.quiet, c.idle) for c in configs], np.float64).reshape(n, 6)
        self._state: dict[str, NDArray[Any]] = {
            "known": np.zeros((n, MOST)), "ints": np.zeros((n, 4), np.int64), "above": np.zeros((n, OF), np.int64),
        }  # fmt: skip

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(slots,) zeros: nothing is ragged."""
        return np.zeros(len(self._options), np.int64)

    def step(
        self,
        slot: NDArray[np.int32],
        time_ns: NDArray[np.int64],  # noqa: ARG002 - it counts values, not time
        value: NDArray[np.float64],
        usable: NDArray[np.uint8],
        out: NDArray[np.float64],
    ) -> None:
        """Judge n rows in order; see `models.model.Bank.step`."""
        check_rows(len(self._options), 4, slot, out)
        onset(slot, value, usable, out, self._options, NEED, OF, SEVERE, *self._state.values())

    def renew(self, slot: int) -> None:
        """The part is as new: its baseline is taken anew."""
        for array in self._state.values():
            array[slot] = 0
