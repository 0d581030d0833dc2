"""The configuration of the continuous line against the truth of the simulated one: what was accepted was good, and the accounts agree."""

from __future__ import annotations

import pytest

from models.material.divert import MEASURED
from tests.benchmarks._divert import closed_loop


def test_no_gram_outside_its_limits_is_accepted_and_little_good_material_is_lost() -> None:
    run = closed_loop(4, "scale_drift", seconds=1600, onset_s=850.0)  # only the instrument can see it
    line, edge = run["line"], run["edge"]
    assert line["outside_kg"] > 2.2, "the fault moves material out of its limits"
    assert line["accepted_outside_kg"] == 0.0
    assert line["accepted_kg"] > 1.0
    assert line["diverted_good_kg"] < 2.2
    assert run["reasons"] & MEASURED
    assert run["episodes"] == 1
    assert edge["accepted_kg"] == pytest.approx(line["accepted_kg"], rel=0.02)
    assert edge["diverted_kg"] + edge["unconfirmed_kg"] == pytest.approx(line["diverted_kg"], rel=0.02)  # a scale that lies lies to the accounts too
