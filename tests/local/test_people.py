"""Lists of people are believed only from the gateway's key, for this edge, and never an older one again."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core import WireError
from edge_agent.core.people import People, decode_people
from edge_agent.local.people import KnownPeople, Untrusted, Where
from tests.local.line import KEY, PEOPLE, T0, listed, person

OTHER = Ed25519PrivateKey.from_private_bytes(bytes(32))
HERE = Where("demo", "press-edge-1", ("gw1", "gw2"), {})


def known(kept: dict[str, bytes], where: Where = HERE) -> KnownPeople:
    return KnownPeople(where, dict(kept), kept.update)


def test_a_list_is_kept_over_a_restart_and_only_what_changed_is_news() -> None:
    kept: dict[str, bytes] = {}
    people = known(kept)
    assert people.issued_ns is None
    assert people.take("gw1", listed(*PEOPLE))
    assert not people.take("gw1", listed(*PEOPLE))
    assert not people.take("gw1", listed(*PEOPLE, issued_ns=T0 + 5))
    again = known(kept)
    assert again.find("li") == PEOPLE[1]
    assert (again.count, again.issued_ns, again.open) == (3, T0 + 5, False)
    assert again.take("gw1", listed(PEOPLE[0], issued_ns=T0 + 6))
    assert again.find("li") is None


def test_another_key_an_older_list_another_edge_and_a_changed_byte_are_refused() -> None:
    people = known({})
    people.take("gw1", listed(*PEOPLE))
    with pytest.raises(Untrusted, match="key"):
        people.take("gw1", listed(person("mallory", "engineer"), issued_ns=T0 + 9, key=OTHER))
    with pytest.raises(Untrusted, match="from"):
        people.take("gw1", listed(issued_ns=T0 - 1))
    with pytest.raises(Untrusted, match="press-edge-1"):
        people.take("gw1", listed(*PEOPLE, issued_ns=T0 + 9, edge="other"))
    with pytest.raises(Untrusted, match="gw2"):
        people.take("gw2", listed(*PEOPLE, issued_ns=T0 + 9))
    with pytest.raises(WireError):
        people.take("gw1", listed(*PEOPLE, issued_ns=T0 + 9).replace(b'"operator"', b'"engineer"'))
    assert people.count == 3


def signed_later(people: list[dict[str, Any]], **more: Any) -> bytes:
    """A list as a later gateway would sign it: the same fields in the same order, and what this version does not know."""
    raw = {**msgspec.json.decode(listed(issued_ns=T0)), "people": people, **more, "sig": ""}
    raw["sig"] = KEY.sign(b"pharmedge people " + msgspec.json.encode(raw)).hex()
    return msgspec.json.encode(raw)


def test_somebody_of_whom_a_later_gateway_says_more_is_left_out_and_everybody_else_logs_in() -> None:
    wang, li = (msgspec.to_builtins(one) for one in PEOPLE[:2])
    data = signed_later([wang, {**li, "only_until_ns": T0}])
    people = known({})
    assert people.take("gw1", data)
    assert (people.find("wang"), people.find("li"), people.count) == (PEOPLE[0], None, 1)
    # What is left out is signed too, and nothing else may be more.
    with pytest.raises(WireError, match="signature"):
        decode_people(data.replace(b"only_until_ns", b"only_after__ns"))
    for wrong in (signed_later([{**wang, "role": 7}]), signed_later([wang], allows="everything"), signed_later([{}]), b"[" * 100_000, b"7"):
        with pytest.raises(WireError):
            decode_people(wrong)


def test_a_configured_key_holds_from_the_first_list_and_over_the_one_that_was_kept() -> None:
    configured = Where("demo", "press-edge-1", ("gw1",), {"gw1": OTHER.public_key().public_bytes_raw().hex()})
    with pytest.raises(Untrusted):
        known({}, configured).take("gw1", listed(*PEOPLE, key=KEY))
    kept: dict[str, bytes] = {}
    known(kept).take("gw1", listed(*PEOPLE))
    changed = known(kept, configured)
    assert changed.count == 0
    assert changed.take("gw1", listed(*PEOPLE, key=OTHER))


def test_without_accounts_a_name_is_enough_unless_any_gateway_has_accounts() -> None:
    people = known({})
    people.take("gw1", listed(open_=True))
    assert people.open
    people.take("gw2", listed(PEOPLE[0], gateway="gw2", key=OTHER))
    assert not people.open


def _turned(at: int, byte: int) -> bytes:
    good = bytearray(listed(*PEOPLE))
    good[at % len(good)] = byte
    return bytes(good)


@given(st.binary(max_size=400) | st.builds(_turned, st.integers(0, 2000), st.integers(0, 255)))
def test_nothing_but_a_signed_list_passes(data: bytes) -> None:
    good = listed(*PEOPLE)
    try:
        found = decode_people(data)
    except WireError:
        return
    assert found.signed() == msgspec.json.decode(good, type=People).signed()


