"""Average run lengths of the charts, in rows until the first signal, against the computed table."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from models.cusum import CusumConfig
from models.ewma import EwmaConfig
from models.shewhart import ShewhartConfig
from models.spc import Spc, SpcConfig

SHIFTS = (0, 0.25, 0.5, 1, 1.5, 2, 3)
SLOTS, ROWS = 1000, 50
GIVEN: dict[str, Any] = {"tags": ("a",), "mu": 0, "sigma": 1}
TABLE = [
    (ShewhartConfig(**GIVEN), 3, (370.4, None, 155.2, 43.9, 15.0, 6.3, 2.0)),
    (EwmaConfig(**GIVEN, lambda_=0.05), 2.615, (499.9, 84.0, 28.8, 11.4, 7.11, 5.22, 3.50)),
    (EwmaConfig(**GIVEN, lambda_=0.10), 2.814, (499.6, 106.3, 31.3, 10.3, 6.08, 4.36, 2.87)),
    (EwmaConfig(**GIVEN, lambda_=0.20), 2.962, (499.7, 150.2, 41.8, 10.5, 5.50, 3.74, 2.38)),
    (EwmaConfig(**GIVEN, lambda_=0.25), 2.998, (499.8, 170.3, 48.3, 11.1, 5.46, 3.61, 2.26)),
    (EwmaConfig(**GIVEN, lambda_=0.40), 3.054, (500.0, 223.7, 71.2, 14.3, 5.87, 3.52, 2.02)),
    (CusumConfig(**GIVEN), 4, (167.7, 74.2, 26.6, 8.38, 4.75, 3.34, 2.19)),
    (CusumConfig(**GIVEN), 4.774, (370.1, 121.6, 35.3, 9.93, 5.52, 3.86, 2.49)),
    (CusumConfig(**GIVEN), 5, (465.4, 139.5, 38.0, 10.4, 5.75, 4.01, 2.57)),
    (CusumConfig(**GIVEN, k=0.25), 8.01, (370.3, 83.8, 28.8, 11.4, 7.12, 5.22, 3.48)),
]


def average_run(config: Any, limit: float, shift: float) -> float:
    """Mean over many charts that run beside each other until each has signalled."""
    rng = np.random.default_rng(int(100 * limit + 10 * shift))
    bank = config.bank()([config] * SLOTS)
    slot, usable = np.tile(np.arange(SLOTS, dtype=np.int32), ROWS), np.ones(SLOTS * ROWS, np.uint8)
    out = np.empty((SLOTS * ROWS, len(bank.outputs) + len(bank.reasons)))
    first = np.zeros(SLOTS)
    for begin in itertools.count(0, ROWS):
        bank.step(slot, np.arange(len(slot)), rng.normal(shift, 1, len(slot)), usable, out)
        signals = (np.abs(out[:, 0]) > limit).reshape(ROWS, SLOTS)
        fresh = signals.any(axis=0) & (first == 0)
        first[fresh] = begin + np.argmax(signals, axis=0)[fresh] + 1
        if first.all():
            return float(first.mean())
    raise AssertionError


@pytest.mark.parametrize(("config", "limit", "expected"), TABLE, ids=lambda x: f"{x.kind}" if hasattr(x, "kind") else None)
def test_average_run_lengths(config: Any, limit: float, expected: tuple[float | None, ...]) -> None:
    for shift, rows in zip(SHIFTS, expected, strict=True):
        if rows is not None:
            assert average_run(config, limit, shift) == pytest.approx(rows, rel=0.1), shift


def test_chance_of_a_false_finding_of_rule_8() -> None:
    """Eight beyond 1 sigma, both sides used: of the 256 ways to lie on either side all but two; .00010 in one window."""
    bank = Spc([SpcConfig(**GIVEN, without=(1, 2, 3, 4, 5, 6, 7))] * 256)
    sides = np.array(list(itertools.product((-1.5, 1.5), repeat=8)))
    out = np.empty((256, 5))
    for i, column in enumerate(sides.T):
        bank.step(np.arange(256, dtype=np.int32), np.full(256, i), np.ascontiguousarray(column), np.ones(256, np.uint8), out)
    assert (out[:, 0] == 8).sum() == 254
    assert pytest.approx(0.00010, abs=5e-6) == 254 / 256 * 0.3173**8
