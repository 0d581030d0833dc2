"""Key figures of the alarm system by their definitions, one question at a time over the whole list."""

from __future__ import annotations

from typing import Any

S = 1_000_000_000


def calls(events: list[Any]) -> list[tuple[int, str, int]]:
    """(time, <edge>~<alarm>, priority) of every call."""
    found = [
        (e.received_ns, f"{edge}~{e.alarm}", e.priority)
        for edge, e in events
        if not e.advisory and e.event in ("raise", "re_alarm", "unsuppress") and e.state_to in ("UNACK", "LATUN")
    ]
    return sorted(found, key=lambda c: c[0])


def most(times: list[int]) -> int:
    return max((sum(1 for t in times if end - 600 * S < t <= end) for end in times), default=0)


def over(times: list[int], length_s: int, bound: int, begin: int, end: int) -> float:
    """Spans whose bounds are multiples of the window."""
    windows = range(begin, end, length_s * S)
    return 100 * sum(1 for w in windows if sum(1 for t in times if w <= t < w + length_s * S) > bound) / len(windows)


def flood_s(times: list[int], begin: int, end: int, start: int = 10, stop: int = 5) -> int:
    """Seconds in flood, looking at every whole second: events and bounds are whole seconds."""
    flood, total = False, 0
    for now in range(min([begin, *times]) // S, end // S):
        n = sum(1 for t in times if (now - 600) * S < t <= now * S)
        flood = n >= (stop if flood else start)
        total += flood and now * S >= begin
    return total


def waits(events: list[Any], begin: int) -> list[float]:
    """Each call's acknowledgement: the first of its occurrence behind it, unless a suppression or another call of it came between."""
    found = []
    for i, (edge, e) in enumerate(events):
        if not (e.event in ("raise", "re_alarm", "unsuppress") and e.state_to in ("UNACK", "LATUN") and not e.advisory and e.received_ns >= begin):
            continue
        for other, later in events[i + 1 :]:
            if (other, later.alarm, later.raised_ns) != (edge, e.alarm, e.raised_ns):
                continue
            if later.event == "acknowledge":
                found.append((later.received_ns - e.received_ns) / S)
            if later.event in ("acknowledge", "suppress", "raise", "re_alarm", "unsuppress"):
                break
    return found
