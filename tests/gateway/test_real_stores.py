"""Time series servers for real: what the target writes is what the interface reads back, and what our own store has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest

from edge_agent.core import AlarmEvent, NotConnected, Samples, Tag, Texts
from gateway.store import Store
from gateway.targets import InfluxConfig, Page, Reader
from tests.gateway.conftest import feed
from tests.gateway.edge import Edge
from tests.gateway.stores import influxdb_1, settle, victoria_metrics

pytestmark = pytest.mark.system

T0 = 1_767_225_600_000_000_000
MS = 1_000_000
NAMES = ("press 1/force,a=b", "press1/batch", 'it\'s "quoted" (%)', "片剂机/主压力")
TAGS = tuple(Tag(id=i, name=name, kind="text" if i == 1 else "numeric") for i, name in enumerate(NAMES))


@pytest.fixture(scope="module", params=[victoria_metrics, influxdb_1], ids=["victoria-metrics", "influxdb-1"])
def section(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    with ExitStack() as stack:
        yield stack.enter_context(request.param(tmp_path_factory.mktemp("series")))


def reader_of(section: dict[str, Any]) -> Reader:
    found = InfluxConfig(name="ts", **section).reader()
    assert found is not None
    return found


def write(section: dict[str, Any], *pages: Page) -> list[tuple[str, bytes]]:
    target = InfluxConfig(name="ts", **section).make()
    target.open()
    try:
        return [refused for page in pages for refused in target.write(page).rejected]
    finally:
        target.close()
        settle(section)


def page(edge: str, n: int = 500) -> Page:
    """Values a tenth of a second apart with every quality; a number for three tags, a text, an alarm."""
    k = np.arange(n)
    values = np.where(k % 10 == 3, np.nan, k / 8)
    status = np.where(k % 10 == 3, 0x808C0000, np.where(k % 10 == 5, 0x40940000, 0)).astype(np.uint32)
    samples = [Samples(T0 + k * 100 * MS, np.full(n, tag, np.int32), values + tag, status) for tag in (0, 2, 3)]
    event = AlarmEvent(
        alarm="a.high", tag="a", raised_ns=1, time_ns=T0, received_ns=2, event="raise", state_from="NORM", state_to="UNACK", priority=2, value=1.5
    )
    return Page(edge, "demo", TAGS, samples, (Texts((T0, T0 + MS), (1, 1), ('B "1"', "片-2"), (0, 0)),), (event,))


def test_what_is_written_comes_back_once_however_often_it_is_written(section: dict[str, Any]) -> None:
    told = page("e1")
    assert write(section, told, told, told) == []
    reader = reader_of(section)
    for samples in told.samples:
        tag = int(samples.tag[0])
        found, texts = reader.read("e1", NAMES[tag], T0, T0 + 10**12)
        assert len(texts) == 0
        assert found.time_ns.tolist() == samples.time_ns.tolist()
        assert found.status.tolist() == samples.status.tolist()
        np.testing.assert_array_equal(found.value, samples.value)
    assert len(reader.read("e2", NAMES[0], T0, T0 + 10**12)[0]) == 0
    span = reader.read("e1", NAMES[0], T0 + 100 * MS, T0 + 500 * MS)[0]
    assert ((span.time_ns - T0) // MS).tolist() == [100, 200, 300, 400]
    batch = reader.read("e1", NAMES[1], T0, T0 + 10**12)[1]
    # VictoriaMetrics keeps no texts.
    assert batch.value == (('B "1"', "片-2") if section["reads"] == "influxql" else ())


def test_our_own_store_and_that_one_answer_alike(section: dict[str, Any], store: Store) -> None:
    edge = Edge()
    edge.define()
    for i in range(4):
        edge.summary(edge.samples(30 * i, 30))
    feed(store, edge.deliver())
    key = "press-edge-1:press1/main_force"
    own = store.view().samples("press-edge-1", 0, 0, 2**62)
    assert len(own) == 120
    samples = Samples(own["time_ns"].copy(), np.zeros(len(own), np.int32), own["value"].copy(), own["status"].copy())
    assert write(section, Page("press-edge-1", "demo", (Tag(id=0, name="press1/main_force"),), (samples,))) == []
    begin, end = int(own["time_ns"].min()), int(own["time_ns"].max()) + 1
    reader = reader_of(section)
    for points in (10_000, 60):
        there = store.ask.series_from(reader, key, begin, end, points)
        here = store.ask.series(key, begin, end, points)
        assert there == here, points


def test_a_server_that_is_away_or_asked_wrongly_is_not_connected(section: dict[str, Any]) -> None:
    away = InfluxConfig(name="ts", **section | {"url": "http://127.0.0.1:9"}).reader()
    assert away is not None
    with pytest.raises(NotConnected, match="ts"):
        away.read("e1", "a", T0, T0 + 1)
    if section["reads"] == "influxql":
        with pytest.raises(NotConnected, match="database not found"):
            reader_of(section | {"bucket": "nowhere"}).read("e1", "a", T0, T0 + 1)
        assert write(section | {"bucket": "plant"}, Page("e1", "demo", TAGS)) == []
        with pytest.raises(NotConnected, match="404"):
            write(section | {"bucket": "nowhere"}, page("e1", 3))
