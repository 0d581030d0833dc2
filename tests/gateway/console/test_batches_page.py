"""The page of a batch against earlier ones, at the HTTP interface and in a real Chromium in both languages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Route, expect

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
    # A long name gives way to the value and the link beside it.
    kept = """pane => { pane.querySelector('.p-name').textContent = 'mean '.repeat(40);
        const [value, link] = ['.p-value', '.b-link'].map(one => pane.querySelector(one).getBoundingClientRect());
        return value.width > 0 && value.right <= link.left && link.right <= pane.getBoundingClientRect().right; }"""
    assert pane.evaluate(kept)
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


@pytest.mark.browser
@pytest.mark.parametrize(("language", "words"), [("en", "Batch B-9 is not known."), ("zh", "未知批次 B-9。")])
def test_a_batch_that_is_not_known_is_said(open_page: Open, language: str, words: str) -> None:
    page = open_page("#/batches?unit=press1&batch=B-9", language=language)
    expect(page.locator(".batches-page > .empty")).to_have_text(words)
    assert "batch=B-9" in page.url
    page.locator("select").nth(1).select_option("B-1042")
    expect(page.locator(".b-pane")).to_have_count(8)


@pytest.mark.browser
def test_a_page_that_got_no_answer_asks_again(open_page: Open) -> None:
    page = open_page("", outage=True)
    page.route("**/api/v1/batches?*", lambda route: route.fulfill(status=429, json={"detail": "the store is busy"}))
    page.evaluate("location.hash = '#/batches?unit=press1'")
    expect(page.locator(".batches-page > .empty")).to_have_text("the store is busy")
    page.unroute("**/api/v1/batches?*")
    page.evaluate("(now => { Date.now = () => now() + 16_000; })(Date.now.bind(Date))")
    expect(page.locator(".b-pane")).to_have_count(8)


@pytest.mark.browser
def test_alarms_that_cannot_be_had_do_not_take_the_courses_along(open_page: Open) -> None:
    page = open_page("", outage=True)
    page.route("**/api/v1/alarms?state=history*", lambda route: route.fulfill(status=429, json={"detail": "the store is busy"}))
    page.evaluate("location.hash = '#/batches?unit=press1'")
    expect(page.locator(".b-pane .b-plot canvas")).to_have_count(8)
    expect(page.locator("section.panel .empty")).to_have_text("the store is busy")


@pytest.mark.browser
def test_where_more_alarms_came_than_are_looked_through_the_page_says_so(open_page: Open, plant: Plant) -> None:
    other = plant.occurrences[plant.raise_alarm("coater1/bed_temp", "high", 2)]
    page = open_page()
    page.route("**/api/v1/alarms?state=history*", lambda route: route.fulfill(json={"alarms": [other] * 2000}))
    page.evaluate("location.hash = '#/batches?unit=press1'")
    findings = page.get_by_label("Alarms and findings in this batch")
    expect(findings).to_contain_text("None of this unit among the newest.")
    expect(findings).to_contain_text("Only the 2000 newest alarms of the plant")


@pytest.mark.browser
def test_a_batch_that_outlasts_the_earlier_ones_is_not_called_within_limits(open_page: Open) -> None:
    def shorter(*known: int) -> None:
        """The earlier batches end after so many moments; before them this one lies between its limits, in the last part it has values alone."""

        def answered(route: Route) -> None:
            row = route.fetch().json()
            n = len(row["at"])
            row["value"] = [200.0] * n
            for name, value in (("low", 190.0), ("middle", 200.0), ("high", 210.0)):
                row[name] = [value if i in range(*known) else None for i in range(n)]
            route.fulfill(json={**row, "outside": []})

        page.unroute("**/api/v1/course?*")
        page.route("**/api/v1/course?*", answered)
        page.locator("select").nth(1).select_option("B-1042")
        page.locator("select").nth(1).select_option("B-1043")

    page = open_page("#/batches?unit=press1")
    verdict = page.locator(f".b-pane[data-tag='{EJECTION}'] .b-verdict")
    expect(verdict).to_have_text("outside limits now")
    shorter(0, 60)
    expect(verdict).to_have_text("beyond the earlier ones")
    shorter(0, 100)
    expect(verdict).to_have_text("within limits")
