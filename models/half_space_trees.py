"""`half_space_trees`: how empty the half spaces are in which a row lies, over trees of random halvings."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from models.chance import drawn
from models.compiled import kernel
from models.reference_group import ReferenceConfig, ReferenceGroup, closed, opened


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


@kernel("void(int64[::1], float64[:, ::1], int32[:, ::1])")
def draw(chance: NDArray[np.int64], at: NDArray[np.float64], tag: NDArray[np.int32]) -> None:
    """Draw for each tree where in its space the reference lies, at (trees, k), and the tag of each halving, tag (trees, inner nodes)."""
    for t in range(len(at)):
        for j in range(at.shape[1]):
            at[t, j] = drawn(chance)
        for i in range(tag.shape[1]):
            tag[t, i] = min(int(drawn(chance) * at.shape[1]), at.shape[1] - 1)


@kernel("void(float64[:, ::1], float64[:, ::1], float64, int32[:, ::1], float64[:, ::1], int32[:, ::1])")
def grow(
    z: NDArray[np.float64],
    at: NDArray[np.float64],
    sparse: float,
    tag: NDArray[np.int32],
    cut: NDArray[np.float64],
    mass: NDArray[np.int32],
) -> None:
    """Halve the space around the rows z (n, k) wherever it is not sparse (Tan, Ting and Liu, IJCAI 2011, algorithm 1) and count the rows.

    cut (trees, inner nodes), mass (trees, nodes)  children of node i are 2 i + 1 and 2 i + 2; 0 where nothing is halved any more
    """
    n, k = z.shape
    trees, inner = cut.shape
    low = np.empty(k)
    high = np.empty(k)
    row = np.empty(n, np.int64)
    waiting = np.empty((40, 3), np.int64)
    least = z[0].copy()
    most = z[0].copy()
    for i in range(1, n):
        for j in range(k):
            least[j] = min(least[j], z[i, j])
            most[j] = max(most[j], z[i, j])
    for t in range(trees):
        for j in range(k):
            half = 2.0 * max(at[t, j], 1.0 - at[t, j])
            low[j] = least[j] + (at[t, j] - half) * (most[j] - least[j])
            high[j] = least[j] + (at[t, j] + half) * (most[j] - least[j])
        for i in range(n):
            row[i] = i
        for i in range(mass.shape[1]):
            mass[t, i] = 0
        for i in range(inner):
            cut[t, i] = 0.0
        mass[t, 0] = n
        waiting[0, 0] = 0
        waiting[0, 1] = 0
        waiting[0, 2] = n
        depth = 1
        while depth > 0:
            depth -= 1
            node = waiting[depth, 0]
            a = waiting[depth, 1]
            b = waiting[depth, 2]
            if node >= inner or b - a <= sparse * n:
                continue
            # The nearest halvings above along the same tag bound it.
            j = tag[t, node]
            below = low[j]
            above = high[j]
            bounded_below = False
            bounded_above = False
            here = node
            while here > 0:
                up = (here - 1) // 2
                if tag[t, up] == j:
                    if here % 2 == 1 and not bounded_above:
                        above = cut[t, up]
                        bounded_above = True
                    elif here % 2 == 0 and not bounded_below:
                        below = cut[t, up]
                        bounded_below = True
                here = up
            middle = 0.5 * (below + above)
            cut[t, node] = middle
            first = a
            for i in range(a, b):
                if not z[row[i], j] > middle:
                    row[i], row[first] = row[first], row[i]
                    first += 1
            mass[t, 2 * node + 1] = first - a
            mass[t, 2 * node + 2] = b - first
            waiting[depth, 0] = 2 * node + 1
            waiting[depth, 1] = a
            waiting[depth, 2] = first
            waiting[depth + 1, 0] = 2 * node + 2
            waiting[depth + 1, 1] = first
            waiting[depth + 1, 2] = b
            depth += 2


@kernel("void(int32[:, ::1], float64[:, ::1], int32[:, ::1], float64, int32[:, ::1], float64[:, ::1])")
def flatten(
    tag: NDArray[np.int32],
    cut: NDArray[np.float64],
    mass: NDArray[np.int32],
    sparse: float,
    way: NDArray[np.int32],
    number: NDArray[np.float64],
) -> None:
    """Lay out the nodes that a walk can reach close together, the roots first; both children of a node lie side by side.

    way (nodes, 2)     tag of the halving, and the lower child; -1 where the walk ends
    number (nodes, 3)  where it halves; bits lost on the way into the node, negative into the lower child; emptiness where the walk ends

    Emptiness of a node of `mass` rows at some depth of a tree of height h over n rows: log2(n) + h - depth - log2(mass), an empty one counting
    as half a row.
    """
    trees, inner = cut.shape
    height = math.log2(inner + 1.0)
    most = 1
    for t in range(trees):
        most = max(most, mass[t, 0])
    bits = np.empty(most + 1)
    bits[0] = -1.0
    for i in range(1, most + 1):
        bits[i] = math.log2(np.float64(i))
    waiting = np.empty((40, 3), np.int64)
    nodes = trees
    for t in range(trees):
        n = mass[t, 0]
        waiting[0, 0] = 0
        waiting[0, 1] = t
        waiting[0, 2] = 0
        number[t, 1] = 0.0
        depth = 1
        while depth > 0:
            depth -= 1
            node = waiting[depth, 0]
            place = waiting[depth, 1]
            level = waiting[depth, 2]
            here = mass[t, node]
            if node >= inner or here <= sparse * n:
                way[place, 0] = 0
                way[place, 1] = -1
                number[place, 0] = 0.0
                number[place, 2] = max(bits[n], 0.0) + height - level - bits[here]
                continue
            way[place, 0] = tag[t, node]
            way[place, 1] = nodes
            number[place, 0] = cut[t, node]
            number[place, 2] = 0.0
            for side in range(2):
                lost = max(bits[here] - 1.0 - bits[mass[t, 2 * node + 1 + side]], 0.0)
                number[nodes + side, 1] = lost if side == 1 else -lost
                waiting[depth + side, 0] = 2 * node + 1 + side
                waiting[depth + side, 1] = nodes + side
                waiting[depth + side, 2] = level + 1
            nodes += 2
            depth += 2


@kernel("float64(float64[::1], int64, int32[:, ::1], float64[:, ::1], float64[::1])")
def emptiness(x: NDArray[np.float64], trees: int, way: NDArray[np.int32], number: NDArray[np.float64], share: NDArray[np.float64]) -> float:
    """Bits by which the half space of x (k,) holds fewer rows than the fullest could, mean over the trees.

    share (k,) becomes the part of each tag in the halvings that led away from the rows, negative where they led downwards.
    """
    for j in range(len(x)):
        share[j] = 0.0
    total = 0.0
    away = 0.0
    for t in range(trees):
        node = np.int64(t)
        child = np.int64(way[node, 1])
        while child >= 0:
            j = way[node, 0]
            node = child + (1 if x[j] > number[node, 0] else 0)
            child = np.int64(way[node, 1])
            lost = number[node, 1]
            away += abs(lost)
            share[j] += lost
        total += number[node, 2]
    for j in range(len(x)):
        share[j] /= max(away, 1e-300)
    return total / trees


@kernel("void(float64[:, ::1], float64[::1], int64, int32[:, ::1], float64[:, ::1])")
def emptinesses(z: NDArray[np.float64], out: NDArray[np.float64], trees: int, way: NDArray[np.int32], number: NDArray[np.float64]) -> None:
    """Emptiness of each row (n, k)."""
    share = np.empty(z.shape[1])
    for i in range(len(z)):
        out[i] = emptiness(z[i], trees, way, number, share)


@kernel(
    "void(Array(float64, 2, 'C', readonly=True), Array(uint8, 2, 'C', readonly=True), int64, float64[:, ::1], float64[::1], float64[::1],"
    " float64[:, ::1], float64[::1], int64[::1], int64, int32[:, ::1], float64[:, ::1])"
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
    trees: int,
    way: NDArray[np.int32],
    number: NDArray[np.float64],
) -> None:
    """Judge instants from `begin` on."""
    k = len(mean)
    z = np.empty(k)
    known = np.empty(k, np.uint8)
    share = np.empty(k)
    for i in range(begin, len(value)):
        if not opened(value, usable, i, out, mean, sd, plain, z, known):
            continue
        closed(out, i, emptiness(z, trees, way, number, share), share, limit, ints)


class HalfSpaceTrees(ReferenceGroup):
    """Model of one unit (`models.model.Group`); `score` is in bits, shares are of the tags whose halvings led away from the reference."""

    def __init__(self, config: HalfSpaceTreesConfig, k: int) -> None:
        inner = 2**config.height - 1
        model: dict[str, NDArray[Any]] = {
            "tag": np.zeros((config.trees, inner), np.int32), "cut": np.zeros((config.trees, inner)),
            "mass": np.zeros((config.trees, 2 * inner + 1), np.int32),
        }  # fmt: skip
        super().__init__(config, k, model)
        nodes = config.trees * (2 * inner + 1)
        self._walk = (config.trees, np.zeros((nodes, 2), np.int32), np.zeros((nodes, 3)))
        self._at: NDArray[np.float64] | None = None

    def _ready(self) -> None:
        m = self._model
        flatten(m["tag"], m["cut"], m["mass"], self._config.sparse, *self._walk[1:])

    def _fit(self, rows: NDArray[np.float64], used: NDArray[np.bool_]) -> None:
        m = self._model
        if self._at is None:
            self._at = np.empty((self._config.trees, rows.shape[1]))
            draw(np.array([self._config.seed], np.int64), self._at, m["tag"])
        grow(rows[used], self._at, self._config.sparse, m["tag"], m["cut"], m["mass"])
        self._ready()

    def _scores(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        out = np.empty(len(rows))
        emptinesses(rows, out, *self._walk)
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
        judge(value, usable, begin, out, m["mean"], m["sd"], m["plain"], m["limit"], self._now["ints"], *self._walk)
