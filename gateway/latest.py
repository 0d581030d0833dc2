"""The newest value of every tag, held in memory and brought up to date with every commit."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_agent.core import Tag, pack, unpack
from edge_agent.core.status import QUALITY_NAMES, quality
from gateway.rollup import Rows
from gateway.rows import Quality, Value
from gateway.tail import TextRow

PERIODS: Final = 3
LEAST_STALE_S: Final = 5.0
"""A periodic tag is not called stale before this, whatever its period: records travel in batches."""
SUMMARY_S: Final = 30.0
"""Allowance for tags that are recorded as summaries only: their values come when a window closes."""

_COLUMNS: Final = ("time_ns", "value", "status", "received_ns")


class Latest:
    """Newest values of one edge by the gateway's tag number."""

    def __init__(self) -> None:
        self.time_ns: NDArray[np.int64] = np.zeros(0, np.int64)
        self.value: NDArray[np.float64] = np.zeros(0, np.float64)
        self.status: NDArray[np.uint32] = np.zeros(0, np.uint32)
        self.received_ns: NDArray[np.int64] = np.zeros(0, np.int64)
        self.texts: dict[int, str] = {}

    def state(self) -> bytes:
        """Everything, to be kept where the values themselves leave the inbox."""
        columns = {name: getattr(self, name) for name in _COLUMNS}
        return pack(columns | {"texts": {str(n): text for n, text in self.texts.items()}})

    @classmethod
    def restored(cls, state: bytes) -> Latest:
        """What `state` gave; WireError when the bytes are damaged."""
        tree = unpack(state)
        made = cls()
        for name in _COLUMNS:
            setattr(made, name, tree[name])
        made.texts = {int(n): text for n, text in tree["texts"].items()}
        return made

    def _grow(self, size: int) -> None:
        if size > len(self.time_ns):
            size = max(size, 2 * len(self.time_ns), 64)
            for name in _COLUMNS:
                old = getattr(self, name)
                new = np.zeros(size, old.dtype)
                new[: len(old)] = old
                setattr(self, name, new)

    def samples(self, rows: Rows) -> NDArray[np.int32]:
        """Take in samples in the order they came; the tag numbers that have a newer value, some more than once."""
        if len(rows) == 0:
            return np.empty(0, np.int32)
        self._grow(int(rows["tag"].max()) + 1)
        # Newest last: assignment through repeated indices keeps the last one.
        order = np.argsort(rows["time_ns"], kind="stable")
        order = order[rows["time_ns"][order] >= self.time_ns[rows["tag"][order]]]
        tag: NDArray[np.int32] = rows["tag"][order]
        for name in _COLUMNS:
            getattr(self, name)[tag] = rows[name][order]
        return tag

    def text(self, row: TextRow) -> bool:
        """Take in a text value; whether it is newer."""
        self._grow(row.tag + 1)
        if row.time_ns < self.time_ns[row.tag]:
            return False
        self.time_ns[row.tag], self.status[row.tag], self.received_ns[row.tag] = row.time_ns, row.status, row.received_ns
        self.texts[row.tag] = row.value
        return True

    def known(self, number: int) -> bool:
        """Whether a tag has a value."""
        return number < len(self.time_ns) and bool(self.time_ns[number])

    def of(self, number: int) -> tuple[int, Value, int]:
        """(time_ns, value, status) of a tag that has one."""
        value: Value = self.texts.get(number)
        if value is None:
            found = float(self.value[number])
            value = found if np.isfinite(found) else None
        return int(self.time_ns[number]), value, int(self.status[number])

    def quality(self, number: int, tag: Tag, now_ns: int, *, simulated: bool, connected: bool) -> Quality:
        """good, uncertain, bad, or stale: a periodic tag that is silent for three periods, any tag whose edge is not heard."""
        limit_s = None
        if tag.expected_s is not None and tag.record != "changes" and tag.kind == "numeric":
            limit_s = max(PERIODS * tag.expected_s, LEAST_STALE_S) + (SUMMARY_S if tag.record == "summary" else 0.0)
        if not connected or (limit_s is not None and now_ns - int(self.received_ns[number]) > limit_s * 1e9):
            return "stale"
        return QUALITY_NAMES[quality(int(self.status[number]), simulated=simulated)]
