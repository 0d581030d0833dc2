"""See, hear, acknowledge and shelve at the panel, in a real browser; what is not current never looks so."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.local.conftest import OpenPanel
from tests.local.line import PASSWORD, Line, ServedPanel, listed

pytestmark = pytest.mark.browser
FORCE, LEVEL, GUARD = "press1/main_force.high", "press1/hopper_level.low", "press1/guard.open"
AXE = Path(__file__).parents[1] / "gateway/console/axe/axe.min.js"


def raised(served: ServedPanel, line: Line) -> None:
    served.do(lambda: line.turn(LEVEL, True, 8.0))
    served.do(lambda: line.turn(FORCE, True, 16.52))


def login(page: Page) -> None:
    page.locator("dialog input").first.fill("wang")
    page.locator("dialog input[type=password]").fill(PASSWORD)
    page.locator("dialog button.primary").click()


def test_an_alarm_is_seen_and_acknowledged_behind_a_login_and_shelved(open_panel: OpenPanel, served: ServedPanel) -> None:
    line = served.line
    page = open_panel()
    expect(page.locator(".empty")).to_have_text("No alarm is standing.")
    raised(served, line)
    expect(page.locator(".alarm")).to_have_count(2)
    first = page.locator(".alarm").first
    expect(first.locator(".title")).to_have_text("Main compression force · high")
    expect(first.locator(".value")).to_have_text("16.52 kN")
    expect(first.locator(".do")).to_contain_text("Reduce the fill depth")
    expect(first.locator(".mark")).to_have_class("mark p2 flash")
    assert page.title().startswith("(2) ")
    page.wait_for_timeout(1100)  # a key acts on what could be read for a second
    page.keyboard.press("a")
    login(page)
    expect(page.locator(".alarm[data-state=ACKED]")).to_have_count(1)
    expect(page.locator(".notice").last).to_have_text("Acknowledged: Main compression force · high")
    assert (line.actions[0].user, line.actions[0].station) == ("wang", "panel")
    page.locator(".alarm[data-state=UNACK] [data-act=shelve]").click()
    page.locator("dialog input[type=text]").first.fill("probe is dirty")
    page.locator("dialog button.primary").click()
    expect(page.locator(".alarm")).to_have_count(1)
    page.get_by_role("tab", name="Shelved and suppressed (1)").click()
    expect(page.locator(".alarm .why")).to_have_text("probe is dirty")
    expect(page.locator(".alarm .age")).to_have_text(re.compile(r"\d+ m(in)? .*left"))
    page.locator("[data-act=unshelve]").click()
    page.get_by_role("tab", name="Alarms (2)").click()
    expect(page.locator(".alarm[data-state=UNACK]")).to_have_count(1)


def test_what_the_edge_refuses_is_said_and_a_guess_at_a_password_too(open_panel: OpenPanel, served: ServedPanel) -> None:
    line = served.line
    served.do(lambda: line.turn(GUARD, True))
    page = open_panel(outage=True)
    page.locator("[data-act=ack]").click()
    page.locator("dialog input").first.fill("wang")
    page.locator("dialog input[type=password]").fill("not this one")
    page.locator("dialog button.primary").click()
    expect(page.locator("dialog .wrong")).to_have_text("the name or the password is wrong")
    login(page)
    expect(page.locator(".alarm[data-state=ACKED]")).to_have_count(1)
    page.locator("[data-act=shelve]").click()
    page.locator("dialog input[type=text]").first.fill("in the way")
    page.locator("dialog button.primary").click()
    expect(page.locator(".notice.bad")).to_contain_text("shelving this alarm is for shift_lead or engineer")
    assert line.state(GUARD) == "ACKED"


def test_without_its_stream_the_page_says_so_within_three_seconds_and_comes_back(open_panel: OpenPanel, served: ServedPanel) -> None:
    raised(served, served.line)
    page = open_panel(outage=True)
    expect(page.locator(".alarm")).to_have_count(2)
    served.stop()
    began = time.monotonic()
    page.wait_for_selector("body.stale .bar.lost:visible", timeout=3000)
    assert time.monotonic() - began < 3.0
    expect(page.locator(".bar.lost")).to_contain_text("No live data since")
    assert page.locator(".value").first.evaluate("n => getComputedStyle(n).color") == "rgba(0, 0, 0, 0)"
    served.line.turn(GUARD, True)
    served.start()
    expect(page.locator("body:not(.stale) .alarm")).to_have_count(3)


def test_an_edge_that_judges_nothing_and_one_that_is_not_ready_say_so(open_panel: OpenPanel, served: ServedPanel) -> None:
    page = open_panel()
    served.line.trouble = ["outbox is full: sources are not read"]
    expect(page.locator(".bar.trouble")).to_have_text("The edge: outbox is full: sources are not read")
    served.beating = False
    expect(page.locator(".bar.trouble")).to_contain_text("judged nothing for")
    served.beating, served.line.trouble = True, []
    expect(page.locator(".bar.trouble")).to_be_hidden()


QUIET_BROWSER = """
window.tones = [];
window.AudioContext = class {
  state = "suspended"; currentTime = 0; destination = null;
  async resume() { this.state = "running"; }
  createOscillator() {
    const tone = { frequency: { value: 0 }, connect: (next) => next, start: () => tones.push(tone.frequency.value), stop() {} };
    return tone;
  }
  createGain() { return { gain: { setValueAtTime() {}, exponentialRampToValueAtTime() {} }, connect() {} }; }
};
"""
"""Sound that waits for a touch, as browsers have it, and writes down what is heard."""


def test_sound_off_is_never_silent(open_panel: OpenPanel, served: ServedPanel) -> None:
    page = open_panel(script=QUIET_BROWSER)
    expect(page.locator(".bar.mute")).to_contain_text("SOUND OFF")
    expect(page.locator(".bar.mute")).to_contain_text("only after a touch")
    page.get_by_role("button", name="Switch sound on").click()
    expect(page.locator(".bar.mute")).to_be_hidden()
    assert page.evaluate("tones") == [659]
    served.do(lambda: served.line.turn(FORCE, True, 16.52))
    page.get_by_role("button", name="Silence").click()
    assert page.evaluate("tones") == [659, 784]
    expect(page.get_by_role("button", name="Silence")).to_be_hidden()
    served.do(lambda: served.line.turn(FORCE, False, 12.0))
    expect(page.locator(".alarm[data-state=RTNUN]")).to_have_count(1)
    served.do(lambda: served.line.turn(FORCE, True, 16.6))
    expect(page.get_by_role("button", name="Silence")).to_be_visible()
    assert page.evaluate("tones") == [659, 784, 784]
    page.get_by_role("button", name="Sound off").click()
    expect(page.locator(".bar.mute")).to_contain_text("switched off at this panel")


SAID = {
    "no value of any tag for 12.3 s": "任何测点均无数值，持续 12.3 秒",
    "no value for 3.2 s, expected every 1 s": "3.2 秒无数值，应每 1 秒一次",
    "values came again": "已恢复收到数值",
    "status 0x80310000": "状态码 0x80310000",
    "no step for 600 s": "无跳变，持续 600 秒",
    "the wall clock is 3.4 s behind the journal": "系统时钟比日志落后 3.4 秒",
    "2000000001 bytes wait for delivery, budget 2000000000": "2000000001 字节待发送，上限 2000000000 字节",
    "82 % of the room for what waits is used; full in 37 min at this rate": "待发存储已用 82%，照此速度 37 分钟后存满",
    "gateway gw1 has record 7 of epoch 2, this edge has made 5": "网关 gw1 已有纪元 2 的记录 7，而本边缘站只到 5",
    "UNACK": "未确认",
    "asked the operator or quality, nobody knew": "asked the operator or quality, nobody knew",
    "operator, viewer": "operator, viewer",
}
"""What the edge says and what the panel shows; the last two are of no form and stay as somebody typed them."""


@pytest.mark.parametrize(("language", "theme"), [("en", "light"), ("zh", "dark")])
def test_nothing_serious_for_people_who_see_or_move_otherwise(
    open_panel: OpenPanel, served: ServedPanel, language: str, theme: str, tmp_path: Path
) -> None:
    line = served.line
    raised(served, line)
    served.do(lambda: line.turn(GUARD, True))
    served.do(lambda: line.turn("press1/hopper_level.drift", True))
    page = open_panel(language=language, theme=theme)
    expect(page.locator(".alarm")).to_have_count(4)
    page.evaluate(AXE.read_text("utf-8"))
    found = page.evaluate("axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa']})")
    serious = [(v["id"], [n["html"][:120] for n in v["nodes"]]) for v in found["violations"] if v["impact"] in ("serious", "critical")]
    assert serious == []
    if language == "zh":
        expect(page.locator(".alarm .why").first).to_contain_text("条件成立")
        assert page.evaluate("words => import(new URL('said.js', location.href)).then((m) => words.map(m.said))", list(SAID)) == list(SAID.values())
    page.screenshot(path=str(tmp_path / f"panel-{language}.png"))
    assert not re.search(r"\b(undefined|null|NaN)\b", page.locator("body").inner_text())


def test_without_accounts_a_name_is_asked_for_at_each_act(open_panel: OpenPanel, served: ServedPanel) -> None:
    served.line.people.take("gw1", listed(issued_ns=time.time_ns(), open_=True))
    page = open_panel()
    raised(served, served.line)
    for n, name in enumerate(("anna", "berta"), 1):
        page.locator("[data-act=ack]").first.click()
        page.locator("dialog input").fill(name)
        page.locator("dialog button.primary").click()
        expect(page.locator(".alarm[data-state=ACKED]")).to_have_count(n)
    assert [action.user for action in served.line.actions] == ["anna", "berta"]
