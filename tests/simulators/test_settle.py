"""When a run counts as settled: windows closed, outbox empty, every sample accounted for, judged by public answers only."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simulators import children as children_module
from simulators import demo as demo_module
from simulators.children import Deadline
from simulators.demo import JUDGE_S, QUIET_S, SETTLE_S, STOP_S, Demo, DemoConfig, waiting
from simulators.demo_files import Ports

ROW = {"edge": "e", "tag": "a", "n_good": 3, "n_uncertain": 0, "n_bad": 0, "n_late": 0, "n_rejected": 0, "n_duplicate": 0, "n_missing": 0}


class Plant:
    """Answers of a gateway and an agent at a scripted time; sleeping advances the time."""

    def __init__(self, ledger: Callable[[float], Any], agent: Callable[[float], Any]) -> None:
        self.now = 100.0
        self.began = self.now
        self._ledger, self._agent = ledger, agent

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def get(self, url: str, _timeout_s: float = 0.0) -> Any:
        since = self.now - self.began
        if url.endswith("/ledger"):
            return self._ledger(since)
        if url.endswith("/edges"):
            return {"edges": [{"edge": "e", "backlog": 0}]}
        return self._agent(since)


def settled(monkeypatch: pytest.MonkeyPatch, folder: Path, plant: Plant, deadline_s: float | None = None) -> tuple[bool, float]:
    monkeypatch.setattr(demo_module, "http_json", plant.get)
    monkeypatch.setattr(demo_module, "time", plant)
    monkeypatch.setattr(children_module, "time", plant)
    (folder / "sent.csv").write_text("tag,n,first_ns,last_ns,sum\na,3,1,9,1.0\n", encoding="utf-8")
    return Demo(DemoConfig(), folder, Ports(1, 2, 3, 4, 5), threading.Event(), deadline=Deadline(deadline_s)).settle()


IDLE = {"outbox": {"seq": 7}, "uplinks": [{"committed_seq": 7}], "open_windows": 0, "latency": {"n": 3}}


def test_a_run_settles_when_the_ledger_covers_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plant = Plant(lambda t: {"ledger": [{**ROW, "n_good": 1 if t < 5 else 3}]}, lambda _t: IDLE)
    done, seconds = settled(monkeypatch, tmp_path, plant)
    assert done
    assert 5.0 <= seconds < 6.0


def test_open_windows_and_a_full_outbox_hold_it_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plant = Plant(lambda _t: {"ledger": [ROW]}, lambda t: {**IDLE, "open_windows": 1} if t < 4 else
                  {**IDLE, "outbox": {"seq": 9}} if t < 9 else IDLE)
    done, seconds = settled(monkeypatch, tmp_path, plant)
    assert done
    assert 9.0 <= seconds < 10.0


def test_a_lossy_run_settles_when_nothing_moves_any_more(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plant = Plant(lambda _t: {"ledger": [{**ROW, "n_good": 2}]}, lambda _t: IDLE)
    done, seconds = settled(monkeypatch, tmp_path, plant)
    assert done
    assert QUIET_S < seconds < QUIET_S + 1.0


def test_a_dead_gateway_never_settles(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    done, seconds = settled(monkeypatch, tmp_path, Plant(lambda _t: None, lambda _t: IDLE))
    assert not done
    assert seconds >= SETTLE_S


def test_the_deadline_of_the_whole_run_cuts_the_settling_short(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plant = Plant(lambda _t: None, lambda _t: IDLE)
    done, seconds = settled(monkeypatch, tmp_path, plant, deadline_s=30.0)
    assert not done
    assert seconds <= 30.0 - JUDGE_S - STOP_S + 0.5


def test_what_is_waiting() -> None:
    assert waiting(IDLE) == 0
    assert waiting({}) == 0
    assert waiting({"outbox": {"seq": 5}, "uplinks": [{"committed_seq": 5}, {"committed_seq": 3}], "open_windows": 2}) == 4
