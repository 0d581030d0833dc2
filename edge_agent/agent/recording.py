"""A recording: a checkpoint, the journal behind it and the records that followed, in a folder of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edge_agent.agent.commit import JOURNAL, OUTBOX, STREAMS
from edge_agent.agent.recovery import entries, rows
from edge_agent.core import Append, Entry, Log, pack, unpack
from edge_agent.pipeline.chain import Pipeline

FILE = "recording.sqlite"


class _Base(msgspec.Struct, frozen=True):
    journal: int
    outbox: int
    epoch: int


@dataclass(slots=True)
class Recording:
    """What is needed to step a stretch of an edge's life again and to compare."""

    log: Log
    base: _Base

    @classmethod
    def begin_or_resume(cls, folder: Path, source: Log, pipeline: Pipeline, epoch: int) -> Recording:
        """A recording that goes on with the next entry of `source`; one that is there already is continued where it stopped."""
        log = Log(folder / FILE, STREAMS, synchronous="NORMAL")
        found = log.value("base")
        if found is not None:
            base = msgspec.json.decode(found, type=_Base)
            if base.epoch != epoch:
                raise ValueError(f"recording {folder}: expected epoch {epoch}, found {base.epoch}: record into another folder")
            return cls(log, base)
        base = _Base(source.head(JOURNAL).seq, source.head(OUTBOX).seq, epoch)
        log.commit(values={"base": msgspec.json.encode(base), "state": pack(pipeline.state())})
        return cls(log, base)

    @classmethod
    def open(cls, folder: Path) -> Recording:
        """A finished recording; FileNotFoundError when there is none."""
        if not (folder / FILE).exists():
            raise FileNotFoundError(f"recording: expected {FILE} in {folder}, found none")
        log = Log(folder / FILE, STREAMS, synchronous="NORMAL")
        found = log.value("base")
        if found is None:
            raise FileNotFoundError(f"recording: expected a beginning in {folder / FILE}, found none")
        return cls(log, msgspec.json.decode(found, type=_Base))

    def follow(self, source: Log) -> None:
        """Copy what has been committed since the last call."""
        appends: list[Append] = []
        for stream, base in ((JOURNAL, self.base.journal), (OUTBOX, self.base.outbox)):
            at = base + self.log.head(stream).seq
            if source.head(stream).seq > at:
                appends += [Append(stream, row.kind, row.data, row.lane) for row in rows(source, stream, at)]
        if appends:
            self.log.commit(appends)

    def pipeline(self) -> Pipeline:
        """The pipeline as it was when the recording began."""
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
