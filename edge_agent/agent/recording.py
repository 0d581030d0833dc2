"""A recording: a checkpoint, the journal behind it and the records that followed, in a folder of its own.

A folder holds one part or several. A part is whole: what cannot be copied any more, because the agent ran without recording meanwhile and has
forgotten it, ends one part, and the next one says what is missing before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import structlog

from edge_agent.agent.commit import JOURNAL, OUTBOX, STREAMS
from edge_agent.agent.recovery import entries, rows
from edge_agent.core import Append, Entry, Log, LogError, pack, unpack
from edge_agent.pipeline.chain import Pipeline

log = structlog.get_logger()

FILE = "recording.sqlite"
AT_ONCE = 4 << 20
"""Bytes copied in one commit; what follows a running agent is less and stays together."""


class _Base(msgspec.Struct, frozen=True, omit_defaults=True):
    journal: int
    outbox: int
    epoch: int
    missing: str = ""


class _Hole(Exception):
    """Something of a log that would have to be copied is no longer there, or not as it was written."""


def _file(folder: Path, number: int) -> Path:
    return folder / (FILE if number == 1 else f"recording-{number}.sqlite")


@dataclass(slots=True)
class Part:
    """What is needed to step a stretch of an edge's life again and to compare."""

    log: Log
    base: _Base

    @classmethod
    def opened(cls, path: Path) -> Part | None:
        """The part in a file; None when the agent died before it had begun."""
        file = Log(path, STREAMS, synchronous="NORMAL")
        found = file.value("base")
        if found is None:
            file.close()
            return None
        return cls(file, msgspec.json.decode(found, type=_Base))

    @classmethod
    def begun(cls, path: Path, source: Log, pipeline: Pipeline, born: int, missing: str) -> Part:
        """A part that goes on with the next entry of `source`."""
        file = Log(path, STREAMS, synchronous="NORMAL")
        base = _Base(source.head(JOURNAL).seq, source.head(OUTBOX).seq, born, missing)
        file.commit(values={"base": msgspec.json.encode(base), "state": pack(pipeline.state())})
        return cls(file, base)

    def resume(self, source: Log, born: int) -> None:
        """Go on with a log after a while; _Hole when it is not the one that was recorded, or has forgotten what came since."""
        if born != self.base.epoch:
            raise _Hole("what another log held: the one recorded before was set aside or replaced")
        for stream, base in ((JOURNAL, self.base.journal), (OUTBOX, self.base.outbox)):
            last = self.log.head(stream).seq
            try:
                mine = self.log.read(stream, last - 1, max_rows=1)
                theirs = source.read(stream, base + last - 1, through=base + last, max_rows=1)
            except LogError as error:
                raise _Hole(f"what follows {stream} {base + last}: it cannot be compared with what was recorded: {error}") from error
            if source.head(stream).seq < base + last or (mine and theirs and mine[0].data != theirs[0].data):
                raise _Hole(f"{stream} up to {source.head(stream).seq}: this log is a copy of the one that was recorded and went its own way")
        self.catch_up(source)

    def catch_up(self, source: Log) -> None:
        """Copy what has been committed since the last call; _Hole, and nothing copied, when something of it is gone or cannot be read."""
        self._check_whole(source)
        appends: list[Append] = []
        held = 0
        for stream, base in ((JOURNAL, self.base.journal), (OUTBOX, self.base.outbox)):
            for row in rows(source, stream, base + self.log.head(stream).seq):
                appends.append(Append(stream, row.kind, row.data, row.lane))
                held += len(row.data)
                if held >= AT_ONCE:
                    self.log.commit(appends)
                    appends, held = [], 0
        if appends:
            self.log.commit(appends)

    def _check_whole(self, source: Log) -> None:
        holes: list[str] = []
        for stream, what, base in ((JOURNAL, "journal entries", self.base.journal), (OUTBOX, "records", self.base.outbox)):
            at, head = base + self.log.head(stream).seq, source.head(stream).seq
            try:
                for row in rows(source, stream, at):
                    if row.seq != at + 1:
                        holes.append(f"{what} {at + 1}..{row.seq - 1}")
                    at = row.seq
            except LogError as error:
                raise _Hole(f"{what} {at + 1}..{head}: not all of them can be read: {error}") from error
            if at < head:
                holes.append(f"{what} {at + 1}..{head}")
        if holes:
            raise _Hole(f"{', '.join(holes)}: the agent ran without recording and has forgotten them")

    def pipeline(self) -> Pipeline:
        """The pipeline as it was when the part began."""
        state = self.log.value("state")
        pipeline = Pipeline()
        if state is not None:
            pipeline.restore(unpack(state))
        return pipeline

    def entries(self) -> Iterator[Entry]:
        """The recorded journal."""
        return entries(self.log, 0)

    def records(self) -> Iterator[bytes]:
        """Frames of the recorded outbox."""
        return (row.data for row in rows(self.log, OUTBOX, 0))


class Recording:
    """The parts of a folder, oldest first."""

    def __init__(self, parts: list[Part]) -> None:
        self.parts = parts
        self._broken = False

    @classmethod
    def begin_or_resume(cls, folder: Path, source: Log, pipeline: Pipeline, born: int) -> Recording:
        """A recording that goes on with the next entry of `source`; one that is there already is continued where it stopped.

        When the agent ran without it meanwhile, what the journal still holds is copied now; otherwise a new part says what is missing.
        `born` is the first epoch of the log, which tells it from any other.
        """
        folder.mkdir(parents=True, exist_ok=True)
        parts = _parts(folder)
        missing = ""
        if parts:
            try:
                parts[-1].resume(source, born)
            except _Hole as hole:
                missing = str(hole)
                log.warning("the recording has a hole, a new part begins", folder=str(folder), missing=missing)
        if not parts or missing:
            parts.append(Part.begun(_file(folder, len(parts) + 1), source, pipeline, born, missing))
        return cls(parts)

    @classmethod
    def open(cls, folder: Path) -> Recording:
        """A finished recording; FileNotFoundError when there is none."""
        if not _file(folder, 1).exists():
            raise FileNotFoundError(f"recording: expected {FILE} in {folder}, found none")
        parts = _parts(folder)
        if not parts:
            raise FileNotFoundError(f"recording: expected a beginning in {folder / FILE}, found none")
        return cls(parts)

    def follow(self, source: Log) -> None:
        """Copy what has been committed since the last call."""
        if self._broken:
            return
        try:
            self.parts[-1].catch_up(source)
        except _Hole as hole:
            # The line is watched all the same; the next start begins a part that says so.
            self._broken = True
            log.error("the recording cannot go on", missing=str(hole))

    @property
    def missing(self) -> list[str]:
        """What was not recorded, one text for each hole, naming the part before which it lies."""
        return [f"before part {n}: {part.base.missing}" for n, part in enumerate(self.parts, 1) if part.base.missing]

    def pipeline(self) -> Pipeline:
        """The pipeline as it was when the recording began."""
        return self.parts[0].pipeline()

    def entries(self) -> Iterator[Entry]:
        """The recorded journal, all parts."""
        return (entry for part in self.parts for entry in part.entries())

    def records(self) -> Iterator[bytes]:
        """Frames of the recorded outbox, all parts."""
        return (frame for part in self.parts for frame in part.records())

    def close(self) -> None:
        """Release the files."""
        for part in self.parts:
            part.log.close()


def _parts(folder: Path) -> list[Part]:
    parts: list[Part] = []
    while (path := _file(folder, len(parts) + 1)).exists() and (part := Part.opened(path)) is not None:
        parts.append(part)
    return parts
