"""What a tag is: a permanent id with versioned definitions."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

import msgspec

TagKind = Literal["numeric", "text", "block"]
TagClass = Literal["gmp_critical", "gmp", "safety", "environment", "other"]
TagRole = Literal["value", "batch", "phase", "mode", "operator", "lot"]
RecordPolicy = Literal["raw", "changes", "summary"]

NEVER_SHED: frozenset[str] = frozenset({"gmp_critical", "gmp", "safety"})
"""Classes whose records are never shed when the outbox runs out of its budget."""
UNMODED: frozenset[str] = frozenset({"safety", "environment"})
"""Classes judged in every mode of their unit: cleaning makes no gas leak harmless."""
JUDGED_MODES: frozenset[str] = frozenset({"production", "simulation"})
"""Modes in which limits are judged; in the others they hold their state."""


class Tag(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One version of a tag's definition; `id` never changes and is never reused on its edge."""

    id: int
    name: str
    version: int = 1
    kind: TagKind = "numeric"
    unit: str = ""
    range: tuple[float, float] | None = None
    """Engineering range low, high in `unit`; a value outside is uncertain."""
    decimals: int = 2
    description: dict[str, str] = {}
    """Plain text by language, "en" and "zh"."""
    path: str = ""
    """ISA-95 path site/area/line/unit."""
    class_: TagClass = "other"
    role: TagRole = "value"
    expected_s: float | None = None
    """Seconds between values of a periodic tag; None reports by exception."""
    record: RecordPolicy = "raw"
    record_reason: str = ""
    derived_from: tuple[str, ...] = ()
    """Names of the tags this one is computed from; empty for a measurement."""
    model: str = ""
    """Kind and hash of the model that computes a derived tag."""
    adaptive: bool = False
    """Computed by a model that goes on learning: advisory only."""

    @property
    def unit_path(self) -> str:
        """The equipment unit this tag belongs to: its path, else its name up to the last '/'.

        >>> Tag(id=0, name="press1/main_force").unit_path
        'press1'
        """
        return sys.intern(self.path or self.name.rpartition("/")[0])  # thousands of tags and alarms keep it

    @property
    def never_shed(self) -> bool:
        """Whether records of this tag must outlive every shortage."""
        return self.class_ in NEVER_SHED


class Catalogue:
    """All tags of one edge, by id and by name; ids are dense from 0.

    >>> c = Catalogue([Tag(id=0, name="a"), Tag(id=1, name="b")])
    >>> c.id("b"), c[0].name, len(c)
    (1, 'a', 2)
    """

    def __init__(self, tags: Iterable[Tag]) -> None:
        self._tags = tuple(sorted(tags, key=lambda t: t.id))
        for expected, tag in enumerate(self._tags):
            if tag.id != expected:
                raise ValueError(f"Catalogue: expected tag id {expected}, found {tag.id} ({tag.name})")
        self._ids = {tag.name: tag.id for tag in self._tags}
        if len(self._ids) != len(self._tags):
            raise ValueError("Catalogue: expected unique tag names, found a name twice")

    def __len__(self) -> int:
        return len(self._tags)

    def __iter__(self) -> Iterator[Tag]:
        return iter(self._tags)

    def __getitem__(self, tag_id: int) -> Tag:
        return self._tags[tag_id]

    def __contains__(self, name: object) -> bool:
        return name in self._ids

    def id(self, name: str) -> int:
        """The id of a tag name; KeyError when there is no such tag."""
        return self._ids[name]

    def get(self, name: str) -> Tag | None:
        """The tag of that name, or None."""
        found = self._ids.get(name)
        return None if found is None else self._tags[found]

    def of_unit(self, path: str) -> tuple[int, ...]:
        """The ids of all tags of a unit and of its parts.

        >>> c = Catalogue([Tag(id=0, name="press1/force"), Tag(id=1, name="press10/force"), Tag(id=2, name="press1/feeder/speed")])
        >>> c.of_unit("press1")
        (0, 2)
        """
        return tuple(t.id for t in self._tags if t.unit_path == path or t.unit_path.startswith(path + "/"))

    @property
    def ids(self) -> Mapping[str, int]:
        """Name to id."""
        return self._ids

    def revised(self, definitions: Iterable[Tag]) -> Catalogue:
        """This catalogue with today's definitions: known names keep their id and count their version up when they changed, new names get new ids.

        Names that are no longer defined stay, so that an id is never given to another tag. The ids in `definitions` are ignored.

        >>> old = Catalogue([Tag(id=0, name="a", unit="kN")])
        >>> new = old.revised([Tag(id=9, name="b"), Tag(id=9, name="a", unit="N")])
        >>> [(t.id, t.name, t.unit, t.version) for t in new]
        [(0, 'a', 'N', 2), (1, 'b', '', 1)]
        """
        tags = {tag.name: tag for tag in self._tags}
        for definition in definitions:
            known = tags.get(definition.name)
            if known is None:
                tags[definition.name] = msgspec.structs.replace(definition, id=len(tags), version=1)
                continue
            same = msgspec.structs.replace(definition, id=known.id, version=known.version)
            tags[definition.name] = known if same == known else msgspec.structs.replace(same, version=known.version + 1)
        return Catalogue(tags.values())
