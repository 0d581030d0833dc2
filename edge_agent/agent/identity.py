"""Who this edge is to its gateways: the epochs of its outbox, and what it does when another life delivers under its name."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Final

import structlog

from edge_agent.agent.commit import OUTBOX
from edge_agent.core import Diagnostic, Entry, Epochs, Log, Note

log = structlog.get_logger()

EPOCHS: Final = "epochs"
"""Log value: which epoch each number of the outbox belongs to; `epoch` beside it is the current one, for those who look in."""
APART: Final = "apart/{}/{}"
"""Log value by uplink and gateway: the outbox's head when this edge was started without proof from the gateway since that it holds what is ours; a
copied disk has it from its first start."""
ALARM: Final = "edge/identity"
"""Stands from the finding that somebody else delivers under this edge's name until a record made since has been confirmed."""


class Identity:
    """The epochs of one outbox, durable in its log; safe for the threads of several uplinks."""

    def __init__(self, file: Log) -> None:
        self._log = file
        self._parting = threading.Lock()
        self._put: Callable[[Callable[[int], Entry]], None] = lambda _: None
        self._settled_at: int | None = None
        kept, only = file.value(EPOCHS), file.value("epoch")
        if kept is not None:
            self.epochs = Epochs.decode(kept)
        else:
            self.epochs = Epochs(((0, int(only) if only is not None else new_epoch(0)),))
            file.commit(values=self._values(self.epochs))

    @staticmethod
    def _values(epochs: Epochs) -> dict[str, bytes | None]:
        return {EPOCHS: epochs.encode(), "epoch": str(epochs.current).encode()}

    def begin(self, gateways: Iterable[tuple[str, str]], delivered: Iterable[int], put: Callable[[Callable[[int], Entry]], None]) -> None:
        """The agent starts: whoever has given no proof, by uplink and gateway, is apart from here on; says how it stands with the current epoch."""
        self._put = put
        head = str(self._log.head(OUTBOX).seq).encode()
        new = [key for names in gateways if self._log.value(key := APART.format(*names)) is None]
        if new:
            self._log.commit(values=dict.fromkeys(new, head))
        if len(self.epochs.begins) > 1 and self.epochs.since > max(delivered, default=0):
            self._settled_at = self.epochs.since
        current, open_ = self.epochs.current, self._settled_at is not None
        self._say(open_, f"epoch {current} has not been confirmed" if open_ else f"epoch {current} has been confirmed")

    def apart(self, uplink: str, gateway: str) -> int | None:
        """The outbox's head when this edge was started without proof since from a gateway; None when there was."""
        kept = self._log.value(APART.format(uplink, gateway))
        return int(kept) if kept is not None else None

    def settled(self, uplink: str, gateway: str) -> None:
        """There is proof now."""
        self._log.commit(values={APART.format(uplink, gateway): None})

    def moved(self, through: int) -> None:
        """Everything up to a number has been confirmed."""
        if self._settled_at is not None and through >= self._settled_at:
            self._settled_at = None
            self._say(False, f"epoch {self.epochs.current} has been confirmed")

    def part(self, through: int, above: int, why: str) -> None:
        """A gateway holds other records than ours behind `through`: this is a copy or an older image of an edge, or there is one. Begin a new epoch.

        What lies behind goes out, there and everywhere, under the new epoch: its numbers of the old one belong to another life. What lies before
        keeps its epoch, so that a gateway that has it not takes it as what it is; nothing is forgotten for it and nothing given up.
        """
        with self._parting:
            old = self.epochs
            epochs = old.parted(through + 1, new_epoch(max(old.current, above)))
            self._log.commit(values=self._values(epochs))
            self.epochs, self._settled_at = epochs, self._log.head(OUTBOX).seq + 1
        log.error("another edge, or an older copy of this one, delivers under its name: new epoch", why=why, since=through + 1, epoch=epochs.current)
        note = {"old": str(old.current), "new": str(epochs.current), "reason": f"{why}; from record {through + 1} on"}
        self._put(lambda now: Note(received_ns=now, action="new_epoch", object="outbox", **note))
        self._say(True, why)

    def _say(self, contested: bool, why: str) -> None:
        self._put(lambda now: Diagnostic(received_ns=now, alarm=ALARM, active=contested, explanation=why))


def new_epoch(previous: int) -> int:
    """Greater than every epoch before, also than one that a damaged log has taken with it: gateways order an edge's records by epoch, then number."""
    return max(previous + 1, time.time_ns() // 1_000_000)
