"""What every registered model of several tags promises (`models/model.py`), run over the register."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.core import pack, unpack
from models import GROUPS, AnyModel, Group
from tests.contract.test_roles import ROLES
from tests.naive.groups import judged

KINDS = sorted(set(GROUPS) - {*ROLES, "remaining", "batch"})
"""Those that learn from instants; the model of batches is tried in tests/models/test_batch.py."""
MODEL = pydantic.TypeAdapter(AnyModel)
S = 1_000_000_000
PARAMETERS: dict[str, list[dict[str, Any]]] = {
    "unit": [{"train_rows": 120}, {"train_rows": 140, "margins": [1.0, 1.5], "slow": 0.2, "blocks": 3}],
    "change": [{"train_rows": 120, "window": 5, "between": 3, "refractory": 8}, {"train_rows": 130}],
    "pca": [{"train_rows": 60}, {"train_rows": 90, "components": 2, "quantile": 0.95}],
    "mahalanobis": [{"train_rows": 60}, {"train_rows": 90, "ridge": 0.1, "quantile": 0.95, "margin": 2.0}],
    "dynamic_pca": [{"train_rows": 60}, {"train_rows": 90, "components": 3, "lags": 3, "blocks": 3}],
    "canonical_variates": [{"train_rows": 80}, {"train_rows": 90, "states": 3, "lags": 1, "ridge": 0.05}],
    "random_cut_forest": [{"train_rows": 60, "trees": 4, "sample": 16}, {"train_rows": 70, "trees": 2, "sample": 64, "seed": 7, "blocks": 3}],
    "half_space_trees": [{"train_rows": 60, "trees": 4, "height": 5}, {"train_rows": 90, "trees": 2, "height": 3, "seed": 9, "sparse": 0.2}],
}
"""Two configurations per kind; a new kind adds its line."""
CASES = [(kind, i) for kind in KINDS for i in range(2)]
K = 6


def configured(kind: str, i: int) -> Any:
    return MODEL.validate_python({"kind": kind, "name": "u", "tags": ["a", "b"], **PARAMETERS[kind][i]})


def make(kind: str, i: int) -> Group:
    build: Any = GROUPS[kind]
    made: Group = build(configured(kind, i), K)
    return made


def width(kind: str) -> int:
    return len(GROUPS[kind].outputs) + len(GROUPS[kind].reasons) + K


def rows(seed: int, n: int = 260) -> Any:
    """Correlated inputs with missing ones, an interruption and, at the end, a fault; some runs with wild values among them."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(n, 2)) @ rng.normal(size=(2, K))
    x = (common + 0.3 * rng.normal(size=(n, K))) * rng.choice([1e-6, 1.0, 1e6]) + rng.choice([0.0, 20.0])
    x[n - 40 :, int(rng.integers(K))] += 5 * x.std()
    usable = (rng.random((n, K)) > 0.02).astype(np.uint8)
    usable[180:184] = rng.random((4, K)) > 0.5
    t = np.arange(n, dtype=np.int64) * S
    t[200:] += 3600 * S
    x[usable == 0] = np.nan
    return t, x, usable


def run(group: Group, kind: str, columns: Any) -> Any:
    out = np.full((len(columns[0]), width(kind)), 77.0)
    group.step(*columns, out)
    return out


@pytest.mark.parametrize(("kind", "i"), CASES)
@pytest.mark.parametrize("seed", range(6))
def test_equals_its_naive_twin(kind: str, i: int, seed: int) -> None:
    columns = rows(seed)
    expected = judged(configured(kind, i), columns[0].tolist(), columns[1], columns[2] == 1, width(kind))
    found = run(make(kind, i), kind, columns)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert np.isfinite(found[:, 0]).any()


@pytest.mark.parametrize(("kind", "i"), CASES)
@given(seed=st.integers(0, 2**16), data=st.data())
@settings(max_examples=15)
def test_cuts_and_restarts_change_no_bit(kind: str, i: int, seed: int, data: st.DataObject) -> None:
    columns = rows(seed)
    n = len(columns[0])
    whole = make(kind, i)
    expected = run(whole, kind, columns)
    cuts = sorted({0, n, *data.draw(st.lists(st.integers(0, n), max_size=8))})
    group, parts = make(kind, i), []
    for a, z in itertools.pairwise(cuts):
        parts.append(run(group, kind, tuple(np.ascontiguousarray(c[a:z]) for c in columns)))
        saved = group.state()
        group = make(kind, i)
        group.restore(unpack(pack(saved)))
        assert pack(group.state()) == pack(saved)
    assert np.concatenate(parts).tobytes() == expected.tobytes()
    assert pack(group.state()) == pack(whole.state())


@pytest.mark.parametrize(("kind", "i"), CASES)
def test_what_comes_later_changes_nothing_before(kind: str, i: int) -> None:
    t, x, usable = rows(3)
    other = x.copy()
    other[230:] = 1e3
    assert run(make(kind, i), kind, (t, x, usable))[:230].tobytes() == run(make(kind, i), kind, (t, other, usable))[:230].tobytes()


@pytest.mark.parametrize(("kind", "i"), CASES)
@pytest.mark.parametrize("value", [0.0, 5e-324, 1e9, -1e150, 1.7e308, float("inf"), float("nan")])
def test_constant_and_wild_inputs_give_finite_numbers_or_nothing(kind: str, i: int, value: float) -> None:
    t, x, usable = rows(4)
    x[:, 0] = value
    x[150::7, 1] = value
    group = make(kind, i)
    assert not np.isinf(run(group, kind, (t, x, usable))).any()
    for name, array in group.state().items():
        assert not np.isinf(array).any(), name


@pytest.mark.parametrize(("kind", "i"), CASES)
def test_a_fifth_may_be_missing_and_more_is_never_called_normal(kind: str, i: int) -> None:
    t, x, usable = rows(5)
    usable[:] = 1
    x = np.nan_to_num(x, nan=0.0)
    columns = (t, x, usable)
    group = make(kind, i)
    run(group, kind, tuple(c[:190] for c in columns))
    one, two = usable[190:191].copy(), usable[190:191].copy()
    one[0, 0] = 0
    two[0, :2] = 0
    assert np.isfinite(run(group, kind, (t[190:191], x[190:191], one))[0, 0])
    out = run(group, kind, (t[191:192], x[191:192], two))[0]
    assert np.isnan(out[0])
    names = GROUPS[kind].outputs
    assert "evaluated" not in names or out[names.index("evaluated")] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_another_shape_is_refused(kind: str) -> None:
    group = make(kind, 0)
    saved = group.state()
    for wrong in ({}, {**saved, "more": np.zeros(1)}, {n: a.astype(np.float32) for n, a in saved.items()}):
        with pytest.raises(ValueError, match="expected"):
            group.restore(wrong)
