"""`half_space_trees`: how empty the half spaces are in which a row lies, over trees of random halvings."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from models.chance import drawn
from models.compiled import kernel
from models.reference import standardised
from models.reference_group import ReferenceConfig, ReferenceGroup, told


class HalfSpaceTreesConfig(ReferenceConfig):
    """Half-space trees over several tags; ratio 1 is the limit, alarm is 1 while 3 of the last 5 instants were above it.

    The cheapest model of several tags: a walk down each tree. Prefer `random_cut_forest` where few rows teach it, `unit` where relations between
    tags matter more than their ranges.
    """

    kind: Literal["half_space_trees"] = "half_space_trees"
    trees: int = Field(25, ge=1, le=200)
    """Trees; more make the score smoother."""
    height: int = Field(10, ge=2, le=15)
    """Halvings on the way down a tree."""
    sparse: float = Field(0.02, gt=0, lt=1)
    """Share of the reference rows at which a half space is too empty to be halved further."""
    seed: int = Field(1, ge=1, le=2_147_483_646)
    """Of the random halvings; the same seed gives the same trees on every computer."""

    @classmethod
    def group(cls) -> type[HalfSpaceTrees]:
        """The model that runs it."""
        return HalfSpaceTrees


@kernel("void(float64[:, ::1], int64[::1], int32[:, ::1], float64[:, ::1])")
def halve(reach: NDArray[np.float64], chance: NDArray[np.int64], tag: NDArray[np.int32], cut: NDArray[np.float64]) -> None:
    """Draw the halvings of each tree in a space around the reference rows (Tan, Ting and Liu, IJCAI 2011, algorithm 1).

    reach (2, k) lowest and highest of the reference; tag, cut (trees, inner nodes), children of node i are 2 i + 1 and 2 i + 2
    """
    k = reach.shape[1]
    trees, inner = cut.shape
    low = np.empty((inner, k))
    high = np.empty((inner, k))
    for t in range(trees):
        for j in range(k):
            width = reach[1, j] - reach[0, j]
            at = drawn(chance)
            half = 2.0 * max(at, 1.0 - at)
            low[0, j] = reach[0, j] + (at - half) * width
            high[0, j] = reach[0, j] + (at + half) * width
        for i in range(inner):
            if i > 0:
                above = (i - 1) // 2
                for j in range(k):
                    low[i, j] = low[above, j]
                    high[i, j] = high[above, j]
                if i % 2 == 1:
                    high[i, tag[t, above]] = cut[t, above]
                else:
                    low[i, tag[t, above]] = cut[t, above]
            j = min(int(drawn(chance) * k), k - 1)
            tag[t, i] = j
            cut[t, i] = 0.5 * (low[i, j] + high[i, j])


@kernel("void(float64[:, ::1], int32[:, ::1], float64[:, ::1], int32[:, ::1])")
def count(z: NDArray[np.float64], tag: NDArray[np.int32], cut: NDArray[np.float64], mass: NDArray[np.int32]) -> None:
    """Rows (n, k) in each node of each tree, added to mass (trees, nodes)."""
    inner = cut.shape[1]
    for t in range(len(cut)):
        for i in range(len(z)):
            node = 0
            mass[t, 0] += 1
            while node < inner:
                node = 2 * node + (2 if z[i, tag[t, node]] > cut[t, node] else 1)
                mass[t, node] += 1


@kernel("void(int32[:, ::1], float64, int64, float64[:, ::1], float64[:, ::1])")
def weigh(mass: NDArray[np.int32], sparse: float, inner: int, lost: NDArray[np.float64], end: NDArray[np.float64]) -> None:
    """What follows from the rows in each node, (trees, nodes): the bits lost on the way into it, and the emptiness where the walk ends.

    Emptiness of a node of `mass` rows at some depth of a tree of height h over n rows: log2(n) + h - depth - log2(mass), an empty one counting
    as half a row; -1 where the walk goes on.
    """
    height = math.log2(inner + 1.0)
    for t in range(len(mass)):
        n = mass[t, 0]
        for i in range(mass.shape[1]):
            here = max(np.float64(mass[t, i]), 0.5)
            lost[t, i] = 0.0
            end[t, i] = 0.0
            if i > 0 and end[t, (i - 1) // 2] >= 0.0:
                continue  # no walk comes here
            if i > 0:
                lost[t, i] = max(math.log2(mass[t, (i - 1) // 2] / (2.0 * here)), 0.0)
            end[t, i] = -1.0
            if i >= inner or mass[t, i] <= sparse * n:
                end[t, i] = math.log2(max(np.float64(n), 1.0)) + height - math.floor(math.log2(i + 1.0)) - math.log2(here)


@kernel("float64(float64[::1], int32[:, ::1], float64[:, ::1], float64[:, ::1], float64[:, ::1], float64[::1])")
def emptiness(
    x: NDArray[np.float64],
    tag: NDArray[np.int32],
    cut: NDArray[np.float64],
    lost: NDArray[np.float64],
    end: NDArray[np.float64],
    share: NDArray[np.float64],
) -> float:
    """Bits by which the half space of x (k,) holds fewer rows than the fullest could, mean over the trees.

    share (k,) becomes the part of each tag in the halvings that led away from the rows, negative where they led downwards.
    """
    for j in range(len(x)):
        share[j] = 0.0
    total = 0.0
    away = 0.0
    for t in range(len(cut)):
        node = 0
        while end[t, node] < 0.0:
            j = tag[t, node]
            up = x[j] > cut[t, node]
            node = 2 * node + (2 if up else 1)
            away += lost[t, node]
            share[j] += lost[t, node] if up else -lost[t, node]
        total += end[t, node]
    for j in range(len(x)):
        share[j] /= max(away, 1e-300)
    return total / len(cut)


@kernel("void(float64[:, ::1], float64[::1], int32[:, ::1], float64[:, ::1], float64[:, ::1], float64[:, ::1])")
def emptinesses(
    z: NDArray[np.float64],
    out: NDArray[np.float64],
    tag: NDArray[np.int32],
    cut: NDArray[np.float64],
    lost: NDArray[np.float64],
    end: NDArray[np.float64],
) -> None:
    """Emptiness of each row (n, k)."""
    share = np.empty(z.shape[1])
    x = np.empty(z.shape[1])
    for i in range(len(z)):
        for j in range(len(x)):
            x[j] = z[i, j]
        out[i] = emptiness(x, tag, cut, lost, end, share)


@kernel(
    "void(Array(float64, 2, 'C', readonly=True), Array(uint8, 2, 'C', readonly=True), int64, float64[:, ::1], float64[::1], float64[::1],"
    " float64[:, ::1], float64[::1], int64[::1], int32[:, ::1], float64[:, ::1], float64[:, ::1], float64[:, ::1])"
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
    lost: NDArray[np.float64],
    end: NDArray[np.float64],
) -> None:
    """Judge instants from `begin` on."""
    k = len(mean)
    z = np.empty(k)
    known = np.empty(k, np.uint8)
    share = np.empty(k)
    for i in range(begin, len(value)):
        for c in range(out.shape[1]):
            out[i, c] = np.nan
        out[i, 2] = 0.0
        if not standardised(value, usable, i, mean, sd, plain, z, known):
            continue
        score = emptiness(z, tag, cut, lost, end, share)
        told(out, i, score / limit[0], ints)
        out[i, 3] = score
        for j in range(k):
            out[i, 4 + j] = share[j]


class HalfSpaceTrees(ReferenceGroup):
    """Model of one unit (`models.model.Group`); `score` is in bits, shares are of the tags whose halvings led away from the reference."""

    def __init__(self, config: HalfSpaceTreesConfig, k: int) -> None:
        self._inner = inner = 2**config.height - 1
        model: dict[str, NDArray[Any]] = {
            "tag": np.zeros((config.trees, inner), np.int32), "cut": np.zeros((config.trees, inner)),
            "mass": np.zeros((config.trees, 2 * inner + 1), np.int32),
        }  # fmt: skip
        super().__init__(config, k, model)
        self._trees = (model["tag"], model["cut"], np.zeros(model["mass"].shape), np.zeros(model["mass"].shape))

    def _ready(self) -> None:
        weigh(self._model["mass"], self._config.sparse, self._inner, *self._trees[2:])

    def _fit(self, rows: NDArray[np.float64], used: NDArray[np.bool_]) -> None:
        m, z = self._model, rows[used]
        m["mass"][:] = 0
        halve(np.stack([z.min(axis=0), z.max(axis=0)]), np.array([self._config.seed], np.int64), m["tag"], m["cut"])
        count(z, m["tag"], m["cut"], m["mass"])
        self._ready()

    def _scores(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        out = np.empty(len(rows))
        emptinesses(rows, out, *self._trees)
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
        judge(value, usable, begin, out, m["mean"], m["sd"], m["plain"], m["limit"], self._now["ints"], *self._trees)
