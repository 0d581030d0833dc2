"""What every registered model promises (`models/model.py`), run over the register."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_agent.core import pack, unpack
from models import BANKS, AnyModel, Bank
from models.model import ModelConfig
from tests.naive.models import judged

KINDS = sorted(BANKS)
MODEL = pydantic.TypeAdapter(AnyModel)
PARAMETERS: dict[str, list[dict[str, Any]]] = {
    "auto": [{"warmup": 16}, {"warmup": 21, "profile": "plant", "budget": 1.5, "refractory": 3}, {"warmup": 40, "profile": "light"},
             {"warmup": 24, "calendar": False, "span": 10.0, "min_sigma": 0.25}],
    "ewma": [{"warmup": 2}, {"warmup": 7, "lambda": 0.1, "adapt": True}, {"mu": 1.0, "sigma": 2.0}, {"mu": 0.0, "sigma": 1.0, "adapt": True}],
    "cusum": [{"warmup": 2}, {"warmup": 7, "k": 0.25, "adapt": True}, {"mu": 1.0, "sigma": 2.0, "ceiling": 3.0}, {"warmup": 12, "min_sigma": 0.5}],
    "budget": [{"per_day": 900, "apart_s": 1, "settle_h": 0}, {"per_month": 30_000, "apart_s": 1, "memory_days": 0.001, "settle_h": 0.005},
               {"per_day": 1000, "apart_s": 2, "among": 3, "settle_h": 0}, {"per_day": 100, "apart_s": 1, "settle_h": 0, "highest": 6}],
    "adwin": [{}, {"delta": 0.3, "clock": 1, "least_rows": 1, "min_window": 1}, {"delta": 0.1, "clock": 2, "max_buckets": 2},
              {"clock": 3, "max_buckets": 10, "least_rows": 40}],
    "residual": [{"warmup": 3}, {"warmup": 12, "lambda": 0.1, "gap_s": 2}, {"mu": 1.0, "sigma": 2.0, "phi": 0.7}, {"warmup": 20, "min_sigma": 0.5}],
    "discord": [{"rows": 4, "history": 32, "warmup": 64}, {"rows": 8, "history": 40, "warmup": 64, "budget": 1.5},
                {"rows": 4, "history": 64, "warmup": 70}, {"rows": 5, "history": 33, "warmup": 64, "min_sigma": 0.25}],
    "seasonal": [{"period_h": 0.01, "parts": 4, "least": 3}, {"least": 2, "memory": 10}, {"parts": 1, "least": 5, "min_sigma": 0.5},
                 {"period_h": 0.02, "parts": 3, "offset_h": 0.003, "least": 4, "memory": 6}],
    "shewhart": [{"warmup": 2}, {"warmup": 7}, {"mu": 1.0, "sigma": 2.0}, {"warmup": 12, "min_sigma": 0.5}],
    "spc": [{"warmup": 2}, {"warmup": 7, "rules": "western_electric", "gap_s": 6}, {"mu": 1.0, "sigma": 2.0, "without": [1, 2, 6]},
            {"warmup": 5, "every_s": 4, "without": [1]}],
    "cold_chain": [{"allowed_min": 0.5, "window_h": 0.05}, {"allowed_min": 2, "low": -3, "high": 4, "window_h": 0.02, "never_above": 6, "gap_s": 3},
                   {"allowed_min": 1, "window_h": 24, "gap_s": 2}, {"allowed_min": 9, "window_h": 0.01, "never_below": -50, "activation_k": 5000}],
    "limit_cycle": [{"swing": 0.5, "cycles": 3, "regular": 0.5}, {"swing": 2, "cycles": 3}, {"swing": 3, "cycles": 4, "longest_s": 5},
                    {"swing": 1e6, "cycles": 3}],
    "flatline": [{}, {"tolerance": 0.5}, {"tolerance": 2}, {"tolerance": 1e6}],
    "page_hinkley": [{}, {"least_rows": 1, "threshold": 2, "direction": "up"}, {"least_rows": 3, "threshold": 3, "direction": "down", "memory": 0.9},
                     {"least_rows": 5, "threshold": 4, "delta": 0.5, "memory": 1.0}],
    "river": [{"estimator": "anomaly.GaussianScorer", "params": {"grace_period": 4}, "generation": 8, "warmup": 3},
              {"estimator": "drift.PageHinkley", "generation": 12, "warmup": 0},
              {"estimator": "anomaly.HalfSpaceTrees", "params": {"n_trees": 2, "height": 3, "window_size": 4}, "generation": 5, "scale": [-5, 5],
               "warmup": 9},
              {"estimator": "drift.ADWIN", "params": {"clock": 1, "grace_period": 2}, "generation": 15, "warmup": 1}],
    "wear": [{"healthy": 0, "limit": 50, "every_h": 0.002}, {"healthy": 10, "limit": -5, "every_h": 0.001, "serviced": 1.5},
             {"healthy": 1, "limit": 1e7, "every_h": 0.003}, {"healthy": 0, "limit": 4, "every_h": 0.0005}],
    "degradation": [{"skip": 0, "baseline": 2, "quiet": 2}, {"skip": 3, "baseline": 5, "ratio": 1.1, "quiet": 5}, {"limit": 2.0, "quiet": 1},
                    {"limit": 0.5, "skip": 1, "baseline": 3, "ratio": 3.0, "idle": 0.25}],
    "robust_z": [{"window": 5}, {"window": 6}, {"window": 13, "min_sigma": 0.25}, {"window": 8}],
}
"""Four slots per kind; a new kind adds its line."""

SPECIAL = [0.0, -0.0, 1.0, -1.0, 1e9, -1e9, 1e-300, 5e-324, 1e150, -1e150, 1.7e308, float("inf"), float("-inf"), float("nan")]
numbers = st.one_of(
    st.sampled_from(SPECIAL),
    st.integers(-3, 3).map(float),
    st.floats(-10, 10),
    st.floats(-1, 1).map(lambda x: 1e9 + x),
    st.floats(allow_nan=True, allow_infinity=True),
)


def long_run(seed: int) -> list[tuple[int, float, int]]:
    """Some hundred rows, long enough to end every warm-up and turn every window over, with special values among them."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(100, 400))
    ordinary = np.round(rng.normal(rng.choice([0.0, 5.0, 1e6]), rng.choice([0.5, 2.0]), n), int(rng.integers(0, 5)))
    value = np.where(rng.random(n) < rng.choice([0.0, 0.1]), rng.choice(SPECIAL, n), ordinary)
    return [(int(s), float(v), int(u)) for s, v, u in zip(rng.integers(0, 4, n), value, rng.random(n) < 0.85, strict=True)]


rows = st.one_of(
    st.lists(st.tuples(st.integers(0, 3), numbers, st.sampled_from([1, 1, 1, 1, 0])), max_size=80),
    st.integers(0, 2**32 - 1).map(long_run),
)


def configs(kind: str) -> list[ModelConfig]:
    return [MODEL.validate_python({"kind": kind, "tags": ["a"], **p}) for p in PARAMETERS[kind]]


def bank(kind: str) -> Bank:
    make: Any = BANKS[kind]
    made: Bank = make(configs(kind))
    return made


def width(kind: str) -> int:
    return len(BANKS[kind].outputs) + len(BANKS[kind].reasons)


def columns(drawn: list[tuple[int, float, int]]) -> Any:
    slot = np.array([r[0] for r in drawn], np.int32)
    value = np.array([r[1] for r in drawn], np.float64)
    usable = np.array([r[2] for r in drawn], np.uint8)
    return slot, np.arange(len(drawn), dtype=np.int64) * 1_000_000_000, value, usable


def run(b: Bank, kind: str, cols: Any) -> NDArray[np.float64]:
    out = np.full((len(cols[0]), width(kind)), 77.0)
    b.step(*cols, out)
    return out


def same_state(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return pack(a) == pack(b)


@pytest.mark.parametrize("kind", KINDS)
def test_declares_what_it_says(kind: str) -> None:
    b = BANKS[kind]
    assert len(b.outputs) == len(b.units) >= 1
    assert len({*b.outputs, *b.reasons}) == width(kind)
    assert PARAMETERS[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_configuration_refuses_unknown_keys_and_values_that_are_no_numbers(kind: str) -> None:
    for wrong in ({"bogus": 1}, {"min_sigma": float("nan")}, {"min_sigma": -1}):
        with pytest.raises(pydantic.ValidationError):
            MODEL.validate_python({"kind": kind, "tags": ["a"], **wrong})
    config = configs(kind)[0]
    with pytest.raises(pydantic.ValidationError):
        config.tags = ("b",)  # type: ignore[misc]
    assert MODEL.validate_json(config.model_dump_json(by_alias=True)) == config


@pytest.mark.parametrize("kind", KINDS)
@given(drawn=rows)
@settings(max_examples=60)
def test_equals_its_naive_twin(kind: str, drawn: list[tuple[int, float, int]]) -> None:
    cols = columns([(s, v if abs(v) < 1e12 or not abs(v) <= 1e150 else 4.0, u) for s, v, u in drawn])
    out = run(bank(kind), kind, cols)
    expected = judged(configs(kind), cols[0].tolist(), cols[1].tolist(), cols[2].tolist(), cols[3].tolist(), width(kind))
    np.testing.assert_allclose(out, np.array(expected).reshape(out.shape), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@given(drawn=rows)
@settings(max_examples=60)
def test_any_input_gives_finite_scores_or_nothing(kind: str, drawn: list[tuple[int, float, int]]) -> None:
    b = bank(kind)
    out = run(b, kind, columns(drawn))
    assert not np.isinf(out).any()
    for name, array in b.state().items():
        assert not np.isinf(array).any(), name


@pytest.mark.parametrize("kind", KINDS)
@given(drawn=rows, data=st.data())
@settings(max_examples=40)
def test_cuts_and_restarts_change_no_bit(kind: str, drawn: list[tuple[int, float, int]], data: st.DataObject) -> None:
    cols = columns(drawn)
    whole = bank(kind)
    expected = run(whole, kind, cols)
    for cuts in (list(range(len(drawn) + 1)), sorted({0, len(drawn), *data.draw(st.lists(st.integers(0, len(drawn)), max_size=5))})):
        b = bank(kind)
        parts = [np.empty((0, width(kind)))]
        for a, z in itertools.pairwise(cuts):
            parts.append(run(b, kind, tuple(c[a:z] for c in cols)))
            saved = b.state()
            b = bank(kind)
            b.restore(unpack(pack(saved)))
            assert same_state(b.state(), saved)
        assert np.concatenate(parts).tobytes() == expected.tobytes()
        assert same_state(b.state(), whole.state())


@pytest.mark.parametrize("kind", KINDS)
@given(drawn=rows)
@settings(max_examples=30)
def test_unusable_rows_leave_no_trace(kind: str, drawn: list[tuple[int, float, int]]) -> None:
    noisy, clean = bank(kind), bank(kind)
    cols = columns(drawn)
    used = cols[3] == 1
    out = run(noisy, kind, cols)
    assert np.isnan(out[~used]).all()
    assert out[used].tobytes() == run(clean, kind, tuple(c[used] for c in cols)).tobytes()
    assert same_state(noisy.state(), clean.state())


@pytest.mark.parametrize("kind", KINDS)
def test_slots_do_not_see_each_other(kind: str) -> None:
    rng = np.random.default_rng(5)
    cols = columns([(int(s), float(v), 1) for s, v in zip(rng.integers(0, 4, 400), rng.normal(3, 1, 400), strict=True)])
    together = run(bank(kind), kind, cols)
    for s in range(4):
        alone = run(bank(kind), kind, tuple(c[cols[0] == s] for c in cols))
        assert together[cols[0] == s].tobytes() == alone.tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_state_is_a_copy_and_another_shape_is_refused(kind: str) -> None:
    b = bank(kind)
    run(b, kind, columns([(s, float(v), 1) for s in range(4) for v in range(20)]))
    saved = b.state()
    before = pack(saved)
    run(b, kind, columns([(s, 9.0 + v, 1) for s in range(4) for v in range(20)]))
    assert pack(saved) == before
    now = pack(b.state())
    for wrong in ({}, {**saved, "more": np.zeros(1)}, *({**saved, n: a[:-1]} for n, a in saved.items()), *({**saved, n: [1]} for n in saved)):
        with pytest.raises(ValueError, match="expected"):
            b.restore(wrong)
    with pytest.raises(ValueError, match="expected"):
        b.restore({n: a.astype(np.float32) for n, a in saved.items()})
    assert pack(b.state()) == now


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_do_not_fit_are_refused(kind: str) -> None:
    b = bank(kind)
    before = pack(b.state())
    for slot in (4, -1):
        with pytest.raises(ValueError, match=r"slot: expected 0\.\.3"):
            run(b, kind, columns([(slot, 1.0, 1)]))
    with pytest.raises(ValueError, match="out: expected shape"):
        b.step(*columns([(0, 1.0, 1)]), np.empty((2, width(kind))))
    assert run(b, kind, columns([])).shape == (0, width(kind))
    assert pack(b.state()) == before


@pytest.mark.parametrize("kind", KINDS)
def test_columns_that_may_not_be_written_are_read(kind: str) -> None:
    cols = columns([(0, float(v % 3), 1) for v in range(30)])
    frozen = tuple(np.frombuffer(c.tobytes(), c.dtype) for c in cols)
    assert not frozen[2].flags.writeable
    assert run(bank(kind), kind, frozen).tobytes() == run(bank(kind), kind, cols).tobytes()
