"""The runner of targets: a durable cursor, and a dead target that blocks nothing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest

from edge_agent.core import NotConnected, Samples, Tag
from gateway.inbox import STREAM
from gateway.store import Store
from gateway.targets import InfluxConfig, Outcome, Page
from gateway.targets.runner import Runner
from tests.gateway.conftest import Clock, feed, seal
from tests.gateway.edge import Edge

CONFIG = InfluxConfig(name="ts", url="http://127.0.0.1:1", bucket="b", hold_bytes=1 << 20)


class Memory:
    """A target in memory that may be away or die between writing and the cursor."""

    def __init__(self) -> None:
        self.pages: list[Page] = []
        self.away = False
        self.opened = 0

    def open(self) -> None:
        self.opened += 1
        if self.away:
            raise NotConnected("away")

    def write(self, page: Page) -> Outcome:
        self.pages.append(page)
        return Outcome(len(page) - 1, [("400", b"x")])

    def close(self) -> None:
        return


async def _in_thread(function: Callable[[], object]) -> object:
    return function()


def _runner(store: Store, target: Memory, clock: Clock, sleep: Callable[[float], Awaitable[object]]) -> Runner:
    return Runner(store, CONFIG, in_writer=_in_thread, clock=clock, sleep=sleep, target=target)


def _edge() -> Edge:
    edge = Edge()
    edge.define()
    for i in range(5):
        edge.summary(edge.samples(30 * i, 30))
    return edge


async def _until_idle(runner: Runner) -> None:
    with pytest.raises(asyncio.CancelledError):
        await runner.run()


async def _stop(_: float) -> None:
    raise asyncio.CancelledError


async def test_pages_follow_the_inbox_and_the_cursor_is_kept(opened: Callable[..., Store], clock: Clock) -> None:
    store, target, edge = opened(), Memory(), _edge()
    feed(store, edge.deliver())
    runner = _runner(store, target, clock, _stop)
    await _until_idle(runner)
    assert sum(len(p) for p in target.pages) == 150  # summaries of tags that have raw values are not sent
    row = runner.row()
    assert (row["behind"], row["written"], row["rejected"], row["connected"]) == (0, 149, 1, True)
    assert (store.data_dir / "rejected-ts.jsonl").read_text().count("\n") == 1
    store.close()
    store = opened()
    await _until_idle(_runner(store, target, clock, _stop))
    assert len(target.pages) == 1


async def test_a_dead_target_holds_the_inbox_only_up_to_its_budget(opened: Callable[..., Store], clock: Clock) -> None:
    store, target, edge = opened(), Memory(), _edge()
    target.away = True
    naps: list[float] = []

    async def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 4:
            raise asyncio.CancelledError

    runner = _runner(store, target, clock, nap)
    feed(store, edge.deliver())
    await _until_idle(runner)
    assert naps == [1.0, 2.0, 4.0, 8.0]
    assert runner.row()["error"] == "away"
    clock.go(700)
    store.roll(clock())
    store.seal(clock())
    assert store.trim(runner.held_from) == 0
    assert store.log.first(STREAM) == 1
    noise = np.random.default_rng(3).normal(size=200_000)
    edge.add(Samples.of(np.arange(200_000), np.zeros(200_000, np.int32), noise))
    edge.samples(1000, 10)
    feed(store, edge.deliver())
    assert runner.release() > 0
    seal(store, clock)
    store.trim(runner.held_from)
    assert "skipped" in runner.row()["error"]


def test_a_cluster_is_written_to_and_read_at_addresses_with_a_path() -> None:
    asked: list[str] = []

    class Node(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            asked.append(self.path.partition("?")[0])
            self.send_response(204)
            self.end_headers()

        def do_GET(self) -> None:
            asked.append(self.path.partition("?")[0])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Node) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        at = f"http://127.0.0.1:{server.server_port}"
        try:
            config = InfluxConfig(
                name="c", url=f"{at}/insert/0/influx", read_url=f"{at}/select/0/prometheus", bucket="plant", reads="victoriametrics"
            )
            target, reader = config.make(), config.reader()
            target.open()
            target.write(Page("e1", "demo", (Tag(id=0, name="a"),), (Samples.of([1], [0], [1.0]),)))
            target.close()
            assert reader is not None
            assert len(reader.read("e1", "a", 0, 10**9)[0]) == 0
        finally:
            server.shutdown()
            thread.join()
    assert asked == ["/insert/0/influx/api/v2/write", "/select/0/prometheus/api/v1/export"]
