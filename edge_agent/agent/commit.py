"""One commit: entries, the records that follow from them, and the journal position, all durable or none."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_agent.alarms.standing import Standing
from edge_agent.core import Abandoned, Append, Audit, Entry, Log, Record, Samples, Summaries, WireError, audit_link, decode, encode, kind_of, pack
from edge_agent.core.divert import DivertNow
from edge_agent.core.log import SHED_NEVER, SHED_SAMPLES, SHED_SUMMARY
from edge_agent.core.record import lane

JOURNAL: Final = "journal"
OUTBOX: Final = "outbox"
STREAMS: Final = (JOURNAL, OUTBOX)
CHECKPOINTS: Final = ("checkpoint/a", "checkpoint/b")
AUDIT_LINK: Final = "audit/link"
"""Log value: `audit_link` of the newest audit entry."""
ABANDONED: Final = "abandoned/"
"""Log values under which shed ranges wait for their declaration."""
_POSITION: Final = struct.Struct("<QQ")


@dataclass(slots=True)
class Commit:
    """What the pipeline thread hands to the writer thread.

    records carries for each record the index of the entry it is the same object as, or None; state is the pipeline's state behind
    the last entry when a checkpoint is due.
    """

    entries: list[Entry] = field(default_factory=list)
    records: list[tuple[Record, int | None]] = field(default_factory=list)
    resumes: dict[str, bytes] = field(default_factory=dict)
    acks: list[Callable[[], None]] = field(default_factory=list)
    nbytes: int = 0
    state: dict[str, Any] | None = None
    diverts: list[DivertNow] | None = None
    """What diverters are asked to do behind the last entry."""
    standing: list[Standing] | None = None
    """Every alarm that is not normal behind the last entry, when an alarm event is among the records."""

    def add(self, entry: Entry, records: list[Record]) -> None:
        """One stepped entry with its records."""
        index = len(self.entries)
        self.entries.append(entry)
        self.records += [(record, index if record is entry else None) for record in records]


def shed_level(record: Record, never_shed: NDArray[np.bool_]) -> int:
    """At which shortage a record may be given up: never for alarms, audit, gaps and GMP; others' summaries late, others' samples first."""
    if isinstance(record, Samples):
        return SHED_NEVER if never_shed[record.tag].any() else SHED_SAMPLES
    if isinstance(record, Summaries):
        return SHED_NEVER if never_shed[record.rows["tag"]].any() else SHED_SUMMARY
    return SHED_NEVER


def write(log: Log, commit: Commit, never_shed: NDArray[np.bool_], checkpoint: str, cursors: Mapping[str, int]) -> tuple[int, int]:
    """Make a commit durable; returns the heads of journal and outbox behind it."""
    entries = [encode(entry) for entry in commit.entries]
    appends = [Append(JOURNAL, kind_of(e), data) for e, data in zip(commit.entries, entries, strict=True)]
    for record, same in commit.records:
        data = entries[same] if same is not None else encode(record)
        reference = (JOURNAL, same) if same is not None else None
        appends.append(Append(OUTBOX, kind_of(record), data, lane(record), shed_level(record, never_shed), reference))
    values: dict[str, bytes | None] = {f"resume/{source}": data for source, data in commit.resumes.items()}
    heads = log.head(JOURNAL).seq + len(commit.entries), log.head(OUTBOX).seq + len(commit.records)
    for entry in commit.entries:
        if isinstance(entry, Abandoned):
            values[f"{ABANDONED}{entry.first}-{entry.last}"] = None
    if commit.state is not None:
        values[checkpoint] = _POSITION.pack(*heads) + pack(commit.state)
    audits = [record for record, _ in commit.records if isinstance(record, Audit)]
    if audits:
        values[AUDIT_LINK] = audit_link(audits[-1]).encode()
    log.commit(appends, values=values, cursors=cursors)
    return heads


def abandonment(first: int, last: int, frames: list[bytes]) -> tuple[str, bytes]:
    """The note of a shed range first..last, kept until its declaration is journaled: what its summaries had counted, by tag.

    Samples that are shed lose nothing that is counted: the summaries of the same values stay (rule 7).
    """
    lost: dict[int, tuple[int, int, int]] = {}
    for frame in frames:
        record = decode(frame)
        if not isinstance(record, Summaries):
            continue
        for row in record.rows:
            tag, start, end = int(row["tag"]), int(row["start_ns"]), int(row["start_ns"] + row["length_ns"])
            count = sum(int(row[name]) for name in ("n_good", "n_uncertain", "n_bad", "n_late", "n_rejected", "n_duplicate"))
            a, b, n = lost.get(tag, (start, end, 0))
            lost[tag] = min(a, start), max(b, end), n + count
    told = Abandoned(received_ns=0, first=first, last=last, lost=tuple((tag, *span) for tag, span in sorted(lost.items())))
    return f"{ABANDONED}{first}-{last}", encode(told)


def declared(data: bytes, received_ns: int) -> Abandoned:
    """The journal entry of a note of `abandonment`."""
    told = decode(data)
    if not isinstance(told, Abandoned):
        raise WireError(f"abandoned: expected such an entry, found {type(told).__name__}")
    return msgspec.structs.replace(told, received_ns=received_ns)


def checkpoint_position(data: bytes) -> tuple[int, int]:
    """Journal and outbox heads at which a checkpoint was taken."""
    journal, outbox = _POSITION.unpack_from(data)
    return int(journal), int(outbox)


def checkpoint_state(data: bytes) -> bytes:
    """The packed pipeline state of a checkpoint."""
    return data[_POSITION.size :]
