"""Between broker and store: what is acknowledged when, what is refused, when reading stops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

import gateway.ingest
from edge_agent.core import Committed, decode_actions
from gateway.ingest import Ingest
from gateway.query import ModeAsked
from gateway.store import Store
from gateway.units import units
from tests.gateway.conftest import Clock
from tests.gateway.edge import SECOND, Edge

TOPIC = "pharmedge/demo/press-edge-1/records"


@dataclass
class Wire:
    """A broker connection that remembers what was asked of it, in order."""

    said: list[tuple[str, object]] = field(default_factory=list)

    def publish(self, topic: str, payload: bytes) -> None:
        self.said.append((topic, payload))

    def acknowledge(self, tokens: Sequence[tuple[int, int]]) -> None:
        self.said.append(("ack", list(tokens)))

    def pause(self) -> None:
        self.said.append(("pause", None))

    def resume(self) -> None:
        self.said.append(("resume", None))

    def committed(self) -> Committed:
        return Committed.decode(next(p for t, p in reversed(self.said) if t.endswith("/committed/gw1")))  # type: ignore[arg-type]

    @property
    def acknowledged(self) -> list[tuple[int, int]]:
        return [token for what, tokens in self.said if what == "ack" for token in tokens]  # type: ignore[attr-defined]


class Bench:
    """An ingest over a store with a writer thread of its own."""

    def __init__(self, store: Store, clock: Clock, edges: Sequence[str] = ()) -> None:
        self.store, self.wire = store, Wire()
        self.writer = ThreadPoolExecutor(1)
        self.failures: list[BaseException] = []
        sessions = iter(range(100))
        self.ingest = Ingest(
            store, "demo", self.writer, lambda: self.wire, clock=clock, session=lambda: f"s{next(sessions)}", failed=self.failures.append,
            edges=edges,
        )  # fmt: skip

    async def settle(self) -> None:
        while self.ingest.queue_bytes or self.ingest._busy:
            await asyncio.sleep(0)
        await asyncio.wrap_future(self.writer.submit(lambda: None))
        await asyncio.sleep(0)


@pytest.fixture
def bench(opened: Callable[..., Store], clock: Clock) -> Bench:
    return Bench(opened(), clock)


def _edge(n: int = 3) -> Edge:
    edge = Edge()
    edge.define()
    for i in range(n - 1):
        edge.samples(10 * i, 10)
    return edge


async def test_the_broker_is_answered_and_the_edge_told_after_the_commit(bench: Bench) -> None:
    edge = _edge()
    bench.ingest.receive(TOPIC, edge.deliver().encode(), (1, 7))
    await bench.settle()
    assert bench.wire.acknowledged == [(1, 7)]
    assert bench.wire.committed().epochs[1].ranges == ((1, 3),)
    assert bench.store.log.head("inbox").seq == 3


async def test_the_edges_of_another_gateway_are_let_go_of_unread(opened: Callable[..., Store], clock: Clock) -> None:
    bench = Bench(opened(), clock, edges=("press-edge-1", "e2"))
    bench.ingest.receive("pharmedge/demo/e3/records", b"nonsense", (1, 6))
    assert (bench.wire.acknowledged, bench.ingest.queue_bytes) == ([(1, 6)], 0)
    bench.ingest.receive(TOPIC, _edge().deliver().encode(), (1, 7))
    await bench.settle()
    assert bench.wire.acknowledged == [(1, 6), (1, 7)]
    assert set(bench.store.inbox.facts) == {"press-edge-1"}
    assert bench.ingest.letters.count == 0


async def test_what_is_let_go_of_is_counted_by_edge_and_said_once(
    opened: Callable[..., Store], clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(gateway.ingest, "ELSEWHERE", 3)
    bench = Bench(opened(), clock, edges=("press-edge-1",))
    for edge in ("e3", "e3", "e4", "no name", "e5", "e6", "e3"):
        bench.ingest.receive(f"pharmedge/demo/{edge}/records", b"x", (1, 6))
    assert bench.ingest.elsewhere == {"e3": 3, "e4": 1, "*": 3}
    said = [record.getMessage() for record in caplog.records if record.name == "gateway.ingest"]
    assert [words.split()[1] for words in said] == ["e3", "e4", "*"]


async def test_what_waits_for_no_answer_gets_none(opened: Callable[..., Store], clock: Clock) -> None:
    bench = Bench(opened(), clock, edges=("press-edge-1",))
    bench.ingest.receive("pharmedge/demo/e3/records", b"x", None)
    bench.ingest.receive(TOPIC, b"x", None)
    bench.ingest.receive(TOPIC, _edge().deliver().encode(), (1, 7))
    await bench.settle()
    assert bench.wire.acknowledged == [(1, 7)]
    assert bench.ingest.letters.count == 1


async def test_a_failing_commit_acknowledges_nothing_and_is_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise OSError("disk on fire")

    monkeypatch.setattr(bench.store.log, "commit", broken)
    bench.ingest.receive(TOPIC, _edge().deliver().encode(), (1, 7))
    while not bench.failures:
        await asyncio.sleep(0)
    assert bench.wire.said == []
    assert str(bench.failures[0]) == "disk on fire"


@pytest.mark.parametrize(
    ("topic", "payload", "why"),
    [
        (TOPIC, b"nonsense", "frame"),
        (TOPIC, _edge().deliver().encode()[:-1], "body"),
        ("pharmedge/demo/other/records", _edge().deliver().encode(), "expected topic"),
        ("pharmedge/away/press-edge-1/records", Edge(site="away").deliver().encode(), "of site demo"),
    ],
)
async def test_poison_is_quarantined_acknowledged_and_counted(bench: Bench, topic: str, payload: bytes, why: str) -> None:
    bench.ingest.receive(topic, payload, (1, 1))
    bench.ingest.receive(TOPIC, _edge().deliver().encode(), (1, 2))
    await bench.settle()
    assert bench.wire.acknowledged == [(1, 1), (1, 2)]
    assert bench.store.figures()["quarantined"] == 1
    assert why in bench.ingest.letters.path.read_text()
    assert bench.store.log.head("inbox").seq == 3


async def test_a_clone_that_resends_is_kept_and_counted_once(bench: Bench) -> None:
    edge, clone = _edge(), Edge()
    clone.define()
    clone.samples(500, 10)
    bench.ingest.receive(TOPIC, edge.deliver().encode(), (1, 1))
    await bench.settle()
    for i in range(3):
        bench.ingest.receive(TOPIC, clone.deliver().encode(), (1, 2 + i))
        await bench.settle()
    assert bench.ingest.letters.count == 1
    assert len(bench.store.ask.alarms()) == 1


async def test_reading_stops_when_too_much_waits_and_goes_on_when_it_is_done(opened: Callable[..., Store], clock: Clock) -> None:
    bench = Bench(opened(queue_bytes=1 << 20), clock)
    gate = bench.writer.submit(lambda: asyncio.run(asyncio.sleep(0.05)))
    edge = Edge()
    edge.define()
    for i in range(60):
        edge.samples(i * 5000, 5000, value=float(i), step_ns=1_000_003)
    message = edge.deliver().encode()
    n = 0
    while ("pause", None) not in bench.wire.said:
        bench.ingest.receive(TOPIC, message, (1, n))
        n += 1
    assert bench.ingest.queue_bytes <= (1 << 20) + len(message)
    gate.result()
    await bench.settle()
    assert bench.wire.said.index(("resume", None)) > bench.wire.said.index(("pause", None))
    assert len(bench.wire.acknowledged) == n
    assert bench.store.log.head("inbox").seq == 61


async def test_every_connection_has_a_new_session_for_every_known_edge(bench: Bench) -> None:
    bench.ingest.receive(TOPIC, _edge().deliver().encode(), (1, 1))
    await bench.settle()
    first = bench.wire.committed().session
    bench.wire.said.clear()
    bench.ingest.connected()
    await bench.settle()
    assert bench.wire.committed().session != first
    assert bench.wire.committed().epochs[1].ranges == ((1, 3),)
    assert [decode_actions(p) for t, p in bench.wire.said if t.endswith("/actions/gw1")] == [()]  # type: ignore[arg-type]


async def test_gateways_at_one_broker_ask_the_edge_side_by_side(opened: Callable[..., Store], clock: Clock) -> None:
    benches = [Bench(opened(folder=name, gateway=name), clock) for name in ("gw1", "gw2")]
    retained: dict[str, bytes] = {}
    for one in benches:
        one.wire.publish = retained.__setitem__  # type: ignore[assignment]
        one.ingest.receive(TOPIC, _edge().deliver().encode(), (1, 1))
        await one.settle()
    first, second = benches
    (unit, *_) = units(first.store.applier.catalogue.edges["press-edge-1"])
    wanted = {"edge": "press-edge-1", "unit": unit, "mode": "cleaning", "until_ns": clock() + 60 * SECOND, "user": "li", "role": "shift_lead"}
    first.store.set_mode(ModeAsked(**wanted, reason="CIP", station=""), "a1")  # type: ignore[arg-type]
    await first.settle()
    second.ingest.connected()
    await second.settle()
    actions = {topic: [a.id for a in decode_actions(data)] for topic, data in retained.items() if "/actions" in topic}
    assert actions == {"pharmedge/demo/press-edge-1/actions/gw1": ["a1"], "pharmedge/demo/press-edge-1/actions/gw2": []}
