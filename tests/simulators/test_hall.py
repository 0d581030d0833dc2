"""The hall and its power dip: every signal falls below its limit within a minute, the section's voltage first, and comes back."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from simulators.faults import Fault, hall_fault_from_text
from simulators.hall import KINDS, SECTIONS, Hall
from simulators.tags import tag_csv

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "hall"
S = 1_000_000_000


def alarms() -> dict[str, dict[str, str]]:
    with (CONFIGS / "alarms.csv").open(encoding="utf-8", newline="") as source:
        return {row["tag"]: row for row in csv.DictReader(source)}


def test_tags_and_alarms_are_those_of_the_hall() -> None:
    hall, rows = Hall(), alarms()
    assert (CONFIGS / "tags.csv").read_text("utf-8") == tag_csv(
        hall.signals, opcua_source="hall_ua", mqtt_source="hall_mqtt", path="demo/solids/hall-line"
    )
    assert set(rows) == {s.name for s in hall.signals}
    assert len(rows) == 305
    sections = {machine: section for section, machines in SECTIONS.items() for machine in (*machines, section)}
    kinds = {k.name: k for k in KINDS}
    for tag, row in rows.items():
        machine, _, name = tag.partition("/")
        assert row["group"] == f"{sections[machine]} supply"
        assert all(row[f"{what}_{language}"] for what in ("cause", "consequence", "response") for language in ("en", "zh"))
        if name in kinds:
            assert float(row["limit"]) == kinds[name].limit
            assert (row["when_not_first"] == "suppress") == (not kinds[name].called)


def test_a_dip_takes_every_signal_below_its_limit_within_a_minute_and_the_voltage_first() -> None:
    hall, limits = Hall(3, (Fault("power_dip", 5.0, 60.0),)), {tag: float(row["limit"]) for tag, row in alarms().items()}
    sent = hall.step(5 * S)
    assert all(v > limits[hall.signals[i].name] for i, v in zip(sent.signal.tolist(), sent.value.tolist(), strict=True))
    crossed: dict[str, float] = {}
    sent = hall.step(64 * S)
    for t, i, v in zip(sent.time_ns.tolist(), sent.signal.tolist(), sent.value.tolist(), strict=True):
        if v < limits[hall.signals[i].name]:
            crossed.setdefault(hall.signals[i].name, t / 1e9)
    assert len(crossed) == 305
    assert max(crossed.values()) - min(crossed.values()) < 58.0
    for section, machines in SECTIONS.items():
        assert crossed[f"{section}/voltage"] < min(t for tag, t in crossed.items() if tag.split("/")[0] in machines)
    sent = hall.step(300 * S)
    last = {hall.signals[i].name: v for i, v in zip(sent.signal.tolist(), sent.value.tolist(), strict=True)}
    assert all(v > limits[tag] for tag, v in last.items())
    (truth,) = hall.truth()
    assert (truth.fault, truth.t_start, len(truth.tags)) == ("power_dip", 5.0, 305)


def test_the_same_seed_gives_the_same_values_however_it_is_stepped() -> None:
    whole, parts = Hall(7, hall_fault_from_text("power_dip@2")).step(6 * S), Hall(7, hall_fault_from_text("power_dip@2"))
    cut = [parts.step(t) for t in range(0, 6 * S + 1, S // 2)]
    assert np.array_equal(whole.value, np.concatenate([c.value for c in cut]))
    with pytest.raises(ValueError, match="power_dip@SECONDS"):
        hall_fault_from_text("punch_sticking@3")
