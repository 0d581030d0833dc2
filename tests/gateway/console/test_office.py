"""The pages of the office in a real browser: accounts, handover, changes, key figures; their accessibility."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from edge_agent.core.change import config_sha256
from edge_agent.core.signing import signing_key
from gateway.audit import Act, Actor
from gateway.office import Office
from tests.gateway.console.conftest import Open
from tests.gateway.console.plant import Plant
from tests.gateway.console.serve import Served
from tests.gateway.console.test_people import AXE, IMAGES, login
from tests.gateway.test_users import PASSWORD, Desk

pytestmark = pytest.mark.browser


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    made.now = time.time_ns()
    for name, role in (("wang", "operator"), ("li", "shift_lead"), ("chen", "engineer"), ("zhao", "quality"), ("root", "security_admin")):
        made.add(name, role)
    yield made
    made.close()


@pytest.fixture
def office(desk: Desk, tmp_path: Path) -> Iterator[Office]:
    key = signing_key(tmp_path / "keys")
    made = Office.open(tmp_path, desk.trail, key, gateway="gw1", site="demo", handover_s=43_200, clock=lambda: desk.now)
    yield made
    made.close()


@pytest.fixture
def served(plant: Plant, desk: Desk, office: Office) -> Iterator[Served]:
    plant.start()
    made = Served(plant, sessions=desk.sessions, office=office).start()
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


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_control_chart_tells_rules_and_capability(open_page: Open, language: str) -> None:
    page = open_page("#/spc?tag=press-edge-1:press1/main_force&span=3600&lsl=11&usl=13", language=language)
    page.wait_for_selector(".k-plot canvas")
    expect(page.locator(".s-range canvas")).to_be_visible()
    expect(page.locator("tr[data-index=ppk_quantile] td").nth(1)).to_have_text(re.compile(r"^[0-9]+\.[0-9]{2}$"))
    expect(page.locator("tr[data-index=cpk] td").nth(1)).to_have_text("—")  # the swing of the force is neither stable nor independent
    expect(page.locator("li[data-unmet=unstable]")).to_be_visible()
    expect(page.locator("tr[data-rule]").first).to_be_visible()
    clean(page)
    picture(page, "spc", language)
    page.locator(".bar select").nth(1).select_option("western_electric")
    page.wait_for_url(re.compile("rules=western_electric"))


def config(limit: float, delay: float = 2.0) -> dict[str, Any]:
    return {
        "edge": {"id": "press-edge-1", "site": "demo", "gmp": True},
        "http": {"port": 9580},
        "alarms": [
            {"name": "press1/main_force.high", "limit": limit, "on_delay_s": delay, "priority": 2},
            {"name": "press1/hopper_level.low", "limit": 20.0, "on_delay_s": 5.0, "priority": 3},
        ],
    }


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_second_person_signs_a_change(open_page: Open, office: Office, desk: Desk, language: str) -> None:
    chen, zhao = Actor("chen", "engineer", "Chen"), Actor("zhao", "quality", "Zhao")
    first, second = config(16.0), config(16.5, 3.0)
    office.proposals.propose(chen, "press-edge-1", "demo", first, config_sha256(first), "start of production")
    office.proposals.approve(zhao, 1, "Approved for use", "OQ-17 passed")
    office.proposals.propose(chen, "press-edge-1", "demo", second, config_sha256(second), "CR-42: wider limit after the trial of batch B-1042")
    page = open_page("#/changes", language=language, outage=True)
    login(page, "chen")
    page.locator("tr[data-proposal='1'] button").click()
    expect(page.locator(".diff tbody tr")).to_have_count(len(office.proposals.differences(office.proposals.get(1))))
    page.locator("tr[data-proposal='2'] button").click()
    expect(page.locator(".diff tbody tr")).to_have_count(2)
    expect(page.locator(".office-page .panel").first.locator("button.primary")).to_have_count(0)  # one's own
    page.locator(".who").click()
    page.locator("dialog button.primary").click()
    expect(page.locator(".who")).to_have_text({"en": "Log in", "zh": "登录"}[language])  # before it is clicked again
    login(page, "zhao")
    expect(page.locator(".diff")).to_contain_text("alarms[press1/main_force.high].limit")
    clean(page)
    picture(page, "changes", language)
    page.locator(".office-page .panel").first.locator("button.primary").click()
    page.locator("dialog input").first.fill("trial report TR-9 reviewed")
    page.locator("dialog input[name=signature]").fill(PASSWORD)
    page.locator("dialog button.primary").click()
    expect(page.locator("tr[data-proposal='2']")).to_have_attribute("data-state", "approved")
    assert office.proposals.get(2).decided_by == "zhao"
    assert desk.trail.entries()[0]["reason"] == "trial report TR-9 reviewed"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_shift_is_taken_over_item_by_item(open_page: Open, plant: Plant, office: Office, desk: Desk, language: str) -> None:
    plant.raise_alarm("press1/ejection_force", "high", 2, ago_s=340)
    shelved = plant.raise_alarm("press1/hopper_level", "low", 3, ago_s=1300)
    plant.occurrences[shelved]["state"] = "SHLVD"
    office.handovers.offer(Actor("wang", "operator", "Wang"), plant.alarms(), "Punch 7 is watched; the hopper sensor is being changed.")
    page = open_page("#/handover", language=language)
    login(page, "li")
    take = page.locator("main button.primary")
    expect(take).to_be_disabled()
    boxes = page.locator("main input[type=checkbox]")
    expect(boxes).to_have_count(2)
    boxes.first.check()
    expect(take).to_be_disabled()
    boxes.last.check()
    clean(page)
    picture(page, "handover", language)
    take.click()
    page.locator("dialog button.primary").click()
    expect(page.locator("details[data-handover='1']")).to_contain_text({"en": "Wang (wang) to Li (li)", "zh": "Wang (wang) 交 Li (li)"}[language])
    assert office.handovers.get(1).accepted_by == "li"


def test_a_receiver_is_tried_from_the_system_page(open_page: Open, plant: Plant, desk: Desk) -> None:
    page = open_page("#/system", outage=True)
    login(page, "chen")
    page.locator("tr[data-receiver=on-call] button").click()
    expect(page.locator(".notice").last).to_contain_text("on-call: the test message was taken")
    assert (plant.tried, desk.trail.entries()[0]["action"]) == (["on-call"], "notify_test")
    expect(page.locator("tr[data-receiver=wecom] .trouble")).to_have_text("wecom: timed out")
    clean(page)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_batch_is_reviewed_exceptions_first(open_page: Open, plant: Plant, desk: Desk, language: str) -> None:
    occurrence = plant.raise_alarm("press1/ejection_force", "high", 2, ago_s=340)
    wang, edge = Actor("wang", "operator", "Wang", "127.0.0.1"), Actor("edge press-edge-1", "service", "", "press-edge-1")
    desk.trail.append(wang, Act("acknowledge", occurrence, "UNACK", "asked", "punch changed", batch="B-1043"), desk.now)
    desk.trail.append(edge, Act("shelve_refused", occurrence, "UNACK", "UNACK", "nobody alone", batch="B-1043"), desk.now)
    page = open_page("#/audit?batch=B-1043&exceptions=1", language=language)
    login(page, "zhao")
    rows = page.locator(".audit-table tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.first).to_have_attribute("data-exception", "")
    expect(page.locator(".of-batch")).to_contain_text("press1/ejection_force.high")
    page.locator(".audit-page .bar button.primary").click()
    page.locator("dialog input[name=signature]").fill(PASSWORD)
    page.locator("dialog button.primary").click()
    expect(page.locator(".audit-page p.quiet").first).to_contain_text("Zhao")
    clean(page)
    picture(page, "review", language)
    assert (desk.trail.entries()[0]["object"], desk.trail.entries()[0]["batch"]) == ("batch B-1043", "B-1043")
