"""Ledger of a continuous line: when its material was accepted and diverted, why, and how much, from the derived tags of its diverter.

The tags came exactly once, with the records of their edge; the masses of a span are differences of its counters, so nothing is counted twice and no
restart of anything changes them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from typing import Final, TypedDict

from gateway.query import MAX_POINTS
from gateway.rows import SeriesRow, TagRow

REQUEST: Final = ".divert_request"
ACCOUNTS: Final = ("accepted_kg", "diverted_kg", "unconfirmed_kg", "against_kg", "unseen_s")
CHUNK_NS: Final = 8 * 3600 * 1_000_000_000
"""So much is read at once: accounts are told every 10 s, and more often when something changes."""
LONGEST_NS: Final = 31 * 86_400 * 1_000_000_000
BACK_NS: Final = 86_400 * 1_000_000_000
"""So far before a span it is looked what held at its beginning."""

Series = Callable[[str, int, int, int], SeriesRow]


class DivertSpan(TypedDict):
    """Material between two changes of the request."""

    from_ns: int
    to_ns: int
    request: bool
    reason: int
    """All reasons that held in it, a sum of 1, 2, 4, 8, 16, 32 (docs/continuous.md)."""
    accepted_kg: float
    diverted_kg: float
    unconfirmed_kg: float
    against_kg: float
    unseen_s: float


class DivertLedgerRow(TypedDict):
    """The ledger of one diverter over [from_ns, to_ns), oldest first, and its sums."""

    diverter: str
    from_ns: int
    to_ns: int
    told_ns: int
    """Time of the newest account in it; what passed later is not in the sums."""
    spans: list[DivertSpan]
    accepted_kg: float
    diverted_kg: float
    unconfirmed_kg: float
    against_kg: float
    unseen_s: float


def diverters(tags: list[TagRow]) -> list[str]:
    """Keys `<edge>:<name>` of all diverters."""
    return [tag["key"].removesuffix(REQUEST) for tag in tags if tag["key"].endswith(REQUEST) and tag["model"].startswith("divert:")]


class Steps:
    """What a tag said, and what held at any time: its last value."""

    def __init__(self, series: Series, key: str, from_ns: int, to_ns: int) -> None:
        self.times: list[int] = []
        self.values: list[float] = []
        begin = max(0, from_ns - BACK_NS)
        while begin < to_ns:
            end = min(begin + CHUNK_NS, to_ns)
            row = series(key, begin, end, MAX_POINTS)
            for time_ns, value in zip(row["time_ns"], row["last"], strict=True):
                if value is not None and (not self.times or time_ns > self.times[-1]):
                    self.times.append(time_ns)
                    self.values.append(value)
            begin = end
        for back_ns in (8 * BACK_NS, 31 * BACK_NS, 366 * BACK_NS):  # what is told by changes only may have been told long ago
            if from_ns <= BACK_NS or self.at(from_ns) is not None:
                break
            row = series(key, max(0, from_ns - back_ns), max(0, from_ns - BACK_NS), MAX_POINTS)
            told = [(t, v) for t, v in zip(row["time_ns"], row["last"], strict=True) if v is not None]
            if told:
                self.times.insert(0, told[-1][0])
                self.values.insert(0, told[-1][1])

    def at(self, time_ns: int) -> float | None:
        """The value that held at a time; None before the first."""
        i = bisect_right(self.times, time_ns)
        return self.values[i - 1] if i else None

    def within(self, from_ns: int, to_ns: int) -> list[float]:
        """All values that held in [from_ns, to_ns)."""
        held = self.at(from_ns)
        first = bisect_right(self.times, from_ns)
        later = [v for t, v in zip(self.times[first:], self.values[first:], strict=True) if t < to_ns]
        return ([] if held is None else [held]) + later

    def grown(self, from_ns: int, to_ns: int) -> float:
        """By how much a counter grew from one time to another; one that began anew counts from 0."""
        total, before = 0.0, self.at(from_ns)
        first, last = bisect_right(self.times, from_ns), bisect_right(self.times, to_ns)
        for value in self.values[first:last]:
            total += value - before if before is not None and value >= before else value if before is not None else 0.0
            before = value
        return total


def ledger(series: Series, diverter: str, from_ns: int, to_ns: int) -> DivertLedgerRow:
    """The ledger of a diverter, `<edge>:<name>`; ValueError for a span that cannot be."""
    if not from_ns < to_ns or to_ns - from_ns > LONGEST_NS:
        raise ValueError(f"from, to: expected a span of at most 31 days, found {(to_ns - from_ns) / 86_400e9:.3g} days")
    # What is told at the very end of a span belongs to it, so that the sums of parts are those of the whole.
    steps = {name: Steps(series, f"{diverter}.{name}", from_ns, to_ns + 1) for name in ("divert_request", "reason", *ACCOUNTS)}
    request = steps["divert_request"]
    newest = max((s.times[-1] for s in steps.values() if s.times), default=from_ns)
    told_ns = min(to_ns, max((steps[a].times[-1] for a in ACCOUNTS if steps[a].times), default=from_ns))
    cuts = sorted({t for t in request.times if from_ns < t < to_ns} | {from_ns})
    spans: list[DivertSpan] = []
    for begin, end in zip(cuts, [*cuts[1:], min(to_ns, max(newest, from_ns + 1))], strict=True):
        asked = request.at(begin)
        if asked is None or begin >= end:
            continue
        reason = 0
        for value in steps["reason"].within(begin, end) if asked else ():
            reason |= int(value)
        if spans and spans[-1]["request"] == bool(asked):  # said again, as after a start
            last = spans[-1]
            last["to_ns"], last["reason"] = end, last["reason"] | reason
        else:
            spans.append(_span(begin, end, bool(asked), reason))
    for span in spans:
        for account in ACCOUNTS:
            span[account] = round(steps[account].grown(span["from_ns"], span["to_ns"]), 6)
    sums = {account: round(sum(span[account] for span in spans), 6) for account in ACCOUNTS}
    return {"diverter": diverter, "from_ns": from_ns, "to_ns": to_ns, "told_ns": told_ns, "spans": spans, **sums}  # type: ignore[typeddict-item]


def _span(begin: int, end: int, request: bool, reason: int) -> DivertSpan:
    return {
        "from_ns": begin, "to_ns": end, "request": request, "reason": reason,
        "accepted_kg": 0.0, "diverted_kg": 0.0, "unconfirmed_kg": 0.0, "against_kg": 0.0, "unseen_s": 0.0,
    }  # fmt: skip

