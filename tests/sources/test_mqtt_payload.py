"""Payloads to columns: our point format, bare values, other JSON by pointer, and everything that is none of these."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core import Samples, Tag, Texts
from edge_agent.core.status import BAD_DECODING, UNCERTAIN, UNCERTAIN_LAST_USABLE
from edge_agent.sources.mqtt_payload import Columns, Parser, PoisonError, at_pointer, pointer_tokens, routes, time_ns_of

FORCE = Tag(id=0, name="press1/main_force")
PHASE = Tag(id=1, name="press1/phase", kind="text")
NOW = 1_767_225_600_000_000_000


def parsed(
    payload: bytes, *, tag: Tag = FORCE, address: str = "", parser: Parser | None = None, retained: bool = False
) -> tuple[Samples | Texts, ...]:
    columns = Columns()
    found = routes([tag], {tag.id: address})
    (only,) = found.values()
    (parser or Parser()).parse(only, payload, NOW, columns, retained=retained)
    return columns.items()


def test_a_point_keeps_its_time_value_and_status() -> None:
    (item,) = parsed(b'{"t": 5, "v": 12.5, "s": 1107886080, "unit": "kN"}')
    assert item == Samples.of([5], [0], [12.5], 0x42090000)


def test_a_list_of_points_comes_in_order() -> None:
    (item,) = parsed(b'[{"t": 5, "v": 1}, {"t": 4, "v": 2.5}, {"t": 4, "v": true}]')
    assert item == Samples.of([5, 4, 4], [0, 0, 0], [1.0, 2.5, 1.0])


def test_a_bare_number_is_stamped_when_received() -> None:
    assert parsed(b"7.25")[0] == Samples.of([NOW], [0], [7.25])


def test_a_retained_value_without_a_time_is_uncertain() -> None:
    assert parsed(b"7.25", retained=True)[0] == Samples.of([NOW], [0], [7.25], UNCERTAIN_LAST_USABLE)
    assert parsed(b'{"t": 3, "v": 1}', retained=True)[0] == Samples.of([3], [0], [1.0])


def test_nothing_measured_is_bad_whatever_status_it_claims() -> None:
    (item,) = parsed(b'[{"t": 1, "v": null, "s": 2156658688}, {"t": 2, "v": null}]')
    assert isinstance(item, Samples)
    assert np.isnan(item.value).all()
    assert item.status.tolist() == [0x808C0000, BAD_DECODING]


def test_whole_numbers_beyond_the_exact_are_uncertain() -> None:
    (item,) = parsed(b'[{"t": 1, "v": 9007199254740993}, {"t": 2, "v": 9007199254740992}, {"t": 3, "v": 1e300}]')
    assert isinstance(item, Samples)
    assert item.status.tolist() == [UNCERTAIN, 0, 0]


def test_texts_and_numbers_stay_in_the_order_they_came() -> None:
    columns, parser = Columns(), Parser()
    found = routes([FORCE, PHASE], {})
    for name, payload in ((FORCE.name, b"1"), (PHASE.name, b'{"t": 9, "v": "run"}'), (FORCE.name, b"2"), (FORCE.name, b"3")):
        parser.parse(found[name], payload, NOW, columns)
    assert columns.items() == (Samples.of([NOW], [0], [1.0]), Texts((9,), (1,), ("run",), (0,)), Samples.of([NOW] * 2, [0, 0], [2.0, 3.0]))


@pytest.mark.parametrize(
    "payload",
    [b"", b"{", b"nope", b'{"t": 1}', b'{"v": "12"}', b'{"v": [1]}', b'{"t": 1.5, "v": 1}', b'{"t": "1", "v": 1}', b'{"v": 1, "s": -1}', b"\xff",
     b"NaN", b'{"v": 1, "s": 4294967296}', b'{"t": 9223372036854775808, "v": 1}', b'[{"t": 1, "v": 1}, {"t": 2}]', b"[" * 100_000, b"1" * 400],
)  # fmt: skip
def test_what_can_never_be_a_number_is_poison_and_leaves_nothing(payload: bytes) -> None:
    columns = Columns()
    with pytest.raises(PoisonError):
        Parser().parse(routes([FORCE], {})[FORCE.name], payload, NOW, columns)
    assert columns.items() == ()


def test_poison_says_what_was_expected() -> None:
    with pytest.raises(PoisonError, match=r"press1/main_force: expected a number, found 'high'"):
        parsed(b'{"v": "high"}')
    with pytest.raises(PoisonError, match="press1/phase: expected a text, found 4"):
        parsed(b'{"v": 4}', tag=PHASE)


def test_values_by_pointer_with_their_time() -> None:
    parser = Parser("/meta/ts", "ms")
    payload = b'{"meta": {"ts": 1767225600123}, "data": [{"a/b": 4.5}]}'
    assert parsed(payload, address="line/x#/data/0/a~1b", parser=parser)[0] == Samples.of([1_767_225_600_123_000_000], [0], [4.5])


def test_a_message_need_not_carry_every_tag_of_its_topic() -> None:
    tags = [FORCE, Tag(id=2, name="speed")]
    found = routes(tags, {0: "x#/force", 2: "x#/speed"})
    columns = Columns()
    Parser().parse(found["x"], b'{"speed": 3}', NOW, columns)
    assert columns.items() == (Samples.of([NOW], [2], [3.0]),)
    with pytest.raises(PoisonError, match="expected a value at /force, /speed, found nothing"):
        Parser().parse(found["x"], b'{"other": 3}', NOW, columns)


def test_one_tag_of_the_wrong_type_does_not_cost_the_others() -> None:
    found = routes([FORCE, Tag(id=2, name="speed")], {0: "x#/force", 2: "x#/speed"})
    columns = Columns()
    with pytest.raises(PoisonError, match="press1/main_force"):
        Parser().parse(found["x"], b'{"force": "n/a", "speed": 3}', NOW, columns)
    assert columns.items() == (Samples.of([NOW], [2], [3.0]),)


def test_a_configured_time_that_is_missing_is_poison() -> None:
    with pytest.raises(PoisonError, match="expected a time at /t"):
        parsed(b'{"v": 1}', address="x#/v", parser=Parser("/t", "s"))


@pytest.mark.parametrize("address", ["#/v", "a/+/b", "a#v"])
def test_an_address_that_is_none_is_refused_with_its_tag(address: str) -> None:
    with pytest.raises(ValueError, match="press1/main_force: address"):
        routes([FORCE], {0: address})


@given(st.binary(max_size=200))
def test_random_bytes_never_do_worse_than_poison(payload: bytes) -> None:
    for parser, address in ((Parser(), ""), (Parser("/t", "iso"), "x#/v")):
        columns = Columns()
        try:
            parser.parse(next(iter(routes([FORCE], {0: address}).values())), payload, NOW, columns)
        except PoisonError:
            assert columns.items() == ()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["t", "v", "s", "x"]), inner, max_size=4),
    max_leaves=8,
)


@given(JSON)
def test_random_json_never_does_worse_than_poison(tree: Any) -> None:
    for parser, address in ((Parser(), ""), (Parser("/t", "s"), "x#/v")):
        try:
            parser.parse(next(iter(routes([FORCE], {0: address}).values())), json.dumps(tree).encode(), NOW, Columns())
        except PoisonError:
            continue


POINT = st.tuples(
    st.integers(-(2**63), 2**63 - 1),
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False),
    st.integers(0, 2**32 - 1),
)


@given(st.lists(POINT, min_size=1, max_size=20))
def test_points_come_back_as_they_were_written(points: list[tuple[int, Any, int]]) -> None:
    (item,) = parsed(json.dumps([{"t": t, "v": v, "s": s} for t, v, s in points]).encode())
    assert isinstance(item, Samples)
    assert item.time_ns.tolist() == [t for t, _, _ in points]
    expected = [math.nan if v is None else float(v) for _, v, _ in points]
    assert item.value.tobytes() == np.array(expected).tobytes()
    for found, (_, v, sent) in zip(item.status.tolist(), points, strict=True):
        assert found == sent or (v is None and sent < 0x80000000) or abs(v) > 2**53


@given(st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)), st.integers(-720, 720), st.integers(0, 999))  # noqa: DTZ001
def test_iso_times_are_exact_to_the_nanosecond(naive: datetime, offset_min: int, nanoseconds: int) -> None:
    stamp = naive.replace(tzinfo=timezone(timedelta(minutes=offset_min)))
    text = f"{naive:%Y-%m-%dT%H:%M:%S}.{naive.microsecond:06d}{nanoseconds:03d}{stamp.isoformat()[-6:]}"
    since = stamp - datetime(1970, 1, 1, tzinfo=UTC)
    expected = (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1000 + nanoseconds
    assert time_ns_of(text, "iso") == expected


@given(st.dictionaries(st.text(max_size=4), st.lists(st.integers(), max_size=3), max_size=3))
def test_pointers_find_what_stands_there(tree: dict[str, list[int]]) -> None:
    for key, row in tree.items():
        escaped = key.replace("~", "~0").replace("/", "~1")
        assert at_pointer(tree, pointer_tokens(f"/{escaped}")) == row
        for i, value in enumerate(row):
            assert at_pointer(tree, pointer_tokens(f"/{escaped}/{i}")) == value
