"""The obvious twin of the OPC UA decoder: asyncua decodes every value to an object, and plain Python turns the objects into rows."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_from_binary

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
START = datetime.datetime(1601, 1, 1, tzinfo=datetime.UTC)
END_NS = 1 << 63
SKEW_NS = 86_400 * 10**9
"""Latest time of a tag further ahead of its receipt than this is not believed."""


@dataclass
class Rows:
    """What a message says: samples (tag, time_ns, value, status), texts (tag, time_ns, text, status), holes (tag, after_ns, before_ns)."""

    samples: list[tuple[int, int, float, int]] = field(default_factory=list)
    texts: list[tuple[int, int, str, int]] = field(default_factory=list)
    holes: list[tuple[int, int, int]] = field(default_factory=list)


def ns(time: datetime.datetime | None) -> int | None:
    """Nanoseconds UTC of a datetime; None for none, for 1601 (null) and for what does not fit into 64 bits."""
    if time is None or time <= START:
        return None
    value = (time - EPOCH) // datetime.timedelta(microseconds=1) * 1000
    return value if value < END_NS // 100 * 100 else None


def published(body: bytes) -> Any:
    """asyncua's PublishResponse of the bytes."""
    return struct_from_binary(ua.PublishResponse, Buffer(body))


def rows(
    items: Sequence[Any], text_tags: set[int], known: set[int], received_ns: int, last_ns: dict[int, int], basis: str = "source",
    position: Callable[[int], int] = lambda i: i,
) -> Rows:
    """Rows of MonitoredItemNotifications; `last_ns` is the latest time by tag and is carried on."""
    out = Rows()
    n = -1
    for item in items:
        tag, data = item.ClientHandle, item.Value
        if tag not in known:
            continue
        n += 1
        source, server, status = ns(data.SourceTimestamp), ns(data.ServerTimestamp), data.StatusCode.value if data.StatusCode else 0
        kind, value = data.Value.VariantType.value, data.Value.Value
        good, bad, flagged = status >> 30 == 0, status >> 30 >= 2, False
        if basis == "received":
            time = received_ns + position(n)
        else:
            first, second = (source, server) if basis == "source" else (server, source)
            flagged = first is None
            time = first if first is not None else second if second is not None else received_ns + position(n)
        if kind == 0 and source is None and (good or status & 0xFFFF0000 == 0x80320000):
            continue
        scalar = not isinstance(value, list) and not data.Value.is_array
        number = math.nan
        if 1 <= kind <= 11 and scalar:
            number = float(value)
            flagged = flagged or (kind in (8, 9) and abs(value) > 2**53)
        readable = scalar and (1 <= kind <= 11 or (tag in text_tags and kind in (12, 21)))
        if kind == 0:
            status = status if bad else 0x80320000
        elif not readable:
            number = math.nan
            status = status if bad else 0x80740000
        elif good and flagged:
            status = 0x40000000 | status & 0xFFFF
        last = last_ns.get(tag)
        if last is not None and last > received_ns + SKEW_NS:
            last = None
        if status & 0x480 == 0x480:
            out.holes.append((tag, time if last is None else last, time))
        last_ns[tag] = time if last is None else max(last, time)
        if tag in text_tags:
            out.texts.append((tag, time, text_of(kind, value) if readable else "", status))
        else:
            out.samples.append((tag, time, number, status))
    return out


def text_of(kind: int, value: Any) -> str:
    """The text of a scalar."""
    if kind == 21:
        value = value.Text
    if value is None:
        return ""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if kind == 1:
        return "true" if value else "false"
    return repr(float(value)) if kind >= 10 else str(int(float(value)))
