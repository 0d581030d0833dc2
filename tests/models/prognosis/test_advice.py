import math

import numpy as np
import pytest

from models.prognosis import advice
from models.prognosis.remaining import Estimate
from models.prognosis.rotating import Band, Finding
from models.prognosis.trend import exponential, passage, to_limit


def test_passage_has_the_mean_and_spread_of_the_inverse_gaussian():
    t = np.linspace(0, 1000, 20_001)
    p = np.diff([passage(x, 6.0, 0.05, 0.1) for x in t])
    middle = (t[1:] + t[:-1]) / 2
    mean = float((middle * p).sum())
    assert mean == pytest.approx(120.0, abs=0.05)
    assert math.sqrt(float(((middle - mean) ** 2 * p).sum())) == pytest.approx(21.9, abs=0.05)
    assert passage(1e9, 6.0, 0.05, 1e-4) == 1.0


def test_exponential_growth_that_does_not_grow_never_arrives():
    assert exponential(1.2, 0.5, 0.1, -0.01, 4.5) == math.inf
    assert exponential(5.0, 0.5, 0.1, 0.02, 4.5) == 0.0


def test_the_range_of_a_drift_covers_when_the_limit_is_passed():
    inside = n = 0
    for seed in range(120):
        rng = np.random.default_rng(seed)
        x = np.cumsum(rng.normal(0.05, 0.1, 3000))
        end = int(np.argmax(x > 10.0))
        seen = end // 2
        p = to_limit(np.arange(float(seen)), x[:seen], 10.0)
        if p.status == "good":
            n += 1
            inside += p.soon <= end - seen <= p.late
    assert n > 90
    assert 0.7 <= inside / n <= 0.92  # 80 % are meant


def test_a_value_that_does_not_drift_has_no_remaining_life():
    rng = np.random.default_rng(0)
    still = to_limit(np.arange(300.0), rng.normal(5, 0.1, 300), 10.0)
    away = to_limit(np.arange(300.0), 5 - 0.01 * np.arange(300), 10.0)
    assert (still.status, away.status) == ("not estimable", "not estimable")
    assert advice.of_trend("filter1/dp", still, lead=24, horizon=72) is None
    falling = to_limit(np.arange(100.0), 10 - 0.05 * np.arange(100), 0.0)
    assert falling.status == "good"
    assert falling.drift == pytest.approx(-0.05)
    assert to_limit(np.arange(20.0), np.arange(20.0), 15.0).status == "passed"
    with pytest.raises(ValueError, match="expected rising times"):
        to_limit(np.zeros(20), np.zeros(20), 1.0)


def test_advice_says_what_why_how_soon_and_how_sure_in_both_languages():
    e = Estimate("good", 21.0, 12.0, 30.0, ((36, 19, 0.4),), ((2, 3.0), (0, -1.0)))
    said = advice.of_life("pump 7", e, ("power", "flow", "temperature"), lead=5, horizon=20)
    assert said is not None
    assert said.urgency == "plan"
    assert said.text("en") == (
        "Plan the overhaul of pump 7; temperature, power moved;"
        " it looks like unit 37 at 19 cycles before its end; about 21 cycles, between 12 and 30;"
        " the interval holds 90 of 100 units; nearest history weighs 40 %."
    )
    assert said.text("zh").startswith("安排 pump 7 的检修；temperature, power 发生变化")
    assert advice.of_life("pump 7", Estimate("too young"), (), lead=5, horizon=20) is None
    assert set(advice.refusal(Estimate("too young"))) == {"en", "zh"}
    assert advice.refusal(e) == {}


def test_advice_on_a_bearing_needs_a_sign():
    none = Finding("", 1.2, {}, Band(1, 0, 0.0))
    race = Finding("outer race", 12.0, {}, Band(2, 0, 3.0))
    assert advice.of_bearing("pump1", none, "B") is None
    said = advice.of_bearing("pump1", race, "B")
    assert said is not None
    assert said.urgency == "plan"
    assert "外圈" in said.why["zh"]
    worst = advice.of_bearing("pump1", none, "D")
    assert worst is not None
    assert worst.urgency == "act"
    assert "unbalance" in worst.why["en"]


def test_advice_on_a_drift_is_urgent_by_the_early_end_of_its_range():
    t = np.arange(400.0)
    p = to_limit(t, 2 + 0.02 * t + 0.05 * np.sin(t), 12.0)
    said = advice.of_trend("filter1/dp", p, lead=24, horizon=48)
    assert said is not None
    assert said.urgency == ("act" if p.soon <= 24 else "plan" if p.soon <= 72 else "watch")
    passed = advice.of_trend("filter1/dp", to_limit(t, 2 + 0.02 * t, 8.0), lead=24, horizon=48)
    assert passed is not None
    assert passed.urgency == "act"
