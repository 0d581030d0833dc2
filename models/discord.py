"""`discord`: how far the shape of the last values is from every shape in the history of the tag (left matrix profile)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from models.baseline import HUGE, check_learned, check_rows, enough, offsets
from models.compiled import kernel
from models.model import ModelConfig
from models.state import ArrayState
from models.tails import fit_tail, learn_tail, surprise

QUANTILE: Final = 0.95
SHAPE: Final = 0.2
"""Where the tail of the distances begins, and its shape, as in `auto`."""
FLAT: Final = 0.1
"""A stretch that varies by less than this share of the usual is flat: its noise has no shape."""
TIE: Final = 1e-9
"""Squared distances that differ by less, relative or absolute, are equal."""


class DiscordConfig(ModelConfig):
    """Shape of the last `rows` values against all earlier ones in the history; score reaches 1 where a finding begins.

    The distance to the nearest earlier stretch of the same length, both taken to mean 0 and spread 1, becomes a surprise by a tail learned from
    the tag itself. Finds a cycle that runs differently though each of its values is usual. Prefer `auto` where there is no cycle.
    With a `file` its history is the end of the training, and stays.
    """

    kind: Literal["discord"] = "discord"
    rows: int = Field(16, ge=4, le=256)
    """Values that make a shape."""
    history: int = Field(512, ge=32, le=8192)
    """Values among which the same shape is sought; at least four times `rows`."""
    warmup: int = Field(600, ge=64, le=10_000)
    """Usable values before the first score."""
    budget: float = Field(3.0, ge=1.0, le=6.0)
    """Surprise at which a finding begins, -log10 of a probability."""
    min_sigma: float = Field(0.0, ge=0)
    """Least spread in the tag's unit, e.g. its resolution."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.history < 4 * self.rows or self.warmup < 4 * self.rows:
            raise ValueError(f"history, warmup: expected at least four times rows ({4 * self.rows}), found {self.history}, {self.warmup}")
        return self

    @classmethod
    def bank(cls) -> type[Discord]:
        """The bank that runs it."""
        return Discord


@kernel(
    "void(Array(int32, 1, 'C', readonly=True), Array(float64, 1, 'C', readonly=True), Array(uint8, 1, 'C', readonly=True), float64[:, ::1],"
    " float64[:, ::1], int64[::1], float64[::1], float64[::1], int64[::1], int64[::1], float64[:, ::1], float64[:, :, ::1], float64[::1])"
)
def discord(
    slot: NDArray[np.int32],
    value: NDArray[np.float64],
    usable: NDArray[np.uint8],
    out: NDArray[np.float64],
    constants: NDArray[np.float64],
    start: NDArray[np.int64],
    shape: NDArray[np.float64],
    line: NDArray[np.float64],
    taught: NDArray[np.int64],
    seen: NDArray[np.int64],
    floats: NDArray[np.float64],
    tail: NDArray[np.float64],
    memory: NDArray[np.float64],
) -> None:
    """Judge n rows (Yeh et al., ICDM 2016; Lu et al., KDD 2022: only what came before is compared).

    constants (slots, 5)  rows of a shape, history, warm-up, budget, least spread; shape, line: scratch
    taught (slots,)       rows that a static slot was trained with, 0 of one that learns
    floats (slots, 2)     first value; usual spread of a stretch (running mean)
    memory                per slot: the last values relative to the first (a ring), mean and spread of the stretch that ends at each, and the
                          distances of the warm-up; in their place a static slot keeps its own last values
    """
    for i in range(len(slot)):
        s = slot[i]
        x = value[i]
        for c in range(4):
            out[i, c] = np.nan
        if usable[i] == 0 or not abs(x) <= HUGE:
            continue
        m = int(constants[s, 0])
        history = int(constants[s, 1])
        warmup = int(constants[s, 2])
        a = start[s]
        n = seen[s]
        static = taught[s] > 0
        ring = m if static else history
        own = a + 3 * history if static else a
        if n == 0 and not static:
            floats[s, 0] = x
        seen[s] = n + 1
        memory[own + n % ring] = x - floats[s, 0]
        if n + 1 < m:
            continue
        newest = memory[own + n % ring]
        total = 0.0
        square = 0.0
        for k in range(m):
            shape[k] = memory[own + (n - m + 1 + k) % ring] - newest
            total += shape[k]
            square += shape[k] * shape[k]
        mean = total / m
        spread = math.sqrt(max(square / m - mean * mean, 0.0))
        if not static:
            memory[a + history + n % history] = mean + newest
            memory[a + 2 * history + n % history] = spread
            floats[s, 1] += max(1.0 / (n + 2 - m), 0.0005) * (spread - floats[s, 1])
        floor = max(FLAT * floats[s, 1], constants[s, 4], 1e-12 * abs(floats[s, 0]), 1e-30)
        for k in range(m):
            shape[k] = (shape[k] - mean) / max(spread, floor)
        # Stretches that end m rows before this one or earlier, and whose values are all still there.
        # Of stretches that are equally near, but for the last digits, the youngest counts.
        best = np.inf
        nearer = np.inf
        at = -1
        last = taught[s] - 1 if static else n
        oldest = max(m - 1, last - history + m)
        for j in range(last if static else n - m, oldest - 1, -1):
            middle = memory[a + history + j % history]
            scale = 1.0 / max(memory[a + 2 * history + j % history], floor)
            d = 0.0
            for k in range(m):
                apart = shape[k] - (memory[a + (j - m + 1 + k) % history] - middle) * scale
                d += apart * apart
                if d >= nearer:
                    break
            if d < nearer:
                best = d
                nearer = best - TIE * (best + 1.0)
                at = j
        if at < 0:
            continue
        away = math.sqrt(best / (2.0 * m))
        if n < warmup and not static:
            memory[a + 3 * history + n] = away
            if n + 1 == warmup:
                begin = warmup // 2
                for k in range(begin, warmup):
                    line[k - begin] = memory[a + 3 * history + k]
                fit_tail(tail, s, 0, line, warmup - begin, QUANTILE, 1e-9)
            continue
        e = surprise(tail, s, 0, away, QUANTILE, SHAPE)
        out[i, 0] = e / constants[s, 3]
        out[i, 1] = away
        if not static:
            learn_tail(tail, s, 0, away, QUANTILE)
            out[i, 2] = n - at
        out[i, 3] = e


class Discord(ArrayState):
    """Bank of shape watches (`models/model.py`).

    An alarm tells the distance (0 the same shape, 1 nothing in common), and how many rows ago the nearest shape ended (nothing of a static one).
    """

    outputs: ClassVar[tuple[str, ...]] = ("score",)
    units: ClassVar[tuple[str, ...]] = ("",)
    watched: ClassVar[tuple[str, ...]] = ("score",)
    reasons: ClassVar[tuple[str, ...]] = ("distance", "rows_ago", "surprise")
    ragged: ClassVar[tuple[str, ...]] = ("memory",)

    def __init__(self, configs: Sequence[DiscordConfig]) -> None:
        n = len(configs)
        self._constants = np.array([[c.rows, c.history, c.warmup, c.budget, c.min_sigma] for c in configs], np.float64).reshape(n, 5)
        self._sizes: NDArray[np.int64] = np.array([3 * c.history + c.warmup for c in configs], np.int64)
        self._start = offsets(self._sizes)
        self._scratch = (np.zeros(max((c.rows for c in configs), default=0)), np.zeros(max((c.warmup for c in configs), default=0)))
        self._taught = np.zeros(n, np.int64)
        self._state: dict[str, NDArray[Any]] = {
            "seen": np.zeros(n, np.int64), "floats": np.zeros((n, 2)), "tail": np.zeros((n, 1, 4)), "memory": np.zeros(int(self._start[-1]))
        }  # fmt: skip

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(slots,) numbers each slot remembers."""
        return self._sizes

    def step(
        self,
        slot: NDArray[np.int32],
        time_ns: NDArray[np.int64],  # noqa: ARG002 - shapes are of rows, not of seconds
        value: NDArray[np.float64],
        usable: NDArray[np.uint8],
        out: NDArray[np.float64],
    ) -> None:
        """Judge n rows in order; see `models.model.Bank.step`."""
        check_rows(len(self._sizes), 4, slot, out)
        discord(slot, value, usable, out, self._constants, self._start, *self._scratch, self._taught, *self._state.values())

    @classmethod
    def train(cls, config: DiscordConfig, time_ns: NDArray[np.int64], value: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        """The last `history` of n usable values, and the tail of the distances of all; see `models.model.Bank.train`."""
        enough(len(value), config.warmup)
        bank = cls([config.model_copy(update={"file": None})])
        bank.step(np.zeros(len(value), np.int32), time_ns, value, np.ones(len(value), np.uint8), np.empty((len(value), 4)))
        state = bank.state()
        shapes = state["memory"][: 3 * config.history]
        return {"rows": np.array(len(value), np.int64), "floats": state["floats"][0], "tail": state["tail"][0], "shapes": shapes}

    def settle(self, slot: int, learned: Mapping[str, NDArray[Any]]) -> None:
        """Take up what `train` found; see `models.model.Bank.settle`."""
        begin = int(self._start[slot])
        shapes = self._state["memory"][begin : begin + 3 * int(self._constants[slot, 1])]
        own = {"floats": self._state["floats"][slot], "tail": self._state["tail"][slot], "shapes": shapes}
        check_learned({"rows": np.zeros((), np.int64), **own}, learned)
        for name, array in own.items():
            array[...] = learned[name]
        self._taught[slot] = learned["rows"]
