"""What targets that want values, not records, are told of a record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray

from edge_agent.core import AlarmEvent, Block, Samples, Summaries, Tag, Texts, decode

Telling = Samples | Texts | Block | AlarmEvent


class Chosen:
    """The tags that a target gets, by patterns of their names.

    >>> Chosen([Tag(id=0, name="a/x"), Tag(id=1, name="b/x", record="summary")], ["b/*"]).mask.tolist()
    [False, True]
    """

    def __init__(self, tags: Sequence[Tag], patterns: Sequence[str]) -> None:
        self.tags = tuple(tags)
        self.names = frozenset(t.name for t in tags if any(fnmatchcase(t.name, pattern) for pattern in patterns))
        self.ids = tuple(t.id for t in tags if t.name in self.names)
        self.mask: NDArray[np.bool_] = np.array([t.name in self.names for t in tags], np.bool_)
        self._summed: NDArray[np.bool_] = np.array([t.record == "summary" for t in tags], np.bool_) & self.mask

    def of(self, frame: bytes) -> Iterator[Telling]:
        """What a record says of these tags: its values, and the last one of a summary of tags that have nothing else. WireError when damaged."""
        record = decode(frame)
        if isinstance(record, Samples):
            yield from self._rows(record, self.mask)
        elif isinstance(record, Summaries):
            rows = record.rows[(record.rows["count"] > 0) & (record.rows["part"] == 1)]
            last = Samples.of(rows["last_ns"], rows["tag"], rows["last"], rows["worst_status"].copy(), record.received_ns)
            yield from self._rows(last, self._summed)
        elif isinstance(record, Texts):
            kept = [i for i, k in enumerate(record.tag) if self._is(k)]
            if kept:
                times, tags, statuses = (tuple(column[i] for i in kept) for column in (record.time_ns, record.tag, record.status))
                yield Texts(times, tags, tuple(record.value[i] for i in kept), statuses, record.received_ns)
        elif (isinstance(record, Block) and self._is(record.tag)) or (isinstance(record, AlarmEvent) and record.tag in self.names):
            yield record

    def _is(self, tag: int) -> bool:
        return 0 <= tag < len(self.mask) and bool(self.mask[tag])

    def _rows(self, samples: Samples, mask: NDArray[np.bool_]) -> Iterator[Samples]:
        known = (samples.tag >= 0) & (samples.tag < len(mask))
        chosen = known & mask[np.where(known, samples.tag, 0)] if len(mask) else known
        if chosen.any():
            yield samples if chosen.all() else samples.take(chosen)


def unheard(tags: Sequence[Tag], away: frozenset[int]) -> frozenset[int]:
    """Ids of the tags of which nothing can be heard while measured ones are `away`: these, and what is computed from such alone.

    >>> tags = [Tag(id=0, name="a"), Tag(id=1, name="b"), Tag(id=2, name="a.z", derived_from=("a",)), Tag(id=3, name="ab", derived_from=("a.z", "b"))]
    >>> sorted(unheard(tags, frozenset({0}))), sorted(unheard(tags, frozenset({0, 1})))
    ([0, 2], [0, 1, 2, 3])
    """
    if not away:
        return away
    silent = {tag.name for tag in tags if tag.id in away}
    left = [tag for tag in tags if tag.derived_from]
    while True:
        more = {tag.name for tag in left if silent.issuperset(tag.derived_from)}
        if not more:
            return frozenset(tag.id for tag in tags if tag.name in silent)
        silent |= more
        left = [tag for tag in left if tag.name not in more]


class Newest:
    """The newest value of each tag that was told, to say what is when somebody asks; all arrays (tags,)."""

    def __init__(self, tags: int) -> None:
        self.time_ns = np.full(tags, np.iinfo(np.int64).min)
        self.value = np.full(tags, np.nan)
        self.status = np.zeros(tags, np.uint32)
        self.text: dict[int, str] = {}
        self.block: dict[int, NDArray[np.float64]] = {}

    def known(self, tag: int) -> bool:
        """Whether there is one."""
        return bool(self.time_ns[tag] > np.iinfo(np.int64).min)

    def take(self, told: Telling) -> NDArray[np.bool_]:
        """Remember values, oldest first; which of them were newer than what was known before (rows of the value, instants of a block)."""
        if isinstance(told, Samples):
            order = np.argsort(told.time_ns, kind="stable")
            tag, time_ns = told.tag[order], told.time_ns[order]
            newer = time_ns >= self.time_ns[tag]
            keep = order[newer]
            self.time_ns[told.tag[keep]], self.value[told.tag[keep]] = told.time_ns[keep], told.value[keep]
            self.status[told.tag[keep]] = told.status[keep]
            found = np.zeros(len(told), np.bool_)
            found[keep] = True
            return found
        if isinstance(told, Texts):
            return np.array(
                [self._one(k, t, s, text=v) for t, k, v, s in zip(told.time_ns, told.tag, told.value, told.status, strict=True)], np.bool_
            )
        if isinstance(told, Block):
            worst = told.status if told.status.ndim == 1 else told.status.max(axis=1)
            rows = zip(told.time_ns.tolist(), told.values, worst.tolist(), strict=True)
            return np.array([self._one(told.tag, t, s, block=values) for t, values, s in rows], np.bool_)
        return np.ones(1, np.bool_)

    def _one(self, tag: int, time_ns: int, status: int, *, text: str | None = None, block: NDArray[np.float64] | None = None) -> bool:
        if time_ns < self.time_ns[tag]:
            return False
        self.time_ns[tag], self.status[tag] = time_ns, status
        if text is not None:
            self.text[tag] = text
        if block is not None:
            self.block[tag] = block
        return True
