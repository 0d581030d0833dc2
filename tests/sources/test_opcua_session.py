"""Sessions and subscriptions of the OPC UA source: what it does when a connection, a message or the server is lost."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua

from edge_agent.core import NotConnected
from tests.sources.opcua_plant import Plant, Reader, cut, source

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("impatient")]


async def test_after_a_crash_the_session_is_taken_up_and_nothing_is_lost(plant: Plant, tmp_path: Path) -> None:
    reader = Reader(source(plant, tmp_path))
    await reader.open()
    await plant.run("a", 1, 3)
    await reader.until(0, 3.0)
    await plant.run("a", 4, 6)
    await reader.until(0, 6.0, commit=False)
    kept = [v for v in reader.values(0) if v <= 3.0]
    cut(reader.plc)
    for k in range(7, 30):
        await plant.run("a", k, k)
        await asyncio.sleep(0.02)
    again = Reader(source(plant, tmp_path))
    again.resume = reader.resume
    assert (await again.open()).state == "resumed"
    await again.until(0, 29.0)
    assert kept + [v for v in again.values(0) if v > 3.0] == [float(k) for k in range(1, 30)]
    assert again.holes() == []
    assert len(plant.subscriptions) == 1
    await again.plc.close()


async def test_a_broken_socket_is_told_and_the_same_source_comes_back(plant: Plant, reader: Reader) -> None:
    await reader.open()
    await plant.run("a", 1, 1)
    await reader.until(0, 1.0)
    assert reader.plc._session is not None
    reader.plc._session._client.uaclient.protocol.transport.abort()
    with pytest.raises(NotConnected):
        await reader.lost()
    await reader.plc.close()
    assert (await reader.open()).state == "resumed"
    await plant.run("a", 2, 2)
    await reader.until(0, 2.0)
    assert reader.values(0) == [1.0, 2.0]


async def test_an_orderly_stop_leaves_what_was_not_acknowledged_to_be_had_again(plant: Plant, tmp_path: Path) -> None:
    reader = Reader(source(plant, tmp_path))
    await reader.open()
    await plant.run("a", 1, 2)
    await reader.until(0, 2.0)
    await plant.run("a", 3, 4)
    await reader.until(0, 4.0, commit=False)
    await reader.plc.close()
    again = Reader(source(plant, tmp_path))
    again.resume = reader.resume
    # asyncua grants a transfer and then never publishes to the new session, so the subscription is made anew.
    assert (await again.open()).state == "connected"
    assert again.plc._plug.counters["messages_republished"] >= 1
    assert [v for v in again.values(0) if v > 2.0] == [3.0, 4.0]
    assert len(plant.subscriptions) == 1
    await plant.run("a", 5, 5)
    await again.until(0, 5.0)
    await again.plc.close()


async def test_a_subscription_is_transferred_where_the_server_follows_the_standard(
    plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = plant.server.iserver.subscription_service
    original = service.transfer_subscriptions

    async def transfer(params: Any, session_id: Any, callback: Any) -> Any:
        for n in params.SubscriptionIds:
            service.subscriptions[n].pub_request_callback = callback.__self__.get_publish_request
        return await original(params, session_id, callback)

    monkeypatch.setattr(service, "transfer_subscriptions", transfer)
    monkeypatch.setattr("edge_agent.sources.opcua_session.SILENT_AFTER_TRANSFER", frozenset())
    reader = Reader(source(plant, tmp_path))
    await reader.open()
    await plant.run("a", 1, 2)
    await reader.until(0, 2.0)
    await reader.plc.close()
    for k in range(3, 12):
        await plant.run("a", k, k)
        await asyncio.sleep(0.03)
    again = Reader(source(plant, tmp_path))
    again.resume = reader.resume
    first = await again.open()
    assert (first.state, first.detail.split(",")[0]) == ("resumed", "subscription transferred")
    await again.until(0, 11.0)
    assert again.values(0) == [float(k) for k in range(3, 12)]
    await again.plc.close()


async def test_a_transferred_subscription_that_stays_silent_is_made_anew(plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_agent.sources.opcua_session.SILENT_AFTER_TRANSFER", frozenset())
    reader = Reader(source(plant, tmp_path, outstanding=1))
    await reader.open()
    await plant.run("a", 1, 1)
    await reader.until(0, 1.0)
    await reader.plc.close()
    await plant.run("a", 2, 2)
    await asyncio.sleep(0.2)
    again = Reader(source(plant, tmp_path, outstanding=1))
    again.resume = reader.resume
    assert (await again.open()).state == "resumed"
    with pytest.raises(NotConnected, match="no message for"):
        await again.lost()
    await again.plc.close()
    assert (await again.open()).state == "connected"
    await plant.run("a", 3, 3)
    await again.until(0, 3.0)
    await again.plc.close()


async def test_a_changed_tag_list_makes_a_new_subscription_and_deletes_the_old(plant: Plant, tmp_path: Path) -> None:
    reader = Reader(source(plant, tmp_path, ("a",)))
    await reader.open()
    (old,) = plant.subscriptions
    cut(reader.plc)
    again = Reader(source(plant, tmp_path, ("a", "b")))
    assert (await again.open()).state == "connected"
    assert old not in plant.subscriptions
    assert len(plant.subscriptions) == 1
    await again.plc.close()


async def test_a_subscription_that_expired_is_made_anew(plant: Plant, tmp_path: Path) -> None:
    reader = Reader(source(plant, tmp_path))
    await reader.open()
    await plant.run("a", 1, 1)
    await reader.until(0, 1.0)
    cut(reader.plc)
    await plant.server.iserver.subscription_service.delete_subscriptions(list(plant.subscriptions))
    again = Reader(source(plant, tmp_path))
    again.resume = reader.resume
    assert (await again.open()).state == "connected"
    await plant.run("a", 2, 2)
    await again.until(0, 2.0)
    await again.plc.close()


async def test_a_missing_message_is_asked_for_again(plant: Plant, reader: Reader) -> None:
    await reader.open()
    await plant.run("a", 1, 1)
    await reader.until(0, 1.0)
    (subscription,) = plant.subscriptions.values()
    callback, lost = subscription.pub_result_callback, []

    async def drop(result: Any, request: Any) -> None:
        if result.NotificationMessage.NotificationData and len(lost) < 2:
            lost.append(result.NotificationMessage.SequenceNumber)
            subscription._publish_again = request
            return
        await callback(result, request)

    subscription.pub_result_callback = drop
    for k in range(2, 6):
        await plant.run("a", k, k)
        await asyncio.sleep(0.08)
    await reader.until(0, 5.0)
    assert len(lost) == 2
    assert reader.values(0) == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert reader.plc._plug.counters["messages_republished"] == 2
    assert reader.holes() == []


async def test_a_missing_message_that_is_gone_is_a_hole_of_every_tag_it_may_have_held(plant: Plant, reader: Reader) -> None:
    await reader.open()
    await plant.run("a", 1, 1)
    await plant.run("b", 1, 1)
    await reader.until(1, 1.0)
    (subscription,) = plant.subscriptions.values()
    callback, lost = subscription.pub_result_callback, []

    async def drop(result: Any, request: Any) -> None:
        if result.NotificationMessage.NotificationData and not lost:
            lost.append(subscription._not_acknowledged_results.pop(result.NotificationMessage.SequenceNumber))
            return
        await callback(result, request)

    subscription.pub_result_callback = drop
    await plant.run("a", 2, 4)
    await asyncio.sleep(0.15)
    await plant.run("a", 5, 5)
    await plant.run("b", 2, 2)
    await reader.until(1, 2.0)
    assert reader.values(0) == [1.0, 5.0]
    assert reader.holes() == [(0, 1, 5)]
    assert reader.plc._plug.counters["messages_lost"] == 1


async def test_a_server_that_says_nothing_more_is_not_connected(plant: Plant, tmp_path: Path) -> None:
    reader = Reader(source(plant, tmp_path))
    await reader.open()
    (subscription,) = plant.subscriptions.values()
    await subscription.stop()
    with pytest.raises(NotConnected, match=r"no message for 1\.\d s"):
        await reader.lost()
    await reader.plc.close()


async def test_an_ended_subscription_is_not_connected(plant: Plant, reader: Reader) -> None:
    await reader.open()
    (subscription,) = plant.subscriptions.values()
    await subscription.enqueue_statuschange(ua.StatusCode(0x800A0000))
    await plant.run("a", 1, 1)
    with pytest.raises(NotConnected, match="BadTimeout"):
        await reader.lost()


async def test_reopening_many_times_leaves_one_session_and_one_subscription(plant: Plant, tmp_path: Path) -> None:
    reader = Reader(source(plant, tmp_path))
    for _ in range(5):
        await reader.open()
        await reader.plc.close()
    await reader.open()
    assert len(plant.subscriptions) == 1
    assert len(plant.server.iserver._external_sessions) == 1
    await reader.plc.close()
