"""What every model of tags with roles promises (`models/records/roles.py`), run over the register."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.core import pack, unpack
from models import GROUPS, AnyModel
from models.records.roles import HOUR_NS
from tests.naive.records import ROLES as NAIVE

MODEL = pydantic.TypeAdapter(AnyModel)
S = 1_000_000_000
T0 = 1_760_000_000 * S
ROLES: dict[str, list[dict[str, Any]]] = {
    "sterilisation": [{"probes": ["a", "b", "c"], "pressure": "p", "gap_s": 60}, {"probes": ["a"], "per": "batch", "z_k": 12.0, "gap_s": 60}],
    "energy": [{"counter": "m", "production": "n", "base_kwh": 20, "per_unit_kwh": 2, "rollover": 100}, {"power": "p", "gap_s": 40},
               {"counter": "m", "per": "period", "every_h": 0.05, "base_kwh": 5}],
    "oee": [{"state": "s", "total": "n", "good": "g", "ideal_per_h": 900, "unplanned": [4], "per": "batch"},
            {"state": "s", "running_above": 5.5, "every_h": 0.1, "gap_s": 30}],
}  # fmt: skip
"""Configurations of each kind; a new kind adds its line."""
CASES = [(kind, i) for kind, configs in ROLES.items() for i in range(len(configs))]


def configured(kind: str, i: int) -> Any:
    return MODEL.validate_python({"kind": kind, "name": "u", **ROLES[kind][i]})


def make(kind: str, i: int) -> Any:
    config = configured(kind, i)
    build: Any = GROUPS[kind]
    return build(config, len(config.tags))


def rows(kind: str, i: int, seed: int, n: int = 160) -> tuple[Any, list[tuple[int, int, bool]]]:
    """Instants with missing and wild values and gaps; beginnings as (index before which it is told, time, on)."""
    rng = np.random.default_rng(seed)
    k = len(configured(kind, i).tags)
    t = T0 + np.cumsum(rng.choice([1, 5, 10, 300], n, p=[0.2, 0.3, 0.4, 0.1])).astype(np.int64) * S
    if kind == "sterilisation":
        x = np.concatenate([np.linspace(20, 123, n // 2), np.linspace(123, 40, n - n // 2)])[:, None] + rng.normal(0, 2, (n, k))
        x = np.roll(x, n // 3, axis=0)
        if k == 4:
            x[:, 3] = rng.uniform(1.9, 2.3, n)
    elif kind == "oee":
        x = np.column_stack([rng.choice([4.0, 5.0, 6.0], n, p=[0.1, 0.2, 0.7]), *np.cumsum(rng.integers(0, 4, (n, 2)), axis=0).T])[:, :k]
    else:
        x = np.cumsum(rng.uniform(0, 3, (n, k)), axis=0)
        x[n // 2 :, -1] -= x[n // 2, -1]
        x[:, 0] %= 100
    wild = rng.random((n, k)) < 0.02
    x[wild] = rng.choice([1e300, -1e300, np.inf, -5.0, 0.0], int(wild.sum()))
    usable = (rng.random((n, k)) > 0.05).astype(np.uint8)
    x[usable == 0] = np.nan
    told = [(j, int(t[j]) + int(rng.integers(-30, 30)) * S, bool(rng.random() < 0.8)) for j in sorted(rng.integers(1, n, 6).tolist())]
    return (t, x, usable), told


def run(model: Any, kind: str, columns: Any, told: list[tuple[int, int, bool]], cuts: list[int], reborn: Any = None) -> Any:
    """Outputs of instants that come in pieces; beginnings are told between them, each before the instant of its index."""
    n, k = columns[1].shape
    width = len(GROUPS[kind].outputs) + len(GROUPS[kind].reasons) + k
    parts = [np.empty((0, width))]
    for a, z in itertools.pairwise(sorted({0, n, *cuts, *(j for j, _, _ in told)})):
        for j, time_ns, on in told:
            if j == a:
                model.begin(time_ns, on)
        out = np.full((z - a, width), 77.0)
        model.step(*(np.ascontiguousarray(c[a:z]) for c in columns), out)
        parts.append(out)
        if reborn is not None:
            saved = model.state()
            model = reborn()
            model.restore(unpack(pack(saved)))
            assert pack(model.state()) == pack(saved)
    return np.concatenate(parts), model


def expected(config: Any, columns: Any, told: list[tuple[int, int, bool]]) -> Any:
    naive = NAIVE[config.kind](config)
    waits: list[tuple[int, bool]] = []
    last = None
    out = []
    for i, (t, x, u) in enumerate(zip(*(c.tolist() for c in columns), strict=True)):
        waits += [(time_ns, on) for j, time_ns, on in told if j == i]
        if getattr(config, "per", "") == "period":
            k = (t - round(config.offset_h * HOUR_NS)) // round(config.every_h * HOUR_NS)
            if last is None or k > last:
                naive.turn(k * round(config.every_h * HOUR_NS) + round(config.offset_h * HOUR_NS), True)
            last = k
        else:
            for time_ns, on in [w for w in waits if w[0] <= t]:
                naive.turn(time_ns, on)
            waits = [w for w in waits if w[0] > t]
        out.append(naive.judge(t, x, [bool(v) for v in u]))
    return np.array(out)


def test_every_kind_is_tried() -> None:
    assert {*ROLES, "remaining"} == {kind for kind, group in GROUPS.items() if hasattr(group, "begin")}


@pytest.mark.parametrize(("kind", "i"), CASES)
@pytest.mark.parametrize("seed", range(4))
def test_equals_its_naive_twin(kind: str, i: int, seed: int) -> None:
    columns, told = rows(kind, i, seed)
    found, _ = run(make(kind, i), kind, columns, told, [])
    np.testing.assert_allclose(found, expected(configured(kind, i), columns, told), rtol=1e-9, atol=1e-6)
    assert np.isfinite(found[:, 0]).any()


@pytest.mark.parametrize(("kind", "i"), CASES)
@given(seed=st.integers(0, 2**16), data=st.data())
@settings(max_examples=10)
def test_cuts_and_restarts_change_no_bit(kind: str, i: int, seed: int, data: st.DataObject) -> None:
    columns, told = rows(kind, i, seed)
    whole, model = run(make(kind, i), kind, columns, told, [])
    cuts = data.draw(st.lists(st.integers(0, len(columns[0])), max_size=8))
    parts, other = run(make(kind, i), kind, columns, told, cuts, lambda: make(kind, i))
    assert parts.tobytes() == whole.tobytes()
    assert pack(other.state()) == pack(model.state())
    assert not np.isinf(whole).any()


@pytest.mark.parametrize("kind", sorted(ROLES))
def test_it_learns_nothing_and_another_shape_is_refused(kind: str) -> None:
    assert not configured(kind, 0).learns
    model = make(kind, 0)
    saved = model.state()
    for wrong in ({}, {**saved, "more": np.zeros(1)}, {n: a.astype(np.float32) for n, a in saved.items()}):
        with pytest.raises(ValueError, match="expected"):
            model.restore(wrong)
    with pytest.raises(pydantic.ValidationError):
        MODEL.validate_python({"kind": kind, "name": "u", **ROLES[kind][0], "bogus": 1})
    with pytest.raises(pydantic.ValidationError, match="no file"):
        MODEL.validate_python({"kind": kind, "name": "u", **ROLES[kind][0], "file": "x.model"})
