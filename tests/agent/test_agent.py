"""A whole agent: its epochs, its own alarm about them, and a life behind a journal that cannot be read."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
from typing import Any

import pytest

from edge_agent.agent import opening
from edge_agent.agent.agent import Agent
from edge_agent.agent.commit import JOURNAL, OUTBOX, STREAMS
from edge_agent.agent.identity import ALARM, new_epoch
from edge_agent.config import start_of
from edge_agent.core import AlarmEvent, Append, Audit, Heartbeat, Log, WireError, decode, encode
from tests.agent.line import settings
from tests.agent.test_reload import records, until


def test_epochs_only_grow() -> None:
    now = new_epoch(0)
    assert new_epoch(now) > now
    assert new_epoch(now + 10**9) == now + 10**9 + 1
    assert now < 2**53


def test_the_alarm_about_the_identity_is_defined_on_every_edge(tmp_path):
    assert ALARM in {a.name for a in start_of(settings(tmp_path), 0).alarms}


@pytest.mark.parametrize("error", [WireError("actions: Invalid enum value 'ponder'"), ValueError("shape"), KeyError("part")])
async def test_a_journal_that_cannot_be_stepped_again_is_set_aside_and_told(tmp_path, monkeypatch, error):
    (tmp_path / "values.csv").write_text("time,press1/force\n2026-01-01T00:00:00Z,12\n")
    path = tmp_path / "data" / "edge.sqlite"
    path.parent.mkdir()
    log = Log(path, STREAMS)
    log.commit([Append(JOURNAL, 1, encode(Heartbeat(received_ns=1)))])
    log.close()
    recovered = opening.recover

    def as_another_release_wrote_it(log: Log) -> Any:
        if log.head(JOURNAL).seq:
            raise error
        return recovered(log)

    monkeypatch.setattr(opening, "recover", as_another_release_wrote_it)
    agent = Agent(settings(tmp_path), tmp_path)
    life = asyncio.create_task(agent.run())
    await until(life, lambda: bool(agent._reading.runners) and agent._engine.pipeline.started)
    life.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await life
    assert [p.name for p in path.parent.glob("edge.sqlite.damaged-*") if not p.name.endswith(("-wal", "-shm"))]
    (told,) = [r for r in records(tmp_path) if isinstance(r, Audit) and r.action == "log_set_aside"]
    assert told.reason == f"the journal cannot be stepped again: {type(error).__name__}: {error}"


async def test_a_journal_row_that_rotted_does_not_keep_the_line_from_being_watched(tmp_path):
    (tmp_path / "values.csv").write_text("time,press1/force\n" + "".join(f"2026-01-01T00:00:{i:02}Z,12\n" for i in range(40)))
    config = settings(tmp_path)

    async def lived(seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds, os.kill, os.getpid(), signal.SIGTERM)
        await Agent(config, tmp_path).run()

    await lived(1.5)
    path = tmp_path / "data" / "edge.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("DELETE FROM value WHERE key LIKE 'checkpoint/%'")
        db.execute("UPDATE journal SET data=zeroblob(40) WHERE seq=3")
    db.close()
    await lived(1.5)
    aside = list((tmp_path / "data").glob("edge.sqlite.damaged-*"))
    assert len([p for p in aside if not p.name.endswith(("-wal", "-shm"))]) == 1
    log = Log(path, STREAMS)
    records: list[Any] = [decode(row.data) for row in log.read(OUTBOX, 0, max_bytes=1 << 30, max_rows=10_000)]
    assert ("edge/log_damaged", "raise") in [(r.alarm, r.event) for r in records if isinstance(r, AlarmEvent)]
    log.close()
