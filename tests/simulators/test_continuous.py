"""The continuous line by itself: its truth, its faults, its PLC."""

from __future__ import annotations

import math

import numpy as np
import pytest

from simulators.continuous import FAST, Continuous, ContinuousSettings
from simulators.continuous_faults import LINE_FAULTS, LineFault, line_faults
from simulators.signals import SIMULATED

S = 1_000_000_000


def run(line: Continuous, seconds: float, accept: bool = True) -> dict[str, list[tuple[float, float]]]:
    """Values by signal; the diverter follows `accept`."""
    line.command(accept, 10**18)
    out = line.step(int(seconds * S))
    found: dict[str, list[tuple[float, float]]] = {s.name.rpartition("/")[2]: [] for s in line.signals}
    for t, k, v in zip(out.time_ns.tolist(), out.signal.tolist(), out.value.tolist(), strict=True):
        found[line.signals[k].name.rpartition("/")[2]].append((t / S, v))
    return found


def test_the_same_seed_gives_the_same_bytes_and_another_one_others() -> None:
    one, two, other = (Continuous(seed, FAST).step(30 * S) for seed in (1, 1, 2))
    assert one.value.tobytes() == two.value.tobytes()
    assert one.value.tobytes() != other.value.tobytes()
    assert set(one.status.tolist()) == {SIMULATED}


def test_material_is_conserved_and_its_content_follows_the_residence_time() -> None:
    line = Continuous(3, ContinuousSettings(refill_every_s=1e9))
    run(line, 1800)
    account = line.account()
    assert account["out_kg"] == pytest.approx(10.0, rel=0.01)
    assert account["accepted_kg"] + account["diverted_kg"] == pytest.approx(account["out_kg"], abs=1e-5)
    assert line.content == pytest.approx(100.0, abs=1.5)
    assert account["outside_kg"] == pytest.approx(account["accepted_outside_kg"], abs=0.02)  # the start of the line, accepted at once
    # Until the line is at 95 % of its content: the mean of the train, and more for its tail.
    assert 20 / 3600 * 186 < account["outside_kg"] < 20 / 3600 * 520


@pytest.mark.parametrize(("fault", "signal", "moves"), [
    ("api_overfeed", "api_flow", 0.25), ("api_bridge", "api_flow", -0.7), ("excipient_low", "excipient_flow", -0.15),
    ("false_flow", "api_flow", 0.15), ("scale_drift", "api_flow", 0.0),
])
def test_a_fault_moves_what_it_says(fault: str, signal: str, moves: float) -> None:
    kind = LINE_FAULTS[fault]
    settings = ContinuousSettings(refill_every_s=1e9)
    onset = 100.0
    values = run(Continuous(1, settings, [LineFault(kind, onset)]), onset + kind.rise_s + 60)[signal]
    before = np.mean([v for t, v in values if t < onset])
    during = np.mean([v for t, v in values if t > onset + kind.rise_s])
    assert during / before - 1 == pytest.approx(moves, abs=0.02)


def test_what_is_lost_is_bad_or_not_there() -> None:
    lost = run(Continuous(1, FAST, [LineFault(LINE_FAULTS["flow_lost"], 5.0, 0.05), LineFault(LINE_FAULTS["nir_lost"], 5.0, 0.05)]), 15)
    assert all(math.isnan(v) == (5.0 <= t < 8.0) for t, v in lost["api_flow"])
    assert not [t for t, _ in lost["nir_api"] if 5.0 <= t < 9.5]


def test_a_refill_hides_the_flow_and_a_standstill_stops_the_material() -> None:
    line = Continuous(2, ContinuousSettings(refill_every_s=100.0), [LineFault(LINE_FAULTS["standstill"], 150.0)])
    values = run(line, 300)
    assert [v for _, v in values["api_refill"]][:3] == [0.0, 1.0, 0.0]
    assert {v for t, v in values["api_flow"] if 152 < t < 268} == {0.0}
    assert line.account()["out_kg"] == pytest.approx(20 / 3600 * 180, rel=0.02)


def test_the_diverter_obeys_late_and_not_at_all_when_it_is_stuck_and_old_commands_divert() -> None:
    line = Continuous(1)
    line.command(True, 2 * S)
    line.step(10 * S)
    account = line.account()
    assert account["accepted_kg"] == pytest.approx(20 / 3600 * 2.0, rel=0.1)  # half a second late each way
    stuck = Continuous(1, faults=[LineFault(LINE_FAULTS["diverter_stuck"], 5.0)])
    run(stuck, 6.0)
    assert run(stuck, 60.0, accept=False)["diverter"] == []


def test_faults_of_the_command_line() -> None:
    (one,) = line_faults(["nir_lost@12.5"], 1, None, 1.0)
    assert (one.kind.name, one.onset_s) == ("nir_lost", 12.5)
    (late,) = line_faults(["nir_lost"], 1, 600.0, 1.0)
    assert 200 <= late.onset_s <= 540
    for wrong in ("x@1", "nir_lost@", "nir_lost@-1"):
        with pytest.raises(ValueError, match="--fault"):
            line_faults([wrong], 1, None, 1.0)
