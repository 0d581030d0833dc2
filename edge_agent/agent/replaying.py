"""The `replay` command."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from edge_agent.agent.recording import Recording
from edge_agent.agent.replay import Scores, compare, csv_entries, step_recording, write_records
from edge_agent.config import AgentSettings, fingerprint
from edge_agent.core import Entry, Record
from edge_agent.pipeline.chain import Pipeline


def _steps(
    settings: AgentSettings | None, files: list[Path], recording: Recording | None, *, scores: bool
) -> Iterator[tuple[Entry, list[Record], Pipeline]]:
    if recording is not None:
        yield from step_recording(recording)
        return
    assert settings is not None  # the command line has checked it
    pipeline = Pipeline()
    for entry in csv_entries(settings, files, scores=scores):
        yield entry, pipeline.step(entry), pipeline


def run_replay(
    settings: AgentSettings | None, files: list[Path], recorded: Path | None, records: Path | None, scores: Path | None, diff: Path | None
) -> bool:
    """Step CSV files or a recording through the pipeline, write and compare what follows; False when it differs from `diff`."""
    recording = Recording.open(recorded) if recorded is not None else None
    pipeline: Pipeline | None = None
    with contextlib.ExitStack() as stack:
        records_out = stack.enter_context(records.open("w", encoding="utf-8")) if records else None
        scores_out = stack.enter_context(scores.open("w", encoding="utf-8", newline="")) if scores else None
        table: Scores | None = None
        found_count = 0

        def produced() -> Iterator[Record]:
            nonlocal pipeline, table, found_count
            for entry, made, pipeline in _steps(settings, files, recording, scores=scores is not None):
                if records_out is not None:
                    found_count += write_records(records_out, made, pipeline.catalogue)
                if scores_out is not None:
                    table = table or Scores(scores_out, pipeline.catalogue)
                    table.see(entry, made)
                yield from made
            if table is not None:
                table.flush()

        if diff is None:
            count = sum(1 for _ in produced())
            print(f"{count} records", file=sys.stderr)
            return True
        other = Recording.open(diff)
        count, differences = compare(produced(), other.records(), same_cpu=_same_cpu(other))
    for difference in differences:
        print(difference)
    print(f"{count} records compared, {len(differences) or 'no'} difference{'s' if len(differences) != 1 else ''}")
    return not differences


def _same_cpu(recording: Recording) -> bool:
    from edge_agent.core import Start

    prints = [e.fingerprint for e in recording.entries() if isinstance(e, Start)]
    start = recording.pipeline().start
    mine = fingerprint()
    return all(p == mine for p in [*prints, *([start.fingerprint] if start and not prints else [])])
