"""When to kill whom: a seeded schedule of power cuts."""

from __future__ import annotations

from typing import NamedTuple

from simulators.sensor import stream

VICTIMS = ("agent", "gateway", "broker")
KILLS = 3
"""Kills of each victim at least; one more for every further minute after the first three."""
LEAD_S = 6.0
"""Seconds at the start and the end of a run without a kill."""


class Cut(NamedTuple):
    """One SIGKILL."""

    at_s: float
    victim: str
    down_s: float
    """Seconds until the program is started again."""


def cuts(seed: int, duration_s: float) -> tuple[Cut, ...]:
    """Kills of every victim at random moments, one in each equal part of the run, sorted by time.

    Raises ValueError when the run is shorter than 30 s.

    >>> sorted({(c.victim, sum(x.victim == c.victim for x in cuts(5, 60.0))) for c in cuts(5, 60.0)})
    [('agent', 3), ('broker', 3), ('gateway', 3)]
    """
    if duration_s < 30.0:
        raise ValueError(f"--chaos: expected a duration of at least 30 s, found {duration_s:g}")
    rng = stream(seed, "chaos")
    kills = max(KILLS, int(duration_s // 60.0))
    part = (duration_s - 2.0 * LEAD_S) / kills
    found = [
        Cut(round(LEAD_S + (k + float(rng.random())) * part, 3), victim, round(float(rng.uniform(0.2, 1.0)), 3))
        for victim in VICTIMS
        for k in range(kills)
    ]
    return tuple(sorted(found))
