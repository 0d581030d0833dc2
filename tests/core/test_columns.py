"""Samples, texts, blocks and summaries: right columns or a clear error."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edge_agent.core import SUMMARY_DTYPE, AlarmEvent, Block, Gap, Samples, Summaries, Tag, Texts, occurrence_id, parse_occurrence_id
from edge_agent.core.record import LANE_ALARM, LANE_DATA, lane

T, G, V, S = np.zeros(2, np.int64), np.zeros(2, np.int32), np.zeros(2), np.zeros(2, np.uint32)


@pytest.mark.parametrize(
    ("columns", "name"),
    [
        ((T.astype(float), G, V, S), "time_ns"),
        ((T, G[:1], V, S), "tag"),
        ((T, G, V.astype(np.float32), S), "value"),
        ((T, G, V, S.astype(np.int64)), "status"),
    ],
)
def test_a_wrong_column_is_named(columns: tuple[Any, ...], name: str) -> None:
    with pytest.raises(ValueError, match=rf"Samples\.{name}: expected \(2,\)"):
        Samples(*columns)


def test_equality_is_bitwise() -> None:
    nan = Samples.of([1], [0], [float("nan")])
    assert nan == Samples.of([1], [0], [float("nan")])
    assert Samples.of([1], [0], [0.0]) != Samples.of([1], [0], [-0.0])
    assert nan != nan.received(5)
    assert nan != "samples"
    block = Block(0, T, np.array([[np.nan], [0.0]]), S, np.zeros(1))
    assert block == Block(0, T, np.array([[np.nan], [0.0]]), S, np.zeros(1))
    assert block != Block(0, T, np.array([[np.nan], [-0.0]]), S, np.zeros(1))
    assert Summaries(np.zeros(1, SUMMARY_DTYPE)) != Summaries(np.zeros(2, SUMMARY_DTYPE))
    for item in (nan, block, Summaries(np.zeros(1, SUMMARY_DTYPE))):
        with pytest.raises(TypeError, match="unhashable"):
            hash(item)


def test_taking_and_joining() -> None:
    s = Samples.of([1, 2, 3], [0, 1, 0], [1.5, 2.5, 3.5], [0, 1, 2], 7)
    assert s.take(s.tag == 0) == Samples.of([1, 3], [0, 0], [1.5, 3.5], [0, 2], 7)
    assert s.take(slice(1, 2)).value.tolist() == [2.5]
    assert Samples.joined([s.take(slice(0, 1)), s.take(slice(1, 3))]) == s
    assert Samples.joined([s], 9) == s.received(9)
    assert Samples.joined([], 4) == Samples.empty(4)
    assert (len(s), s.nbytes) == (3, 72)


def test_text_columns_are_of_one_length() -> None:
    with pytest.raises(ValueError, match="found 1, 0, 1, 1"):
        Texts((1,), (), ("a",), (0,))
    texts = Texts((1,), (2,), ("batch",), (0,))
    assert (len(texts), texts.nbytes, texts.received(3).received_ns) == (1, 21, 3)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"time_ns": T.astype(float)}, "time_ns"),
        ({"values": np.zeros((2, 2))}, "values"),
        ({"values": np.asfortranarray(np.zeros((2, 3)))}, "values"),
        ({"status": np.zeros((3,), np.uint32)}, "status"),
        ({"axis": np.zeros(3, np.float32)}, "axis"),
    ],
)
def test_a_wrong_part_of_a_block_is_named(change: dict[str, Any], name: str) -> None:
    parts: dict[str, Any] = {"tag": 0, "time_ns": T, "values": np.zeros((2, 3)), "status": S, "axis": np.zeros(3)}
    assert len(Block(**parts)) == 2
    assert Block(**parts).nbytes == 16 + 48 + 8 + 24
    with pytest.raises(ValueError, match=rf"Block\.{name}: expected"):
        Block(**{**parts, **change})


def test_summaries_are_of_their_type() -> None:
    with pytest.raises(ValueError, match=r"Summaries\.rows"):
        Summaries(np.zeros(2))  # type: ignore[arg-type]


def test_alarms_go_first() -> None:
    event = AlarmEvent(alarm="a", tag="t", raised_ns=1, time_ns=1, received_ns=1, event="raise", state_from="NORM", state_to="UNACK", priority=1)
    assert lane(event) == lane(Gap(tag=-1, from_ns=0, to_ns=0, missing=0, cause="abandoned 1..2")) == LANE_ALARM
    assert lane(Samples.empty()) == lane(Texts((), (), (), ())) == LANE_DATA


@pytest.mark.parametrize("text", ["", "e", "e~a", "~a~1", "e~~1", "e~a~", "e~a~-1", "e~a~1x", "e~a~①", "e~a~" + "9" * 20])
def test_what_is_no_occurrence_id(text: str) -> None:
    with pytest.raises(ValueError, match="occurrence id: expected EDGE~ALARM~NANOSECONDS"):
        parse_occurrence_id(text)


def test_an_occurrence_id_comes_back() -> None:
    assert parse_occurrence_id(occurrence_id("e-1", "press1/force.high", 12)) == ("e-1", "press1/force.high", 12)


def test_defaults_are_not_shared() -> None:
    a, b = Tag(id=0, name="a"), Tag(id=1, name="b")
    a.description["en"] = "changed"
    assert b.description == {}
