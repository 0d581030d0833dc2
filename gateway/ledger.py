"""The accounting of every tag: where each value that was sent has gone.

sent = good + uncertain + bad + late + rejected + duplicates + declared missing, per tag. Only summaries and gaps count; the raw archive is a
second representation of the same values. The totals are changed in the same transaction as the position up to which they count.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_agent.core import Gap
from gateway.rollup import Rows

COUNTED: Final = ("n_good", "n_uncertain", "n_bad", "n_late", "n_rejected", "n_duplicate")
COLUMNS: Final = (*COUNTED, "n_missing", "gaps", "sum", "carry", "first_ns", "last_ns")
_TYPED: Final = ", ".join(f"{c} {'REAL' if c in ('sum', 'carry') else 'INTEGER'} NOT NULL" for c in COLUMNS)
SCHEMA: Final = f"CREATE TABLE IF NOT EXISTS ledger (edge TEXT NOT NULL, tag INTEGER NOT NULL, {_TYPED}, PRIMARY KEY (edge, tag)) WITHOUT ROWID;"
UPSERT: Final = f"INSERT OR REPLACE INTO ledger VALUES ({','.join('?' * (2 + len(COLUMNS)))})"


def _entry() -> list[int | float]:
    return [0, 0, 0, 0, 0, 0, 0, 0, 0.0, 0.0, 0, 0]


class Ledger:
    """Totals by (edge, tag number) in memory; `changed` rows are what the transaction must write."""

    def __init__(self, rows: Iterable[tuple[Any, ...]] = ()) -> None:
        self._totals: dict[tuple[str, int], list[int | float]] = {(r[0], r[1]): [*r[2:]] for r in rows}
        self._changed: set[tuple[str, int]] = set()

    def summaries(self, edge: str, windows: Rows) -> None:
        """Count windows, under the gateway's tag numbers."""
        if len(windows) == 0:
            return
        order = np.argsort(windows["tag"], kind="stable")
        rows = windows[order]
        begins = np.flatnonzero(np.concatenate(([True], rows["tag"][1:] != rows["tag"][:-1])))
        counts = [np.add.reduceat(rows[name].astype(np.int64), begins).tolist() for name in COUNTED]
        first, last = _times(rows, begins)
        ends = np.append(begins[1:], len(rows)).tolist()
        tags, sums = rows["tag"][begins].tolist(), rows["sum"].tolist()
        for i, (tag, begin, end) in enumerate(zip(tags, begins.tolist(), ends, strict=True)):
            total = self._of(edge, tag)
            for column, values in enumerate(counts):
                total[column] += values[i]
            for value in sums[begin:end]:
                _add(total, value)
            if first[i]:
                total[10] = min(total[10], first[i]) if total[10] else first[i]
                total[11] = max(total[11], last[i])

    def gap(self, edge: str, tag: int, gap: Gap) -> None:
        """Count a gap of one tag."""
        total = self._of(edge, tag)
        total[6] += gap.missing
        total[7] += 1

    def _of(self, edge: str, tag: int) -> list[int | float]:
        key = (edge, tag)
        self._changed.add(key)
        if key not in self._totals:
            self._totals[key] = _entry()
        return self._totals[key]

    def changed(self) -> list[tuple[int | float | str, ...]]:
        """The rows to write, and from now on unchanged."""
        rows = [(edge, tag, *self._totals[edge, tag]) for edge, tag in self._changed]
        self._changed.clear()
        return rows

    def totals(self) -> dict[tuple[str, int], list[int | float]]:
        """A copy of all totals in the order of COLUMNS."""
        return {key: [*total] for key, total in list(self._totals.items())}


def _add(total: list[int | float], value: float) -> None:
    """Neumaier's compensated sum: the rounding of a year of windows stays at one unit in the last place.

    >>> t = _entry()
    >>> for v in (1e16, 1.0, -1e16): _add(t, v)
    >>> t[8] + t[9]
    1.0
    """
    old = total[8]
    new = old + value
    if math.isfinite(new):
        total[9] += (old - new) + value if abs(old) >= abs(value) else (value - new) + old
    total[8] = new


def _times(rows: Rows, begins: NDArray[np.intp]) -> tuple[list[int], list[int]]:
    seen = (rows["first_ns"] != 0) & (rows["last_ns"] != 0)
    far = np.iinfo(np.int64).max
    first = np.minimum.reduceat(np.where(seen, rows["first_ns"], far), begins)
    last = np.maximum.reduceat(np.where(seen, rows["last_ns"], 0), begins)
    return np.where(first == far, 0, first).tolist(), last.tolist()
