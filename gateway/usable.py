"""Which records can be applied: an edge may send what is well formed and yet fits in no table.

What is not usable is kept in the journal as it came and alarmed, like what cannot be decoded; nothing else ever sees it.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from edge_agent.core import AlarmEvent, Audit, Block, Context, Definitions, Gap, Record, Samples, Summaries, Texts, WireError, decode

IDS: Final = 1_000_000
"""Tag ids of an edge are below it: tables are as long as the highest id."""
VERSIONS: Final = 2**31
MISSING: Final = 2**53
"""Values missing by one gap, or taken back by one that says what came after all, are fewer; totals of 64 bits hold many such."""


def usable(frame: bytes) -> Record:
    """The record of a frame; WireError when it cannot be decoded, or an id, version, time or count of it is out of range."""
    item: Record = decode(frame)  # type: ignore[assignment]
    if isinstance(item, Definitions):
        for tag in item.tags:
            _within(f"id of tag {tag.name}", tag.id, 0, IDS)
            _within(f"version of tag {tag.name}", tag.version, 0, VERSIONS)
        _times(item.received_ns)
    elif isinstance(item, Samples | Texts):
        _ids(np.asarray(item.tag, np.int64))
    elif isinstance(item, Summaries):
        _ids(item.rows["tag"])
    elif isinstance(item, Block):
        _within("tag id", item.tag, 0, IDS)
        _times(item.received_ns)
    elif isinstance(item, AlarmEvent):
        _times(item.raised_ns, item.time_ns)
    elif isinstance(item, Gap):
        _within("tag id", item.tag, -1, IDS)
        _within("values missing", item.missing, 1 - MISSING if item.filled else 0, MISSING)
        _times(item.from_ns, item.to_ns)
    elif isinstance(item, Context | Audit):
        _times(item.time_ns)
    return item


def _within(what: str, found: int, low: int, high: int) -> None:
    if not low <= found < high:
        raise WireError(f"{what}: expected {low}..{high - 1}, found {found}")


def _ids(ids: np.ndarray[tuple[int], np.dtype[np.int32] | np.dtype[np.int64]]) -> None:
    if len(ids):
        _within("lowest tag id", int(ids.min()), 0, IDS)
        _within("highest tag id", int(ids.max()), 0, IDS)


def _times(*times: int) -> None:
    # MessagePack has integers up to 2**64 - 1; SQLite and numpy do not.
    for time_ns in times:
        _within("time", time_ns, -(2**63), 2**63)
