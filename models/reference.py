"""The reference rows of a group model: gathered while it runs, standardised, and what is missing in a row filled from the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.baseline import HUGE, check_learned
from models.compiled import kernel
from models.linear import impute
from models.state import take_up

MISSING: Final = 0.2
"""Share of the inputs that may be missing; with more an instant is not evaluated (domain: never taken as normal)."""
GAP_ROWS: Final = 10
"""An interruption is so many times the usual distance between instants."""
MOST_ROWS: Final = 100_000
"""Rows at the most from which models that stack or filter rows are trained: more would not fit a small computer."""
FARTHEST: Final = 1e6
"""Deviations count at most so many standard deviations."""


@kernel(
    "int64(Array(int64, 1, 'C', readonly=True), Array(float64, 2, 'C', readonly=True), Array(uint8, 2, 'C', readonly=True), int64,"
    " float64[:, ::1], int64[::1], int64[::1])"
)
def gather(
    time_ns: NDArray[np.int64],
    value: NDArray[np.float64],
    usable: NDArray[np.uint8],
    begin: int,
    kept: NDArray[np.float64],
    kept_ns: NDArray[np.int64],
    seen: NDArray[np.int64],
) -> int:
    """Keep complete instants from `begin` on until kept (rows, k) is full; seen[0] counts them. Returns the index behind the last looked at."""
    for i in range(begin, len(time_ns)):
        if seen[0] >= len(kept):
            return i
        complete = True
        for j in range(kept.shape[1]):
            if usable[i, j] == 0 or not abs(value[i, j]) <= HUGE:
                complete = False
        if complete:
            for j in range(kept.shape[1]):
                kept[seen[0], j] = value[i, j]
            kept_ns[seen[0]] = time_ns[i]
            seen[0] += 1
    return len(time_ns)


@kernel(
    "boolean(Array(float64, 2, 'C', readonly=True), Array(uint8, 2, 'C', readonly=True), int64, float64[::1], float64[::1], float64[:, ::1],"
    " float64[::1], uint8[::1])"
)
def standardised(
    value: NDArray[np.float64],
    usable: NDArray[np.uint8],
    i: int,
    mean: NDArray[np.float64],
    sd: NDArray[np.float64],
    precision: NDArray[np.float64],
    z: NDArray[np.float64],
    known: NDArray[np.uint8],
) -> bool:
    """Row i in standard deviations, missing inputs at their conditional mean given the others; false when too many are missing."""
    missing = 0
    for j in range(len(z)):
        if usable[i, j] == 0 or not abs(value[i, j]) <= HUGE:
            known[j] = 0
            z[j] = 0.0
            missing += 1
        else:
            known[j] = 1
            z[j] = min(max((value[i, j] - mean[j]) / sd[j], -FARTHEST), FARTHEST)
    if missing == 0:
        return True
    if missing > MISSING * len(z):
        return False
    impute(precision, z, known)
    return True


def usual_step(time_ns: NDArray[np.int64]) -> int:
    """Median distance between the reference instants in ns."""
    return int(np.median(np.diff(time_ns))) if len(time_ns) > 1 else 0


def moments(rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of each column; a constant one gets a spread at which its first change is huge but finite."""
    mean = rows.mean(axis=0)
    sd = rows.std(axis=0, ddof=1)
    return mean, np.maximum(sd, np.maximum(1e-9 * np.abs(mean), 1e-12))


class FirstRows:
    """A group (`models.model.Group`) that keeps its first complete instants, learns from them once and then only judges.

    A model gives its arrays, `_train` (learn from the rows that are kept) and `_judge`, and `_learned` where a file holds more than its arrays.
    """

    def __init__(self, config: Any, k: int, model: Mapping[str, NDArray[Any]], now: Mapping[str, NDArray[Any]]) -> None:
        """`model`: what is learned; `now`: what goes on, `ints` among it, whose first number counts the rows that are kept."""
        self._config = config
        self._model, self._now = dict(model), dict(now)
        rows = config.train_rows if config.file is None else 0
        self._kept: dict[str, NDArray[Any]] = {"kept": np.zeros((rows, k)), "kept_ns": np.zeros(rows, np.int64)}

    def step(self, time_ns: NDArray[np.int64], value: NDArray[np.float64], usable: NDArray[np.uint8], out: NDArray[np.float64]) -> None:
        """Judge n instants in order; see `models.model.Group.step`."""
        begin = 0
        ints = self._now["ints"]
        if ints[0] < len(self._kept["kept"]):
            begin = gather(time_ns, value, usable, 0, self._kept["kept"], self._kept["kept_ns"], ints)
            out[:begin] = np.nan
            if ints[0] == len(self._kept["kept"]):
                self._train()
        self._judge(time_ns, value, usable, begin, out)

    def _train(self) -> None:
        raise NotImplementedError

    def _judge(self, time_ns: NDArray[np.int64], value: NDArray[np.float64], usable: NDArray[np.uint8], begin: int, out: NDArray[np.float64]) -> None:
        """Judge instants from `begin` on."""
        raise NotImplementedError

    def _from(self, time_ns: NDArray[np.int64], value: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        """What it learns from these rows."""
        self._kept = {"kept": np.ascontiguousarray(value), "kept_ns": time_ns}
        self._train()
        return self._learned()

    def settle(self, learned: Mapping[str, NDArray[Any]]) -> None:
        """Take up what `train` found; see `models.model.Group.settle`."""
        own = self._learned()
        check_learned(own, learned)
        for name, array in own.items():
            array[...] = learned[name]
        self._ready()

    def _learned(self) -> dict[str, NDArray[Any]]:
        """The arrays that a file holds, themselves."""
        return dict(self._model)

    def _ready(self) -> None:
        """Work out what follows from the arrays of the model and is kept nowhere."""

    def state(self) -> dict[str, Any]:
        """Everything that `restore` needs, as independent copies."""
        return {name: array.copy() for name, array in (self._model | self._now | self._kept).items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state of `state`; ValueError when it is of another shape."""
        take_up(self._model | self._now | self._kept, state)
        self._ready()
