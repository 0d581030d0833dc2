"""What the composition root decides: identity, what is safe to forget, and what to do with a journal that cannot be read."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
from pathlib import Path
from typing import Any

from edge_agent.agent.agent import APART, Agent, _new_epoch
from edge_agent.agent.commit import OUTBOX, STREAMS
from edge_agent.agent.intake import Intake
from edge_agent.core import Abandoned, AlarmEvent, Append, Catalogue, Log, Note, Ranges, decode
from tests.agent.line import CONFIG, settings

UPLINK = "uplinks:\n  - {{name: site, kind: gateway, host: 127.0.0.1, port: 1, gateways: [gw1], required: {required}}}\n"


def agent(folder: Path, required: str = "true") -> Agent:
    made = Agent(settings(folder, CONFIG + UPLINK.format(required=required)), folder)
    made._log = Log(folder / "edge.sqlite", STREAMS)
    made._epoch = made._epoch_of(made._log)
    made._intake = Intake(lambda: 1, Catalogue([]), 1 << 20)  # type: ignore[arg-type]
    return made


def test_epochs_only_grow() -> None:
    now = _new_epoch(0)
    assert _new_epoch(now) > now
    assert _new_epoch(now + 10**9) == now + 10**9 + 1
    assert now < 2**53


def test_records_are_forgotten_when_the_only_uplink_has_them_although_it_is_not_required(tmp_path):
    one = agent(tmp_path, required="false")
    one._delivered = {"site": 17}
    assert one._safe_through() == 17


def test_a_copied_disk_begins_a_greater_epoch_in_one_step_and_keeps_what_it_made_itself(tmp_path):
    one = agent(tmp_path)
    one._log.commit([Append(OUTBOX, 1, bytes([i])) for i in range(10)], values={APART: b"6"})
    before = one._epoch
    one._ahead(Ranges([(1, 4), (6, 40)]))
    assert one._epoch > before
    reopened = Log(tmp_path / "edge.sqlite", STREAMS)
    assert int(reopened.value("epoch") or b"0") == one._epoch
    assert [row.seq for row in reopened.read(OUTBOX, 0)] == [7, 8, 9, 10]
    entries = [entry for offered in one._intake.take(0) for entry in offered.entries]
    assert [e.action for e in entries if isinstance(e, Note)] == ["new_epoch"]
    assert [(e.first, e.last) for e in entries if isinstance(e, Abandoned)] == [(5, 5)]


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
