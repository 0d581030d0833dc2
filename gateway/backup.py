"""Backup, restore and verification of a gateway's data folder, also while the gateway runs.

While a backup is taken nothing is sealed, merged or trimmed (a lock on the folder), and the journal is copied before the inbox: then every record is
in the copied inbox or in copied segments, and the copied journal is nowhere ahead of the inbox. Segments are hard links where the disk allows.
The private signing key is not part of a backup; the public ones are, so that the copy can be verified. A restored gateway makes a new key.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from edge_agent.core import Log, LogError, PharmedgeError
from edge_agent.core.signing import public_keys
from gateway import audit_verify
from gateway.audit import FILE as AUDIT
from gateway.handover import FILE as HANDOVER
from gateway.inbox import STREAM
from gateway.journal import FILE as JOURNAL
from gateway.journal import Journal, copy_database
from gateway.manifest import FILE as MANIFEST
from gateway.manifest import GivenHead, SegmentFile, against, faults, read, sync_folder
from gateway.proposals import FILE as PROPOSALS
from gateway.segments import FOLDER, digest
from gateway.store import INBOX_FILE
from gateway.users import FILE as USERS

LOCK: Final = "sealing.lock"


@contextmanager
def sealing_lock(data_dir: Path, *, wait: bool = False) -> Iterator[bool]:
    """Hold the right to seal, merge and trim; yields whether it was got."""
    with (data_dir / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def live_files(data_dir: Path) -> dict[str, SegmentFile]:
    """The segments in force by their name."""
    live: dict[str, SegmentFile] = {}
    for line in read(data_dir / MANIFEST)[0]:
        for name in line.gone:
            live.pop(name, None)
        live |= {f.name: f for f in line.files}
    return live


def backup(data_dir: Path, target: Path) -> int:
    """Copy everything a gateway keeps into a new folder; returns how many segments. LogError when the folder is not empty."""
    if not (data_dir / INBOX_FILE).exists():
        raise LogError(f"{data_dir}: expected the data of a gateway, found no {INBOX_FILE}")
    if target.exists() and any(target.iterdir()):
        raise LogError(f"{target}: expected a new or empty folder, found files in it")
    target.mkdir(parents=True, exist_ok=True)
    with sealing_lock(data_dir, wait=True):
        lines, whole = read(data_dir / MANIFEST)
        if lines:
            with (data_dir / MANIFEST).open("rb") as file:
                (target / MANIFEST).write_bytes(file.read(whole))
        copy_database(data_dir / JOURNAL, target / JOURNAL)
        copy_database(data_dir / INBOX_FILE, target / INBOX_FILE)
        for name in (HANDOVER, PROPOSALS, AUDIT, USERS):  # the trail after the journal: it has the heads edges gave back
            if (data_dir / name).exists():
                copy_database(data_dir / name, target / name)
                (target / name).chmod(0o600)
        (target / "keys").mkdir()
        for key in (data_dir / "keys").glob("*.pub"):
            shutil.copy2(key, target / "keys" / key.name)
        live = live_files(data_dir)
        for name in live:
            _copy(data_dir / FOLDER / name, target / FOLDER / name)
    for path in [p for p in target.rglob("*") if p.is_file()]:
        _sync(path)
    for folder in [target, *(p for p in target.rglob("*") if p.is_dir())]:
        sync_folder(folder)
    return len(live)


def restore(source: Path, data_dir: Path) -> int:
    """Put a backup in place of a data folder that is empty or does not exist; it is verified before. LogError names what is wrong."""
    wrong = verify(source)
    if wrong:
        raise LogError(f"{source}: the backup is damaged: {wrong[0]}" + (f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""))
    if data_dir.exists() and any(data_dir.iterdir()):
        raise LogError(f"{data_dir}: expected no data there, found files; move them away first")
    data_dir.mkdir(parents=True, exist_ok=True)
    count = 0
    for path in sorted(p for p in source.rglob("*") if p.is_file() and not p.name.endswith((".lock", "-wal", "-shm"))):
        goal = data_dir / path.relative_to(source)
        goal.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, goal)
        _sync(goal)
        count += path.suffix == ".parquet"
    return count


def verify(data_dir: Path, elsewhere: Iterable[GivenHead] = (), gateway: str = "") -> list[str]:
    """Everything in a data folder that is not as it was written: each damaged file, manifest line, journal row and inbox record by name.

    elsewhere  heads of the manifest that were kept away from this computer, beside those that edges sent back
    gateway    whose folder it is, where that is known
    """
    found: list[str] = []
    for name in (INBOX_FILE, JOURNAL):
        if not (data_dir / name).exists():
            return [f"{data_dir}: expected the data of a gateway, found no {name}"]
    anchor = None
    try:
        with closing(Journal(data_dir / JOURNAL, read_only=True)) as journal:
            found += journal.faults()
            anchor = journal.anchor()
    except sqlite3.DatabaseError as error:
        found.append(f"{JOURNAL}: {error}")
    found += _inbox_faults(data_dir / INBOX_FILE)
    try:
        lines, whole = read(data_dir / MANIFEST)
    except LogError as error:
        return [*found, str(error)]
    keys = public_keys(data_dir / "keys")
    found += faults(lines, keys, anchor)
    try:
        copies, unreadable = audit_verify.returned(data_dir, "manifest_head", GivenHead, gateway)
    except (sqlite3.DatabaseError, PharmedgeError) as error:
        copies, unreadable = [], [f"{JOURNAL}: heads that edges sent back: {error}"]
    found += unreadable + against(lines, [*copies, *elsewhere], keys)
    found += audit_verify.faults(data_dir, gateway=gateway)
    if (data_dir / MANIFEST).exists() and (data_dir / MANIFEST).stat().st_size > whole:
        found.append(f"{MANIFEST}: expected its last line to be complete, found {(data_dir / MANIFEST).stat().st_size - whole} bytes more")
    for name, file in live_files(data_dir).items():
        path = data_dir / FOLDER / name
        if not path.exists():
            # Between our reading of the manifest and now it may have been merged into another.
            if name in live_files(data_dir):
                found.append(f"{FOLDER}/{name}: expected {file.bytes} bytes, found no file")
        elif path.stat().st_size != file.bytes:
            found.append(f"{FOLDER}/{name}: expected {file.bytes} bytes, found {path.stat().st_size}")
        elif digest(path) != file.sha256:
            found.append(f"{FOLDER}/{name}: expected SHA-256 {file.sha256[:12]}, found another")
    return found


def _inbox_faults(path: Path) -> list[str]:
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as db:
            found = [f"{path.name}: {row[0]}" for row in db.execute("PRAGMA integrity_check") if row[0] != "ok"]
        if found:
            return found
        log = Log(path, (STREAM,))
        try:
            return [f"{path.name}: {fault}" for fault in log.verify(STREAM)]
        finally:
            log.close()
    except sqlite3.DatabaseError as error:
        return [f"{path.name}: {error}"]


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another disk: a copy then
        shutil.copy2(source, target)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
