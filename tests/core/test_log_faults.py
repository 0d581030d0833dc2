"""The log when the power goes, the disk is full or a byte rots."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from edge_agent.core import Append, Log, LogError
from tests.system.processes import Child

STREAMS = ("journal", "outbox")

COMMITS_FOR_EVER = """
import sys
from pathlib import Path
from edge_agent.core import Append, Log
log = Log(Path(sys.argv[1]), ("journal", "outbox"))
n = log.head("journal").seq
while True:
    n += 1
    data = b"%d," % n * (n % 97 * 50)
    log.commit([Append("journal", 1, data), Append("outbox", 2, data, same_as=("journal", 0))], values={"n": b"%d" % n}, cursors={"n": n})
    print(n, flush=True)
"""


@pytest.mark.system
def test_a_killed_process_loses_no_commit_and_leaves_no_half(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    durable = 0
    for run in range(6):
        with Child.python(COMMITS_FOR_EVER, str(path)) as child:
            for _ in range(10 + 23 * run):
                durable = int(child.line())
            child.kill()
            # What the pipe still holds was committed before it was printed.
            durable = max([durable, *(int(line) for line in child.rest() if line.isdigit())])
        log = Log(path, STREAMS)
        n = log.head("journal").seq
        assert durable <= n <= durable + 1
        assert log.head("outbox").seq == n == log.cursor("n") == int(log.value("n") or b"0")
        assert log.head("outbox").chain == log.head("journal").chain
        rows = log.read("outbox", 0, max_rows=10_000, max_bytes=1 << 30)
        assert [(r.seq, r.data) for r in rows] == [(i, b"%d," % i * (i % 97 * 50)) for i in range(1, n + 1)]
        assert log.verify("journal") == log.verify("outbox") == []
        log.close()


FILLS_ITS_QUOTA = """
import json, resource, sqlite3, sys
from pathlib import Path
from edge_agent.core import Append, Log
path = Path(sys.argv[1])
log = Log(path, ("journal",))
log.commit([Append("journal", 1, b"first")])
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
good, failures = 1, []
for _ in range(200):
    try:
        log.commit([Append("journal", 1, b"x" * 20_000)], values={"n": b"%d" % (good + 1)})
        good += 1
    except sqlite3.OperationalError as error:
        failures.append(str(error))
        if len(failures) == 3:
            break
during = [log.head("journal").seq, len(log.read("journal", 0, max_rows=1000, max_bytes=1 << 30))]
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
after = log.commit([Append("journal", 1, b"after")])["journal"][0]
faults = [str(f) for f in log.verify("journal")]
print(json.dumps({"good": good, "failures": failures, "during": during, "after": after, "n": int(log.value("n")), "faults": faults}))
log.close()
"""


@pytest.mark.system
def test_a_full_disk_refuses_the_commit_whole_and_space_ends_it(tmp_path: Path) -> None:
    with Child.python(FILLS_ITS_QUOTA, str(tmp_path / "log.sqlite")) as child:
        said = json.loads(child.line())
    good = said["good"]
    assert good > 3
    assert len(said["failures"]) == 3
    assert said == {**said, "during": [good, good], "after": good + 1, "n": good, "faults": []}
    log = Log(tmp_path / "log.sqlite", ("journal",))
    assert (log.head("journal").seq, log.verify("journal")) == (good + 1, [])
    log.close()


def test_no_more_pages_is_said_and_undone(tmp_path: Path) -> None:
    log = Log(tmp_path / "log.sqlite", STREAMS)
    log._db.execute("PRAGMA max_page_count=40")

    def fill() -> None:
        for _ in range(100):
            log.commit([Append("journal", 1, b"x" * 5000), Append("outbox", 1, b"y")])

    with pytest.raises(sqlite3.OperationalError, match="full"):
        fill()
    head = log.head("journal").seq
    assert head == log.head("outbox").seq == len(log.read("journal", 0)) > 0
    log.forget("journal", head)
    log.commit([Append("journal", 1, b"again")])
    assert log.verify("journal") == log.verify("outbox") == []
    log.close()


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    path = tmp_path / "log.sqlite"
    log = Log(path, STREAMS)
    for i in range(20):
        data = bytes([i]) * 3000
        log.commit([Append("journal", 1, data), Append("outbox", 1, data, same_as=("journal", 0)), Append("outbox", 1, b"%d" % i)])
    log.close()
    return path


def tamper(path: Path, sql: str, *args: object) -> None:
    db = sqlite3.connect(path)
    with db:
        assert db.execute(sql, args).rowcount == 1
    db.close()


def faults(path: Path) -> list[str]:
    log = Log(path, STREAMS)
    found = [str(f) for stream in STREAMS for f in log.verify(stream)]
    log.close()
    return found


def test_an_untouched_log_has_no_faults(filled: Path) -> None:
    assert faults(filled) == []


def test_a_changed_frame_is_named_and_not_read(filled: Path) -> None:
    tamper(filled, "UPDATE journal SET data=? WHERE seq=7", b"\x06" * 2999 + b"\x07")
    found = faults(filled)
    assert [f.partition(": expected ")[0] for f in found] == ["journal 7", "journal 7", "outbox 13", "outbox 13"]
    log = Log(filled, STREAMS)
    assert len(log.read("journal", 0, through=6)) == 6
    with pytest.raises(LogError, match="journal 7: expected CRC"):
        log.read("journal", 6)
    with pytest.raises(LogError, match="outbox 13: expected CRC"):
        log.read("outbox", 12)
    log.close()


def test_a_frame_exchanged_with_its_crc_breaks_the_chain(filled: Path) -> None:
    import zlib

    for seq in (1, 7):
        tamper(filled, f"UPDATE journal SET data=?, crc=? WHERE seq={seq}", b"other", zlib.crc32(b"other"))
    assert [f.partition(", found")[0][:26] for f in faults(filled) if f.startswith("journal")] == [
        "journal 1: expected chain ",
        "journal 7: expected chain ",
    ]


def test_a_head_that_was_changed_is_found(filled: Path) -> None:
    tamper(filled, "UPDATE head SET chain=1 WHERE stream='outbox'")
    assert [f[:24] for f in faults(filled)] == ["outbox 40: expected chai"]


def test_a_head_set_back_is_found(filled: Path) -> None:
    tamper(filled, "UPDATE head SET seq=10 WHERE stream='journal'")
    assert [f[:33] for f in faults(filled)] == ["journal 20: expected the head at "]


def test_a_vanished_reference_is_named(filled: Path) -> None:
    tamper(filled, "DELETE FROM journal WHERE seq=3")
    assert {f[:8] for f in faults(filled)} == {"outbox 5"}


def damage_pages(path: Path, first: int, count: int) -> None:
    data = bytearray(path.read_bytes())
    data[first * 4096 : (first + count) * 4096] = b"\xa5" * (count * 4096)
    path.write_bytes(data)


def test_a_page_that_rotted_is_a_fault_or_an_error_never_a_frame(filled: Path) -> None:
    pages = filled.stat().st_size // 4096
    whole = filled.read_bytes()
    for page in range(1, pages):
        filled.write_bytes(whole)
        for suffix in ("-wal", "-shm"):
            filled.with_name(filled.name + suffix).unlink(missing_ok=True)
        damage_pages(filled, page, 1)
        try:
            log = Log(filled, STREAMS)
        except sqlite3.DatabaseError:
            continue
        try:
            for stream in STREAMS:
                after = 0
                while rows := log.read(stream, after, max_rows=1):
                    seq, after = rows[0].seq, rows[0].seq
                    expected = (
                        bytes([(seq - 1) // (2 if stream == "outbox" else 1)]) * 3000 if stream == "journal" or seq % 2 else b"%d" % (seq // 2 - 1)
                    )
                    assert rows[0].data == expected
        except LogError:
            pass
        finally:
            log.close()


@pytest.mark.parametrize("damage", ["text", "first page", "tail pages", "truncated"])
def test_a_damaged_file_is_set_aside_and_work_goes_on(filled: Path, damage: str) -> None:
    size = filled.stat().st_size
    if damage == "text":
        filled.write_text("this is no database" * 1000)
    elif damage == "first page":
        damage_pages(filled, 0, 1)
    elif damage == "tail pages":
        damage_pages(filled, 3, size // 4096 - 3)
    else:
        filled.write_bytes(filled.read_bytes()[: size // 3])
    before = filled.read_bytes()
    log, aside = Log.open_or_quarantine(filled, STREAMS, now_ns=77)
    assert aside is not None
    assert aside.name == "log.sqlite.damaged-77"
    assert aside.read_bytes() == before or damage in ("tail pages", "truncated")
    for i in range(50):
        log.commit([Append("journal", 1, b"%d" % i)])
    assert filled.with_name("log.sqlite-wal").exists(), "the new log's write-ahead file is its own"
    again = Log(filled, STREAMS)
    assert len(again.read("journal", 0)) == 50
    again.close()
    log.close()


def test_a_rotten_page_of_an_index_sets_nothing_aside_while_all_frames_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    log = Log(path, STREAMS)
    for _ in range(50):
        log.commit([Append("outbox", 1, b"%d" % i) for i in range(100)])
    log.forget("outbox", 10)
    log.close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        root = db.execute("SELECT rootpage FROM sqlite_master WHERE name='outbox_lane'").fetchone()[0]
    db.close()
    damage_pages(path, root - 1, 1)
    log, aside = Log.open_or_quarantine(path, STREAMS, now_ns=77)
    assert (aside, log.head("outbox").rows) == (None, 4990)
    assert [row.seq for row in log.read("outbox", 0, max_rows=10_000)] == list(range(11, 5001))
    log.close()


def test_a_sound_file_is_not_set_aside(filled: Path) -> None:
    log, aside = Log.open_or_quarantine(filled, STREAMS, now_ns=77)
    assert (aside, log.head("journal").seq) == (None, 20)
    log.close()


def test_what_is_not_the_files_fault_is_raised(tmp_path: Path) -> None:
    folder = tmp_path / "log.sqlite"
    folder.mkdir()
    with pytest.raises(sqlite3.OperationalError):
        Log.open_or_quarantine(folder, STREAMS, now_ns=77)
    assert folder.is_dir()


def test_a_torn_write_ahead_log_ends_at_the_last_whole_commit(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    log = Log(path, ("journal",))
    for i in range(10):
        log.commit([Append("journal", 1, b"%d" % i * 100)])
    copy = tmp_path / "copy.sqlite"
    wal = path.with_name("log.sqlite-wal").read_bytes()
    main = path.read_bytes()
    log.close()
    seen = set()
    for cut in range(0, len(wal), 1031):
        copy.write_bytes(main)
        copy.with_name("copy.sqlite-wal").write_bytes(wal[:cut])
        torn = Log(copy, ("journal",))
        n = torn.head("journal").seq
        assert [r.data for r in torn.read("journal", 0)] == [b"%d" % i * 100 for i in range(n)]
        assert torn.verify("journal") == []
        torn.close()
        seen.add(n)
    assert len(seen) > 5
