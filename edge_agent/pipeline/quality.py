"""Screening: what each arriving value is worth, before anything looks at it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_agent.core import Samples, Texts
from edge_agent.core.samples import UNACKNOWLEDGED, Float64, Int32, Int64, UInt8, UInt32, UInt64
from edge_agent.core.status import (
    BAD_SENSOR_FAILURE,
    CODE_MASK,
    EXACT_INTEGER_LIMIT,
    UNCERTAIN,
    UNCERTAIN_ENGINEERING_UNITS_EXCEEDED,
    UNCERTAIN_SIMULATED,
)
from models.compiled import kernel

FATE_GOOD: Final = 0
FATE_UNCERTAIN: Final = 1
FATE_BAD: Final = 2
FATE_LATE: Final = 3
FATE_REJECTED: Final = 4
FATE_DUPLICATE: Final = 5
FATES: Final = ("good", "uncertain", "bad", "late", "rejected", "duplicate")
"""Every value that was received has exactly one fate (rule 7)."""

RING: Final = 16
"""Newest values remembered of each tag, however long ago they came: a new subscription shows the last one again."""

REMEMBERED: Final = 2 * UNACKNOWLEDGED
"""Newest values remembered of each source, whatever their tags. What a broker sends again after a death is the end of what it had sent: as a
connector never has more than UNACKNOWLEDGED values under way, the other half is for acknowledgements that never reached the broker."""

_SLOTS: Final = REMEMBERED - 1
_SLOT_MASK: Final = np.uint64(_SLOTS)
_MIX_TIME: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX_VALUE: Final = np.uint64(0xBF58476D1CE4E5B9)
_MIX_TAG: Final = np.uint64(0x94D049BB133111EB)
_SHIFT: Final = np.uint64(31)
_SIMULATED: Final = np.uint32(UNCERTAIN_SIMULATED)
_MASK: Final = np.uint32(CODE_MASK)
_LIMIT_LOW: Final = np.uint32(0x500)
_LIMIT_HIGH: Final = np.uint32(0x600)
_EXCEEDED: Final = np.uint32(UNCERTAIN_ENGINEERING_UNITS_EXCEEDED)
_SENSOR_FAILURE: Final = np.uint32(BAD_SENSOR_FAILURE)
_UNCERTAIN: Final = np.uint32(UNCERTAIN)
_FLAG_FIRST: Final = np.uint32(0x40930000)
_FLAG_LAST: Final = np.uint32(0x40950000)


@kernel(
    "int64(Array(int64, 1, 'C', readonly=True), Array(int32, 1, 'C', readonly=True),"
    " Array(float64, 1, 'C', readonly=True), Array(int64, 1, 'C', readonly=True),"
    " Array(uint32, 1, 'C', readonly=True), int64, int64[::1],"
    " float64[::1], float64[::1], uint8, uint8[::1], int32[::1], int64[::1],"
    " int64[::1], int64[:, ::1], int64[:, ::1], int32[::1],"
    " int32[::1], uint64[:, ::1], int64[::1], int64[:, ::1], int64[:, ::1], int64[::1], int64[:, ::1],"
    " uint8[::1], uint8[::1], uint32[::1])"
)
def _screen(
    time_ns: Int64, tag: Int32, value: Float64, bits: Int64, status: UInt32, received_ns: int, skew_ns: Int64,
    low: Float64, high: Float64, simulated: np.uint8, evaluated: UInt8, group: Int32, closed_ns: Int64,
    last_ns: Int64, ring_ns: Int64, ring_bits: Int64, ring_at: Int32,
    source: Int32, seen: UInt64, seen_count: Int64, seen_before: Int64, seen_newest: Int64, seen_indexed: Int64, totals: Int64,
    fate: UInt8, usable: UInt8, marked: UInt32,
) -> int:  # fmt: skip
    """One pass over the rows in order; returns the newest accepted source time, or -2**63 when no row was accepted.

    Rows: time_ns, tag, value, bits (the value's 64 bits), status. Per tag: skew_ns (a stamp may be ahead by so much), low, high (engineering
    range), evaluated (its unit's mode lets it be judged), group (index into closed_ns), last_ns, ring_* (the last values), source, totals
    (tags, 6). Written by row: fate, usable, marked.

    Per source: seen holds the newest keys, (time, value, tag) mixed to 64 bits, the n-th at n modulo its size. It is indexed only when something is
    looked up: seen_newest says which key was the last of a bucket, seen_before which one before it; one that is no longer held ends the chain.
    """
    newest = -(2**63) + 1
    size = ring_ns.shape[1]
    for i in range(len(time_ns)):
        k = tag[i]
        t = time_ns[i]
        s = status[i]
        v = value[i]
        usable[i] = 0
        marked[i] = s
        if t > received_ns + skew_ns[k]:
            fate[i] = 4
            totals[k, 4] += 1
            continue
        m = source[k]
        key = np.uint64(t) * _MIX_TIME
        key = ((key ^ (key >> _SHIFT)) + np.uint64(bits[i])) * _MIX_VALUE
        key = ((key ^ (key >> _SHIFT)) + np.uint64(k)) * _MIX_TAG
        key = key ^ (key >> _SHIFT)
        if t <= last_ns[k]:
            repeated = False
            for j in range(size):
                if ring_ns[k, j] == t and ring_bits[k, j] == bits[i]:
                    repeated = True
                    break
            if not repeated:
                forgotten = seen_count[m] - REMEMBERED
                for n in range(max(seen_indexed[m], forgotten) + 1, seen_count[m] + 1):
                    bucket = np.int64(seen[m, n & _SLOTS] & _SLOT_MASK)
                    seen_before[m, n & _SLOTS] = seen_newest[m, bucket]
                    seen_newest[m, bucket] = n
                seen_indexed[m] = seen_count[m]
                n = seen_newest[m, np.int64(key & _SLOT_MASK)]
                while not repeated and n > 0 and n > forgotten:
                    repeated = seen[m, n & _SLOTS] == key
                    n = seen_before[m, n & _SLOTS]
            if repeated:
                fate[i] = 5
                totals[k, 5] += 1
                continue
        at = ring_at[k]
        if t >= closed_ns[group[k]] or t >= ring_ns[k, at]:
            # What a history fills a hole with must not drive out the newest values: a new subscription shows the last one again.
            ring_ns[k, at] = t
            ring_bits[k, at] = bits[i]
            ring_at[k] = at + 1 if at + 1 < size else 0
        seen_count[m] += 1
        seen[m, seen_count[m] & _SLOTS] = key
        if t > last_ns[k]:
            last_ns[k] = t
        severity = s >> np.uint32(30)
        code = s & _MASK
        flagged = _FLAG_FIRST <= code <= _FLAG_LAST
        if simulated == 1 and code == _SIMULATED:
            severity = np.uint32(0)
        if severity < 2 and not np.isfinite(v):
            s = _SENSOR_FAILURE
            severity = np.uint32(2)
        elif severity == 0:
            if v < low[k] or v > high[k]:
                limit = _LIMIT_LOW if v < low[k] else _LIMIT_HIGH
                s = (code if code == _SIMULATED else _EXCEEDED) | limit
                severity = np.uint32(1)
                flagged = True
            elif abs(v) > EXACT_INTEGER_LIMIT:
                s = _UNCERTAIN
                severity = np.uint32(1)
        marked[i] = s
        if t < closed_ns[group[k]]:
            # Quality of a late value decides only whether its number is kept: see windows.
            fate[i] = 3
            totals[k, 3] += 1
            continue
        if t > newest:
            newest = int(t)
        f = np.uint8(2) if severity >= 2 else np.uint8(severity)
        fate[i] = f
        totals[k, f] += 1
        if evaluated[k] == 1 and (f == 0 or (f == 1 and flagged)):
            usable[i] = 1
    return newest


@dataclass(frozen=True, slots=True)
class Screened:
    """Rows of one entry with what was found: `samples` carries the marked status, fate and usable are (n,) uint8."""

    samples: Samples
    fate: NDArray[np.uint8]
    usable: NDArray[np.uint8]
    newest_ns: int | None
    """Newest accepted source time; None when no row was accepted."""


class Screen:
    """Removes repetitions, rejects stamps from the future, sorts out late values and marks quality, tag by tag.

    low, high  (tags,) engineering range; infinite where there is none
    group      (tags,) index of each tag's lateness
    skew_ns    a source stamp further ahead of the time of receipt is rejected; (tags,), or one for all
    source     (tags,) index into `sources`, -1 for none; absent when all tags are of one
    """

    def __init__(
        self,
        low: NDArray[np.float64],
        high: NDArray[np.float64],
        group: NDArray[np.int32],
        *,
        simulated: bool,
        skew_ns: int | NDArray[np.int64],
        source: NDArray[np.int32] | None = None,
        sources: Sequence[str] = (),
    ) -> None:
        n = len(low)
        self._low, self._high, self._group = low, high, group
        self._simulated, self._skew_ns = np.uint8(simulated), np.full(n, skew_ns, np.int64)
        self.evaluated = np.ones(n, np.uint8)
        self.last_ns = np.full(n, np.iinfo(np.int64).min, np.int64)
        self._ring_ns = np.full((n, RING), np.iinfo(np.int64).min, np.int64)
        self._ring_bits = np.zeros((n, RING), np.int64)
        self._ring_at = np.zeros(n, np.int32)
        self.totals = np.zeros((n, len(FATES)), np.int64)
        self._sources = (*sources, "")  # the last one, which -1 means, is of tags without a source
        self._source = (np.zeros(n, np.int32) if source is None else np.where(source < 0, len(sources), source)).astype(np.int32)
        shape = (len(self._sources), REMEMBERED)
        self._seen, self._seen_count = np.zeros(shape, np.uint64), np.zeros(len(self._sources), np.int64)
        self._seen_before, self._seen_newest, self._seen_indexed = np.zeros(shape, np.int64), np.zeros(shape, np.int64), self._seen_count.copy()

    def step(self, samples: Samples, closed_ns: NDArray[np.int64]) -> Screened:
        """Judge rows in order; values before `closed_ns` of their tag's group are late."""
        n = len(samples)
        fate, usable, marked = np.empty(n, np.uint8), np.empty(n, np.uint8), np.empty(n, np.uint32)
        newest = _screen(
            samples.time_ns, samples.tag, samples.value, samples.value.view(np.int64), samples.status, samples.received_ns, self._skew_ns,
            self._low, self._high, self._simulated, self.evaluated, self._group, closed_ns,
            self.last_ns, self._ring_ns, self._ring_bits, self._ring_at,
            self._source, self._seen, self._seen_count, self._seen_before, self._seen_newest, self._seen_indexed, self.totals,
            fate, usable, marked,
        )  # fmt: skip
        same = np.array_equal(marked, samples.status)
        rows = samples if same else Samples(samples.time_ns, samples.tag, samples.value, marked, samples.received_ns)
        return Screened(rows, fate, usable, int(newest) if newest > np.iinfo(np.int64).min + 1 else None)

    def words(self, texts: Texts) -> Texts:
        """The texts as they count: of a stamp too far ahead its receipt is what is known. The newest time of each tag is remembered.

        No text is rejected for its stamp: it is kept as it came, but no later one may seem old because of it.
        """
        times, tags = np.array(texts.time_ns, np.int64), np.array(texts.tag, np.int32)
        times = np.where(times > texts.received_ns + self._skew_ns[tags], texts.received_ns, times)
        np.maximum.at(self.last_ns, tags, times)
        return replace(texts, time_ns=tuple(times.tolist()))

    def state(self) -> dict[str, Any]:
        """Per-tag arrays, all with the tags as first axis, and by source the keys it remembers, oldest first."""
        return {
            "last_ns": self.last_ns.copy(),
            "ring_ns": self._ring_ns.copy(),
            "ring_bits": self._ring_bits.copy(),
            "ring_at": self._ring_at.copy(),
            "totals": self.totals.copy(),
            "seen": {name: self._keys(m) for m, name in enumerate(self._sources)},
        }

    def _keys(self, m: int) -> UInt64:
        n = int(self._seen_count[m])
        return np.take(self._seen[m], np.arange(max(1, n - REMEMBERED + 1), n + 1) & _SLOTS)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state of as many tags or fewer, tags are only ever added; and of the sources that are still there."""
        same_ring = state["ring_ns"].shape[1] == RING  # an earlier version remembered more of each tag, and nothing of a source
        for mine, name in (
            (self.last_ns, "last_ns"),
            (self._ring_ns, "ring_ns"),
            (self._ring_bits, "ring_bits"),
            (self._ring_at, "ring_at"),
            (self.totals, "totals"),
        ):
            if same_ring or not name.startswith("ring_"):
                mine[: len(state[name])] = state[name]
        for name, keys in state.get("seen", {}).items():
            if name in self._sources:
                m = self._sources.index(name)
                self._seen[m, np.arange(1, len(keys) + 1) & _SLOTS] = keys
                self._seen_count[m], self._seen_indexed[m], self._seen_newest[m] = len(keys), 0, 0
