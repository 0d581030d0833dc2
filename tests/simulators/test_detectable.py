"""The demo's limits, read from configs/demo/agent.yaml, find all five faults and stay quiet without one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from simulators.accounting import Injected, Raised, judge_alarms
from simulators.faults import KINDS, random_faults
from simulators.press import DEMO, Press
from simulators.signals import SECOND_NS
from simulators.tags import tag_csv

DEMO_DIR = Path(__file__).parents[2] / "configs" / "demo"
CONFIG: dict[str, Any] = yaml.safe_load((DEMO_DIR / "agent.yaml").read_text(encoding="utf-8"))


def ewma_z(values: NDArray[np.float64], model: dict[str, Any]) -> NDArray[np.float64]:
    """The derived tag of a chart with known mean and sigma, written out."""
    lam, out, state = model["lambda"], np.empty_like(values), 0.0
    for i, x in enumerate(values):
        state = (1 - lam) * state + lam * (x - model["mu"]) / model["sigma"]
        out[i] = state / np.sqrt(lam / (2 - lam))
    return out


def raised(press: Press, seconds: float) -> list[Raised]:
    """Alarms of one run by the obvious detector: beyond the limit for the delay, cleared within the deadband for the off-delay."""
    out = press.step(int(seconds * SECOND_NS))
    series: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
    for i, s in enumerate(press.signals):
        good = (out.signal == i) & ~np.isnan(out.value)
        series[s.name] = (out.time_ns[good] / 1e9, out.value[good])
    for model in CONFIG["models"]:
        if model["kind"] == "ewma":
            (tag,) = model["tags"]
            series[f"{tag}.ewma.z"] = (series[tag][0], ewma_z(series[tag][1], model))
    found: list[Raised] = []
    for alarm in CONFIG["alarms"]:
        t, v = series[alarm["tag"]]
        if alarm["kind"] == "rate":
            t, v = t[1:], np.diff(v) / np.diff(t)
        sign = 1.0 if alarm["side"] == "high" else -1.0
        over = sign * (v - alarm.get("setpoint", 0.0) - alarm["limit"])
        on, since, calm = False, None, None
        for when, beyond in zip(t, over, strict=True):
            since = None if beyond <= 0 else when if since is None else since
            calm = None if beyond >= -alarm["deadband"] else when if calm is None else calm
            if not on and since is not None and when - since >= alarm["on_delay_s"] - 0.05:
                on = True
                found.append(Raised(alarm["name"], alarm["tag"], float(since)))
            if on and calm is not None and when - calm >= alarm["off_delay_s"]:
                on = False
    return found


def test_all_five_faults_are_found_and_every_alarm_is_explained() -> None:
    for seed in range(12):
        press = Press(seed, DEMO, random_faults(seed, 60.0))
        alarms = raised(press, 60.0)
        faults = [Injected(t.fault, t.t_start, t.t_end, t.tags, t.detect_within_s) for t in press.truth()]
        unexplained, detected = judge_alarms(alarms, faults)
        assert {f.fault for f in detected} == set(KINDS), f"seed {seed}"
        assert unexplained == [], f"seed {seed}"


def test_ten_minutes_without_a_fault_raise_at_most_one_alarm() -> None:
    for seed in range(100, 106):
        assert len(raised(Press(seed, DEMO), 600.0)) <= 1, f"seed {seed}"


def test_every_alarm_tells_cause_consequence_and_response_in_both_languages() -> None:
    names = [a["name"] for a in CONFIG["alarms"]]
    assert len(set(names)) == len(names)
    for alarm in CONFIG["alarms"]:
        for key in ("cause", "consequence", "response"):
            assert set(alarm[key]) == {"en", "zh"}, alarm["name"]
            assert all(alarm[key].values()), alarm["name"]
        assert alarm["deadband"] > 0


def test_the_tag_csv_of_the_demo_matches_the_press() -> None:
    expected = tag_csv(Press().signals, opcua_source="press_ua", mqtt_source="press_mqtt", path="demo/solids/press-line")
    assert (DEMO_DIR / "tags.csv").read_text(encoding="utf-8") == expected
