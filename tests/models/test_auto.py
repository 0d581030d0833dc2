"""The default detector: what the contract suite cannot know of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_agent.core import pack, unpack
from models.auto import Auto, AutoConfig
from tests.naive.auto import NaiveAuto

S = 1_000_000_000
SCORE, ALARM, SURPRISE, REASON, EXPECTED, NOVELTY, SEASON, LEVEL, FROZEN = range(9)


def run(values: Any, step_s: float = 1.0, times: Any = None, **config: Any) -> NDArray[np.float64]:
    x = np.asarray(values, np.float64)
    t = np.arange(len(x), dtype=np.int64) * round(step_s * S) if times is None else np.asarray(times, np.int64)
    out = np.empty((len(x), 9))
    Auto([AutoConfig(tags=("a",), **config)]).step(np.zeros(len(x), np.int32), t, x, np.ones(len(x), np.uint8), out)
    return out


def noise(n: int, seed: int = 1) -> NDArray[np.float64]:
    """Correlated noise about 0, like a controlled tag."""
    rng = np.random.default_rng(seed)
    x = np.zeros(n)
    for i in range(1, n):
        x[i] = 0.7 * x[i - 1] + rng.normal()
    return x


def daily(days: int, seed: int = 1) -> NDArray[np.float64]:
    """Twelve values an hour, high from 8 to 18 o'clock."""
    hour = np.arange(days * 288) // 12 % 24
    return np.where((hour >= 8) & (hour < 18), 10.0, 2.0) + 0.3 * noise(days * 288, seed)


@pytest.mark.parametrize("profile", ["auto", "plant", "light"])
def test_equals_its_twin_over_days_of_five_minute_rows(profile: Any) -> None:
    x = daily(4)
    x[700:720] += 15
    x[900:930] = x[900]
    config = {"profile": profile, "warmup": 300}
    out = run(x, 300.0, **config)
    twin = NaiveAuto(AutoConfig(tags=("a",), **config))
    expected = [twin.row(float(v), i * 300 * S) for i, v in enumerate(x)]
    np.testing.assert_allclose(out, np.array(expected), rtol=1e-6, atol=1e-6)
    assert out[:, ALARM].sum(where=~np.isnan(out[:, ALARM])) >= 1


@pytest.mark.parametrize(
    ("fault", "reason"),
    [(lambda x: x.__setitem__(slice(1500, None), x[1500:] + 12), 1.0), (lambda x: x.__setitem__(slice(1500, None), x[1500]), 4.0)],
    ids=["level", "frozen"],
)
def test_finds_and_says_why(fault: Any, reason: float) -> None:
    x = noise(1700)
    fault(x)
    out = run(x, calendar=False)
    found = np.flatnonzero(out[:, ALARM] == 1)
    after = found[found >= 1500]
    assert len(after) >= 1
    assert after[0] < 1560
    assert out[after[0], REASON] == reason


def test_a_day_that_is_not_as_other_days() -> None:
    x = daily(14)
    x[12 * 288 + 8 * 12 : 12 * 288 + 18 * 12] -= 8  # a working day without work
    out = run(x, 300.0)
    found = np.flatnonzero(out[:, ALARM] == 1)
    inside = found[(found >= 12 * 288 + 96) & (found < 12 * 288 + 216)]
    assert len(inside) == 1
    assert out[inside[0], REASON] == 2.0
    assert out[inside[0], EXPECTED] == pytest.approx(10, abs=1)
    assert out[inside[0], SEASON] > 0.5


def test_scores_do_not_depend_on_unit_or_offset() -> None:
    x = np.round(noise(1500), 3)
    x[1200:] += 6
    plain = run(x)[600:, SURPRISE]
    for factor, offset in ((2.0**10, 0.0), (2.0**-20, 0.0), (1.0, 4096.0)):
        np.testing.assert_allclose(run(factor * x + offset)[600:, SURPRISE], plain, rtol=2e-3, atol=2e-3)


def test_what_comes_later_changes_nothing_before() -> None:
    x = noise(1200)
    other = x.copy()
    other[1000:] = 99.0
    assert run(x)[:1000].tobytes() == run(other)[:1000].tobytes()


def test_a_huge_start_up_transient_does_not_blind_it() -> None:
    x = noise(1500)
    x[:60] += np.linspace(1e4, 0, 60)
    x[1300:] += 15
    out = run(x, profile="plant", calendar=False)
    assert np.nansum(out[1300:1330, ALARM]) == 1


@pytest.mark.parametrize(
    "values",
    [np.full(900, 5.0), np.arange(900) % 2, np.where(np.arange(900) % 7 == 0, np.nan, noise(900)), 1e9 + noise(900), np.zeros(900)],
    ids=["constant", "two values", "gaps", "large offset", "zero"],
)
def test_odd_but_steady_tags_are_left_alone(values: NDArray[np.float64]) -> None:
    out = run(values)
    assert not np.isinf(out).any()
    assert np.nansum(out[:, ALARM]) <= 1


def test_the_first_change_of_a_constant_tag_is_found_and_finite() -> None:
    out = run([5.0] * 900 + [5.1] + [5.0] * 10)
    assert out[900, ALARM] == 1
    assert out[900, SURPRISE] <= 6


def test_repeated_and_backward_stamps() -> None:
    times = np.arange(1200) * 300 * S
    times[500:520] = times[500]
    times[800:] -= 3600 * S
    out = run(noise(1200), times=times)
    assert np.isfinite(out[600:, SCORE]).all()


def test_nothing_before_the_warm_up_and_one_finding_per_refractory_time() -> None:
    out = run(noise(3000), warmup=200, budget=1.0, refractory=50)
    assert np.isnan(out[:200]).all()
    assert np.isfinite(out[200:, :3]).all()
    found = np.flatnonzero(out[200:, ALARM] == 1)
    escalated = out[200:, SURPRISE][found[1:]] > 3 * out[200:, SURPRISE][found[:-1]]
    assert ((np.diff(found) > 50) | escalated).all()


def test_a_restart_in_the_middle() -> None:
    x, config = noise(1400), AutoConfig(tags=("a",))
    whole = run(x)
    for cut in (100, 599, 600, 1000):
        first, second = Auto([config]), Auto([config])
        out = np.empty((1400, 9))
        columns = (np.zeros(1400, np.int32), np.arange(1400, dtype=np.int64) * S, x, np.ones(1400, np.uint8))
        first.step(*(c[:cut] for c in columns), out[:cut])
        second.restore(unpack(pack(first.state())))
        second.step(*(c[cut:] for c in columns), out[cut:])
        assert out.tobytes() == whole.tobytes()


def test_state_per_tag() -> None:
    """The figure in docs/models.md."""
    size = sum(a.nbytes for a in Auto([AutoConfig(tags=("a",))]).state().values())
    assert size < 16_000


@pytest.mark.parametrize("values", [np.concatenate([[1e100], np.full(300, 1.0), noise(200)]), np.concatenate([[-1e77], noise(700)])])
def test_a_huge_first_value_leaves_no_nan_behind(values: NDArray[np.float64]) -> None:
    bank = Auto([AutoConfig(tags=("a",), warmup=30, calendar=False)])
    out = np.empty((len(values), 9))
    values[350:352] = 1e100
    bank.step(np.zeros(len(values), np.int32), np.arange(len(values)) * S, values, np.ones(len(values), np.uint8), out)
    assert np.isfinite(bank.state()["floats"]).all()
    assert np.isfinite(bank.state()["tail"]).all()
    assert np.isfinite(out[30:, SCORE]).all()


def before(arrays: Any) -> dict[str, Any]:
    """Arrays of the version that did not weigh what lasts."""
    return {**arrays, "floats": np.ascontiguousarray(arrays["floats"][..., :15])}


def test_a_checkpoint_of_the_version_before_keeps_what_was_learned() -> None:
    x = noise(1200)
    t = np.arange(len(x)) * S
    slot, every = np.zeros(len(x), np.int32), np.ones(len(x), np.uint8)
    bank, out = Auto([AutoConfig(tags=("a",), warmup=300)]), np.empty((len(x), 9))
    bank.step(slot[:900], t[:900], x[:900], every[:900], out[:900])
    after = Auto([AutoConfig(tags=("a",), warmup=300)])
    after.restore(unpack(pack(before(bank.state()))))
    after.step(slot[900:], t[900:], x[900:], every[900:], out[900:])
    assert np.isfinite(out[900:, SCORE]).all()
    assert after.state()["floats"][0, 15] > 0.0


def test_a_file_of_the_version_before_judges_as_it_was_calibrated() -> None:
    x = noise(1500)
    x[1000:] += 3.0
    config = AutoConfig(tags=("a",), warmup=300)
    learned = Auto.train(config, np.arange(900) * S, x[:900])
    found = []
    for arrays in (learned, before(learned)):
        bank, out = Auto([config.model_copy(update={"file": "a"})]), np.empty((600, 9))
        bank.settle(0, arrays)
        bank.step(np.zeros(600, np.int32), np.arange(900, 1500) * S, x[900:], np.ones(600, np.uint8), out)
        found.append(out)
        restored = Auto([config.model_copy(update={"file": "a"})])
        restored.settle(0, arrays)
        restored.restore(bank.state())
        assert restored.state()["floats"].tobytes() == bank.state()["floats"].tobytes()
    weighed, plain = (f[33:, SURPRISE] for f in found)
    assert (plain <= weighed).all()
    assert (plain < weighed).any()
    assert bank.state()["floats"][0, 15] == 0.0
