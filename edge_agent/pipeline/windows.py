"""Summaries of every tag over windows of source time, with supplements for late values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_agent.core import SUMMARY_DTYPE, Samples
from edge_agent.core.samples import Float64, Int32, Int64, UInt8, UInt32
from edge_agent.pipeline.quality import Screened
from edge_agent.pipeline.ticks import NEVER, SECOND_NS, TICK_NS, Watermark
from models.compiled import kernel

_TAG, _START, _SUPPLEMENT, _NEXT, _FIRST_NS, _LAST_NS, _STATUS, _MODE, _FATES = range(9)
"""Integer columns of an open window; six counters, one per fate, follow from _FATES on."""
_INTS: Final = _FATES + 6
_COUNT, _SUM, _MEAN, _M2, _MIN, _MAX, _FIRST, _LAST = range(8)
"""Float columns of an open window."""
_FLOATS: Final = 8

SUPPLEMENT_EVERY_NS: Final = SECOND_NS
"""Late values are gathered to the next full second of received time."""


@kernel(
    "int64(Array(int64, 1, 'C', readonly=True), Array(int32, 1, 'C', readonly=True),"
    " Array(float64, 1, 'C', readonly=True), Array(uint32, 1, 'C', readonly=True),"
    " Array(uint8, 1, 'C', readonly=True), int64, int64, int32[::1], int64[::1], uint8[::1],"
    " int64[:, ::1], float64[:, ::1], int64[::1], int64)"
)
def _accumulate(
    time_ns: Int64, tag: Int32, value: Float64, status: UInt32, fate: UInt8, received_ns: int, length_ns: int, group: Int32, closed_ns: Int64,
    mode: UInt8, ints: Int64, floats: Float64, head: Int64, used: int,
) -> int:  # fmt: skip
    """Add rows to the open windows, opening new ones at the end of the pool; returns the windows then in use.

    head (tags,) is the first open window of each tag, -1 for none; ints (capacity, 15) and floats (capacity, 8) hold the windows, chained by _NEXT.
    The pool must have room for one window per row.
    """
    for i in range(len(time_ns)):
        k = tag[i]
        f = fate[i]
        t = received_ns if f == 4 else time_ns[i]
        start = t - t % length_ns
        closed = closed_ns[group[k]]
        if f == 4 and start < closed:
            start = closed
        supplement = 1 if start < closed else 0
        w = head[k]
        while w >= 0 and (ints[w, 1] != start or ints[w, 2] != supplement or ints[w, 7] != mode[k]):
            w = ints[w, 3]
        if w < 0:
            w = used
            used += 1
            for c in range(ints.shape[1]):
                ints[w, c] = 0
            for c in range(floats.shape[1]):
                floats[w, c] = 0.0
            ints[w, 0] = k
            ints[w, 1] = start
            ints[w, 2] = supplement
            ints[w, 3] = head[k]
            ints[w, 7] = mode[k]
            head[k] = w
            floats[w, 4] = np.nan
            floats[w, 5] = np.nan
            floats[w, 6] = np.nan
            floats[w, 7] = np.nan
        ints[w, 8 + f] += 1
        if f >= 4:
            continue
        s = np.int64(status[i])
        if s > ints[w, 6]:
            ints[w, 6] = s
        if (s >> 30) >= 2:
            continue
        v = value[i]
        if floats[w, 0] == 0.0:
            ints[w, 4] = t
            ints[w, 5] = t
            floats[w, 4] = v
            floats[w, 5] = v
            floats[w, 6] = v
            floats[w, 7] = v
        else:
            if v < floats[w, 4]:
                floats[w, 4] = v
            if v > floats[w, 5]:
                floats[w, 5] = v
            if t < ints[w, 4]:
                ints[w, 4] = t
                floats[w, 6] = v
            if t >= ints[w, 5]:
                ints[w, 5] = t
                floats[w, 7] = v
        floats[w, 0] += 1.0
        floats[w, 1] += v
        # Welford (1962): the plain sum of squares loses every digit of a variance of 1 at an offset of 1e9.
        d = v - floats[w, 2]
        floats[w, 2] += d / floats[w, 0]
        floats[w, 3] += d * (v - floats[w, 2])
    return used


@kernel("void(int64[:, ::1], int64, int64[::1])")
def _chain(ints: Int64, used: int, head: Int64) -> None:
    """Chain the first `used` windows of the pool anew, tag by tag."""
    head[:] = -1
    for w in range(used):
        k = ints[w, 0]
        ints[w, 3] = head[k]
        head[k] = w


@kernel(
    "void(Array(int64, 1, 'C', readonly=True), Array(int32, 1, 'C', readonly=True), Array(float64, 1, 'C', readonly=True),"
    " Array(uint32, 1, 'C', readonly=True), Array(uint8, 1, 'C', readonly=True), int64[::1], int64[::1], int64[::1], int64, int64,"
    " int32[::1], int64[::1], int64[::1], uint8[::1], int64[:, ::1], float64[:, ::1], int64[::1],"
    " int64[:, ::1], float64[:, ::1], int64[::1], int64[::1])"
)
def _pass_over(
    time_ns: Int64, tag: Int32, value: Float64, status: UInt32, fate: UInt8, ends: Int64, received_ns: Int64, newest_ns: Int64,
    idle_ns: int, length_ns: int, group: Int32, lateness_ns: Int64, closed_ns: Int64, mode: UInt8, ints: Int64, floats: Float64, head: Int64,
    out_ints: Int64, out_floats: Float64, out_tick: Int64, mark: Int64,
) -> None:  # fmt: skip
    """`Pipeline._advance` and `Windows.step` for entry after entry: the twin of both, held together by tests/pipeline/test_runs.py.

    mark: newest, heard and low of the watermark, tick, windows in use, end of the earliest window, whether there are supplements, windows closed.
    Closed windows go to out_* in the order in which they stood, each with the tick that closed it.
    """
    begin = 0
    for e in range(len(ends)):
        received = received_ns[e]
        last = received - received % TICK_NS
        while True:
            due = NEVER
            if mark[5] != NEVER:
                due = mark[5] if mark[0] >= mark[5] else mark[5] + idle_ns + max(mark[1] - mark[0], 0)
            if mark[6] == 1:
                due = min(due, mark[3] - mark[3] % SUPPLEMENT_EVERY_NS + SUPPLEMENT_EVERY_NS)
            closing = due <= last
            tick = last
            if closing:
                tick = max(due + (-due) % TICK_NS, mark[3] + TICK_NS)
                closing = tick <= last
                tick = min(tick, last)
            if tick <= mark[3]:
                break
            mark[3] = tick
            base = min(mark[0], tick)
            if tick - mark[1] >= idle_ns:
                base = max(base, tick - idle_ns - max(mark[1] - mark[0], 0))
            mark[2] = max(mark[2], base)
            for g in range(len(closed_ns)):
                boundary = mark[2] - lateness_ns[g]
                closed_ns[g] = max(closed_ns[g], boundary - boundary % length_ns)
            if not closing:
                break
            kept = 0
            mark[5] = NEVER
            mark[6] = 0
            n = mark[7]
            for w in range(mark[4]):
                g = group[ints[w, 0]]
                if ints[w, 2] == 1:
                    done = tick % SUPPLEMENT_EVERY_NS == 0
                else:
                    done = ints[w, 1] + length_ns <= closed_ns[g]
                if done:
                    for c in range(ints.shape[1]):
                        out_ints[n, c] = ints[w, c]
                    for c in range(floats.shape[1]):
                        out_floats[n, c] = floats[w, c]
                    out_tick[n] = tick
                    n += 1
                    continue
                if ints[w, 2] == 1:
                    mark[6] = 1
                else:
                    mark[5] = min(mark[5], ints[w, 1] + length_ns + lateness_ns[g])
                if kept < w:
                    for c in range(ints.shape[1]):
                        ints[kept, c] = ints[w, c]
                    for c in range(floats.shape[1]):
                        floats[kept, c] = floats[w, c]
                kept += 1
            mark[4] = kept
            mark[7] = n
            _chain(ints, kept, head)
        mark[0] = max(mark[0], newest_ns[e])
        mark[1] = max(mark[1], received)
        before = mark[4]
        end = ends[e]
        mark[4] = _accumulate(
            time_ns[begin:end], tag[begin:end], value[begin:end], status[begin:end], fate[begin:end], received, length_ns, group, closed_ns,
            mode, ints, floats, head, before,
        )  # fmt: skip
        for w in range(before, mark[4]):
            if ints[w, 2] == 1:
                mark[6] = 1
            else:
                mark[5] = min(mark[5], ints[w, 1] + length_ns + lateness_ns[group[ints[w, 0]]])
        begin = end


class Windows:
    """Open windows of all tags.

    group        (tags,) index of each tag's lateness
    lateness_ns  (groups,) how long a window waits for late values
    """

    def __init__(self, length_ns: int, group: NDArray[np.int32], lateness_ns: NDArray[np.int64], version: NDArray[np.int32]) -> None:
        self.length_ns = length_ns
        self._group, self.lateness_ns, self._version = group, lateness_ns, version
        self.closed_ns = np.full(len(lateness_ns), np.iinfo(np.int64).min, np.int64)
        self.mode = np.zeros(len(group), np.uint8)
        self._head = np.full(len(group), -1, np.int64)
        self._ints = np.zeros((64, _INTS), np.int64)
        self._floats = np.zeros((64, _FLOATS), np.float64)
        self._used = 0
        self._parts: dict[tuple[int, int], int] = {}
        self._earliest_ns = NEVER
        self._supplements = False

    def step(self, rows: Screened) -> None:
        """Count and add screened rows."""
        samples = rows.samples
        n = len(samples)
        if n == 0:
            return
        self._reserve(self._used + n)
        before = self._used
        self._used = _accumulate(
            samples.time_ns, samples.tag, samples.value, samples.status, rows.fate, samples.received_ns, self.length_ns,
            self._group, self.closed_ns, self.mode, self._ints, self._floats, self._head, before,
        )  # fmt: skip
        if self._used > before:
            self._look(before)

    def pass_over(
        self, rows: Samples, fate: NDArray[np.uint8], ends: Int64, received_ns: Int64, newest_ns: Int64, watermark: Watermark, tick_ns: int
    ) -> tuple[np.ndarray[tuple[int], np.dtype[np.void]], NDArray[np.int64]]:
        """Entries one behind the other (`Run`), with what models derived from each behind its own rows: what `advance`, `close` and `step` do.

        newest_ns (m,) is the newest source time measured in each entry; `watermark` is moved on. Returns rows of summaries, and the tick at which
        each closed.
        """
        room = self._used + len(rows)
        self._reserve(room)
        ints, floats, tick = np.empty((room, _INTS), np.int64), np.empty((room, _FLOATS)), np.empty(room, np.int64)
        mark = np.array(
            [watermark.newest_ns, watermark.heard_ns, watermark.low_ns, tick_ns, self._used, self._earliest_ns, self._supplements, 0], np.int64
        )
        _pass_over(
            rows.time_ns, rows.tag, rows.value, rows.status, fate, ends, received_ns, newest_ns, watermark.idle_ns, self.length_ns,
            self._group, self.lateness_ns, self.closed_ns, self.mode, self._ints, self._floats, self._head, ints, floats, tick, mark,
        )  # fmt: skip
        watermark.newest_ns, watermark.heard_ns, watermark.low_ns = (int(x) for x in mark[:3])
        self._used, self._earliest_ns, self._supplements = int(mark[4]), int(mark[5]), bool(mark[6])
        n = int(mark[7])
        return self._rows_of(ints[:n], floats[:n], tick[:n])

    def _reserve(self, capacity: int) -> None:
        if capacity > len(self._ints):
            grown = max(capacity, 2 * len(self._ints))
            self._ints = np.concatenate([self._ints, np.zeros((grown - len(self._ints), _INTS), np.int64)])
            self._floats = np.concatenate([self._floats, np.zeros((grown - len(self._floats), _FLOATS), np.float64)])

    def _look(self, since: int) -> None:
        opened = self._ints[since : self._used]
        late = opened[:, _SUPPLEMENT] == 1
        self._supplements = self._supplements or bool(late.any())
        regular = opened[~late]
        if len(regular):
            ends = regular[:, _START] + self.length_ns + self.lateness_ns[self._group[regular[:, _TAG]]]
            self._earliest_ns = min(self._earliest_ns, int(ends.min()))

    @property
    def open(self) -> int:
        """Windows held open, supplements included."""
        return self._used

    @property
    def waits_for_ns(self) -> int:
        """The watermark base at which the next window closes; NEVER when none is open."""
        return self._earliest_ns

    def supplement_due_ns(self, tick_ns: int) -> int:
        """The tick after `tick_ns` at which supplements are written; NEVER when there are none."""
        return tick_ns - tick_ns % SUPPLEMENT_EVERY_NS + SUPPLEMENT_EVERY_NS if self._supplements else NEVER

    def advance(self, base_ns: int) -> None:
        """Move the boundary before which values are late; it never moves back."""
        boundary = base_ns - self.lateness_ns
        np.maximum(self.closed_ns, boundary - boundary % self.length_ns, out=self.closed_ns)

    def close(self, tick_ns: int) -> np.ndarray[tuple[int], np.dtype[np.void]]:
        """Take out the windows that the boundary has passed, and supplements at a full second; rows of SUMMARY_DTYPE by tag and start."""
        ints, floats = self._ints[: self._used], self._floats[: self._used]
        late = ints[:, _SUPPLEMENT] == 1
        done = ~late & (ints[:, _START] + self.length_ns <= self.closed_ns[self._group[ints[:, _TAG]]])
        if tick_ns % SUPPLEMENT_EVERY_NS == 0:
            done |= late
        if not done.any():
            return np.empty(0, SUMMARY_DTYPE)
        rows = self._rows(ints[done], floats[done])
        self._replace(ints[~done], floats[~done])
        return rows

    def flush(self) -> np.ndarray[tuple[int], np.dtype[np.void]]:
        """Take out all windows, open or not: before the window length changes."""
        rows = self._rows(self._ints[: self._used], self._floats[: self._used])
        if self._used:
            end = int(rows["start_ns"].max()) + self.length_ns
            np.maximum(self.closed_ns, end, out=self.closed_ns)
        self._replace(self._ints[:0], self._floats[:0])
        return rows

    def _rows(self, ints: NDArray[np.int64], floats: NDArray[np.float64]) -> np.ndarray[tuple[int], np.dtype[np.void]]:
        return self._rows_of(ints, floats, np.zeros(len(ints), np.int64))[0]

    def _rows_of(
        self, ints: NDArray[np.int64], floats: NDArray[np.float64], tick_ns: NDArray[np.int64]
    ) -> tuple[np.ndarray[tuple[int], np.dtype[np.void]], NDArray[np.int64]]:
        """Rows of windows that were closed at one tick or several, tick by tick; and the tick of each."""
        order = np.lexsort((ints[:, _MODE], ints[:, _SUPPLEMENT], ints[:, _START], ints[:, _TAG], tick_ns))
        ints, floats, tick_ns = ints[order], floats[order], tick_ns[order]
        rows = np.zeros(len(ints), SUMMARY_DTYPE)
        rows["tag"], rows["start_ns"], rows["length_ns"] = ints[:, _TAG], ints[:, _START], self.length_ns
        rows["version"] = self._version[ints[:, _TAG]]
        rows["part"] = 1
        # A unit that changes its mode inside a window ends one part and begins another: statistics of cleaning are not those of production.
        again = np.zeros(len(ints), np.bool_)
        again[1:] = (ints[1:, _TAG] == ints[:-1, _TAG]) & (ints[1:, _START] == ints[:-1, _START]) & (tick_ns[1:] == tick_ns[:-1])
        before = -1
        for i in np.flatnonzero(again | (ints[:, _SUPPLEMENT] == 1)):
            if tick_ns[i] != before:
                self._forget_parts()
                before = tick_ns[i]
            key = (int(ints[i, _TAG]), int(ints[i, _START]))
            self._parts[key] = rows["part"][i] = self._parts.pop(key, 1) + 1
        self._forget_parts()
        for f, name in enumerate(("n_good", "n_uncertain", "n_bad", "n_late", "n_rejected", "n_duplicate")):
            rows[name] = ints[:, _FATES + f]
        rows["count"] = floats[:, _COUNT]
        for c, name in ((_SUM, "sum"), (_M2, "m2"), (_MIN, "min"), (_MAX, "max"), (_FIRST, "first"), (_LAST, "last")):
            rows[name] = floats[:, c]
        rows["first_ns"], rows["last_ns"] = ints[:, _FIRST_NS], ints[:, _LAST_NS]
        rows["worst_status"], rows["mode"] = ints[:, _STATUS], ints[:, _MODE]
        return rows, tick_ns

    def _forget_parts(self) -> None:
        while len(self._parts) > 10_000:
            del self._parts[next(iter(self._parts))]

    def _replace(self, ints: NDArray[np.int64], floats: NDArray[np.float64]) -> None:
        kept = len(ints)
        self._ints[:kept], self._floats[:kept] = ints.copy(), floats.copy()
        self._used = kept
        _chain(self._ints, kept, self._head)
        self._earliest_ns, self._supplements = NEVER, False
        self._look(0)

    def state(self) -> dict[str, Any]:
        """Open windows, boundaries and the parts written so far."""
        parts = np.array([(k, s, p) for (k, s), p in self._parts.items()], np.int64).reshape(-1, 3)
        return {
            "ints": self._ints[: self._used].copy(),
            "floats": self._floats[: self._used].copy(),
            "closed_ns": self.closed_ns.copy(),
            "lateness_ns": self.lateness_ns.copy(),
            "length_ns": self.length_ns,
            "mode": self.mode.copy(),
            "parts": parts,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state; a changed window length or lateness keeps the open windows and continues on the new grid behind them."""
        self._reserve(len(state["ints"]))
        self.mode[: len(state["mode"])] = state["mode"]
        if state["length_ns"] == self.length_ns and np.array_equal(state["lateness_ns"], self.lateness_ns):
            self.closed_ns[:] = state["closed_ns"]
        else:
            boundary = np.full(len(self.closed_ns), state["closed_ns"].max(initial=np.iinfo(np.int64).min), np.int64)
            self.closed_ns[:] = boundary
        self._parts = {(int(k), int(s)): int(p) for k, s, p in state["parts"]}
        self._replace(state["ints"], state["floats"])
