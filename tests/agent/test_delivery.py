"""What uplinks have delivered and bring back: what is safe to forget, whose numbers these are, what a gateway asks again and again."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import msgspec

from edge_agent.agent.commit import OUTBOX, STREAMS
from edge_agent.agent.delivery import Delivery, away_of
from edge_agent.agent.identity import Identity
from edge_agent.agent.intake import Intake
from edge_agent.alarms.standing import Standing
from edge_agent.core import AlarmEvent, Append, Audit, Catalogue, Log, LogError, OperatorAction, Samples
from edge_agent.core.log import Held
from edge_agent.core.record import LANE_ALARM
from edge_agent.core.wire import KINDS
from edge_agent.uplinks.syslog import SyslogConfig
from tests.agent.line import CONFIG, settings

UPLINK = "uplinks:\n  - {{name: site, kind: gateway, host: 127.0.0.1, port: 1, gateways: [gw1], required: {required}}}\n"


class Edge:
    """The parts of an agent that delivery is about."""

    def __init__(self, folder: Path, required: str = "true") -> None:
        self.settings, self.folder = settings(folder, CONFIG + UPLINK.format(required=required)), folder
        self.log = Log(folder / "edge.sqlite", STREAMS)
        self.identity = Identity(self.log)
        self.intake = Intake(lambda: 1, Catalogue([]), 1 << 20)  # type: ignore[arg-type]

    def delivery(self) -> Delivery:
        return Delivery(self.settings, self.log, self.identity, self.intake, self.folder, lambda: 1)


def test_records_are_forgotten_when_the_only_uplink_has_them_although_it_is_not_required(tmp_path):
    one = Edge(tmp_path, required="false")
    one.log.commit(cursors={"uplink/site": 17})
    assert one.delivery().safe_through() == 17


def test_a_log_server_says_nothing_of_what_is_safe_and_is_held_its_own_part(tmp_path):
    one = Edge(tmp_path, required="false")
    siem = SyslogConfig.model_validate({"kind": "syslog", "name": "siem", "host": "h", "alarms": True})
    one.log.commit(cursors={"uplink/siem": 17, "uplink/site": 4})
    both = one.settings
    for uplinks, safe in (((siem,), 0), ((siem.model_copy(update={"required": True}),), 0), ((siem, *both.uplinks), 4)):
        one.settings = both.model_copy(update={"uplinks": uplinks})
        assert one.delivery().safe_through() == safe
    assert one.delivery().held() == [Held("siem", frozenset({KINDS[Audit], KINDS[AlarmEvent]}), 17, 16_000_000)]
    siem = siem.model_copy(update={"required": True, "alarms": False})
    one.settings = both.model_copy(update={"uplinks": (siem,)})
    assert one.delivery().held() == [Held("siem", frozenset({KINDS[Audit]}), 17, None)]


def test_each_uplink_has_a_backlog_of_its_own_and_a_log_server_s_is_what_it_is_sent(tmp_path):
    one = Edge(tmp_path)
    siem = SyslogConfig.model_validate({"kind": "syslog", "name": "siem", "host": "h"})
    one.settings = one.settings.model_copy(update={"uplinks": (*one.settings.uplinks, siem)})
    audit, samples = Append(OUTBOX, KINDS[Audit], b"a", LANE_ALARM), Append(OUTBOX, KINDS[Samples], b"s")
    one.log.commit([audit, samples, samples, audit, samples, samples])
    one.log.commit(cursors={"uplink/site": 5, "uplink/siem": 1})
    delivery = one.delivery()
    assert (delivery.behind("site"), delivery.behind("siem")) == (1, 1)
    one.log.forget(OUTBOX, 5, delivery.held())
    delivery.count()
    assert one.log.head(OUTBOX).rows == 2  # entry 4, held for the log server, and what is new
    assert (delivery.behind("site"), delivery.behind("siem")) == (1, 1)
    one.log.commit([samples] * 10)
    delivery.count()
    assert (delivery.behind("site"), delivery.behind("siem")) == (11, 1)


def test_asking_for_a_backlog_reads_nothing_and_an_outbox_that_cannot_be_read_leaves_the_last_figure(tmp_path, monkeypatch):
    one = Edge(tmp_path)
    one.log.commit([Append(OUTBOX, KINDS[Samples], b"s")] * 3)
    delivery = one.delivery()
    for error in (LogError("edge.sqlite: log: expected a readable database"), sqlite3.OperationalError("disk I/O error")):

        def unreadable(*_: Any, error: Exception = error) -> Any:
            raise error

        monkeypatch.setattr(one.log, "_query", unreadable)
        delivery.count()
        assert delivery.behind("site") == 3
    monkeypatch.undo()
    one.log.commit([Append(OUTBOX, KINDS[Samples], b"s")])
    assert delivery.behind("site") == 3
    delivery.count()
    assert (delivery.behind("site"), delivery.behind("unheard of")) == (4, 0)


def noted(one: Edge) -> list[Any]:
    return [entry for offered in one.intake.take(0) for entry in offered.entries]


def test_a_contested_edge_begins_a_greater_epoch_keeps_all_it_has_and_says_so_until_it_is_confirmed(tmp_path):
    one = Edge(tmp_path)
    one.log.commit([Append(OUTBOX, 1, bytes([i])) for i in range(10)])
    one.identity.begin([], [4], one.intake.put)
    noted(one)
    before = one.identity.epochs
    port = one.delivery().port("site")
    port.part(6, before.current + 5, "another life")
    assert one.identity.epochs.begins == ((0, before.current), (7, one.identity.epochs.current))
    assert one.identity.epochs.current > before.current + 5
    reopened = Log(tmp_path / "edge.sqlite", STREAMS)
    assert Identity(reopened).epochs == one.identity.epochs
    assert [row.seq for row in reopened.read(OUTBOX, 0)] == list(range(1, 11))
    note, raised = noted(one)
    assert (note.action, note.reason) == ("new_epoch", "another life; from record 7 on")
    assert (raised.alarm, raised.active) == ("edge/identity", True)
    port.moved(10)
    assert noted(one) == [], "nothing that was made since has been confirmed"
    port.moved(11)
    assert [(e.alarm, e.active) for e in noted(one)] == [("edge/identity", False)]


def test_a_disk_could_be_a_copy_until_a_gateway_has_proven_otherwise_each_for_itself(tmp_path):
    one = Edge(tmp_path)
    both = [("site", "gw1"), ("site", "gw2")]
    one.log.commit([Append(OUTBOX, 1, bytes([i])) for i in range(3)])
    one.identity.begin(both, [], one.intake.put)
    port = one.delivery().port("site")
    assert (port.apart("gw1"), port.apart("gw2")) == (3, 3)
    port.settled("gw1")
    one.log.commit([Append(OUTBOX, 1, bytes([i])) for i in range(2)])
    one.identity.begin(both, [], one.intake.put)  # the next start
    assert (port.apart("gw1"), port.apart("gw2")) == (5, 3)


def test_what_each_gateway_asks_and_gives_is_taken_once_however_often_it_is_shown(tmp_path):
    one = Edge(tmp_path)
    port = one.delivery().port("site")
    first, second = (OperatorAction(id=id_, kind="acknowledge", alarm="x.high", raised_ns=5, user="li", time_ns=6) for id_ in ("a1", "b1"))
    for _ in range(3):
        port.acted("gw1", (first,))
        port.acted("gw2", (second,))
        port.anchored("gw1", "audit_head", '{"seq":7}')
        port.anchored("gw2", "audit_head", '{"seq":3}')
    assert [getattr(e, "action", None) for e in noted(one)] == [first, second, "audit_head", "audit_head"]


def test_a_source_is_away_while_its_alarm_is_met_also_under_a_suppression() -> None:
    one = Standing(
        alarm="source/plc.disconnected", tag="", state="SHLVD", suppression=1, priority=4, advisory=True, raised_ns=1, last_ns=1, value=None,
        limit=None, unit="", explanation="",
    )  # fmt: skip
    measured = {"plc": frozenset({0, 2}), "oven": frozenset({1})}
    assert away_of([one], measured) == {0, 2}
    assert away_of([msgspec.structs.replace(one, met=False)], measured) == frozenset()
    assert away_of([msgspec.structs.replace(one, alarm="source/oven.disconnected"), one], measured) == {0, 1, 2}
