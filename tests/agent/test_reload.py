"""Another configuration while the agent runs: only what changed begins again, and a file with mistakes changes nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from edge_agent.agent.agent import Agent
from edge_agent.agent.commit import JOURNAL, OUTBOX, STREAMS
from edge_agent.agent.recovery import recover
from edge_agent.config.reload import changes_of
from edge_agent.core import AlarmEvent, Audit, Gap, Log, decode
from tests.agent.line import settings

LINE = """
edge: {site: demo, id: e1, data_dir: data}
sources:
  - {name: one, kind: csv, files: [one.csv], speed: 1}
  - {name: two, kind: csv, files: [two.csv], speed: 1}
tags:
  - {name: press1/force, source: one, unit: kN}
  - {name: press2/force, source: two, unit: kN}
alarms:
  - {name: press1/force.high, kind: limit, tag: press1/force, limit: 16, priority: 2}
http: {port: 0}
"""


def change(text: str, *pairs: tuple[str, str]) -> str:
    for old, new in pairs:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        (("limit: 16", "limit: 17"), "tags, models and alarms are planned anew"),
        (("one.csv", "three.csv"), "source one begins again"),
        (
            ("name: press1/force, source: one", "name: press1/force, decimals: 3, source: one"),
            "tags, models and alarms are planned anew",
        ),
        (
            ("source: two, unit: kN}", "source: two, unit: kN, address: x}"),
            "source two begins again; tags, models and alarms are planned anew",
        ),
        (("http: {port: 0}", "http: {port: 1}"), "begins anew because of http"),
        (("id: e1", "id: e2"), "begins anew because of edge"),
        (("http: {port: 0}", "http: {port: 0}\nwindows: {length_s: 20}"), "tags, models and alarms are planned anew"),
        (
            ("http: {port: 0}", "http: {port: 0}\nuplinks: [{name: s, kind: gateway, host: h, gateways: [g]}]"),
            "begins anew because of uplinks: other gateways confirm; uplink s begins",
        ),
    ],
)
def test_what_begins_again_is_what_a_change_concerns(tmp_path, pair, said):
    old = settings(tmp_path, LINE)
    assert changes_of(old, old).nothing
    assert changes_of(old, settings(tmp_path, change(LINE, pair))).words() == said


def rows(path: Path, tag: str, n: int = 500) -> None:
    path.write_text(f"time,{tag}\n" + "".join(f"2026-01-01T00:{i // 60:02}:{i % 60:02}Z,12\n" for i in range(n)))


@contextlib.asynccontextmanager
async def living(folder: Path) -> AsyncIterator[Agent]:
    rows(folder / "one.csv", "press1/force")
    rows(folder / "two.csv", "press2/force")
    agent = Agent(settings(folder, LINE), folder, file=folder / "agent.yaml")
    life = asyncio.create_task(agent.run())
    try:
        await until(life, lambda: len(agent._reading.status()) == 2 and all(s["values"] > 0 for s in agent._reading.status()))
        yield agent
    finally:
        life.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await life


async def until(life: asyncio.Task[None], condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            if life.done():
                life.result()
                raise AssertionError("the agent has ended")
            await asyncio.sleep(0.02)


def records(folder: Path) -> list[Any]:
    log = Log(folder / "data" / "edge.sqlite", STREAMS)
    found = [decode(row.data) for row in log.read(OUTBOX, 0, max_bytes=1 << 30, max_rows=100_000)]
    log.close()
    return found


async def test_only_what_changed_begins_again_and_nothing_of_the_rest_is_missing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    async with living(tmp_path) as agent:
        life = next(t for t in asyncio.all_tasks() if t.get_coro().__qualname__ == "Agent.run")  # type: ignore[union-attr]
        kept, other = agent._reading.runners
        new = change(LINE, ("limit: 16", "limit: 11"), ("name: two, kind: csv, files: [two.csv]", "name: three, kind: csv, files: [two.csv]"))
        (tmp_path / "agent.yaml").write_text(new.replace("source: two", "source: three"))
        agent.reload()
        await until(life, lambda: [r.name for r in agent._reading.runners] == ["one", "three"])
        assert agent._reading.runners[0] is kept
        assert kept.state.connects == 1
        assert other.state.state == "stopped"
        before = kept.state.values
        await until(life, lambda: kept.state.values > before + 1 and agent._reading.runners[1].state.values > 0)
        await until(life, lambda: any(s.alarm == "press1/force.high" for s in agent._engine.standing))
    told = records(tmp_path)
    assert [r.alarm for r in told if isinstance(r, AlarmEvent) and r.event == "raise"] == ["press1/force.high"], "the new limit holds"
    assert [r for r in told if isinstance(r, Gap) and r.tag == 0] == [], "of a source that went on nothing is missing"
    assert [r.reason for r in told if isinstance(r, Audit) and r.action == "reloaded"] == [
        "source two ends; source three begins; tags, models and alarms are planned anew"
    ]
    log = Log(tmp_path / "data" / "edge.sqlite", STREAMS)
    again = recover(log)
    assert log.head(JOURNAL).seq > 0
    assert (again.differing, again.unusable) == ((), ())
    log.close()


async def test_a_second_plan_goes_on_from_the_first_one_that_still_waits(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    async with living(tmp_path) as agent:
        life = next(t for t in asyncio.all_tasks() if t.get_coro().__qualname__ == "Agent.run")  # type: ignore[union-attr]
        held: list[Any] = []
        monkeypatch.setattr(agent._intake, "plan_anew", lambda start, follow=None: held.append(start))  # the pipeline gets to none of them
        for n, more in enumerate(("a", "b"), 1):
            agent.told = ""
            (tmp_path / "agent.yaml").write_text(change(LINE, ("alarms:\n", f"  - {{name: press1/{more}, source: one, unit: kN}}\nalarms:\n")))
            agent.reload()
            await until(life, lambda n=n: len(held) == n and agent.told.startswith("reloaded"))
        a, b = ({t.name: t.id for t in start.tags} for start in held)
        assert a["press1/a"] not in b.values() or b.get("press1/a") == a["press1/a"]
        assert b["press1/b"] not in a.values()


async def test_a_file_with_mistakes_changes_nothing_and_all_of_them_are_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    async with living(tmp_path) as agent:
        life = next(t for t in asyncio.all_tasks() if t.get_coro().__qualname__ == "Agent.run")  # type: ignore[union-attr]
        running, before = agent.settings, agent._reading.runners
        wrong = change(LINE, ("limit: 16", "limit: high"), ("source: two, unit: kN", "source: two, unt: kN"))
        (tmp_path / "agent.yaml").write_text(wrong)
        agent.reload()
        await until(life, lambda: agent.told == "reload refused, 2 mistakes")
        values = before[0].state.values
        await until(life, lambda: before[0].state.values > values + 1)
        assert agent.settings is running
        assert agent._reading.runners == before
    refused = [r.reason for r in records(tmp_path) if isinstance(r, Audit) and r.action == "reload_refused"]
    assert len(refused) == 1
    assert refused[0].startswith("2 mistakes, first: ")
