"""From a delivery of an edge to a receiver: the running notifications over a real store, with receivers that fail, hang and come back."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_agent.core import NotConnected
from gateway.notify import Message, Rejected
from gateway.notify.runner import Notifier
from gateway.notify.section import Notifications
from gateway.store import Store
from tests.gateway.conftest import Clock, feed
from tests.gateway.edge import SECOND, START, Edge
from tests.gateway.notify.made import mail, section

NOW = START + 1000 * SECOND
"""Where the clock of the tests stands."""


class Post:
    """A receiver that keeps what it gets, or fails."""

    def __init__(self) -> None:
        self.got: list[Message] = []
        self.fails: list[Exception] = []
        self.left: list[tuple[str, ...]] = []
        self.hold: threading.Event | None = None

    def send(self, message: Message, now_ns: int) -> tuple[str, ...]:
        if self.hold is not None:
            assert self.hold.wait(20)
        if self.fails:
            raise self.fails.pop(0)
        self.got.append(message)
        return self.left.pop(0) if self.left else ()


def notifier(store: Store, clock: Clock, of: Notifications, posts: dict[str, Post]) -> Notifier:
    async def find(name: str, why: str) -> None:
        store.own.find(name, why)

    return Notifier(
        store.data_dir, of, gateway="gw1", timezone="Asia/Shanghai", catalogue=store.applier.catalogue, clock=clock, find=find, receivers=posts
    )


@pytest.fixture
def post() -> Post:
    return Post()


@pytest.fixture
def begun(store: Store, clock: Clock, post: Post) -> Iterator[Callable[..., Notifier]]:
    made: list[Notifier] = []

    def begin(of: Notifications | None = None, **posts: Post) -> Notifier:
        made.append(notifier(store, clock, of or section(), {"mail": post, **posts}))
        made[-1].open()
        return made[-1]

    yield begin
    for each in made:
        each.close()


def raised(store: Store, edge: Edge, at: int = 990) -> None:
    edge.event("raise", "NORM", "UNACK", raised=at, at=at)
    feed(store, edge.deliver())


def an_edge(store: Store) -> Edge:
    edge = Edge(simulated=True)
    edge.define()
    feed(store, edge.deliver())
    return edge


async def test_a_committed_alarm_reaches_its_receiver_once(store: Store, begun: Callable[..., Notifier], post: Post) -> None:
    running, edge = begun(), an_edge(store)
    raised(store, edge)
    running.step()
    assert await running.send("mail") is True
    feed(store, edge.deliver())  # the edge sends it again
    running.step()
    assert await running.send("mail") is None
    (message,) = post.got
    (item,) = message.items
    assert (item.alarm, item.unit, item.measure, item.simulated, item.value) == (
        "press1/main_force.high",
        "demo/solids/press-line/press1",
        "kN",
        True,
        16.5,
    )
    assert running._queue.counts() == {"mail": {"sent": 1}}


async def test_what_was_long_ago_tells_nobody_even_at_the_first_start(store: Store, begun: Callable[..., Notifier], post: Post) -> None:
    edge = an_edge(store)
    for at in (10, 20, 950):
        raised(store, edge, at)
    running = begun(section(max_age_s=100))
    running.step()
    await running.send("mail")
    assert [i.raised_ns for m in post.got for i in m.items] == [START + 950 * SECOND]


async def test_a_receiver_that_is_away_is_tried_again_and_is_an_alarm(store: Store, clock: Clock, begun: Callable[..., Notifier], post: Post) -> None:
    chief = Post()
    of = section([{"receivers": ["mail", "chief"]}], receivers=[mail(unreachable_after_s=60), mail("chief")])
    running, edge = begun(of, chief=chief), an_edge(store)
    raised(store, edge)
    running.step()
    post.fails = [NotConnected("mail: refused")] * 4
    assert await running.send("mail") is False
    assert await running.send("mail") is None, "its time has not come"
    assert await running.send("chief") is True
    for _ in range(3):
        clock.go(21)
        assert await running.send("mail") is False
        await running.watch()
    standing = store.ask.alarms("standing")
    (own,) = [a for a in standing if a["edge"] == "gw1"]
    assert own["alarm"] == "gateway/notify.mail.unreachable"
    assert own["explanation"] == "receiver mail did not take a notification for 60 s: mail: refused"
    # Meanwhile more happens; it gathers for the one and is told to the other, with the alarm about the first.
    raised(store, edge, 1050)
    running.step()
    assert await running.send("chief") is True
    assert sorted(i.alarm for i in chief.got[1].items) == ["gateway/notify.mail.unreachable", "press1/main_force.high"]
    clock.go(21)
    assert await running.send("mail") is True
    running.step()
    assert await running.send("mail") is True
    assert [(m.total, m.items[0].raised_ns) for m in post.got] == [(1, START + 990 * SECOND), (1, START + 1050 * SECOND)]
    await running.watch()
    assert running._told == set()


async def test_a_rejected_message_is_closed_and_is_an_alarm(store: Store, begun: Callable[..., Notifier], post: Post) -> None:
    running, edge = begun(), an_edge(store)
    raised(store, edge)
    running.step()
    post.fails = [Rejected("mail: 554 never")]
    assert await running.send("mail") is True
    assert running._queue.counts() == {"mail": {"rejected": 1}}
    assert [a["explanation"] for a in store.ask.alarms("standing") if a["edge"] == "gw1"] == ["mail: 554 never"]


async def test_addresses_that_are_left_are_tried_alone_and_hold_up_nobody(
    store: Store, clock: Clock, begun: Callable[..., Notifier], post: Post
) -> None:
    running, edge = begun(), an_edge(store)
    raised(store, edge)
    running.step()
    post.left = [("b@plant.example",)]
    await running.send("mail")
    raised(store, edge, 995)
    running.step()
    await running.send("mail")
    clock.go(5)
    await running.send("mail")
    assert [m.left for m in post.got] == [(), (), ("b@plant.example",)]
    assert running._queue.counts() == {"mail": {"sent": 2}}


async def test_a_message_that_is_too_old_is_given_up(store: Store, clock: Clock, begun: Callable[..., Notifier], post: Post) -> None:
    running, edge = begun(section(receivers=[mail(give_up_after_s=100)])), an_edge(store)
    raised(store, edge)
    running.step()
    clock.go(101)
    assert await running.send("mail") is True
    assert (post.got, running._queue.counts()) == ([], {"mail": {"given_up": 1}})
    clock.go(40 * 86400)
    running.step()
    assert running._queue.counts() == {}


async def test_a_restart_goes_on_where_it_was(store: Store, clock: Clock, begun: Callable[..., Notifier], post: Post) -> None:
    of = section([{"receivers": ["mail"]}, {"after_s": 600, "receivers": ["mail"]}], receivers=[mail(group_s=30)])
    edge = an_edge(store)
    begun(of).step()
    raised(store, edge)
    for _ in range(100):
        running = begun(of)
        running.step()
        await running.send("mail")
        clock.go(10)
    assert [(m.step, m.made_ns) for m in post.got] == [(1, NOW + 30 * SECOND), (2, NOW + 620 * SECOND)]


def test_a_receiver_that_is_gone_from_the_configuration_keeps_nothing(store: Store, begun: Callable[..., Notifier]) -> None:
    running, edge = begun(), an_edge(store)
    raised(store, edge)
    running.step()
    other = begun(section([{"receivers": ["chief"]}], receivers=[mail("chief")]))
    assert "mail" in other._receivers  # the test's own; the configuration has no such receiver
    del other._receivers["mail"]
    other.close()
    other.open()
    assert other._queue.counts() == {"mail": {"no_receiver": 1}}


async def test_a_receiver_that_hangs_holds_up_no_other(store: Store, clock: Clock, post: Post) -> None:
    chief = Post()
    post.hold = threading.Event()
    of = section([{"receivers": ["mail", "chief"]}], receivers=[mail(), mail("chief")])
    edge = an_edge(store)
    raised(store, edge)
    running = notifier(store, clock, of, {"mail": post, "chief": chief})
    task = asyncio.create_task(running.run())
    try:
        async with asyncio.timeout(10):
            while not chief.got:
                await asyncio.sleep(0.01)
        assert post.got == []
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        post.hold.set()


async def test_a_receiver_that_never_comes_to_an_end_is_away(store: Store, begun: Callable[..., Notifier], post: Post) -> None:
    post.hold = threading.Event()
    running, edge = begun(section(receivers=[mail(timeout_s=0.01)])), an_edge(store)
    raised(store, edge)
    running.step()
    assert await running.send("mail") is False
    assert running._queue.waiting()["mail"].error == "mail: not done within 0.06 s"
    post.hold.set()


async def test_after_a_start_the_edges_speak_first(store: Store, clock: Clock, begun: Callable[..., Notifier], post: Post) -> None:
    of = section([{"after_s": 60, "receivers": ["mail"]}], settle_s=10)
    edge = an_edge(store)
    raised(store, edge)
    begun(of).step()
    clock.go(300)
    running = begun(of)
    running.step()
    edge.event("acknowledge", "UNACK", "ACKED", raised=990, at=1000, user="li")
    feed(store, edge.deliver())
    clock.go(11)
    running.step()
    assert await running.send("mail") is None


async def test_a_full_disk_passes_and_loses_nothing(
    store: Store, begun: Callable[..., Notifier], post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sqlite3

    running, edge = begun(), an_edge(store)
    raised(store, edge)

    def full(*_: Any) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as context:
        context.setattr(running._queue, "planned", full)
        running.step()
    assert running.notices() == ["notifications: cannot write: database or disk is full"]
    running.step()
    assert running.notices() == []
    await running.send("mail")
    assert [m.total for m in post.got] == [1]


@pytest.mark.system
def test_killed_at_any_place_everything_is_told_and_what_comes_twice_has_the_same_id(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.gateway.notify.dying", str(tmp_path)]
    deaths = 0
    for step in ("planning", "planned", "sending", "sent", "planning", "planned", "sending", "sent", "never"):
        done = subprocess.run([*command, step], timeout=60, check=False, capture_output=True, text=True)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        deaths += done.returncode != 0
    assert deaths == 8
    told = [line.split(" ") for line in (tmp_path / "told.txt").read_text().splitlines()]
    ids = dict(told)
    assert len(told) > len(ids), "a death behind the sending sends again"
    keys = [key for each in ids.values() for key in each.split(",")]
    assert sorted(keys) == sorted(f"press-edge-1~press1/main_force.high~{START + (990 + n) * SECOND}#0" for n in range(9))
