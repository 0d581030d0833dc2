"""Heads of a gateway's audit trail are kept at the edge: in the journal, and in a record that goes back."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge_agent.agent import inspect
from edge_agent.agent.commit import CHECKPOINTS, OUTBOX, STREAMS, Commit, write
from edge_agent.core import Audit, Heartbeat, Log, Note, decode
from edge_agent.pipeline.chain import Pipeline
from tests.pipeline.line import T0, S, start

HEAD = '{"seq":7,"hash":"00ff","ts":"2026-01-05T08:00:00.000Z","key":"k","sig":"s"}'


def test_a_head_is_kept_and_goes_back(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    log = Log(tmp_path / "edge.sqlite", STREAMS, synchronous="OFF")
    pipeline, commit = Pipeline(), Commit()
    note = Note(received_ns=T0 + S, action="audit_head", object="uplink plant", new=HEAD)
    other = Note(received_ns=T0 + S, action="new_epoch", object="outbox", new="5")
    for entry in (start(), note, other, Heartbeat(received_ns=T0 + 2 * S)):
        commit.add(entry, pipeline.step(entry))
    write(log, commit, np.ones(100, np.bool_), CHECKPOINTS[0], {})
    records = [decode(row.data) for row in log.read(OUTBOX, 0, max_bytes=1 << 20, max_rows=1000)]
    kept = [r for r in records if isinstance(r, Audit) and r.action == "audit_head"]
    assert [r.new for r in kept] == [HEAD]
    monkeypatch.setattr(inspect, "opened", lambda settings, base: log)
    assert inspect.heads(None, tmp_path) == [HEAD]  # type: ignore[arg-type]


def test_heads_of_the_manifest_are_kept_apart(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    log = Log(tmp_path / "edge.sqlite", STREAMS, synchronous="OFF")
    pipeline, commit = Pipeline(), Commit()
    for entry in (start(), Note(received_ns=T0 + S, action="manifest_head", object="uplink plant", new=HEAD)):
        commit.add(entry, pipeline.step(entry))
    write(log, commit, np.ones(100, np.bool_), CHECKPOINTS[0], {})
    monkeypatch.setattr(inspect, "opened", lambda settings, base: log)
    assert inspect.heads(None, tmp_path, "manifest") == [HEAD]  # type: ignore[arg-type]
