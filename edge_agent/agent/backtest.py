"""What a configuration would have told: alarms per day, by tag and by alarm, delays to known events and alarms that no event explains."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_agent.core import AlarmDefinition, AlarmEvent, Catalogue, Mistake, PharmedgeError, Samples
from edge_agent.core.samples import Float64, Int32, Int64
from edge_agent.core.status import BAD

BINS: Final = 600
"""Points of a curve; each holds the least and the greatest value of its time."""
DAY_NS: Final = 86_400_000_000_000


class EventsError(PharmedgeError):
    """A file of known events cannot be used; the text is FILE:LINE: key: expected X, found Y."""


@dataclass(frozen=True, slots=True)
class Known:
    """An event that is known to have happened: times in ns UTC; `tags` are those at which it shows."""

    name: str
    start_ns: int
    end_ns: int
    tags: tuple[str, ...]
    within_ns: int

    @property
    def until_ns(self) -> int:
        """Until when an alarm at one of its tags is explained by it."""
        return max(self.end_ns, self.start_ns + self.within_ns)


def known_events(path: Path) -> list[Known]:
    """Lines {fault, t_start, t_end, tags, detect_within_s}, times in seconds since 1970 or ISO 8601 (without an offset: UTC), by their start."""
    found = []
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise EventsError(str(Mistake(str(path), 1, "--events", "a readable file of JSON lines", str(error)))) from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise EventsError(str(Mistake(str(path), number, "(line)", "a JSON object", repr(line[:60])))) from error
        found.append(_known(path, number, row))
    return sorted(found, key=lambda event: event.start_ns)


def _known(path: Path, number: int, row: Any) -> Known:
    def wrong(key: str, expected: str, given: object) -> EventsError:
        return EventsError(str(Mistake(str(path), number, key, expected, repr(given))))

    if not isinstance(row, dict):
        raise wrong("(line)", "a JSON object", row)
    tags = row.get("tags")
    if not isinstance(tags, list) or not tags or not all(isinstance(tag, str) for tag in tags):
        raise wrong("tags", "a list of tag names", tags)
    times = {}
    for key in ("t_start", "t_end"):
        try:
            times[key] = _time_ns(row.get(key))
        except ValueError as error:
            raise wrong(key, "seconds since 1970 or an ISO 8601 time", row.get(key)) from error
    within = row.get("detect_within_s")
    if isinstance(within, bool) or not isinstance(within, int | float) or not within > 0:
        raise wrong("detect_within_s", "seconds above 0", within)
    if times["t_end"] < times["t_start"]:
        raise wrong("t_end", "a time not before t_start", row["t_end"])
    return Known(str(row.get("fault", "")), times["t_start"], times["t_end"], tuple(tags), round(within * 1e9))


def _time_ns(given: object) -> int:
    if isinstance(given, str):
        text = given[:-1] if given.endswith("Z") else given
        return int(np.datetime64(text, "ns").astype(np.int64))
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise ValueError
    return round(given * 1e9)


@dataclass
class Curve:
    """Least and greatest values of a tag over a time that grows: bins are joined two by two when it outgrows them."""

    begin_ns: int
    width_ns: int = 1_000_000_000
    least: Float64 = field(default_factory=lambda: np.full(BINS, np.inf))
    most: Float64 = field(default_factory=lambda: np.full(BINS, -np.inf))

    def add(self, time_ns: Int64, value: Float64) -> None:
        """Values at times; those that are no number and those before the first are passed over."""
        kept = np.isfinite(value) & (time_ns >= self.begin_ns)
        time_ns, value = time_ns[kept], value[kept]
        if not len(time_ns):
            return
        while (int(time_ns.max()) - self.begin_ns) // self.width_ns >= BINS:
            self.width_ns *= 2
            for bins, join, empty in ((self.least, np.minimum, np.inf), (self.most, np.maximum, -np.inf)):
                bins[: BINS // 2] = join(bins[::2], bins[1::2])
                bins[BINS // 2 :] = empty
        at = (time_ns - self.begin_ns) // self.width_ns
        np.minimum.at(self.least, at, value)
        np.maximum.at(self.most, at, value)


@dataclass(frozen=True, slots=True)
class Raised:
    """One occurrence of an alarm; `cleared_ns` is the end of the data where it still stood then."""

    alarm: str
    tag: str
    roots: frozenset[str]
    raised_ns: int
    cleared_ns: int
    told_ns: int
    priority: int
    advisory: bool
    explanation: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a known event: the occurrence that found it first, and after how long."""

    event: Known
    found: Raised | None
    delay_s: float | None


class Backtest:
    """Gathers while a replay runs: occurrences of alarms, and curves of the tags that alarms are about."""

    def __init__(self, catalogue: Catalogue, alarms: Sequence[AlarmDefinition]) -> None:
        self.catalogue = catalogue
        self.definitions = {a.name: a for a in alarms}
        watched = {a.tag for a in alarms if a.kind not in ("stale", "bad_quality", "diagnostic")}
        self._wanted = np.zeros(len(catalogue), np.bool_)
        for name in {root for tag in watched for root in (tag, *self.roots(tag))}:
            self._wanted[catalogue.id(name)] = catalogue[catalogue.id(name)].kind == "numeric"
        self.curves: dict[str, Curve] = {}
        self.begin_ns: int | None = None
        self.end_ns = 0
        self.values = 0
        self._open: dict[str, AlarmEvent] = {}
        self._over: list[tuple[AlarmEvent, int]] = []

    def roots(self, name: str) -> frozenset[str]:
        """The measured tags behind a tag."""
        tag = self.catalogue.get(name)
        if tag is None or not tag.derived_from:
            return frozenset([name] if name else [])
        return frozenset(root for parent in tag.derived_from for root in self.roots(parent))

    def measured(self, samples: Samples) -> None:
        """Values came in."""
        if not len(samples):
            return
        first = int(samples.time_ns.min())
        self.begin_ns = first if self.begin_ns is None else min(self.begin_ns, first)
        self.end_ns = max(self.end_ns, int(samples.time_ns.max()))
        self.values += len(samples)
        good = samples.status < BAD
        self.see(samples.time_ns[good], samples.tag[good], samples.value[good])

    def see(self, time_ns: Int64, tag: Int32, value: Float64) -> None:
        """Values, measured or derived, for the curves."""
        wanted = self._wanted[tag]
        if not wanted.any():
            return
        time_ns, tag, value = time_ns[wanted], tag[wanted], value[wanted]
        begin = int(time_ns.min()) if self.begin_ns is None else self.begin_ns
        for k in np.unique(tag).tolist():
            mine = tag == k
            self.curves.setdefault(self.catalogue[k].name, Curve(begin)).add(time_ns[mine], value[mine])

    def told(self, event: AlarmEvent) -> None:
        """An alarm event followed."""
        if event.event == "raise":
            self._open[event.alarm] = event
        elif event.event == "clear" and event.alarm in self._open:
            self._over.append((self._open.pop(event.alarm), event.time_ns))

    def raised(self) -> list[Raised]:
        """Every occurrence, by the time at which it was raised."""
        standing = [(event, max(self.end_ns, event.time_ns)) for event in self._open.values()]
        found = [
            Raised(
                e.alarm, e.tag, self.roots(e.tag), e.raised_ns, cleared, e.time_ns, e.priority, e.advisory, e.explanation
            )
            for e, cleared in [*self._over, *standing]
        ]  # fmt: skip
        return sorted(found, key=lambda r: (r.told_ns, r.alarm))


@dataclass(frozen=True, slots=True)
class Report:
    """The figures of a backtest.

    days       day (UTC, ISO), calls and advisories of each day of the data
    by_alarm   alarm, how often, seconds it stood together
    verdicts   known events, None when none were given
    unexplained  occurrences that no known event explains: false alarms, as far as the events are complete
    """

    test: Backtest
    raised: list[Raised]
    days: list[tuple[str, int, int]]
    by_alarm: list[tuple[str, int, float]]
    by_tag: list[tuple[str, int]]
    verdicts: list[Verdict] | None
    unexplained: list[Raised] | None


def report(test: Backtest, events: Sequence[Known] | None) -> Report:
    """Figures of a replay that has ended."""
    raised = test.raised()
    begin = test.begin_ns or 0
    calls, advisories = (Counter(_day(r.told_ns) for r in raised if r.advisory is which) for which in (False, True))
    every = range(begin // DAY_NS, max(test.end_ns // DAY_NS, *(r.told_ns // DAY_NS for r in raised), 0) + 1) if raised or test.values else ()
    days = [(d, calls[d], advisories[d]) for d in (_day(n * DAY_NS) for n in every)]
    counts, stood = Counter(r.alarm for r in raised), Counter[str]()
    for r in raised:
        stood[r.alarm] += max(r.cleared_ns - r.raised_ns, 0)
    tags = Counter(root for r in raised for root in r.roots)
    return Report(
        test, raised, days, [(a, n, stood[a] / 1e9) for a, n in counts.most_common()], tags.most_common(),
        None if events is None else [_verdict(e, raised) for e in events],
        None if events is None else [r for r in raised if not any(_explains(e, r) for e in events)],
    )  # fmt: skip


def _day(time_ns: int) -> str:
    return str(np.datetime64(time_ns, "ns").astype("datetime64[D]"))


def _about(event: Known, raised: Raised) -> bool:
    return raised.tag in event.tags or not raised.roots.isdisjoint(event.tags)


def _explains(event: Known, raised: Raised) -> bool:
    return _about(event, raised) and event.start_ns <= raised.raised_ns <= event.until_ns


def _verdict(event: Known, raised: Sequence[Raised]) -> Verdict:
    """Found: an alarm about one of its tags is raised within its time and was not standing before."""
    standing = {r.alarm for r in raised if r.raised_ns < event.start_ns < r.cleared_ns}
    for r in raised:
        if _about(event, r) and event.start_ns <= r.raised_ns <= event.start_ns + event.within_ns and r.alarm not in standing:
            return Verdict(event, r, (r.told_ns - event.start_ns) / 1e9)
    return Verdict(event, None, None)


def median_delay_s(verdicts: Sequence[Verdict]) -> float | None:
    """Median seconds from the start of an event to its alarm; None when none was found."""
    delays: NDArray[np.float64] = np.array([v.delay_s for v in verdicts if v.delay_s is not None])
    return float(np.median(delays)) if len(delays) else None
