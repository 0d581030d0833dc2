"""Published and computed vectors of the charts, and the inputs that real tags bring."""

from __future__ import annotations

from typing import Any

import numpy as np
import pydantic
import pytest
from numpy.typing import NDArray

from models import AnyModel
from models.baseline import moving_range_sigma, sort, trimmed_mean
from models.cusum import Cusum, CusumConfig
from models.ewma import Ewma, EwmaConfig
from models.robust_z import RobustZ, RobustZConfig, deviation

X = [10.1, 10.3, 10.4, 10.5, 10.6]
IMR = [10.1, 9.8, 10.0, 10.3, 9.9, 10.2, 10.0, 9.7, 10.1, 9.9]


def run(bank: Any, values: Any) -> NDArray[np.float64]:
    v = np.asarray(values, np.float64)
    out = np.empty((len(v), len(bank.outputs) + len(bank.reasons)))
    bank.step(np.zeros(len(v), np.int32), np.arange(len(v)), v, np.ones(len(v), np.uint8), out)
    return out


def test_ewma_vector_signals_at_the_fourth_value() -> None:
    out = run(Ewma([EwmaConfig(tags=("a",), mu=10, sigma=0.2)]), X)
    np.testing.assert_allclose(out[:, 1], [10.0200, 10.0760, 10.1408, 10.2126, 10.2901], atol=5e-5)
    sd = 0.2 * np.sqrt(0.2 / 1.8)
    np.testing.assert_allclose(out[:, 0], (out[:, 1] - 10) / sd, rtol=1e-12)
    growing = np.sqrt(1 - 0.8 ** (2 * np.arange(1, 6)))
    np.testing.assert_allclose(10 + 2.962 * sd * growing, [10.1185, 10.1517, 10.1696, 10.1801, 10.1866], atol=5e-5)
    assert int(np.argmax(out[:, 0] > 2.962)) + 1 == 4


def test_cusum_vector_signals_at_the_fifth_value() -> None:
    out = run(Cusum([CusumConfig(tags=("a",), mu=10, sigma=0.2)]), X)
    np.testing.assert_allclose(out[:, 0], [0, 1.0, 2.5, 4.5, 7.0], atol=1e-9)
    assert int(np.argmax(out[:, 0] > 5)) + 1 == 5
    assert out[4, 1] == 1
    assert out[4, 2] == 4  # C+ left zero four values ago
    down = run(Cusum([CusumConfig(tags=("a",), mu=10, sigma=0.2)]), [20 - x for x in X])
    np.testing.assert_allclose(down[:, 0], out[:, 0], atol=1e-9)
    assert down[4, 1] == -1


def test_individuals_chart_vector() -> None:
    a = np.array(IMR)
    assert moving_range_sigma(a, 0, 10) == pytest.approx(0.25611, abs=5e-6)
    sort(a, 0, 10)
    assert a.tolist() == sorted(IMR)
    assert trimmed_mean(a, 0, 10) == pytest.approx(10.0)
    out = run(Ewma([EwmaConfig(tags=("a",), warmup=10)]), [*IMR, 10.0])
    assert np.isnan(out[:10]).all()
    assert out[10, 2] == pytest.approx(10.0)
    assert out[10, 3] == pytest.approx(0.25611 / 3, abs=5e-6)


@pytest.mark.parametrize("config", [EwmaConfig(tags=("a",)), CusumConfig(tags=("a",))])
def test_a_few_wild_values_do_not_spoil_the_warm_up(config: Any) -> None:
    rng = np.random.default_rng(11)
    values = rng.normal(50, 2, 120)
    values[[0, 17, 60, 61, 119]] = [1e6, -1e6, 500, 0, 1e9]
    bank = config.bank()([config])
    run(bank, values)
    state = bank.state()
    assert state["mu"][0] == pytest.approx(50, abs=0.6)
    assert state["sigma"][0] == pytest.approx(2, rel=0.2)
    assert not state["kept"].any()


def test_average_run_length_of_the_cusum() -> None:
    """Two-sided k 0.5, h 5: 38.0 rows at a shift of half a sigma, 10.4 at one sigma."""
    rng = np.random.default_rng(3)
    for shift, expected in ((0.5, 38.0), (1.0, 10.4)):
        slots, length = 2000, 400
        bank = Cusum([CusumConfig(tags=("a",), mu=0, sigma=1)] * slots)
        slot = np.tile(np.arange(slots, dtype=np.int32), length)
        out = np.empty((len(slot), 4))
        bank.step(slot, np.arange(len(slot)), rng.normal(shift, 1, len(slot)), np.ones(len(slot), np.uint8), out)
        signals = out[:, 0].reshape(length, slots) > 5
        assert signals.any(axis=0).all()
        assert float((np.argmax(signals, axis=0) + 1).mean()) == pytest.approx(expected, rel=0.06)


def test_frozen_after_warm_up_unless_adaptive() -> None:
    rng = np.random.default_rng(2)
    values = np.concatenate([rng.normal(10, 1, 50), rng.normal(12, 1, 20_000)])
    frozen, follows = (Ewma([EwmaConfig(tags=("a",), warmup=50, adapt=adapt)]) for adapt in (False, True))
    for bank in (frozen, follows):
        run(bank, values)
    assert frozen.state()["mu"][0] == pytest.approx(10, abs=0.6)
    assert follows.state()["mu"][0] == pytest.approx(12, abs=0.2)
    assert follows.state()["sigma"][0] == pytest.approx(1, rel=0.15)


def test_cusum_comes_back_soon_after_a_large_fault() -> None:
    out = run(Cusum([CusumConfig(tags=("a",), mu=0, sigma=1)]), [1e9] * 1000 + [0.0] * 100)
    assert out[999, 0] == 50
    assert out[1099, 0] == 0


@pytest.mark.parametrize("model", [{"kind": "ewma", "warmup": 20}, {"kind": "cusum", "warmup": 20}, {"kind": "robust_z", "window": 20}])
class TestSpread:
    def test_constant_tag_says_zero_and_a_change_is_large_but_finite(self, model: dict[str, Any]) -> None:
        config = pydantic.TypeAdapter(AnyModel).validate_python({"tags": ["a"], **model})
        out = run(config.bank()([config]), [5.0] * 30 + [5.1])
        assert not out[20:30, 0].any()
        assert 50 <= out[30, 0] <= 1e6

    def test_noise_on_a_large_offset(self, model: dict[str, Any]) -> None:
        config = pydantic.TypeAdapter(AnyModel).validate_python({"tags": ["a"], **model})
        noise = np.random.default_rng(7).integers(-8, 9, 300) / 4.0
        plain, shifted = (run(config.bank()([config]), noise + offset)[:, 0] for offset in (0.0, 1e9))
        np.testing.assert_allclose(shifted, plain, rtol=1e-4, atol=1e-4)

    def test_least_sigma_is_the_floor(self, model: dict[str, Any]) -> None:
        config = pydantic.TypeAdapter(AnyModel).validate_python({"tags": ["a"], "min_sigma": 0.1, **model})
        out = run(config.bank()([config]), [5.0] * 20 + [5.1])
        assert out[20, 0] <= 1.0 + 1e-9


def test_robust_z_is_not_moved_by_a_third_of_wild_values() -> None:
    rng = np.random.default_rng(4)
    window = rng.normal(0, 1, 60)
    window[::3] = 1000.0
    out = run(RobustZ([RobustZConfig(tags=("a",), window=60)]), [*window, 10.0])
    assert abs(out[60, 1]) < 1.5
    assert 3 < out[60, 0] < 15


def test_quantised_tag_falls_back_to_the_mean_deviation() -> None:
    out = run(RobustZ([RobustZConfig(tags=("a",), window=10)]), [1.0] * 8 + [2.0, 0.0] + [2.0])
    assert out[10, 2] == pytest.approx(1.2533 * 0.2)


def test_median_absolute_deviation_of_every_length() -> None:
    rng = np.random.default_rng(0)
    for n in range(1, 30):
        for decimals in (0, 1, 6):
            a = np.sort(np.round(rng.normal(0, 2, n), decimals))
            centre = float(np.median(a))
            assert deviation(a, 0, n, centre) == np.median(np.abs(a - centre))


@pytest.mark.parametrize(
    "wrong",
    [{"kind": "ewma", "lambda": 0}, {"kind": "ewma", "lambda": 1.1}, {"kind": "ewma", "mu": 1}, {"kind": "cusum", "sigma": 1},
     {"kind": "cusum", "mu": 1, "sigma": 0}, {"kind": "robust_z", "window": 4}, {"kind": "nothing"}],
)  # fmt: skip
def test_wrong_parameters_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(pydantic.ValidationError):
        pydantic.TypeAdapter(AnyModel).validate_python({"tags": ["a"], **wrong})
