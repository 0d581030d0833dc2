"""Delivery to gateways through real brokers: killed brokers, killed gateways, lost messages; duplicates on the wire, never a missing record."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pydantic
import pytest

from edge_agent.core import Append, Committed, NotConnected, OperatorAction, Ranges, encode_actions, topic
from edge_agent.core.change import ChangeApproval, encode_changes
from edge_agent.uplinks import gateway as module
from edge_agent.uplinks.gateway import GatewayConfig, GatewayUplink
from edge_agent.uplinks.outgoing import STREAM
from edge_agent.uplinks.runner import UplinkRunner
from tests.brokers import KINDS, Broker, free_port, running
from tests.uplinks.acting import EDGE, SITE, Edge, Gateway, fill, outbox, until


@pytest.fixture(params=KINDS)
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    yield from running(request.param, tmp_path / "broker")


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Broker]:
    yield from running("mosquitto", tmp_path / "broker")


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Edge]:
    log = outbox(tmp_path)
    yield Edge(log)
    log.close()


def config(port: int, **keys: Any) -> GatewayConfig:
    own = {"kind": "gateway", "name": "plant", "host": "127.0.0.1", "port": port, "gateways": ["gw1"]}
    return GatewayConfig.model_validate(own | keys)


@asynccontextmanager
async def delivering(of: GatewayConfig, edge: Edge) -> AsyncIterator[UplinkRunner]:
    """An uplink that comes back quickly."""

    async def quick(seconds: float) -> None:
        await asyncio.sleep(seconds / 20)

    runner = UplinkRunner(of, edge.port(time.time_ns), sleep=quick)
    task = asyncio.create_task(runner.run())
    try:
        yield runner
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def receiving(port: int, *names: str) -> AsyncIterator[list[Gateway]]:
    """Started gateways."""
    gateways = [Gateway(port, name) for name in names or ("gw1",)]
    for one in gateways:
        await one.start()
    try:
        yield gateways
    finally:
        for one in gateways:
            one.stop()


def whole(gateway: Gateway, edge: Edge) -> bool:
    """Whether a gateway holds everything the edge has made."""
    ranges = gateway.ranges.get(edge.epoch)
    return ranges is not None and ranges.contiguous == edge.log.head(STREAM).seq


async def test_everything_arrives_in_order_and_once(broker: Broker, edge: Edge) -> None:
    fill(edge.log, [100, 60_000, 300_000, 700_000, 10])
    async with receiving(broker.port) as (gateway,), delivering(config(broker.port), edge) as runner:
        await until(lambda: whole(gateway, edge))
        fill(edge.log, [500] * 50)
        edge.grown.set()
        await until(lambda: whole(gateway, edge))
        await until(lambda: edge.moved and edge.moved[-1] == 55)
        await until(lambda: runner.status()["committed_seq"] == 55)
        assert runner.status()["connected"]
        resent = runner.status()["resent_records"]
    assert gateway.problems == []
    # A busy computer may take longer than the 5 s after which what nobody confirmed is sent again.
    assert gateway.copies == 0 or resent > 0
    assert gateway.kept[1][4][8:] == b"x" * (700_000 - 8)
    assert edge.moved == sorted(edge.moved)


async def test_alarms_overtake_a_backlog(mosquitto: Broker, edge: Edge) -> None:
    fill(edge.log, [50_000] * 100)
    fill(edge.log, [100], lane=0)
    async with receiving(mosquitto.port) as (gateway,), delivering(config(mosquitto.port), edge):
        await until(lambda: whole(gateway, edge))
    assert gateway.order[0] == 101
    assert gateway.order[1:] == list(range(1, 101))


async def test_what_is_committed_is_not_sent_again_after_a_restart(broker: Broker, edge: Edge) -> None:
    fill(edge.log, [1000] * 200)
    async with receiving(broker.port) as (gateway,):
        async with delivering(config(broker.port), edge):
            await until(lambda: whole(gateway, edge))
        await asyncio.sleep(0.5)  # nats-server shows a retained message a little later than it confirms it
        fill(edge.log, [1000] * 20)
        async with delivering(config(broker.port), edge) as runner:
            await until(lambda: whole(gateway, edge))
            await until(lambda: runner.status()["sent_records"])  # told once everything is sent, perhaps behind the gateway's own word
            assert runner.status()["sent_records"] == 20
    assert gateway.copies == 0


async def test_nothing_is_missing_when_brokers_and_gateways_are_killed(broker: Broker, edge: Edge) -> None:
    async with receiving(broker.port) as (gateway,), delivering(config(broker.port, keepalive_s=5), edge) as runner:
        for turn in range(3):
            fill(edge.log, [20_000] * 100)
            fill(edge.log, [100] * 3, lane=0)
            edge.grown.set()
            await asyncio.sleep(0.1)
            if turn == 1:
                gateway.stop()
                await gateway.start()
            broker.kill()
            await asyncio.sleep(0.2)
            broker.start()
            await until(lambda: gateway.lost)
            await gateway.start()
        await until(lambda: whole(gateway, edge))
        await until(lambda: edge.moved and edge.moved[-1] == 309)
        assert runner.status()["failures"] >= 3
    assert gateway.problems == []


async def test_an_absent_gateway_gets_everything_when_it_comes(mosquitto: Broker, edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_AGAIN_NS", 300_000_000)
    fill(edge.log, [100_000] * 100)
    async with delivering(config(mosquitto.port, window_bytes=1_000_000), edge) as runner:
        await until(lambda: runner.status()["sent_records"] >= 9)
        await asyncio.sleep(1.5)
        assert runner.status()["sent_bytes"] < 2_500_000  # the window once, then single questions
        async with receiving(mosquitto.port) as (gateway,):
            await until(lambda: whole(gateway, edge))
    assert gateway.problems == []


async def test_a_lost_message_is_sent_again_and_only_that(mosquitto: Broker, edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_AGAIN_NS", 300_000_000)
    lost: set[int] = set()

    def lose(seq: int) -> bool:
        if seq % 7 == 0 and seq not in lost:
            lost.add(seq)
            return True
        return False

    async with receiving(mosquitto.port) as (gateway,), delivering(config(mosquitto.port), edge) as runner:
        gateway.lose = lose
        for _ in range(5):
            fill(edge.log, [200_000] * 10)
            edge.grown.set()
            await asyncio.sleep(0.2)
        await until(lambda: whole(gateway, edge))
        assert runner.status()["resent_records"] <= 14
    assert len(lost) == 7
    assert gateway.problems == []


async def test_records_are_kept_until_enough_gateways_hold_them(mosquitto: Broker, edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_AGAIN_NS", 300_000_000)
    of = config(mosquitto.port, gateways=["gw1", "gw2", "gw3"], copies=2)
    async with receiving(mosquitto.port, "gw1", "gw2") as (one, two), delivering(of, edge):
        two.deaf = True
        fill(edge.log, [1000] * 10)
        await until(lambda: whole(one, edge))
        await asyncio.sleep(0.3)
        assert edge.moved == []
        two.deaf = False
        await until(lambda: whole(two, edge))
        await until(lambda: edge.moved and edge.moved[-1] == 10)


async def test_the_outbox_may_be_forgotten_behind_us(mosquitto: Broker, edge: Edge) -> None:
    edge.forget = True
    async with receiving(mosquitto.port) as (gateway,), delivering(config(mosquitto.port), edge):
        for _ in range(5):
            fill(edge.log, [1000] * 20)
            edge.grown.set()
            await until(lambda: whole(gateway, edge))
        await until(lambda: edge.moved and edge.moved[-1] == 100)
    assert edge.log.first(STREAM) == 101


async def test_a_broker_that_waits_for_acknowledgements_goes_on_sending(broker: Broker, edge: Edge) -> None:
    """Both brokers of these tests hold at most 1,000 messages that were not acknowledged."""
    async with receiving(broker.port) as (gateway,), delivering(config(broker.port), edge):
        for _ in range(30):
            for _ in range(50):
                gateway.tell()
            await asyncio.sleep(0.02)
        fill(edge.log, [100] * 5)
        edge.grown.set()
        await until(lambda: edge.moved and edge.moved[-1] == 5)


async def test_a_gateway_that_knows_more_makes_the_edge_begin_a_new_epoch(mosquitto: Broker, edge: Edge) -> None:
    fill(edge.log, [100] * 5)
    async with receiving(mosquitto.port) as (gateway,):
        gateway.ranges[1] = Ranges([(1, 9)])
        gateway.tell()
        await asyncio.sleep(0.1)
        async with delivering(config(mosquitto.port), edge):
            await until(lambda: 2 in gateway.kept and whole(gateway, edge))
    assert edge.parted == [(0, "gateway gw1 has record 9 of epoch 1, this edge has made 5")]
    assert sorted(gateway.kept[2]) == [1, 2, 3, 4, 5]


async def test_actions_are_handed_over(broker: Broker, edge: Edge) -> None:
    action = OperatorAction(id="a1", kind="acknowledge", alarm="x.high", raised_ns=5, user="li", time_ns=6)
    async with receiving(broker.port) as (gateway,), delivering(config(broker.port), edge):
        gateway.publish("actions/gw1", encode_actions([action]))
        await until(lambda: ("gw1", (action,)) in edge.acted)
        gateway.publish("actions/gw1", encode_actions([]))
        await until(lambda: edge.acted[-1] == ("gw1", ()))


async def test_what_gateways_ask_and_give_is_told_apart_and_none_takes_the_place_of_another_s(mosquitto: Broker, edge: Edge) -> None:
    action = OperatorAction(id="a1", kind="acknowledge", alarm="x.high", raised_ns=5, user="li", time_ns=6)
    of = config(mosquitto.port, gateways=["gw1", "gw2"])
    async with receiving(mosquitto.port, "gw1", "gw2") as (first, second):
        first.publish("actions/gw1", encode_actions([action]))
        second.publish("actions/gw2", encode_actions([]))
        first.publish("anchors/gw1", b'{"seq":7,"hash":"00ff"}')
        second.publish("manifest/gw2", b'{"seq":3,"hash":"11ff"}')
        second.publish("actions/gw9", encode_actions([action]))
        async with delivering(of, edge):
            await until(lambda: {("gw1", (action,)), ("gw2", ())} <= set(edge.acted))
            await until(lambda: len(edge.anchored) == 2)
    assert sorted(edge.anchored) == [("gw1", "audit_head", '{"seq":7,"hash":"00ff"}'), ("gw2", "manifest_head", '{"seq":3,"hash":"11ff"}')]
    assert {gateway for gateway, _ in edge.acted} == {"gw1", "gw2"}


async def test_heads_of_the_audit_trail_are_handed_over_and_rubbish_is_not(broker: Broker, edge: Edge) -> None:
    async with receiving(broker.port) as (gateway,), delivering(config(broker.port), edge) as runner:
        gateway.publish("anchors/gw1", b'{"seq":7,"hash":"00ff","ts":"2026-01-05T08:00:00.000Z","key":"k","sig":"s"}')
        await until(lambda: any('"seq":7' in head for _, _, head in edge.anchored))
        for wrong in (b"[]", b'{"seq":1}', b'{"seq":1,"hash":"' + b"0" * 2000 + b'"}'):
            gateway.publish("anchors/gw1", wrong)
        await until(lambda: runner.status()["damaged_messages"] == 3)
        gateway.publish("anchors/gw1", b"")


async def test_approvals_of_each_gateway_come_to_the_edge(broker: Broker, edge: Edge) -> None:
    approval = ChangeApproval(
        site="demo", edge="e1", proposal=7, sha256="0" * 64, proposed_by="chen", proposed_name="", approved_by="zhao", approved_name="",
        approved_role="quality", meaning="approved for use", reason="CR-12", effective_ns=1, approved_ns=1, gateway="gw1",
    )  # fmt: skip
    async with receiving(broker.port) as (gateway,), delivering(config(broker.port), edge) as runner:
        gateway.publish("approvals/gw1", encode_changes([approval]))
        await until(lambda: (approval,) in edge.approved)
        gateway.publish("approvals/gw1", b"{}")
        await until(lambda: runner.status()["damaged_messages"] == 1)
        gateway.publish("approvals/gw1", b"")


async def test_retained_messages_are_asked_for_again(broker: Broker, edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ASK_AGAIN_NS", (100_000_000, 100_000_000))
    action = OperatorAction(id="a1", kind="acknowledge", alarm="x.high", raised_ns=5, user="li", time_ns=6)
    async with receiving(broker.port) as (gateway,), delivering(config(broker.port), edge):
        gateway.publish("actions/gw1", encode_actions([action]))
        await until(lambda: edge.acted.count(("gw1", (action,))) >= 3)
        gateway.publish("actions/gw1", b"")


async def test_rubbish_on_our_topics_is_counted(mosquitto: Broker, edge: Edge) -> None:
    other = Committed("gw1", "s", "e2", {1: Ranges([(1, 5)])})
    fill(edge.log, [100] * 5)
    async with receiving(mosquitto.port) as (gateway,), delivering(config(mosquitto.port), edge) as runner:
        await until(lambda: whole(gateway, edge))
        gateway.publish("actions/gw1", b"{}")
        gateway.publish("committed/gw1", b"rubbish")
        gateway.publish("committed/gw1", other.encode())
        await until(lambda: runner.status()["damaged_messages"] == 3)
        assert runner.status()["connected"]
        gateway.publish("actions/gw1", b"")


async def test_no_broker_is_not_connected(edge: Edge) -> None:
    port = free_port()
    uplink = GatewayUplink(config(port), edge.port(time.time_ns))
    with pytest.raises(NotConnected, match=f"broker 127.0.0.1:{port}"):
        await uplink.run()


@pytest.mark.parametrize("wrong", [{"gateways": []}, {"gateways": ["a", "a"]}, {"copies": 2}, {"gateways": ["a/b"]}, {"window_bytes": 5}])
def test_wrong_sections_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(pydantic.ValidationError):
        config(1883, **wrong)


async def test_the_inbox_of_a_real_gateway_takes_what_is_sent(mosquitto: Broker, edge: Edge) -> None:
    """The two ends were written apart: chain, parts and ranges must mean the same to both."""
    from gateway.inbox import STREAM as INBOX
    from gateway.inbox import Inbox

    log = type(edge.log)(edge.log.path.with_name("inbox.sqlite"), [INBOX], synchronous="OFF")
    inbox = Inbox(log, gateway="gw1", production=False)

    class Real(Gateway):
        def _message(self, message: Any) -> None:
            from edge_agent.core import Delivery

            taken = inbox.take([(Delivery.decode(bytes(message.payload)), time.time_ns())])
            self.problems += [str(s) for s in taken.strange]
            assert self._link is not None
            self._link.publish(topic(SITE, EDGE, "committed/gw1"), inbox.committed(EDGE, "s1").encode(), retain=True)
            self._link.ack(message)

    edge.log.commit([Append(STREAM, 1, bytes([n]) * size, lane) for n, (size, lane) in enumerate([(600_000, 1), (100, 0), (9, 1)])])
    gateway = Real(mosquitto.port)
    await gateway.start()
    try:
        async with delivering(config(mosquitto.port), edge):
            await until(lambda: edge.moved and edge.moved[-1] == 3)
    finally:
        gateway.stop()
        log.close()
    assert gateway.problems == []
