"""Robust z: single wild values against the median and MAD of the last values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from models.baseline import HUGE, SCORE_LIMIT, check_learned, check_rows, enough, floored, offsets
from models.compiled import kernel
from models.model import ModelConfig
from models.state import ArrayState

MAD_SIGMA: Final = 1.4826
"""Sigma over the median absolute deviation of a normal distribution."""
MEAN_SIGMA: Final = 1.2533
"""Sigma over the mean absolute deviation of a normal distribution."""


class RobustZConfig(ModelConfig):
    """Distance of each value from the median of the last `window` values, in robust sigma; it follows the process by design.

    With a `file` median and sigma are those of the training data and stay.

    Finds single values that do not fit; a lasting shift is soon the new normal: prefer EWMA or CUSUM for those. Usual limit: 3.5
    (Iglewicz and Hoaglin, 1993).
    """

    kind: Literal["robust_z"] = "robust_z"
    window: int = Field(60, ge=5, le=10_000)
    """Usable values to compare with; nothing is said before there are as many."""
    min_sigma: float = Field(0.0, ge=0)
    """Least sigma in the tag's unit, e.g. its resolution."""

    @classmethod
    def bank(cls) -> type[RobustZ]:
        """The bank that runs it."""
        return RobustZ


@kernel("int64(float64[::1], int64, int64, float64)")
def place(a: NDArray[np.float64], start: int, n: int, x: float) -> int:
    """Index of the first of the n ascending values from a[start] that is not below x; start + n when all are."""
    # Halving with a product instead of a branch, which the processor could not guess.
    low = start
    while n > 0:
        step = (n + 1) // 2
        low += step * (a[low + step - 1] < x)
        n -= step
    return low


@kernel("float64(float64[::1], int64, int64)")
def median(a: NDArray[np.float64], start: int, n: int) -> float:
    """Median of n ascending values from a[start]."""
    upper: float = a[start + n // 2]
    return upper if n % 2 == 1 else 0.5 * (a[start + n // 2 - 1] + upper)


@kernel("float64(float64[::1], int64, int64, float64)")
def deviation(a: NDArray[np.float64], start: int, n: int, centre: float) -> float:
    """Median absolute deviation of n ascending values from a[start] from their median `centre`.

    The distances below and above the centre are two ascending rows; how many of the smaller half come from the lower row is counted. A bisection
    would look at fewer values, but the processor compares four at a time and has nothing to guess.
    """
    w = a[start : start + n]
    half = n // 2
    lower, upper = w[:half], w[n - half :]
    taken = (n + 1) // 2
    low = 0
    for i in range(half):
        low += (centre - lower[i]) < (upper[i] - centre)
    rest = taken - low
    found: float = -1.0
    if low > 0:
        found = centre - w[half - low]
    if rest > 0:
        found = max(found, w[half + rest - 1] - centre)
    if n % 2 == 1:
        return found
    following = np.inf
    if low < half:
        following = centre - w[half - 1 - low]
    if rest < n - half:
        following = min(following, w[half + rest] - centre)
    return 0.5 * (found + following)


@kernel("void(float64[::1], int64, int64, float64, float64)")
def replace(a: NDArray[np.float64], start: int, n: int, old: float, x: float) -> None:
    """Take `old` out of the n ascending values from a[start] and put x where it belongs.

    Every value moves by one place or none; passing over all of them without a branch was faster than shifting only those that move
    (60 values of noise: 79 ns a row instead of 122, the scores included).
    """
    w = a[start : start + n]
    if x > old:
        for k in range(n - 1):
            here = w[k]
            moved = min(x, w[k + 1])  # x itself where they are equal: 0.0 is not -0.0
            w[k] = moved if (here >= old) & (here < x) else here
        if w[n - 1] < x:
            w[n - 1] = x
    elif x < old:
        for i in range(n - 1):
            k = n - 1 - i
            here = w[k]
            before = w[k - 1]
            w[k] = max(x, before) if (before < old) & (here > x) else here
        if w[0] > x:
            w[0] = x
    else:
        w[place(w, 0, n, old)] = x


@kernel("float64(float64[::1], int64, int64, float64)")
def robust_sigma(a: NDArray[np.float64], start: int, n: int, centre: float) -> float:
    """1.4826 MAD of n ascending values; where more than half are equal, 1.2533 times their mean absolute deviation."""
    mad = deviation(a, start, n, centre)
    if mad > 0.0:
        return MAD_SIGMA * mad
    total = 0.0
    for i in range(start, start + n):
        total += abs(a[i] - centre)
    return MEAN_SIGMA * total / n


@kernel(
    "void(Array(int32, 1, 'C', readonly=True), Array(float64, 1, 'C', readonly=True), Array(uint8, 1, 'C', readonly=True), float64[:, ::1],"
    " float64[::1], int64[::1], float64[:, ::1], int64[::1], int64[::1], float64[::1], float64[::1])"
)
def robust_z(
    slot: NDArray[np.int32],
    value: NDArray[np.float64],
    usable: NDArray[np.uint8],
    out: NDArray[np.float64],
    least: NDArray[np.float64],
    start: NDArray[np.int64],
    fixed: NDArray[np.float64],
    seen: NDArray[np.int64],
    oldest: NDArray[np.int64],
    arrived: NDArray[np.float64],
    ranked: NDArray[np.float64],
) -> None:
    """z = (x - median) / sigma over the window as it was before x; then x replaces the oldest value.

    A slot without a window is static: median and sigma are those in fixed (slots, 2).

    arrived, ranked (sum of windows,)  the window in order of arrival (a ring beginning at `oldest`) and in ascending order
    """
    for i in range(len(slot)):
        s = slot[i]
        x = value[i]
        out[i, 0] = np.nan
        out[i, 1] = np.nan
        out[i, 2] = np.nan
        if usable[i] == 0 or not abs(x) <= HUGE:
            continue
        a = start[s]
        n = start[s + 1] - a
        if n == 0:
            out[i, 0] = min(max((x - fixed[s, 0]) / fixed[s, 1], -SCORE_LIMIT), SCORE_LIMIT)
            out[i, 1] = fixed[s, 0]
            out[i, 2] = fixed[s, 1]
            continue
        if seen[s] < n:
            j = place(ranked, a, seen[s], x)
            for k in range(a + seen[s], j, -1):
                ranked[k] = ranked[k - 1]
            ranked[j] = x
            arrived[a + seen[s]] = x
            seen[s] += 1
            continue
        centre = median(ranked, a, n)
        sigma = floored(robust_sigma(ranked, a, n, centre), centre, least[s])
        out[i, 0] = min(max((x - centre) / sigma, -SCORE_LIMIT), SCORE_LIMIT)
        out[i, 1] = centre
        out[i, 2] = sigma
        at = a + oldest[s]
        replace(ranked, a, n, arrived[at], x)
        arrived[at] = x
        oldest[s] = oldest[s] + 1 if oldest[s] + 1 < n else 0


class RobustZ(ArrayState):
    """Bank of robust z scores (`models/model.py`).

    >>> bank = RobustZ([RobustZConfig(tags=("a",), window=5)])
    >>> out = np.empty((6, 3))
    >>> bank.step(np.zeros(6, np.int32), np.arange(6), np.array([1.0, 5.0, 2.0, 4.0, 3.0, 9.0]), np.ones(6, np.uint8), out)
    >>> out[5, 1:].tolist(), round(float(out[5, 0]), 4)
    ([3.0, 1.4826], 4.0469)
    """

    outputs: ClassVar[tuple[str, ...]] = ("z",)
    units: ClassVar[tuple[str, ...]] = ("",)
    watched: ClassVar[tuple[str, ...]] = ("z",)
    reasons: ClassVar[tuple[str, ...]] = ("expected", "sigma")
    ragged: ClassVar[tuple[str, ...]] = ("arrived", "ranked")

    def __init__(self, configs: Sequence[RobustZConfig]) -> None:
        n = len(configs)
        self._least = np.array([c.min_sigma for c in configs], np.float64)
        self._start = offsets(np.array([c.window if c.file is None else 0 for c in configs], np.int64))
        self._fixed = np.ones((n, 2))
        self._state: dict[str, NDArray[Any]] = {
            # In the order of the kernel's arguments.
            "seen": np.zeros(n, np.int64),
            "oldest": np.zeros(n, np.int64),
            "arrived": np.zeros(int(self._start[-1]), np.float64),
            "ranked": np.zeros(int(self._start[-1]), np.float64),
        }

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(slots,) values each slot keeps."""
        return np.diff(self._start)

    def step(
        self,
        slot: NDArray[np.int32],
        time_ns: NDArray[np.int64],  # noqa: ARG002 - the window counts rows, not seconds
        value: NDArray[np.float64],
        usable: NDArray[np.uint8],
        out: NDArray[np.float64],
    ) -> None:
        """Judge n rows in order; see `models.model.Bank.step`."""
        check_rows(len(self._least), 3, slot, out)
        robust_z(slot, value, usable, out, self._least, self._start, self._fixed, *self._state.values())

    @classmethod
    def train(cls, config: RobustZConfig, time_ns: NDArray[np.int64], value: NDArray[np.float64]) -> dict[str, NDArray[Any]]:  # noqa: ARG003
        """Median and robust sigma of n usable values; see `models.model.Bank.train`."""
        enough(len(value), 10)
        ranked = np.sort(value)
        centre = median(ranked, 0, len(ranked))
        sigma = floored(robust_sigma(ranked, 0, len(ranked), centre), centre, config.min_sigma)
        return {"median": np.array(centre), "sigma": np.array(sigma)}

    def settle(self, slot: int, learned: Mapping[str, NDArray[Any]]) -> None:
        """Take up median and sigma that `train` found; see `models.model.Bank.settle`."""
        check_learned({"median": np.zeros(()), "sigma": np.ones(())}, learned)
        self._fixed[slot] = learned["median"], learned["sigma"]
