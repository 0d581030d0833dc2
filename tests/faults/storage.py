"""Disks: full, read-only, slow, torn, and power cuts that take unsynced writes with them."""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from edge_agent.agent.commit import JOURNAL, STREAMS
from edge_agent.core import Append, Log
from tests.faults.outcome import Happened, NotHere, fault, needs
from tests.faults.road import Recording, Road


@fault("disk that takes no more (file size limit)", "sources wait, /readyz says why, nothing is lost when it takes again", quick=False)
def limited(seed: int, folder: Path, long: bool) -> Happened:
    """The running agent may let no file grow any more; later it may again."""
    with Road(folder, Recording(rows=6000 if long else 1500, speed=400.0), seed).start() as road:
        road.until("values", lambda: road.taken() > 500)
        agent = road.children["agent"].process
        assert agent is not None
        unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(agent.pid, resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
        road.until("the disk's refusal to be told", lambda: any("cannot be written" in p for p in road.status.get("problems", [])))
        held = road.taken()
        resource.prlimit(agent.pid, resource.RLIMIT_FSIZE, unlimited)
        road.until("commits to succeed again", lambda: not any("cannot be written" in p for p in road.status.get("problems", ["cannot be written"])))
        books = road.settle()
        books.closed()
        assert agent.poll() is None
    return Happened(f"waited at {held} values, told as not ready, went on by itself", books.lost, books.duplicated)


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """A file system of its own. Raises NotHere where this user may not mount one."""
    folder.mkdir(parents=True)
    done = subprocess.run([needs("mount"), "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)], capture_output=True, check=False)
    if done.returncode != 0:
        raise NotHere("needs the right to mount a small file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


@fault("disk full", "sources wait, /readyz says why, nothing is lost when there is room again", quick=False)
def full(seed: int, folder: Path, long: bool) -> Happened:
    """Something else fills the agent's file system to the last byte, and is removed later."""
    with small_disk(folder / "disk", 48) as disk, Road(folder / "road", Recording(rows=6000 if long else 2000, speed=400.0), seed,
                                                       data_dir=str(disk / "agent")).start() as road:  # fmt: skip
        road.until("values", lambda: road.taken() > 500)
        ballast = disk / "ballast"
        out = os.open(ballast, os.O_WRONLY | os.O_CREAT)
        with contextlib.suppress(OSError):  # until the disk is full
            while True:
                os.write(out, b"\0" * 4096)
        os.close(out)
        road.until("the full disk to be told", lambda: any("cannot be written" in p for p in road.status.get("problems", [])))
        held = road.taken()
        ballast.unlink()
        books = road.settle()
        books.closed()
    return Happened(f"waited at {held} values, told as not ready, went on by itself", books.lost, books.duplicated)


@fault("read-only disk", "the agent says so and ends; nothing is lost when it is started on a writable one", quick=False)
def read_only(seed: int, folder: Path, long: bool) -> Happened:
    """The file system of a stopped agent comes back read-only, as after errors, and is repaired later."""
    with small_disk(folder / "disk", 64) as disk, Road(folder / "road", Recording(rows=2000 if long else 1000, speed=300.0), seed,
                                                       data_dir=str(disk / "agent")).start() as road:  # fmt: skip
        road.until("values", lambda: road.taken() > 500)
        agent = road.children["agent"]
        agent.stop()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        agent.start()
        assert agent.process is not None
        code = agent.process.wait(30)
        said = agent.tail(3)
        assert code != 0
        assert "read-only" in said.lower(), said
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        agent.start()
        books = road.settle()
        books.closed()
    return Happened(f"ended with exit code {code} and the reason; went on when it was started again", books.lost, books.duplicated)


@fault("slow disk, 50 ms a commit", "sources wait for their acknowledgement, nothing is lost", quick=False)
def slow(seed: int, folder: Path, long: bool) -> Happened:
    """Every commit of the agent takes 50 ms longer, then every one a second."""
    with Road(folder, Recording(rows=6000 if long else 1500, speed=200.0), seed) as road:
        (folder / "commit_ms").write_text("50")
        road.start()
        road.until("values", lambda: road.taken() > 1000)
        (folder / "commit_ms").write_text("1000")
        road.until("a commit of a second", lambda: road.taken() > 1500)
        (folder / "commit_ms").write_text("50")
        books = road.settle(120.0)
        books.closed()
    return Happened("also with single commits of 1 s", books.lost, books.duplicated)


@fault("torn log", "the log ends at the last whole commit, whatever stands behind it")
def torn(seed: int, folder: Path, long: bool) -> Happened:
    """The write-ahead log of a dead agent is cut, or overwritten with noise, at any byte behind the last durable commit."""
    rng = random.Random(seed)
    path = folder / "log.sqlite"
    log = Log(path, STREAMS)
    log._db.execute("PRAGMA wal_autocheckpoint=0")
    images: list[int] = []
    wal = path.with_name("log.sqlite-wal")
    for k in range(12):
        log.commit([Append(JOURNAL, 1, bytes([k]) * rng.randint(10, 9000))], values={"n": b"%d" % (k + 1)})
        images.append(wal.stat().st_size)
    main, whole = path.read_bytes(), wal.read_bytes()
    log.close()
    tries = 400 if long else 40
    for i in range(tries):
        at = rng.randrange(images[0], len(whole) + 1)
        kept = sum(size <= at for size in images)
        tail = rng.randbytes(len(whole) - at) if i % 2 else b""
        copy = folder / "copy.sqlite"
        copy.write_bytes(main)
        copy.with_name("copy.sqlite-wal").write_bytes(whole[:at] + tail)
        copy.with_name("copy.sqlite-shm").unlink(missing_ok=True)
        found = Log(copy, STREAMS)
        assert (found.head(JOURNAL).seq, found.value("n"), found.verify(JOURNAL)) == (kept, b"%d" % kept, [])
        found.close()
    return Happened(f"{tries} cuts and overwritten tails: each opened at the last whole commit")


COMMITS = """
import sys
from pathlib import Path
from edge_agent.core import Append, Log
log = Log(Path(sys.argv[1]), ("journal", "outbox"))
for n in range(1, int(sys.argv[2]) + 1):
    data = b"%d," % n * (n % 97 * 20 + 1)
    log.commit([Append("journal", 1, data), Append("outbox", 2, data, same_as=("journal", 0))], values={"n": b"%d" % n}, cursors={"n": n})
    if n % 40 == 0:
        log.forget("outbox", n - 20)
    print(f"durable {n}", flush=True)
"""


@fault("power cut that drops unsynced writes", "what was acknowledged is there, nothing is half there")
def power_cut(seed: int, folder: Path, long: bool) -> Happened:
    """Every write and sync of a committing process is traced; then the disk is rebuilt as it may be at any moment.

    Synced writes are there; of those behind the last sync of their file any subset is, in whole pages. Reordering is in that: a later one may
    be there and an earlier one not.
    """
    from tests.faults.powercut import Disk, traced

    rng = random.Random(seed)
    commits = 300 if long else 60
    (folder / "live").mkdir()
    disk, durable = Disk(), 0
    events = list(traced([needs("strace")], [sys.executable, "-c", COMMITS, str(folder / "live" / "log.sqlite"), str(commits)], folder))
    cuts = sorted(rng.sample(range(len(events)), min(len(events), 1500 if long else 120)))
    dropped = 0
    for place, event in enumerate(events):
        if event.kind == "print":
            durable = int(event.data.split()[-1]) if event.data else durable
        else:
            disk.apply(event)
        if cuts and place == cuts[0]:
            cuts.pop(0)
            dropped += disk.rebuild(folder / "after", rng)
            path = folder / "after" / "log.sqlite"
            if not path.exists():
                assert durable == 0
                continue
            log = Log(path, STREAMS)
            n = log.head(JOURNAL).seq
            assert durable <= n <= durable + 1, json.dumps({"durable": durable, "found": n, "event": place})
            assert int(log.value("n") or b"0") == log.cursor("n") == log.head("outbox").seq == n
            assert log.verify("journal") == log.verify("outbox") == []
            log.close()
    assert durable == commits
    assert dropped > 0
    return Happened(f"{min(len(events), 1500 if long else 120)} cuts among {len(events)} writes and syncs, {dropped} unsynced pages dropped")
