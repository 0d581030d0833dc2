"""Topics and payloads of the unified namespace."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import numpy as np
import pydantic
import pytest

from edge_agent.core import AlarmEvent, Block, Samples, Tag, Texts
from edge_agent.sources.mqtt_payload import Columns, Parser, routes
from edge_agent.uplinks.telling import Chosen
from edge_agent.uplinks.unified import Namespace, UnifiedConfig

T0 = 1_767_225_600_000_000_000
TAGS = (
    Tag(id=0, name="press1/force", unit="kN", path="compression/line2/press1"),
    Tag(id=1, name="press1/batch", kind="text"),
    Tag(id=2, name="room+1/#humidity"),
    Tag(id=3, name="press1/nir", kind="block"),
)


def said(*told: Any, historical: bool = False, **how: Any) -> list[tuple[str, dict[str, Any], bool]]:
    namespace = Namespace("acme/shanghai", TAGS, **({"edge": "e1", "simulated": False, "newest_only": False, "retain": True} | how))
    return [(topic, json.loads(payload), retain) for topic, payload, retain in namespace.messages(list(told), historical=historical)]


def samples(*rows: tuple[int, int, float, int]) -> Samples:
    return Samples.of([T0 + t for t, *_ in rows], [k for _, k, *_ in rows], [v for *_, v, _ in rows], [s for *_, s in rows])


def test_each_value_is_a_message_at_its_place_and_the_newest_is_kept() -> None:
    assert said(samples((1, 0, 1.5, 0), (2, 0, float("nan"), 0x808C0000), (1, 2, 40.0, 0x40940000))) == [
        ("acme/shanghai/compression/line2/press1/force", {"t": T0 + 1, "v": 1.5, "s": 0, "q": "good", "unit": "kN", "edge": "e1"}, False),
        (
            "acme/shanghai/compression/line2/press1/force",
            {"t": T0 + 2, "v": None, "s": 0x808C0000, "q": "bad", "unit": "kN", "edge": "e1"},
            True,
        ),
        ("acme/shanghai/room_1/_humidity", {"t": T0 + 1, "v": 40.0, "s": 0x40940000, "q": "uncertain", "edge": "e1"}, True),
    ]


def test_only_the_newest_where_that_is_asked_for() -> None:
    found = said(samples((1, 0, 1.0, 0), (3, 0, 3.0, 0), (2, 0, 2.0, 0)), samples((2, 0, 9.0, 0)), newest_only=True)
    assert [point["v"] for _, point, _ in found] == [3.0]


def test_what_is_older_or_was_missed_says_so_and_only_what_is_newest_is_kept() -> None:
    found = said(samples((5, 0, 5.0, 0)), samples((4, 0, 4.0, 0)))
    assert [(point["v"], point.get("historical"), kept) for _, point, kept in found] == [(5.0, None, True), (4.0, True, False)]
    missed = said(samples((5, 0, 5.0, 0)), historical=True)
    assert [(point.get("historical"), kept) for _, point, kept in missed] == [(True, True)]
    assert [kept for *_, kept in said(samples((5, 0, 5.0, 0)), retain=False)] == [False]


def test_texts_spectra_and_simulated_lines() -> None:
    block = Block(3, np.array([T0]), np.array([[1.0, 2.5]]), np.array([0], np.uint32), np.array([900.0, 901.0]))
    found = said(Texts((T0,), (1,), ("片-7",), (0,)), block, samples((1, 0, 1.0, 0x42090000)), simulated=True)
    assert [(topic, point["v"], point["q"], point["simulated"]) for topic, point, _ in found] == [
        ("acme/shanghai/press1/batch", "片-7", "good", True),
        ("acme/shanghai/press1/nir", [1.0, 2.5], "good", True),
        ("acme/shanghai/compression/line2/press1/force", 1.0, "good", True),
    ]


def test_alarms_stand_beside_their_unit() -> None:
    event = AlarmEvent(
        alarm="press1/batch.bad_quality", tag="press1/batch", raised_ns=1, time_ns=2, received_ns=3, event="raise", state_from="NORM",
        state_to="UNACK", priority=2, explanation="why",
    )  # fmt: skip
    ((topic, point, kept),) = said(event)
    assert (topic, kept) == ("acme/shanghai/press1/alarms/batch.bad_quality", True)
    assert (point["event"], point["state"], point["priority"], point["raised"]) == ("raise", "UNACK", 2, 1)
    assert Chosen(TAGS, ["room*"]).names == {"room+1/#humidity"}


def test_an_older_event_that_was_missed_does_not_stay_for_a_newer_one() -> None:
    namespace = Namespace("acme/shanghai", TAGS, edge="e1", simulated=False, newest_only=False, retain=True)
    event = AlarmEvent(
        alarm="press1/batch.bad_quality", tag="press1/batch", raised_ns=1, time_ns=200, received_ns=200, event="raise", state_from="NORM",
        state_to="UNACK", priority=2,
    )  # fmt: skip
    older = msgspec.structs.replace(event, event="return", time_ns=100, received_ns=100)
    kept = [[kept for *_, kept in namespace.messages([told], historical=told is older)] for told in (event, older, event)]
    assert kept == [[True], [False], [True]]


def test_our_own_mqtt_source_reads_it() -> None:
    ((topic, point, _),) = said(samples((7, 0, 2.5, 0x40940000)))
    columns = Columns()
    Parser().parse(routes([Tag(id=9, name="force")], {9: topic})[topic], json.dumps(point).encode(), 0, columns)
    (read,) = columns.items()
    assert isinstance(read, Samples)
    assert (read.time_ns.tolist(), read.value.tolist(), read.status.tolist()) == ([T0 + 7], [2.5], [0x40940000])


@pytest.mark.parametrize("root", ["", "/a", "a/", "a/+", "#", "$SYS"])
def test_a_root_that_is_no_topic_is_refused(root: str) -> None:
    with pytest.raises(pydantic.ValidationError):
        UnifiedConfig.model_validate({"kind": "unified", "name": "u", "host": "h", "root": root})
    assert UnifiedConfig.model_validate({"kind": "unified", "name": "u", "host": "h", "root": "acme/shanghai"}).root == "acme/shanghai"
