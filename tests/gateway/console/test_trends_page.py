"""The trends page in a real browser: zoom, cursors, what is saved, live values."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.gateway.console.conftest import Open

pytestmark = pytest.mark.browser
FORCE = "press-edge-1:press1/main_force"
EJECTION = "press-edge-1:press1/ejection_force"
TREND = f"#/trends?tag={FORCE}&tag={EJECTION}&span=3600"


def drag(page: Page, begin: float, end: float) -> None:
    box = page.locator(".pane .u-over").first.bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * begin, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * (begin + end) / 2, y, steps=4)
    page.mouse.move(box["x"] + box["width"] * end, y, steps=4)
    page.mouse.up()


def test_dragging_zooms_all_panes_and_back_returns(open_page: Open) -> None:
    page = open_page(TREND)
    expect(page.locator(".pane .u-over")).to_have_count(2)
    expect(page.locator(".live")).to_have_attribute("aria-pressed", "true")
    drag(page, 0.25, 0.5)
    page.wait_for_url("**from=**")
    expect(page.locator(".live")).to_have_attribute("aria-pressed", "false")
    found = re.search(r"from=([^&]+)&to=([^&]+)", page.url)
    assert found
    begin, end = (page.evaluate("t => Date.parse(decodeURIComponent(t)) / 1000", text) for text in found.groups())
    assert end - begin == pytest.approx(900, rel=0.05)
    zoomed = page.url
    page.go_back()
    expect(page.locator(".live")).to_have_attribute("aria-pressed", "true")
    page.goto(zoomed)
    page.reload()
    expect(page.locator(".live")).to_have_attribute("aria-pressed", "false")
    expect(page.locator(".pane .u-over")).to_have_count(2)
    box = page.locator(".pane .u-over").first.bounding_box()
    assert box is not None
    page.mouse.dblclick(box["x"] + 200, box["y"] + 40)
    page.wait_for_function("before => location.href !== before", arg=zoomed)


def test_cursors_are_linked_and_read_the_value_in_plant_time(open_page: Open) -> None:
    page = open_page(f"#/trends?tag={FORCE}&tag={EJECTION}&from=2026-01-01T00:10:00.000Z&to=2026-01-01T00:20:00.000Z")
    expect(page.locator(".pane .u-over")).to_have_count(2)
    expect(page.locator(".span-text")).to_contain_text("2026-01-01 08:10:00 – 2026-01-01 08:20:00 UTC+08:00")
    box = page.locator(".pane .u-over").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
    expect(page.locator(".pointed")).to_contain_text(re.compile("08:1(4:5|5:0)"))
    lower = page.locator(".pane").nth(1).locator(".u-cursor-x")
    assert abs(lower.evaluate("n => new DOMMatrix(getComputedStyle(n).transform).e") - box["width"] / 2) < 3


def test_a_trend_is_saved_as_csv_and_png(open_page: Open, tmp_path: Path) -> None:
    page = open_page(f"#/trends?tag={FORCE}&from=2026-01-01T00:10:00.000Z&to=2026-01-01T00:20:00.000Z")
    expect(page.locator(".pane .u-over")).to_have_count(1)
    with page.expect_download() as csv:
        page.get_by_role("button", name="CSV").click()
    csv.value.save_as(tmp_path / "a.csv")
    lines = (tmp_path / "a.csv").read_text().splitlines()
    assert len(lines) == 601
    assert lines[1].startswith(f"{FORCE},1767226200000000000,2026-01-01T00:10:00")
    with page.expect_download() as png:
        page.get_by_role("button", name="PNG").click()
    png.value.save_as(tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_live_trend_moves_on_and_names_an_unknown_tag(open_page: Open) -> None:
    page = open_page(f"#/trends?tag={FORCE}&tag=e:none&span=300")
    expect(page.locator(".pane").nth(1).locator(".p-words")).to_have_text("The gateway has no tag e:none.")
    before = page.locator(".span-text").text_content() or ""
    expect(page.locator(".span-text")).not_to_have_text(before)
