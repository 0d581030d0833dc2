"""The pages of the office in a real browser: accounts, handover, changes, key figures; their accessibility."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.gateway.console.conftest import Open
from tests.gateway.console.plant import Plant
from tests.gateway.console.serve import Served
from tests.gateway.console.test_people import AXE, IMAGES, login
from tests.gateway.test_users import Desk

pytestmark = pytest.mark.browser


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    made.now = time.time_ns()
    for name, role in (("wang", "operator"), ("li", "shift_lead"), ("chen", "engineer"), ("zhao", "quality"), ("root", "admin")):
        made.add(name, role)
    yield made
    made.close()


@pytest.fixture
def served(plant: Plant, desk: Desk) -> Iterator[Served]:
    plant.start()
    made = Served(plant, sessions=desk.sessions).start()
    yield made
    made.stop()


def clean(page: Page) -> None:
    """No serious finding of axe on what is shown."""
    page.evaluate(AXE.read_text("utf-8"))
    result: dict[str, Any] = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    bad = [(v["id"], v["help"], [n["html"][:160] for n in v["nodes"][:4]]) for v in result["violations"] if v["impact"] in ("serious", "critical")]
    assert not bad, json.dumps(bad, indent=1, ensure_ascii=False)


def picture(page: Page, name: str, language: str) -> None:
    """Keep what is shown, where pictures are asked for."""
    if os.environ.get("PHARMEDGE_SCREENSHOTS") == "1":
        page.locator(".notice").evaluate_all("all => all.forEach((one) => one.remove())")
        page.screenshot(path=IMAGES / f"console-{name}-{language}.png")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_an_administrator_changes_a_role(open_page: Open, desk: Desk, language: str) -> None:
    page = open_page("#/users", language=language)
    login(page, "root")
    expect(page.locator("nav [data-page=users]")).to_be_visible()
    row = page.locator("tr[data-user=wang]")
    row.locator("button").first.click()
    page.locator("dialog select").select_option("maintenance")
    page.locator("dialog input").fill("trained")
    page.locator("dialog button.primary").click()
    expect(row.locator("td").nth(2)).to_have_text({"en": "maintenance", "zh": "维修人员"}[language])
    assert desk.users.known("wang").role == "maintenance"
    expect(page.locator("tr[data-user=root] button")).to_have_count(0)
    clean(page)
    picture(page, "users", language)


def busy(plant: Plant) -> None:
    """Half a day with a flood, a chatterer and something that nobody acknowledged."""
    for i in range(12):
        tag = ("press1/ejection_force", "press1/hopper_level", "coater1/bed_temp")[i % 3]
        at = plant.raise_alarm(tag, "low" if "hopper" in tag else "high", (2, 3, 2)[i % 3], ago_s=9000 - 40 * i)
        row = plant.occurrences[at]
        plant._event(row, "acknowledge", "ACKED", row["raised_ns"] + (20 + i) * 10**9, user="wang")
        plant._event(row, "clear", "NORM", row["raised_ns"] + (30 + i) * 10**9)
    for i in range(5):
        row = plant.occurrences[plant.raise_alarm("press1/room_temp", "high", 4, ago_s=30_000 - 15 * i)]
        plant._event(row, "clear", "RTNUN", row["raised_ns"] + 5 * 10**9)
    plant.raise_alarm("press1/main_force", "high", 1, ago_s=2000)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_key_figures_are_shown_with_their_targets(open_page: Open, plant: Plant, language: str, tmp_path: Path) -> None:
    busy(plant)
    page = open_page("#/kpis?span=day", language=language)
    page.wait_for_selector(".k-plot canvas")
    expect(page.locator("tr[data-figure=max_10min] td").nth(1)).to_have_text("12")
    expect(page.locator("tr[data-figure=max_10min] .trouble")).to_be_visible()
    expect(page.locator("tr[data-figure=mtta_longest] td").nth(1)).to_have_text({"en": "31 s", "zh": "31 秒"}[language])
    with page.expect_download() as got:
        page.get_by_role("link", name="CSV").click()
    assert "\r\nmax_10min,,12\r\n" in Path(got.value.path()).read_bytes().decode("utf-8-sig")
    clean(page)
    picture(page, "kpis", language)
