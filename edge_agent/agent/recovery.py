"""Coming back: the last checkpoint, and the journal behind it stepped through again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from edge_agent.agent.commit import CHECKPOINTS, JOURNAL, OUTBOX, checkpoint_position, checkpoint_state
from edge_agent.core import Entry, Log, LogError, Record, Row, WireError, decode, encode, unpack
from edge_agent.pipeline.banks import UNFIT
from edge_agent.pipeline.chain import Pipeline


@dataclass(frozen=True, slots=True)
class Recovered:
    """A pipeline as it was at the end of the journal.

    differing   numbers of outbox records that came out otherwise than they are kept; empty unless build or CPU changed
    restepped   entries stepped through behind the checkpoint
    checkpoint  which of CHECKPOINTS was used, None when there was none
    unusable    why newer checkpoints were passed over, one text each
    untaught    models that could not take up what the checkpoint has of them, with the reason
    """

    pipeline: Pipeline
    last_received_ns: int
    restepped: int
    differing: tuple[int, ...]
    checkpoint: str | None
    unusable: tuple[str, ...] = ()
    untaught: tuple[str, ...] = ()


UNREADABLE: Final = (LogError, WireError, *UNFIT)
"""What `recover` raises for a journal that cannot be stepped again: rows that are not as they were written, or that another release wrote."""


class _Unusable(Exception):
    """A checkpoint that this release cannot go on from."""


def entries(log: Log, after: int) -> Iterator[Entry]:
    """Journal entries behind a number, in order."""
    for row in rows(log, JOURNAL, after):
        yield decode(row.data)  # type: ignore[misc]


def rows(log: Log, stream: str, after: int) -> Iterator[Row]:
    """Rows of a stream behind a number, in order."""
    while chunk := log.read(stream, after, max_bytes=4 << 20):
        yield from chunk
        after = chunk[-1].seq


def recover(log: Log) -> Recovered:
    """The pipeline at the end of the journal; a fresh one when the log is new.

    Records that are already in the outbox are computed again, compared and dropped (rule 1). One of UNREADABLE when that cannot be done.
    """
    unusable: list[str] = []
    for name, data in sorted(
        ((n, d) for n in CHECKPOINTS if (d := log.value(n)) is not None), key=lambda item: checkpoint_position(item[1]), reverse=True
    ):
        try:
            pipeline = _restored(data)
        except _Unusable as error:
            unusable.append(f"{name}: {error}")  # the one before it leads to the same place by a longer way
        else:
            untaught = pipeline.untaught
            found = replace(_step(log, pipeline, *checkpoint_position(data), name), untaught=untaught)
            break
    else:
        found = _step(log, Pipeline(), 0, 0, None)
    return replace(found, unusable=tuple(unusable))


def _restored(data: bytes) -> Pipeline:
    pipeline = Pipeline()
    try:
        pipeline.restore(unpack(checkpoint_state(data)))
    except WireError as error:
        raise _Unusable(f"damaged: {error}") from error
    except UNFIT as error:
        # What parts of another release kept, in names, shapes and types that this one's do not have.
        raise _Unusable(f"kept by another release: {type(error).__name__}: {error}") from error
    return pipeline


def _step(log: Log, pipeline: Pipeline, journal_at: int, outbox_at: int, name: str | None) -> Recovered:
    kept = {row.seq: row.data for row in _kept(log, outbox_at)} if log.head(JOURNAL).seq > journal_at else {}
    differing: list[int] = []
    count = 0
    last = 0
    seq = outbox_at
    for entry in entries(log, journal_at):
        if not pipeline.started and type(entry).__name__ != "Start":
            continue  # the ring has forgotten the beginning and there is no checkpoint: go on from the next start
        count += 1
        last = entry.received_ns
        for record in pipeline.step(entry):
            seq += 1
            if seq in kept and not _same(record, kept[seq]):
                differing.append(seq)
    if count == 0:
        tail = log.read(JOURNAL, log.head(JOURNAL).seq - 1, max_rows=1)
        last = decode(tail[0].data).received_ns if tail else 0  # type: ignore[union-attr]
    return Recovered(pipeline, last, count, tuple(differing), name)


def _kept(log: Log, after: int) -> Iterator[Row]:
    return rows(log, OUTBOX, after)


def _same(record: Record, data: bytes) -> bool:
    # Another release of the compressor may pack the same record otherwise: then what it says decides.
    return encode(record) == data or decode(data) == record
