"""Every monitor finds the fault it exists for, with its default configuration, and says next to nothing of the same stream without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from models import BANKS, GROUPS, AnyModel
from tests.power.beside import BESIDE
from tests.power.recorded import RECORDS
from tests.power.tags import TAGS
from tests.power.trial import Trial, begun, found
from tests.power.units import UNITS

TRIALS = {**TAGS, **UNITS, **RECORDS}
CASES = [(kind, i) for kind, trials in {**TRIALS, **BESIDE}.items() for i, t in enumerate(trials) if not t.blind]
STREAMS = 6
FIGURES = {"energy": {"base_kwh"}}
"""Options that have a default and are figures of the plant all the same."""


def trial(kind: str, i: int) -> Trial:
    return {**TRIALS, **BESIDE}[kind][i]


def test_every_kind_has_a_fault_that_it_must_find() -> None:
    assert set(TRIALS) == {*BANKS, *GROUPS}
    assert all(not trials[0].blind for trials in TRIALS.values())


def test_the_page_tells_of_every_trial() -> None:
    page = (Path(__file__).parents[2] / "docs" / "power.md").read_text("utf-8")
    assert [f for kind, trials in {**TRIALS, **BESIDE}.items() for f in (f"| `{kind}` | {t.fault}: " for t in trials) if f not in page] == []


@pytest.mark.parametrize("kind", sorted(TRIALS))
def test_only_what_has_no_default_is_configured(kind: str) -> None:
    config: Any = next(c for c in get_args(get_args(AnyModel)[0]) if c.model_fields["kind"].default == kind)
    for t in TRIALS[kind]:
        for option in set(t.options) - FIGURES.get(kind, set()):
            field = config.model_fields[option]
            assert field.is_required() or field.default is None, f"{option} has a default"


@pytest.mark.parametrize(("kind", "i"), CASES)
def test_the_fault_is_found_and_its_clean_twin_is_quiet(kind: str, i: int) -> None:
    t = trial(kind, i)
    said = rows = 0
    for seed in range(max(1, STREAMS // t.cost)):
        clean, at = t.stream(np.random.default_rng(seed), t.phi, 0.0)
        calls = t.calls(clean)
        said += int(begun(calls)[t.ready :].sum())
        rows += len(calls) - t.ready
        assert not calls[: t.ready].any(), "speaks before it can know"
        faulty, same = t.stream(np.random.default_rng(seed), t.phi, t.sizes[2])
        assert same == at
        judged = t.calls(faulty)
        assert np.array_equal(judged[:at], calls[:at]), "the streams are no twins"
        assert found(judged, at, t.within) is not None, f"{t.fault}: {t.sizes[2]:g} not found in stream {seed}"
    assert 1000 * said <= t.promised * rows, f"{said} findings in {rows} clean rows"
