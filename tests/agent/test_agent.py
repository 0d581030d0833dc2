"""What the composition root decides: identity, what is safe to forget, and what to do with a journal that cannot be read."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from edge_agent.agent.agent import Agent
from edge_agent.agent.commit import OUTBOX, STREAMS
from edge_agent.agent.identity import ALARM, Identity, new_epoch
from edge_agent.agent.intake import Intake
from edge_agent.config import start_of
from edge_agent.core import AlarmEvent, Append, Catalogue, Log, OperatorAction, decode
from tests.agent.line import CONFIG, settings

UPLINK = "uplinks:\n  - {{name: site, kind: gateway, host: 127.0.0.1, port: 1, gateways: [gw1], required: {required}}}\n"


def agent(folder: Path, required: str = "true") -> Agent:
    made = Agent(settings(folder, CONFIG + UPLINK.format(required=required)), folder)
    made._log = Log(folder / "edge.sqlite", STREAMS)
    made._identity = Identity(made._log)
    made._beside = SimpleNamespace(people_came=None)  # type: ignore[assignment]
    made._approving = SimpleNamespace(take=None)  # type: ignore[assignment]
    made._start = SimpleNamespace(tags=())  # type: ignore[assignment]
    made._intake = Intake(lambda: 1, Catalogue([]), 1 << 20)  # type: ignore[arg-type]
    return made


def test_epochs_only_grow() -> None:
    now = new_epoch(0)
    assert new_epoch(now) > now
    assert new_epoch(now + 10**9) == now + 10**9 + 1
    assert now < 2**53


def test_records_are_forgotten_when_the_only_uplink_has_them_although_it_is_not_required(tmp_path):
    one = agent(tmp_path, required="false")
    one._delivered = {"site": 17}
    assert one._safe_through() == 17


def noted(one: Agent) -> list[Any]:
    return [entry for offered in one._intake.take(0) for entry in offered.entries]


def test_a_contested_edge_begins_a_greater_epoch_keeps_all_it_has_and_says_so_until_it_is_confirmed(tmp_path):
    one = agent(tmp_path)
    one._delivered = {"site": 4}
    one._log.commit([Append(OUTBOX, 1, bytes([i])) for i in range(10)])
    one._identity.begin([], [4], one._intake.put)
    noted(one)
    before = one._identity.epochs
    port = one._port("site", lambda: 1)  # type: ignore[arg-type]
    port.part(6, before.current + 5, "another life")
    assert one._identity.epochs.begins == ((0, before.current), (7, one._identity.epochs.current))
    assert one._identity.epochs.current > before.current + 5
    reopened = Log(tmp_path / "edge.sqlite", STREAMS)
    assert Identity(reopened).epochs == one._identity.epochs
    assert [row.seq for row in reopened.read(OUTBOX, 0)] == list(range(1, 11))
    note, raised = noted(one)
    assert (note.action, note.reason) == ("new_epoch", "another life; from record 7 on")
    assert (raised.alarm, raised.active) == ("edge/identity", True)
    port.moved(10)
    assert noted(one) == [], "nothing that was made since has been confirmed"
    port.moved(11)
    assert [(e.alarm, e.active) for e in noted(one)] == [("edge/identity", False)]


def test_a_disk_could_be_a_copy_until_a_gateway_has_proven_otherwise_each_for_itself(tmp_path):
    one = agent(tmp_path)
    both = [("site", "gw1"), ("site", "gw2")]
    one._log.commit([Append(OUTBOX, 1, bytes([i])) for i in range(3)])
    one._identity.begin(both, [], one._intake.put)
    port = one._port("site", lambda: 1)  # type: ignore[arg-type]
    assert (port.apart("gw1"), port.apart("gw2")) == (3, 3)
    port.settled("gw1")
    one._log.commit([Append(OUTBOX, 1, bytes([i])) for i in range(2)])
    one._identity.begin(both, [], one._intake.put)  # the next start
    assert (port.apart("gw1"), port.apart("gw2")) == (5, 3)


def test_what_each_gateway_asks_and_gives_is_taken_once_however_often_it_is_shown(tmp_path):
    one = agent(tmp_path)
    port = one._port("site", lambda: 1)  # type: ignore[arg-type]
    first, second = (OperatorAction(id=id_, kind="acknowledge", alarm="x.high", raised_ns=5, user="li", time_ns=6) for id_ in ("a1", "b1"))
    for _ in range(3):
        port.acted("gw1", (first,))
        port.acted("gw2", (second,))
        port.anchored("gw1", "audit_head", '{"seq":7}')
        port.anchored("gw2", "audit_head", '{"seq":3}')
    assert [getattr(e, "action", None) for e in noted(one)] == [first, second, "audit_head", "audit_head"]


def test_the_alarm_about_the_identity_is_defined_on_every_edge(tmp_path):
    assert ALARM in {a.name for a in start_of(settings(tmp_path), 0).alarms}


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
