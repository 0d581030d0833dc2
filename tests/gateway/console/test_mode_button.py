"""The mode of a unit on the overview: seen, set with reason and end, drawn on the trends, withdrawn."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.gateway.console.conftest import Open
from tests.gateway.console.plant import Plant
from tests.gateway.console.test_office import clean


def test_a_person_sets_the_mode_of_a_unit_and_withdraws_it(open_page: Open, plant: Plant) -> None:
    page = open_page("", user="li")
    card = page.locator(".unit[data-unit=press1]")
    button = card.locator(".mode-button")
    expect(button).to_have_text("production")
    button.click()
    form = page.locator("dialog.ask")
    clean(page)
    form.locator("[name=mode]").select_option("cleaning")
    form.locator("[name=hours]").select_option("2")
    form.locator("[name=role]").select_option("engineer")
    form.locator("[name=reason]").fill("CIP after batch")
    form.locator("button[type=submit]").click()
    expect(button).to_contain_text("cleaning until")
    (asked,) = plant.modes_asked
    assert (asked.mode, asked.user, asked.role, asked.reason) == ("cleaning", "li", "engineer", "CIP after batch")
    assert asked.until_ns is not None
    assert abs(asked.until_ns - plant.clock() - 7200 * 10**9) < 60 * 10**9
    button.click()
    form.locator("[name=mode]").select_option("")
    form.locator("[name=reason]").fill("done")
    form.locator("button[type=submit]").click()
    expect(button).to_have_text("production")
    assert plant.modes_asked[-1].mode == ""
