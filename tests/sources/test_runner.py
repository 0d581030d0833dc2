"""The runner: back-off, the watchdog, what it tells the intake, and that one source never stops another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from edge_agent.core import Connection, EndOfInput, KeepAlive, NotConnected, Recalled, Samples, Tag
from edge_agent.sources.runner import SourceRunner
from edge_agent.sources.source import Received
from tests.sources.acting import ActingConfig, Actor, Intake, Time, runner, settle

SAMPLES = Samples.of([1], [0], [2.0])
PERIODIC = [Tag(id=0, name="a", expected_s=1.0)]
ALIVE = Received((KeepAlive(received_ns=0, source="line"),))

Starter = Callable[[SourceRunner], "asyncio.Task[None]"]


@pytest.fixture
async def start() -> AsyncIterator[Starter]:
    """Runs runners and ends them after the test."""
    tasks: list[asyncio.Task[None]] = []

    def begin(one: SourceRunner) -> asyncio.Task[None]:
        tasks.append(asyncio.create_task(one.run()))
        return tasks[-1]

    yield begin
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_items_are_handed_over_and_acknowledged_after_their_commit(start: Starter) -> None:
    acked: list[int] = []
    actor = Actor([Received((SAMPLES,), lambda: acked.append(1), b"here"), None])
    intake = Intake()
    one = runner(ActingConfig(actor), intake, Time())
    start(one)
    await settle()
    assert intake.said() == ["connected", "Samples"]
    assert [resume for _, _, resume in intake.taken] == [None, b"here"]
    assert acked == []
    intake.commit()
    assert acked == [1]
    assert one.status()["values"] == 1


async def test_waits_double_up_to_a_minute_and_vary_by_a_fifth(start: Starter) -> None:
    time = Time()
    start(runner(ActingConfig(Actor()), Intake(), time))
    await time.pass_(400)
    assert time.waits[:8] == [1, 2, 4, 8, 16, 32, 60, 60]
    for jitter, factor in ((0.0, 0.8), (1.0, 1.2)):
        other = Time()
        start(runner(ActingConfig(Actor()), Intake(), other, jitter=jitter))
        await settle()
        assert other.waits == pytest.approx([factor])


async def test_a_connection_that_worked_begins_with_one_second_again(start: Starter) -> None:
    time = Time()
    fail = NotConnected("gone")
    actor = Actor([fail], [fail], [fail], [Received((SAMPLES,)), fail])
    start(runner(ActingConfig(actor), Intake(), time))
    await time.pass_(7.5)
    assert [w for w in time.waits if w >= 1 and w != 10.0][-1] == 1.0


async def test_an_outage_is_told_once_until_it_is_over(start: Starter) -> None:
    time, intake = Time(), Intake()
    fail = NotConnected("cable")
    one = runner(ActingConfig(Actor([Received((SAMPLES,)), fail], [fail], [fail], [Received((SAMPLES,)), None])), intake, time)
    start(one)
    await settle()
    assert (one.state.state, one.state.error) == ("waiting", "cable")
    await time.pass_(30)
    assert intake.said() == ["connected", "Samples", "disconnected", "connected", "Samples"]
    assert one.state.state == "connected"
    assert (one.state.connects, one.state.failures) == (4, 3)


async def test_the_bookkeeping_comes_back_with_the_next_open(start: Starter) -> None:
    time = Time()
    actor = Actor([Received((SAMPLES,), resume=b"two"), NotConnected("x")], [None])
    start(runner(ActingConfig(actor), Intake(), time, resume=b"one"))
    await time.pass_(2)
    assert actor.resumes == [b"one", b"two"]


async def test_every_open_is_closed_once(start: Starter) -> None:
    time = Time()
    actor = Actor([NotConnected("x")], [OSError("y")], [ValueError("z")])
    task = start(runner(ActingConfig(actor), Intake(), time))
    await time.pass_(60)
    task.cancel()
    await settle()
    assert actor.calls == ["open", "close"] * (len(actor.calls) // 2)


async def test_cancelling_closes_the_source(start: Starter) -> None:
    actor = Actor([None])
    one = runner(ActingConfig(actor), Intake(), Time())
    task = start(one)
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert actor.calls == ["open", "close"]
    assert one.state.state == "stopped"


async def test_connected_but_no_data_is_a_fault(start: Starter) -> None:
    time, intake = Time(), Intake()
    actor = Actor([Received((SAMPLES,))], [None], [Received((SAMPLES,))])
    one = runner(ActingConfig(actor), intake, time, PERIODIC)
    start(one)
    await time.pass_(9.9)
    assert one.state.state == "connected"
    await time.pass_(0.2)
    assert intake.said() == ["connected", "Samples", "no_data"]
    await time.pass_(5)  # reconnected, and still nothing: that is not yet well
    assert actor.calls == ["open", "close", "open"]
    assert one.state.state == "no_data"
    await time.pass_(10)
    assert intake.said().count("Samples") == 2
    assert one.state.state == "connected"


async def test_keep_alives_are_no_data_but_data_resets_the_watchdog(start: Starter) -> None:
    time, intake = Time(), Intake()
    actor = Actor([])
    start(runner(ActingConfig(actor), intake, time, PERIODIC))
    for _ in range(4):
        await time.pass_(6)
        actor.push.put_nowait(Received((SAMPLES,)))
    assert "no_data" not in intake.said()
    for _ in range(2):
        await time.pass_(6)
        actor.push.put_nowait(ALIVE)
    await settle()
    assert intake.said()[-1] == "no_data"


async def test_what_a_history_brings_is_no_sign_of_life(start: Starter) -> None:
    time, intake = Time(), Intake()
    actor = Actor([])
    start(runner(ActingConfig(actor), intake, time, PERIODIC))
    for _ in range(2):
        await time.pass_(6)
        actor.push.put_nowait(Received((Recalled.of([1], [0], [2.0]),)))
    await settle()
    assert intake.said()[-1] == "no_data"


async def test_what_comes_while_silence_is_told_is_handed_over_too(start: Starter) -> None:
    time, intake = Time(), Intake()
    actor = Actor([], [None])
    start(runner(ActingConfig(actor), intake, time, PERIODIC))
    await time.pass_(9)
    intake.open.clear()
    await time.pass_(2)
    actor.push.put_nowait(Received((SAMPLES,), resume=b"here"))
    await settle()
    intake.open.set()
    await time.pass_(5)
    assert intake.said()[:3] == ["connected", "no_data", "Samples"]
    assert actor.resumes == [None, b"here"]


async def test_by_exception_tags_may_be_silent(start: Starter) -> None:
    time, intake = Time(), Intake()
    start(runner(ActingConfig(Actor([None])), intake, time, [Tag(id=0, name="a")]))
    await time.pass_(3600)
    assert intake.said() == ["connected"]


async def test_a_full_intake_holds_the_source_back_and_is_no_silence(start: Starter) -> None:
    time, intake = Time(), Intake()
    actor = Actor([Received((SAMPLES,)), Received((SAMPLES,)), None])
    intake.open.clear()
    start(runner(ActingConfig(actor), intake, time, PERIODIC))
    await time.pass_(100)
    assert intake.taken == []
    intake.open.set()
    await time.pass_(5)
    assert intake.said() == ["connected", "Samples", "Samples"]


async def test_a_source_that_says_itself_how_it_connected_is_not_contradicted(start: Starter) -> None:
    time, intake = Time(), Intake()
    resumed = Connection(received_ns=0, source="line", state="resumed")
    start(runner(ActingConfig(Actor([Received((resumed, SAMPLES)), None])), intake, time))
    await time.pass_(5)
    assert intake.said() == ["resumed", "Samples"]


async def test_a_source_that_says_so_late_does_not_say_it_twice(start: Starter) -> None:
    time, intake, acked = Time(), Intake(), []
    actor = Actor([])
    start(runner(ActingConfig(actor), intake, time))
    await time.pass_(2)
    actor.push.put_nowait(Received((Connection(received_ns=0, source="line", state="connected"),), lambda: acked.append(1), b"r"))
    actor.push.put_nowait(Received((SAMPLES,)))
    await settle()
    assert intake.said() == ["connected", "Samples"]
    assert acked == [1]
    assert intake.taken[-1][2] == b"r"


async def test_the_end_is_told_and_final() -> None:
    intake = Intake()
    actor = Actor([Received((SAMPLES,)), EndOfInput()])
    one = runner(ActingConfig(actor), intake, Time())
    await one.run()
    assert intake.said() == ["connected", "Samples", "ended"]
    assert (one.state.state, actor.calls) == ("ended", ["open", "close"])


async def test_a_defect_of_one_source_stops_no_other() -> None:
    time, intake = Time(), Intake()
    bad = runner(ActingConfig(Actor([ValueError("a defect")]), "bad"), intake, time)
    good_actor = Actor([])
    good = runner(ActingConfig(good_actor, "good"), intake, time)
    tasks = [asyncio.create_task(one.run()) for one in (bad, good)]
    await time.pass_(3)
    good_actor.push.put_nowait(Received((SAMPLES,)))
    await settle()
    assert ("good", (SAMPLES,), None) in intake.taken
    assert bad.state.failures >= 1
    told = [i for s, items, _ in intake.taken for i in items if s == "bad" and isinstance(i, Connection)]
    assert told[0].detail == "ValueError: a defect"
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_an_error_of_the_intake_is_not_the_sources() -> None:
    intake = Intake(error=RuntimeError("disk gone"))
    actor = Actor([Received((SAMPLES,))])
    with pytest.raises(RuntimeError, match="disk gone"):
        await runner(ActingConfig(actor), intake, Time()).run()
    assert actor.calls == ["open", "close"]
