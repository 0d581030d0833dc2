"""The page of machines in a real browser: advice that is decided on, health with its fan, the envelope with its lines, process records."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from playwright.sync_api import Page, expect

from edge_agent.core import Context, encode
from edge_agent.core.signing import signing_key
from gateway.journal import CONTEXT, Entry, Journal
from gateway.office import Office
from models.prognosis.advice import of_bearing, of_trend
from models.prognosis.rotating import Band, Finding
from models.prognosis.trend import Passage
from tests.gateway.console.conftest import Open
from tests.gateway.console.line import Signal
from tests.gateway.console.plant import Plant
from tests.gateway.console.serve import Served
from tests.gateway.console.test_office import clean, picture
from tests.gateway.console.test_people import login
from tests.gateway.test_users import Desk

pytestmark = pytest.mark.browser
EDGE = "press-edge-1"
LINES = {"cage": 9.8, "outer": 88.4, "inner": 133.6, "ball": 116.3}


def _signals() -> list[Signal]:
    def one(name: str, unit: str, mean: float, en: str = "", zh: str = "", *, swing: float = 0.0, decimals: int = 2) -> Signal:
        return Signal(name, unit, 0, 0, decimals, mean, 0.0, en, zh, period_s=60.0, swing=swing, swing_s=86_400 * 70, derived_from=("x",))

    machine = {"velocity": ("mm/s", 3.4), "zone": ("", 3.0), "rms": ("m/s2", 2.7), "peak": ("m/s2", 17.9), "crest": ("", 6.6),
               "kurtosis": ("", 7.9), "order1": ("mm/s", 2.9), "order2": ("mm/s", 0.8), "order3": ("mm/s", 0.3),
               "outer": ("", 9.3), "inner": ("", 1.2), "ball": ("", 1.6), "cage": ("", 1.1), "fault": ("", 0.0),
               "envelope": ("(m/s2)2", 0.0)}  # fmt: skip
    found = [one(f"pump1/drive_end.{name}", unit, mean) for name, (unit, mean) in machine.items()]
    found += [one(f"pump1/drive_end.{part}_hz", "Hz", hz) for part, hz in LINES.items()]
    lives = (("pump1/drive_end.velocity", 0.61, 640.0), ("filter1/dp", 0.42, 190.0))
    for base, health, rul in lives:
        found += [
            one(f"{base}.wear.health", "", health, swing=0.15), one(f"{base}.wear.rul", "h", rul), one(f"{base}.wear.rul_low", "h", 0.6 * rul),
            one(f"{base}.wear.rul_high", "h", 1.9 * rul),
        ]  # fmt: skip
    found.append(one("filter1/dp", "kPa", 1.1, "Filter pressure drop", "过滤器压差"))
    found += [one(f"pump2.remaining.{o}", "cycles", v) for o, v in (("rul", 48.0), ("rul_low", 35.0), ("rul_high", 61.0))]
    found.append(one("pump2.remaining.health", "", 0.86))
    records = {"store1/t1.cold_chain": (("mkt", "°C", 5.31), ("budget", "%", 18.0), ("excursion", "min", 12.0), ("known", "%", 100.0)),
               "press1.energy": (("used", "kWh", 31.2), ("batch", "kWh", 48.9), ("enpi", "", 1.04), ("saved", "kWh", -18.0)),
               "press1.oee": (("oee", "%", 71.0), ("availability", "%", 82.0), ("performance", "%", 88.0), ("quality", "%", 98.6),
                              ("running", "", 1.0)),
               "autoclave1.sterilisation": (("f0", "min", 16.4), ("exposure", "min", 15.2), ("spread", "K", 0.7),
                                            ("saturation", "K", 0.2))}  # fmt: skip
    found += [one(f"{base}.{o}", unit, mean) for base, outputs in records.items() for o, unit, mean in outputs]
    found.append(one("store1/t1", "°C", 8.6, "Cold store, point 1", "冷库测点1"))
    return found


class Workshop(Plant):
    """A plant with machines that speak of their health."""

    def blocks(self, key: str, from_ns: int, to_ns: int, count: int = 60) -> Any:
        axis = np.arange(0.0, 440.0, 1.0)
        value = 0.4 + 0.25 * np.abs(np.sin(axis * 12.9898))
        for k in (1, 2, 3):
            value += 6.0 / k * np.exp(-0.5 * ((axis - k * LINES["outer"]) / 0.8) ** 2)
        return {
            "tag": key, "unit": "(m/s2)2", "axis_unit": "Hz", "axis": axis.tolist(), "every": 1, "found": 1, "other_axis": 0,
            "time_ns": [self.clock()], "status": [0], "quality": [0], "values": [value.tolist()], "acquisition": [{}], "reference": None,
        }  # fmt: skip


@pytest.fixture
def plant() -> Iterator[Workshop]:
    made = Workshop()
    made.signals |= {s.key: s for s in _signals()}
    yield made
    made.stop()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    made.now = time.time_ns()
    for name, role in (("wang", "operator"), ("zhou", "maintenance")):
        made.add(name, role)
    yield made
    made.close()


@pytest.fixture
def served(plant: Workshop, desk: Desk, tmp_path: Path) -> Iterator[Served]:
    finding = Finding("outer race", 9.3, {}, Band(1, 0, 0.0))
    given = [
        ("machine", "pump1/drive_end", of_bearing("pump1/drive_end", finding, "C")),
        ("wear", "filter1/dp", of_trend("filter1/dp", Passage("good", 114.0, 190.0, 361.0, 0.0031, 0.0004), lead=72, horizon=336)),
    ]
    entries = []
    for i, (kind, unit, advice) in enumerate(given, 1):
        assert advice is not None
        texts = {"kind": kind, "urgency": advice.urgency, **{k: getattr(advice, k) for k in ("what", "why", "how_soon", "how_sure")}}
        at = desk.now - (90 * i) * 60 * 10**9
        told = Context(unit=unit, role="advice", value=msgspec.json.encode(texts).decode(), time_ns=at, received_ns=at)
        entries.append(Entry(EDGE, 1, i, CONTEXT, at, at, encode(told)))
    journal = Journal(tmp_path / "journal.sqlite")
    journal.apply(entries)
    office = Office.open(
        tmp_path, desk.trail, signing_key(tmp_path / "keys"), gateway="gw1", site="demo", handover_s=0, clock=lambda: desk.now, journal=journal,
        request=lambda _work, _now: ("cmms",),
    )  # fmt: skip
    plant.start()
    made = Served(plant, sessions=desk.sessions, office=office).start()
    yield made
    made.stop()
    office.close()
    journal.close()


def opened(open_page: Open, language: str) -> Page:
    page = open_page(f"#/machines?machine={EDGE}:pump1/drive_end", language=language)
    page.wait_for_selector(".m-detail .k-plot canvas")
    return page


@pytest.mark.parametrize("language", ["en", "zh"])
def test_advice_is_decided_on_where_health_and_spectrum_are_seen(open_page: Open, desk: Desk, language: str) -> None:
    page = opened(open_page, language)
    expect(page.locator(".m-fan canvas")).to_be_visible()
    expect(page.locator(f"[data-machine='{EDGE}:pump1/drive_end'] .m-zone.high")).to_be_visible()
    expect(page.locator("[data-record$='t1.cold_chain'] .trouble")).to_have_count(2)
    expect(page.locator("[data-record$='press1.oee']")).to_contain_text({"en": "running", "zh": "运行"}[language])
    expect(page.locator(".m-said")).to_have_count(2)
    expect(page.locator(".m-said").first).to_contain_text({"en": "outer race", "zh": "外圈"}[language])
    expect(page.locator(".m-said button")).to_have_count(0)
    login(page, "zhou")
    page.locator(".m-said").first.locator("button.primary").click()
    picture(page, "advice", language)
    page.locator("dialog input").fill("spare is in store")
    page.locator("dialog button[type=submit]").click()
    expect(page.locator(".m-advice > .m-said")).to_have_count(1)
    expect(page.locator(".m-advice details .m-said")).to_contain_text("cmms", use_inner_text=False)
    clean(page)
    picture(page, "machines", language)
    assert [e["action"] for e in desk.trail.entries() if e["action"].startswith("advice")] == ["advice_accept"]
