"""Which edge is given which people, and when anew."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import argon2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.core.people import People, decode_people
from gateway.panels import Panels
from gateway.users import Account, Users

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
S = 1_000_000_000


@pytest.fixture
def users(tmp_path) -> Iterator[Users]:
    with closing(Users(tmp_path, argon2.PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1))) as made:
        yield made


def test_named_edges_get_who_may_acknowledge_and_all_others_an_empty_list(users: Users) -> None:
    sent: list[tuple[str, People]] = []
    now = [100 * S]
    panels = Panels(users, KEY, gateway="gw1", site="demo", edges=("e1",), clock=lambda: now[0])

    def turn(*known: str) -> list[tuple[str, bool, list[str]]]:
        sent.clear()
        panels.give(known or ("e1", "e2"), lambda topic, data: sent.append((topic, decode_people(data))))
        return sorted((topic, people.open, [p.name for p in people.people]) for topic, people in sent)

    assert turn() == [("pharmedge/demo/e1/people/gw1", True, []), ("pharmedge/demo/e2/people/gw1", False, [])]
    users.put(Account("wang", "王丽", "operator"), "correct horse battery", 1)
    users.put(Account("root", "Li Na", "security_admin"), "correct horse battery", 1)
    assert turn() == [("pharmedge/demo/e1/people/gw1", False, ["wang"])]
    kept = sent[0][1].people[0]
    assert (kept.full_name, kept.role, kept.hash.startswith("$argon2id$")) == ("王丽", "operator", True)
    assert turn() == []
    users.put(Account("chen", "Chen Jie", "quality"), "correct horse battery", 1)
    turn()
    assert [(p.name, p.acts) for p in sent[0][1].people] == [("chen", False), ("wang", True)]
    users.put(replace(users.known("chen"), must_change=True), "set by somebody else", 1)
    turn()
    assert [(p.name, p.must_change) for p in sent[0][1].people] == [("chen", True), ("wang", False)]
    users.put(replace(users.known("chen"), disabled=True), None, 1)
    turn()
    now[0] += 3601 * S
    assert turn() == [("pharmedge/demo/e1/people/gw1", False, ["wang"])]
    assert sent[0][1].issued_ns == now[0]
    users.put(replace(users.known("wang"), disabled=True), None, 2)
    assert turn() == [("pharmedge/demo/e1/people/gw1", False, [])]
    panels.disconnected()
    assert len(turn()) == 2
