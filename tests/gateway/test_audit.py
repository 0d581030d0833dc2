"""The audit trail: vectors, durability, and every way of tampering with it found and named."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.core import Audit, encode
from edge_agent.core.signing import signing_key
from gateway.audit import FILE, Act, Actor, AuditError, SignedHead, Trail, Wanted, canonical, chained, read_heads
from gateway.audit_verify import ANCHOR, faults, heads_in
from gateway.journal import AUDIT, Entry, Journal
from gateway.journal import FILE as JOURNAL
from gateway.manifest import GENESIS

NOW = 1_767_600_000_000_000_000
WANG = Actor("wang", "operator", "Wang Li", "127.0.0.1")


def test_the_published_vectors() -> None:
    one = {
        "action": "ACK",
        "new": "ACK",
        "obj": "TT101.HI",
        "old": "UNACK",
        "reason": "seen",
        "seq": 1,
        "ts": "2026-01-05T08:00:00.000Z",
        "user": "op1",
    }
    two = {
        "action": "SHELVE",
        "new": "3600",
        "obj": "TT101.HI",
        "old": "",
        "reason": "传感器校准",
        "seq": 2,
        "ts": "2026-01-05T08:00:05.000Z",
        "user": "op1",
    }
    first = chained(GENESIS, canonical(one))
    assert first.hex() == "5a1572ffe424e02f3a6ba508979d3b7330dd463d281e6844f5f8fd1262932c3c"
    assert chained(first, canonical(two)).hex() == "18251eea3a2c387250149e3166f3d5b92012c0fe0fd21f8e4ac7fb44a6e46fc0"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten entries; heads signed after the fourth and the tenth."""
    trail = Trail(tmp_path, zone="Asia/Shanghai", version="0.1.0")
    key = signing_key(tmp_path / "keys")
    for i in range(10):
        trail.append(WANG, Act("acknowledge", f"alarm {i}", "UNACK", "asked", "seen" if i % 2 else "看到"), NOW + i * 10**9)
        if i in (3, 9):
            assert trail.sign(key, NOW + i * 10**9) is not None
    assert trail.sign(key, NOW) is None
    trail.close()
    return tmp_path


@pytest.fixture
def trail(folder: Path) -> Iterator[Trail]:
    made = Trail(folder, zone="Asia/Shanghai", version="0.1.0")
    yield made
    made.close()


def edit(folder: Path, change: Callable[[sqlite3.Connection], object]) -> None:
    """Change the file as its owner can: the triggers do not hold them."""
    with closing(sqlite3.connect(folder / FILE)) as db:
        db.executescript("DROP TRIGGER entry_kept; DROP TRIGGER entry_stays;")
        change(db)
        db.commit()


def rechain(db: sqlite3.Connection, change: Callable[[dict[str, object]], object] = lambda _: None) -> None:
    last = GENESIS
    for seq, body in db.execute("SELECT seq, body FROM entry ORDER BY seq").fetchall():
        entry = json.loads(body)
        change(entry)
        last = hashlib.sha256(last + canonical(entry)).digest()
        db.execute("UPDATE entry SET body=?, hash=? WHERE seq=?", (canonical(entry).decode(), last, seq))


def test_an_untouched_trail_has_no_fault(folder: Path) -> None:
    assert faults(folder) == []


def test_an_entry_says_who_when_what_and_why(trail: Trail) -> None:
    entry = trail.entries(Wanted(object="alarm 0"))[0]
    assert (entry["seq"], entry["ts"]) == (1, "2026-01-05T08:00:00.000Z")
    assert (entry["local"], entry["tz"]) == ("2026-01-05 16:00:00.000", "Asia/Shanghai +08:00")
    assert (entry["user"], entry["role"], entry["old"], entry["new"], entry["reason"]) == ("wang", "operator", "UNACK", "asked", "看到")


def test_the_file_itself_refuses_changes(folder: Path) -> None:
    with closing(sqlite3.connect(folder / FILE)) as db:
        for sql in ("UPDATE entry SET body='{}'", "DELETE FROM entry"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                db.execute(sql)


def test_a_tampered_entry_is_named(folder: Path) -> None:
    edit(folder, lambda db: db.execute("UPDATE entry SET body=replace(body, 'wang', 'chen') WHERE seq=6"))
    assert [f for f in faults(folder) if "entry 6" in f and "was changed" in f]
    assert not any("entry 5" in f or "entry 7" in f for f in faults(folder))


def test_a_removed_entry_is_named(folder: Path) -> None:
    edit(folder, lambda db: db.execute("DELETE FROM entry WHERE seq=6"))
    assert faults(folder) == [f"{FILE} entry 7: entry 6 was removed before it"]


def test_two_swapped_entries_are_named(folder: Path) -> None:
    def swap(db: sqlite3.Connection) -> None:
        rows = {r[0]: r[1:] for r in db.execute("SELECT seq, body, hash FROM entry WHERE seq IN (5, 8)")}
        db.execute("UPDATE entry SET body=?, hash=? WHERE seq=5", rows[8])
        db.execute("UPDATE entry SET body=?, hash=? WHERE seq=8", rows[5])

    edit(folder, swap)
    found = faults(folder)
    assert f"{FILE} entry 5: expected number 5 in it, found 8: entries were swapped or moved" in found
    assert f"{FILE} entry 8: expected number 8 in it, found 5: entries were swapped or moved" in found


def test_a_cut_tail_is_named(folder: Path) -> None:
    edit(folder, lambda db: db.execute("DELETE FROM entry WHERE seq > 7"))
    assert [f for f in faults(folder) if "entries 8 to 10 were cut off" in f]


def test_a_recomputed_chain_does_not_match_the_signed_heads(folder: Path) -> None:
    def quietly(entry: dict[str, object]) -> None:
        if entry["seq"] == 6:
            entry["user"] = "chen"

    edit(folder, lambda db: rechain(db, quietly))
    found = faults(folder)
    assert len(found) == 1
    assert f"{FILE} entries 5 to 10: were written anew" in found[0]


def rewrite(folder: Path) -> list[SignedHead]:
    """What root can do: another chain, signed with the right key; returns the heads that were there."""
    with closing(sqlite3.connect(folder / FILE)) as db:
        before = [SignedHead(seq=r[0], hash=r[1], ts=r[2], key=r[3], sig=r[4]) for r in db.execute("SELECT * FROM head")]
    for name in (FILE, FILE + "-wal", FILE + "-shm"):
        (folder / name).unlink(missing_ok=True)
    trail = Trail(folder, zone="Asia/Shanghai", version="0.1.0")
    for i in range(12):
        trail.append(WANG, Act("acknowledge", f"alarm {i}", "UNACK", "asked", "never happened"), NOW + i * 10**9)
    trail.sign(signing_key(folder / "keys"), NOW)
    trail.close()
    return before


def test_a_complete_rewrite_is_found_by_the_copies_that_edges_keep(folder: Path) -> None:
    heads = rewrite(folder)
    assert faults(folder) == []  # alone it cannot know
    journal = Journal(folder / JOURNAL)
    note = Audit(time_ns=NOW, user="service", action=ANCHOR, object="gateway gw1", new=msgspec.json.encode(heads[0]).decode())
    journal.apply([Entry("press-edge-1", 1, 1, AUDIT, NOW, NOW, encode(note))])
    journal.close()
    found = faults(folder)
    assert len(found) == 1
    assert "entries 1 to 4: were written anew" in found[0]
    assert "kept by an edge" in found[0]


def test_heads_of_another_gateway_of_the_same_edges_are_not_judged_here(folder: Path) -> None:
    with closing(sqlite3.connect(folder / FILE)) as db:
        (mine, _) = read_heads(db)
    theirs = msgspec.structs.replace(mine, seq=400, key="feedbeef00112233")
    journal = Journal(folder / JOURNAL)
    for n, (gateway, head) in enumerate((("gw1", mine), ("gw2", theirs)), 1):
        note = Audit(time_ns=NOW, user="service", action=ANCHOR, object=f"gateway {gateway}", new=msgspec.json.encode(head).decode())
        journal.apply([Entry("press-edge-1", 1, n, AUDIT, NOW, NOW, encode(note))])
    journal.close()
    assert faults(folder, gateway="gw1") == faults(folder) == []
    # A folder that claims to be the other one's, or whose keys were exchanged, is not clean.
    assert any("signed with an unknown key feedbeef00112233" in f for f in faults(folder, gateway="gw2"))
    for key in (folder / "keys").iterdir():
        key.unlink()
    assert any("signed with an unknown key" in f for f in faults(folder))


def test_a_rewrite_and_a_cut_are_found_by_heads_in_a_file(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("paper") / "heads.jsonl"
    heads = rewrite(folder)
    file.write_bytes(b"\n".join(msgspec.json.encode(h) for h in heads))
    assert any("entries 1 to 4: were written anew" in f for f in faults(folder, heads_in(file)))
    for name in (FILE, FILE + "-wal", FILE + "-shm"):
        (folder / name).unlink(missing_ok=True)
    assert faults(folder, heads_in(file)) == [f"{FILE}: expected at least 10 entries as edges remember, found no file"]
    file.write_text("{}")
    with pytest.raises(ValueError, match="expected a signed head"):
        heads_in(file)


def test_a_head_that_nobody_signed_is_found(folder: Path) -> None:
    edit(folder, lambda db: db.execute("UPDATE head SET ts='2020-01-01T00:00:00.000Z' WHERE seq=4"))
    assert [f for f in faults(folder) if "entry 4 has a signature that does not match" in f]


def test_what_cannot_be_written_is_raised_and_nothing_is_kept(trail: Trail, folder: Path) -> None:
    before = trail.head()
    with closing(sqlite3.connect(folder / FILE, timeout=0)) as db:
        db.execute("BEGIN EXCLUSIVE")
        trail._db.execute("PRAGMA busy_timeout=0")
        with pytest.raises(AuditError, match="nothing was changed"):
            trail.append(WANG, Act("acknowledge", "x"), NOW)
    assert trail.head() == before


def test_two_writers_make_one_chain(folder: Path, trail: Trail) -> None:
    other = Trail(folder, zone="UTC", version="0.1.0")
    for i in range(4):
        (trail, other)[i % 2].append(WANG, Act("x", str(i)), NOW)
    other.close()
    assert trail.head()[0] == 14
    assert faults(folder) == []


def test_exceptions_come_first_and_filters_hold(trail: Trail) -> None:
    trail.append(Actor("", "", "", "10.0.0.9"), Act("login_failed", "session"), NOW + 60 * 10**9)
    trail.append(WANG, Act("acknowledge", "alarm 11"), NOW + 61 * 10**9)
    assert [e["seq"] for e in trail.entries(Wanted(exceptions=True, limit=2))] == [11, 12]
    assert [e["seq"] for e in trail.entries(Wanted(user="wang", limit=1))] == [12]
    assert [e["seq"] for e in trail.entries(Wanted(text="10.0.0.9"))] == [11]
    assert [e["seq"] for e in trail.entries(Wanted(from_ts="2026-01-05T08:00:03.000Z", to_ts="2026-01-05T08:00:05.000Z"))] == [5, 4]


@given(st.lists(st.tuples(st.text(max_size=20).filter(lambda s: "\ud800" not in s), st.text(st.characters(codec="utf-8"), max_size=20)), max_size=8))
@settings(max_examples=20, deadline=None)
def test_any_text_is_kept_as_it_is(tmp_path_factory: pytest.TempPathFactory, texts: list[tuple[str, str]]) -> None:
    texts = [(a.encode("utf-8", "replace").decode(), b) for a, b in texts]
    folder = tmp_path_factory.mktemp("trail")
    made = Trail(folder, zone="UTC", version="1")
    for a, b in texts:
        made.append(WANG, Act(a, b), NOW)
    assert [(e["action"], e["object"]) for e in reversed(made.entries())] == texts
    made.close()
    assert faults(folder) == []


def test_no_floats() -> None:
    with pytest.raises(TypeError, match="whole numbers"):
        canonical({"a": 1.5})
