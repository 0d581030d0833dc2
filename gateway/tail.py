"""The hot tail: what is in the inbox and not yet sealed, decoded, in generations.

A generation covers a contiguous range of inbox numbers and is sealed as a whole, so that what has left the tail is exactly what is in a segment.
Inside a generation rows lie in a few runs ordered by tag and time; the newest rows lie in small pieces as they came.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from gateway.rollup import SAMPLE_DTYPE, WINDOW_DTYPE, Rows, between, ordered, span

PIECES: Final = 64
PIECE_ROWS: Final = 65_536
FAN: Final = 32
"""Runs of similar size that are merged into one: asking 32 runs costs less than merging them sooner."""


class Runs:
    """Rows of one kind of one edge, cheap to append and to ask by tag; one thread adds, any may read."""

    def __init__(self, dtype: np.dtype[np.void], time: str) -> None:
        self._time = time
        self._dtype = dtype
        # Runs and pieces change in one assignment: a reader sees every row exactly once.
        self._held: tuple[tuple[Rows, ...], tuple[Rows, ...]] = ((), ())
        self._piece_rows = 0
        self.rows = 0

    def add(self, rows: Rows) -> None:
        """Append."""
        if len(rows) == 0:
            return
        runs, pieces = self._held[0], (*self._held[1], rows)
        self._piece_rows += len(rows)
        self.rows += len(rows)
        if len(pieces) >= PIECES or self._piece_rows >= PIECE_ROWS:
            runs, pieces, self._piece_rows = self._folded((*runs, ordered(np.concatenate(pieces), self._time))), (), 0
        self._held = (runs, pieces)

    def _folded(self, held: tuple[Rows, ...]) -> tuple[Rows, ...]:
        runs = list(held)
        while len(runs) >= FAN and len(runs[-FAN]) <= FAN * len(runs[-1]):
            runs[-FAN:] = [ordered(np.concatenate(runs[-FAN:]), self._time)]
        return tuple(runs)

    def of(self, tag: int, from_ns: int, to_ns: int) -> list[Rows]:
        """The rows of one tag with from_ns <= time < to_ns, in parts."""
        runs, pieces = self._held
        found = [between(span(run, tag), self._time, from_ns, to_ns) for run in runs]
        for piece in pieces:
            mask = (piece["tag"] == tag) & (piece[self._time] >= from_ns) & (piece[self._time] < to_ns)
            found.append(piece[mask])
        return [rows for rows in found if len(rows)]

    def all(self) -> Rows:
        """Every row, ordered by tag and time."""
        runs, pieces = self._held
        return ordered(np.concatenate((*runs, *pieces)), self._time) if runs or pieces else np.empty(0, self._dtype)


@dataclass(frozen=True, slots=True)
class TextRow:
    """One text value under the gateway's tag number."""

    tag: int
    version: int
    time_ns: int
    received_ns: int
    value: str
    status: int


@dataclass(frozen=True, slots=True)
class BlockRow:
    """One block: kept as the frame that came, found by tag and time."""

    tag: int
    version: int
    time_ns: int
    last_ns: int
    received_ns: int
    frame: bytes


@dataclass(slots=True)
class EdgeTail:
    """What one generation holds of one edge."""

    samples: Runs = field(default_factory=lambda: Runs(SAMPLE_DTYPE, "time_ns"))
    windows: Runs = field(default_factory=lambda: Runs(WINDOW_DTYPE, "start_ns"))
    texts: list[TextRow] = field(default_factory=list)
    blocks: list[BlockRow] = field(default_factory=list)


@dataclass(slots=True)
class Generation:
    """Everything decoded from inbox numbers first .. last."""

    first: int
    last: int
    opened_ns: int
    edges: dict[str, EdgeTail] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Samples and summaries held."""
        return sum(e.samples.rows + e.windows.rows + len(e.texts) for e in self.edges.values())

    def edge(self, name: str) -> EdgeTail:
        """The rows of one edge, begun when there are none."""
        if name not in self.edges:
            self.edges[name] = EdgeTail()
        return self.edges[name]
