"""The side that explains a tag: what its models said at an instant that was pointed at, and the alarms of the span, in a real Chromium."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, Request, expect

from tests.gateway.console.conftest import Open
from tests.gateway.console.line import S
from tests.gateway.console.plant import Plant

pytestmark = pytest.mark.browser
FORCE = "press-edge-1:press1/main_force"
SCORE = f"{FORCE}.ewma.z"


def of_span(minute: int, seconds: int, of: int) -> str:
    begin, end = (f"2026-01-01T{minute // 60:02d}:{minute % 60:02d}:{s:02d}.000Z" for s in (seconds, seconds + of))
    return f"#/trends?tag={FORCE}&from={begin}&to={end}&why=1"


def pointed(page: Page) -> int:
    """Press in the middle of the chart; the instant in ns for which the score was asked."""

    def of_score(request: Request) -> bool:
        return "api/v1/series" in request.url and "ewma" in request.url

    over = page.locator(".pane .u-over")
    with page.expect_request(of_score) as asked:
        over.click()
    (to,) = re.findall(r"[?&]to=(\d+)", asked.value.url)
    return int(to) - S // 1000


def test_what_a_model_said_is_that_of_the_instant_that_was_pointed_at(open_page: Open, plant: Plant) -> None:
    page = open_page(of_span(10, 0, 50))
    at = pointed(page)
    score = plant.signals[SCORE]
    last = [plant.series(SCORE, second - S, second + 1)["last"][-1] for second in range(at // S * S - S, at + 1, S)]
    cell = page.locator(".why-model td.n")
    expect(cell).to_have_text(re.compile("|".join(f"^{value:.{score.decimals}f}$" for value in last if value is not None)))
    expect(cell).to_have_attribute("data-quality", "good")


def test_what_a_model_said_of_bad_values_is_shown_as_bad(open_page: Open) -> None:
    page = open_page(of_span(60, 10, 40))
    pointed(page)
    cell = page.locator(".why-model td.n")
    expect(cell).to_have_attribute("data-quality", "bad")
    expect(cell).to_have_text("—")


def test_where_an_output_was_silent_its_last_value_before_is_found_and_none_after(open_page: Open, plant: Plant) -> None:
    # Two minutes each two hours are silent; a minute and a half into them nothing is found in the last minute.
    page = open_page(of_span(121, 20, 20))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    at = pointed(page)
    assert plant.series(SCORE, at - 60 * S, at)["last"] == []
    expect(page.locator(".why-model td.n")).to_have_text(re.compile("[0-9]"))
    ends = [int(end) for url in asked if "ewma" in url for end in re.findall(r"[?&]to=(\d+)", url)]
    assert max(ends) == at + S // 1000


def test_a_frozen_view_lists_the_alarms_that_stood_in_its_span(open_page: Open, plant: Plant) -> None:
    over = plant.occurrences[plant.raise_alarm("press1/main_force", "high", 3, ago_s=40_000)]
    plant._event(over, "acknowledge", "ACKED", over["raised_ns"] + 5 * S, user="wang")
    plant._event(over, "clear", "NORM", over["raised_ns"] + 60 * S)
    plant.raise_alarm("press1/main_force", "low", 2, ago_s=30_000)
    begin, end = plant.clock() - 20_000 * S, plant.clock() - 10_000 * S
    page = open_page()
    page.evaluate(
        "([tag, from, to]) => { location.hash = `#/trends?tag=${tag}&from=${new Date(from).toISOString()}&to=${new Date(to).toISOString()}&why=1`; }",
        [FORCE, begin // 1_000_000, end // 1_000_000],
    )
    findings = page.locator("aside.why .why-finding")
    expect(findings).to_have_count(1)
    expect(findings).to_contain_text("low limit")
    # One that comes now is told to the page, and is none of the span.
    plant.raise_alarm("press1/main_force", "high", 1)
    expect(page.get_by_label("Most important alarm")).to_contain_text("high limit")
    expect(findings).to_have_count(1)


def test_a_live_view_lists_an_alarm_as_it_comes(open_page: Open, plant: Plant) -> None:
    page = open_page(f"#/trends?tag={FORCE}&span=3600&why=1")
    expect(page.locator("aside.why .findings .empty")).to_be_visible()
    plant.raise_alarm("press1/main_force", "high", 1)
    expect(page.locator("aside.why .why-finding")).to_have_count(1)
