"""What is forgotten and when: never what a restart or an uplink still needs, and nothing is written when nothing moved."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edge_agent.agent import engine as engine_module
from edge_agent.agent.commit import CHECKPOINTS, JOURNAL, OUTBOX, STREAMS, checkpoint_position
from edge_agent.agent.recovery import recover
from edge_agent.core import Append, Audit, Diagnostic, Log, encode, pack
from edge_agent.core.log import Held
from edge_agent.core.wire import KINDS
from tests.agent.test_engine import Running


@pytest.fixture(autouse=True)
def _no_housekeeping_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "HOUSEKEEPING_S", 3600.0)
    left_on_disk(monkeypatch, 1 << 40)


def left_on_disk(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(engine_module.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))


STANDING = ("edge/outbox_filling", "edge/outbox_full", "edge/outbox_nearly_full")


def moving(run: Running, through: int) -> None:
    """An uplink has delivered up to a number."""
    run.engine._safe_through = lambda: through
    run.engine._cursors = lambda: {"uplink/site": through}


async def test_housekeeping_writes_only_when_a_cursor_moved(tmp_path, monkeypatch):
    run = Running(tmp_path)
    await (await run.values(10))
    await run.stop()
    committed: list[dict[str, int]] = []
    real = run.log.commit

    def commit(*args: Any, **keys: Any) -> Any:
        committed.append(dict(keys.get("cursors") or {}))
        return real(*args, **keys)

    monkeypatch.setattr(run.log, "commit", commit)
    wal = tmp_path / "edge.sqlite-wal"
    moving(run, 3)
    run.engine._keep_house()
    assert committed == [{"uplink/site": 3}]
    size, stamp = wal.stat().st_size, wal.stat().st_mtime_ns
    for _ in range(5):
        run.engine._keep_house()
    assert (len(committed), wal.stat().st_size, wal.stat().st_mtime_ns) == (1, size, stamp)
    moving(run, 4)
    run.engine._keep_house()
    assert committed[1:] == [{"uplink/site": 4}]


async def test_nothing_is_forgotten_beyond_a_durable_cursor(tmp_path, monkeypatch):
    run = Running(tmp_path)
    await (await run.values(10))
    await run.stop()
    head = run.log.head(OUTBOX).seq
    moving(run, head)
    seen: list[tuple[int, int]] = []
    real = run.log.forget

    def forget(stream: str, through: int, held: Sequence[Held] = ()) -> int:
        if stream == OUTBOX:
            with sqlite3.connect(tmp_path / "edge.sqlite") as db:  # what a power cut here would leave
                seen.append((through, *db.execute("SELECT seq FROM cursor WHERE name='uplink/site'").fetchone()))
            db.close()
        return real(stream, through, held)

    monkeypatch.setattr(run.log, "forget", forget)
    run.engine._keep_house()
    assert seen == [(head, head)]
    assert run.log.first(OUTBOX) == head + 1


async def test_a_cursor_that_cannot_be_kept_forgets_nothing(tmp_path, monkeypatch):
    run = Running(tmp_path)
    await (await run.values(10))
    await run.stop()
    moving(run, run.log.head(OUTBOX).seq)

    def commit(*args: Any, **keys: Any) -> Any:
        raise sqlite3.OperationalError("disk I/O error")

    first = run.log.first(OUTBOX)
    monkeypatch.setattr(run.log, "commit", commit)
    with pytest.raises(sqlite3.OperationalError):
        run.engine._keep_house()
    assert run.log.first(OUTBOX) == first


async def test_the_journal_is_never_trimmed_past_the_older_checkpoint(tmp_path):
    run = Running(tmp_path, journal_bytes=1, checkpoint_s=3600.0)
    for _ in range(5):
        await (await run.values(200))
        await asyncio.sleep(0)
    moving(run, run.log.head(OUTBOX).seq)
    run.engine._keep_house()
    positions = [checkpoint_position(d)[0] for n in CHECKPOINTS if (d := run.log.value(n))]
    assert run.log.first(JOURNAL) <= min(positions, default=0) + 1
    assert run.log.head(JOURNAL).seq > max(positions)
    # Here it dies: what stands behind the checkpoint is still there to be stepped again.
    dead = tmp_path / "dead"
    dead.mkdir()
    with sqlite3.connect(tmp_path / "edge.sqlite") as db, sqlite3.connect(dead / "edge.sqlite") as copy:
        db.backup(copy)
    found = recover(Log(dead / "edge.sqlite", STREAMS))
    await run.stop()
    assert found.differing == ()
    assert pack(found.pipeline.state()["screen"]) == pack(run.engine.pipeline.state()["screen"])


def said(run: Running) -> list[tuple[bool, str]]:
    entries = [entry for offered in run.intake.take(0) for entry in offered.entries]
    return [(entry.active, entry.alarm) for entry in entries if isinstance(entry, Diagnostic)]


async def test_audit_entries_wait_for_a_log_server_when_all_else_is_forgotten_and_a_loss_is_an_alarm(tmp_path):
    run = Running(tmp_path)
    await (await run.values(10))
    await run.stop()
    entry = encode(Audit(time_ns=1, user="li", role="engineer", action="unit_mode", object="press1"))
    kind = KINDS[Audit]
    run.log.commit([Append(OUTBOX, kind, entry) for _ in range(5)])
    head = run.log.head(OUTBOX).seq
    moving(run, head)
    held = Held("siem", frozenset({kind}), head - 4, 4 * len(entry))
    run.engine._held = lambda: [held]
    said(run)
    run.engine._keep_house()
    assert [row.seq for row in run.log.read(OUTBOX, 0)] == list(range(head - 3, head + 1))
    assert said(run) == [(False, "edge/audit_unsent")]
    run.engine._keep_house()
    assert said(run) == []
    held = replace(held, max_bytes=3 * len(entry))
    run.engine._keep_house()
    assert [row.seq for row in run.log.read(OUTBOX, 0)] == list(range(head - 2, head + 1))
    assert said(run) == [(True, "edge/audit_unsent")]
    assert run.log.cursor("given_up/siem") == head - 3
    wal = tmp_path / "edge.sqlite-wal"
    size, stamp = wal.stat().st_size, wal.stat().st_mtime_ns
    assert run.engine.given_up == {"siem": 1}
    run.engine._keep_house()
    assert run.engine.given_up == {"siem": 1}
    assert said(run) == [], "it stands until the log server has what follows"
    assert (wal.stat().st_size, wal.stat().st_mtime_ns) == (size, stamp)
    held = replace(held, after=head)
    run.engine._keep_house()
    assert said(run) == [(False, "edge/audit_unsent")]
    assert run.log.first(OUTBOX) == head + 1


async def test_somebody_is_told_before_there_is_no_more_room_and_when_there_is_again(tmp_path):
    run = Running(tmp_path, max_bytes=100_000, quiet=True)
    await run.stop()
    moving(run, 0)
    run.engine._held = list
    said(run)

    def waiting(size: int) -> list[tuple[bool, str]]:
        run.log.commit([Append(OUTBOX, KINDS[Audit], bytes(size))])
        run.engine._keep_house()
        return said(run)

    assert waiting(60_000) == []
    assert waiting(11_000) == [(True, "edge/outbox_filling")]
    assert waiting(10_000) == []
    assert waiting(10_000) == [(True, "edge/outbox_nearly_full")]
    assert waiting(10_000) == [(True, "edge/outbox_full")]
    moving(run, run.log.head(OUTBOX).seq)
    found = waiting(1)  # forgotten only now: some of it is seen at the next look
    run.engine._keep_house()
    assert sorted(found + said(run)) == [(False, "edge/outbox_filling"), (False, "edge/outbox_full"), (False, "edge/outbox_nearly_full")]


async def restarted(folder: Path, *standing: str, **outbox: Any) -> Running:
    """An edge behind a restart, in whose life before these alarms were raised; its threads have ended, the test keeps house."""
    before = Running(folder, quiet=True, edge_alarms=standing)
    for name in standing:
        before.intake.put(lambda now, name=name: Diagnostic(received_ns=now, alarm=name, active=True))  # type: ignore[misc]
    await before.stop()
    before.log.close()
    run = Running(folder, quiet=True, edge_alarms=standing, **outbox)
    await run.stop()
    moving(run, 0)
    run.engine._held = list
    said(run)
    return run


async def test_an_outbox_that_was_full_before_a_restart_is_told_to_have_room_again(tmp_path):
    run = await restarted(tmp_path, *STANDING)
    run.engine.standing = []  # as long as nothing has come round to the event loop
    run.engine._keep_house()
    assert sorted(said(run)) == [(False, name) for name in STANDING]
    run.engine._keep_house()
    assert said(run) == []


async def test_an_outbox_that_was_full_before_a_restart_and_still_is_holds_the_sources_back(tmp_path):
    run = await restarted(tmp_path, *STANDING, max_bytes=100_000)
    run.log.commit([Append(OUTBOX, KINDS[Audit], bytes(200_000))])
    run.engine._keep_house()
    assert run.engine.full
    offered = asyncio.ensure_future(run.values(1))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not offered.done(), "sources wait"
    run.engine._keep_house()
    moving(run, run.log.head(OUTBOX).seq)
    said(run)
    run.engine._keep_house()
    assert (not run.engine.full, (False, "edge/outbox_full") in said(run)) == (True, True)
    await asyncio.wait_for(offered, 30)


async def test_what_the_file_holds_no_more_is_room_again_on_a_small_disk(tmp_path, monkeypatch):
    run = await restarted(tmp_path, max_bytes=1_000_000)
    for _ in range(20):
        run.log.commit([Append(OUTBOX, KINDS[Audit], bytes(40_000))])
    left_on_disk(monkeypatch, 50_000)
    run.engine._keep_house()
    assert said(run) == [(True, "edge/outbox_filling"), (True, "edge/outbox_nearly_full")]
    moving(run, run.log.head(OUTBOX).seq)
    run.engine._keep_house()  # forgotten only now: it is seen at the next look
    assert said(run) == []
    assert run.log.reusable_bytes > 700_000
    run.engine._keep_house()
    assert said(run) == [(False, "edge/outbox_filling"), (False, "edge/outbox_nearly_full")]


async def test_backlogs_are_counted_with_the_house_kept(tmp_path):
    run = await restarted(tmp_path)
    counted: list[int] = []
    run.engine._count_now = lambda: counted.append(run.log.first(OUTBOX))
    moving(run, run.log.head(OUTBOX).seq)
    run.engine._keep_house()
    assert counted == [run.log.head(OUTBOX).seq + 1], "what is left when the rest is forgotten"
