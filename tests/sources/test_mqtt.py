"""The MQTT source against real brokers: acknowledged after the commit, nothing lost, poison put aside, memory bounded."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pydantic
import pytest
from paho.mqtt import publish

from edge_agent.core import Block, NotConnected, Samples, Tag, Texts
from edge_agent.sources import mqtt
from edge_agent.sources.dead_letters import DeadLetter, DeadLetters
from edge_agent.sources.mqtt import MqttConfig, MqttSource
from edge_agent.sources.mqtt_blocks import binary
from edge_agent.sources.runner import SourceRunner
from edge_agent.sources.source import Item, Plug, Received
from tests.brokers import KINDS, Broker, free_port, running
from tests.certificates import certificates

NOW = 1_767_225_600_000_000_000
TAGS = [Tag(id=0, name="press1/main_force"), Tag(id=1, name="press1/phase", kind="text"), Tag(id=2, name="press1/speed")]


@pytest.fixture(params=KINDS)
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    yield from running(request.param, tmp_path / "broker")


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Broker]:
    yield from running("mosquitto", tmp_path / "broker")


async def send(broker: Broker, messages: Sequence[tuple[str, Any]], *, retain: bool = False) -> None:
    """Publish with QoS 1 and wait until the broker has them."""
    every: list[Any] = [
        {"topic": t, "payload": p if isinstance(p, bytes) else json.dumps(p).encode(), "qos": 1, "retain": retain} for t, p in messages
    ]
    await asyncio.to_thread(publish.multiple, every, hostname="127.0.0.1", port=broker.port, client_id="line-publisher")


def config(port: int, **keys: Any) -> MqttConfig:
    own = {"kind": "mqtt", "name": "line", "client_id": "edge-1-in", "topics": ["plant/#"], "prefix": "plant/"}
    return MqttConfig.model_validate(own | {"host": "127.0.0.1", "port": port} | keys)


def plug(tmp_path: Path) -> Plug:
    return Plug("line", TAGS, {}, lambda: NOW, tmp_path / "line")


@asynccontextmanager
async def opened(of: MqttConfig, to: Plug, resume: bytes | None = None) -> AsyncIterator[MqttSource]:
    source = MqttSource(of, to)
    try:
        await source.open(resume)
        yield source
    finally:
        await source.close()


async def read(source: MqttSource, timeout_s: float = 10.0) -> Received:
    async with asyncio.timeout(timeout_s):
        return await source.read()


async def _all_within(source: MqttSource, quiet_s: float) -> AsyncIterator[Received]:
    """What comes until nothing has come for a while."""
    while True:
        try:
            yield await read(source, quiet_s)
        except TimeoutError:
            return


async def values_until(source: MqttSource, n: int, *, ack: bool = True) -> list[float]:
    """The next n numbers, in the order they came."""
    found: list[float] = []
    while len(found) < n:
        received = await read(source)
        found += [v for item in received.items if isinstance(item, Samples) for v in item.value.tolist()]
        if ack:
            received.ack()
    return found


async def test_values_times_and_statuses_arrive_as_sent(broker: Broker, tmp_path: Path) -> None:
    async with opened(config(broker.port), plug(tmp_path)) as source:
        await send(
            broker,
            [
                ("plant/press1/main_force", {"t": 5, "v": 12.5, "s": 0x42090000}),
                ("plant/press1/main_force", [{"t": 6, "v": 1.5}, {"t": 7, "v": None, "s": 0x808C0000}]),
                ("plant/press1/phase", {"t": 8, "v": "compression"}),
                ("plant/press1/speed", b"44"),
            ],
        )
        items: list[Item] = []
        while sum(len(i) for i in items if isinstance(i, Samples | Texts)) < 5:
            items += (await read(source)).items
    samples = Samples.joined([i for i in items if isinstance(i, Samples)])
    assert samples.time_ns.tolist() == [5, 6, 7, NOW]
    assert samples.tag.tolist() == [0, 0, 0, 2]
    assert samples.value.tolist()[:2] == [12.5, 1.5]
    assert samples.status.tolist() == [0x42090000, 0, 0x808C0000, 0]
    assert [i for i in items if isinstance(i, Texts)] == [Texts((8,), (1,), ("compression",), (0,))]


async def test_what_was_not_committed_is_sent_again(broker: Broker, tmp_path: Path) -> None:
    async with opened(config(broker.port), plug(tmp_path)) as source:
        await send(broker, [("plant/press1/speed", float(i)) for i in range(10)])
        assert await values_until(source, 10, ack=False) == [float(i) for i in range(10)]
    async with opened(config(broker.port), plug(tmp_path)) as source:
        assert await values_until(source, 10) == [float(i) for i in range(10)]
    await asyncio.sleep(0.5)  # the broker takes its time to read acknowledgements
    await send(broker, [("plant/press1/speed", 99.0)])
    async with opened(config(broker.port), plug(tmp_path)) as source:
        assert await values_until(source, 1) == [99.0]


async def test_a_spectrum_that_was_not_committed_is_sent_again_and_half_of_one_is_put_aside(mosquitto: Broker, tmp_path: Path) -> None:
    stream = Tag(id=0, name="nir1/spectrum", kind="block", unit="AU")
    to = Plug("line", [stream], {0: "plant/nir1/spectrum"}, lambda: NOW, tmp_path / "line")
    whole = binary(np.arange(1000.0), "f4", t=5, axis={"low": 1100, "high": 2100}, axis_unit="nm", acquisition={"status": "good", "counter": 7})
    for ack in (False, True):
        async with opened(config(mosquitto.port), to) as source:
            if not ack:
                await send(mosquitto, [("plant/nir1/spectrum", whole[:-100]), ("plant/nir1/spectrum", whole)])
            found: list[Item] = []
            while not found:
                received = await read(source)
                found += received.items
                if ack:
                    received.ack()
        (block,) = found
        assert isinstance(block, Block)
        assert (block.values.shape, block.axis[-1], block.time_ns.tolist()) == ((1, 1000), 2100.0, [5])
        assert block.acquisition is not None
        assert block.acquisition.counter == 7
    assert "damaged byte" in (tmp_path / "line" / "dead-letters.jsonl").read_text()


async def test_what_comes_while_we_are_away_is_kept(broker: Broker, tmp_path: Path) -> None:
    async with opened(config(broker.port), plug(tmp_path)):
        pass
    await send(broker, [("plant/press1/speed", float(i)) for i in range(500)])
    async with opened(config(broker.port), plug(tmp_path)) as source:
        assert await values_until(source, 500) == [float(i) for i in range(500)]


async def test_a_backlog_larger_than_what_may_be_uncommitted_does_not_hinder_the_opening(broker: Broker, tmp_path: Path) -> None:
    of = config(broker.port, max_in_flight=10)
    async with opened(of, plug(tmp_path)):
        pass
    await send(broker, [("plant/press1/speed", float(i)) for i in range(400)])
    async with opened(of, plug(tmp_path)) as source:
        assert await values_until(source, 400) == [float(i) for i in range(400)]


async def test_poison_is_put_aside_once_and_holds_nothing_up(broker: Broker, tmp_path: Path) -> None:
    poison = [("plant/press1/speed", b"{broken"), ("plant/press1/phase", 3), ("plant/press1/speed", {"v": "fast"})]
    to = plug(tmp_path)
    async with opened(config(broker.port), to) as source:
        await send(broker, [*poison, ("plant/press1/speed", 1.0)])
        assert await values_until(source, 1) == [1.0]
    letters = [json.loads(line) for line in (to.data_dir / "dead-letters.jsonl").read_text().splitlines()]
    assert [base64.b64decode(letter["payload"]) for letter in letters] == [b"{broken", b"3", b'{"v": "fast"}']
    assert [letter["topic"] for letter in letters] == [topic for topic, _ in poison]
    assert all("expected" in letter["reason"] and letter["time_ns"] == NOW for letter in letters)
    assert to.counters["dead_letters"] == 3
    await asyncio.sleep(0.5)
    async with opened(config(broker.port), to) as source:
        await send(broker, [("plant/press1/speed", 2.0)])
        assert await values_until(source, 1) == [2.0]
    assert to.counters["dead_letters"] == 3


async def test_unknown_topics_are_counted_or_put_aside(mosquitto: Broker, tmp_path: Path) -> None:
    for strict in (False, True):
        await asyncio.sleep(0.5)
        to = plug(tmp_path / str(strict))
        async with opened(config(mosquitto.port, strict=strict), to) as source:
            await send(mosquitto, [("plant/other", 1.0), ("plant/press1/speed", 2.0)])
            assert await values_until(source, 1) == [2.0]
        assert to.counters["unmapped"] == 1
        assert to.counters.get("dead_letters", 0) == (1 if strict else 0)


async def test_reading_pauses_when_too_much_is_uncommitted(broker: Broker, tmp_path: Path) -> None:
    to = plug(tmp_path)
    bound = 20
    async with opened(config(broker.port, max_in_flight=bound), to) as source:
        await send(broker, [("plant/press1/speed", float(i)) for i in range(300)])
        received = [one async for one in _all_within(source, 0.7)]
        taken = sum(len(i) for r in received for i in r.items if isinstance(i, Samples))
        assert bound <= taken <= bound + 3  # one message per second still comes, so that the connection is seen to live
        assert to.counters["pauses"] == 1
        for one in received:
            one.ack()
        assert await values_until(source, 300 - taken) == [float(i) for i in range(taken, 300)]


async def test_no_more_values_are_under_way_than_are_remembered(mosquitto: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt, "UNACKNOWLEDGED", 1000)
    monkeypatch.setattr(mqtt, "_BATCH_BYTES", 1)  # each message a batch of its own
    async with opened(config(mosquitto.port), plug(tmp_path)) as source:
        await send(mosquitto, [("plant/press1/speed", [{"t": n * 300 + i, "v": i} for i in range(300)]) for n in range(4)])
        first, second = [await read(source) for _ in range(2)]
        third = asyncio.ensure_future(read(source))
        done, _ = await asyncio.wait({third}, timeout=0.3)
        assert not done
        first.ack()
        assert len((await third).items[0]) == 300
        second.ack()


async def test_mqtt_5_lets_the_broker_know_the_bound(mosquitto: Broker, tmp_path: Path) -> None:
    keys = {"version": "5", "max_in_flight": 7}
    async with opened(config(mosquitto.port, **keys), plug(tmp_path)) as source:
        await send(mosquitto, [("plant/press1/speed", float(i)) for i in range(50)])
        assert await values_until(source, 7, ack=False) == [float(i) for i in range(7)]
    async with opened(config(mosquitto.port, **keys), plug(tmp_path)) as source:
        assert await values_until(source, 50) == [float(i) for i in range(50)]


async def test_a_topic_that_is_no_longer_wanted_is_left(broker: Broker, tmp_path: Path) -> None:
    to = plug(tmp_path)
    async with opened(config(broker.port, topics=["plant/#", "old/#"]), to) as source:
        await send(broker, [("plant/press1/speed", 1.0)])
        received = await read(source)
        received.ack()
    await asyncio.sleep(0.5)
    async with opened(config(broker.port), to, received.resume) as source:
        await send(broker, [("old/x", 1.0), ("plant/press1/speed", 2.0)])
        assert await values_until(source, 1) == [2.0]
    assert to.counters.get("unmapped", 0) == 0


async def test_retained_values_are_taken_once_subscribed(broker: Broker, tmp_path: Path) -> None:
    await send(broker, [("plant/press1/speed", 4.0)], retain=True)
    async with opened(config(broker.port), plug(tmp_path)) as source:
        (item,) = (await read(source)).items
    assert isinstance(item, Samples)
    assert item.status.tolist() == [0x40900000]


async def test_no_broker_is_not_connected(tmp_path: Path) -> None:
    port = free_port()
    source = MqttSource(config(port), plug(tmp_path))
    with pytest.raises(NotConnected, match=f"broker 127.0.0.1:{port}"):
        await source.open(None)
    await source.close()


async def test_a_killed_broker_is_noticed_after_what_had_come(broker: Broker, tmp_path: Path) -> None:
    async with opened(config(broker.port), plug(tmp_path)) as source:
        await send(broker, [("plant/press1/speed", 3.0)])
        await asyncio.sleep(0.3)
        broker.kill()
        await asyncio.sleep(0.3)
        assert await values_until(source, 1) == [3.0]
        with pytest.raises(NotConnected):
            await read(source)


async def test_a_wrong_password_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("wrong\n")
    for broker in running("nats", tmp_path / "broker", extra='authorization { users = [{user: line, password: "right"}] }\n'):
        of = config(broker.port, username="line", password_file=secret)
        source = MqttSource(of, plug(tmp_path))
        with pytest.raises(NotConnected, match="broker"):
            await source.open(None)
        await source.close()
        secret.write_text("right\n")
        async with opened(of, plug(tmp_path)):
            pass


@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_tls_checks_who_the_broker_is(tmp_path: Path, version: str) -> None:
    ours = certificates(tmp_path, "127.0.0.1")
    stranger = certificates(tmp_path / "other", "127.0.0.1")
    extra = f"cafile {ours.ca}\ncertfile {ours.cert}\nkeyfile {ours.key}\nrequire_certificate true\n"
    for broker in running("mosquitto", tmp_path / "broker", extra=extra):
        keys = {"version": version, "tls": {"ca_file": str(ours.ca), "cert_file": str(ours.cert), "key_file": str(ours.key)}}
        async with opened(config(broker.port, **keys), plug(tmp_path)) as source:
            link = source._link
            assert link is not None
            assert isinstance(link._socket, ssl.SSLSocket)
            for i in range(200):
                link.publish("plant/press1/speed", b"%d" % i)
            assert await values_until(source, 200) == [float(i) for i in range(200)]
        wrong = MqttSource(config(broker.port, version=version, tls={"ca_file": str(stranger.ca)}), plug(tmp_path))
        with pytest.raises(NotConnected, match="certificate verify failed"):
            await wrong.open(None)
        await wrong.close()


async def test_nothing_is_missing_when_the_broker_is_killed_again_and_again(broker: Broker, tmp_path: Path) -> None:
    """The publisher repeats what its broker did not confirm, as any QoS 1 publisher does; we may get more, never less."""
    seen: set[float] = set()
    held: list[tuple[list[float], Any]] = []

    async def offer(_source: str, items: Sequence[Item], ack: Any, _resume: bytes | None) -> None:
        held.append(([v for i in items if isinstance(i, Samples) for v in i.value.tolist()], ack))
        if len(held) >= 3:  # commits come later and several at a time
            for values, done in held:
                seen.update(values)
                done()
            held.clear()

    async def quick(seconds: float) -> None:
        await asyncio.sleep(seconds / 20)

    of = config(broker.port, keepalive_s=5)
    to = plug(tmp_path)
    runner = SourceRunner(of, to, offer, sleep=quick)
    task = asyncio.create_task(runner.run())
    async with asyncio.timeout(30):
        while runner.state.state != "connected":
            await asyncio.sleep(0.02)
    for turn in range(3):
        for burst in range(5):
            await send(broker, [("plant/press1/speed", float(turn * 500 + burst * 100 + i)) for i in range(100)])
        await asyncio.sleep(1.2)  # Mosquitto writes its store once a second
        broker.kill()
        await asyncio.sleep(0.1)
        broker.start()
    expected = {float(i) for i in range(1500)}
    n = 0.0
    async with asyncio.timeout(60):
        while seen != expected:
            await send(broker, [("plant/press1/speed", n)])
            n = (n + 1) % 1500
            await asyncio.sleep(0.05)
            seen.update(v for values, _ in held for v in values)
    assert n < 50
    assert runner.state.failures >= 3
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_dead_letters_are_bounded_in_bytes_and_what_goes_is_counted(tmp_path: Path) -> None:
    dead = DeadLetters(tmp_path, 8192)
    given_up = sum(dead.write([DeadLetter(i, "t", bytes(200), "why")]) for i in range(200))
    kept = [json.loads(line)["time_ns"] for path in (dead.older, dead.path) for line in path.read_text().splitlines()]
    assert kept == list(range(given_up, 200))
    assert dead.path.stat().st_size + dead.older.stat().st_size <= 8192
    dead.write([DeadLetter(0, "t", bytes(50_000), "why")])
    assert "of 50000 bytes kept" in dead.path.read_text().splitlines()[-1]
    assert dead.path.stat().st_size <= 4096


@pytest.mark.parametrize(
    "wrong", [{"topics": ["plant/#/x"]}, {"topics": ["a+"]}, {"topics": []}, {"time_path": "t"}, {"keepalive_s": 0}, {"colour": 1}]
)
def test_wrong_sections_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(pydantic.ValidationError):
        config(1883, **wrong)
