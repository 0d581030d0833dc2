"""From the bytes of a PublishResponse to columns.

The kernel reads what nearly every message consists of: scalar numbers, booleans and strings. Whatever it leaves (arrays, localized texts,
structures) is walked item by item with asyncua's Variant decoder; the frame of the DataValue is read here because asyncua keeps only
microseconds of a DateTime and takes picoseconds in another order than OPC 10000-6, table 26.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from edge_agent.core import Overflow, Samples, Tag, Texts
from edge_agent.sources import opcua_kernel as kernel
from edge_agent.sources.source import Item

SERVICE_FAULT: Final = 397
PUBLISH_RESPONSE: Final = 829
REPUBLISH_RESPONSE: Final = 835
_DATA_CHANGE: Final = 811
_STATUS_CHANGE: Final = 820
"""Numbers of the binary encodings in namespace 0 (OPC 10000-6, annex A)."""

_EXACT: Final = 1 << 53
_HEAD: Final = struct.Struct("<BBHqIIBi3B")
_PUBLISH: Final = struct.Struct("<Ii")
_MESSAGE: Final = struct.Struct("<Iqi")
_MAX_DEPTH: Final = 16


class DamagedError(Exception):
    """Bytes that are not what OPC 10000-6 says they should be."""


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
            type_id, result, at = _unusual_head(body)
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


def _unusual_head(body: bytes) -> tuple[int, int, int]:
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
    """

    source: str
    tags: tuple[Tag, ...]
    basis: int = kernel.SOURCE
    counters: dict[str, int] = field(default_factory=dict)

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
                kind, start, at = _extension(body, at)
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
            n, self.basis, received_ns, self._source_ns, self._server_ns, self._tag, self._value, self._status, self._kind,
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
            if row.text is not None:
                texts[n] = row.text
            n += 1
        for _ in range(walker.count(1)):
            walker.diagnostic_info()
        if walker.at != end:
            raise DamagedError(f"data change notification: {end - walker.at} bytes behind its end")
        return n, texts


def _extension(body: bytes, at: int) -> tuple[int, int, int]:
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


@dataclass(frozen=True, slots=True)
class Row:
    """One DataValue: `kind` is the Variant type (plus kernel.ARRAY, kernel.INEXACT), `text` that of a string, times are ns UTC or ABSENT."""

    value: float
    text: str | None
    kind: int
    status: int
    source_ns: int
    server_ns: int


class Walker:
    """Reads one structure after the other from body[at:end]; DamagedError when they do not fit."""

    def __init__(self, body: bytes, at: int, end: int) -> None:
        self._body, self.at, self._end = body, at, end

    def take(self, n: int) -> bytes:
        """The next n bytes."""
        part = self._body[self.at : self.at + n]
        if n < 0 or self.at + n > self._end:
            raise DamagedError(f"expected {n} bytes, found {self._end - self.at}")
        self.at += n
        return part

    def unsigned(self, n: int) -> int:
        """An unsigned integer of n bytes."""
        return int.from_bytes(self.take(n), "little")

    def count(self, least: int) -> int:
        """The length of an array whose elements take `least` bytes or more; 0 for a null array."""
        n = int.from_bytes(self.take(4), "little", signed=True)
        if n * least > self._end - self.at:
            raise DamagedError(f"expected {n} elements, found {self._end - self.at} bytes")
        return max(n, 0)

    def string(self) -> str:
        """A String; "" when null."""
        return self.take(self.count(1)).decode("utf-8", "replace")

    def node_number(self) -> int:
        """The number of a NodeId of namespace 0, -1 for any other."""
        form = self.unsigned(1)
        if form == 0:
            return self.unsigned(1)
        if form == 1:
            namespace, number = self.unsigned(1), self.unsigned(2)
        elif form == 2:
            namespace, number = self.unsigned(2), self.unsigned(4)
        else:
            namespace, number = 1, 0
            self.unsigned(2)
            if form in (3, 5):
                self.string()
            elif form == 4:
                self.take(16)
            else:
                raise DamagedError(f"node id: form {form}")
        return -1 if namespace else number

    def _time(self) -> int:
        ticks = int.from_bytes(self.take(8), "little", signed=True)
        return (ticks - kernel.TICKS_1970) * 100 if 0 < ticks < kernel.TICKS_END else kernel.ABSENT

    def data_value(self, depth: int = 0) -> Row:
        """A DataValue (OPC 10000-6, 5.2.2.17)."""
        mask = self.unsigned(1)
        if mask >= 64:
            raise DamagedError(f"data value: mask {mask:#x}")
        kind: int = 0
        value: Any = None
        if mask & 1:
            kind, value = self.variant(depth)
        status = self.unsigned(4) if mask & 2 else 0
        times = [kernel.ABSENT, kernel.ABSENT]
        for stamp in range(2):
            if mask & (4 << stamp):
                times[stamp] = self._time()
            if mask & (16 << stamp):
                self.take(2)
        text = value if isinstance(value, str) else None
        number = float("nan")
        if kind in range(1, 12):
            number = float(value)
            if kind in (8, 9) and not -_EXACT <= value <= _EXACT:
                kind += kernel.INEXACT
        return Row(number, text, kind, status, times[0], times[1])

    def variant(self, depth: int = 0) -> tuple[int, Any]:
        """Kind and value of a Variant (OPC 10000-6, 5.2.2.16); the value is None unless it is one number or text."""
        if depth > _MAX_DEPTH:
            raise DamagedError("variant: nested too deep")
        encoding = self.unsigned(1)
        kind = encoding & 63
        if not encoding & 128:
            if encoding & 64 or kind == 24:
                raise DamagedError(f"variant: encoding {encoding:#x}")
            return kind, self._one(kind, depth)
        if kind == 0:
            raise DamagedError("variant: an array of nulls")
        for _ in range(self.count(1)):
            self._one(kind, depth)
        if encoding & 64:
            self.take(4 * self.count(4))
        return kind + kernel.ARRAY, None

    def _one(self, kind: int, depth: int) -> Any:
        if kind == 24:
            self.variant(depth + 1)
        elif kind == 23:
            self.data_value(depth + 1)
        elif kind == 25:
            self.diagnostic_info(depth + 1)
        elif kind == 22:
            self.node_number()
            if self.unsigned(1):
                self.take(self.count(1))
        elif kind:
            return self._by_asyncua(kind)
        return None

    def _by_asyncua(self, kind: int) -> Any:
        from asyncua import ua
        from asyncua.common.utils import Buffer
        from asyncua.ua.ua_binary import unpack_uatype

        buffer = Buffer(self._body, self.at, self._end - self.at)
        try:
            value = unpack_uatype(ua.datatype_to_varianttype(kind), buffer)
        except (ua.UaError, ValueError, TypeError, struct.error, OverflowError) as error:
            raise DamagedError(f"variant of type {kind}: {error}") from error
        self.at = buffer.cur_pos
        if self.at > self._end:
            raise DamagedError(f"variant of type {kind}: {self.at - self._end} bytes too long")
        if kind == kernel.LOCALIZED_TEXT:
            value = value.Text or ""
        if isinstance(value, str):
            return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        return value if isinstance(value, int | float) else None

    def diagnostic_info(self, depth: int = 0) -> None:
        """Steps over a DiagnosticInfo (OPC 10000-6, 5.2.2.12)."""
        if depth > _MAX_DEPTH:
            raise DamagedError("diagnostic info: nested too deep")
        mask = self.unsigned(1)
        if mask >= 128:
            raise DamagedError(f"diagnostic info: mask {mask:#x}")
        self.take(4 * (mask & 15).bit_count())
        if mask & 16:
            self.string()
        if mask & 32:
            self.take(4)
        if mask & 64:
            self.diagnostic_info(depth + 1)
