"""A child process that stores, seals, merges and expires, and kills itself at a named step: `python -m tests.gateway.dying FOLDER STEP COUNT`."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from gateway.config import Retention, StoreSection
from gateway.store import Store
from tests.gateway.edge import SECOND, START, Edge

SETTINGS = StoreSection(seal_after_s=10, compact_files=3, retention_days=Retention(gmp=3650, other=2))
LATE = START + 5 * 86_400 * SECOND


class Dying:
    """Counts one step and dies at its count-th time."""

    def __init__(self, step: str, count: int) -> None:
        self._step, self._left = step, count

    def __call__(self, name: str) -> None:
        if name == self._step:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def whole_edge() -> Edge:
    edge = Edge()
    edge.define()
    for i in range(6):
        for tag in (0, 1):
            edge.summary(edge.samples(30 * i, 30, tag))
    edge.gap(7)
    edge.event("raise", "NORM", "UNACK")
    return edge


def live(folder: Path, step: str, count: int) -> None:
    """What a gateway does in a week, in a moment; every part may be done again."""
    now = START + 1000 * SECOND
    die = Dying(step, count)
    store = Store(folder, gateway="gw1", production=False, settings=SETTINGS, clock=lambda: now, step=die)
    store.trim(2**62)
    edge = whole_edge()
    for begin in range(0, len(edge.records), 7):
        taken = store.take([(edge.deliver(edge.records[begin : begin + 7]), now)])
        die("committed")
        store.apply(taken)
        die("applied")
        now += 11 * SECOND
        store.roll(now)
        store.seal(now)
        store.trim(2**62)
    store.tidy(now)
    now = LATE
    store.tidy(now)
    store.close()


if __name__ == "__main__":
    live(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
