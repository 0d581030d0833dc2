"""A recording is whole, or says what is missing in it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from edge_agent.agent import recording as room
from edge_agent.agent.commit import CHECKPOINTS, JOURNAL, OUTBOX, Commit, write
from edge_agent.agent.recording import Recording
from edge_agent.agent.recovery import recover
from edge_agent.agent.replaying import Replay, run_replay
from edge_agent.core import Entry, Log
from edge_agent.pipeline.chain import Pipeline
from tests.agent.test_recovery import life, opened

BORN = 7


def lived(log: Log, pipeline: Pipeline, entries: list[Entry], recording: Recording | None) -> None:
    """Step and commit entries in commits of ten, recorded or not."""
    for i in range(0, len(entries), 10):
        commit = Commit()
        for entry in entries[i : i + 10]:
            commit.add(entry, pipeline.step(entry))
        commit.state = pipeline.state()
        write(log, commit, np.ones(100, np.bool_), CHECKPOINTS[0], {})
        if recording is not None:
            recording.follow(log)


def recorded(log: Log, folder: Path, entries: list[Entry], born: int = BORN) -> None:
    """A life of the agent with --record."""
    pipeline = recover(log).pipeline
    recording = Recording.begin_or_resume(folder, log, pipeline, born)
    lived(log, pipeline, entries, recording)
    recording.close()


def replayed(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[bool, str]:
    same = run_replay(Replay(None, recorded=folder, diff=folder))
    return same, capsys.readouterr().out


def test_what_the_journal_still_holds_is_recorded_later(tmp_path, capsys):
    log, entries = opened(tmp_path), list(life(90))
    recorded(log, tmp_path / "r", entries[:30])
    lived(log, recover(log).pipeline, entries[30:60], None)
    recorded(log, tmp_path / "r", entries[60:])
    same, said = replayed(tmp_path / "r", capsys)
    assert (same, "no differences" in said) == (True, True)
    recording = Recording.open(tmp_path / "r")
    assert (len(recording.parts), len(list(recording.entries())), recording.missing) == (1, len(entries), [])
    recording.close()


def test_what_ran_without_it_and_is_forgotten_begins_a_new_part_that_says_so(tmp_path, capsys):
    log, entries = opened(tmp_path), list(life(90))
    recorded(log, tmp_path / "r", entries[:30])
    at, records = log.head(JOURNAL).seq, log.head(OUTBOX).seq
    lived(log, recover(log).pipeline, entries[30:60], None)
    log.forget(OUTBOX, log.head(OUTBOX).seq)
    log.forget(JOURNAL, at + 10)
    last = log.head(OUTBOX).seq
    recorded(log, tmp_path / "r", entries[60:])
    same, said = replayed(tmp_path / "r", capsys)
    assert not same
    assert f"missing before part 2: journal entries {at + 1}..{at + 10}, records {records + 1}..{last}" in said
    assert "no differences, 1 not recorded" in said
    recording = Recording.open(tmp_path / "r")
    assert len(list(recording.entries())) == len(entries) - 30
    recording.close()
    recorded(log, tmp_path / "r", [])
    assert sorted(p.name for p in (tmp_path / "r").glob("*.sqlite")) == ["recording-2.sqlite", "recording.sqlite"]


def test_records_that_were_delivered_meanwhile_are_missing_too(tmp_path, capsys):
    log, entries = opened(tmp_path), list(life(60))
    recorded(log, tmp_path / "r", entries[:30])
    lived(log, recover(log).pipeline, entries[30:], None)
    log.forget(OUTBOX, log.head(OUTBOX).seq - 1)
    recorded(log, tmp_path / "r", [])
    assert "records" in replayed(tmp_path / "r", capsys)[1]


def test_a_copy_that_lived_on_differently_is_not_continued(tmp_path, capsys):
    entries, other = list(life(60)), list(life(90))
    other = [*entries[:20], *(e for e in other[21:] if type(e).__name__ != "Connection")]
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    one, two = opened(tmp_path / "one"), opened(tmp_path / "two")
    recorded(one, tmp_path / "r", entries[:30])
    lived(two, Pipeline(), other[:40], None)
    recorded(two, tmp_path / "r", other[40:])
    assert "went its own way" in replayed(tmp_path / "r", capsys)[1]


@pytest.mark.parametrize("born", [BORN, BORN + 1])
def test_another_log_or_an_older_copy_of_it_begins_a_new_part(tmp_path, capsys, born):
    entries = list(life(60))
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    one, two = opened(tmp_path / "one"), opened(tmp_path / "two")
    recorded(one, tmp_path / "r", entries[:40])
    lived(two, Pipeline(), entries[:20], None)
    recorded(two, tmp_path / "r", entries[20:], born)
    same, said = replayed(tmp_path / "r", capsys)
    assert not same
    assert ("another log" if born != BORN else "went its own way") in said


def test_what_was_missed_is_copied_in_pieces(tmp_path, capsys, monkeypatch):
    log, entries, sizes = opened(tmp_path), list(life(90)), []
    recorded(log, tmp_path / "r", entries[:10])
    lived(log, recover(log).pipeline, entries[10:], None)
    commit = Log.commit
    monkeypatch.setattr(room, "AT_ONCE", 2000, raising=False)

    def measured(self, appends=(), **more):
        sizes.append(sum(len(a.data) for a in appends))
        return commit(self, appends, **more)

    monkeypatch.setattr(Log, "commit", measured)
    recorded(log, tmp_path / "r", [])
    largest = max(len(row.data) for stream in (JOURNAL, OUTBOX) for row in log.read(stream, 0, max_bytes=1 << 30, max_rows=10_000))
    assert len(sizes) > 3
    assert max(sizes) < 2000 + largest
    assert replayed(tmp_path / "r", capsys)[0]


@pytest.mark.parametrize("running", [True, False])
def test_a_rotten_row_is_a_hole(tmp_path, capsys, running):
    log, entries = opened(tmp_path), list(life(90))
    recorded(log, tmp_path / "r", entries[:30])
    pipeline = recover(log).pipeline
    recording = Recording.begin_or_resume(tmp_path / "r", log, pipeline, BORN)
    lived(log, pipeline, entries[30:60], None)
    with sqlite3.connect(log.path) as db:
        db.execute("UPDATE journal SET crc = crc + 1 WHERE seq = 40")
    if running:
        recording.follow(log)  # the writer goes on
        recording.follow(log)
    recording.close()
    recorded(log, tmp_path / "r", entries[60:])
    assert "missing before part 2: journal entries 31..60: not all of them can be read" in replayed(tmp_path / "r", capsys)[1]
