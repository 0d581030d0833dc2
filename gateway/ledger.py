"""The accounting of every tag: where each value that was sent has gone.

sent = good + uncertain + bad + late + rejected + duplicates + declared missing, per tag. Only summaries and gaps count; the raw archive is a
second representation of the same values. The totals are changed in the same transaction as the position up to which they count.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_agent.core import Gap
from gateway.rollup import Rows

COUNTED: Final = ("n_good", "n_uncertain", "n_bad", "n_late", "n_rejected", "n_duplicate")
COLUMNS: Final = (*COUNTED, "n_missing", "gaps", "sum", "carry", "first_ns", "last_ns")
_TYPED: Final = ", ".join(f"{c} {'REAL' if c in ('sum', 'carry') else 'INTEGER'} NOT NULL" for c in COLUMNS)
SCHEMA: Final = f"CREATE TABLE IF NOT EXISTS ledger (edge TEXT NOT NULL, tag INTEGER NOT NULL, {_TYPED}, PRIMARY KEY (edge, tag)) WITHOUT ROWID;"
_MISSING, _GAPS, _FIRST, _LAST = 6, 7, 8, 9
UPSERT: Final = f"INSERT OR REPLACE INTO ledger VALUES ({','.join('?' * (2 + len(COLUMNS)))})"


@dataclass(slots=True)
class _Edge:
    """Totals of one edge by tag number."""

    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, len(COLUMNS) - 2), np.int64))
    """In the order of COLUMNS without sum and carry; times are 0 where there is none."""
    sums: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 2), np.float64))
    known: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    changed: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))

    def touch(self, tags: NDArray[np.intp]) -> None:
        """Make room for tags and mark them as changed."""
        more = int(tags.max()) + 1 - len(self.known)
        if more > 0:
            self.counts, self.sums = np.pad(self.counts, ((0, more), (0, 0))), np.pad(self.sums, ((0, more), (0, 0)))
            self.known, self.changed = np.pad(self.known, (0, more)), np.pad(self.changed, (0, more))
        self.known[tags] = self.changed[tags] = True

    def rows(self, edge: str, chosen: NDArray[np.bool_]) -> list[tuple[str | int | float, ...]]:
        """Rows of the table, of the chosen tags."""
        tags = np.flatnonzero(chosen)
        listed = zip(tags.tolist(), self.counts[tags].tolist(), self.sums[tags].tolist(), strict=True)
        return [(edge, tag, *counts[:8], *sums, *counts[8:]) for tag, counts, sums in listed]


class Ledger:
    """Totals by edge and tag number in memory; `changed` rows are what the transaction must write."""

    def __init__(self, rows: Iterable[tuple[Any, ...]] = ()) -> None:
        self._edges: dict[str, _Edge] = {}
        for edge, tag, *columns in rows:
            of = self._edges.setdefault(edge, _Edge())
            of.touch(np.array([tag]))
            of.counts[tag] = [*columns[:8], *columns[10:]]
            of.sums[tag] = columns[8:10]
            of.changed[tag] = False

    def summaries(self, edge: str, windows: Rows) -> None:
        """Count windows, under the gateway's tag numbers."""
        if len(windows) == 0:
            return
        rows = windows.take(np.argsort(windows["tag"], kind="stable"))
        begins = np.flatnonzero(np.concatenate(([True], rows["tag"][1:] != rows["tag"][:-1])))
        tags = rows["tag"][begins].astype(np.intp)
        of = self._edges.setdefault(edge, _Edge())
        of.touch(tags)
        for column, name in enumerate(COUNTED):
            of.counts[tags, column] += np.add.reduceat(rows[name].astype(np.int64), begins)
        with np.errstate(invalid="ignore", over="ignore"):
            sums = np.add.reduceat(rows["sum"], begins)
        of.sums[tags] = added(of.sums[tags], sums)
        seen = (rows["first_ns"] != 0) & (rows["last_ns"] != 0)
        far = np.iinfo(np.int64).max
        first = np.minimum.reduceat(np.where(seen, rows["first_ns"], far), begins)
        held = of.counts[tags, _FIRST]
        first = np.minimum(first, np.where(held == 0, far, held))
        of.counts[tags, _FIRST] = np.where(first == far, 0, first)
        of.counts[tags, _LAST] = np.maximum(of.counts[tags, _LAST], np.maximum.reduceat(np.where(seen, rows["last_ns"], 0), begins))

    def gap(self, edge: str, tag: int, gap: Gap) -> None:
        """Count a gap of one tag; one that says what came for an earlier gap is no gap more."""
        of = self._edges.setdefault(edge, _Edge())
        of.touch(np.array([tag]))
        of.counts[tag, _MISSING] += gap.missing
        of.counts[tag, _GAPS] += not gap.filled

    def changed(self) -> list[tuple[str | int | float, ...]]:
        """The rows to write, and from now on unchanged."""
        rows = []
        for edge, of in self._edges.items():
            rows += of.rows(edge, of.changed)
            of.changed[:] = False
        return rows

    def totals(self) -> list[tuple[Any, ...]]:
        """Every row: edge, tag number and COLUMNS."""
        return [row for edge, of in sorted(self._edges.items()) for row in of.rows(edge, of.known)]


def added(sums: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Neumaier's compensated sum, by row (sum, carry): the rounding of a year of windows stays at one unit in the last place.

    >>> s = np.zeros((1, 2))
    >>> for v in (1e16, 1.0, -1e16): s = added(s, np.array([v]))
    >>> float(s.sum())
    1.0

    A sum that left the range of a double, or took in what is no number, stays infinite: SQLite would keep a NaN as NULL and refuse the row.

    >>> added(np.array([[np.inf, 0.0]]), np.array([-np.inf])).tolist()
    [[inf, 0.0]]
    """
    old = sums[:, 0]
    with np.errstate(invalid="ignore", over="ignore"):
        new = old + values
        lost = np.where(np.abs(old) >= np.abs(values), (old - new) + values, (values - new) + old)
        carry = sums[:, 1] + lost
    finite = np.isfinite(new) & np.isfinite(carry)
    return np.column_stack((np.where(finite, new, np.inf), np.where(finite, carry, 0.0)))
