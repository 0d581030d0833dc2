"""Watch over a static model: is the population of its scores still that of its training?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, Literal

import numpy as np
from numpy.typing import NDArray

from models.baseline import check_learned, check_rows, enough
from models.compiled import kernel
from models.model import ModelConfig
from models.state import ArrayState

QUANTILES: Final = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.99])
"""Of the training's scores: the edges between the bins, so that the highest bin is the tail of one in a hundred."""
BINS: Final = len(QUANTILES) + 1
PARTS: Final = 8
"""Windows in the training's scores: what they differ by without any drift sets the limit."""
ROWS: Final = (200, 100_000)
"""Fewest and most scores in a window."""
LEAST: Final = 0.25
"""Population stability index from which a population is usually called another one; the limit is never below it."""
MARGIN: Final = 2.0
"""The limit over the largest index of a window of the training against the rest."""


class DriftConfig(ModelConfig):
    """What watches one output of a static model; made by the configuration itself, from the calibration in the model file."""

    kind: Literal["drift"] = "drift"


@kernel("float64(int64[::1], float64[::1])")
def stability(counts: NDArray[np.int64], share: NDArray[np.float64]) -> float:
    """Population stability index: sum of (p - q) ln(p / q) over the bins, with half a row added to each so that empty ones can be divided by."""
    total = 0.0
    for b in range(len(counts)):
        total += counts[b] + 0.5
    index = 0.0
    for b in range(len(counts)):
        p = (counts[b] + 0.5) / total
        index += (p - share[b]) * math.log(p / share[b])
    return index


@kernel(
    "void(Array(int32, 1, 'C', readonly=True), Array(float64, 1, 'C', readonly=True), Array(uint8, 1, 'C', readonly=True), float64[:, ::1],"
    " float64[:, ::1], float64[:, ::1], float64[::1], int64[::1], int64[::1], int64[:, ::1])"
)
def watch(
    slot: NDArray[np.int32],
    value: NDArray[np.float64],
    usable: NDArray[np.uint8],
    out: NDArray[np.float64],
    edges: NDArray[np.float64],
    share: NDArray[np.float64],
    limit: NDArray[np.float64],
    window: NDArray[np.int64],
    seen: NDArray[np.int64],
    counts: NDArray[np.int64],
) -> None:
    """Count scores by bin; at the end of each window of so many scores say how far the counts are from the shares of the training."""
    for i in range(len(slot)):
        s = slot[i]
        for c in range(4):
            out[i, c] = np.nan
        if usable[i] == 0 or np.isnan(value[i]):
            continue
        b = 0
        while b < edges.shape[1] and value[i] > edges[s, b]:
            b += 1
        counts[s, b] += 1
        seen[s] += 1
        if seen[s] < window[s]:
            continue
        index = stability(counts[s], share[s])
        out[i, 0] = index / limit[s]
        out[i, 1] = index
        out[i, 2] = counts[s, edges.shape[1]] / window[s]
        out[i, 3] = window[s]
        seen[s] = 0
        for c in range(counts.shape[1]):
            counts[s, c] = 0


class Drift(ArrayState):
    """Bank of watches (`models/model.py`); every slot is settled from a calibration before its first row.

    `ratio` comes once a window: 1 where the population counts as another one. `index` is the population stability index, `tail` the share of
    scores above the 99 % point of the training.
    """

    outputs: ClassVar[tuple[str, ...]] = ("ratio",)
    units: ClassVar[tuple[str, ...]] = ("",)
    watched: ClassVar[tuple[str, ...]] = ()
    reasons: ClassVar[tuple[str, ...]] = ("index", "tail", "scores")
    ragged: ClassVar[tuple[str, ...]] = ()

    def __init__(self, configs: Sequence[DriftConfig]) -> None:
        n = len(configs)
        self._edges, self._share = np.zeros((n, BINS - 1)), np.full((n, BINS), 1.0 / BINS)
        self._limit, self._window = np.ones(n), np.full(n, ROWS[0], np.int64)
        self._state: dict[str, NDArray[Any]] = {"seen": np.zeros(n, np.int64), "counts": np.zeros((n, BINS), np.int64)}

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(slots,) zeros: nothing is ragged."""
        return np.zeros(len(self._limit), np.int64)

    def step(
        self,
        slot: NDArray[np.int32],
        time_ns: NDArray[np.int64],  # noqa: ARG002 - windows count scores, not seconds
        value: NDArray[np.float64],
        usable: NDArray[np.uint8],
        out: NDArray[np.float64],
    ) -> None:
        """Count n scores in order; see `models.model.Bank.step`."""
        check_rows(len(self._limit), 4, slot, out)
        watch(slot, value, usable, out, self._edges, self._share, self._limit, self._window, *self._state.values())

    @classmethod
    def train(cls, config: Any, time_ns: NDArray[np.int64], value: NDArray[np.float64]) -> dict[str, NDArray[Any]]:  # noqa: ARG003
        """Edges, shares, limit and length of the window from n scores in order of time that their model was not trained on."""
        enough(len(value), ROWS[0])
        window = min(max(len(value) // PARTS, ROWS[0]), ROWS[1])
        edges = np.quantile(value, QUANTILES)
        bins = np.searchsorted(edges, value, side="left")
        whole = np.bincount(bins, minlength=BINS)
        worst = 0.0
        for begin in range(0, len(value) - window + 1, window):
            part = np.bincount(bins[begin : begin + window], minlength=BINS)
            if len(value) > window:
                worst = max(worst, stability(part, _shares(whole - part)))
        return {
            "edges": edges, "share": _shares(whole), "limit": np.array(max(LEAST, MARGIN * worst)), "window": np.array(window, np.int64)
        }  # fmt: skip

    def settle(self, slot: int, learned: Mapping[str, NDArray[Any]]) -> None:
        """Take up what `train` found; see `models.model.Bank.settle`."""
        check_learned(
            {"edges": self._edges[slot], "share": self._share[slot], "limit": np.zeros(()), "window": np.zeros((), np.int64)}, learned
        )  # fmt: skip
        self._edges[slot], self._share[slot] = learned["edges"], learned["share"]
        self._limit[slot], self._window[slot] = learned["limit"], learned["window"]



def _shares(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    more = counts + 0.5
    found: NDArray[np.float64] = more / more.sum()
    return found
