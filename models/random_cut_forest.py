"""`random_cut_forest`: how much a row would displace in trees of random cuts through the reference rows."""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from models.chance import drawn
from models.compiled import kernel
from models.reference_group import ReferenceConfig, ReferenceGroup, closed, opened


class RandomCutForestConfig(ReferenceConfig):
    """A forest of random cuts over several tags; ratio 1 is the limit, alarm is 1 while 3 of the last 5 instants were above it.

    Finds rows that lie apart from all reference rows whatever shape their cloud has: several operating points, curved relations. Prefer `unit`
    where one operating point and linear relations describe the plant: it is more sensitive there.
    """

    kind: Literal["random_cut_forest"] = "random_cut_forest"
    trees: int = Field(40, ge=1, le=200)
    """Trees; more make the score smoother."""
    sample: int = Field(128, ge=8, le=1024)
    """Reference rows in each tree, drawn at random."""
    seed: int = Field(1, ge=1, le=2_147_483_646)
    """Of the random cuts; the same seed gives the same forest on every computer."""

    @classmethod
    def group(cls) -> type[RandomCutForest]:
        """The model that runs it."""
        return RandomCutForest


SURE: Final = 1e-12
"""A walk ends where the chance that the row has not been cut off yet is less."""


@kernel("void(float64[:, ::1], int64[::1], float64[:, :, ::1])")
def choose(z: NDArray[np.float64], chance: NDArray[np.int64], sample: NDArray[np.float64]) -> None:
    """Draw the rows of each tree, sample (trees, m, k), from z (n, k); a row comes again only when there are not enough."""
    row = np.arange(len(z))
    for t in range(len(sample)):
        for i in range(sample.shape[1]):
            at = i % len(row)
            other = at + int(drawn(chance) * (len(row) - at))
            row[at], row[other] = row[other], row[at]
            for j in range(z.shape[1]):
                sample[t, i, j] = z[row[at], j]


@kernel(
    "void(float64[:, :, ::1], int64[::1], int32[:, ::1], float64[:, ::1], int32[:, :, ::1], int32[:, ::1], float64[:, :, ::1], float64[:, :, ::1])"
)
def grow(
    sample: NDArray[np.float64],
    chance: NDArray[np.int64],
    tag: NDArray[np.int32],
    cut: NDArray[np.float64],
    child: NDArray[np.int32],
    mass: NDArray[np.int32],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
) -> None:
    """Cut each tree's rows apart at random, a tag being drawn by the width of its range (Guha et al., ICML 2016, definition 1).

    sample (trees, m, k); per node (2 m - 1): tag and value of its cut, two children (-1: a leaf), rows in it, their lowest and highest values
    """
    trees, m, k = sample.shape
    rows = np.empty((m, k))
    waiting = np.empty((2 * m, 3), np.int64)
    for t in range(trees):
        for i in range(m):
            for j in range(k):
                rows[i, j] = sample[t, i, j]
        nodes = 1
        depth = 1
        waiting[0, 0] = 0
        waiting[0, 1] = 0
        waiting[0, 2] = m
        while depth > 0:
            depth -= 1
            node = waiting[depth, 0]
            a = waiting[depth, 1]
            b = waiting[depth, 2]
            mass[t, node] = b - a
            child[t, node, 0] = -1
            child[t, node, 1] = -1
            whole = 0.0
            for j in range(k):
                low[t, node, j] = rows[a, j]
                high[t, node, j] = rows[a, j]
            for i in range(a + 1, b):
                for j in range(k):
                    low[t, node, j] = min(low[t, node, j], rows[i, j])
                    high[t, node, j] = max(high[t, node, j], rows[i, j])
            for j in range(k):
                whole += high[t, node, j] - low[t, node, j]
            if not whole > 0.0:
                continue
            left = drawn(chance) * whole
            j = 0
            while j < k - 1 and left > high[t, node, j] - low[t, node, j]:
                left -= high[t, node, j] - low[t, node, j]
                j += 1
            while not high[t, node, j] > low[t, node, j]:
                j -= 1  # the rounded sum fell behind the last tag that has a width
            at = low[t, node, j] + left
            if not at < high[t, node, j]:
                at = low[t, node, j]
            tag[t, node] = j
            cut[t, node] = at
            middle = a
            for i in range(a, b):
                if rows[i, j] <= at:
                    for c in range(k):
                        rows[i, c], rows[middle, c] = rows[middle, c], rows[i, c]
                    middle += 1
            for side in range(2):
                child[t, node, side] = nodes
                waiting[depth, 0] = nodes
                waiting[depth, 1] = a if side == 0 else middle
                waiting[depth, 2] = middle if side == 0 else b
                nodes += 1
                depth += 1


@kernel(
    "float64(float64[::1], int32[:, ::1], float64[:, ::1], int32[:, :, ::1], int32[:, ::1], float64[:, :, ::1], float64[:, :, ::1], float64[::1])"
)
def displacement(
    x: NDArray[np.float64],
    tag: NDArray[np.int32],
    cut: NDArray[np.float64],
    child: NDArray[np.int32],
    mass: NDArray[np.int32],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    share: NDArray[np.float64],
) -> float:
    """Expected collusive displacement of x (k,), mean over the trees; share (k,) becomes the part of each tag, negative where x lies below.

    A tree is not touched: on the way down, the chance that a random cut would part x from the rows of a node is worked out, and with it the
    rows that would be displaced (Guha et al., ICML 2016, theorem 3 and definition 4).
    """
    k = len(x)
    trees = len(mass)
    over = np.empty(k)
    for j in range(k):
        share[j] = 0.0
    total = 0.0
    for t in range(trees):
        node = 0
        reach = 1.0
        most = 0.0
        while True:
            outside = 0.0
            width = 0.0
            for j in range(k):
                over[j] = max(x[j] - high[t, node, j], 0.0) - max(low[t, node, j] - x[j], 0.0)
                outside += abs(over[j])
                width += high[t, node, j] - low[t, node, j]
            if outside > 0.0:
                chance = outside / (outside + width)
                found = reach * chance * max(most, np.float64(mass[t, node]))
                total += found
                part = found / outside
                for j in range(k):
                    share[j] += part * over[j]
                reach *= 1.0 - chance
                if reach < SURE:
                    break
            if child[t, node, 0] < 0:
                total += reach * most  # as one of the rows of this leaf, where anything is left of the chance
                break
            side = 0 if x[tag[t, node]] <= cut[t, node] else 1
            mine = child[t, node, side]
            most = max(most, mass[t, child[t, node, 1 - side]] / (mass[t, mine] + 1.0))
            node = mine
    for j in range(k):
        share[j] /= max(total, 1e-300)
    return total / trees


@kernel(
    "void(float64[:, ::1], float64[::1], int32[:, ::1], float64[:, ::1], int32[:, :, ::1], int32[:, ::1], float64[:, :, ::1], float64[:, :, ::1])"
)
def displacements(
    z: NDArray[np.float64],
    out: NDArray[np.float64],
    tag: NDArray[np.int32],
    cut: NDArray[np.float64],
    child: NDArray[np.int32],
    mass: NDArray[np.int32],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
) -> None:
    """Displacement of each row (n, k)."""
    share = np.empty(z.shape[1])
    for i in range(len(z)):
        out[i] = displacement(z[i], tag, cut, child, mass, low, high, share)


@kernel(
    "void(Array(float64, 2, 'C', readonly=True), Array(uint8, 2, 'C', readonly=True), int64, float64[:, ::1], float64[::1], float64[::1],"
    " float64[:, ::1], float64[::1], int64[::1], int32[:, ::1], float64[:, ::1], int32[:, :, ::1], int32[:, ::1], float64[:, :, ::1],"
    " float64[:, :, ::1])"
)
def judge(
    value: NDArray[np.float64],
    usable: NDArray[np.uint8],
    begin: int,
    out: NDArray[np.float64],
    mean: NDArray[np.float64],
    sd: NDArray[np.float64],
    plain: NDArray[np.float64],
    limit: NDArray[np.float64],
    ints: NDArray[np.int64],
    tag: NDArray[np.int32],
    cut: NDArray[np.float64],
    child: NDArray[np.int32],
    mass: NDArray[np.int32],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
) -> None:
    """Judge instants from `begin` on."""
    k = len(mean)
    z = np.empty(k)
    known = np.empty(k, np.uint8)
    share = np.empty(k)
    for i in range(begin, len(value)):
        if not opened(value, usable, i, out, mean, sd, plain, z, known):
            continue
        closed(out, i, displacement(z, tag, cut, child, mass, low, high, share), share, limit, ints)


class RandomCutForest(ReferenceGroup):
    """Model of one unit (`models.model.Group`); `score` is the expected displacement in rows, shares are of the tags that lie outside."""

    def __init__(self, config: RandomCutForestConfig, k: int) -> None:
        super().__init__(config, k, {"sample": np.zeros((config.trees, config.sample, k))})
        nodes = 2 * config.sample - 1
        self._forest: tuple[NDArray[Any], ...] = (
            np.zeros((config.trees, nodes), np.int32), np.zeros((config.trees, nodes)), np.full((config.trees, nodes, 2), -1, np.int32),
            np.zeros((config.trees, nodes), np.int32), np.zeros((config.trees, nodes, k)), np.zeros((config.trees, nodes, k)),
        )  # fmt: skip

    def _ready(self) -> None:
        grow(self._model["sample"], np.array([self._config.seed], np.int64), *self._forest)

    def _fit(self, rows: NDArray[np.float64], used: NDArray[np.bool_]) -> None:
        choose(rows[used], np.array([self._config.seed], np.int64), self._model["sample"])
        self._ready()

    def _scores(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        out = np.empty(len(rows))
        displacements(rows, out, *self._forest)
        return out.reshape(-1, 1)

    def _judge(
        self,
        time_ns: NDArray[np.int64],  # noqa: ARG002 - rows stand for themselves
        value: NDArray[np.float64],
        usable: NDArray[np.uint8],
        begin: int,
        out: NDArray[np.float64],
    ) -> None:
        m = self._model
        judge(value, usable, begin, out, m["mean"], m["sd"], m["plain"], m["limit"], self._now["ints"], *self._forest)
