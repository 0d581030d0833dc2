"""Pictures of every page in both languages for docs/images, drawn only with PHARMEDGE_SCREENSHOTS=1."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway.console.conftest import Open
from tests.gateway.console.line import S
from tests.gateway.console.plant import Plant

IMAGES = Path(__file__).parents[3] / "docs" / "images"
PRESS = "press-edge-1:press1"
TREND = "#/trends?span=28800" + "".join(f"&tag={PRESS}/{name}" for name in ("main_force", "ejection_force", "tablet_weight", "phase"))
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(os.environ.get("PHARMEDGE_SCREENSHOTS") != "1", reason="pictures are drawn with PHARMEDGE_SCREENSHOTS=1"),
]


@pytest.fixture
def plant() -> Iterator[Plant]:
    """A line with something of everything: alarms in each state, a bad value, a silent one."""
    made = Plant()
    made.raise_alarm("press1/ejection_force", "high", 2, ago_s=340)
    hopper = made.raise_alarm("press1/hopper_level", "low", 3, ago_s=1300)
    made.raise_alarm("press1/room_temp", "high", 4, ago_s=5000, advisory=True)
    bed = made.raise_alarm("coater1/bed_temp", "high", 2, ago_s=7000)
    flow = made.raise_alarm("blender1/api_flow", "low", 2, ago_s=9000)
    row = made.occurrences[hopper]
    row["acked_by"], row["acked_ns"] = "wang", row["raised_ns"] + 40 * S
    made._event(row, "acknowledge", "ACKED", row["raised_ns"] + 40 * S, user="wang", reason="bin change ordered")
    made._event(made.occurrences[bed], "clear", "RTNUN", made.occurrences[bed]["raised_ns"] + 90 * S)
    over = made.occurrences[flow]
    over["acked_by"], over["acked_ns"] = "li", over["raised_ns"] + 12 * S
    made._event(over, "acknowledge", "ACKED", over["raised_ns"] + 12 * S, user="li")
    made._event(over, "clear", "NORM", over["raised_ns"] + 75 * S)
    shelved, service, designed = (
        made.occurrences[made.raise_alarm(name, side, priority, ago_s=2400)]
        for name, side, priority in (("press1/fill_depth", "high", 3), ("coater1/air_flow", "low", 3), ("press1/pre_force", "high", 3))
    )
    made.suppress(shelved, "shelved", duration_s=1800, user="li", reason="depth sensor being adjusted")
    made.suppress(service, "out_of_service", permit="WP-2214", user="wu", reason="flow meter sent for calibration")
    made.suppress(designed, "designed", reason="the unit is in cleaning")
    made.bad.add("press-edge-1:blender1/torque")
    made.silent.add("coat-edge-1:coater1/exhaust_rh")
    yield made
    made.stop()


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize(
    ("name", "address", "theme", "size"),
    [
        ("overview", "#/overview", "light", (1280, 720)),
        ("overview-dark", "#/overview", "dark", (1280, 720)),
        ("overview-phone", "#/overview", "light", (390, 844)),
        ("trends", TREND, "light", (1280, 720)),
        ("alarms", "#/alarms?view=history", "light", (1280, 720)),
        ("alarm", "#/alarms", "light", (1280, 720)),
        ("alarms-standing", "#/alarms", "dark", (1280, 720)),
        ("alarms-shelved", "#/alarms?view=shelved", "light", (1280, 720)),
        ("alarms-flood", "#/alarms", "light", (1280, 720)),
        ("alarms-phone", "#/alarms", "light", (390, 844)),
        ("shelve", "#/alarms", "light", (1280, 720)),
        ("unit", "#/unit?name=press1", "light", (1280, 720)),
        ("unit-phone", "#/unit?name=press1", "light", (390, 844)),
        ("system", "#/system", "light", (1280, 720)),
    ],
)
def test_picture(open_page: Open, plant: Plant, language: str, name: str, address: str, theme: str, size: tuple[int, int]) -> None:
    if name == "alarms-flood":
        plant.flood()
    page = open_page(address, language=language, theme=theme, size=size)
    page.wait_for_timeout(1500)
    if name == "alarm":
        page.locator(".alarm-row.row").first.click()
    if name == "shelve":
        page.locator(".alarm-row.row").nth(1).locator("input").check()
        page.keyboard.press("s")
    # The marker is caught in its filled half.
    page.evaluate("document.getAnimations().forEach(a => { a.pause(); a.currentTime = 0; })")
    page.wait_for_timeout(200)
    IMAGES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=IMAGES / f"console-{name}-{language}.png")
