"""Looking into the log of an edge from outside, also while its agent runs."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from edge_agent.agent.commit import CHECKPOINTS, JOURNAL, STREAMS, checkpoint_position
from edge_agent.agent.opening import FILE
from edge_agent.config import AgentSettings
from edge_agent.core import ConfigError, Fault, Log, LogError, Mistake, Note, WireError, decode
from edge_agent.core.wire import KINDS


def opened(settings: AgentSettings, base: Path) -> Log:
    """The log of an edge; ConfigError when its agent has not run yet."""
    path = base / settings.edge.data_dir / FILE
    if not path.exists():
        raise ConfigError([Mistake(str(path), 1, "edge.data_dir", f"a folder with {FILE}", "none: the agent has not run yet")])
    try:
        return Log(path, STREAMS)
    except sqlite3.DatabaseError as error:
        raise LogError(f"{path}: expected a log, found {error}") from error


def stat(settings: AgentSettings, base: Path) -> dict[str, Any]:
    """Numbers, bytes and readers of each stream."""
    log = opened(settings, base)
    try:
        streams = {
            s: {"first": log.first(s), "last": log.head(s).seq, "bytes": log.head(s).bytes, "chain": f"{log.head(s).chain:08x}"} for s in STREAMS
        }
        checkpoints = [checkpoint_position(d) for n in CHECKPOINTS if (d := log.value(n))]
        return {
            "file": str(log.path),
            "epoch": (log.value("epoch") or b"").decode(),
            **streams,
            "checkpoints": [{"journal": j, "outbox": o} for j, o in checkpoints],
            "cursors": {u.name: log.cursor(f"uplink/{u.name}") for u in settings.uplinks},
        }
    finally:
        log.close()


def verify(settings: AgentSettings, base: Path) -> list[Fault]:
    """Every fault in journal and outbox: CRC, chain, and frames that do not decode."""
    log = opened(settings, base)
    faults: list[Fault] = []
    try:
        for stream in STREAMS:
            found = log.verify(stream)
            faults += found
            bad = {f.seq for f in found}
            after = log.first(stream) - 1
            while not bad and (rows := log.read(stream, after, max_bytes=4 << 20)):
                for row in rows:
                    try:
                        decode(row.data)
                    except WireError as error:
                        faults.append(Fault(stream, row.seq, str(error)))
                after = rows[-1].seq
        return faults
    finally:
        log.close()


def heads(settings: AgentSettings, base: Path, of: str = "audit") -> list[str]:
    """The signed heads of gateways' audit trails or manifests that the journal still holds, oldest first, each as the JSON that came."""
    log = opened(settings, base)
    found: list[str] = []
    try:
        after = log.first(JOURNAL) - 1
        while rows := log.read(JOURNAL, after, max_bytes=4 << 20):
            for row in rows:
                if row.kind == KINDS[Note]:
                    note = decode(row.data)
                    if isinstance(note, Note) and note.action == f"{of}_head":
                        found.append(note.new)
            after = rows[-1].seq
        return found
    finally:
        log.close()
