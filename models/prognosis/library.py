"""The library of histories that ran to failure, and what it says of a unit that still runs.

For every history u and every place r cycles before its end, the unit's last cycles are laid over the history; an offset of the unit (wear at the
beginning, differences of build) is integrated out. The weights over (u, r) are a posterior of the remaining life, and name the histories that the
unit looks like (after Wang, Yu, Siegel & Lee 2008).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.compiled import kernel

Float64 = NDArray[np.float64]

HORIZON: Final = 250
"""Remaining cycles that are told apart: 0 .. 249."""
SAYS: Final = 7
"""Numbers said of a posterior: mean of min(r, cap), standard deviation, 10, 50 and 90 % quantile, probability of r > cap, log of the best match."""


@kernel("void(float64[:, ::1], float64[:, ::1], int64[::1], int64, int64[::1], float64, float64, float64[:, :, ::1])")
def matches(query: Any, library: Any, begin: Any, own: Any, windows: Any, temper: Any, offset: Any, out: Any) -> None:
    """Log weight of each place of each history: query (n, k), newest last; library (k, rows), history u in begin[u]:begin[u+1], its end first.

    windows (m,) ascending: how many last rows of the query are compared; own: history that is left out, -1 for none;
    out (m, units, horizon), -inf where the history is too short.
    """
    n, k = query.shape
    horizon = out.shape[2]
    sums = np.empty(horizon)
    squares = np.empty(horizon)
    for u in range(len(begin) - 1):
        length = begin[u + 1] - begin[u]
        for m in range(len(windows)):
            places = length - min(windows[m], n) + 1
            for r in range(horizon):
                out[m, u, r] = 0.0 if r < places and u != own else -np.inf
        if u == own:
            continue
        for j in range(k):
            history = library[j, begin[u] : begin[u + 1]]
            for r in range(horizon):
                sums[r] = 0.0
                squares[r] = 0.0
            for i in range(min(n, windows[-1])):
                places = min(length - i, horizon)
                if places <= 0:
                    break
                q = query[n - 1 - i, j]
                aligned = history[i : i + places]
                for r in range(places):
                    d = q - aligned[r]
                    sums[r] += d
                    squares[r] += d * d
                for m in range(len(windows)):
                    w = min(windows[m], n)
                    if i + 1 == w:
                        shrink = offset * offset / (1.0 + w * offset * offset)
                        for r in range(places):
                            out[m, u, r] -= (squares[r] - shrink * sums[r] * sums[r]) / (2.0 * temper)


@kernel("void(float64[:, ::1], int64[::1], int64, float64, float64[:, ::1])")
def posterior(weights: Any, fold: Any, folds: Any, cap: Any, out: Any) -> None:
    """What log weights (units, horizon) say, in row 0 from all histories, in row 1 + f from those not in fold f; out (1 + folds, SAYS)."""
    units, horizon = weights.shape
    part = np.zeros((folds, horizon))
    most = np.full(folds, -np.inf)
    for u in range(units):
        for r in range(horizon):
            if weights[u, r] > most[fold[u]]:
                most[fold[u]] = weights[u, r]
    for u in range(units):
        f = fold[u]
        for r in range(horizon):
            d = weights[u, r] - most[f]
            if d > -40.0:
                part[f, r] += np.exp(d)
    p = np.empty(horizon)
    for s in range(out.shape[0]):
        best = -np.inf
        for f in range(folds):
            if f != s - 1 and most[f] > best:
                best = most[f]
        for c in range(out.shape[1]):
            out[s, c] = np.nan
        out[s, out.shape[1] - 1] = best
        if best == -np.inf:
            continue
        total = 0.0
        for r in range(horizon):
            p[r] = 0.0
            for f in range(folds):
                if f != s - 1 and most[f] > -np.inf:
                    p[r] += part[f, r] * np.exp(most[f] - best)
            total += p[r]
        mean, spread, more, run = 0.0, 0.0, 0.0, 0.0
        q = 0
        for r in range(horizon):
            share = p[r] / total
            m = min(float(r), cap)
            mean += share * m
            if r > cap:
                more += share
            run += share
            while q < 3 and run >= 0.1 + 0.4 * q - 1e-12:
                out[s, 2 + q] = m
                q += 1
        while q < 3:
            out[s, 2 + q] = cap
            q += 1
        out[s, 0] = mean
        for r in range(horizon):
            d = min(float(r), cap) - mean
            spread += p[r] / total * d * d
        out[s, 1] = np.sqrt(spread)
        out[s, 5] = more


@dataclass(frozen=True, slots=True)
class Match:
    """How a unit is laid over the library: its last rows, as many as each window says; tempering; sd of the unit's own offset in noise units."""

    windows: tuple[int, ...] = (30, 60, 100)
    temper: float = 3.0
    offset: float = 1.2


@dataclass(frozen=True, slots=True, eq=False)
class Library:
    """scores (k, rows): history u in begin[u]:begin[u + 1], its end first; fold (units,) of each history."""

    scores: Float64
    begin: NDArray[np.int64]
    fold: NDArray[np.int64]
    match: Match = Match()

    @classmethod
    def of(cls, histories: list[Float64], fold: NDArray[np.int64], match: Match) -> Library:
        """The library of smoothed histories (each (n, k), end last)."""
        begin = np.concatenate([[0], np.cumsum([len(h) for h in histories])]).astype(np.int64)
        return cls(np.ascontiguousarray(np.concatenate([h[::-1] for h in histories]).T), begin, fold, match)

    def weights(self, query: NDArray[Any], own: int = -1) -> Float64:
        """(windows, units, horizon) log weights for the scores of a unit so far (n, k), newest last."""
        m = self.match
        out = np.empty((len(m.windows), len(self.begin) - 1, HORIZON))
        rows = np.ascontiguousarray(query, np.float64)
        matches(rows, self.scores, self.begin, own, np.array(m.windows, np.int64), m.temper, m.offset, out)
        return out

    def says(self, weights: Float64, cap: float, folds: int = 0) -> Float64:
        """(1 + folds, windows, SAYS): what all histories say, then what those outside each fold say."""
        out = np.empty((len(weights), 1 + folds, SAYS))
        fold = self.fold if folds else np.zeros_like(self.fold)
        for one, said in zip(weights, out, strict=True):
            posterior(one, fold, max(folds, 1), cap, said)
        return np.ascontiguousarray(out.swapaxes(0, 1))
