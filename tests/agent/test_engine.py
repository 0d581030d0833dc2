"""The threads: durable before acknowledged, nothing dropped, sources held back when the disk or the budget says so."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edge_agent.agent import engine as engine_module
from edge_agent.agent.clock import Clock
from edge_agent.agent.commit import JOURNAL, OUTBOX, STREAMS
from edge_agent.agent.engine import Engine
from edge_agent.agent.intake import Intake
from edge_agent.agent.recovery import recover
from edge_agent.config.sections import OutboxSection
from edge_agent.core import (
    SUMMARY_DTYPE,
    AlarmDefinition,
    AlarmEvent,
    Append,
    Catalogue,
    Connection,
    Filled,
    Gap,
    Log,
    Overflow,
    Samples,
    Summaries,
    decode,
    encode,
)
from edge_agent.core.log import SHED_SUMMARY
from edge_agent.core.status import GOOD
from tests.pipeline.line import start


def batch(now: int) -> Samples:
    """500 values of press1/force that do not compress well."""
    return Samples.of(now + np.arange(500), np.zeros(500), np.random.default_rng(now % 1000).random(500) + 12, GOOD, now)


class Running:
    """An engine over a log in a folder."""

    def __init__(
        self, folder: Path, *, queue_bytes: int = 1 << 20, safe: int = 0, quiet: bool = False, edge_alarms: tuple[str, ...] = (), **outbox: Any
    ) -> None:
        self.log = Log(folder / "edge.sqlite", STREAMS)
        self.clock = Clock()
        alarms = tuple(AlarmDefinition(name=name, tag="", kind="diagnostic", priority=2) for name in edge_alarms)
        plan = start(self.clock(), models=(), alarms=alarms) if quiet else start(self.clock())
        self.intake = Intake(self.clock, Catalogue(plan.tags), queue_bytes)
        self.events: list[AlarmEvent] = []
        section = OutboxSection.model_construct(**(OutboxSection().model_dump() | outbox))
        self.engine = Engine(
            self.log, recover(self.log).pipeline, self.intake, self.clock, section, loop=asyncio.get_running_loop(),
            safe_through=lambda: safe, cursors=dict, on_commit=self.events.extend,
        )  # fmt: skip
        self.engine.start(plan)

    async def values(self, n: int, value: float = 12.0) -> asyncio.Future[None]:
        """Offer n values of one tag; the future is done when they are acknowledged."""
        done = asyncio.get_running_loop().create_future()
        now = self.clock()
        rows = Samples.of(now - np.arange(n)[::-1], np.zeros(n), value + np.arange(n) * 1e-6, GOOD)
        await self.intake.offer("plc", [Connection(received_ns=0, source="plc", state="connected"), rows], lambda: done.set_result(None), b"place")
        return done

    async def stop(self) -> None:
        await asyncio.to_thread(self.engine.stop)

    def frames(self, stream: str) -> list[Any]:
        return [decode(row.data) for row in self.log.read(stream, 0, max_bytes=1 << 30, max_rows=100_000)]


async def test_acknowledged_means_durable_together_with_the_source_s_place(tmp_path):
    run = Running(tmp_path)
    await (await run.values(100))
    other = sqlite3.connect(tmp_path / "edge.sqlite")
    assert other.execute("SELECT data FROM value WHERE key='resume/plc'").fetchone()[0] == b"place"
    assert sum(len(decode(d)) for (d,) in other.execute("SELECT data FROM journal WHERE kind=1")) == 100
    other.close()
    await run.stop()


async def test_an_alarm_is_committed_at_once_and_measured(tmp_path):
    run = Running(tmp_path, commit_ms=10_000)
    await run.values(1, 12.0)
    await asyncio.wait_for(await run.values(1, 30.0), 5)  # a rate alarm: far sooner than commit_ms
    raised = [e.alarm for e in run.events if e.event == "raise"]
    assert raised == ["press1/force.cold_chain", "press1/force.rate"]
    assert run.engine.latency_count == len(raised)
    await run.stop()


async def test_hundreds_of_small_batches_are_few_commits_for_flash_wears(tmp_path):
    run = Running(tmp_path, quiet=True)
    began, before, size = time.monotonic(), run.engine.commits, 0
    for k in range(300):
        run.intake.put(lambda now: Samples.of([now], [0], [12.0], GOOD, now))
        if k % 50 == 0:
            await asyncio.sleep(0.005)
    await run.stop()
    elapsed_s, size = time.monotonic() - began, run.log.head(JOURNAL).bytes
    values = sum(len(entry) for entry in run.frames(JOURNAL) if isinstance(entry, Samples))
    assert values == 300
    # One at 100 ms, one at 64 KiB; the first, with the plan, and the last, with a checkpoint, beside them.
    assert run.engine.commits - before <= elapsed_s / 0.1 + size / 65_536 + 4


async def test_more_than_the_queue_holds_waits_and_nothing_is_lost(tmp_path):
    run = Running(tmp_path, queue_bytes=1 << 16)
    done = [await run.values(1000) for _ in range(20)]
    await asyncio.gather(*done)
    assert run.intake.waiting_bytes == 0
    assert sum(len(e) for e in run.frames(JOURNAL) if isinstance(e, Samples)) == 20_000
    await run.stop()


async def test_a_disk_that_fails_stops_acknowledging_and_goes_on_when_it_is_back(tmp_path, monkeypatch):
    real, broken = engine_module.write, [True]

    def write(*args: Any) -> Any:
        if broken[0]:
            raise sqlite3.OperationalError("database or disk is full")
        return real(*args)

    monkeypatch.setattr(engine_module, "write", write)
    run = Running(tmp_path)
    done = await run.values(10)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(done), 0.5)
    assert "full" in run.engine.write_error
    broken[0] = False
    await asyncio.wait_for(done, 10)
    assert run.engine.write_error == ""
    await run.stop()


async def test_a_full_outbox_sheds_others_values_first_and_says_which(tmp_path, monkeypatch):
    monkeypatch.setattr(engine_module, "HOUSEKEEPING_S", 0.1)
    run = Running(tmp_path, max_bytes=20_000, journal_bytes=1, quiet=True)
    # press1/force is GMP: its values stay, and in the end the sources are held back and an alarm says so.
    for _ in range(40):
        run.intake.put(batch)
        await asyncio.sleep(0.01)
    for _ in range(100):
        if run.engine.full:
            break
        await asyncio.sleep(0.05)
    assert run.engine.full
    offered = asyncio.ensure_future(run.values(1))
    await asyncio.sleep(0.2)
    assert not offered.done()
    offered.cancel()
    await run.stop()
    kept = sum(len(e) for e in run.frames(OUTBOX) if isinstance(e, Samples))
    assert kept == 20_000


async def test_what_was_shed_is_closed_by_a_gap_record(tmp_path, monkeypatch):
    monkeypatch.setattr(engine_module, "HOUSEKEEPING_S", 0.1)
    run = Running(tmp_path, max_bytes=30_000, journal_bytes=1, quiet=True)
    run.engine._never_shed[:] = False
    for _ in range(40):
        run.intake.put(batch)
        await asyncio.sleep(0.01)
    # What is shed last is declared a commit later: read until the account closes.
    for _ in range(600):
        through = run.log.head(OUTBOX).seq
        gaps = [r for r in run.frames(OUTBOX) if isinstance(r, Gap) and r.cause.startswith("abandoned")]
        gone = {seq for g in gaps for a, b in [g.cause.split()[1].split("..")] for seq in range(int(a), int(b) + 1)}
        there = {row.seq for row in run.log.read(OUTBOX, 0, max_bytes=1 << 30, max_rows=100_000)}
        if gone and not run.engine.full and gone | there >= set(range(1, through + 1)):
            break
        await asyncio.sleep(0.05)
    await run.stop()
    assert gone
    assert not gone & there
    assert gone | there >= set(range(1, through + 1))


async def test_stopping_makes_everything_offered_durable_and_a_restart_steps_nothing_again(tmp_path):
    run = Running(tmp_path)
    done = await run.values(50)
    await run.stop()
    await asyncio.wait_for(done, 5)
    recovered = recover(run.log)
    assert (recovered.restepped, recovered.differing) == (0, ())
    run.log.close()


async def test_an_acknowledgement_that_fails_keeps_no_other_from_being_told(tmp_path):
    run = Running(tmp_path)
    failures: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context["exception"]))

    def broken() -> None:
        raise OSError("the peer is gone")

    await run.intake.offer("plc", [Samples.of([run.clock()], [0], [12.0])], broken, None)
    await asyncio.wait_for(await run.values(5), 5)
    assert [str(f) for f in failures] == ["the peer is gone"]
    assert run.intake.waiting_bytes == 0
    await run.stop()


async def test_what_came_for_a_gap_is_no_gap_more(tmp_path):
    run = Running(tmp_path, quiet=True)
    now = run.clock()
    plan = start(now, models=(), alarms=())
    by_exception = msgspec.structs.replace(plan.tags[1], expected_s=None)
    run.intake.plan_anew(msgspec.structs.replace(plan, tags=(plan.tags[0], by_exception, *plan.tags[2:])))
    for tag in range(2):
        for kind in (Overflow, Filled):
            what = {"source": "plc", "tag": tag, "after_ns": now - 10**10, "before_ns": now} | ({"values": 4} if kind is Filled else {})
            run.intake.put(lambda at, kind=kind, what=what: kind(received_ns=at, **what))
    await run.stop()
    gaps = [r for r in run.frames(OUTBOX) if isinstance(r, Gap)]
    assert [g.filled for g in gaps] == [False, True] * 2
    assert (run.engine.gaps, run.engine.filled_values) == (2, -sum(g.missing for g in gaps if g.filled))
    assert run.engine.gap_values == sum(g.missing for g in gaps if not g.filled)


async def test_a_disk_that_fails_at_housekeeping_does_not_end_the_agent(tmp_path, monkeypatch):
    monkeypatch.setattr(engine_module, "HOUSEKEEPING_S", 0.05)
    run = Running(tmp_path)
    broken = [True]
    real = run.log.forget

    def forget(*args: Any) -> int:
        if broken[0]:
            raise sqlite3.OperationalError("database or disk is full")
        return real(*args)

    monkeypatch.setattr(run.log, "forget", forget)
    for _ in range(100):
        if run.engine.write_error:
            break
        await asyncio.sleep(0.05)
    assert run.engine.failed is None
    broken[0] = False
    await asyncio.wait_for(await run.values(5), 5)
    assert run.engine.failed is None
    await run.stop()


async def test_shed_summaries_are_declared_by_tag_also_after_a_death_in_between(tmp_path, monkeypatch):
    run = Running(tmp_path, quiet=True)
    rows = np.zeros(2, SUMMARY_DTYPE)
    rows["tag"], rows["start_ns"], rows["length_ns"], rows["n_good"], rows["n_late"] = [1, 1], [1000, 2000], 1000, [7, 5], [0, 1]
    await run.stop()
    run.log.commit([Append(OUTBOX, 4, encode(Summaries(rows)), shed=SHED_SUMMARY)])
    (gone,) = run.log.shed(OUTBOX, SHED_SUMMARY, 1, engine_module.abandonment)
    # Here the agent dies. The next one finds the note, journals the declaration and drops the note in the same commit.
    run.log.close()
    monkeypatch.setattr(engine_module, "HOUSEKEEPING_S", 0.05)
    again = Running(tmp_path, quiet=True)
    for _ in range(100):
        if not again.log.values("abandoned/"):
            break
        await asyncio.sleep(0.05)
    await again.stop()
    gaps = [r for r in again.frames(OUTBOX) if isinstance(r, Gap)]
    cause = f"abandoned {gone[0]}..{gone[1]}"
    assert [(g.tag, g.from_ns, g.to_ns, g.missing) for g in gaps if g.cause == cause][1:] == [(1, 1000, 3000, 13)]
    assert [g.tag for g in gaps if g.cause == cause] == [-1, 1]
