"""The people that an edge knows: the newest list of each gateway, kept beside the journal, believed only under the key it first came with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from edge_agent.core import PharmedgeError, WireError
from edge_agent.core.people import People, Person, decode_people

LIST: Final = "people/list/"
KEY: Final = "people/key/"


class Untrusted(PharmedgeError):
    """A list that is not believed: signed with another key, meant for another edge, or older than the one that is kept."""


@dataclass(frozen=True, slots=True)
class Where:
    """Which lists are ours."""

    site: str
    edge: str
    gateways: tuple[str, ...]
    """In this order a name is looked up; the first list that has it decides."""
    keys: Mapping[str, str]
    """Public keys from the configuration; a gateway without one is believed under the key of its first list from then on."""


class KnownPeople:
    """Lists by gateway; one thread at a time takes them, any may ask."""

    def __init__(self, where: Where, kept: Mapping[str, bytes], keep: Callable[[dict[str, bytes]], None]) -> None:
        self._where, self._keep = where, keep
        self._keys = {name.removeprefix(KEY): data.decode() for name, data in kept.items() if name.startswith(KEY)} | dict(where.keys)
        self._lists: dict[str, People] = {}
        for gateway in where.gateways:
            data = kept.get(LIST + gateway)
            if data is None:
                continue
            try:
                self._lists[gateway] = self._believed(gateway, data)
            except (WireError, Untrusted):
                continue  # damaged at rest, or its key is no longer the configured one: nobody is let in by it

    def _believed(self, gateway: str, data: bytes) -> People:
        people = decode_people(data)
        where = self._where
        if (people.gateway, people.site, people.edge) != (gateway, where.site, where.edge):
            found = f"one of {people.gateway} for {people.site}/{people.edge}"
            raise Untrusted(f"people: expected a list of {gateway} for {where.site}/{where.edge}, found {found}")
        known = self._keys.get(gateway)
        if known is not None and people.key != known:
            raise Untrusted(f"people: expected {gateway}'s key {known[:16]}, found {people.key[:16]}; http.panel_keys can name another one")
        return people

    def take(self, gateway: str, data: bytes) -> bool:
        """Keep a list that came; True when people in it differ from before. WireError or Untrusted when it is not believed; blocks for the disk."""
        people = self._believed(gateway, data)
        before = self._lists.get(gateway)
        if before is not None and people.issued_ns < before.issued_ns:
            raise Untrusted(f"people: expected a list from {before.issued_ns} on, found one of {people.issued_ns}")
        if before is not None and people.issued_ns == before.issued_ns:
            return False
        self._keep({LIST + gateway: data, KEY + gateway: people.key.encode()})
        self._keys.setdefault(gateway, people.key)
        self._lists[gateway] = people
        return before is None or (before.people, before.open) != (people.people, people.open)

    def find(self, name: str) -> Person | None:
        """The person of a login name; None when no list has them."""
        found = (self._lists[g].find(name) for g in self._where.gateways if g in self._lists)
        return next((p for p in found if p is not None), None)

    @property
    def open(self) -> bool:
        """Whether a gateway says that it has no accounts, and none has any."""
        lists = list(self._lists.values())
        return any(p.open for p in lists) and not any(p.people for p in lists)

    @property
    def issued_ns(self) -> int | None:
        """When the newest list was signed; None before the first."""
        return max((p.issued_ns for p in self._lists.values()), default=None)

    @property
    def count(self) -> int:
        """People who may log in."""
        return len({p.name for people in self._lists.values() for p in people.people if p.acts})
