"""The two loops of the OPC UA hot path: one reads a DataChangeNotification into columns, one makes rows of the edge out of them.

Encoding after OPC 10000-6 v1.05, 5.2.2: integers little-endian, DateTime in 100 ns ticks since 1601-01-01 UTC.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from edge_agent.core.samples import Float64, Int32, Int64, UInt8, UInt32
from edge_agent.core.status import BAD_TYPE_MISMATCH, BAD_WAITING_FOR_INITIAL_DATA, CODE_MASK, OVERFLOW, UNCERTAIN
from models.compiled import kernel

ABSENT: Final = -(1 << 63)
"""A time that was not given."""
DAMAGED: Final = -1
UNUSUAL: Final = -2
"""The kernel leaves this body to the slow walker: arrays and rare types."""

STRING: Final = 12
LOCALIZED_TEXT: Final = 21
INEXACT: Final = 64
"""Added to the type of an integer beyond 2^53."""
ARRAY: Final = 128
"""Added to the type of an array."""

SOURCE, SERVER, RECEIVED = 0, 1, 2
DROPPED, SAMPLE, TEXT = 0, 1, 2

OVERFLOWS, TEXTS, DROPS, UNSTAMPED, MISMATCHES, COUNTS = 0, 1, 2, 3, 4, 5
"""Places in the `counts` of `settle`."""

TICKS_1970: Final = 116_444_736_000_000_000
TICKS_START: Final = TICKS_1970 - (1 << 63) // 100
TICKS_END: Final = TICKS_1970 + (1 << 63) // 100
"""First tick whose nanoseconds do not fit into an int64 (the year 2262)."""
_EXACT: Final = 1 << 53
_SIZES: Final = np.array([0, 1, 1, 1, 2, 2, 4, 4, 8, 8, 4, 8], np.int64)
"""Bytes of the types 0 (null), 1 Boolean .. 11 Double."""


@kernel(
    "int64(uint8[::1], int64, int64, int32[::1], int64[::1], int64[::1], int32[::1], float64[::1], uint32[::1], uint8[::1], int64[::1], int64[::1])"
)
def data_change(
    body: UInt8, at: int, end: int, tag_of: Int32, source_ns: Int64, server_ns: Int64, tag: Int32, value: Float64, status: UInt32, kind: UInt8,
    text_at: Int64, text_len: Int64,
) -> int:
    """Rows of the DataChangeNotification in body[at:end], or DAMAGED, or UNUSUAL.

    tag_of  (handles,) tag id of a client handle, -1 for none; rows of unknown handles are left out
    outputs  at least (end - at) // 5 rows: times in ns UTC or ABSENT, value NaN where there is none, kind the Variant type,
             text_at and text_len the place of a String's bytes (-1 when null)
    """
    p: Any = at
    if p + 4 > end:
        return DAMAGED
    count = np.int64(body[p]) | np.int64(body[p + 1]) << 8 | np.int64(body[p + 2]) << 16 | np.int64(body[p + 3]) << 24
    p += 4
    if count >= 1 << 31:
        count = np.int64(0)
    if count * 5 > end - p:
        return DAMAGED
    n = 0
    for _ in range(count):
        if p + 5 > end:
            return DAMAGED
        handle = np.int64(body[p]) | np.int64(body[p + 1]) << 8 | np.int64(body[p + 2]) << 16 | np.int64(body[p + 3]) << 24
        mask = np.int64(body[p + 4])
        p += 5
        if mask >= 64:
            return DAMAGED
        row_kind = np.int64(0)
        row_value = np.nan
        row_text, row_len = np.int64(0), np.int64(-1)
        if mask & 1:
            if p >= end:
                return DAMAGED
            row_kind = np.int64(body[p])
            p += 1
            if row_kind == STRING:
                if p + 4 > end:
                    return DAMAGED
                row_len = np.int64(body[p]) | np.int64(body[p + 1]) << 8 | np.int64(body[p + 2]) << 16 | np.int64(body[p + 3]) << 24
                p += 4
                row_text = p
                if row_len >= 1 << 31:
                    row_len = np.int64(-1)
                else:
                    if p + row_len > end:
                        return DAMAGED
                    p += row_len
            elif row_kind > STRING:
                return UNUSUAL
            else:
                size = _SIZES[row_kind]
                if p + size > end:
                    return DAMAGED
                bits = np.uint64(0)
                for b in range(size):
                    bits |= np.uint64(body[p + b]) << np.uint64(8 * b)
                p += size
                if row_kind == 11:
                    row_value = np.uint64(bits).view(np.float64)
                elif row_kind == 10:
                    row_value = np.float64(np.uint32(bits).view(np.float32))
                elif row_kind == 1:
                    row_value = 1.0 if bits != 0 else 0.0
                elif row_kind == 9:
                    row_value = np.float64(bits)
                    if bits > np.uint64(_EXACT):
                        row_kind += INEXACT
                elif row_kind == 8:
                    whole = np.int64(bits)
                    row_value = np.float64(whole)
                    if whole > _EXACT or whole < -_EXACT:
                        row_kind += INEXACT
                elif row_kind == 3 or row_kind == 5 or row_kind == 7:
                    row_value = np.float64(bits)
                elif row_kind != 0:
                    whole = np.int64(bits)
                    if whole >= np.int64(1) << (8 * size - 1):
                        whole -= np.int64(1) << (8 * size)
                    row_value = np.float64(whole)
        row_status = np.uint32(0)
        if mask & 2:
            if p + 4 > end:
                return DAMAGED
            row_status = np.uint32(
                np.uint32(body[p]) | np.uint32(body[p + 1]) << np.uint32(8) | np.uint32(body[p + 2]) << np.uint32(16)
                | np.uint32(body[p + 3]) << np.uint32(24)
            )
            p += 4
        row_source, row_server = np.int64(ABSENT), np.int64(ABSENT)
        # OPC 10000-6, table 26: source time, its picoseconds, server time, its picoseconds.
        for stamp in range(2):
            if mask & (4 << stamp):
                if p + 8 > end:
                    return DAMAGED
                ticks = np.int64(0)
                for b in range(8):
                    ticks |= np.int64(body[p + b]) << np.int64(8 * b)
                p += 8
                if TICKS_START < ticks < TICKS_END:
                    if stamp == 0:
                        row_source = (ticks - TICKS_1970) * 100
                    else:
                        row_server = (ticks - TICKS_1970) * 100
            if mask & (16 << stamp):
                if p + 2 > end:
                    return DAMAGED
                p += 2
        if handle >= tag_of.shape[0] or tag_of[handle] < 0:
            continue
        tag[n] = tag_of[handle]
        value[n] = row_value
        status[n] = row_status
        kind[n] = row_kind
        source_ns[n] = row_source
        server_ns[n] = row_server
        text_at[n] = row_text
        text_len[n] = row_len
        n += 1
    if p + 4 > end:
        return DAMAGED
    infos = np.int64(body[p]) | np.int64(body[p + 1]) << 8 | np.int64(body[p + 2]) << 16 | np.int64(body[p + 3]) << 24
    p += 4
    if 0 < infos < 1 << 31:
        return UNUSUAL
    return n if p == end else DAMAGED


@kernel(
    "void(int64, int64, int64, int64, int64[::1], int64[::1], int32[::1], float64[::1], uint32[::1], uint8[::1], uint8[::1], int64[::1], int32[::1], "
    "int64[::1], uint8[::1], int32[::1], int64[::1], uint8[::1], int32[::1], int64[::1], int64[::1])"
)
def settle(
    n: int, basis: int, received_ns: int, until_ns: int, source_ns: Int64, server_ns: Int64, tag: Int32, value: Float64, status: UInt32, kind: UInt8,
    is_text: UInt8, period_ns: Int64, queue: Int32, last_ns: Int64, suspect: UInt8, seen: Int32, time_ns: Int64, keep: UInt8,
    overflow_row: Int32, overflow_after: Int64, counts: Int64,
) -> None:
    """Choose each row's time, flag what is not what it seems, and find where a server's queue lost values.

    until_ns  a latest source time behind it is one of a clock that was wrong, and says nothing of what was before a later value
    tables by tag id: is_text, period_ns (0 by exception), queue (its size at the server, 0 unknown), last_ns (latest source time seen, ABSENT
    for none; updated), suspect (1 when values may be missing before the next one; cleared), seen (scratch, zero in and out)
    value, status  corrected in place
    time_ns, keep (DROPPED, SAMPLE, TEXT)  per row; overflow_row, overflow_after (ABSENT when unknown) in order of rows; counts (COUNTS,)
    """
    for i in range(COUNTS):
        counts[i] = 0
    for i in range(n):
        seen[tag[i]] += 1
    for i in range(n):
        k = tag[i]
        given = source_ns[i]
        unstamped = False
        if basis == RECEIVED:
            t = received_ns + i
        else:
            first, second = (given, server_ns[i]) if basis == SOURCE else (server_ns[i], given)
            unstamped = first == ABSENT
            t = first if first != ABSENT else (second if second != ABSENT else received_ns + i)
        time_ns[i] = t
        row_kind = np.int64(kind[i])
        code = status[i] & np.uint32(CODE_MASK)
        severity = status[i] >> np.uint32(30)
        if row_kind == 0 and given == ABSENT and (code == np.uint32(BAD_WAITING_FOR_INITIAL_DATA) or severity == 0):
            # The server has not sampled this node yet: that is no sample.
            keep[i] = DROPPED
            counts[DROPS] += 1
            continue
        keep[i] = TEXT if is_text[k] else SAMPLE
        counts[TEXTS] += is_text[k]
        plain = row_kind & (INEXACT - 1)
        readable: Any = 1 <= plain <= 11 and row_kind < ARRAY
        if is_text[k]:
            readable = readable or row_kind in (STRING, LOCALIZED_TEXT)
        if row_kind == 0:
            if severity < 2:
                status[i] = np.uint32(BAD_WAITING_FOR_INITIAL_DATA)
        elif not readable:
            value[i] = np.nan
            counts[MISMATCHES] += 1
            if severity < 2:
                status[i] = np.uint32(BAD_TYPE_MISMATCH)
        elif severity == 0 and (unstamped or (row_kind & INEXACT) != 0):
            status[i] = np.uint32(UNCERTAIN) | (status[i] & np.uint32(0xFFFF))
        if unstamped:
            counts[UNSTAMPED] += 1
        last = last_ns[k] if last_ns[k] <= until_ns else ABSENT
        lost = (status[i] & np.uint32(OVERFLOW)) == np.uint32(OVERFLOW)
        if not lost and last != ABSENT and t > last and (suspect[k] or (queue[k] > 1 and seen[k] >= queue[k])):
            # No overflow bit, but a message is missing or the queue was full: a periodic tag shows by its period whether there is a hole.
            lost = t - last > period_ns[k] + period_ns[k] // 2 if period_ns[k] else suspect[k] != 0
        if lost:
            overflow_row[counts[OVERFLOWS]] = i
            overflow_after[counts[OVERFLOWS]] = last
            counts[OVERFLOWS] += 1
        suspect[k] = 0
        # Only the first row of a tag can stand behind a full queue's hole; the count is spent there.
        seen[k] = 0
        last_ns[k] = t if last == ABSENT or t > last else last
    for i in range(n):
        seen[tag[i]] = 0
