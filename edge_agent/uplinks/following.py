"""For targets that keep no account of records: a place of our own in the outbox, live records first, what was missed behind them.

    outbox  1 .......... position .......... live_from .......... head
            | done               | missed            | live          |

After a restart everything behind the durable position goes out again; as long as the process lives only what is not done does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from edge_agent.core import Log, LogError, Ranges, Row
from edge_agent.uplinks.outgoing import STREAM

PORTION_BYTES: Final = 256 * 1024
"""Bytes of one portion at the most, but for a single record that is larger."""
_ROWS: Final = 200


@dataclass(frozen=True, slots=True)
class Portion:
    """Records of the numbers first..last, oldest first; numbers without one were shed, forgotten or cannot be read.

    live     they were made while we were connected; otherwise they are history
    damaged  how many cannot be read
    """

    first: int
    last: int
    live: bool
    rows: tuple[Row, ...]
    damaged: int = 0

    @property
    def size(self) -> int:
        """Bytes of the records."""
        return sum(len(row.data) for row in self.rows)

    @property
    def gone(self) -> int:
        """Numbers of which nothing is left to send."""
        return self.last - self.first + 1 - len(self.rows)


class Following:
    """Decides what is sent next; knows nothing of connections. One thread at a time.

    place               up to here everything was done, in this life or an earlier one
    missed_bytes_per_s  at which missed records are given out by `next`
    """

    def __init__(self, outbox: Log, place: int, *, portion_bytes: int = PORTION_BYTES, missed_bytes_per_s: int = 1 << 30) -> None:
        self._outbox = outbox
        self._bytes = portion_bytes
        self._rate = missed_bytes_per_s
        self._missed_ns = 0
        self._done = Ranges([(1, place)] if place > 0 else [])
        self._live = self._live_from = 0
        self.begin()

    @property
    def position(self) -> int:
        """Everything up to here is done."""
        ranges = self._done.ranges
        return ranges[0][1] if ranges and ranges[0][0] == 1 else 0

    @property
    def behind(self) -> int:
        """Numbers that are not done."""
        return self._outbox.head(STREAM).seq - sum(b - a + 1 for a, b in self._done.ranges)

    @property
    def drained(self) -> bool:
        """Whether nothing is left that was missed."""
        return self.position >= self._live_from

    def begin(self) -> None:
        """A new connection: whatever is not done by now is history."""
        self._live = self._live_from = self._outbox.head(STREAM).seq

    def next(self, now_ns: int) -> Portion | None:
        """What to send now: live records, or missed ones when it is their time; None when there is nothing or it is too early."""
        portion = self.live()
        if portion is None and now_ns >= self._missed_ns:
            portion = self.missed()
            if portion is not None:
                self._missed_ns = now_ns + portion.size * 1_000_000_000 // self._rate
        return portion

    def pause_s(self, now_ns: int) -> float:
        """Seconds until missed records may be sent again; 0 when they may or it does not matter."""
        return max(0.0, (self._missed_ns - now_ns) / 1e9)

    def live(self) -> Portion | None:
        """The next records that were made since `begin`, or None."""
        head = self._outbox.head(STREAM).seq
        if self._live >= head:
            return None
        portion = self._read(self._live + 1, head, live=True)
        self._live = portion.last
        return portion

    def missed(self) -> Portion | None:
        """The oldest records that are not done and were made before `begin`, or None; the same again until they are done."""
        first = self.position + 1
        if first > self._live_from:
            return None
        following = [a for a, _ in self._done.ranges if a > first]
        return self._read(first, min([self._live_from, *(a - 1 for a in following[:1])]), live=False)

    def newest_first(self, rows: int) -> Iterator[Row]:
        """The last records of the outbox, newest first, as far as they can be read."""
        head = self._outbox.head(STREAM).seq
        for seq in range(head, max(head - rows, 0), -1):
            try:
                yield from self._outbox.read(STREAM, seq - 1, through=seq)
            except LogError:
                continue

    def done(self, portion: Portion) -> None:
        """The target has it."""
        self._done.add(portion.first, portion.last)

    def _read(self, first: int, last: int, *, live: bool) -> Portion:
        try:
            rows = self._outbox.read(STREAM, first - 1, through=last, max_bytes=self._bytes, max_rows=_ROWS)
        except LogError:
            # One rotten record must not hold up those behind it.
            try:
                rows = self._outbox.read(STREAM, first - 1, through=first, max_bytes=self._bytes)
            except LogError:
                return Portion(first, first, live, (), damaged=1)
            return Portion(first, first, live, tuple(rows))
        full = bool(rows) and rows[-1].seq < last
        return Portion(first, rows[-1].seq if full else last, live, tuple(rows))
