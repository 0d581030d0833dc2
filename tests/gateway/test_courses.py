"""The course of a batch against earlier ones: by time, by phase, by maturity, with limits that a batch like the others keeps to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gateway.batches import BatchRow
from gateway.courses import LEAST, MOST, T99, course, earlier, limits, moments

S = 1_000_000_000
HOUR = 3600


def batch(number: int, begin_s: float, end_s: float | None) -> BatchRow:
    return {
        "batch": f"B{number}",
        "edge": "e",
        "unit": "line/dryer",
        "from_ns": round(begin_s * S),
        "to_ns": None if end_s is None else round(end_s * S),
    }


class Store:
    """Answers with values of a function of time, one each 10 s; of those in `changes` with the instants alone at which they are told."""

    def __init__(self, now_s: float, changes: dict[str, dict[int, Any]] | None = None, **of: Any) -> None:
        self.now_s, self.of, self.changes = now_s, of, changes or {}

    def tags(self) -> list[dict[str, Any]]:
        return [
            {"key": f"e:{name}", "report": {"kind": "by_exception" if name in self.changes else "periodic"}, "record": "raw"}
            for name in (*self.of, *self.changes)
        ]

    def status(self) -> dict[str, int]:
        return {"now_ns": round(self.now_s * S)}

    def series(self, key: str, from_ns: int, to_ns: int, points: int = 500) -> dict[str, Any]:
        name = key.split(":")[1]
        end = min(to_ns, round(self.now_s * S))
        if name in self.changes:
            times = [t for t in self.changes[name] if from_ns <= t * S < end]
            told = [self.changes[name][t] for t in times]
        else:
            times = list(range(-(-from_ns // (10 * S)) * 10, end // S, 10))
            told = [self.of[name](t) for t in times]
        texts = [v for v in told if isinstance(v, str)]
        values = [None if isinstance(v, str) else v for v in told]
        return {"time_ns": [t * S for t in times], "mean": values, "last": values, "text": texts}


def told(store: Store, of: BatchRow, others: list[BatchRow], **more: Any) -> Any:
    return course(store, of, others, "e:temp", **more)  # type: ignore[arg-type]


def test_a_batch_that_runs_is_seen_at_the_moments_it_has_reached_and_what_leaves_the_others_is_told() -> None:
    # Five batches of an hour that rise from 20 by 10 with a small offset each; the sixth stands still from half its time on.
    def temp(t: int) -> float:
        number, at = divmod(t, HOUR)
        return 20 + 10 * at / HOUR + 0.1 * (number % 5 - 2) if number < 5 or at < 1200 else 20 + 10 * 1200 / HOUR

    rows = [batch(i, i * HOUR, (i + 1) * HOUR) for i in range(5)]
    of = batch(6, 5 * HOUR, None)
    row = told(Store(5 * HOUR + 2400, temp=temp), of, rows, points=60)
    assert row["axis"] == "time"
    assert (row["at"][0], row["at"][-1]) == (30.0, 3570.0)
    known = [v is not None for v in row["value"]]
    assert known == [True] * 40 + [False] * 20
    assert row["against"] == ["B0", "B1", "B2", "B3", "B4"]
    assert row["middle"][0] == pytest.approx(20 + 10 * 25 / HOUR)
    sd = np.std([-0.2, -0.1, 0, 0.1, 0.2], ddof=1)
    assert row["high"][0] - row["middle"][0] == pytest.approx(T99[4] * sd * np.sqrt(1.2))
    assert row["outside"]
    assert all(i >= 20 for i in row["outside"])
    assert row["outside"][-1] == 39


def test_a_phase_is_compared_from_its_own_begin() -> None:
    # The phase `dry` begins later in each batch, and rises from its begin on.
    begins = {i: 600 + 120 * i for i in range(5)}

    def temp(t: int) -> float:
        number, at = divmod(t, HOUR)
        return max(0.0, at - begins[number]) / 100 + 0.01 * number

    def phase(t: int) -> str:
        number, at = divmod(t, HOUR)
        return "dry" if begins[number] <= at < begins[number] + 1200 else "heat"

    rows = [batch(i, i * HOUR, (i + 1) * HOUR) for i in range(5)]
    row = told(Store(9e9, temp=temp, phase=phase), rows[4], rows[:4], phase="dry", phases="e:phase", points=20)
    assert (row["from_ns"], row["to_ns"]) == ((4 * HOUR + 1080) * S, (4 * HOUR + 2280) * S)
    assert row["outside"] == []
    assert np.abs(np.subtract(row["value"], row["middle"])).max() < 0.05
    late = told(Store(4 * HOUR + 700, temp=temp, phase=phase), batch(4, 4 * HOUR, None), rows[:4], phase="dry", phases="e:phase", points=20)
    assert late["from_ns"] is None
    assert set(late["value"]) == {None}


def test_a_phase_told_before_its_batch_begins_with_it() -> None:
    # The phase is told a second before the batch in all but the third, where it is held from the batch before.
    begins = [100 + i * HOUR for i in range(5)]
    changes = {b - 1: "dry" for i, b in enumerate(begins) if i != 2} | {b + 1800: "cool" for i, b in enumerate(begins) if i != 1}
    rows = [batch(i, b, b + 3000) for i, b in enumerate(begins)]
    store = Store(9e9, {"phase": dict(sorted(changes.items()))}, temp=lambda t: 20.0 + t % HOUR / HOUR)
    row = told(store, rows[4], rows[:4], phase="dry", phases="e:phase", points=20)
    assert (row["from_ns"], row["to_ns"]) == (begins[4] * S, (begins[4] + 1800) * S)
    assert row["against"] == ["B0", "B1", "B2", "B3"]
    assert told(store, rows[2], rows[:2], phase="dry", phases="e:phase", points=20)["from_ns"] == begins[2] * S
    # What is told at the begin itself holds, not what was before it.
    again = Store(9e9, {"phase": {begins[0] - 1: "cool", begins[0]: "dry"}}, temp=lambda t: 20.0)
    assert told(again, rows[0], [], phase="dry", phases="e:phase", points=20)["from_ns"] == begins[0] * S


def test_a_tag_that_tells_changes_alone_holds_its_value_between_them() -> None:
    # A setpoint from before the first batch; raised to 60 at half of each batch, lowered a minute before the next; the last one is not raised.
    rows = [batch(i, i * HOUR, (i + 1) * HOUR) for i in range(1, 6)]
    changes: dict[int, Any] = {60: 50.0}
    for i in range(1, 5):
        changes |= {i * HOUR + 1800: 60.0, (i + 1) * HOUR - 60: 50.0}
    store = Store(6 * HOUR, {"temp": changes})
    row = told(store, rows[3], rows[:3], points=60)
    assert row["value"] == [50.0] * 30 + [60.0] * 29 + [50.0]
    assert row["value"] == row["middle"]
    assert row["outside"] == []
    last = told(store, rows[4], rows[:4], points=60)
    assert last["value"] == [50.0] * 60
    bad = told(Store(6 * HOUR, {"temp": changes | {5 * HOUR + 600: None}}), rows[4], rows[:4], points=60)
    assert bad["value"] == [50.0] * 10 + [None] * 50


def test_by_maturity_a_slow_batch_lies_where_the_others_do() -> None:
    lengths = (3600, 3600, 3600, 3600, 7200)
    begins = (0, 10_000, 20_000, 30_000, 40_000)

    def way(t: int) -> float:
        number = t // 10_000
        return (t - begins[number]) / lengths[number]

    rows = [batch(i, b, b + n) for i, (b, n) in enumerate(zip(begins, lengths, strict=True))]
    store = Store(9e9, temp=lambda t: 10 * way(t) + 0.1 * (t // 10_000 % 4), way=way)
    assert told(store, rows[4], rows[:4], points=20)["outside"]
    row = told(store, rows[4], rows[:4], maturity="e:way", points=20)
    assert (row["axis"], row["outside"]) == ("maturity", [])
    assert row["value"][10] == pytest.approx(row["middle"][10], abs=0.3)


def test_without_enough_batches_there_are_no_limits_and_without_any_only_the_batch() -> None:
    store = Store(9e9, temp=lambda t: t / HOUR)
    rows = [batch(i, i * HOUR, (i + 1) * HOUR) for i in range(LEAST)]
    alone, few = told(store, rows[0], [], points=10), told(store, rows[-1], rows[: LEAST - 1], points=10)
    assert set(alone["middle"]) == set(few["high"]) == {None}
    assert None not in alone["value"]
    assert told(store, batch(9, 5e8, 5e8), [], points=10)["value"] == [None] * 10


def test_limits_are_those_of_students_t_for_one_more_batch() -> None:
    rng = np.random.default_rng(4)
    held = total = 0
    for _ in range(60):
        x = rng.normal(size=(11, 50))
        _, low, high = limits(x[:10])
        held += int(((x[10] >= low) & (x[10] <= high)).sum())
        total += 50
    assert 0.975 < held / total <= 1.0


def test_a_long_gap_stays_a_gap() -> None:
    x = np.array([0.5, 1.5, 2.5, 4.5, 9.5])
    got = moments({"x": x, "value": x * 10, "length": 10.0}, np.linspace(0, 10, 11))
    assert got[:5].tolist() == [5.0, 15.0, 25.0, 35.0, 45.0]
    assert np.isnan(got[5:9]).all()
    assert got[9] == 95.0


def test_earlier_are_the_newest_finished_ones_of_the_same_unit() -> None:
    rows = [batch(i, i * HOUR, (i + 1) * HOUR) for i in range(30)]
    other: BatchRow = {**rows[3], "unit": "line/press"}
    found = earlier([*rows, other, batch(40, 0, None)], rows[25])
    assert [b["batch"] for b in found] == [f"B{i}" for i in range(24, 24 - MOST, -1)]
