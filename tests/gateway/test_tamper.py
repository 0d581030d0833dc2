"""Whatever is changed, missing or cut off in the data folder is named."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from edge_agent.core import LogError
from gateway.backup import backup, restore, sealing_lock, verify
from gateway.store import Store
from tests.gateway.conftest import Clock, feed, seal
from tests.gateway.edge import SECOND, START, line
from tests.gateway.test_store import KEY


@pytest.fixture
def folder(opened: Callable[..., Store], clock: Clock) -> Path:
    """A store with sealed and unsealed records, closed."""
    store = opened()
    edge = line(60)
    edge.gap(3)
    feed(store, edge.deliver())
    seal(store, clock)
    edge.summary(edge.samples(60, 30))
    edge.event("raise", "NORM", "UNACK")
    feed(store, edge.deliver())
    store.close()
    assert verify(store.data_dir) == []
    return store.data_dir


def _flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


def test_a_changed_segment_is_named(folder: Path) -> None:
    path = sorted(folder.rglob("*.parquet"))[0]
    _flip(path, path.stat().st_size // 2)
    (fault,) = verify(folder)
    assert path.name in fault
    assert "SHA-256" in fault


def test_a_missing_and_a_cut_segment_are_named(folder: Path) -> None:
    gone, cut, *_ = sorted(folder.rglob("*.parquet"))
    gone.unlink()
    cut.write_bytes(cut.read_bytes()[:-1])
    faults = verify(folder)
    assert len(faults) == 2
    assert gone.name in faults[0]
    assert cut.name in faults[1]


@pytest.mark.parametrize("what", ["rows", "hash", "sig"])
def test_a_changed_manifest_line_is_named(folder: Path, what: str) -> None:
    path = folder / "manifest.jsonl"
    line = json.loads(path.read_text().splitlines()[0])
    if what == "rows":
        line["files"][0]["rows"] += 1
    else:
        line[what] = "00" * (len(line[what]) // 2)
    path.write_text(json.dumps(line) + "\n")
    assert any("manifest.jsonl line 1" in f for f in verify(folder))


def test_a_cut_off_manifest_shows_against_the_journal(folder: Path, opened: Callable[..., Store]) -> None:
    (folder / "manifest.jsonl").write_text("")
    assert any("as the journal remembers it" in f for f in verify(folder))
    with pytest.raises(LogError, match="manifest"):
        opened()
    assert len(list(folder.rglob("*.parquet"))) == 5  # nothing is cleaned away on the word of a shortened manifest


def test_a_torn_last_line_never_happened(folder: Path, opened: Callable[..., Store]) -> None:
    path = folder / "manifest.jsonl"
    with path.open("ab") as file:
        file.write(b'{"n":2,"time')
    assert len(verify(folder)) == 1
    store = opened()
    assert len(store.ask.series(KEY, START, START + 90 * SECOND)["n"]) == 90
    assert verify(folder) == []


@pytest.mark.parametrize(
    "sql", ["UPDATE record SET frame=zeroblob(20) WHERE n=2", "DELETE FROM record WHERE n=2", "UPDATE record SET edge='x' WHERE n=2"]
)
def test_a_changed_journal_row_is_named(folder: Path, sql: str) -> None:
    with closing(sqlite3.connect(folder / "journal.sqlite")) as db:
        db.execute(sql)
        db.commit()
    assert any("journal.sqlite row" in f for f in verify(folder))


def test_a_changed_inbox_record_is_named(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "inbox.sqlite")) as db:
        (seq,) = db.execute("SELECT max(seq) FROM inbox").fetchone()
        db.execute("UPDATE inbox SET data=zeroblob(40) WHERE seq=?", (seq,))
        db.commit()
    assert any(f"inbox {seq}:" in f for f in verify(folder))


def test_backup_of_a_running_store_restores_to_the_same_answers(opened: Callable[..., Store], clock: Clock, tmp_path: Path) -> None:
    store = opened()
    edge = line(60)
    feed(store, edge.deliver())
    seal(store, clock)
    edge.summary(edge.samples(60, 30))
    edge.event("raise", "NORM", "UNACK")
    feed(store, edge.deliver())
    before = (store.ask.series(KEY, START, START + 90 * SECOND), store.ask.ledger(), store.ask.alarms())
    assert backup(store.data_dir, tmp_path / "copy") == 5
    assert not list((tmp_path / "copy").rglob("*.key"))
    edge.samples(90, 30)
    feed(store, edge.deliver())
    with pytest.raises(LogError, match="empty"):
        backup(store.data_dir, tmp_path / "copy")
    assert restore(tmp_path / "copy", tmp_path / "again") == 5
    with pytest.raises(LogError, match="no data there"):
        restore(tmp_path / "copy", tmp_path / "again")
    other = opened(folder="again")
    assert (other.ask.series(KEY, START, START + 90 * SECOND), other.ask.ledger(), other.ask.alarms()) == before
    feed(other, edge.deliver())
    assert len(other.ask.series(KEY, START, START + 200 * SECOND)["n"]) == 120
    seal(other, clock)
    assert verify(tmp_path / "again") == []  # signed by a new key behind the old one


def test_a_damaged_backup_is_not_restored(folder: Path, tmp_path: Path) -> None:
    backup(folder, tmp_path / "copy")
    segment = next((tmp_path / "copy").rglob("*.parquet"))
    data = bytearray(segment.read_bytes())
    data[50] ^= 1
    segment.unlink()
    segment.write_bytes(data)
    with pytest.raises(LogError, match="damaged"):
        restore(tmp_path / "copy", tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_nothing_is_sealed_during_a_backup(tmp_path: Path) -> None:
    with sealing_lock(tmp_path) as mine, sealing_lock(tmp_path) as second:
        assert (mine, second) == (True, False)


def test_the_private_key_is_its_owners_only(folder: Path) -> None:
    assert (folder / "keys" / "manifest.key").stat().st_mode & 0o777 == 0o600


def test_verify_says_when_there_is_nothing(tmp_path: Path) -> None:
    assert verify(tmp_path) == [f"{tmp_path}: expected the data of a gateway, found no inbox.sqlite"]
    with pytest.raises(LogError, match=r"inbox\.sqlite"):
        backup(tmp_path, tmp_path / "x")


def test_an_unreadable_inbox_is_not_begun_anew(folder: Path, opened: Callable[..., Store]) -> None:
    for path in folder.glob("inbox.sqlite*"):
        path.unlink()
    (folder / "inbox.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(LogError, match="restore a backup"):
        opened()
    (folder / "inbox.sqlite").unlink()
    with pytest.raises(LogError, match="expected at least"):
        opened()
