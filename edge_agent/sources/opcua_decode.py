"""From the bytes of a PublishResponse to columns.

The kernel reads what nearly every message consists of: scalar numbers, booleans and strings. Whatever it leaves (arrays, localized texts,
structures) is walked item by item with asyncua's Variant decoder; the frame of the DataValue is read here because asyncua keeps only
microseconds of a DateTime and takes picoseconds in another order than OPC 10000-6, table 26.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from edge_agent.core import Overflow, Samples, Tag, Texts
from edge_agent.sources import opcua_kernel as kernel
from edge_agent.sources.opcua_walk import DamagedError, Walker
from edge_agent.sources.source import Item

PUBLISH_RESPONSE: Final = 829
REPUBLISH_RESPONSE: Final = 835
_DATA_CHANGE: Final = 811
_STATUS_CHANGE: Final = 820
"""Numbers of the binary encodings in namespace 0 (OPC 10000-6, annex A)."""

_SIZES: Final = (0, 1, 1, 1, 2, 2, 4, 4, 8, 8, 4, 8)
"""Bytes of the types 0 (null), 1 Boolean .. 11 Double."""
_NO_DIAGNOSTICS: Final = b"\xff\xff\xff\xff"

_HEAD: Final = struct.Struct("<BBHqIIBi3B")
_PUBLISH: Final = struct.Struct("<Ii")
_MESSAGE: Final = struct.Struct("<Iqi")


@dataclass(frozen=True, slots=True)
class Envelope:
    """What stands around a notification message.

    type_id       number of the response's encoding
    result        service result, a StatusCode
    subscription  0 when there is none
    available     sequence numbers that the server still holds for republishing
    more          the server has more to send at once
    at            where the NotificationMessage starts, the end when there is none
    """

    type_id: int
    result: int
    subscription: int
    available: tuple[int, ...]
    more: bool
    at: int


@dataclass(frozen=True, slots=True)
class Message:
    """One NotificationMessage.

    sequence     its number; a keep-alive carries the next number without using it
    keep_alive   nothing but a sign of life
    items        Overflow, Samples and Texts in the order of arrival
    status       StatusCode of a StatusChangeNotification: the subscription has ended or moved
    damaged      why some of its values could not be read, "" when all could
    end          where the bytes behind it start
    """

    sequence: int
    keep_alive: bool
    items: tuple[Item, ...] = ()
    status: int | None = None
    damaged: str = ""
    end: int = 0


def envelope(body: bytes) -> Envelope:
    """The envelope of a PublishResponse, RepublishResponse or ServiceFault; DamagedError when it is none."""
    try:
        # Nearly always: a four-byte type id, no diagnostics, no strings, no additional header.
        four, namespace, type_id, _, _, result, infos, strings, extra0, extra1, extra2 = _HEAD.unpack_from(body)
        at = _HEAD.size
        if (four, namespace, infos, extra0, extra1, extra2) != (1, 0, 0, 0, 0, 0) or strings > 0:
            type_id, result, at = response_head(body)
        if type_id != PUBLISH_RESPONSE or result >> 30:
            return Envelope(type_id, result, 0, (), more=False, at=at)
        subscription, count = _PUBLISH.unpack_from(body, at)
        at += _PUBLISH.size
        if count * 4 > len(body) - at:
            raise DamagedError(f"publish response: {count} sequence numbers in {len(body) - at} bytes")
        available = struct.unpack_from(f"<{max(count, 0)}I", body, at)
        at += 4 * len(available)
        return Envelope(type_id, result, subscription, available, body[at] != 0, at + 1)
    except (struct.error, IndexError) as error:
        raise DamagedError(f"publish response of {len(body)} bytes: {error}") from error


def response_head(body: bytes) -> tuple[int, int, int]:
    """Number of a response's encoding, its service result, and where its parameters start; DamagedError when there is no header."""
    from asyncua import ua
    from asyncua.common.utils import Buffer
    from asyncua.ua.ua_binary import nodeid_from_binary, struct_from_binary

    buffer = Buffer(body)
    try:
        type_id = nodeid_from_binary(buffer)
        header = struct_from_binary(ua.ResponseHeader, buffer)
    except (ua.UaError, ValueError, TypeError, struct.error, OverflowError, RecursionError) as error:
        raise DamagedError(f"response header: {error}") from error
    return int(type_id.Identifier), int(header.ServiceResult.value), buffer.cur_pos


def acknowledgements(body: bytes, at: int) -> tuple[int, ...]:
    """Status codes of the acknowledgements that a PublishResponse answers, behind its message; () when there are none or they are damaged."""
    if at + 4 > len(body):
        return ()
    (count,) = struct.unpack_from("<i", body, at)
    if count <= 0 or at + 4 + 4 * count > len(body):
        return ()
    return struct.unpack_from(f"<{count}I", body, at + 4)


@dataclass
class Decoder:
    """Decodes the messages of one source; remembers the last source time of each of its tags.

    tags     what the source feeds; a tag's client handle is its id
    basis    kernel.SOURCE, SERVER or RECEIVED: which time becomes the time of a value
    queue    the server's queue size by tag id, set with `queued`
    max_skew_ns  so much may a stamp be ahead of its receipt; no hole begins with one further ahead
    """

    source: str
    tags: tuple[Tag, ...]
    basis: int = kernel.SOURCE
    counters: dict[str, int] = field(default_factory=dict)
    max_skew_ns: int = 86_400_000_000_000

    def __post_init__(self) -> None:
        size = max((tag.id for tag in self.tags), default=-1) + 1
        self._tag_of = np.full(size, -1, np.int32)
        self._is_text = np.zeros(size, np.uint8)
        self._period_ns = np.zeros(size, np.int64)
        self._queue = np.zeros(size, np.int32)
        self._last_ns = np.full(size, kernel.ABSENT, np.int64)
        self._suspect = np.zeros(size, np.uint8)
        self._seen = np.zeros(size, np.int32)
        self._counts = np.zeros(kernel.COUNTS, np.int64)
        for tag in self.tags:
            self._tag_of[tag.id] = tag.id
            self._is_text[tag.id] = tag.kind == "text"
            self._period_ns[tag.id] = round((tag.expected_s or 0.0) * 1e9)
        self._bytes = np.empty(0, np.uint8)
        self._room(1 << 12)

    def _room(self, size: int) -> None:
        if size <= len(self._bytes):
            return
        size = 1 << (size - 1).bit_length()
        rows = size // 5 + 1
        self._bytes = np.empty(size, np.uint8)
        self._source_ns, self._server_ns, self._time_ns = (np.empty(rows, np.int64) for _ in range(3))
        self._tag, self._overflow_row = (np.empty(rows, np.int32) for _ in range(2))
        self._value = np.empty(rows, np.float64)
        self._status = np.empty(rows, np.uint32)
        self._kind, self._keep = (np.empty(rows, np.uint8) for _ in range(2))
        self._text_at, self._text_len, self._overflow_after = (np.empty(rows, np.int64) for _ in range(3))

    def queued(self, tag: int, size: int) -> None:
        """The server granted a queue of this size."""
        self._queue[tag] = size

    def suspect(self) -> None:
        """Values of any tag may be missing before its next one: a message was lost, or the connection was away."""
        self._suspect[:] = 1

    def _add(self, counter: str, n: int) -> None:
        if n:
            self.counters[counter] = self.counters.get(counter, 0) + n

    def message(self, body: bytes, at: int, received_ns: int) -> Message:
        """The NotificationMessage at body[at:]; DamagedError when not even its sequence number can be read.

        Damage further in is told in `damaged`; the values before it are kept and every tag is then suspect.
        """
        try:
            sequence, _, count = _MESSAGE.unpack_from(body, at)
        except struct.error as error:
            raise DamagedError(f"notification message: {error}") from error
        at += _MESSAGE.size
        if count <= 0:
            return Message(sequence, keep_alive=True, end=at)
        items: list[Item] = []
        status: int | None = None
        damaged = ""
        try:
            for _ in range(count):
                kind, start, at = extension(body, at)
                if kind == _DATA_CHANGE:
                    items += self.data_change(body, start, at, received_ns)
                elif kind == _STATUS_CHANGE:
                    (status,) = struct.unpack_from("<I", body, start)
                else:
                    self._add("notifications_ignored", 1)
        except (DamagedError, struct.error) as error:
            damaged = str(error)
            self._add("messages_damaged", 1)
            self.suspect()
        return Message(sequence, keep_alive=False, items=tuple(items), status=status, damaged=damaged, end=at)

    def history(self, body: bytes, start: int, end: int, tag: int, received_ns: int) -> Samples | Texts:
        """The values of one tag in the HistoryData of body[start:end]; DamagedError when its bytes make no sense."""
        told = notification_of(body, start, end, tag) if end > start else b""
        items = self.data_change(told, 0, len(told), received_ns) if told else []
        return next((item for item in items if isinstance(item, Samples | Texts)), Samples.of([], [], []))

    def data_change(self, body: bytes, start: int, end: int, received_ns: int) -> list[Item]:
        """The items of the DataChangeNotification in body[start:end]; DamagedError when its bytes make no sense."""
        size = end - start
        self._room(size)
        self._bytes[:size] = np.frombuffer(body, np.uint8, size, start)
        n = kernel.data_change(
            self._bytes, 0, size, self._tag_of, self._source_ns, self._server_ns, self._tag, self._value, self._status, self._kind,
            self._text_at, self._text_len,
        )  # fmt: skip
        texts: Mapping[int, str] | None = None
        if n == kernel.UNUSUAL:
            self._add("messages_slow", 1)
            n, texts = self._walk(body, start, end)
        elif n == kernel.DAMAGED:
            raise DamagedError(f"data change notification of {size} bytes")
        return self._settled(n, body[start:end], texts, received_ns)

    def _settled(self, n: int, body: bytes, texts: Mapping[int, str] | None, received_ns: int) -> list[Item]:
        counts = self._counts
        kernel.settle(
            n, self.basis, received_ns, received_ns + self.max_skew_ns,
            self._source_ns, self._server_ns, self._tag, self._value, self._status, self._kind,
            self._is_text, self._period_ns, self._queue, self._last_ns, self._suspect, self._seen, self._time_ns, self._keep,
            self._overflow_row, self._overflow_after, counts,
        )  # fmt: skip
        items: list[Item] = []
        for j in range(int(counts[kernel.OVERFLOWS])):
            row = int(self._overflow_row[j])
            before, after = int(self._time_ns[row]), int(self._overflow_after[j])
            # Without an earlier value the interval is empty: what was lost lies before anything this connection saw.
            after = before if after == kernel.ABSENT else after
            items.append(Overflow(received_ns=0, source=self.source, tag=int(self._tag[row]), after_ns=after, before_ns=before))
        self._add("overflows", int(counts[kernel.OVERFLOWS]))
        self._add("values", n - int(counts[kernel.DROPS]))
        self._add("values_without_source_time", int(counts[kernel.UNSTAMPED]))
        self._add("type_mismatches", int(counts[kernel.MISMATCHES]))
        samples = Samples(self._time_ns[:n], self._tag[:n], self._value[:n], self._status[:n])
        if counts[kernel.TEXTS] or counts[kernel.DROPS]:
            samples = samples.take(self._keep[:n] == kernel.SAMPLE)
        else:
            # The scratch columns are written over by the next message.
            samples = Samples(samples.time_ns.copy(), samples.tag.copy(), samples.value.copy(), samples.status.copy())
        if len(samples):
            items.append(samples)
        if counts[kernel.TEXTS]:
            rows = np.flatnonzero(self._keep[:n] == kernel.TEXT).tolist()
            words = [self._word(row, body, texts) for row in rows]
            times, tags, statuses = (column[rows].tolist() for column in (self._time_ns, self._tag, self._status))
            items.append(Texts(tuple(times), tuple(tags), tuple(words), tuple(statuses)))
        return items

    def _word(self, row: int, body: bytes, texts: Mapping[int, str] | None) -> str:
        if texts is not None and row in texts:
            return texts[row]
        kind = int(self._kind[row])
        if kind == kernel.STRING:
            at, size = int(self._text_at[row]), int(self._text_len[row])
            return body[at : at + size].decode("utf-8", "replace") if size > 0 else ""
        kind &= ~kernel.INEXACT
        if kind >= kernel.ARRAY or not 1 <= kind <= 11:
            return ""
        number = float(self._value[row])
        if kind == 1:
            return "true" if number else "false"
        return repr(number) if kind >= 10 else str(int(number))

    def _walk(self, body: bytes, start: int, end: int) -> tuple[int, dict[int, str]]:
        walker = Walker(body, start, end)
        n, texts = 0, {}
        for _ in range(walker.count(5)):
            handle = walker.unsigned(4)
            row = walker.data_value()
            if handle >= len(self._tag_of) or self._tag_of[handle] < 0:
                continue
            self._tag[n] = self._tag_of[handle]
            self._value[n], self._kind[n], self._status[n] = row.value, row.kind, row.status
            self._source_ns[n], self._server_ns[n] = row.source_ns, row.server_ns
            self._text_at[n], self._text_len[n] = 0, -1  # the scratch columns still hold an earlier message: a null text would read from it
            if row.text is not None:
                texts[n] = row.text
            n += 1
        for _ in range(walker.count(1)):
            walker.diagnostic_info()
        if walker.at != end:
            raise DamagedError(f"data change notification: {end - walker.at} bytes behind its end")
        return n, texts


def notification_of(body: bytes, start: int, end: int, handle: int) -> bytes:
    """The HistoryData in body[start:end] as the DataChangeNotification of one client handle; DamagedError when its bytes make no sense.

    A history hardly ever changes type or mask from value to value: then all values are of one size and nothing is walked.
    """
    walker = Walker(body, start, end)
    count, own = walker.count(1), handle.to_bytes(4, "little")
    if count and (end - walker.at) % count == 0:
        rows = np.frombuffer(body, np.uint8, end - walker.at, walker.at).reshape(count, -1)
        mask, width = int(rows[0, 0]), rows.shape[1]
        kind = int(rows[0, 1]) if width > 1 else 0
        size = 2 + _SIZES[kind] if 1 <= kind < len(_SIZES) and mask & 1 else 0
        size += sum(n for bit, n in ((2, 4), (4, 8), (8, 8), (16, 2), (32, 2)) if mask & bit)
        if size == width and mask & 1 and mask < 64 and (rows[:, :2] == rows[0, :2]).all():
            told = np.empty((count, 4 + width), np.uint8)
            told[:, :4] = np.frombuffer(own, np.uint8)
            told[:, 4:] = rows
            return count.to_bytes(4, "little") + told.tobytes() + _NO_DIAGNOSTICS
    parts = [count.to_bytes(4, "little")]
    for _ in range(count):
        at = walker.at
        walker.data_value()
        parts += (own, body[at : walker.at])
    if walker.at != end:
        raise DamagedError(f"history data: {end - walker.at} bytes behind its end")
    return b"".join((*parts, _NO_DIAGNOSTICS))


def extension(body: bytes, at: int) -> tuple[int, int, int]:
    """Type number, start and end of the ExtensionObject at body[at:]."""
    walker = Walker(body, at, len(body))
    kind = walker.node_number()
    encoding = walker.unsigned(1)
    if encoding == 0:
        return kind, walker.at, walker.at
    size = walker.unsigned(4)
    if encoding > 2 or size > len(body) - walker.at:
        raise DamagedError(f"notification: encoding {encoding}, {size} bytes announced, {len(body) - walker.at} left")
    return kind, walker.at, walker.at + size
