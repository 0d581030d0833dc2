"""The alarm page as operators meet it: shelving, suppressed lists, history, floods, sound, two desks at once and a connection that drops."""

from __future__ import annotations

import re
from datetime import datetime
from urllib.parse import quote

import pytest
from playwright.sync_api import Locator, Page, expect

from gateway.rows import AlarmRow
from tests.gateway.console.conftest import Open
from tests.gateway.console.plant import Plant
from tests.gateway.console.serve import Served

pytestmark = pytest.mark.browser


def rows(page: Page) -> Locator:
    return page.locator(".alarm-row.row:visible:not([data-group])")


def suppressed(plant: Plant, tag: str, side: str, overlay: str, **told: str) -> AlarmRow:
    row = plant.occurrences[plant.raise_alarm(tag, side, 3, ago_s=60)]
    plant.suppress(row, overlay, **told)  # type: ignore[arg-type]
    return row


def test_an_alarm_is_shelved_by_key_with_duration_and_reason(open_page: Open, plant: Plant) -> None:
    plant.raise_alarm("press1/hopper_level", "low", 3)
    page = open_page("#/alarms", user="wang")
    rows(page).first.locator("input").check()
    page.keyboard.press("s")
    dialog = page.locator("dialog.ask")
    dialog.get_by_role("button", name="10 min").click()
    dialog.locator("input[name=reason]").fill("bin change")
    dialog.locator("button.primary").click()
    expect(page.locator(".notice").last).to_contain_text("Shelved by wang")
    (asked,) = plant.asked
    assert (asked.kind, asked.user, asked.role, asked.duration_s, asked.one_shot, asked.reason) == (
        "shelve",
        "wang",
        "operator",
        600.0,
        False,
        "bin change",
    )
    # It calls nobody any more: not in the banner, not in the summary, and it is listed with what is left of its time.
    expect(page.locator(".banner .b-text")).to_contain_text("No alarm is standing.")
    page.get_by_role("tab", name="Shelved 1").click()
    expect(rows(page)).to_have_count(1)
    expect(rows(page).first.locator(".c-state")).to_contain_text("left, until")
    expect(rows(page).first.locator(".mark")).to_have_class("mark p3 covered")
    rows(page).first.locator("input").check()
    page.get_by_role("button", name="End shelving").click()
    page.locator("dialog button.primary").click()
    expect(page.locator(".notice").last).to_contain_text("Shelving ended by wang")
    expect(page.locator(".banner .b-text")).to_contain_text("Hopper level")


def test_what_nobody_may_do_alone_asks_for_a_second_person(open_page: Open, plant: Plant) -> None:
    plant.raise_alarm("press1/main_force", "high", 2)
    page = open_page("#/alarms", user="chen")
    rows(page).first.click()
    page.locator(".drawer [data-act=shelve]").click()
    dialog = page.locator("dialog.ask")
    expect(dialog).to_contain_text("A second person has to agree")
    dialog.locator("select[name=role]").select_option("engineer")
    dialog.locator("input[name=reason]").fill("sensor moved")
    dialog.locator("button.primary").click()
    assert plant.asked == []
    dialog.locator("input[name=second]").fill("zhao")
    dialog.locator("select[name=second-role]").select_option("quality")
    dialog.locator("button.primary").click()
    expect(page.locator(".drawer [data-act=unshelve]")).to_be_visible()
    assert (plant.asked[0].second_user, plant.asked[0].second_role) == ("zhao", "quality")
    expect(page.locator(".drawer")).to_contain_text("chen + zhao")


def test_a_refused_shelving_says_why(open_page: Open, plant: Plant) -> None:
    plant.raise_alarm("press1/ejection_force", "high", 2)
    page = open_page("#/alarms", user="wang")
    page.keyboard.press("s")
    page.locator("dialog input[name=reason]").fill("noise")
    page.locator("dialog button.primary").click()
    expect(page.locator(".notice.bad")).to_contain_text("Not shelved")
    expect(page.locator(".notice.bad")).to_contain_text("is for shift_lead or engineer")
    expect(page.locator(".banner .mark")).to_have_class("mark p2 flash")


def test_lists_of_suppressed_alarms_tell_until_when_and_why(open_page: Open, plant: Plant) -> None:
    suppressed(plant, "press1/fill_depth", "high", "shelved", user="li", reason="being adjusted")
    suppressed(plant, "coater1/air_flow", "low", "out_of_service", user="wu", permit="WP-7", reason="exchange")
    suppressed(plant, "press1/pre_force", "high", "designed", reason="the unit is in cleaning")
    page = open_page("#/alarms?view=service", user="wu")
    expect(rows(page)).to_have_count(1)
    expect(rows(page).first).to_contain_text("permit WP-7")
    expect(rows(page).first).to_contain_text("wu · exchange")
    page.get_by_role("tab", name="Suppressed by design 1").click()
    expect(rows(page).first).to_contain_text("the unit is in cleaning")
    page.get_by_role("tab", name="Shelved 1").click()
    expect(rows(page).first).to_contain_text("li · being adjusted")
    page.get_by_role("tab", name="Standing").click()
    expect(rows(page)).to_have_count(0)
    assert page.title().startswith("Alarms")


def test_an_alarm_that_is_over_is_shelved_as_one_that_does_not_stand(open_page: Open, plant: Plant) -> None:
    over = plant.raise_alarm("press1/hopper_level", "low", 3)
    plant.occurrences[over]["state"] = "NORM"
    page = open_page("#/alarms?view=history", user="wang")
    rows(page).first.click()
    page.locator(".drawer [data-act=shelve]").click()
    page.locator("dialog input[name=reason]").fill("calibration")
    page.locator("dialog button.primary").click()
    expect(page.locator(".notice").last).to_contain_text("Shelved by wang")
    assert plant.asked[0].occurrence == "press-edge-1~press1/hopper_level.low~0"


def test_many_are_acknowledged_as_they_were_on_the_screen(open_page: Open, plant: Plant) -> None:
    seen = [plant.raise_alarm("press1/hopper_level", "low", 3), plant.raise_alarm("press1/ejection_force", "high", 2)]
    page = open_page("#/alarms", user="wang")
    expect(rows(page)).to_have_count(2)
    page.locator(".head input[type=checkbox]").check()
    plant.raise_alarm("coater1/bed_temp", "high", 2)
    expect(page.locator(".fresh")).to_have_text("1 new, show")
    page.keyboard.press("a")
    page.locator("dialog button.primary").click()
    expect(page.locator(".notice").last).to_contain_text("Done for 2 alarms")
    assert sorted(of for of, _, _ in plant.acknowledged) == sorted(seen)


def test_the_history_is_asked_of_the_gateway_and_its_address_says_what(open_page: Open, plant: Plant) -> None:
    for tag, ago in (("press1/hopper_level", 7200.0), ("press1/ejection_force", 600.0), ("coater1/bed_temp", 300.0)):
        over = plant.raise_alarm(tag, "high" if "level" not in tag else "low", 3 if "level" in tag else 2, ago_s=ago)
        plant.occurrences[over]["state"] = "NORM"
    page = open_page("#/alarms?view=history")
    expect(rows(page)).to_have_count(3)
    instant = page.evaluate("new Date(Date.now() - 3600e3).toLocaleString('sv', {timeZone: 'Asia/Shanghai'}).replace(' ', 'T')")
    page.get_by_label("Raised from").fill(instant)
    page.get_by_label("Raised from").dispatch_event("change")
    expect(rows(page)).to_have_count(2)
    page.locator("input[type=search]").fill("片床")
    expect(rows(page)).to_have_count(1)
    page.wait_for_url(lambda url: "from=" in url and f"q={quote('片床')}" in url)
    page.reload()
    expect(rows(page)).to_have_count(1)
    expect(page.get_by_label("Raised from")).to_have_value(instant)


def test_in_a_flood_alarms_stand_by_trip_with_the_first_out_on_top(open_page: Open, plant: Plant) -> None:
    plant.flood()
    page = open_page("#/alarms")
    expect(page.locator(".flood")).to_contain_text("Alarm flood at press-edge-1")
    groups = page.locator(".alarm-row[data-group]:visible")
    expect(groups.first).to_contain_text("press1 stop · 6 alarms · 6 not acknowledged")
    # Folded: one line for each trip, with its first alarm; what is not shown cannot be selected and acknowledged.
    expect(groups).to_have_count(3)
    expect(rows(page)).to_have_count(3)
    page.locator(".head input[type=checkbox]").check()
    expect(page.locator(".bar button.primary")).to_contain_text("3")
    page.locator(".head input[type=checkbox]").uncheck()
    groups.first.get_by_role("button", name="5 more").click()
    expect(rows(page)).to_have_count(8)
    in_order = page.locator(".alarm-row.row:visible").evaluate_all(
        "nodes => nodes.sort((a, b) => a.ariaRowIndex - b.ariaRowIndex).map(n => n.dataset.group || n.dataset.occurrence.split('~')[1])"
    )
    assert in_order[:3] == ["press1 stop", "press1/hopper_level.low", "press1/fill_depth.low"]
    expect(rows(page).first.locator(".first-out")).to_be_visible()
    page.get_by_role("button", name="One list").click()
    expect(groups).to_have_count(0)
    assert "grouped=0" in page.url


def test_one_click_leads_to_the_trend_around_an_alarm_with_what_contributed(open_page: Open, plant: Plant) -> None:
    row = plant.occurrences[plant.raise_alarm("press1/ejection_force", "high", 2, ago_s=120)]
    row["contributions"] = {"press1/main_force": 0.7, "press1/turret_speed": -0.2, "no/such_tag": 0.1}
    row["held"] = "cleaning"
    page = open_page("#/alarms")
    expect(rows(page).first.locator(".c-state")).to_have_text("held: cleaning")
    rows(page).first.locator("a.c-trend").click()
    expect(page.locator(".pane .p-name")).to_have_text(["Ejection force", "Main compression force", "Turret speed"])
    expect(page.locator(".live")).to_have_attribute("aria-pressed", "false")


def test_a_finding_is_explained_in_words_and_its_trend_shows_what_it_was_found_in(open_page: Open, plant: Plant) -> None:
    row = plant.occurrences[plant.raise_alarm("press1/main_force.ewma.z", "high", 4, ago_s=120)]
    row["contributions"] = {"press1/main_force": 14.25, "expected": 12.5, "reason": 3.0}
    page = open_page("#/alarms", language="zh")
    line, words = rows(page).first.bounding_box(), rows(page).first.locator(".c-what").bounding_box()
    assert line is not None
    assert words is not None
    assert (words["y"] >= line["y"], words["y"] + words["height"] <= line["y"] + line["height"]) == (True, True), "the words keep to their line"
    expect(rows(page).first.locator(".t-kind")).to_have_text(" · EWMA 控制图 · 高限")
    rows(page).first.locator(".c-name, .t-name").first.click()
    drawer = page.locator("aside.drawer")
    expect(drawer).to_contain_text("期望值")
    expect(drawer).to_contain_text("水平超出历史范围")
    expect(drawer).to_contain_text("14.25 kN")
    drawer.locator("a.button").click()
    expect(page.locator(".pane .p-name")).to_have_text(["主压力 · EWMA 控制图 · 标准分 z", "主压力"])
    why = page.locator("aside.why")
    expect(why.locator("li[data-open]")).to_contain_text("水平超出历史范围")
    expect(why.locator(".why-model")).to_contain_text("EWMA 控制图")
    page.keyboard.press("w")
    expect(why).to_be_hidden()
    expect(page).to_have_url(re.compile(r"#/trends\?(?!.*why=)"))
    # The mark stands 10 minutes from the left in both panes, in that of the measured value too; a press on it explains it.
    over = page.locator(".pane").nth(1).locator(".u-over")
    box = over.bounding_box()
    assert box is not None
    begin, end = (datetime.fromisoformat(one) for one in re.findall(r"(?:from|to)=([^&]+)", page.url))
    over.click(position={"x": box["width"] * 600 / (end - begin).total_seconds(), "y": 8})
    expect(why.locator("li[data-open]")).to_contain_text("期望值")
    expect(page.locator(".pane[data-picked] .p-name")).to_have_text("主压力")
    why.locator(".why-model .plain-link").first.click()
    expect(page.locator(".pane .p-name")).to_have_text(["主压力"])


def test_nobody_believes_in_sound_that_cannot_be_heard(open_page: Open, plant: Plant) -> None:
    page = open_page("#/alarms")
    off = page.locator(".sound-off")
    expect(off).to_have_text("SOUND OFF")
    expect(off).to_be_visible()
    page.locator(".brand").click()
    expect(off).to_be_hidden()
    page.locator(".horn").click()
    dialog = page.locator("dialog.sound")
    expect(dialog).to_contain_text("Sound is on.")
    dialog.locator("button[name=test]").click()
    expect(dialog.locator("[data-passed=true]")).to_contain_text("gave out every tone")
    dialog.get_by_label("Sound for new alarms").uncheck()
    expect(dialog).to_contain_text("switched off here")
    page.keyboard.press("Escape")
    expect(off).to_be_visible()
    plant.raise_alarm("press1/hopper_level", "low", 3)
    expect(page.locator(".banner .mark")).to_have_class("mark p3 flash")
    page.keyboard.press("m")
    expect(page.locator(".notice").last).to_contain_text("Silenced: 1 alarms")


class TestTwoDesks:
    """Two operators at once; the edge takes its time."""

    @pytest.fixture
    def plant(self) -> Plant:
        return Plant(answer_s=1.5)

    def test_each_sees_what_the_other_does(self, open_page: Open, plant: Plant) -> None:
        plant.raise_alarm("press1/hopper_level", "low", 3)
        one, other = open_page("#/alarms", user="wang"), open_page("#/alarms", user="li", outage=True)
        expect(rows(one)).to_have_count(1)
        expect(rows(other)).to_have_count(1)
        one.keyboard.press("a")
        expect(rows(other).first.locator(".c-state")).to_have_text("wang: acknowledge, waiting for the edge")
        other.keyboard.press("a")
        expect(other.locator(".notice").last).to_contain_text("Nothing to acknowledge")
        for page in (one, other):
            expect(rows(page).first).to_have_attribute("data-state", "ACKED")
            expect(rows(page).first.locator(".c-state")).to_have_text("acknowledged, wang")
        assert [user for _, user, _ in plant.acknowledged] == ["wang"]

    def test_an_answer_that_came_while_the_line_was_down_is_told(self, open_page: Open, plant: Plant, served: Served) -> None:
        plant.raise_alarm("press1/hopper_level", "low", 3)
        page = open_page("#/alarms", user="wang", outage=True)
        page.keyboard.press("a")
        expect(page.locator(".notice").last).to_contain_text("Sent to the edge")
        served.stop()
        page.wait_for_selector("body.lost")
        expect(rows(page)).to_have_count(1)  # lost is said, and what is known stays to be read
        plant.wait_answered()
        served.start()
        page.wait_for_selector("body:not(.lost)")
        expect(rows(page).first).to_have_attribute("data-state", "ACKED")
        expect(page.locator(".notice", has_text="Acknowledged by wang")).to_have_count(1)
        expect(rows(page).first.locator(".c-state")).to_have_text("acknowledged, wang")


def test_a_unit_has_its_indicators_grouped_and_its_last_hour(open_page: Open, plant: Plant) -> None:
    plant.raise_alarm("press1/ejection_force", "high", 2)
    page = open_page()
    page.locator("[data-unit=press1] h2 a").click()
    expect(page.locator("h1")).to_have_text("press1")
    expect(page.locator("nav a[aria-current]")).to_have_text("Overview")
    assert page.locator(".unit-groups section").evaluate_all("n => n.map(s => s.dataset.group)") == [
        "gmp_critical",
        "gmp",
        "environment",
        "other",
        "model",
    ]
    expect(page.locator(".unit-panes .u-over")).to_have_count(6)
    expect(page.locator(".unit-alarms button")).to_contain_text("Ejection force")
    expect(page.locator(".unit-head [data-role=mode]")).to_have_text("production")
    page.get_by_role("link", name="Alarms of this unit").click()
    expect(rows(page)).to_have_count(1)
    assert "unit=press1" in page.url
    page.go_back()
    expect(page.locator("h1")).to_have_text("press1")


def test_what_was_silenced_sounds_again_when_it_calls_again(open_page: Open, plant: Plant) -> None:
    occurrence = plant.raise_alarm("press1/ejection_force", "high", 1)
    page = open_page("#/alarms")
    page.evaluate(
        """() => {
          const shown = document.documentElement.dataset;
          const start = OscillatorNode.prototype.start;
          OscillatorNode.prototype.start = function (...at) { shown.tones = "heard"; return start.apply(this, at); };
        }"""
    )
    page.locator(".brand").click()
    heard = page.locator("html[data-tones=heard]")
    expect(heard).to_have_count(1)
    page.keyboard.press("m")
    expect(page.locator(".notice").last).to_contain_text("Silenced: 1 alarms")
    row = plant.occurrences[occurrence]
    for event, state in (("acknowledge", "ACKED"), ("re_alarm", "UNACK")):
        page.evaluate("delete document.documentElement.dataset.tones")
        plant._event(row, event, state, plant.clock())
        plant.tell({occurrence: row})
        expect(page.locator(".banner .mark")).to_have_class(f"mark p1 {'flash' if state == 'UNACK' else 'steady'}")
    expect(heard).to_have_count(1)
    # Acknowledged and called again within one message of the stream.
    page.keyboard.press("m")
    page.evaluate("delete document.documentElement.dataset.tones")
    for event, state in (("acknowledge", "ACKED"), ("re_alarm", "UNACK")):
        plant._event(row, event, state, plant.clock())
    plant.tell({occurrence: row})
    expect(heard).to_have_count(1)


def test_a_key_does_not_acknowledge_what_has_just_taken_the_place(open_page: Open, plant: Plant) -> None:
    plant.raise_alarm("press1/hopper_level", "low", 3)
    page = open_page(user="wang")
    expect(page.locator(".banner .mark")).to_have_class("mark p3 flash")
    plant.raise_alarm("press1/ejection_force", "high", 1)
    page.evaluate(
        """() => new Promise((go) => {
          const look = () => {
            if (!document.querySelector(".banner .mark.p1")) return requestAnimationFrame(look);
            dispatchEvent(new KeyboardEvent("keydown", { key: "a", bubbles: true }));
            go();
          };
          look();
        })"""
    )
    expect(page.locator(".notice").last).to_contain_text("has just taken its place")
    assert plant.acknowledged == []


@pytest.mark.parametrize(("language", "words"), [("en", "press-edge-1 is not heard"), ("zh", "收不到边缘站 press-edge-1")])
def test_an_edge_that_is_not_heard_is_said_on_every_page(open_page: Open, plant: Plant, language: str, words: str) -> None:
    page = open_page("#/system", language=language)
    bar, card = page.locator(".lost-bar"), page.locator("[data-edge=press-edge-1]")
    expect(bar).to_be_hidden()
    plant.away.add("press-edge-1")
    expect(bar).to_contain_text(words)
    expect(card.locator("tbody td").last).to_have_text({"en": "not known", "zh": "未知"}[language])
    plant.away.clear()
    expect(bar).to_be_hidden()
