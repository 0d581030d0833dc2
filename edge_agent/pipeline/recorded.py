"""Which values are recorded one by one, and where quality turns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.core import Samples
from edge_agent.core.samples import Int32, Int64, UInt8, UInt32
from edge_agent.pipeline.quality import Screened
from models.compiled import kernel

Bool = NDArray[np.bool_]


@kernel(
    "int64(Array(int64, 1, 'C', readonly=True), Array(int32, 1, 'C', readonly=True), Array(int64, 1, 'C', readonly=True),"
    " Array(uint32, 1, 'C', readonly=True), Array(uint8, 1, 'C', readonly=True),"
    " boolean[::1], boolean[::1], int64[::1], int64[::1], int64[::1], int64[::1], int64[::1], boolean[::1])"
)
def _choose(
    time_ns: Int64, tag: Int32, bits: Int64, status: UInt32, fate: UInt8, raw: Bool, changes: Bool,
    newest_ns: Int64, last_bits: Int64, last_status: Int64, earlier_bits: Int64, earlier_status: Int64, chosen: Bool,
) -> int:  # fmt: skip
    """Mark the rows to record: all of a raw tag, those that differ from the one before of a tag recorded by changes; returns how many.

    A row older than the newest one of its tag follows the older rows that came just before it, and the first of them is recorded in any case: what
    a history brings between two live values must hide no change, neither its own nor the next live one.
    """
    n = 0
    for i in range(len(tag)):
        k = tag[i]
        if fate[i] > 3:
            chosen[i] = False
        elif raw[k]:
            chosen[i] = True
        elif not changes[k]:
            chosen[i] = False
        elif time_ns[i] < newest_ns[k]:
            chosen[i] = bits[i] != earlier_bits[k] or np.int64(status[i]) != earlier_status[k]
            earlier_bits[k] = bits[i]
            earlier_status[k] = np.int64(status[i])
        else:
            chosen[i] = bits[i] != last_bits[k] or np.int64(status[i]) != last_status[k]
            newest_ns[k] = time_ns[i]
            last_bits[k] = bits[i]
            last_status[k] = np.int64(status[i])
            earlier_status[k] = -1
        n += chosen[i]
    return n


@kernel("int64(Array(int32, 1, 'C', readonly=True), Array(uint8, 1, 'C', readonly=True), uint8[::1], int64[::1])")
def _flips(tag: Int32, fate: UInt8, bad: UInt8, rows: Int64) -> int:
    """Rows at which a tag's quality turns bad or comes back, and `bad` (tags,) moved on; returns how many."""
    n = 0
    for i in range(len(tag)):
        now = np.uint8(1) if fate[i] == 2 else np.uint8(0)
        if now != bad[tag[i]]:
            bad[tag[i]] = now
            rows[n] = i
            n += 1
    return n


def flips(tag: NDArray[np.int32], fate: NDArray[np.uint8], bad: NDArray[np.uint8]) -> list[int]:
    """Rows at which a tag turns bad or is no longer bad; `bad` (tags,) is moved on."""
    rows = np.empty(len(tag), np.int64)
    return [int(r) for r in rows[: _flips(tag, fate, bad, rows)]]


class Recorder:
    """Picks the rows that are recorded: raw and changes are (tags,) bool."""

    def __init__(self, raw: NDArray[np.bool_], changes: NDArray[np.bool_]) -> None:
        self._raw, self._changes = raw, changes
        self._last_bits = np.zeros(len(raw), np.int64)
        self._last_status = np.full(len(raw), -1, np.int64)
        self._newest_ns = np.full(len(raw), np.iinfo(np.int64).min, np.int64)
        self._earlier_bits = np.zeros(len(raw), np.int64)
        self._earlier_status = np.full(len(raw), -1, np.int64)

    def step(self, rows: Screened) -> Samples | None:
        """The record of these rows; the very samples of `rows` when all of them are recorded."""
        samples = rows.samples
        chosen = self.chosen(rows)
        n = np.count_nonzero(chosen)
        if n == len(samples):
            return samples  # as it came, so that its bytes are stored once
        return samples.take(chosen) if n else None

    def chosen(self, rows: Screened) -> Bool:
        """Which of these rows (n,) are recorded."""
        samples = rows.samples
        chosen = np.empty(len(samples), np.bool_)
        _choose(
            samples.time_ns, samples.tag, samples.value.view(np.int64), samples.status, rows.fate, self._raw, self._changes,
            self._newest_ns, self._last_bits, self._last_status, self._earlier_bits, self._earlier_status, chosen,
        )  # fmt: skip
        return chosen

    def state(self) -> dict[str, Any]:
        """What the next row of each tag is compared with."""
        return {name: column.copy() for name, column in self._columns()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state of as many tags or fewer; one of an earlier version knows nothing of older rows."""
        for name, column in self._columns():
            if name in state:
                column[: len(state[name])] = state[name]

    def _columns(self) -> tuple[tuple[str, Int64], ...]:
        return (
            ("last_bits", self._last_bits), ("last_status", self._last_status), ("newest_ns", self._newest_ns),
            ("earlier_bits", self._earlier_bits), ("earlier_status", self._earlier_status),
        )  # fmt: skip
