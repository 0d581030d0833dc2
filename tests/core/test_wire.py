"""The wire format gives back what it was given, and refuses everything else with a WireError."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edge_agent.core import AlarmEvent, Block, Heartbeat, Samples, Texts, WireError, decode, encode, kind_of, wire
from tests.core.golden import ITEMS
from tests.core.items import ANY_ITEM, STRATEGIES, same, samples

KNOWN = sorted(STRATEGIES, key=lambda cls: wire.KINDS[cls])


@pytest.mark.parametrize("cls", KNOWN, ids=lambda cls: cls.__name__)
@given(data=st.data())
@settings(max_examples=40)
def test_every_kind_comes_back_bit_for_bit(cls: type[Any], data: st.DataObject) -> None:
    item = data.draw(STRATEGIES[cls])
    frame = encode(item)
    back = decode(frame)
    assert same(back, item)
    assert encode(back) == frame
    assert kind_of(back) == wire.KINDS[cls] == frame[3]


def test_nan_payloads_and_negative_zero_survive_in_columns() -> None:
    bits = np.array([0x7FF8000000000001, 0xFFF8DEADBEEF0001, 0x7FF0000000000000, 0x8000000000000000, 1], np.uint64)
    item = Samples.of(range(5), [0] * 5, bits.view(np.float64))
    assert decode(encode(item)).value.view(np.uint64).tolist() == bits.tolist()  # type: ignore[union-attr]


def test_a_reading_of_infinity_stays_one_in_an_alarm_event() -> None:
    event = AlarmEvent(
        alarm="a", tag="t", raised_ns=1, time_ns=1, received_ns=1, event="raise", state_from="NORM", state_to="UNACK", priority=1,
        value=float("inf"), limit=-0.0, contributions={"residual": float("nan")},
    )  # fmt: skip
    assert same(decode(encode(event)), event)


@pytest.mark.parametrize(
    "item", [Samples.empty(), Texts((), (), (), ()), Block(0, np.empty(0, np.int64), np.empty((0, 0)), np.empty(0, np.uint32), np.empty(0))]
)
def test_nothing_is_something_too(item: Any) -> None:
    assert decode(encode(item)) == item


def test_huge_columns() -> None:
    n = 1_000_000
    item = Samples.of(np.arange(n) * 1_000_000, np.arange(n, dtype=np.int32) % 5000, np.sin(np.arange(n)), 0x42090000, 9)
    assert decode(encode(item)) == item


def test_a_body_beyond_the_bound_is_refused_when_written() -> None:
    block = Block(0, np.zeros(1, np.int64), np.zeros((1, 5_000_000)), np.zeros(1, np.uint32), np.zeros(5_000_000))
    with pytest.raises(WireError, match="at most"):
        encode(block)


def test_times_that_wrap_around_are_exact() -> None:
    item = Samples.of([2**63 - 1, -(2**63), 0, 2**63 - 1], [2**31 - 1, -(2**31), 0, 1], [0.0] * 4)
    assert decode(encode(item)) == item


@pytest.mark.parametrize("name", ITEMS)
def test_every_single_damaged_byte_is_refused(name: str) -> None:
    frame = encode(ITEMS[name])
    for at in range(len(frame)):
        for flip in (1, 2, 4, 8, 16, 32, 64, 128, 255):
            damaged = bytearray(frame)
            damaged[at] ^= flip
            with pytest.raises(WireError):
                decode(bytes(damaged))


@given(item=ANY_ITEM, data=st.data())
def test_every_burst_of_up_to_four_bytes_is_refused(item: Any, data: st.DataObject) -> None:
    # What a CRC-32 promises: any burst of at most 32 bits.
    frame = bytearray(encode(item))
    at = data.draw(st.integers(0, len(frame) - 1))
    burst = data.draw(st.binary(min_size=1, max_size=min(4, len(frame) - at)).filter(any))
    for i, flip in enumerate(burst):
        frame[at + i] ^= flip
    with pytest.raises(WireError):
        decode(bytes(frame))


@pytest.mark.parametrize("name", ITEMS)
def test_every_truncation_and_every_extension_is_refused(name: str) -> None:
    frame = encode(ITEMS[name])
    for end in range(len(frame)):
        with pytest.raises(WireError):
            decode(frame[:end])
    for extra in (b"\0", b"Ph", frame):
        with pytest.raises(WireError):
            decode(frame + extra)


@given(st.binary(max_size=200))
@example(b"")
@example(b"Ph")
def test_random_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        decode(data)


@given(kind=st.integers(0, 255), body=st.binary(max_size=600))
@settings(max_examples=300)
def test_any_body_under_a_right_crc_is_an_item_or_refused(kind: int, body: bytes) -> None:
    try:
        item = decode(wire.frame(kind, body))
    except WireError:
        return
    assert kind_of(item) == kind


@given(item=ANY_ITEM, data=st.data())
@settings(max_examples=300)
def test_a_forged_body_is_an_item_or_refused(item: Any, data: st.DataObject) -> None:
    kind, body = wire.unframe(encode(item))
    forged = bytearray(body)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, max(0, len(forged) - 1)))
        forged[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    try:
        decode(wire.frame(kind, bytes(forged)))
    except WireError:
        return


def _with_crc(prefix: bytes, stored: bytes) -> bytes:
    return prefix + struct.pack("<I", zlib.crc32(stored, zlib.crc32(prefix))) + stored


def test_another_version_is_refused_by_name() -> None:
    frame = bytearray(encode(Heartbeat(received_ns=1)))
    frame[2] = 2
    with pytest.raises(WireError, match=r"version 1, found .* version 2"):
        decode(_with_crc(bytes(frame[:16]), bytes(frame[20:])))


@pytest.mark.parametrize("kind", [0, 7, 13, 255])
def test_an_unknown_kind_is_refused_by_number(kind: int) -> None:
    with pytest.raises(WireError, match=f"known kind, found {kind}"):
        decode(wire.frame(kind, b"{}"))


def test_rows_that_are_only_promised_allocate_nothing() -> None:
    for kind in (1, 3, 4):
        for n in (10**12, 10**30, -1):
            head = (
                f'{{"n":{n},"received_ns":0}}'
                if kind != 3
                else f'{{"n":{n},"k":{n},"tag":0,"wide_status":true,"axis_unit":"","unit":"","received_ns":0}}'
            )
            body = struct.pack("<I", len(head)) + head.encode()
            with pytest.raises(WireError):
                decode(wire.frame(kind, body))


def test_a_size_that_is_only_promised_allocates_nothing() -> None:
    # A zstd frame whose header promises 2^60 bytes: its window descriptor is followed by an 8-byte content size.
    bomb = b"\x28\xb5\x2f\xfd" + b"\xe0" + struct.pack("<Q", 2**60) + b"\x01\x00\x00"
    assert zstandard.frame_content_size(bomb) == 2**60
    for promised in (0, 100, wire.MAX_BODY):
        prefix = struct.pack("<2sBBB3xII", b"Ph", 1, 1, 1, len(bomb), promised)
        with pytest.raises(WireError, match="uncompressed"):
            decode(_with_crc(prefix, bomb))


def test_bytes_behind_the_compressed_body_are_refused() -> None:
    body = b"a" * 1000
    stored = zstandard.ZstdCompressor().compress(body) + b"behind"
    prefix = struct.pack("<2sBBB3xII", b"Ph", 1, 20, 1, len(stored), len(body))
    with pytest.raises(WireError):
        wire.unframe(_with_crc(prefix, stored))


@pytest.mark.parametrize("name", ["samples", "texts", "block", "block_wide", "summaries"])
def test_bytes_behind_the_last_column_are_refused(name: str) -> None:
    kind, body = wire.unframe(encode(ITEMS[name]))
    for extra in (b"\0", b"\0" * 8):
        with pytest.raises(WireError, match="expected its end"):
            decode(wire.frame(kind, body + extra))


@pytest.mark.parametrize("name", ["gap", "heartbeat", "start"])
def test_bytes_behind_a_structure_are_refused(name: str) -> None:
    kind, body = wire.unframe(encode(ITEMS[name]))
    with pytest.raises(WireError):
        decode(wire.frame(kind, body + b"\xc0"))


def test_deep_nesting_is_refused() -> None:
    start = ITEMS["start"]
    _, body = wire.unframe(encode(start))
    at = body.index(b"\xa6config") + 7
    assert body[at] == 0x81, "a map of one key"
    nested = body[:at] + b"\x81\xa1k" + b"\x91" * 100_000 + b"\xc0" + body[at + 1 + len(b"\xa6fields\x01") :]
    with pytest.raises(WireError):
        decode(wire.frame(24, nested))


def test_kind_numbers_are_given_once() -> None:
    assert len(set(wire.KINDS.values())) == len(wire.KINDS)
    assert max(wire.KINDS.values()) < 64, "64 and above frame messages and states"


@given(samples(max_size=5))
def test_memory_is_read_without_copies_of_the_caller(item: Samples) -> None:
    assert decode(memoryview(encode(item))) == item
