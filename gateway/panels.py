"""People given to the panels of edges: signed, retained at the broker, anew when somebody changed and every hour, so that its age can be told."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.core import topic
from edge_agent.core.people import REFRESH_S, People, Person, signed_people
from gateway.users import Users


class Panels:
    """Gives each edge its list; an edge that is not named gets an empty one, which takes away what it had."""

    def __init__(self, users: Users, key: Ed25519PrivateKey, *, gateway: str, site: str, edges: Collection[str], clock: Callable[[], int]) -> None:
        self._users, self._key, self._gateway, self._site, self._clock = users, key, gateway, site, clock
        self._edges = frozenset(edges)
        self._given: dict[str, People] = {}

    def give(self, known: Sequence[str], publish: Callable[[str, bytes], None]) -> None:
        """Hand out what is new; on the loop that publishes, reading a small table."""
        now = self._clock()
        everyone = tuple(
            Person(
                name=account.name,
                full_name=account.full_name,
                role=account.role,
                hash=digest,
                acts=account.may("acknowledge"),
                must_change=account.must_change,
            )
            for account, digest in self._users.handed("acknowledge", "approve")
        )
        open_ = self._users.empty()
        for edge in {*known, *self._edges}:
            named = edge in self._edges
            wanted = People(gateway=self._gateway, site=self._site, edge=edge, issued_ns=now, open=open_ and named, people=everyone if named else ())
            before = self._given.get(edge)
            aged = before is not None and now - before.issued_ns >= REFRESH_S * 1e9 and named
            if before is None or aged or msgspec.structs.replace(before, issued_ns=now) != wanted:
                publish(topic(self._site, edge, f"people/{self._gateway}"), signed_people(wanted, self._key))
                self._given[edge] = wanted

    def disconnected(self) -> None:
        """The broker may have forgotten what it was given."""
        self._given.clear()
