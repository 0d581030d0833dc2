"""The page of a batch against earlier ones, at the HTTP interface and in a real Chromium in both languages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect

from tests.gateway.console.conftest import Open
from tests.gateway.console.plant import Plant
from tests.gateway.console.serve import Served
from tests.gateway.console.test_office import picture
from tests.gateway.console.test_people import AXE

UNIT = "demo/solids/line1/press1"
EJECTION = "press-edge-1:press1/ejection_force"


@pytest.fixture
def plant() -> Iterator[Plant]:
    made = Plant(earlier=8)
    row = made.occurrences[made.raise_alarm("press1/ejection_force", "high", 2, ago_s=1200)]
    row["contributions"] = {"press1/main_force": 0.7, "press1/pre_force": -0.2}
    yield made
    made.stop()


def test_what_is_asked_for_is_checked_and_answered(served: Served) -> None:
    def ask(path: str, **more: Any) -> httpx.Response:
        return httpx.get(f"{served.url}/api/v1/{path}", params=more, timeout=20)

    rows = ask("batches", limit=3).json()["batches"]
    assert [row["batch"] for row in rows] == ["B-1043", "B-1042", "B-1041"]
    row = ask("course", tag=EJECTION, unit=UNIT, batch="B-1043", points=50).json()
    assert (row["batch"], len(row["against"]), len(row["value"]), row["to_ns"]) == ("B-1043", 9, 50, None)
    assert row["outside"]
    assert ask("course", tag=EJECTION, unit=UNIT, batch="B-1043", against=["B-1042", "B-1040"]).json()["against"] == ["B-1042", "B-1040"]
    assert ask("course", tag=EJECTION, unit=UNIT, batch="B-1043", against="").json()["against"] == []
    assert ask("course", tag=EJECTION, unit=UNIT, batch="B-1043", phase="start-up").json()["from_ns"] is not None
    assert ask("course", tag=EJECTION, unit=UNIT, batch="B-1").status_code == 404
    assert ask("course", tag="press-edge-1:none", unit=UNIT, batch="B-1043").status_code == 404
    assert ask("course", tag=EJECTION, unit=UNIT, batch="B-1043", points=5).status_code == 422


@pytest.mark.browser
@pytest.mark.timeout(120)
@pytest.mark.parametrize(("language", "now", "inside"), [("en", "outside limits now", "within limits"), ("zh", "当前超出界限", "在界限内")])
def test_a_batch_on_its_way_is_seen_against_the_earlier_ones(open_page: Open, language: str, now: str, inside: str) -> None:
    page = open_page("#/unit?name=press1", language=language)
    page.locator(".unit-head a[href*=batches]").click()
    pane = page.locator(f".b-pane[data-tag='{EJECTION}']")
    expect(pane.locator(".b-verdict")).to_have_text(now)
    expect(page.locator(".b-pane .b-plot canvas")).to_have_count(8)
    expect(page.locator(".why-finding")).to_have_count(1)
    page.locator(".b-against summary").click()
    expect(page.locator(".b-earlier input:checked")).to_have_count(9)
    picture(page, "batches", language)
    page.evaluate(AXE.read_text("utf-8"))
    result: dict[str, Any] = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    assert [(v["id"], v["nodes"][0]["html"][:120]) for v in result["violations"] if v["impact"] in ("serious", "critical")] == []
    page.locator(".b-earlier input").first.uncheck()
    expect(page).to_have_url(re.compile("against=B-1041.*against=B-1034"))
    page.locator("select").nth(1).select_option("B-1042")
    expect(page.locator(f".b-pane[data-tag='{EJECTION}'] .b-verdict")).to_have_text(inside)
    page.locator(".b-pane a").first.focus()
    page.keyboard.press("g")
    page.keyboard.press("t")
    expect(page.locator(".trends-page")).to_be_visible()
