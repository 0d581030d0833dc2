"""A recording played as a line, at its own pace or faster, over the plant's protocols."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatch
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from simulators.recording import Column
from simulators.signals import SIMULATED, Emission, Signal, TextValue, Truth

_ROLES = {"batch": "batch", "batch_id": "batch", "phase": "phase", "mode": "mode", "operator": "operator", "lot": "lot"}


def unit_from_file(name: str) -> str:
    """Unit name from a file name.

    >>> unit_from_file("Process_3.csv.gz")
    'process_3'
    """
    return re.sub(r"[^a-z0-9_]+", "_", name.partition(".")[0].lower()).strip("_") or "replay"


class Replay:
    """Serves the columns of a recording as signals of one unit.

    Times count from the first row. Pauses longer than `max_pause_s` are shortened to it (nights, week-ends); 0 keeps them.
    """

    def __init__(self, columns: Sequence[Column], unit: str, *, road: Literal["opcua", "mqtt"] = "opcua",
                 mqtt_tags: Sequence[str] = (), max_pause_s: float = 0.0, start_ns: int | None = None,
                 text_columns: Sequence[str] = ()) -> None:
        for wanted in text_columns:
            if wanted not in {c.name for c in columns}:
                raise ValueError(f"--text: expected one of {', '.join(c.name for c in columns)}, found {wanted!r}")
        columns = [_from(c, start_ns) for c in columns]
        columns = [c for c in columns if c.time_ns]
        if not columns:
            raise ValueError("--start-at: expected a time before the end of the recording, found a later one")
        moments = np.unique(np.concatenate([np.array(c.time_ns, np.int64) for c in columns]))
        self.first_ns = int(moments[0])
        """Original time of time zero, ns UTC."""
        played = _without_pauses(moments, int(max_pause_s * 1e9))
        self.end_ns: int | None = int(played[-1])
        times, index, values = [], [], []
        texts: list[TextValue] = []
        signals: list[Signal] = []
        for i, c in enumerate(columns):
            when = played[np.searchsorted(moments, np.array(c.time_ns, np.int64))]
            text = c.is_text or c.name in text_columns
            over = "mqtt" if any(fnmatch(c.name, p) for p in mqtt_tags) else road
            signals.append(_signal(c, f"{unit}/{c.name}", over, when, text=text))
            if text:
                words = c.texts or [f"{v:g}" for v in c.numbers]
                texts += [TextValue(int(t), i, w) for k, (t, w) in enumerate(zip(when, words, strict=True))
                          if k == 0 or w != words[k - 1]]
            else:
                times.append(when)
                index.append(np.full(len(when), i, np.int32))
                values.append(np.array(c.numbers, np.float64))
        self.signals = tuple(signals)
        all_times = np.concatenate(times) if times else np.empty(0, np.int64)
        order = np.argsort(all_times, kind="stable")
        self._time: NDArray[np.int64] = all_times[order]
        self._signal = (np.concatenate(index) if index else np.empty(0, np.int32))[order]
        self._value = (np.concatenate(values) if values else np.empty(0, np.float64))[order]
        self._texts = sorted(texts)
        self._at = 0
        self._text_at = 0

    def __len__(self) -> int:
        return len(self._time)

    def step(self, until_ns: int) -> Emission:
        """All recorded values later than the last step and not later than `until_ns`."""
        end = int(np.searchsorted(self._time, until_ns, side="right"))
        begin, self._at = self._at, max(end, self._at)
        first = self._text_at
        while self._text_at < len(self._texts) and self._texts[self._text_at].time_ns <= until_ns:
            self._text_at += 1
        part = slice(begin, self._at)
        n = self._at - begin
        return Emission(self._time[part], self._signal[part], self._value[part], np.full(n, SIMULATED, np.uint32),
                        tuple(self._texts[first:self._text_at]))

    def truth(self) -> tuple[Truth, ...]:
        """Nothing: a recording carries no injected faults."""
        return ()


def _from(column: Column, start_ns: int | None) -> Column:
    if start_ns is None:
        return column
    at = int(np.searchsorted(np.array(column.time_ns, np.int64), start_ns))
    return Column(column.name, column.time_ns[at:], column.numbers[at:], column.texts[at:])


def _without_pauses(moments: NDArray[np.int64], max_pause_ns: int) -> NDArray[np.int64]:
    steps = np.diff(moments, prepend=moments[0])
    if max_pause_ns > 0:
        steps = np.minimum(steps, max_pause_ns)
    return np.cumsum(steps)


def _signal(column: Column, name: str, road: Literal["opcua", "mqtt"], when: NDArray[np.int64], *, text: bool) -> Signal:
    if text:
        return Signal(name, "", 0.0, 0.0, 0, 0.0, road, f"Recorded {column.name}", f"录制数据 {column.name}", kind="text",
                      tag_class="other", role=_ROLES.get(column.name.lower(), "value"))
    values = np.array(column.numbers)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    margin = 0.1 * (high - low) or max(abs(high), 1.0) * 0.1
    period_s = float(np.median(np.diff(when))) / 1e9 if len(when) > 1 else 0.0
    return Signal(name, "", round(low - margin, 6), round(high + margin, 6), 3, period_s, road, f"Recorded {column.name}",
                  f"录制数据 {column.name}", tag_class="other")
