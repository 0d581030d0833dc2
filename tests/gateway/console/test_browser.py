"""The console as an operator meets it, in a real browser."""

from __future__ import annotations

import re
import time
from itertools import pairwise

import pytest
from playwright.sync_api import Page, expect

from edge_agent.alarms.words import condition_words
from edge_agent.core import AlarmDefinition
from tests.gateway.console.conftest import Open
from tests.gateway.console.line import S
from tests.gateway.console.plant import Plant
from tests.gateway.console.serve import Served

pytestmark = pytest.mark.browser
FORCE = "press-edge-1:press1/main_force"
EJECTION = "press-edge-1:press1/ejection_force"
TREND = f"#/trends?tag={FORCE}&tag={EJECTION}&span=3600"


def quality(page: Page, unit: str, code: str) -> str | None:
    return page.locator(f"[data-unit={unit}] .indicator", has=page.get_by_text(code, exact=True)).get_attribute("data-quality")


def test_the_overview_shows_units_in_order_with_live_values(open_page: Open) -> None:
    page = open_page()
    assert page.locator(".unit").evaluate_all("nodes => nodes.map(n => n.dataset.unit)") == ["blender1", "press1", "coater1"]
    assert page.locator("[data-unit=press1] [data-role=batch]").text_content() in ("B0007", "B0008")
    force = page.locator("[data-unit=press1] .indicator").first
    expect(force.locator(".i-unit")).to_have_text("kN")
    before = force.locator(".i-value").text_content()
    assert before is not None
    assert re.fullmatch(r"\d\d\.\d\d", before)
    expect(force.locator(".i-value")).not_to_have_text(before)
    expect(page.locator(".rail .empty")).to_have_text("No alarm is standing.")
    expect(page.locator("footer .zone")).to_contain_text("Asia/Shanghai (UTC+08:00)")


def test_a_value_that_is_bad_or_stale_never_looks_good(open_page: Open, plant: Plant) -> None:
    plant.bad.add("press-edge-1:blender1/torque")
    plant.silent.add("press-edge-1:blender1/speed")
    page = open_page()
    torque, speed = "blender1/torque", "blender1/speed"
    page.wait_for_function("document.querySelectorAll('.indicator[data-quality=bad]').length === 1")
    assert quality(page, "blender1", torque) == "bad"
    assert quality(page, "blender1", speed) == "stale"
    row = page.locator(".indicator[data-quality=stale]").first
    assert "old" in (row.locator(".i-age").text_content() or "")
    assert row.locator(".i-value").evaluate("n => getComputedStyle(n).color") == "rgba(0, 0, 0, 0)"
    assert page.locator(".indicator[data-quality=bad] .i-value").text_content() == "—"


def test_the_whole_page_says_within_three_seconds_that_the_stream_stopped(open_page: Open, served: Served) -> None:
    page = open_page(outage=True)
    page.wait_for_selector(".indicator[data-quality=good]")
    served.stop()
    began = time.monotonic()
    page.wait_for_selector("body.lost .lost-bar:visible", timeout=3000)
    assert time.monotonic() - began < 3.0
    page.wait_for_function("!document.querySelector('.indicator[data-quality=good]')", timeout=500)
    assert "No live data since" in (page.locator(".lost-bar").text_content() or "")
    assert page.title().startswith("! ")
    served.start()
    page.wait_for_selector("body:not(.lost) .indicator[data-quality=good]")
    expect(page.locator(".lost-bar")).to_be_hidden()


def test_a_stream_that_is_open_but_silent_counts_as_lost(open_page: Open, served: Served) -> None:
    page = open_page(outage=True)
    page.wait_for_selector(".indicator[data-quality=good]")
    # The connection stays; nothing comes.
    live = served.app.state.live
    live._broadcast = lambda _data: None
    page.wait_for_selector("body.lost", timeout=3000)


def test_a_restart_with_new_alarms_and_another_version_is_caught_up(open_page: Open, served: Served, plant: Plant) -> None:
    old = plant.raise_alarm("press1/main_force", "high", 2)
    page = open_page(outage=True)
    expect(page.locator(".banner .b-text")).to_contain_text("Main compression force")
    served.stop()
    plant.occurrences[old]["state"] = "NORM"
    plant.raise_alarm("press1/hopper_level", "low", 3)
    plant.versions = "0.2.0"
    served.start()
    expect(page.locator(".banner .b-text")).to_contain_text("Hopper level")
    expect(page.locator(".rail-row")).to_have_count(1)
    expect(page.locator(".lost-bar")).to_contain_text("0.2.0")


def test_acknowledge_with_one_key_round_trip(open_page: Open, plant: Plant) -> None:
    occurrence = plant.raise_alarm("press1/ejection_force", "high", 2)
    page = open_page(user="wang")
    expect(page.locator(".banner .mark")).to_have_class("mark p2 flash")
    assert page.title().startswith("(1) ")
    page.keyboard.press("a")
    expect(page.locator(".notice").first).to_contain_text("Sent to the edge")
    expect(page.locator(".banner .mark")).to_have_class("mark p2 steady")
    expect(page.locator(".notice").last).to_contain_text("Acknowledged by wang")
    assert plant.acknowledged == [(occurrence, "wang", "")]
    expect(page.locator(".banner button.primary")).to_be_hidden()


def test_the_name_is_asked_for_once_and_a_comment_goes_along(open_page: Open, plant: Plant) -> None:
    page = open_page("#/alarms")
    first = plant.raise_alarm("press1/ejection_force", "high", 2)
    second = plant.raise_alarm("press1/hopper_level", "low", 3)
    expect(page.locator(".alarm-row.row:visible")).to_have_count(2)
    page.locator(".head input[type=checkbox]").check()
    page.get_by_role("button", name="Acknowledge 2").click()
    page.locator("dialog input[name=user]").fill("li")
    page.locator("dialog input[name=reason]").fill("bin changed")
    page.locator("dialog button.primary").click()
    expect(page.locator(".alarm-row.row[data-state=ACKED]")).to_have_count(2)
    assert sorted(plant.acknowledged) == sorted([(first, "li", "bin changed"), (second, "li", "bin changed")])
    assert page.evaluate("localStorage.getItem('pharmedge.user')") == "li"


def test_a_refusal_is_shown_with_its_reason(open_page: Open, plant: Plant) -> None:
    plant.refuse = True
    plant.raise_alarm("press1/ejection_force", "high", 2)
    page = open_page(user="wang")
    page.keyboard.press("a")
    expect(page.locator(".notice.bad")).to_contain_text("the alarm has changed since")
    expect(page.locator(".banner .mark")).to_have_class("mark p2 flash")


def test_an_alarm_in_full_tells_what_to_do(open_page: Open, plant: Plant) -> None:
    plant.raise_alarm("press1/hopper_level", "low", 3)
    page = open_page("#/alarms", language="zh")
    page.locator(".alarm-row.row").first.click()
    drawer = page.locator(".drawer")
    expect(drawer.locator(".response")).to_have_text("更换料桶。")
    expect(drawer.locator("button.primary")).to_have_text("确认")
    assert "null" not in (drawer.text_content() or "")
    page.keyboard.press("Escape")
    expect(drawer).to_have_count(0)


def test_what_the_edge_said_is_read_in_the_reader_s_language(open_page: Open) -> None:
    page = open_page(language="zh")
    told = {
        "12.9 kN above 12.5 kN for 2 s": "12.9 kN 高于 12.5 kN，持续 2 秒",
        "-5.28 % below -4.5 %": "-5.28 % 低于 -4.5 %",
        "46.8 Cel above 45 Cel for 2 s": "46.8 °C 高于 45 °C，持续 2 秒",
        "off setpoint 40 by 2.5 above 2": "偏离设定值 40：2.5 高于 2",
        "no longer: force > 3 and speed > 10 for 1 s": "不再成立：force > 3 and speed > 10，持续 1 秒",
        "10 alarms in 10 min, first press1/power.low": "10 分钟内 10 条报警，首出 press1/power.low",
        "asked too long ago": "请求时间过久",
        "it is shelved already": "已搁置",
        "shelving this alarm is for shift_lead or engineer, not for the role operator": "搁置此报警限于班长或工程师，角色“操作员”不可",
        "asked, and the role quality may not out of service": "asked, and the role quality may not out of service",
        "the role quality may not acknowledge": "角色“质量人员”无权确认",
        "handover 4 is accepted already": "交接 4：已接收",
        "there is no unit of this name (at the edge 2026-01-05T08:00:00.000Z)": "没有该名称的单元（边缘站时间 2026-01-05T08:00:00.000Z）",
        "proposal 3 is approved already": "变更申请 3：已批准",
        "too many wrong passwords for this name from this place; try again in 8 s": "此处该用户密码错误次数过多；请 8 秒后再试",
        "nothing was heard of press-edge-1 since 2026-01-05T08:00:00Z": "自 2026-01-05T08:00:00Z 起未收到边缘站 press-edge-1",
        "broker 127.0.0.1:1: [Errno 111] Connection refused": "broker 127.0.0.1:1: [Errno 111] Connection refused",
    }
    assert page.evaluate("words => import('/js/said.js').then((m) => words.map(m.said))", list(told)) == list(told.values())
    conditions = [condition_words(AlarmDefinition(name="a", tag="t", kind=kind), met=True) for kind in ("stale", "bad_quality")]
    forms = page.evaluate("words => import('/js/said.js').then((m) => words.map(m.said))", conditions)
    assert forms == ["无新值", "质量坏"]


def test_rows_do_not_move_under_the_pointer(open_page: Open, plant: Plant) -> None:
    plant.raise_alarm("press1/hopper_level", "low", 3)
    page = open_page("#/alarms")
    row = page.locator(".alarm-row.row").first
    row.hover()
    plant.raise_alarm("press1/ejection_force", "high", 1)
    expect(page.locator(".fresh")).to_have_text("1 new, show")
    expect(row).to_contain_text("Hopper level")
    expect(page.locator(".banner .b-text")).to_contain_text("Ejection force")
    page.locator(".brand").hover()
    expect(page.locator(".alarm-row.row:visible")).to_have_count(2)
    expect(page.locator(".fresh")).to_be_hidden()


def test_alarms_are_filtered_and_the_address_keeps_the_filter(open_page: Open, plant: Plant) -> None:
    plant.raise_alarm("press1/hopper_level", "low", 3)
    plant.raise_alarm("coater1/bed_temp", "high", 2)
    over = plant.raise_alarm("press1/ejection_force", "high", 2)
    plant.occurrences[over]["state"] = "NORM"
    page = open_page("#/alarms?unit=coater1")
    rows = page.locator(".alarm-row.row:visible")
    expect(rows).to_have_count(1)
    page.locator("input[type=search]").fill("nothing like this")
    expect(page.locator(".table .empty")).to_have_text("No alarm matches the filter.")
    page.locator("input[type=search]").fill("")
    page.get_by_role("tab", name="History").click()
    page.get_by_label("Unit").select_option("")
    expect(rows).to_have_count(3)
    assert "view=history" in page.url
    page.reload()
    expect(rows).to_have_count(3)


def test_the_language_changes_at_once_and_is_kept(open_page: Open) -> None:
    page = open_page("#/system")
    page.get_by_role("button", name="中文").click()
    expect(page.locator("nav a[aria-current]")).to_have_text("系统")
    expect(page.locator(".ledger h2")).to_have_text("数据台账")
    page.reload()
    expect(page.locator("nav a").first).to_have_text("总览")
    assert page.locator("html").get_attribute("lang") == "zh-CN"


def test_keys_go_to_pages_find_tags_and_help(open_page: Open) -> None:
    page = open_page()
    for key, name in (("t", "Trends"), ("a", "Alarms"), ("s", "System"), ("o", "Overview")):
        page.keyboard.press("g")
        page.keyboard.press(key)
        expect(page.locator("nav a[aria-current]")).to_have_text(name)
    page.keyboard.press("?")
    expect(page.locator("dialog.help")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("s")
    expect(page.locator(".notice").last).to_contain_text("no alarm chosen")
    page.keyboard.press("/")
    page.keyboard.type("出片力")
    expect(page.locator(".hits .i-name")).to_have_text(["Ejection force", "Ejection force · EWMA chart · Standard score z"])
    page.keyboard.press("Enter")
    expect(page.locator(".pane")).to_have_count(1)
    assert page.url.endswith(f"#/trends?tag={EJECTION}")
    page.keyboard.press("/")
    page.keyboard.type("kN main")
    page.keyboard.press("Enter")
    expect(page.locator(".pane")).to_have_count(2)
    page.go_back()
    expect(page.locator(".pane")).to_have_count(1)
    page.go_back()
    expect(page.locator("nav a[aria-current]")).to_have_text("Overview")


@pytest.mark.parametrize("size", [(1280, 720), (390, 844), (3840, 2160)])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_nothing_is_wider_than_the_screen(open_page: Open, plant: Plant, size: tuple[int, int], language: str) -> None:
    plant.raise_alarm("press1/ejection_force", "high", 2)
    page = open_page(size=size, language=language)
    for address in ("#/overview", "#/unit?name=press1", TREND, "#/alarms", "#/alarms?view=history", "#/system"):
        page.goto(page.url.split("#")[0] + address)
        page.wait_for_selector("main > *")
        page.wait_for_timeout(150)
        wide = page.evaluate(
            """() => [...document.querySelectorAll('body *')].filter(n => {
                const box = n.getBoundingClientRect();
                if (!box.width || n.closest('.tabs, .u-wrap, .rows, .table')) return false;
                return box.right > innerWidth + 1 || box.left < -1;
            }).map(n => n.outerHTML.slice(0, 80))"""
        )
        assert wide == [], address
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), address


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_long_reason_in_the_banner_gives_way_to_what_stands_beside_it(open_page: Open, plant: Plant, language: str) -> None:
    row = plant.occurrences[plant.raise_alarm("press1/ejection_force", "high", 1)]
    row["value"] = None
    row["explanation"] = "last heard 3 h ago and still nothing said since then, the last known state is shown as it was at that time; " * 2
    page = open_page(size=(1280, 720), language=language)
    expect(page.locator(".b-why")).to_have_attribute("title", re.compile("last heard 3 h ago"))
    parts = [page.locator(f".banner {part}").bounding_box() for part in (".b-text .t-kind", ".b-why", ".b-since", "button.primary")]
    edges = [(box["x"], box["x"] + box["width"]) for box in parts if box is not None]
    assert all(left[1] <= right[0] + 1 for left, right in pairwise(edges)), edges


def test_the_phone_has_its_pages_at_the_thumb_and_the_zone_written(open_page: Open, plant: Plant) -> None:
    plant.raise_alarm("press1/ejection_force", "high", 2)
    page = open_page(size=(390, 844), user="wang", has_touch=True, is_mobile=True)
    box = page.locator("nav").bounding_box()
    assert box is not None
    assert box["y"] + box["height"] == pytest.approx(844, abs=2)
    expect(page.locator("footer .zone")).to_be_visible()
    page.locator("nav a", has_text="Alarms").tap()
    page.locator(".alarm-row.row").first.tap()
    page.locator(".drawer button.primary").tap()
    expect(page.locator(".alarm-row.row[data-state=ACKED]")).to_have_count(1)


def test_reduced_motion_stops_the_flashing_and_keeps_the_difference(open_page: Open, plant: Plant) -> None:
    plant.raise_alarm("press1/ejection_force", "high", 2)
    page = open_page(reduced_motion="reduce")
    mark = page.locator(".banner .mark")
    expect(mark).to_have_class("mark p2 flash")
    assert mark.locator(".shape").evaluate("n => getComputedStyle(n).animationName") == "none"
    assert mark.evaluate("n => getComputedStyle(n).outlineStyle") == "solid"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_texts_have_contrast_enough(open_page: Open, plant: Plant, theme: str) -> None:
    plant.raise_alarm("press1/ejection_force", "high", 2)
    page = open_page("#/overview", theme=theme)
    ratios = page.evaluate(
        """() => {
            const linear = v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
            const light = ([r, g, b]) => .2126 * linear(r) + .7152 * linear(g) + .0722 * linear(b);
            const style = getComputedStyle(document.documentElement);
            const hex = name => [1, 3, 5].map(i => parseInt(style.getPropertyValue('--' + name).trim().slice(i, i + 2), 16));
            const ratio = (a, b) => { const [x, y] = [light(hex(a)), light(hex(b))].sort((p, q) => q - p); return (x + .05) / (y + .05); };
            const found = {};
            for (const back of ['back', 'panel', 'hover']) for (const ink of ['ink', 'quiet']) found[ink + ' on ' + back] = [ratio(ink, back), 4.5];
            found['ink on band'] = [ratio('ink', 'band'), 4.5];
            found['on-press'] = [ratio('on-press', 'press'), 4.5];
            found['on-lost'] = [ratio('on-lost', 'lost'), 4.5];
            found['trace'] = [ratio('trace', 'panel'), 3];
            for (const p of [1, 2, 3, 4]) {
                found['digit ' + p] = [ratio('on-p' + p, 'p' + p), 3];
                found['mark ' + p] = [Math.max(ratio('mark-edge', 'panel'), ratio('p' + p, 'panel')), 3];
                found['line ' + p] = [ratio('p' + p + '-line', 'panel'), 3];
            }
            return found;
        }"""
    )
    poor = {name: (round(got, 2), least) for name, (got, least) in ratios.items() if got < least}
    assert poor == {}


def test_the_system_page_accounts_for_edges_store_and_ledger(open_page: Open) -> None:
    page = open_page("#/system")
    expect(page.locator("[data-edge=press-edge-1]")).to_contain_text("press_mqtt")
    expect(page.locator("[data-part=store]")).to_contain_text("18\u202f224\u202f310")
    expect(page.locator("[data-part=ledger] .ledger-row.row").first).to_contain_text("press-edge-1:blender1/api_flow")
    page.get_by_label("Filter the ledger").fill("nothing like this")
    expect(page.locator("[data-part=ledger] .empty")).to_have_text("No tag matches.")


class TestHostileNames:
    """A name from the plant is a text and never markup."""

    NAME = "<img src=x onerror=window.hurt=1>"

    @pytest.fixture
    def plant(self) -> Plant:
        return Plant(hostile=self.NAME)

    def test_are_shown_as_they_are(self, open_page: Open, plant: Plant) -> None:
        plant.raise_alarm(f"press1/{self.NAME}", "high", 1)
        page = open_page(user="<b>op</b>")
        expect(page.locator(".banner .b-text")).to_contain_text(self.NAME)
        page.keyboard.press("a")
        expect(page.locator(".notice").first).to_contain_text(self.NAME)
        for name in ("trends", "alarms", "system"):
            page.goto(page.url.split("#")[0] + f"#/{name}")
            page.wait_for_selector(f"nav a[data-page={name}][aria-current]")
            page.keyboard.press("/")
            page.keyboard.type("onerror")
            expect(page.locator(".hits button")).to_have_count(1)
            page.keyboard.press("Enter")
            expect(page.locator(".pane .p-name").first).to_have_text(self.NAME)
        page.goto(page.url.split("#")[0] + "#/alarms")
        page.locator(".alarm-row.row").first.click()
        expect(page.locator(".drawer h2")).to_contain_text(self.NAME)
        assert page.evaluate("window.hurt") is None
        assert page.locator("img").count() == 0


class TestManyTags:
    """5,000 tags and 1,000 standing alarms."""

    @pytest.fixture
    def plant(self) -> Plant:
        return Plant(spare=5000, standing=1000, period_s=1.0)

    def test_stay_smooth(self, open_page: Open, plant: Plant) -> None:
        page = open_page("#/overview")
        page.wait_for_selector(".unit")
        measure = """async () => {
            const long = [];
            const watch = new PerformanceObserver(list => long.push(...list.getEntries().map(e => e.duration)));
            watch.observe({ type: 'longtask' });
            const frames = [];
            let before = performance.now();
            const end = before + 4000;
            while (performance.now() < end) {
                const now = await new Promise(requestAnimationFrame);
                frames.push(now - before);
                before = now;
            }
            frames.sort((a, b) => a - b);
            watch.disconnect();
            return [frames[Math.floor(frames.length * 0.95)], frames.length / 4, Math.max(0, ...long), long.length];
        }"""
        for address in ("#/overview", "#/alarms"):
            page.goto(page.url.split("#")[0] + address)
            page.wait_for_timeout(1500)
            p95_ms, per_s, longest_ms, n = page.evaluate(measure)
            print(f"{address}: frames p95 {p95_ms:.0f} ms, {per_s:.0f} a second; {n} long tasks in 4 s, the longest {longest_ms:.0f} ms")
            assert longest_ms < 1000, address
            # Software rendering on shared cores: the bound is what an operator notices, not what a display can do.
            assert p95_ms < 300, (address, p95_ms, per_s)
            assert per_s > 10, (address, p95_ms, per_s)
        assert page.locator(".alarm-row.row").count() < 60
        expect(page.locator(".count")).to_contain_text("1\u202f000 alarms")
        page.locator(".rows").evaluate("n => { n.scrollTop = n.scrollHeight; }")
        expect(page.locator(".alarm-row.row[aria-rowindex='1000']")).to_be_visible()
        page.keyboard.press("/")
        page.keyboard.type("point 4999")
        expect(page.locator(".hits button")).to_have_count(1)


def test_times_carry_utc_on_hover(open_page: Open, plant: Plant) -> None:
    occurrence = plant.raise_alarm("press1/ejection_force", "high", 2)
    page = open_page("#/alarms")
    title = page.locator(".alarm-row.row .c-since span, .alarm-row.row .c-since > *").first.get_attribute("title") or ""
    raised = plant.occurrences[occurrence]["raised_ns"] // S
    assert time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(raised)) in title
    assert "UTC" in title
