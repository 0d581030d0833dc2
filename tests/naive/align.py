"""Alignment again, row by row with dictionaries."""

from __future__ import annotations

from typing import Any


def aligned(rows: list[Any], place: dict[int, int], step_ns: int, hold_ns: int) -> list[tuple[int, tuple[float | None, ...], int]]:
    """Instants as (time, value of each tag or None, status)."""
    k = len(place)
    out = []

    def emit(time_ns: int, held: dict[int, Any]) -> None:
        used = {j: (v, s) for j, (_, v, ok, s) in held.items() if ok}
        out.append((time_ns, tuple(used[j][0] if j in used else None for j in range(k)), max([0, *(s for _, s in used.values())])))

    if not step_ns:
        now, held, done = None, {}, False
        for t, tag, v, ok, s in rows:
            if now is not None and (t < now or (t == now and done)):
                continue
            if t != now:
                if now is not None and not done:
                    emit(now, held)
                now, held, done = t, {}, False
            held[place[tag]] = (t, v, ok, s)
            if len(held) == k:
                emit(t, held)
                done = True
        return out
    point, last = None, {}
    for t, tag, v, ok, s in rows:
        if point is None:
            point = -(-t // step_ns) * step_ns
        while t > point:
            fresh = {j: h for j, h in last.items() if point - h[0] <= hold_ns}
            if fresh:
                emit(point, fresh)
                point += step_ns
            else:
                point = max(point + step_ns, -(-t // step_ns) * step_ns)
        j = place[tag]
        if j not in last or t >= last[j][0]:
            last[j] = (t, v, ok, s)
    return out
