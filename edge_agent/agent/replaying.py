"""The `replay` command."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import numpy as np

from edge_agent.agent.backtest import Backtest, Known, known_events, report
from edge_agent.agent.backtest_page import page
from edge_agent.agent.differences import Comparison
from edge_agent.agent.recording import Recording
from edge_agent.agent.replay import Scores, Stepped, csv_runs, step_recording, stepped, write_records
from edge_agent.config import AgentSettings, fingerprint
from edge_agent.core import AlarmEvent, Catalogue, Mistake, PharmedgeError, Samples, Start
from edge_agent.pipeline.chain import Pipeline
from edge_agent.pipeline.passes import Passed

TELL_EVERY_S: Final = 2.0
BAR_EVERY_S: Final = 0.2


class InputError(PharmedgeError):
    """An input of a replay cannot be used; the text is FILE:LINE: key: expected X, found Y."""


@dataclass(frozen=True, slots=True)
class Replay:
    """What a replay reads and writes; `recorded` stands instead of `files`, `diff` names the recording to compare with."""

    settings: AgentSettings | None
    files: tuple[Path, ...] = ()
    recorded: Path | None = None
    records: Path | None = None
    scores: Path | None = None
    diff: Path | None = None
    progress: bool = False
    report: Path | None = None
    events: Path | None = None

    def __post_init__(self) -> None:
        for path in self.files:
            if not path.is_file():
                raise InputError(str(Mistake(str(path), 1, "--input", "a readable file", "a folder" if path.is_dir() else "none")))
        for key, path_ in (("--records", self.records), ("--scores", self.scores), ("--report", self.report)):
            if path_ is not None and not path_.parent.is_dir():
                raise InputError(str(Mistake(str(path_), 1, key, "a path in a folder that exists", f"no folder {path_.parent}")))


def run_replay(replay: Replay) -> bool:
    """Step CSV files or a recording through the pipeline, write and compare what follows; False when it differs from `diff` or that has holes.

    A file is written beside its place and takes it only when everything has gone well: a replay that fails leaves the file of before.
    """
    recording = _opened(replay.recorded) if replay.recorded is not None else None
    other = _opened(replay.diff) if replay.diff is not None else None
    known = known_events(replay.events) if replay.events is not None else None
    with contextlib.ExitStack() as stack:
        records_out = stack.enter_context(replaced(replay.records)) if replay.records else None
        scores_out = stack.enter_context(replaced(replay.scores)) if replay.scores else None
        report_out = stack.enter_context(replaced(replay.report)) if replay.report else None
        watch = _Watch() if report_out is not None else None
        produced = _produced(replay, recording, records_out, scores_out, watch)
        if other is None:
            count = sum(part.count() for part in produced)
            if report_out is not None and watch is not None:
                _reported(report_out, watch, replay, known)
            for hole in recording.missing if recording is not None else ():
                print(f"missing {hole}", file=sys.stderr)
            print(f"{count} records", file=sys.stderr)
            return True
        comparison = Comparison(same_cpu=_same_cpu(other))
        comparison.run((record for part in produced for record in part.records()), other.records(), _catalogue(other))
    for difference in comparison.differences:
        print(difference)
    if comparison.count > len(comparison.differences):
        print(f"... and {comparison.count - len(comparison.differences)} more")
    for hole in other.missing:
        print(f"missing {hole}")
    holes = f", {len(other.missing)} not recorded" if other.missing else ""
    print(f"{comparison.compared} records compared, {comparison.count or 'no'} difference{'s' if comparison.count != 1 else ''}{holes}")
    return not comparison.count and not other.missing


class _Watch:
    """Shows a backtest what followed; it begins with the first Start entry."""

    def __init__(self) -> None:
        self.test: Backtest | None = None

    def see(self, part: Stepped | Passed, pipeline: Pipeline) -> None:
        if self.test is None and pipeline.defined is not None:
            self.test = Backtest(pipeline.catalogue, pipeline.defined.alarms)
        if self.test is None:
            return
        if isinstance(part, Passed):
            self.test.measured(part.run.samples)
            for d in part.derived:
                self.test.see(d.samples.time_ns, d.samples.tag, d.samples.value)
        elif isinstance(part.entry, Samples):
            self.test.measured(part.entry)
        for event in part.events:
            if isinstance(event, AlarmEvent):
                self.test.told(event)


def _reported(out: IO[str], watch: _Watch, replay: Replay, known: list[Known] | None) -> None:
    if watch.test is None:
        watch.test = Backtest(Catalogue(()), ())
    names = [*(str(f.name) for f in replay.files), *([replay.recorded.name] if replay.recorded is not None else [])]
    edge = replay.settings.edge.id if replay.settings is not None else ""
    out.write(page(report(watch.test, known), " · ".join([*([edge] if edge else []), *names])))


def _produced(
    replay: Replay, recording: Recording | None, records_out: IO[str] | None, scores_out: IO[str] | None, watch: _Watch | None
) -> Iterator[Stepped | Passed]:
    table: Scores | None = None
    how_far = _HowFar(replay.files)
    tell = teller(how_far.share) if replay.progress else None
    for part, pipeline in _steps(replay, recording, how_far.read):
        if records_out is not None:
            write_records(records_out, part.records(), pipeline.catalogue)
        if scores_out is not None:
            table = table or Scores(scores_out, pipeline.catalogue)
            table.see(part)
        if watch is not None:
            watch.see(part, pipeline)
        if tell is not None:
            tell(part)
        yield part
    if tell is not None:
        tell(None)
    if table is not None:
        table.flush()


def _steps(replay: Replay, recording: Recording | None, read: Callable[[Path, int], None]) -> Iterator[tuple[Stepped | Passed, Pipeline]]:
    if recording is not None:
        yield from step_recording(recording)
        return
    assert replay.settings is not None  # the command line has checked it
    pipeline = Pipeline()
    for part in stepped(pipeline, csv_runs(replay.settings, list(replay.files), scores=replay.scores is not None, told=read)):
        yield part, pipeline


def _opened(folder: Path) -> Recording:
    try:
        return Recording.open(folder)
    except FileNotFoundError as error:
        raise InputError(str(Mistake(str(folder), 1, "recording", "a folder that `run --record` has written", str(error)))) from error


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[IO[str]]:
    """A text file that takes the place of `path` when the block ends well, and is removed when it does not.

    What is no file, a pipe or a terminal, is written as it comes.
    """
    if path.exists() and not path.is_file():
        with path.open("w", encoding="utf-8", newline="") as out:
            yield out
        return
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with beside.open("w", encoding="utf-8", newline="") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


class _HowFar:
    """Which share of the files is read; of compressed ones only their ends are known."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._sizes = {path: path.stat().st_size for path in files}
        self._read = dict.fromkeys(files, 0)

    def read(self, path: Path, count: int) -> None:
        for earlier in self._sizes:
            if earlier == path:
                break
            self._read[earlier] = self._sizes[earlier]
        self._read[path] = 0 if path.suffix == ".gz" else min(count, self._sizes[path])

    def share(self) -> float | None:
        total = sum(self._sizes.values())
        return sum(self._read.values()) / total if total else None


def teller(share: Callable[[], float | None], clock: Callable[[], float] = time.monotonic) -> Callable[[Stepped | Passed | None], None]:
    """Counts values as they pass and says on standard error how far the replay has come: a bar at a terminal, else lines; None is the end.

    share  which share of the files is read, None when nobody knows
    """
    began = told = clock()
    values = 0
    bar = sys.stderr.isatty()

    def tell(part: Stepped | Passed | None) -> None:
        nonlocal told, values
        now = clock()
        if part is None:
            if bar:
                print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            return
        values += part.values
        if now - told >= (TELL_EVERY_S if not bar else BAR_EVERY_S):
            told = now
            at = np.datetime64(part.received_ns, "ns").astype("datetime64[ms]")
            words = f"{values} values, at {at}Z, {values / (now - began):.0f} values/s"
            done = share()
            if not bar:
                print(words, file=sys.stderr, flush=True)
            else:
                drawn = "" if done is None else f"[{'#' * round(24 * done):<24}] {done:4.0%} "
                print(f"\r\x1b[K{drawn}{words}", end="", file=sys.stderr, flush=True)

    return tell


def _catalogue(recording: Recording) -> Catalogue:
    """The tags of a recording, for their names."""
    start = recording.pipeline().start or next((e for e in recording.entries() if isinstance(e, Start)), None)
    return Catalogue(start.tags if start is not None else ())


def _same_cpu(recording: Recording) -> bool:
    prints = [e.fingerprint for e in recording.entries() if isinstance(e, Start)]
    start = recording.pipeline().start
    mine = fingerprint()
    return all(p == mine for p in [*prints, *([start.fingerprint] if start and not prints else [])])
