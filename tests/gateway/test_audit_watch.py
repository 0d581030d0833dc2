"""What the gateway writes by itself: each change once, also across restarts; faults stated and alarmed; heads signed and given."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from edge_agent.core import AlarmDefinition, AlarmEvent, Audit, Definitions, OperatorAction, Tag, encode
from edge_agent.core.signing import signing_key
from gateway.audit import FILE, Act, Actor, SignedHead, Trail, Wanted
from gateway.audit_verify import faults
from gateway.audit_watch import Watch
from gateway.journal import ALARM, AUDIT, DEFINITIONS, Entry, Journal, Outcome

NOW = 1_767_600_000_000_000_000
FORCE = Tag(id=0, name="press1/main_force", unit="kN")
HIGH = AlarmDefinition(name="press1/main_force.high", kind="limit", tag="press1/main_force", limit=16.0, priority=2)


class Life:
    """One run of a gateway over a folder."""

    def __init__(self, folder: Path, *, entries: int = 3, seconds: float = 1e9) -> None:
        self.folder = folder
        self.trail = Trail(folder, zone="UTC", version="0.1.0")
        self.journal = Journal(folder / "journal.sqlite")
        self.found: list[tuple[str, str]] = []
        self.watch = Watch(
            self.trail,
            folder,
            self.journal,
            signing_key(folder / "keys"),
            gateway="gw1",
            site="demo",
            anchor_entries=entries,
            anchor_s=seconds,
            clock=lambda: NOW,
            find=lambda name, why: self.found.append((name, why)),
            batch_at=lambda about, _: f"B7 of {about}",
        )

    def define(self, seq: int, definitions: Definitions) -> None:
        self.journal.apply([Entry("e1", 1, seq, DEFINITIONS, NOW, NOW, encode(definitions))])

    def told(self) -> list[tuple[str, str, str, str]]:
        return [(e["action"], e["object"], e["old"], e["new"]) for e in self.trail.entries()][::-1]

    def close(self) -> None:
        self.trail.close()
        self.journal.close()


@pytest.fixture
def life(tmp_path: Path) -> Iterator[Life]:
    made = Life(tmp_path)
    yield made
    made.close()


def definitions(config_hash: str, *alarms: AlarmDefinition) -> Definitions:
    return Definitions(
        received_ns=NOW, edge="e1", site="demo", simulated=True, config_hash=config_hash, software="0.1.0", tags=(FORCE,), alarms=alarms
    )


def test_the_gateways_own_configuration_key_by_key(life: Life) -> None:
    life.watch.configured({"http": {"port": 1}, "gateway": {"id": "gw1"}})
    life.watch.configured({"http": {"port": 1}, "gateway": {"id": "gw1"}})
    assert [(a, o, old) for a, o, old, _ in life.told()] == [("gateway_config", "gateway gw1", "")]
    life.watch.configured({"http": {"port": 2}, "gateway": {"id": "gw1"}})
    assert life.told()[1:] == [("gateway_config", "gateway gw1: http.port", "1", "2")]


def test_a_changed_limit_has_its_old_and_new_value(life: Life) -> None:
    life.define(1, definitions("aa", HIGH))
    life.watch.look()
    life.define(2, definitions("aa", HIGH))  # the edge started again
    life.define(3, definitions("bb", msgspec.structs.replace(HIGH, limit=17.5)))
    life.define(4, definitions("cc"))
    life.watch.look()
    alarm = "edge e1: alarm press1/main_force.high"
    told = life.told()
    assert told[:3] == [
        ("edge_config", "edge e1", "", "aa"),
        ("edge_config", "edge e1", "aa", "bb"),
        ("definition", alarm, "limit=16.0", "limit=17.5"),
    ]
    assert told[3] == ("edge_config", "edge e1", "bb", "cc")
    assert told[4][:2] == ("definition", alarm)
    assert "limit=17.5" in told[4][2]
    assert told[4][3] == ""
    assert life.trail.entries()[0]["reason"] == "removed"


def test_a_restart_neither_repeats_nor_leaves_out(life: Life, tmp_path: Path) -> None:
    life.define(1, definitions("aa", HIGH))
    life.watch.look()
    life.define(2, definitions("bb", HIGH))
    again = Life(tmp_path)
    again.watch.look()
    again.watch.look()
    assert [t[3] for t in again.told()] == ["aa", "bb"]
    again.close()


def test_refusals_of_the_edge_and_what_people_do_beside_the_line_are_told_once(life: Life, tmp_path: Path) -> None:
    occurrence = f"e1~{HIGH.name}~5"
    for id_ in ("here", "done"):
        action = OperatorAction(id=id_, kind="shelve", alarm=HIGH.name, raised_ns=5, user="wang", role="operator", station="10.0.0.7", time_ns=NOW)
        life.journal.apply(actions=[(action, "e1", occurrence)])

    def event(seq: int, word: str, id_: str, **more: str) -> None:
        made = AlarmEvent(
            alarm=HIGH.name, tag=FORCE.name, raised_ns=5, time_ns=NOW, received_ns=NOW, event=word, state_from="UNACK", state_to="SHLVD",
            priority=2, action_id=id_, **more,
        )  # fmt: skip
        row = Entry("e1", 1, seq, ALARM, NOW, NOW, encode(made), occurrence)
        life.journal.apply([row], settled={id_: Outcome(occurrence, word, more.get("reason", ""), NOW)} if id_ else {})

    event(1, "raise", "")
    event(2, "refuse", "here", user="wang", reason="shelving is for shift_lead")
    event(3, "suppress", "done", user="wang", overlay="shelved")  # the console's own entry tells of it already
    event(4, "acknowledge", "p1", user="li", role="operator", station="panel")
    event(5, "suppress", "p2", user="li", role="operator", station="opcua", overlay="shelved", second_user="chen")
    event(6, "refuse", "p3", user="li", role="operator", station="panel", reason="it is shelved already")
    again = Life(tmp_path)
    for watch in (life.watch, life.watch, again.watch):
        watch.look_at_alarms()
    again.close()
    found = life.trail.entries()[::-1]
    assert [(e["user"], e["station"], e["action"]) for e in found] == [
        ("wang", "10.0.0.7", "shelve_refused"),
        ("li", "panel", "acknowledge"),
        ("li", "opcua", "shelve"),
        ("li", "panel", "refused"),
    ]
    assert {(e["object"], e["batch"]) for e in found} == {(occurrence, f"B7 of {occurrence}")}
    assert found[0]["reason"].startswith("shelving is for shift_lead (at the edge 2026-")
    assert found[2]["new"] == "SHLVD, agreed by chen"


def test_a_mode_of_a_unit_has_its_batch(life: Life) -> None:
    made = Audit(time_ns=NOW, user="wang", role="maintenance", action="unit_mode", object="line/press1", new="cleaning")
    life.journal.apply([Entry("e1", 1, 1, AUDIT, NOW, NOW, encode(made))])
    life.watch.look_at_edges()
    (entry,) = life.trail.entries(Wanted(exceptions=True))
    assert (entry["action"], entry["batch"]) == ("unit_mode", "B7 of unit:e1/line/press1")


def test_a_fault_is_stated_once_and_raises_an_alarm_and_writing_goes_on(life: Life, tmp_path: Path) -> None:
    life.watch.configured({"a": 1})
    life.trail.append(Actor("wang", "operator"), [Act("acknowledge", "x"), Act("acknowledge", "y")], NOW)
    with closing(sqlite3.connect(tmp_path / FILE)) as db:
        db.execute("DROP TRIGGER entry_kept")
        db.execute("UPDATE entry SET body=replace(body, 'wang', 'chen') WHERE seq=2")
        db.commit()
    for _ in range(2):
        again = Life(tmp_path)
        again.watch.verify()
        assert again.found[0][0] == "audit_broken"
        assert "entry 2" in again.found[0][1]
        assert [t[0] for t in again.told()].count("audit_broken") == 1
        again.close()
    assert any("entry 2" in f for f in faults(tmp_path))


def test_heads_are_signed_after_entries_or_time_and_given_once_to_each_edge(life: Life, tmp_path: Path) -> None:
    sent: list[tuple[str, int]] = []

    def publish(topic: str, payload: bytes) -> None:
        sent.append((topic, msgspec.json.decode(payload, type=SignedHead).seq))

    wang = Actor("wang", "operator")
    life.trail.append(wang, Act("acknowledge", "1"), NOW)
    life.watch.give(life.watch.turn(), ["e1", "e2"], publish)
    assert sent == [("pharmedge/demo/e1/anchors/gw1", 1), ("pharmedge/demo/e2/anchors/gw1", 1)]
    for i in range(2):
        life.trail.append(wang, Act("acknowledge", str(i)), NOW)
        life.watch.give(life.watch.turn(), ["e1", "e2"], publish)
    assert len(sent) == 2
    life.trail.append(wang, Act("acknowledge", "4"), NOW)
    life.watch.give(life.watch.turn(), ["e1"], publish)
    assert sent[2:] == [("pharmedge/demo/e1/anchors/gw1", 4)]
    life.watch.disconnected()
    life.watch.give(life.watch.turn(), ["e1"], publish)
    assert sent[3:] == [("pharmedge/demo/e1/anchors/gw1", 4)]
    quick = Life(tmp_path, entries=1000, seconds=1e-9)
    quick.trail.append(wang, Act("acknowledge", "5"), NOW)
    head = quick.watch.turn()
    assert head is not None
    assert head.seq == 5
    quick.close()
    assert faults(tmp_path) == []


def test_what_an_edge_did_itself_is_written_down_once(life: Life, tmp_path: Path) -> None:
    def audit(seq: int, action: str, user: str = "pharmedge", role: str = "system") -> Entry:
        who = {"user": user, "role": role}
        why = "alarms[x].limit: 16 -> 18"
        item = Audit(time_ns=NOW - 10**9, action=action, object="configuration", old="a", new="b", reason=why, **who)
        return Entry("e1", 1, seq, AUDIT, NOW, NOW, encode(item))

    life.journal.apply([audit(1, "audit_head"), audit(2, "config_refused"), audit(3, "model_approved", "zhao", "quality"), audit(4, "audit_head")])
    life.watch.look_at_edges()
    life.watch.look_at_edges()
    assert life.told() == [("config_refused", "edge e1: configuration", "a", "b"), ("model_approved", "edge e1: configuration", "a", "b")]
    newest, oldest = life.trail.entries()
    assert (newest["user"], newest["role"], oldest["user"], oldest["station"]) == ("zhao", "quality", "edge e1", "e1")
    assert oldest["reason"] == "alarms[x].limit: 16 -> 18 (at the edge 2026-01-05T07:59:59.000Z)"
    life.close()
    again = Life(tmp_path)
    again.journal.apply([audit(5, "config_applied")])
    again.watch.look_at_edges()
    assert [told[0] for told in again.told()] == ["config_refused", "model_approved", "config_applied"]
    again.close()
