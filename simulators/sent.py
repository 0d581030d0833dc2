"""What the simulator itself remembers: every sample handed over, and every fault that happened."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simulators.signals import Signal, Truth

HEADER = ("tag", "n", "first_ns", "last_ns", "sum")


class SentLedger:
    """Per tag: number of samples, first and last source time, sum of the values that are not Bad.

    >>> from simulators.press_signals import press_signals
    >>> ledger = SentLedger(press_signals(600.0))
    >>> ledger.add(np.array([5, 9]), np.array([1, 1]), np.array([12.5, np.nan]), np.array([0, 0x808C0000]))
    >>> ledger.rows()[1]
    ('press1/main_force', 2, 5, 9, 12.5)
    """

    def __init__(self, signals: Sequence[Signal]) -> None:
        self._signals = signals
        size = len(signals)
        self._n = np.zeros(size, np.int64)
        self._first = np.zeros(size, np.int64)
        self._last = np.zeros(size, np.int64)
        self._sum = np.zeros(size, np.float64)

    def add(self, time_ns: NDArray[np.int64], signal: NDArray[np.int32], value: NDArray[np.float64],
            status: NDArray[np.uint32]) -> None:
        """Count samples that were handed to a protocol server or publisher, in time order per tag."""
        size = len(self._signals)
        not_bad = (np.asarray(status, np.uint32) >> 31) == 0
        counts = np.bincount(signal, minlength=size)
        fresh = (self._n == 0) & (counts > 0)
        for index in np.flatnonzero(fresh):
            self._first[index] = np.min(time_ns[signal == index])
        self._n += counts
        np.maximum.at(self._last, signal, time_ns)
        self._sum += np.bincount(signal[not_bad], weights=value[not_bad], minlength=size)

    @property
    def total(self) -> int:
        """Samples of all tags."""
        return int(self._n.sum())

    def rows(self) -> list[tuple[str, int, int, int, float]]:
        """One row per numeric tag; 0 in the times of a tag that sent nothing."""
        return [
            (s.name, int(self._n[i]), int(self._first[i]), int(self._last[i]), float(self._sum[i]))
            for i, s in enumerate(self._signals)
            if s.kind == "numeric"
        ]

    def text(self) -> str:
        """The rows as CSV with the header `tag,n,first_ns,last_ns,sum`."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(HEADER)
        for tag, n, first, last, total in self.rows():
            writer.writerow([tag, n, first, last, repr(total)])
        return out.getvalue()


def truth_lines(truths: Sequence[Truth], start_ns: int, speed: float, until_s: float) -> str:
    """Ground truth as JSON lines, times in seconds UTC epoch; a fault cut short by the end of the run ends there."""
    lines: list[str] = []
    for t in truths:
        begin = start_ns / 1e9 + t.t_start / speed
        end = start_ns / 1e9 + min(t.t_end, max(until_s, t.t_start)) / speed
        lines.append(json.dumps({"fault": t.fault, "t_start": round(begin, 6), "t_end": round(end, 6),
                                 "tags": list(t.tags), "detect_within_s": round(t.detect_within_s / speed, 6)}))
    return "".join(f"{line}\n" for line in lines)


def write_atomically(path: Path, text: str | bytes) -> None:
    """Replace a file so that a reader sees the old text or the new one, also after a power cut."""
    new = path.with_name(path.name + ".new")
    with new.open("wb") as out:
        out.write(text.encode() if isinstance(text, str) else text)
        out.flush()
        os.fsync(out.fileno())
    new.replace(path)
