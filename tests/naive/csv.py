"""The obvious reading of CSV text: one row and one cell after the other."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from decimal import Decimal
from typing import NamedTuple


class Value(NamedTuple):
    """One value in the order of the file."""

    received_ns: int
    time_ns: int
    tag: str
    value: float | str


def wide(lines: list[str], separator: str, texts: set[str], unit_ns: int) -> Iterator[Value]:
    """Values of wide CSV with epoch times; received is the running maximum of time."""
    rows = csv.reader(lines, delimiter=separator)
    header = next(rows)
    newest = -(2**63)
    for row in rows:
        time_ns = int(Decimal(row[0]) * unit_ns)
        newest = max(newest, time_ns)
        here = [(name, cell) for name, cell in zip(header[1:], row[1:], strict=True) if cell]
        for name, cell in sorted(here, key=lambda item: item[0] not in texts):
            yield Value(newest, time_ns, name, cell if name in texts else float(cell))
