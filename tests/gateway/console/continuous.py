"""A diverter for the tests of the console: every half hour a disturbance passes it, its tags are functions of time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tests.gateway.console.line import S, Signal

CYCLE_S, BEGIN_S, END_S = 1800.0, 1200.0, 1500.0
KG_S = 20 / 3600
NAME = "cm1/divert"
AT_START_S = 1330.0
"""Where in the cycle the tests begin: while the disturbance is at the diverter."""


@dataclass(frozen=True)
class DiverterSignal(Signal):
    """A derived tag of the diverter."""

    origin_ns: int = 0
    model: str = "divert:0123456789abcdef"

    def values(self, time_ns: np.ndarray) -> np.ndarray:
        t = (time_ns - self.origin_ns) / S + AT_START_S
        p = np.mod(t, CYCLE_S)
        n = np.floor(t / CYCLE_S)
        asked = (p >= BEGIN_S) & (p < END_S)
        bump = 8.0 * np.exp(-(((p - 1340.0) / 90.0) ** 2))
        found = {
            "divert_request": asked * 1.0, "reason": asked * 3.0, "mismatch": 0.0 * p, "limit_low": 95.5 + 0 * p, "limit_high": 104.5 + 0 * p,
            "state": np.select([(p >= 1140) & (p < BEGIN_S), asked & (p < 1480), asked], [1.0, 2.0, 3.0], 0.0),
            "low": 99.0 + 0.2 * np.sin(t / 40) + 0.9 * bump, "high": 101.0 + 0.2 * np.sin(t / 40) + bump,
            "feed": np.where((p >= 1080) & (p < 1230), 124.0, 100.0) + np.sin(t / 3),
            "starts_s": np.clip(BEGIN_S - p, 0, None), "ends_s": np.clip(1480.0 - p, 0, None),
            "accepted_kg": KG_S * (n * (CYCLE_S - END_S + BEGIN_S) + np.minimum(p, BEGIN_S) + np.clip(p - END_S, 0, None)) + 100.0,
            "diverted_kg": KG_S * (n * (END_S - BEGIN_S) + np.clip(p - BEGIN_S, 0, END_S - BEGIN_S)) + 10.0,
            "unconfirmed_kg": 0.05 + 0 * p, "against_kg": 0 * p, "unseen_s": 0 * p,
        }  # fmt: skip
        return np.asarray(found[self.name.rpartition(".")[2]], np.float64)


def diverter(now_ns: int) -> list[DiverterSignal]:
    """All of its tags; the disturbance is at the diverter at `now_ns`."""
    outputs = {
        "divert_request": ("", 10.0), "reason": ("", 10.0), "state": ("", 10.0), "mismatch": ("", 10.0),
        "limit_low": ("%", 10.0), "limit_high": ("%", 10.0),
        "low": ("%", 5.0), "high": ("%", 5.0), "feed": ("%", 5.0), "starts_s": ("s", 5.0), "ends_s": ("s", 5.0), "accepted_kg": ("kg", 10.0),
        "diverted_kg": ("kg", 10.0), "unconfirmed_kg": ("kg", 10.0), "against_kg": ("kg", 10.0), "unseen_s": ("s", 10.0),
    }  # fmt: skip
    origin = now_ns - now_ns % (10 * S)
    return [
        DiverterSignal(f"{NAME}.{o}", unit, 0, 0, 2, 0.0, 0.0, o, o, period_s=period, derived_from=("cm1/api_flow",), origin_ns=origin)
        for o, (unit, period) in outputs.items()
    ]
