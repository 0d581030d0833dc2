"""The log of an edge as its agent finds it at a start, and what the journal is told of that."""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from edge_agent.agent.commit import STREAMS
from edge_agent.agent.identity import Identity
from edge_agent.agent.recovery import UNREADABLE, Recovered, recover
from edge_agent.core import Diagnostic, Entry, Log, Note

log = structlog.get_logger()

FILE: Final = "edge.sqlite"

Put = Callable[[Callable[[int], Entry]], None]
"""How an entry gets into the journal: it is given its received time."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A log that can be committed to, who this edge is, and the pipeline at the end of the journal.

    damaged  where the file is that could not be gone on with, None when there was none; `wrong` says why
    """

    file: Log
    identity: Identity
    recovered: Recovered
    damaged: Path | None
    wrong: str

    def say_of_the_file(self, put: Put) -> None:
        """Whether a damaged log has been set aside."""
        damaged = self.damaged
        if damaged is not None:
            log.error("the log has been set aside", why=self.wrong, moved_to=str(damaged))
            epoch = str(self.identity.epochs.current)
            put(lambda now: Note(received_ns=now, action="log_set_aside", object=damaged.name, reason=self.wrong, new=epoch))
        explanation = f"set aside as {damaged.name}" if damaged else "log is readable"
        put(lambda now: Diagnostic(received_ns=now, alarm="edge/log_damaged", active=damaged is not None, explanation=explanation))

    def say_of_the_journal(self, put: Put) -> None:
        """What of the checkpoints and of the records could not be had again as it was."""
        found = self.recovered
        if found.unusable:
            why, instead = "; ".join(found.unusable), found.checkpoint or "the journal alone"
            log.error("a checkpoint cannot be used", why=why, instead=instead)
            put(lambda now: Note(received_ns=now, action="checkpoint_unusable", object="checkpoint", new=instead, reason=why))
        if untaught := "; ".join(found.untaught):
            log.error("models cannot take up what they had learned", why=untaught)
            put(lambda now: Note(received_ns=now, action="checkpoint_unusable", object="models", new="untaught", reason=untaught))
        if differing := found.differing:
            log.warning("records came out otherwise when stepped again", count=len(differing), first=differing[0])
            text = f"{len(differing)} records differ, first {differing[0]}"
            put(lambda now: Note(received_ns=now, action="restep_differs", object="outbox", reason=text))


@contextlib.contextmanager
def sole_owner(data_dir: Path) -> Iterator[None]:
    """Hold a data folder alone; RuntimeError when another agent has it: two writers would give numbers twice."""
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RuntimeError(f"{data_dir}: expected to be the only agent here, found another one running") from error
        yield


def open_log(folder: Path) -> Opened:
    """The log in a folder and the journal stepped to its end; what cannot be read is moved aside and a new log begun, so that the line is watched."""
    file, damaged = Log.open_or_quarantine(folder / FILE, STREAMS, now_ns=time.time_ns())
    identity = Identity(file)
    try:
        return Opened(file, identity, recover(file), damaged, "damaged")
    except UNREADABLE as error:
        # A row that is not as it was written, or that another release wrote.
        wrong = f"the journal cannot be stepped again: {type(error).__name__}: {error}"
        log.error("the journal cannot be stepped again", error=f"{type(error).__name__}: {error}")
    file.close()
    damaged = Log.set_aside(folder / FILE, time.time_ns())
    file = Log(folder / FILE, STREAMS)
    return Opened(file, Identity(file), recover(file), damaged, wrong)
