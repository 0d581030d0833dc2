"""Key figures of the alarm system over a span (ISA-18.2-2016 clause 16, EEMUA 191), from alarm events alone.

A *call* is what an operator hears and sees begin: a raise, a re-alarm, or the end of a suppression under which the condition is met; advisory
findings and suppressed alarms are none. Times are those at which the edge decided (`received_ns`). Rates are per operating position.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, TypedDict

from edge_agent.core import AlarmEvent
from edge_agent.core.alarm import ACTIVE, ANNUNCIATED

S: Final = 1_000_000_000
TEN_MIN: Final = 600 * S
HOUR: Final = 3600 * S
DAY: Final = 86_400 * S
LEAD: Final = DAY
"""How long before a span its events have to begin: a flood that began before still fills it."""
CHATTER_CALLS: Final = 3
"""Calls of one alarm within `CHATTER_NS` that make it chatter."""
CHATTER_NS: Final = 60 * S
CHATTER_INDEX: Final = 0.05
"""Chatter index in 1/s from which an alarm chatters (Kondaveeti et al., Chem. Eng. Res. Des. 91 (2013))."""
FLEETING_NS: Final = 60 * S
CALLS: Final = frozenset({"raise", "re_alarm", "unsuppress"})
OVERLAYS: Final = ("shelved", "designed", "out_of_service")
POINTS: Final = 400
"""Bars of the plot at the most."""


class FloodRow(TypedDict):
    """One flood, cut to the span."""

    from_ns: int
    to_ns: int
    calls: int
    first: str
    """The alarm that called first, as <edge>~<alarm>."""


class AlarmShare(TypedDict):
    """One alarm and how often it called."""

    edge: str
    alarm: str
    calls: int
    share: float
    """Per cent of all calls."""


class ChatterRow(TypedDict):
    """One alarm that chatters."""

    edge: str
    alarm: str
    calls: int
    index: float
    """Chatter index in 1/s."""


class StaleRow(TypedDict):
    """One alarm that stood longer than a day at the end of the span."""

    edge: str
    alarm: str
    raised_ns: int
    hours: float


class KpiRow(TypedDict):
    """The key figures of [from_ns, to_ns); per cent are 0..100, times in seconds; None where there is nothing to divide by."""

    from_ns: int
    to_ns: int
    positions: int
    hours: float
    calls: int
    per_10min: float
    per_hour: float
    per_day: float
    max_10min: int
    """Most calls in any 10 minutes (sliding), per position rounded up."""
    max_10min_ns: int | None
    hours_over_30: float
    """Per cent of clock hours with more than 30 calls per position."""
    windows_over_5: float
    """Per cent of 10-minute windows with more than 5 calls per position."""
    flood_pct: float
    floods: list[FloodRow]
    chattering: list[ChatterRow]
    fleeting: int
    """Occurrences that cleared within 60 s without anybody's action and did not come again within 60 s."""
    stale: list[StaleRow]
    top: list[AlarmShare]
    top_share: float | None
    priorities: dict[str, int]
    acknowledged: int
    unacknowledged: int
    """Calls of the span that nobody had acknowledged at its end and that were not suppressed or called again meanwhile."""
    mtta_s: float | None
    """Mean time from call to acknowledgement."""
    mtta_median_s: float | None
    mtta_longest_s: float | None
    standing: int
    """Occurrences shown as active or not acknowledged at the end."""
    suppressed_s: dict[str, float]
    """Alarm-seconds under each suppression within the span."""
    suppressions: dict[str, int]
    """How often each suppression began in the span."""
    refused: int
    """Operator actions that the edge refused."""
    bucket_s: int
    start_ns: list[int]
    """Begin of each bar of the plot."""
    count: list[int]


@dataclass(slots=True)
class _Life:
    """One occurrence on its way through the events."""

    raised_ns: int
    state: str = ""
    called_ns: int | None = None
    """Its call that nobody has acknowledged yet."""
    suppressed: dict[str, int] = field(default_factory=dict)
    touched: bool = False


@dataclass(slots=True)
class _Tally:
    calls: list[tuple[int, str, int]] = field(default_factory=list)
    """(time, <edge>~<alarm>, priority) in the order they came, from some time before the span on."""
    brief: list[tuple[str, int, int]] = field(default_factory=list)
    """(<edge>~<alarm>, call, clear) of what cleared within 60 s untouched."""
    waits: list[float] = field(default_factory=list)
    suppressed: Counter[str] = field(default_factory=Counter)
    suppressions: Counter[str] = field(default_factory=Counter)
    refused: int = 0


def key_figures(
    events: Iterable[tuple[str, AlarmEvent]],
    from_ns: int,
    to_ns: int,
    *,
    positions: int = 1,
    offset_s: int = 0,
    flood_start: int = 10,
    flood_end: int = 5,
) -> KpiRow:
    """The key figures of a span.

    events     (edge, event) in the order of each edge, from `LEAD` before the span on, and the earlier ones of what stood then; 1 pass
    positions  operating positions that share the calls
    offset_s   plant time less UTC in seconds: hours and windows begin at 00:00 of the plant
    """
    lives: dict[tuple[str, str, int], _Life] = {}
    tally = _Tally()
    for edge, event in events:
        if event.received_ns < to_ns and not event.advisory:
            _take(tally, lives, edge, event, from_ns, to_ns)
    for life in lives.values():
        for overlay, since in life.suppressed.items():
            tally.suppressed[overlay] += max(0, to_ns - max(since, from_ns))
    tally.calls.sort(key=lambda c: c[0])
    inside = [c for c in tally.calls if c[0] >= from_ns]
    times = [c[0] for c in inside]
    span, n = to_ns - from_ns, len(inside)
    floods = _floods(tally.calls, flood_start * positions, flood_end * positions, from_ns, to_ns)
    by_alarm = Counter(name for _, name, _ in inside)
    # Equal counts in the order of their names, so that the list does not depend on who came first.
    top = sorted(by_alarm.items(), key=lambda item: (-item[1], item[0]))[:10]
    most, most_ns = _most(times)
    bucket, starts, counts = _bars(times, from_ns, to_ns, offset_s)
    waits = sorted(tally.waits)
    return {
        "from_ns": from_ns,
        "to_ns": to_ns,
        "positions": positions,
        "hours": span / HOUR,
        "calls": n,
        "per_10min": n / (positions * span / TEN_MIN),
        "per_hour": n / (positions * span / HOUR),
        "per_day": n / (positions * span / DAY),
        "max_10min": -(-most // positions),
        "max_10min_ns": most_ns,
        "hours_over_30": _over(times, HOUR, 30 * positions, from_ns, to_ns, offset_s),
        "windows_over_5": _over(times, TEN_MIN, 5 * positions, from_ns, to_ns, offset_s),
        "flood_pct": 100 * sum(f["to_ns"] - f["from_ns"] for f in floods) / span,
        "floods": floods,
        "chattering": _chattering(inside),
        "fleeting": _fleeting(tally, from_ns),
        "stale": _stale(lives, to_ns),
        "top": [{**_named(name), "calls": c, "share": 100 * c / n} for name, c in top],  # type: ignore[typeddict-item]
        "top_share": 100 * sum(c for _, c in top) / n if n else None,
        "priorities": {str(p): sum(1 for c in inside if c[2] == p) for p in (1, 2, 3, 4)},
        "acknowledged": len(waits),
        "unacknowledged": sum(1 for life in lives.values() if life.called_ns is not None and life.called_ns >= from_ns and not life.suppressed),
        "mtta_s": sum(waits) / len(waits) if waits else None,
        "mtta_median_s": _median(waits),
        "mtta_longest_s": waits[-1] if waits else None,
        "standing": sum(1 for life in lives.values() if not life.suppressed),
        "suppressed_s": {o: tally.suppressed[o] / S for o in OVERLAYS},
        "suppressions": {o: tally.suppressions[o] for o in OVERLAYS},
        "refused": tally.refused,
        "bucket_s": bucket,
        "start_ns": starts,
        "count": counts,
    }


def _take(tally: _Tally, lives: dict[tuple[str, str, int], _Life], edge: str, event: AlarmEvent, from_ns: int, to_ns: int) -> None:
    now, name = event.received_ns, f"{edge}~{event.alarm}"
    if event.event == "refuse":
        tally.refused += now >= from_ns
        return
    key = (edge, event.alarm, event.raised_ns)
    life = lives.setdefault(key, _Life(event.raised_ns))
    if event.event == "suppress" and event.overlay:
        life.suppressed.setdefault(event.overlay, now)
        tally.suppressions[event.overlay] += now >= from_ns
        life.called_ns = None
    elif event.event == "unsuppress" and event.overlay:
        since = life.suppressed.pop(event.overlay, None)
        if since is not None:
            tally.suppressed[event.overlay] += max(0, min(now, to_ns) - max(since, from_ns))
    if event.event in CALLS and event.state_to in ANNUNCIATED:
        if now >= from_ns - LEAD:
            tally.calls.append((now, name, event.priority))
        life.called_ns, life.touched = now, False
    elif event.event == "acknowledge":
        if life.called_ns is not None and life.called_ns >= from_ns:
            tally.waits.append((now - life.called_ns) / S)
        life.called_ns, life.touched = None, True
    elif event.event == "clear":
        if life.called_ns is not None and not life.touched and now - life.called_ns < FLEETING_NS:
            tally.brief.append((name, life.called_ns, now))
    elif event.event != "comment":
        life.touched = True
    life.state = event.state_to
    if event.state_to == "NORM":
        del lives[key]


def _named(name: str) -> dict[str, str]:
    edge, _, alarm = name.partition("~")
    return {"edge": edge, "alarm": alarm}


def _most(times: Sequence[int]) -> tuple[int, int | None]:
    """Most calls in 10 minutes, (t - 10 min, t], and when those began."""
    best, at, first = 0, None, 0
    for last, now in enumerate(times):
        while times[first] <= now - TEN_MIN:
            first += 1
        if last - first + 1 > best:
            best, at = last - first + 1, times[first]
    return best, at


def _over(times: Sequence[int], length: int, bound: int, from_ns: int, to_ns: int, offset_s: int) -> float:
    """Per cent of the clock windows that the span touches in which more than `bound` calls came."""
    shift = offset_s * S
    first, last = (from_ns + shift) // length, (to_ns - 1 + shift) // length
    filled = Counter((t + shift) // length for t in times)
    return 100 * sum(1 for c in filled.values() if c > bound) / (last - first + 1)


def _floods(calls: Sequence[tuple[int, str, int]], start: int, end: int, from_ns: int, to_ns: int) -> list[FloodRow]:
    """Floods from `start` calls in the trailing 10 minutes until fewer than `end`, cut to the span; calls are those within it."""
    found: list[FloodRow] = []
    recent: deque[tuple[int, str]] = deque()
    begun: tuple[int, str] | None = None
    members: list[int] = []

    def over(at: int) -> None:
        nonlocal begun
        if begun is not None and at > from_ns and begun[0] < to_ns:
            a, b = max(begun[0], from_ns), min(at, to_ns)
            found.append({"from_ns": a, "to_ns": b, "calls": sum(1 for t in members if from_ns <= t < to_ns), "first": begun[1]})
        begun = None

    def leave(before: int) -> None:
        while recent and recent[0][0] + TEN_MIN <= before:
            gone = recent.popleft()[0]
            if begun is not None and len(recent) < end:
                over(gone + TEN_MIN)

    for at, name, _ in calls:
        leave(at)
        recent.append((at, name))
        if begun is not None:
            members.append(at)
        elif len(recent) >= start:
            begun, members = (at, recent[0][1]), [t for t, _ in recent]
    leave(to_ns)
    over(to_ns)
    return found


def chatter_index(times: Sequence[int]) -> float:
    """Sum over r of P_r / r, r being whole seconds between successive calls of one alarm and P_r their share; 0 with fewer than two calls.

    >>> chatter_index([0, 10 * S, 20 * S, 30 * S])
    0.1
    """
    gaps = Counter(max(1, round((b - a) / S)) for a, b in pairwise(times))
    n = sum(gaps.values())
    return sum(c / n / r for r, c in sorted(gaps.items())) if n else 0.0


def _chattering(calls: Sequence[tuple[int, str, int]]) -> list[ChatterRow]:
    by_alarm: dict[str, list[int]] = {}
    for at, name, _ in calls:
        by_alarm.setdefault(name, []).append(at)
    found: list[ChatterRow] = []
    for name, times in sorted(by_alarm.items()):
        index = chatter_index(times)
        close = any(times[i + CHATTER_CALLS - 1] - times[i] <= CHATTER_NS for i in range(len(times) - CHATTER_CALLS + 1))
        if close or (len(times) >= CHATTER_CALLS and index >= CHATTER_INDEX):
            found.append({**_named(name), "calls": len(times), "index": index})  # type: ignore[typeddict-item]
    return sorted(found, key=lambda row: (-row["calls"], row["edge"], row["alarm"]))


def _fleeting(tally: _Tally, from_ns: int) -> int:
    calls: dict[str, list[int]] = {}
    for at, name, _ in tally.calls:
        calls.setdefault(name, []).append(at)
    return sum(1 for name, call, clear in tally.brief if call >= from_ns and not any(call < t <= clear + FLEETING_NS for t in calls[name]))


def _stale(lives: dict[tuple[str, str, int], _Life], to_ns: int) -> list[StaleRow]:
    old = [
        (edge, alarm, raised)
        for (edge, alarm, raised), life in lives.items()
        if life.state in ACTIVE and not life.suppressed and to_ns - raised > DAY
    ]
    return [{"edge": e, "alarm": a, "raised_ns": r, "hours": (to_ns - r) / HOUR} for e, a, r in sorted(old, key=lambda o: (o[2], o[0], o[1]))]


def _median(sorted_values: Sequence[float]) -> float | None:
    n = len(sorted_values)
    return None if not n else (sorted_values[(n - 1) // 2] + sorted_values[n // 2]) / 2


def _bars(times: Sequence[int], from_ns: int, to_ns: int, offset_s: int) -> tuple[int, list[int], list[int]]:
    """Length of a bar in seconds, begins and calls of every bar the span touches: 10 minutes where they are few enough, else hours or days."""
    shift = offset_s * S
    for length in (TEN_MIN, HOUR, DAY):
        first, last = (from_ns + shift) // length, (to_ns - 1 + shift) // length
        if last - first < POINTS:
            break
    filled = Counter((t + shift) // length for t in times)
    return length // S, [i * length - shift for i in range(first, last + 1)], [filled[i] for i in range(first, last + 1)]
