"""Boosted regression trees: trained offline on counted values (histograms), run from five flat arrays, explained exactly along their paths.

Squared loss, best leaf first, a random part of the features per split (Friedman 2001; Ke et al. 2017 for the histograms).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.compiled import kernel

Float64 = NDArray[np.float64]

BINS: Final = 128


@kernel(
    "int64(uint8[:, ::1], float64[::1], int64[::1], int64, int64, int64, int64, float64, uint64[::1],"
    " int64[::1], int64[::1], int64[::1], float64[::1])"
)
def grow(
    bins: Any, rest: Any, rows: Any, begin: Any, end: Any, leaves: Any, least: Any, shrink: Any,
    state: Any, feature: Any, place: Any, left: Any, value: Any
) -> int:
    """Grow one tree on rows[begin:end] of bins (features, n) to what is left `rest` (n,); returns the number of nodes.

    feature, place, left, value (2 leaves - 1,): split feature or -1, bin up to which rows go left, left child (right = left + 1), mean of the node
    shrunken by `shrink` rows of 0. rows is reordered. state (1,) of the random numbers; feature sets hold 30 % of the features.
    """
    features = bins.shape[0]
    room = 2 * leaves - 1
    first = np.empty(room, np.int64)
    last = np.empty(room, np.int64)
    gain = np.empty(room)
    split = np.empty(room, np.int64)
    cut = np.empty(room, np.int64)
    order = np.arange(features)
    take = max(1, int(0.3 * features + 0.5))
    count = np.empty(BINS, np.int64)
    total = np.empty(BINS)
    spare = np.empty(end - begin, np.int64)
    nodes, todo = 1, 0
    first[0], last[0] = begin, end
    while True:
        for node in range(todo, nodes):  # nodes that are new
            n = last[node] - first[node]
            s = 0.0
            for i in range(first[node], last[node]):
                s += rest[rows[i]]
            value[node] = s / (n + shrink)
            feature[node], left[node], place[node] = -1, -1, -1
            gain[node] = 0.0
            if n < 2 * least:
                continue
            for c in range(take):
                x = state[0]
                x ^= x << np.uint64(13)
                x ^= x >> np.uint64(7)
                x ^= x << np.uint64(17)
                state[0] = x
                other = c + np.int64((x >> np.uint64(11)) % np.uint64(features - c))
                f = order[other]
                order[other] = order[c]
                order[c] = f
                for b in range(BINS):
                    count[b] = 0
                    total[b] = 0.0
                for i in range(first[node], last[node]):
                    row = rows[i]
                    b = bins[f, row]
                    count[b] += 1
                    total[b] += rest[row]
                nl, sl = 0, 0.0
                for b in range(BINS - 1):
                    if count[b] == 0:
                        continue
                    nl += count[b]
                    sl += total[b]
                    if nl < least:
                        continue
                    nr = n - nl
                    if nr < least:
                        break
                    g = sl * sl / (nl + shrink) + (s - sl) * (s - sl) / (nr + shrink) - s * s / (n + shrink)
                    if g > gain[node]:
                        gain[node], split[node], cut[node] = g, f, b
        todo = nodes
        if nodes + 2 > room:
            break
        best = -1
        for node in range(nodes):
            if feature[node] < 0 and gain[node] > 1e-12 and (best < 0 or gain[node] > gain[best]):
                best = node
        if best < 0:
            break
        f, b = split[best], cut[best]
        at, kept = first[best], 0
        for i in range(first[best], last[best]):
            row = rows[i]
            if bins[f, row] <= b:
                rows[at] = row
                at += 1
            else:
                spare[kept] = row
                kept += 1
        for i in range(kept):
            rows[at + i] = spare[i]
        feature[best], place[best], left[best] = f, b, nodes
        first[nodes], last[nodes] = first[best], at
        first[nodes + 1], last[nodes + 1] = at, last[best]
        nodes += 2
    return nodes


@kernel("void(uint8[:, ::1], int64[::1], int64[::1], int64[::1], float64[::1], float64[::1])")
def passed(bins: Any, feature: Any, place: Any, left: Any, value: Any, rest: Any) -> None:
    """Take one tree's values off `rest` (n,) for rows of bins (features, n)."""
    for i in range(bins.shape[1]):
        node = 0
        while feature[node] >= 0:
            node = left[node] + (1 if bins[feature[node], i] > place[node] else 0)
        rest[i] -= value[node]


@kernel("void(float64[:, ::1], int64[::1], float64[::1], int64[::1], float64[::1], int64[::1], float64, float64[::1], float64[:, ::1])")
def evaluate(x: Any, feature: Any, threshold: Any, left: Any, value: Any, roots: Any, base: Any, out: Any, parts: Any) -> None:
    """Predictions (n,) of rows x (n, features), one by one; parts (n, features) what each feature added, (0, 0) for not wanted.

    base plus the means of the roots plus the row's parts is the prediction.
    """
    explain = parts.shape[0] > 0
    for i in range(x.shape[0]):
        said = base
        if explain:
            for j in range(parts.shape[1]):
                parts[i, j] = 0.0
        for root in roots:
            node = root
            while feature[node] >= 0:
                f = feature[node]
                child = left[node] + (1 if x[i, f] > threshold[node] else 0)
                if explain:
                    parts[i, f] += value[child] - value[node]
                node = child
            said += value[node]
        out[i] = said


@dataclass(frozen=True, slots=True, eq=False)
class Trees:
    """feature, threshold, left, value (nodes,) of all trees, roots (trees,), base added to their sum."""

    feature: NDArray[np.int64]
    threshold: Float64
    left: NDArray[np.int64]
    value: Float64
    roots: NDArray[np.int64]
    base: float

    def predict(self, x: NDArray[Any]) -> Float64:
        """(n,) predictions of rows (n, features)."""
        out = np.empty(len(x))
        evaluate(
            np.ascontiguousarray(x, np.float64), self.feature, self.threshold, self.left, self.value, self.roots, self.base, out, np.empty((0, 0))
        )
        return out

    def explain(self, x: NDArray[Any]) -> tuple[Float64, Float64, float]:
        """(n,) predictions, (n, features) what each feature added, and the number they were added to."""
        rows = np.ascontiguousarray(x, np.float64)
        out, parts = np.empty(len(rows)), np.empty(rows.shape)
        evaluate(rows, self.feature, self.threshold, self.left, self.value, self.roots, self.base, out, parts)
        return out, parts, self.base + float(sum(self.value[self.roots]))


def fit(
    x: NDArray[Any], y: NDArray[Any], *, trees: int = 200, rate: float = 0.05, leaves: int = 10, least: int = 25, shrink: float = 10.0, seeds: int = 4
) -> Trees:
    """Trees that say y (n,) from x (n, features); the mean of `seeds` boostings that draw other features. The same arguments give the same trees."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if len(x) != len(y) or len(x) < 2 * least or not np.isfinite(x).all():
        raise ValueError(f"trees: expected {2 * least} or more finite rows with an answer each, found {x.shape} and {y.shape}")
    edges = []
    for column in x.T:
        known = np.unique(column)
        middle = (known[1:] + known[:-1]) / 2
        edges.append(middle if len(middle) < BINS else np.unique(np.quantile(column, np.linspace(0, 1, BINS + 1)[1:-1], method="midpoint")))
    bins = np.stack([np.searchsorted(e, c, side="left") for e, c in zip(edges, x.T, strict=True)]).astype(np.uint8)
    room = 2 * leaves - 1
    base = float(y.mean())
    parts: list[tuple[NDArray[np.int64], Float64, NDArray[np.int64], Float64]] = []
    roots, at = [], 0
    for seed in range(seeds):
        state = np.array([0x9E3779B97F4A7C15 ^ (seed + 1) * 0xBF58476D1CE4E5B9 & (2**64 - 1)], np.uint64)
        rest = y - base
        for _ in range(trees):
            feature, place, left = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.int64)
            value = np.empty(room)
            n = grow(bins, rest, np.arange(len(y)), 0, len(y), leaves, least, shrink, state, feature, place, left, value)
            feature, place, left, value = feature[:n], place[:n], left[:n], value[:n] * rate
            passed(bins, feature, place, left, value, rest)
            threshold = np.array([edges[f][p] if f >= 0 else 0.0 for f, p in zip(feature, place, strict=True)])
            parts.append((feature, threshold, np.where(left >= 0, left + at, -1), value / seeds))
            roots.append(at)
            at += n
    columns = [np.concatenate(c) for c in zip(*parts, strict=True)]
    return Trees(columns[0], columns[1], columns[2], columns[3], np.array(roots, np.int64), base)
