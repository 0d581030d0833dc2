"""The OPC UA source against a real server in this process: what it reads, and what a server may be like."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua

from edge_agent.core import Connection, KeepAlive, NotConnected
from tests.sources.opcua_plant import START_NS, STEP_NS, URI, Plant, Reader, cut, free_port, source

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("impatient")]


async def test_values_times_and_status_arrive_exactly(plant: Plant, tmp_path: Path) -> None:
    reader = Reader(source(plant, tmp_path, ("a", "b", "batch")))
    assert (await reader.open()).state == "connected"
    await plant.write("a", 1.25, START_NS, 0x42090000)
    await plant.write("a", math.nan, START_NS + 1000, 0x808C0000)
    await plant.write("batch", "B-1", START_NS)
    await plant.write("a", 3.0, START_NS + 2000, 0x42090000)
    # The same value at a later time is a sample of its own.
    await plant.write("a", 3.0, START_NS + 3000, 0x42090000)
    while len(reader.values(0)) < 4 or not reader.words():
        await reader.read()
    rows = reader.rows(0)
    assert [(t - START_NS, s) for t, _, s in rows] == [(0, 0x42090000), (1000, 0x808C0000), (2000, 0x42090000), (3000, 0x42090000)]
    assert [v for _, v, _ in rows[:1] + rows[2:]] == [1.25, 3.0, 3.0]
    assert reader.words() == [(2, "B-1")]
    assert reader.values(1) == []
    await reader.plc.close()
    assert plant.server.iserver._external_sessions == {}


async def test_the_server_keeps_a_notification_until_it_was_committed(plant: Plant, reader: Reader) -> None:
    await reader.open()
    await plant.run("a", 1, 3)
    await reader.until(0, 3.0, commit=False)
    await asyncio.sleep(0.15)
    held = plant.unacknowledged()
    assert held
    reader.commit()
    for _ in range(40):
        if not set(held) & set(plant.unacknowledged()):
            return
        await asyncio.sleep(0.05)
    pytest.fail(f"still held: {plant.unacknowledged()}")


async def test_a_silent_subscription_sends_keep_alives(plant: Plant, tmp_path: Path) -> None:
    reader = Reader(source(plant, tmp_path, keepalive_count=2))
    await reader.open()
    while len(reader.of(KeepAlive)) < 3:
        await reader.read()
    await reader.plc.close()


async def test_one_bad_node_is_told_and_the_rest_goes_on_and_it_is_tried_again(plant: Plant, tmp_path: Path) -> None:
    reader = Reader(source(plant, tmp_path, ("a", "later", "b"), retry_s=0.2))
    await reader.open()
    failed = [item for item in reader.of(Connection) if item.state == "tag_failed"]
    assert [(item.tags, item.status) for item in failed] == [((1,), 0x80340000)]
    assert "nsu=urn:pharmedge:test;s=later: BadNodeIdUnknown" in failed[0].detail
    await plant.run("a", 1, 1)
    await reader.until(0, 1.0)
    await plant.add("later")
    while "tag_recovered" not in reader.states():
        await reader.read()
    await plant.run("later", 5, 5)
    await reader.until(1, 5.0)
    await reader.plc.close()


async def test_an_address_by_index_or_of_no_namespace_fails_its_tag_alone(plant: Plant, tmp_path: Path) -> None:
    plc = source(plant, tmp_path, ("a", "b", "c"))
    plc._plug.address.update({1: "ns=2;s=b", 2: "nsu=urn:nowhere;s=c"})
    reader = Reader(plc)
    await reader.open()
    details = {item.tags[0]: item.detail for item in reader.of(Connection) if item.state == "tag_failed"}
    assert "by URI" in details[1]
    assert "no such namespace" in details[2]
    await plant.run("a", 1, 1)
    await reader.until(0, 1.0)
    await plc.close()


async def test_namespaces_may_change_their_order_over_a_restart_of_the_server(tmp_path: Path) -> None:
    port = free_port()
    plant = await Plant(port).start()
    reader = Reader(source(plant, tmp_path))
    await reader.open()
    await plant.run("a", 1, 2)
    await reader.until(0, 2.0)
    first = plant.index
    await plant.stop()
    with pytest.raises(NotConnected):
        await reader.lost()
    await reader.plc.close()
    with pytest.raises(NotConnected):
        await reader.plc.open(reader.resume)
    await reader.plc.close()
    plant = await Plant(port, before=("urn:other:1", "urn:other:2")).start()
    assert plant.index != first
    assert (await reader.open()).state == "connected"
    await plant.run("a", 3, 4)
    await reader.until(0, 4.0)
    assert reader.values(0)[-2:] == [3.0, 4.0]
    await reader.plc.close()
    await plant.stop()


async def test_a_queue_that_ran_over_without_a_word_shows_as_overflow(plant: Plant, tmp_path: Path) -> None:
    reader = Reader(source(plant, tmp_path, queue_size=5))
    await reader.open()
    await plant.run("a", 1, 3)
    await reader.until(0, 3.0)
    cut(reader.plc)
    # Three requests of ours still lie at the server and take three messages; the rest overflows a queue of five.
    for k in range(4, 60):
        await plant.run("a", k, k)
        await asyncio.sleep(0.02)
    again = Reader(source(plant, tmp_path, queue_size=5))
    again.resume = reader.resume
    assert (await again.open()).state == "resumed"
    await again.until(0, 59.0)
    values = again.values(0)
    ((tag, after, before),) = again.holes()
    assert tag == 0
    assert float(after) in values
    assert float(before) in values
    assert values == [float(k) for k in range(4, after + 1)] + [float(k) for k in range(before, 60)]
    assert before - after > 5
    await again.plc.close()


async def test_a_refused_filter_falls_back_to_the_servers_own_and_says_so(plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from asyncua.server.monitored_item_service import MonitoredItemService

    original = MonitoredItemService._create_data_change_monitored_item

    async def strict(self: Any, params: Any) -> Any:
        if params.RequestedParameters.Filter is not None and getattr(params.RequestedParameters.Filter, "Trigger", None) is not None:
            result = ua.MonitoredItemCreateResult()
            result.StatusCode = ua.StatusCode(0x80450000)
            return result
        params.RequestedParameters.Filter = None
        return await original(self, params)

    monkeypatch.setattr(MonitoredItemService, "_create_data_change_monitored_item", strict)
    reader = Reader(source(plant, tmp_path))
    assert "trigger on time refused for 2 tags" in (await reader.open()).detail
    await plant.run("a", 1, 1)
    await reader.until(0, 1.0)
    await reader.plc.close()


async def test_items_are_created_in_chunks_that_shrink_until_the_server_takes_them(
    plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from asyncua.common.utils import ServiceError

    service = plant.server.iserver.subscription_service
    original, sizes = service.create_monitored_items, []

    async def limited(params: Any) -> Any:
        sizes.append(len(params.ItemsToCreate))
        if sizes[-1] > 3:
            raise ServiceError(ua.StatusCodes.BadTooManyOperations)
        return await original(params)

    monkeypatch.setattr(service, "create_monitored_items", limited)
    names = tuple(f"v{i}" for i in range(8))
    for name in names:
        await plant.add(name)
    reader = Reader(source(plant, tmp_path, names))
    await reader.open()
    assert sizes == [8, 4, 2, 2, 2, 2]
    assert reader.states() == ["connected"]
    await reader.plc.close()


async def test_too_many_publish_requests_make_fewer(plant: Plant, reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    from asyncua.server.uaprocessor import UaProcessor

    monkeypatch.setattr(UaProcessor, "publish_request_limit", lambda self, n: 1)
    await reader.open()
    for k in range(1, 6):
        await plant.run("a", k, k)
        await reader.until(0, float(k))
    assert reader.plc._publisher is not None
    assert reader.plc._publisher.target == 1


async def test_a_busy_message_of_odd_types_stops_nothing(plant: Plant, tmp_path: Path) -> None:
    reader = Reader(source(plant, tmp_path, ("a", "b")))
    await reader.open()
    (subscription,) = plant.subscriptions.values()
    original = subscription._pop_triggered_datachanges

    def odd(result: Any) -> None:
        original(result)
        for notification in result.NotificationMessage.NotificationData:
            for item in notification.MonitoredItems:
                if item.ClientHandle == 1:
                    item.Value.Value = ua.Variant([1.0, 2.0], ua.VariantType.Double, is_array=True)

    subscription._pop_triggered_datachanges = odd
    await plant.run("b", 1, 1)
    await plant.run("a", 1, 1)
    await reader.until(0, 1.0)
    assert [status for _, _, status in reader.rows(1)] == [0x80740000]
    await reader.plc.close()


async def test_nobody_there_is_not_connected_and_close_is_quiet(tmp_path: Path) -> None:
    plc = source(Plant(free_port()), tmp_path)
    with pytest.raises(NotConnected, match="connecting"):
        await plc.open(None)
    await plc.close()


async def test_sampled_times_stay_apart_when_the_time_of_receipt_is_wanted(plant: Plant, tmp_path: Path) -> None:
    reader = Reader(source(plant, tmp_path, time={"basis": "received"}))
    await reader.open()
    await plant.run("a", 1, 3)
    await reader.until(0, 3.0)
    times = [t for t, _, _ in reader.rows(0)]
    assert all(START_NS <= t < START_NS + STEP_NS for t in times)
    assert URI in reader.plc._plug.address[0]
    await reader.plc.close()
