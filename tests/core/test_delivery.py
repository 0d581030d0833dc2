"""Messages between edge and gateway: whole or refused."""

from __future__ import annotations

import struct
import zlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core import (
    Committed,
    Delivered,
    Delivery,
    OperatorAction,
    Ranges,
    WireError,
    chain_crc,
    chain_joined,
    decode_actions,
    encode_actions,
    topic,
)
from edge_agent.core.delivery import COMMITTED_KIND, DELIVERY_KIND, decode_anchor
from edge_agent.core.wire import frame
from tests.core.golden import MESSAGES
from tests.core.items import TEXT, UINT32

RECORD = st.builds(Delivered, st.integers(1, 2**63 - 1), UINT32, st.binary(max_size=60))
DELIVERY = st.builds(
    Delivery, TEXT, TEXT, st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1), st.booleans(), st.lists(RECORD, max_size=6).map(tuple)
)


@given(DELIVERY)
def test_a_delivery_comes_back(delivery: Delivery) -> None:
    assert Delivery.decode(delivery.encode()) == delivery


@given(st.binary(max_size=300), st.integers(1, 50))
def test_pieces_make_the_whole(data: bytes, size: int) -> None:
    pieces = Delivered(7, 9, data).pieces(size)
    assert b"".join(p.data for p in pieces) == data
    assert [p.part for p in pieces] == list(range(len(pieces)))
    assert all(len(p.data) <= size and p.parts == len(pieces) and (p.seq, p.chain) == (7, 9) for p in pieces)
    sent = Delivery("s", "e", 1, 1, False, pieces)
    assert Delivery.decode(sent.encode()).records == pieces


@given(TEXT, TEXT, TEXT, st.dictionaries(st.integers(0, 2**63 - 1), st.lists(st.integers(1, 10**6), max_size=6), max_size=3))
def test_a_commitment_comes_back(gateway: str, session: str, edge: str, epochs: dict[int, list[int]]) -> None:
    message = Committed(gateway, session, edge, {epoch: Ranges((i, i) for i in seqs) for epoch, seqs in epochs.items()})
    assert Committed.decode(message.encode()) == message


@given(UINT32, st.binary(max_size=400))
def test_a_running_crc_can_be_joined_from_its_parts(before: int, data: bytes) -> None:
    assert chain_joined(before, zlib.crc32(data), len(data)) == chain_crc(before, data)


@pytest.mark.parametrize("name", ["delivery", "committed"])
def test_every_damaged_byte_and_truncation_is_refused(name: str) -> None:
    read = Delivery.decode if name == "delivery" else Committed.decode
    data = MESSAGES[name]
    for at in range(len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 0x40
        for bad in (bytes(damaged), data[:at]):
            with pytest.raises(WireError):
                read(bad)


@given(st.binary(max_size=300))
def test_any_body_is_a_message_or_refused(body: bytes) -> None:
    for read, kind in ((Delivery.decode, DELIVERY_KIND), (Committed.decode, COMMITTED_KIND)):
        try:
            read(frame(kind, body))
        except WireError:
            continue


def _delivery(seqs: list[int], parts: list[tuple[int, int]], n: int | None = None, size: int = 0) -> bytes:
    head = msgspec.json.encode({"site": "s", "edge": "e", "epoch": 1, "oldest_seq": 1, "simulated": False, "n": len(seqs) if n is None else n})
    body = (
        struct.pack("<I", len(head))
        + head
        + struct.pack(f"<{len(seqs)}q", *seqs)
        + struct.pack(f"<{2 * len(seqs)}I", *[0] * len(seqs), *[size] * len(seqs))
    )
    return frame(DELIVERY_KIND, body + b"".join(struct.pack("<II", *p) for p in parts))


@pytest.mark.parametrize(
    "message",
    [
        _delivery([0], [(0, 1)]),
        _delivery([-5], [(0, 1)]),
        _delivery([1], [(1, 1)]),
        _delivery([1], [(0, 0)]),
        _delivery([1], [(0, 1)], n=10**15),
        _delivery([1], [(0, 1)], n=-1),
        _delivery([1], [(0, 1)], size=2**32 - 1),
        frame(COMMITTED_KIND, b'{"gateway":"g","session":"s","edge":"e","epochs":{"one":[]}}'),
        frame(COMMITTED_KIND, b'{"gateway":"g","session":"s","edge":"e","epochs":{"1":[[3,1]]}}'),
        MESSAGES["state"],
    ],
)
def test_impossible_messages_are_refused(message: bytes) -> None:
    with pytest.raises(WireError):
        Delivery.decode(message)
    with pytest.raises(WireError):
        Committed.decode(message)


def test_actions_come_back_and_an_empty_payload_is_no_action() -> None:
    action = OperatorAction(id="1", kind="shelve", alarm="a.high", raised_ns=1, user="lin", time_ns=2, duration_s=3600.0)
    assert decode_actions(encode_actions([action])) == (action,)
    assert decode_actions(b"") == decode_actions(encode_actions([])) == ()


@pytest.mark.parametrize("change", [{"kind": "ponder"}, {"for_whom": "li"}, {"duration_s": "long"}])
def test_an_action_of_a_later_version_stops_none_of_the_others(change: dict[str, str]) -> None:
    action = OperatorAction(id="1", kind="shelve", alarm="a.high", raised_ns=1, user="lin", role="engineer", time_ns=2)
    later = msgspec.json.decode(msgspec.json.encode(action)) | {"id": "2"} | change
    unknown, known = decode_actions(msgspec.json.encode([later, action]))
    assert known == action
    assert (unknown.id, unknown.kind, unknown.alarm, unknown.user, unknown.role, unknown.time_ns) == ("2", "unknown", "a.high", "lin", "engineer", 2)
    assert unknown.reason.startswith(f"this version cannot read {later['kind']}: ")
    with pytest.raises(WireError):
        decode_actions(b'[{"kind":"shelve"}]')  # without an id nothing can answer it


@given(st.binary(min_size=1, max_size=100))
def test_any_payload_is_a_list_of_actions_or_refused(data: bytes) -> None:
    try:
        assert isinstance(decode_actions(data), tuple)
    except WireError:
        return


@given(st.lists(st.binary(max_size=20)))
def test_the_chain_is_the_crc_of_everything_so_far(frames: list[bytes]) -> None:
    chain = 0
    for data in frames:
        chain = chain_crc(chain, data)
    assert chain == chain_crc(0, b"".join(frames))


def test_topics() -> None:
    assert topic("demo", "press-edge-1", "committed/gw1") == "pharmedge/demo/press-edge-1/committed/gw1"


def test_lists_and_anchors_that_are_no_utf8_or_too_deep_are_damage() -> None:
    for damaged in (b'[{"\xa3', b"[" * 200_000):
        for decoder in (decode_actions, decode_anchor):
            with pytest.raises(WireError):
                decoder(damaged)
