"""Trials of the models of single tags."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from tests.power import streams
from tests.power.trial import Trial, bank, three_sigma

CHART: Final[dict[str, Any]] = {"ready": 120, "within": 50}
RIVER: Final[dict[str, Any]] = {"estimator": "anomaly.GaussianScorer"}
LOOP: Final[dict[str, Any]] = {"swing": 0.8}


def finding(c: Any) -> Any:
    """The row on which a finding of `auto` begins."""
    return c["alarm"] == 1


TAGS: Final[dict[str, tuple[Trial, ...]]] = {
    "auto": tuple(
        Trial(fault, sizes, streams.tag(1600, 1200, shape), bank("auto", finding), ready=600, within=within, promised=1.0, phi=phi)
        for fault, sizes, shape, within, phi in (
            ("a level, sigma", (2.0, 3.0, 5.0), "level", 100, 0.0),
            ("a wild value, sigma", (4.0, 6.0, 10.0), "spike", 8, 0.0),
            ("a drift over 200 rows, sigma", (3.0, 5.0, 8.0), "drift", 250, 0.0),
            ("a frozen value, rows", (30.0, 100.0, 300.0), "frozen", 300, 0.9),
        )
    ),
    "shewhart": (
        Trial("a wild value, sigma", (3.0, 4.0, 6.0), streams.tag(620, 420, "spike"), bank("shewhart", lambda c: np.abs(c["z"]) > 3),
              ready=120, within=0, promised=8.0),
    ),
    "spc": (
        Trial("a level, sigma", (0.5, 1.0, 2.0), streams.tag(620, 420, "level"), bank("spc", lambda c: c["alarm"] == 1), **CHART, promised=25.0),
    ),
    "ewma": (
        Trial("a level, sigma", (0.5, 1.0, 2.0), streams.tag(620, 420, "level"), bank("ewma", lambda c: np.abs(c["z"]) > 3), **CHART, promised=8.0),
    ),
    "cusum": (
        Trial("a level, sigma", (0.5, 1.0, 2.0), streams.tag(620, 420, "level"), bank("cusum", lambda c: c["c"] > 5), **CHART, promised=8.0),
    ),
    "robust_z": (
        Trial("a wild value, sigma", (4.0, 6.0, 10.0), streams.tag(620, 420, "spike"), bank("robust_z", lambda c: np.abs(c["z"]) > 3.5),
              ready=60, within=0, promised=8.0),
    ),
    "flatline": (
        Trial("a frozen value, s", (45.0, 90.0, 300.0), streams.tag(900, 420, "frozen"), bank("flatline", lambda c: c["held"] > 60),
              ready=0, within=70, promised=0.0, peer=three_sigma(120)),
    ),
    "limit_cycle": (
        Trial("a valve that sticks, % of its way", (0.5, 1.0, 2.0), streams.loop(8640, 2880, 1),
              bank("limit_cycle", lambda c: c["cycling"] == 1, 5.0, **LOOP),
              ready=720, within=4320, promised=0.5, options=LOOP, cost=10),
    ),
    "page_hinkley": (
        Trial("a level, sigma", (0.5, 1.0, 2.0), streams.tag(1600, 1000, "level"), bank("page_hinkley", lambda c: c["drift"] == 1),
              ready=30, within=200, promised=1.0),
    ),
    "adwin": (
        Trial("a level, sigma", (0.5, 1.0, 2.0), streams.tag(1600, 1000, "level"), bank("adwin", lambda c: c["drift"] == 1),
              ready=32, within=200, promised=1.0),
    ),
    "residual": (
        Trial("a jump, sigma", (1.5, 2.0, 4.0), streams.tag(1600, 1200, "level"), bank("residual", lambda c: np.abs(c["z"]) > 3),
              ready=600, within=1, promised=5.0, phi=0.9),
        Trial("a level, sigma", (1.0, 2.0, 4.0), streams.tag(1600, 1200, "level"), bank("residual", lambda c: np.abs(c["ewma"]) > 3),
              ready=600, within=50, promised=3.0, phi=0.9),
    ),
    "discord": (
        Trial("a stroke of a cycle of 16 rows missing, share", (0.25, 0.5, 1.0), streams.cycle(1600, 1200, 16),
              bank("discord", lambda c: c["score"] > 1),
              ready=600, within=32, promised=2.0, cost=4),
        Trial("the same of a cycle of 40 rows", (0.25, 0.5, 1.0), streams.cycle(1600, 1200, 40),
              bank("discord", lambda c: c["score"] > 1),
              ready=600, within=60, promised=2.0, cost=4, blind=True),
    ),
    "seasonal": (
        Trial("off for this time of the day for an hour, sigma", (2.0, 3.0, 5.0), streams.day(3600, 2960, 120.0),
              bank("seasonal", lambda c: np.abs(c["z"]) > 3, 120.0),
              ready=1440, within=30, promised=8.0, peer=three_sigma(1440)),
    ),
    "budget": (
        Trial("a score of three rows, decades of chance", (3.5, 4.5, 6.0), streams.surprises(8640, 7300),
              bank("budget", lambda c: c["finding"] == 1, 60.0, per_day=2), ready=3200, within=4, promised=1.5, options={"per_day": 2}, cost=4),
    ),
    "river": (
        Trial("a wild value, sigma", (4.0, 6.0, 10.0), streams.tag(620, 420, "spike"), bank("river", lambda c: c["score"] > 0.9973, **RIVER),
              ready=250, within=0, promised=8.0, options=RIVER, cost=10),
    ),
}  # fmt: skip
"""Faults of each kind; a new kind adds its line. Limits are those that the kind's own text names as usual."""
