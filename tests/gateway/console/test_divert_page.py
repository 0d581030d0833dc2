"""The page of a continuous line in a real Chromium, in both languages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.gateway.console.conftest import Open
from tests.gateway.console.plant import Plant
from tests.gateway.console.test_office import picture

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]
AXE = Path(__file__).with_name("axe") / "axe.min.js"


@pytest.fixture
def plant() -> Iterator[Plant]:
    made = Plant(diverting=True)
    yield made
    made.stop()


@pytest.mark.parametrize(
    ("language", "word", "why", "accept"),
    [("en", "Divert", "feed outside its limits · measured outside its limits", "Accept"), ("zh", "剔除", "进料超限 · 实测超限", "放行")],
)
def test_what_is_asked_for_why_and_what_became_of_the_material(open_page: Open, language: str, word: str, why: str, accept: str) -> None:
    page = open_page("#/divert", language=language)
    expect(page.locator(".d-word")).to_have_text(word)
    expect(page.locator(".d-now")).to_have_attribute("data-route", "divert")
    expect(page.locator(".d-why")).to_have_text(why)
    expect(page.locator("[data-fact=limits]")).to_have_text("95.5 – 104.5 %")
    expect(page.locator(".sheet tbody tr").first).to_have_attribute("data-route", "divert")
    expect(page.locator(".sheet tbody tr[data-route=accept]").first).to_contain_text(accept)
    expect(page.locator("nav a[data-page=divert]")).to_be_visible()
    assert page.locator("a[download]").get_attribute("href", timeout=5000).endswith("format=csv")  # type: ignore[union-attr]
    picture(page, "divert", language)
    page.evaluate(AXE.read_text("utf-8"))
    result: dict[str, Any] = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    assert [(v["id"], v["nodes"][0]["html"][:120]) for v in result["violations"] if v["impact"] in ("serious", "critical")] == []
