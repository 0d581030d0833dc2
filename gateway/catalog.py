"""What the edges have defined: tags and alarms by version, under the gateway's own tag numbers.

A tag is known by its edge and name. Edges number their tags themselves, and an edge that lost its disk may number them anew in another epoch;
so each definitions record yields a table from the edge's ids to ours, in force for the records behind it in that epoch.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from dataclasses import dataclass, field

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_agent.core import AlarmDefinition, Context, Definitions, ShelveRule, Tag
from edge_agent.core.tag import NEVER_SHED


@dataclass(frozen=True, slots=True)
class Numbering:
    """Edge tag id to the gateway's number and to the version defined."""

    seq: int
    number: NDArray[np.int32]
    version: NDArray[np.int32]


@dataclass(slots=True)
class EdgeTags:
    """The tags of one edge by the gateway's number, and its alarms by name."""

    edge: str
    tags: list[Tag] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)
    alarms: dict[str, AlarmDefinition] = field(default_factory=dict)
    site: str = ""
    simulated: bool = False
    software: str = ""
    config_hash: str = ""
    shelve: tuple[ShelveRule, ...] = ()
    out_of_service: tuple[str, ...] = ()
    """Roles; with `shelve` what the edge said of who may suppress its alarms."""
    newest: tuple[int, int] = (-1, -1)
    sources: dict[str, Context] = field(default_factory=dict)
    """What the edge said last of each of its sources."""
    modes: dict[str, list[Context]] = field(default_factory=dict)
    """What the edge said of the mode of each unit, by time: a few words a day."""
    numberings: dict[int, list[Numbering]] = field(default_factory=dict)
    changed: list[tuple[str, int, str]] = field(default_factory=list)
    """(edge, number, name) given out or renamed since the journal last wrote them down."""

    def told(self, context: Context) -> None:
        """Take in what an edge says of one of its sources or of the mode of a unit; other context is not ours."""
        if context.role == "connection":
            name = context.unit.removeprefix("source/")
            known = self.sources.get(name)
            if known is None or known.time_ns <= context.time_ns:
                self.sources[name] = context
        elif context.role == "mode":
            insort(self.modes.setdefault(context.unit, []), context, key=lambda c: c.time_ns)

    def number(self, name: str) -> int:
        """The number of a tag name, given out when it is new."""
        found = self.numbers.get(name)
        if found is None:
            found = self.numbers[name] = len(self.tags)
            self.tags.append(Tag(id=found, name=name))
            self.changed.append((self.edge, found, name))
        return found


def retention_class(tag: Tag) -> str:
    """gmp or other: how long the segments of a tag are kept."""
    return "gmp" if tag.class_ in NEVER_SHED else "other"


class PlantCatalogue:
    """All tags and alarms of all edges."""

    def __init__(self) -> None:
        self.edges: dict[str, EdgeTags] = {}
        self.unnamed: set[tuple[str, int, int]] = set()
        """(edge, epoch, edge's id) that came without a definition; the tag is called `#<epoch>/<id>` until one comes."""

    def edge(self, name: str) -> EdgeTags:
        """The tags of an edge, begun when it is new."""
        if name not in self.edges:
            self.edges[name] = EdgeTags(name)
        return self.edges[name]

    def define(self, edge: str, epoch: int, seq: int, definitions: Definitions) -> None:
        """Take in a definitions record."""
        known = self.edge(edge)
        size = max((t.id for t in definitions.tags), default=-1) + 1
        number, version = np.full(size, -1, np.int32), np.zeros(size, np.int32)
        newest = (epoch, seq) >= known.newest
        for tag in definitions.tags:
            key = (edge, epoch, tag.id)
            if key in self.unnamed:
                self.unnamed.discard(key)
                self._rename(known, _nameless(epoch, tag.id), tag.name)
            n = number[tag.id] = known.number(tag.name)
            version[tag.id] = tag.version
            if newest:
                known.tags[n] = _as_number(tag, int(n))
        if newest:
            known.newest = (epoch, seq)
            known.alarms = {a.name: a for a in definitions.alarms}
            known.site, known.simulated = definitions.site, definitions.simulated
            known.software, known.config_hash = definitions.software, definitions.config_hash
            known.shelve, known.out_of_service = definitions.shelve, definitions.out_of_service
        insort(known.numberings.setdefault(epoch, []), Numbering(seq, number, version), key=lambda n: n.seq)

    @staticmethod
    def _rename(known: EdgeTags, old: str, new: str) -> None:
        if new not in known.numbers:
            n = known.numbers[new] = known.numbers.pop(old)
            known.tags[n] = Tag(id=n, name=new)
            known.changed.append((known.edge, n, new))

    def numbered(self, edge: str, epoch: int, seq: int, ids: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """The gateway's numbers and the versions of an edge's tag ids, for a record of that number."""
        known = self.edge(edge)
        steps = known.numberings.get(epoch, [])
        at = bisect_right(steps, seq, key=lambda n: n.seq) - 1
        # A record that comes before any definitions of its epoch is read under the first that came.
        step = steps[max(at, 0)] if steps else Numbering(0, np.empty(0, np.int32), np.empty(0, np.int32))
        size = len(step.number)
        inside = (ids >= 0) & (ids < size)
        if inside.all():
            number = step.number[ids]
            if (number >= 0).all():
                return number, step.version[ids]
        number, version = np.empty(len(ids), np.int32), np.zeros(len(ids), np.int32)
        for i, tag_id in enumerate(ids.tolist()):
            if 0 <= tag_id < size and step.number[tag_id] >= 0:
                number[i], version[i] = step.number[tag_id], step.version[tag_id]
                continue
            self.unnamed.add((edge, epoch, tag_id))
            number[i] = known.number(_nameless(epoch, tag_id))
        return number, version

    def changed(self) -> list[tuple[str, int, str]]:
        """Names to write down, and from now on unchanged."""
        found = []
        for known in self.edges.values():
            found += known.changed
            known.changed = []
        return found

    def find(self, key: str) -> tuple[EdgeTags, int] | None:
        """The edge and number of a tag key `<edge>:<name>`."""
        edge, _, name = key.partition(":")
        known = self.edges.get(edge)
        number = known.numbers.get(name) if known is not None else None
        return None if known is None or number is None else (known, number)


def _nameless(epoch: int, tag_id: int) -> str:
    return f"#{epoch}/{tag_id}"


def _as_number(tag: Tag, number: int) -> Tag:
    return msgspec.structs.replace(tag, id=number)
