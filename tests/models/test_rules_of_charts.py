"""Run rules, single-value charts, stands and drifts: computed vectors and the cases that decide."""

from __future__ import annotations

from typing import Any

import numpy as np
import pydantic
import pytest
from numpy.typing import NDArray

from models import AnyModel
from models.baseline import D2, D4
from models.flatline import Flatline, FlatlineConfig
from models.page_hinkley import PageHinkley, PageHinkleyConfig
from models.seasonal import Seasonal, SeasonalConfig
from models.shewhart import Shewhart, ShewhartConfig
from models.spc import Spc, SpcConfig

S = 1_000_000_000
IMR = [10.1, 9.8, 10.0, 10.3, 9.9, 10.2, 10.0, 9.7, 10.1, 9.9]


def run(bank: Any, values: Any, time_ns: Any = None) -> NDArray[np.float64]:
    v = np.asarray(values, np.float64)
    out = np.empty((len(v), len(bank.outputs) + len(bank.reasons)))
    t = np.arange(len(v), dtype=np.int64) * S if time_ns is None else np.asarray(time_ns, np.int64)
    bank.step(np.zeros(len(v), np.int32), t, v, np.ones(len(v), np.uint8), out)
    return out


def nelson(values: Any, **more: Any) -> list[float]:
    return [float(r) for r in run(Spc([SpcConfig(tags=("a",), mu=0, sigma=1, **more)]), values)[:, 0]]


def test_individuals_chart_vector() -> None:
    """Mean 10.000, limits 9.2316 and 10.7684, limit of the moving range 0.9438."""
    out = run(Shewhart([ShewhartConfig(tags=("a",), warmup=10)]), [*IMR, 10.0, 10.9438])
    assert np.isnan(out[:10]).all()
    np.testing.assert_allclose(out[10, 2:], [10.0, 9.2316, 10.7684], atol=1e-4)
    assert out[11, 1] == pytest.approx(1.0, abs=1e-4)
    assert pytest.approx(2.660, abs=1e-3) == 3 / D2
    assert pytest.approx(0.9438, abs=1e-4) == D4 * 0.28889


CASES = [
    (1, [0.5, -0.5, 3.01]),
    (2, [0.1, 0.2, 0.1, 0.2, 0.1, 0.2, 0.1, 0.2, 0.1]),
    (3, [-0.5, -0.3, -0.1, 0.1, 0.3, 0.5]),
    (4, [0.2, -0.2] * 7),
    (5, [2.1, 0.0, 2.1]),
    (6, [1.1, 1.3, 0.0, 1.2, 1.1]),
    (7, [0.0, 0.5, 0.5, 0.0, -0.5, -0.5, 0.0, 0.2, 0.2, 0.0, -0.3, -0.3, 0.0, 0.9, 0.9]),
    (8, [1.1, -1.1, -1.2, 1.3, 1.3, -1.2, -1.1, 1.1]),
]


@pytest.mark.parametrize(("rule", "values"), CASES)
def test_each_rule_of_nelson_speaks_on_its_last_value_and_not_before(rule: int, values: list[float]) -> None:
    said = nelson(values)
    assert said[-1] == rule
    assert not any(said[:-1])
    assert nelson([-x for x in values]) == said
    assert nelson(values, without=(rule,))[-1] == 0


def test_comparisons_are_strict_ties_and_the_centre_line_break() -> None:
    assert nelson([3.0]) == [0]
    assert nelson([0.1] * 4 + [0.0] + [0.1, 0.2] * 4)[-1] == 0  # the centre line breaks the run
    assert nelson([-0.5, -0.3, -0.1, -0.1, 0.3, 0.5])[-1] == 0  # a tie breaks the trend
    assert nelson([0.2, -0.2] * 6 + [0.2, 0.2])[-1] == 0
    assert nelson([2.1, 2.1, 0.0])[1:] == [5, 0]  # the newest must be one of the violating
    assert nelson([1.1] * 4 + [0.5])[-1] == 0
    assert nelson([1.0, 1.1, -1.1, -1.1, 1.1, 1.1, -1.1, -1.1])[-1] == 0  # one of the eight is on the 1-sigma line


def test_western_electric_is_numbered_its_own_way() -> None:
    bank = SpcConfig(tags=("a",), mu=0, sigma=1, rules="western_electric")
    for rule, values in ((1, [3.1]), (2, [2.1, 0.0, 2.1]), (3, [1.1, 1.3, 0.0, 1.2, 1.1]), (4, [0.1, 0.2] * 4)):
        out = run(Spc([bank]), values)
        assert out[-1, 0] == rule
        assert out[-1, 1] == 1
        assert not out[:-1, 0].any()


def test_trends_alternation_and_stratification_are_information() -> None:
    for rule, values in CASES:
        out = run(Spc([SpcConfig(tags=("a",), mu=0, sigma=1)]), values)
        assert out[-1, 1] == (0 if rule in (3, 4, 7) else 1)


def test_runs_begin_anew_behind_an_interruption_and_close_values_are_passed_over() -> None:
    values = [0.1] * 9
    times = [i * S for i in range(8)] + [60 * S]
    assert run(Spc([SpcConfig(tags=("a",), mu=0, sigma=1, gap_s=30)]), values, times)[-1, 0] == 0
    assert run(Spc([SpcConfig(tags=("a",), mu=0, sigma=1, gap_s=60)]), values, times)[-1, 0] == 2
    thin = run(Spc([SpcConfig(tags=("a",), mu=0, sigma=1, every_s=3)]), [0.1] * 25)
    assert np.isfinite(thin[:, 0]).sum() == 9
    assert thin[24, 0] == 2


def test_a_new_batch_or_phase_begins_the_runs_anew_where_that_is_wanted() -> None:
    for roles, last in ((("batch", "phase"), 0), (("batch",), 0), (("phase",), 2), ((), 2)):
        bank = Spc([SpcConfig(tags=("a",), mu=0, sigma=1, restart=roles)])
        run(bank, [0.1] * 8)
        bank.restart(0, "batch")
        assert run(bank, [0.1], [9 * S])[-1, 0] == last
        assert run(bank, [0.1] * 8, np.arange(10, 18) * S)[-1, 0] == 2


@pytest.mark.parametrize(
    ("rule", "window", "chance"),
    # In rules 5 and 6 the newest value is among the violating: 2 of 3 and 4 of 5 of the chances .0015 and .0028 per side, to first order.
    [(1, 1, 0.0027), (2, 9, 0.0039), (3, 6, 0.0028), (5, 3, 0.00205), (6, 5, 0.00447), (7, 15, 0.0033)],
)
def test_chance_of_a_false_finding_in_one_window(rule: int, window: int, chance: float) -> None:
    """Of independent normal values."""
    slots = 20_000
    others = tuple(r for r in range(1, 9) if r != rule)
    bank = Spc([SpcConfig(tags=("a",), mu=0, sigma=1, without=others)] * slots)
    out = np.empty((slots, 5))
    rng = np.random.default_rng(rule)
    for i in range(window):
        bank.step(np.arange(slots, dtype=np.int32), np.full(slots, i, np.int64), rng.normal(size=slots), np.ones(slots, np.uint8), out)
    share = float((out[:, 0] > 0).mean())
    assert share == pytest.approx(chance, abs=3 * (chance / slots) ** 0.5)


def test_a_stand_is_told_in_seconds_and_ends_with_a_movement() -> None:
    out = run(Flatline([FlatlineConfig(tags=("a",))]), [1.0, 2.0, 2.0, 2.0, 3.0], [0, S, 2 * S, 9 * S, 10 * S])
    assert out[:, 0].tolist() == [0, 0, 1, 8, 0]
    slow = run(Flatline([FlatlineConfig(tags=("a",), tolerance=0.5)]), np.arange(10) * 0.2)
    assert slow[:, 0].max() == 2  # a slow drift is no stand: the distance is from its first value


@pytest.mark.parametrize("config", [{}, {"threshold": 10, "delta": 0.1}, {"memory": 0.99, "direction": "up"}, {"direction": "down", "threshold": 5}])
def test_page_hinkley_gives_rivers_answers(config: dict[str, Any]) -> None:
    from river.drift import PageHinkley as Peer

    rng = np.random.default_rng(1)
    values = np.concatenate([rng.normal(m, 1, 600) for m in (0, 3, 0, -2, 1e9)])
    c = PageHinkleyConfig(tags=("a",), **config)
    peer = Peer(c.least_rows, c.delta, c.threshold, c.memory, c.direction)
    expected = []
    for x in values:
        peer.update(float(x))
        expected.append(bool(peer.drift_detected))
    assert (run(PageHinkley([c]), values)[:, 0] == 1).tolist() == expected
    assert sum(expected) >= 2


def test_what_is_usual_at_noon_is_not_at_midnight() -> None:
    """Ten days at a value a minute, warm in the afternoon; then the afternoon's value at four in the morning."""
    rng = np.random.default_rng(4)
    minute = np.arange(10 * 1440)
    warm = ((minute % 1440) // 60 >= 12) * 5.0
    values = 20 + warm + rng.normal(0, 0.2, len(minute))
    bank = Seasonal([SeasonalConfig(tags=("a",), offset_h=0)])
    out = run(bank, values, minute * 60 * S)
    assert np.isnan(out[:60]).all()
    assert np.abs(out[5 * 1440 :, 0]).max() < 5
    late = np.array([14400 + 240, 14400 + 900]) * 60 * S
    odd = run(bank, [25.0, 25.0], late)
    assert odd[0, 0] > 15
    assert abs(odd[1, 0]) < 2
    np.testing.assert_allclose(odd[:, 1], [20, 25], atol=0.1)


@pytest.mark.parametrize("model", [{"kind": "shewhart", "warmup": 20}, {"kind": "spc", "warmup": 20}])
def test_constant_tag_noise_on_a_large_offset_and_a_single_value(model: dict[str, Any]) -> None:
    config = pydantic.TypeAdapter(AnyModel).validate_python({"tags": ["a"], **model})
    make = config.bank()
    constant = run(make([config]), [5.0] * 30 + [5.1])
    assert not constant[20:30, 0].any() or model["kind"] == "spc"
    assert constant[30, 0] > 0
    noise = np.random.default_rng(7).integers(-8, 9, 300) / 4.0
    np.testing.assert_allclose(run(make([config]), noise + 1e9)[:, 0], run(make([config]), noise)[:, 0], rtol=1e-4, atol=1e-4)
    assert np.isnan(run(make([config]), [1.0])).all()


@pytest.mark.parametrize(
    "wrong",
    [{"kind": "spc", "without": [9]}, {"kind": "spc", "rules": "mine"}, {"kind": "shewhart", "mu": 1}, {"kind": "flatline", "file": "a.model"},
     {"kind": "adwin", "file": "a.model"}, {"kind": "page_hinkley", "threshold": 0}],
)  # fmt: skip
def test_wrong_parameters_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(pydantic.ValidationError):
        pydantic.TypeAdapter(AnyModel).validate_python({"tags": ["a"], **wrong})
