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
