"""Control charts at the gateway: the computed vector, the rules against the edge's own, conditions of capability."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gateway.spc import Rules, SpcRow, anderson_darling, chart, runs
from models.spc import Spc, SpcConfig

S = 1_000_000_000
IMR = [10.1, 9.8, 10.0, 10.3, 9.9, 10.2, 10.0, 9.7, 10.1, 9.9]


def series(values: Any, times: Any = None) -> Any:
    n = len(values)
    time_ns = [i * S for i in range(n)] if times is None else list(times)
    last = [None if v is None else float(v) for v in values]
    return {"tag": "e:a", "from_ns": 0, "to_ns": n * S, "level": "raw", "time_ns": time_ns, "last": last, "n_bad": [int(v is None) for v in values]}


def row(values: Any, *, times: Any = None, modes: Any = (), rules: Rules = "nelson", **more: Any) -> SpcRow:
    return chart(series(values, times), modes, rules, **more)


def test_individuals_vector() -> None:
    found = row(IMR)
    got = [found[k] for k in ("mean", "range_mean", "sigma", "lower", "upper", "range_upper", "overall")]  # type: ignore[literal-required]
    np.testing.assert_allclose(got, [10.0, 0.28889, 0.25611, 9.2316, 10.7684, 0.9438, 0.18257], atol=1e-4)
    assert not any(found["broken"])
    assert found["capability"]["unmet"][0] == "few"
    assert found["capability"]["cpk"] is None


def test_capability_vector() -> None:
    from gateway.spc import capability

    told = capability(np.array(IMR), 9.0, 11.0, 10.0, 0.2561111, 0.1825742, [])
    assert [round(told[k] or 0, 4) for k in ("cp", "cpk", "pp", "ppk")] == [1.3015, 1.3015, 1.8257, 1.8257]  # type: ignore[literal-required]
    one = capability(np.array(IMR), None, 11.0, 10.0, 0.2561111, 0.1825742, [])
    assert one["cp"] is None
    assert one["cpk"] == pytest.approx(1.3015, abs=1e-4)
    assert told["cpk_low"] is not None
    assert told["cpk_low"] < 1.3015 < (told["cpk_high"] or 0)


@pytest.mark.parametrize("rules", ["nelson", "western_electric"])
@pytest.mark.parametrize("seed", range(6))
def test_the_rules_are_those_of_the_edge(rules: Rules, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = np.round(np.cumsum(rng.normal(0, 0.5, 400)) * (seed % 3) / 3 + rng.normal(0, 1, 400), seed % 3)
    bank = Spc([SpcConfig(tags=("a",), mu=0, sigma=1, rules=rules, gap_s=30)])
    times = np.cumsum(rng.choice([1, 60], 400, p=[0.97, 0.03])) * S
    out = np.empty((400, 5))
    bank.step(np.zeros(400, np.int32), times, values, np.ones(400, np.uint8), out)
    begins = np.concatenate([[True], np.diff(times) > 30 * S])
    assert [min(b, default=0) for b in runs(values, begins, 0.0, 1.0, rules)] == out[:, 0].tolist()


def test_capability_only_where_it_may_be_told() -> None:
    rng = np.random.default_rng(2)
    calm = np.clip(rng.normal(10, 0.2, 120), 9.5, 10.5)
    calm = next(v for v in (rng.normal(10, 0.2, 120) for _ in range(200)) if not row(v)["capability"]["unmet"])
    told = row(calm, lsl=9.0, usl=11.0)["capability"]
    assert told["unmet"] == []
    assert told["cpk"] is not None
    assert 1.2 < told["cpk"] < 2.2
    moved = row(np.concatenate([calm, calm + 1]), lsl=9.0, usl=11.0)["capability"]
    assert "unstable" in moved["unmet"]
    assert moved["cpk"] is None
    assert moved["ppk"] is None
    assert moved["ppk_quantile"] is not None
    skewed = row(rng.exponential(1, 200), usl=10.0)["capability"]
    assert "not_normal" in skewed["unmet"]
    assert skewed["ppk"] is None
    walk = np.zeros(300)
    for i in range(1, 300):
        walk[i] = 0.9 * walk[i - 1] + rng.normal()
    found = row(walk, lsl=-20.0, usl=20.0)
    assert "correlated" in found["capability"]["unmet"]
    assert found["capability"]["cpk"] is None
    assert found["tau_s"] == pytest.approx(-1 / np.log(0.9), rel=0.5)


def test_bad_values_modes_and_gaps() -> None:
    cleaning = {"edge": "e", "unit": "", "mode": "cleaning", "from_ns": 0, "to_ns": 5 * S, "user": "", "reason": ""}
    found = row([99.0] * 5 + [1.0, None, 1.2, 1.1], modes=[cleaning])
    assert found["value"] == [1.0, 1.2, 1.1]
    assert found["left_out"] == 6
    times = [*range(8), 100]
    apart = row([0.1] * 9, times=[t * S for t in times], mu=0.0, sigma=1.0)
    assert not any(apart["broken"])
    assert apart["range"][8] is None
    assert row([0.1] * 9, mu=0.0, sigma=1.0)["broken"][-1] == [2]


@pytest.mark.parametrize("values", [[], [1.0], [5.0] * 50, [None] * 5, [1e9 + x for x in IMR]])
def test_little_or_constant_data_says_what_it_can(values: list[float | None]) -> None:
    found = row(values, lsl=0.0, usl=1.0)
    assert len(found["value"]) == len(found["broken"]) == len(found["range"])
    assert found["capability"]["cpk"] is None


def test_anderson_darling_refuses_five_in_a_hundred_normal_samples() -> None:
    rng = np.random.default_rng(0)
    share = np.mean([anderson_darling(rng.normal(3, 2, 60)) > 0.752 for _ in range(600)])
    assert 0.025 < share < 0.08
