"""The holes that absences and overflows left in the values of one server, until its history was asked for them.

A hole is written down before the value that ends it is handed on, and its end is part of the bookkeeping that the journal keeps with each page
of history: a death at any moment leaves every hole either still to be filled from where the journal stands, or settled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_agent.core import Overflow, Samples, Tag, Texts
from edge_agent.sources.opcua_security import write_private
from edge_agent.sources.source import Item

HOLES_FILE: Final = "holes"
HELD_AT_MOST: Final = 50_000
"""Holes kept to be filled; of more the newest are left as they are."""
_UNKNOWN: Final = np.iinfo(np.int64).min


class Hole(msgspec.Struct, frozen=True, array_like=True):
    """Values of a tag may be missing between two source times, ns UTC, both of them known; holes are numbered in the order they were found."""

    number: int
    tag: int
    after_ns: int
    before_ns: int


class _Kept(msgspec.Struct, frozen=True):
    holes: list[Hole]
    following: int = 1


class Cursor(msgspec.Struct, frozen=True):
    """How far filling has come: all holes before `hole` are settled, of that one everything up to `at_ns` and `values` values are here."""

    hole: int = 0
    at_ns: int = 0
    values: int = 0


class Holes:
    """The holes of one source's tags, of numbers and of texts.

    newest_ns  source time of the newest value of a tag that the journal has
    at_ns      what a monotonic clock said when a hole was found is kept with it for this process: see `due`
    """

    def __init__(self, folder: Path, tags: Iterable[Tag], newest_ns: Callable[[int], int | None], resume: Mapping[str, Any]) -> None:
        self._folder, self._newest_ns = folder, newest_ns
        self._tags = [tag.id for tag in tags if tag.kind != "block"]
        size = max(self._tags, default=-1) + 1
        self._period_ns = np.zeros(size, np.int64)
        for tag in tags:
            if tag.id < size:
                self._period_ns[tag.id] = round((tag.expected_s or 0.0) * 1e9)
        self._handed_ns = np.full(size, _UNKNOWN, np.int64)
        self._after_ns = np.full(size, _UNKNOWN, np.int64)
        self._awaited = np.zeros(size, np.bool_)
        self._covered_ns = np.full(size, _UNKNOWN, np.int64)
        self._found_s: dict[int, float] = {}
        self.left = 0
        """Holes that were found and not kept, as there were too many."""
        try:
            self.cursor = msgspec.convert(resume.get("history", {}), Cursor)
        except msgspec.ValidationError:
            self.cursor = Cursor()
        try:
            kept = msgspec.msgpack.decode((folder / HOLES_FILE).read_bytes(), type=_Kept)
        except (OSError, msgspec.DecodeError):
            kept = _Kept([], self.cursor.hole + 1)
        self._following = max(kept.following, self.cursor.hole + 1)
        # A hole whose end never became durable is found anew, with the end that it will have.
        self.holes = [h for h in kept.holes if h.number >= self.cursor.hole and h.tag < size and (newest_ns(h.tag) or _UNKNOWN) >= h.before_ns]
        for hole in self.holes:
            self._covered_ns[hole.tag] = max(self._covered_ns[hole.tag], hole.before_ns)

    def opened(self, *, resumed: bool) -> None:
        """A connection begins: each tag's first value behind the newest one known shows whether there is a hole.

        A subscription that was taken up again says by an overflow what it lost of tags without a period, as the pipeline takes it.
        """
        for tag in self._tags:
            newest = self._newest_ns(tag)
            self._after_ns[tag] = max(self._handed_ns[tag], _UNKNOWN if newest is None else newest)
        self._awaited = (self._after_ns != _UNKNOWN) & ((self._period_ns > 0) | (not resumed))

    def see(self, items: Iterable[Item], now_s: float, until_ns: int) -> bool:
        """Look at items that are about to be handed on; whether there are new holes, which must be written down first.

        A stamp behind `until_ns` is too far ahead: the pipeline rejects its value, which so ends no hole.
        """
        before = self._following
        for item in items:
            if isinstance(item, Overflow):
                if item.tag < len(self._period_ns) and item.before_ns <= until_ns:
                    self._overflowed(item, now_s)
            elif isinstance(item, Samples | Texts):
                tags, times = np.asarray(item.tag, np.int32), np.asarray(item.time_ns, np.int64)
                ours = (tags < len(self._handed_ns)) & (times <= until_ns)
                tags, times = tags[ours], times[ours]
                if self._awaited.any():
                    self._first_values(tags, times, now_s)
                np.maximum.at(self._handed_ns, tags, times)
        return self._following != before

    def _overflowed(self, item: Overflow, now_s: float) -> None:
        after = item.after_ns
        if after == item.before_ns and not self._period_ns[item.tag]:
            after = min(after, self._newest(item.tag))  # the connection has seen no earlier value
        self._add(item.tag, after, item.before_ns, now_s)

    def _newest(self, tag: int) -> int:
        newest = self._newest_ns(tag)
        known = max(int(self._handed_ns[tag]), _UNKNOWN if newest is None else newest)
        return np.iinfo(np.int64).max if known == _UNKNOWN else known

    def _first_values(self, tags: NDArray[np.int32], times: NDArray[np.int64], now_s: float) -> None:
        for row in np.flatnonzero(self._awaited[tags]).tolist():
            tag, time_ns = int(tags[row]), int(times[row])
            if not self._awaited[tag] or time_ns <= self._after_ns[tag]:
                continue
            self._awaited[tag] = False
            period = int(self._period_ns[tag])
            if not period or time_ns - self._after_ns[tag] > period * 3 // 2:
                self._add(tag, int(self._after_ns[tag]), time_ns, now_s)

    def _add(self, tag: int, after_ns: int, before_ns: int, now_s: float) -> None:
        after_ns = max(after_ns, int(self._covered_ns[tag]))
        if before_ns - after_ns < 2:
            return
        self._covered_ns[tag] = before_ns
        if len(self.holes) >= HELD_AT_MOST:
            self.left += 1
            return
        self.holes.append(Hole(self._following, tag, after_ns, before_ns))
        self._found_s[self._following] = now_s
        self._following += 1

    def write(self) -> None:
        """Write them down, whole or not at all; blocks."""
        write_private(self._folder / HOLES_FILE, msgspec.msgpack.encode(_Kept(self.holes, self._following)))

    @property
    def first(self) -> Hole | None:
        """The hole to fill now."""
        return self.holes[0] if self.holes else None

    def found_s(self, hole: Hole, unknown_s: float) -> float:
        """When a hole was found; `unknown_s` when that was in another life."""
        return self._found_s.setdefault(hole.number, unknown_s)

    def start_ns(self, hole: Hole) -> int:
        """Everything up to here is in the journal, or on its way there."""
        return max(hole.after_ns, self.cursor.at_ns) if self.cursor.hole == hole.number else hole.after_ns

    def came(self, hole: Hole, at_ns: int, values: int) -> int:
        """So many more values, up to `at_ns`, are handed on with the bookkeeping of now; how many there are of this hole."""
        total = values + (self.cursor.values if self.cursor.hole == hole.number else 0)
        self.cursor = Cursor(hole.number, at_ns, total)
        return total

    def settle(self, hole: Hole) -> None:
        """Nothing more comes of a hole."""
        self.holes.remove(hole)
        self._found_s.pop(hole.number, None)
        self.cursor = Cursor(hole.number + 1)

    def told(self) -> dict[str, int]:
        """What the journal keeps of it."""
        return msgspec.to_builtins(self.cursor)  # type: ignore[no-any-return]
