"""A process's disk as it may be after a power cut: its traced writes, of which only the synced ones are certain."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from tests.faults.outcome import NotHere

PAGE: Final = 4096
"""Bytes that a disk writes whole or not at all."""
_LINE: Final = re.compile(r"^(?:\d+ +)?(\w+)\((\d+)<([^>]*)>(?:\(deleted\))?(?:, (.*))?\) = (-?\d+)")
_UNLINK: Final = re.compile(r'^(?:\d+ +)?unlink(?:at)?\((?:[^"]*)"((?:\\x[0-9a-f]{2})*)".*\) = 0')


@dataclass(frozen=True)
class Event:
    """One write, sync, truncation or removal of a file, or a line that was printed."""

    kind: Literal["write", "sync", "truncate", "unlink", "print"]
    path: str = ""
    offset: int = 0
    data: bytes = b""


def traced(strace: Sequence[str], command: Sequence[str], folder: Path) -> Iterator[Event]:
    """Run a command and give its file events in order. Raises NotHere where tracing is not allowed."""
    out = folder / "trace"
    watch = ["-f", "-y", "-xx", "-s", "1000000", "-e", "trace=pwrite64,write,fsync,fdatasync,ftruncate,unlink,unlinkat", "-o", str(out)]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    done = subprocess.run([*strace, *watch, *command], capture_output=True, text=True, check=False, timeout=300, env=env)
    if done.returncode != 0:
        raise NotHere(f"strace: {done.stderr.strip()[-200:]}")
    within = str(folder / "live")
    with out.open(encoding="ascii") as lines:
        for line in lines:
            yield from _event(line, within)


def _event(line: str, within: str) -> Iterator[Event]:
    if gone := _UNLINK.match(line):
        path = _bytes(gone[1]).decode()
        if path.startswith(within):
            yield Event("unlink", Path(path).name)
        return
    found = _LINE.match(line)
    if found is None:
        assert "unfinished" not in line or within not in line, line
        return
    call, descriptor, raw, rest, result = found.groups()
    path = _bytes(raw).decode() if raw.startswith("\\x") else raw
    if call == "write" and descriptor == "1":
        yield Event("print", data=_bytes(rest.split('"')[1]).strip())
    if not path.startswith(within + "/") or path.endswith("-shm") or int(result) < 0:
        return
    name = Path(path).name
    if call == "pwrite64":
        _, text, numbers = rest.split('"')
        data = _bytes(text)[: int(result)]
        yield Event("write", name, int(numbers.split(",")[2]), data)
    elif call in ("fsync", "fdatasync"):
        yield Event("sync", name)
    elif call == "ftruncate":
        yield Event("truncate", name, int(rest))
    else:
        raise AssertionError(f"a write of the log that this model does not know: {line[:200]}")


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


@dataclass
class _File:
    synced: bytearray = field(default_factory=bytearray)
    pending: list[Event] = field(default_factory=list)


@dataclass
class Disk:
    """Files as they surely are, and the writes since that may or may not be there."""

    files: dict[str, _File] = field(default_factory=dict)

    def apply(self, event: Event) -> None:
        """One more event."""
        if event.kind == "unlink":
            self.files.pop(event.path, None)
            return
        file = self.files.setdefault(event.path, _File())
        if event.kind == "sync":
            for one in file.pending:
                _write(file.synced, one)
            file.pending.clear()
        else:
            file.pending.append(event)

    def rebuild(self, folder: Path, rng: random.Random) -> int:
        """Write the files into a fresh folder with any subset of the unsynced pages; returns how many were dropped."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        dropped = 0
        share = rng.random()
        for name, file in self.files.items():
            content = bytearray(file.synced)
            for event in file.pending:
                for page in _pages(event):
                    if rng.random() < share:
                        _write(content, page)
                    else:
                        dropped += 1
            (folder / name).write_bytes(content)
        return dropped


def _pages(event: Event) -> Iterator[Event]:
    if event.kind == "truncate":
        yield event
        return
    at = 0
    while at < len(event.data):
        end = min(len(event.data), at + PAGE - (event.offset + at) % PAGE)
        yield Event("write", event.path, event.offset + at, event.data[at:end])
        at = end


def _write(content: bytearray, event: Event) -> None:
    if event.kind == "truncate":
        if event.offset < len(content):
            del content[event.offset :]
        else:
            content.extend(b"\0" * (event.offset - len(content)))
        return
    end = event.offset + len(event.data)
    if end > len(content):
        content.extend(b"\0" * (end - len(content)))
    content[event.offset : end] = event.data
