"""What to send next: alarms before live data before backlog, at most a window of bytes that no gateway has confirmed.

outbox  1 .......... position .......... live_from .......... head
        | confirmed          | backlog            | live          |      lane 0 (alarms, context, gaps ...) goes before both
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from edge_agent.core import Delivered, Log, LogError, Ranges, Row
from edge_agent.core.delivery import MAX_MESSAGE
from edge_agent.core.record import LANE_ALARM, LANE_DATA
from edge_agent.core.samples import Int64

STREAM: Final = "outbox"
_ROWS: Final = 1000
_PIECE_BYTES: Final = MAX_MESSAGE - 4096
"""Data of one message; the rest is for the head of the delivery."""
_ROW_BYTES: Final = 24
BACKLOG_BYTES: Final = 1 << 20
"""Backlog on its way at the most, or half the window where that is less: a live value waits for all that was sent before it."""
_MESSAGE_BYTES: Final = _PIECE_BYTES - _ROWS * _ROW_BYTES


def common(held: Sequence[Ranges], copies: int) -> Ranges:
    """The numbers that at least `copies` of several gateways hold.

    >>> common([Ranges([(1, 5)]), Ranges([(4, 9)]), Ranges([(9, 9)])], 2)
    Ranges([(4, 5), (9, 9)])
    """
    steps: dict[int, int] = {}
    for ranges in held:
        for a, b in ranges.ranges:
            steps[a] = steps.get(a, 0) + 1
            steps[b + 1] = steps.get(b + 1, 0) - 1
    found, have, since = [], 0, 0
    for seq in sorted(steps):
        before, have = have, have + steps[seq]
        if before < copies <= have:
            since = seq
        elif have < copies <= before:
            found.append((since, seq - 1))
    return Ranges(found)


@dataclass(frozen=True, slots=True)
class Message:
    """Records that travel together; a record too large for one message makes several `parts` of its pieces."""

    parts: tuple[tuple[Delivered, ...], ...]
    seqs: Int64
    size: int


@dataclass(slots=True)
class _Flying:
    message: Message
    sent_ns: int
    backlog: int
    """Bytes of it that are backlog."""


class Outgoing:
    """Decides what is sent; knows nothing of connections. One thread at a time.

    window_bytes   unconfirmed data at the most; alarms may take a quarter more, a single record always fits; backlog takes BACKLOG_BYTES of it,
                   half of it at the most
    again_ns       age at which unconfirmed data is sent again
    gather_ns      time that live data waits for more before it is sent, once all that was there is sent; alarms and what was missed never wait
    """

    def __init__(self, outbox: Log, *, window_bytes: int, again_ns: int, gather_ns: int = 0) -> None:
        self._outbox = outbox
        self._gather_ns, self._gathered_ns = gather_ns, -gather_ns
        self._window, self._backlog_window = window_bytes, min(BACKLOG_BYTES, window_bytes // 2)
        self._again_ns = again_ns
        self._held: Int64 = np.empty((0, 2), np.int64)
        self._flying: OrderedDict[int, _Flying] = OrderedDict()
        self._order = 0
        self._newest_confirmed, self._answered = -1, 0
        self._in_flight: set[int] = set()
        self._bytes = self._backlog_bytes = 0
        self._progress_ns = 0
        self._patience = 1
        self._probe = False
        self.position = 0
        """Every record up to here that still exists is confirmed."""
        self.resent = 0
        """Records whose first sending was not confirmed in time."""
        self.damaged: set[int] = set()
        """Records of the outbox that cannot be read; they are never confirmed and hold the position."""
        self._from_start()

    def _from_start(self) -> None:
        self._alarms = self._backlog = self.position
        self._live_from = self._live = max(self._outbox.head(STREAM).seq, self.position)
        self._passed = self._live_from

    @property
    def in_flight_bytes(self) -> int:
        """Bytes sent and not confirmed."""
        return self._bytes

    def next(self, now_ns: int) -> Message | None:
        """The next message, or None when there is nothing to send or the window is full."""
        if self._probe and self._flying:
            return None
        head = self._outbox.head(STREAM).seq
        message, backlog = None, 0
        if self._bytes < self._window + self._window // 4:
            self._alarms, message = self._take(self._alarms, head, LANE_ALARM)
        if message is None and self._bytes < self._window:
            if now_ns - self._gathered_ns >= self._gather_ns:
                self._live, message = self._take(self._live, head, LANE_DATA)
                if message is not None and self._live >= head:
                    self._gathered_ns = now_ns
            if message is None and self._backlog_bytes < self._backlog_window:
                message = self._take_backlog()
                backlog = message.size if message is not None else 0
        if message is None:
            return None
        if not self._flying:
            self._progress_ns = now_ns
        self._flying[self._order] = _Flying(message, now_ns, backlog)
        self._order += 1
        self._in_flight.update(message.seqs.tolist())
        self._bytes += message.size
        self._backlog_bytes += backlog
        return message

    def _take_backlog(self) -> Message | None:
        self._backlog, message = self._take(self._backlog, self._live_from, LANE_DATA)
        if message is None and self._passed < self._live_from:  # once all of it was sent: the next round, of what was passed over
            self._backlog, self._passed = self._passed, self._live_from
            self._backlog, message = self._take(self._backlog, self._live_from, LANE_DATA)
        return message

    def _take(self, after: int, through: int, lane: int) -> tuple[int, Message | None]:
        while after < through:
            after = max(after, self._end_of_held(after + 1))
            rows = self._read(after, through, lane)
            if not rows:
                return through, None
            wanted = ~self._confirmed(np.array([row.seq for row in rows], np.int64))
            fresh = [row for row, want in zip(rows, wanted.tolist(), strict=True) if want and row.seq not in self._in_flight]
            after = rows[-1].seq
            if fresh:
                return after, _message(fresh)
        return after, None

    def _read(self, after: int, through: int, lane: int) -> list[Row]:
        try:
            return self._outbox.read(STREAM, after, through=through, max_bytes=_MESSAGE_BYTES, max_rows=_ROWS, lanes=(lane,))
        except LogError:
            # One rotten record must not hold up those behind it: find it, leave it out, show it.
            for seq in range(after + 1, through + 1):
                try:
                    rows = self._outbox.read(STREAM, seq - 1, through=seq, lanes=(lane,))
                except LogError:
                    self.damaged.add(seq)
                    continue
                if rows:
                    return rows
            return []

    def confirm(self, held: Ranges, now_ns: int) -> None:
        """The gateways say that they hold these numbers, and no others; whatever they say, they are there."""
        self._patience, self._probe = 1, False
        self._answered = self._order
        self._held = np.array(held.ranges, np.int64).reshape(-1, 2)
        for order, flying in list(self._flying.items()):
            if self._confirmed(flying.message.seqs).all():
                self._land(order)
                self._newest_confirmed = max(self._newest_confirmed, order)
                self._progress_ns = now_ns
        self._advance()

    def _advance(self) -> None:
        # Numbers that no longer exist were shed; a gap record says so, and nothing waits for them.
        head = self._outbox.head(STREAM).seq
        while self.position < head:
            end = self._end_of_held(self.position + 1)
            if end > self.position:
                self.position = min(end, head)
                continue
            try:
                rows = self._outbox.read(STREAM, self.position, through=head, max_rows=1)
            except LogError:
                return
            following = rows[0].seq - 1 if rows else head
            if following == self.position:
                return
            self.position = following

    def again(self, now_ns: int) -> bool:
        """Give up waiting for what was sent too long ago, so that `next` brings it again; returns whether anything was given up.

        A message is overdue when a later one has been confirmed and it has not. When nothing at all is confirmed everything is overdue, and
        until a gateway says anything only one message is sent, ever more rarely: a broker must not be filled for a gateway that is away.
        Backlog that a gateway has passed over waits until the rest of it was sent: what is never confirmed must not hold it up.
        """
        overdue = [o for o, f in self._flying.items() if o < self._newest_confirmed and now_ns - f.sent_ns >= self._again_ns]
        if not overdue and self._flying and now_ns - self._progress_ns >= self._again_ns * self._patience:
            self._patience = min(2 * self._patience, 12)
            self._probe = True
            overdue = list(self._flying)
        if not overdue:
            return False
        for order in overdue:
            flying = self._flying[order]
            self.resent += len(flying.message.seqs)
            self._land(order)
            before = int(flying.message.seqs[0]) - 1
            if not flying.backlog:
                self._alarms = min(self._alarms, before)
                self._live = max(min(self._live, before), self._live_from)
            elif order < self._answered:
                self._passed = min(self._passed, before)
            else:
                self._backlog = min(self._backlog, before)
        return True

    def everything_again(self) -> None:
        """A gateway began a new session: what was sent and is not confirmed may have reached nobody."""
        self.resent += len(self._in_flight)
        for order in list(self._flying):
            self._land(order)
        self._patience, self._probe = 1, False
        self._from_start()

    def _land(self, order: int) -> None:
        flying = self._flying.pop(order)
        self._in_flight.difference_update(flying.message.seqs.tolist())
        self._bytes -= flying.message.size
        self._backlog_bytes -= flying.backlog

    def _confirmed(self, seqs: Int64) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        if not len(self._held):
            return np.zeros(len(seqs), np.bool_)
        at = np.searchsorted(self._held[:, 0], seqs, "right") - 1
        return np.asarray((at >= 0) & (seqs <= self._held[at, 1]), np.bool_)

    def _end_of_held(self, seq: int) -> int:
        """The end of the confirmed range that holds a number; 0 when none does."""
        at = int(np.searchsorted(self._held[:, 0], seq, "right")) - 1
        return int(self._held[at, 1]) if at >= 0 and seq <= self._held[at, 1] else 0


def _message(rows: Sequence[Row]) -> Message:
    records = [Delivered(row.seq, row.chain, row.data) for row in rows]
    size = sum(len(row.data) + _ROW_BYTES for row in rows)
    parts: tuple[tuple[Delivered, ...], ...] = (tuple(records),)
    if len(records) == 1 and len(rows[0].data) > _PIECE_BYTES:
        parts = tuple((piece,) for piece in records[0].pieces(_PIECE_BYTES))
    return Message(parts, np.array([row.seq for row in rows], np.int64), size)
