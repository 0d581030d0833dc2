"""The static form of every registered model: trained from rows, settled, and from then on a fixed function of the last rows it saw."""

from __future__ import annotations

import itertools
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_agent.core import pack, unpack
from models import BANKS, GROUPS
from models.drift import Drift, DriftConfig
from models.model import GroupConfig, ModelConfig
from tests.contract import test_groups as groups
from tests.contract import test_models as banks
from tests.naive.models import settled

S = 1_000_000_000
WITHOUT = {"adwin", "budget", "cold_chain", "degradation", "flatline", "limit_cycle", "wear"}
"""Kinds that have no static form."""
KINDS = sorted(set(BANKS) - WITHOUT - {"river"})
"""The form of `river` has a suite of its own (`tests/models/test_river.py`)."""
CASES = [(kind, i) for kind in groups.KINDS for i in range(2)]


def static(config: Any) -> Any:
    """The configuration as it stands beside a file."""
    changes: dict[str, Any] = {"file": "0" * 64} | ({"adapt": False} if getattr(config, "adapt", False) else {})
    return config.model_copy(update=changes)


def training(seed: int, n: int = 700) -> Any:
    rng = np.random.default_rng(seed)
    value = np.round(rng.choice([0.0, 5.0, 1e6]) + np.cumsum(rng.normal(0, 0.02, n)) + rng.normal(0, rng.choice([0.5, 2.0]), n), 3)
    # 601 s: every part of every period in `banks.PARAMETERS` is met.
    return np.arange(n, dtype=np.int64) * 601 * S, value


@cache
def learned_of(kind: str, slot: int, seed: int) -> bytes:
    return pack(BANKS[kind].train(static(banks.configs(kind)[slot]), *training(seed + slot)))


def bank(kind: str, seed: int) -> Any:
    configs: list[ModelConfig] = [static(c) for c in banks.configs(kind)]
    make: Any = BANKS[kind]
    made = make(configs)
    for slot in range(len(configs)):
        made.settle(slot, unpack(learned_of(kind, slot, seed)))
    return made


def group(kind: str, i: int, seed: int) -> Any:
    config: GroupConfig = static(groups.configured(kind, i))
    make: Any = GROUPS[kind]
    made = make(config, groups.K)
    made.settle(unpack(pack(made.train(config, *complete(seed)))))
    return made


def complete(seed: int) -> Any:
    t, x, _ = groups.rows(seed, 400)
    x = x[:200]
    return t[:200], np.nan_to_num(x, nan=float(np.nanmean(x)))


def cut(drawn: Any, n: int) -> list[int]:
    return sorted({0, n, *drawn})


@pytest.mark.parametrize("kind", KINDS)
@given(drawn=banks.rows, seed=st.integers(0, 3), data=st.data())
@settings(max_examples=20)
def test_cuts_and_restarts_change_no_bit(kind: str, drawn: list[tuple[int, float, int]], seed: int, data: st.DataObject) -> None:
    cols = banks.columns(drawn)
    whole = bank(kind, seed)
    expected = banks.run(whole, kind, cols)
    b, parts = bank(kind, seed), [np.empty((0, banks.width(kind)))]
    for a, z in itertools.pairwise(cut(data.draw(st.lists(st.integers(0, len(drawn)), max_size=5)), len(drawn))):
        parts.append(banks.run(b, kind, tuple(c[a:z] for c in cols)))
        saved = b.state()
        b = bank(kind, seed)
        b.restore(unpack(pack(saved)))
    assert np.concatenate(parts).tobytes() == expected.tobytes()
    assert pack(b.state()) == pack(whole.state())
    used = cols[3] == 1
    assert np.isnan(expected[~used]).all()
    assert not np.isinf(expected).any()
    assert expected[used].tobytes() == banks.run(bank(kind, seed), kind, tuple(c[used] for c in cols)).tobytes()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(2))
def test_equals_its_naive_twin(kind: str, seed: int) -> None:
    cols = banks.columns(banks.long_run(seed))
    cols[2][~(np.abs(cols[2]) < 1e12)] = 4.0
    out = banks.run(bank(kind, seed), kind, cols)
    twins = [settled(static(c), *(a.tolist() for a in training(seed + slot))) for slot, c in enumerate(banks.configs(kind))]
    expected = [twins[s].row(x, t) if u else [np.nan] * banks.width(kind) for s, t, x, u in zip(*(c.tolist() for c in cols), strict=True)]
    np.testing.assert_allclose(out, np.array(expected), rtol=1e-6, atol=1e-6)


def same(a: NDArray[Any], b: NDArray[Any]) -> bool:
    return a.tobytes() == b.tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_it_sees_changes_what_it_says_of_the_rows_behind(kind: str) -> None:
    """Whatever came before, once the windows of the last rows are full of the same rows again the answer is the same."""
    slot, value = np.zeros(900, np.int32), np.concatenate([np.full(400, 3.0) * np.arange(400), training(9, 500)[1]])
    other = np.concatenate([training(0)[1][:400], value[400:]])
    t, usable = np.arange(900, dtype=np.int64) * 60 * S, np.ones(900, np.uint8)
    a, b = (banks.run(bank(kind, 0), kind, (slot, t, v, usable)) for v in (value, other))
    out = BANKS[kind].outputs.index({"auto": "score"}.get(kind, BANKS[kind].outputs[0]))
    np.testing.assert_allclose(a[-100:, out], b[-100:, out], rtol=1e-6, atol=1e-3)
    assert np.isfinite(a[-100:, out]).all()


@pytest.mark.parametrize(("kind", "i"), CASES)
@given(seed=st.integers(0, 2**16), data=st.data())
@settings(max_examples=10)
def test_groups_cuts_and_restarts_change_no_bit(kind: str, i: int, seed: int, data: st.DataObject) -> None:
    columns = groups.rows(seed)
    n = len(columns[0])
    whole = group(kind, i, seed)
    expected = groups.run(whole, kind, columns)
    assert np.isfinite(expected[:, 0]).any()
    assert not np.isinf(expected).any()
    g, parts = group(kind, i, seed), []
    for a, z in itertools.pairwise(cut(data.draw(st.lists(st.integers(0, n), max_size=8)), n)):
        parts.append(groups.run(g, kind, tuple(np.ascontiguousarray(c[a:z]) for c in columns)))
        saved = g.state()
        g = group(kind, i, seed)
        g.restore(unpack(pack(saved)))
    assert np.concatenate(parts).tobytes() == expected.tobytes()
    assert pack(g.state()) == pack(whole.state())


@pytest.mark.parametrize(("kind", "i"), CASES)
def test_a_group_trained_from_rows_is_the_one_that_trained_itself_on_them(kind: str, i: int) -> None:
    """Behind an interruption both begin at rest, and what one learned from its first instants the other has from its file."""
    t, x = complete(3)
    config = groups.configured(kind, i)
    own = GROUPS[kind](config.model_copy(update={"train_rows": len(t)}), groups.K)  # type: ignore[call-arg]
    every = np.ones(x.shape, np.uint8)
    groups.run(own, kind, (t, x, every))
    trained = GROUPS[kind](static(config), groups.K)  # type: ignore[call-arg]
    trained.settle(trained.train(config, t, x))
    later = t + 10**6 * S
    np.testing.assert_allclose(groups.run(trained, kind, (later, x, every)), groups.run(own, kind, (later, x, every)), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_too_few_rows_and_arrays_of_another_shape_are_refused(kind: str) -> None:
    config = static(banks.configs(kind)[0])
    b = bank(kind, 0)
    with pytest.raises(ValueError, match="expected at least"):
        b.train(config, *(c[:5] for c in training(0)))
    learned = b.train(config, *training(0))
    check_refusals(lambda arrays: b.settle(0, arrays), learned)
    assert pack(b.train(config, *training(0))) == pack(learned)


@pytest.mark.parametrize(("kind", "i"), CASES)
def test_groups_refuse_too_few_rows_and_arrays_of_another_shape(kind: str, i: int) -> None:
    config = static(groups.configured(kind, i))
    g = group(kind, i, 0)
    with pytest.raises(ValueError, match="expected at least"):
        g.train(config, *(c[:5] for c in complete(0)))
    check_refusals(g.settle, g.train(config, *complete(0)))


def check_refusals(settle: Any, learned: dict[str, Any]) -> None:
    for wrong in (
        {},
        learned | {"more": np.zeros(1)},
        {n: np.zeros(a.shape, np.float16) for n, a in learned.items()},
        {n: np.zeros((7, 7), a.dtype) for n, a in learned.items()},
        {n: np.full(a.shape, np.nan, a.dtype) if a.dtype.kind == "f" else a for n, a in learned.items()},
    ):
        with pytest.raises(ValueError, match=r"arrays.*: expected"):
            settle(wrong)


@pytest.mark.parametrize("kind", ["ewma", "cusum"])
def test_a_chart_that_follows_has_no_file(kind: str) -> None:
    with pytest.raises(ValueError, match="adapt: expected false beside a file"):
        banks.MODEL.validate_python({"kind": kind, "tags": ["a"], "file": "x", "adapt": True})
    assert not banks.MODEL.validate_python({"kind": kind, "tags": ["a"], "file": "x"}).learns


def scores(seed: int, n: int) -> NDArray[np.float64]:
    """Autocorrelated scores as a slow filter of noise makes them."""
    noise, x = np.random.default_rng(seed).normal(size=n), np.zeros(n)
    for i in range(1, n):
        x[i] = 0.8 * x[i - 1] + 0.6 * noise[i]
    return x


def watched(value: NDArray[np.float64], calibration: dict[str, Any]) -> NDArray[np.float64]:
    bank = Drift([DriftConfig(tags=("a",))])
    bank.settle(0, calibration)
    out = np.empty((len(value), 4))
    bank.step(np.zeros(len(value), np.int32), np.arange(len(value)), value, np.ones(len(value), np.uint8), out)
    return out


def test_drift_of_a_population_is_found_and_none_is_said_without_it() -> None:
    """Twenty calibrations of 8,000 scores, each watched over 16 windows without drift, and over 8 with one of four."""
    false = windows = 0
    found = dict.fromkeys(("shift", "wide", "narrow", "tail"), 0)
    for seed in range(20):
        calibration = Drift.train(None, np.arange(8000), scores(seed, 8000))
        assert int(calibration["window"]) == 1000
        ratio = watched(scores(1000 + seed, 16_000), calibration)[:, 0]
        false, windows = false + int((ratio > 1).sum()), windows + int(np.isfinite(ratio).sum())
        x = scores(2000 + seed, 8000)
        wild = np.where(np.random.default_rng(seed).random(8000) < 0.2, 6.0, x)
        for name, moved in (("shift", x + 1.0), ("wide", 2.0 * x), ("narrow", 0.4 * x), ("tail", wild)):
            found[name] += int((watched(moved, calibration)[:, 0] > 1).sum())
    assert windows == 320
    assert false <= 1
    assert {name: n >= 155 for name, n in found.items()} == dict.fromkeys(found, True), found


@given(drawn=banks.rows, cuts=st.lists(st.integers(0, 400), max_size=6))
@settings(max_examples=20)
def test_the_watch_is_the_same_however_rows_are_cut(drawn: list[tuple[int, float, int]], cuts: list[int]) -> None:
    calibration = Drift.train(None, np.arange(1600), scores(1, 1600)) | {"window": np.array(7, np.int64)}

    def make() -> Drift:
        b = Drift([DriftConfig(tags=("a",))] * 4)
        for s in range(4):
            b.settle(s, calibration)
        return b

    cols = banks.columns(drawn)
    whole, b, parts = make(), make(), [np.empty((0, 4))]
    expected = np.empty((len(drawn), 4))
    whole.step(*cols, expected)
    for a, z in itertools.pairwise(cut([c for c in cuts if c <= len(drawn)], len(drawn))):
        out = np.empty((z - a, 4))
        b.step(*(c[a:z] for c in cols), out)
        parts.append(out)
        saved = b.state()
        b = make()
        b.restore(unpack(pack(saved)))
    assert np.concatenate(parts).tobytes() == expected.tobytes()
    assert pack(b.state()) == pack(whole.state())
    assert not np.isinf(expected).any()
