"""Shifts against every minute of a fortnight; which alarms a rule covers; what is wrong in a configuration."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core import ConfigError
from gateway.config import load_config
from gateway.notify import RECEIVERS, SmtpConfig
from gateway.notify.rules import DAYS, Calendar, Rule, Shift
from gateway.notify.section import Notifications
from tests.gateway.notify.made import SHANGHAI, mail, section

CLOCKS = st.tuples(st.integers(0, 23), st.sampled_from((0, 1, 30, 59))).map(lambda hm: f"{hm[0]:02}:{hm[1]:02}")
DATES = st.integers(0, 13).map(lambda n: (datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=n)).date().isoformat())


@given(st.lists(st.sampled_from(DAYS), unique=True), CLOCKS, CLOCKS, st.lists(DATES, max_size=2), st.integers(0, 13 * 1440))
def test_a_shift_holds_the_minutes_from_its_beginning_on(days: list[str], begin: str, end: str, excepted: list[str], minute: int) -> None:
    shift = Shift.model_validate({"name": "s", "days": days, "from": begin, "to": end, "except_dates": excepted})
    local = datetime(2026, 1, 1, tzinfo=SHANGHAI) + timedelta(minutes=minute)
    hour_from, hour_to = (int(t[:2]) * 60 + int(t[3:]) for t in (begin, end))
    length = (hour_to - hour_from) % 1440 or 1440
    inside = False
    for back in (0, 1):
        day = datetime(local.year, local.month, local.day, tzinfo=SHANGHAI) - timedelta(days=back)
        start = day + timedelta(minutes=hour_from)
        if DAYS[day.weekday()] in days and day.date().isoformat() not in excepted and start <= local < start + timedelta(minutes=length):
            inside = True
    assert shift.holds(local) == inside


def test_the_calendar_asks_the_plants_clock() -> None:
    shifts = [
        Shift.model_validate({"name": "day", "from": "08:00", "to": "20:00"}),
        Shift.model_validate({"name": "night", "from": "20:00", "to": "08:00"}),
    ]
    at = int(datetime(2026, 1, 1, 0, 0, tzinfo=UTC).timestamp()) * 10**9
    assert Calendar(shifts, SHANGHAI).open(at) == {"day"}  # 08:00 in Shanghai
    assert Calendar(shifts, UTC).open(at) == {"night"}


@pytest.mark.parametrize(
    ("rule", "covered"),
    [
        ({}, True),
        ({"priority": 1}, False),
        ({"units": ["demo/*/press1"]}, True),
        ({"units": ["demo/coating/*", "*/press2"]}, False),
        ({"tags": ["press1/main_*"], "alarms": ["*.high"]}, True),
        ({"edges": ["gw1"]}, False),
        ({"routing": ["press-*"]}, True),
        ({"routing": ["coating"]}, False),
    ],
)
def test_a_rule_covers_by_priority_and_patterns(rule: dict[str, Any], covered: bool) -> None:
    made = Rule.model_validate({"name": "r", "steps": [{"receivers": ["mail"]}], **rule})
    alarm = {
        "edge": "press-edge-1",
        "unit": "demo/solids/press1",
        "tag": "press1/main_force",
        "alarm": "press1/main_force.high",
        "priority": 2,
        "routing": "press-shift",
    }
    assert made.covers(**alarm, advisory=False) == covered  # type: ignore[arg-type]
    assert not made.covers(**alarm, advisory=True)  # type: ignore[arg-type]


def wrong(data: dict[str, Any]) -> list[str]:
    return [f"{'.'.join(map(str, place))}: {expected}" for place, expected, _ in Notifications.model_validate(data).mistakes()]


def test_every_mistake_between_keys_is_named() -> None:
    assert list(section().mistakes()) == []
    found = wrong(
        {
            "receivers": [
                mail(username="u"),
                mail(),
                mail("plain", security="none", username="u", password_file="p"),
                {"name": "hook", "kind": "webhook"},
                {"name": "both", "kind": "webhook", "url": "http://x", "url_file": "f"},
            ],
            "shifts": [{"name": "day", "except_dates": ["2026-02-30"]}],
            "rules": [
                {"name": "r", "steps": [{"receivers": ["mail"], "after_s": 60}, {"receivers": ["nobody"], "shifts": ["late"]}]},
            ],
        }
    )
    assert found == [
        "receivers.1.name: a name used once",
        "receivers.0.username: username and password_file together",
        "receivers.2.security: starttls or tls where a password is sent",
        "receivers.3.url: either url or url_file",
        "receivers.4.url: either url or url_file",
        "shifts.0.except_dates: dates such as 2026-10-01",
        "rules.0.steps.1.after_s: steps in the order of time",
        "rules.0.steps.1.receivers: a name in notifications.receivers",
        "rules.0.steps.1.shifts: a name in notifications.shifts",
    ]


def test_the_example_on_the_page_is_sound_and_every_kind_is_there() -> None:
    page = Path(__file__).parents[3].joinpath("docs", "notifications.md").read_text("utf-8")
    (example,) = re.findall(r"^```yaml\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    made = Notifications.model_validate(yaml.safe_load(example)["notifications"])
    assert list(made.mistakes()) == []
    assert {r.shown for r in made.receivers} == {"names", "minimal"}
    for kind in RECEIVERS:
        assert f"\n| `{kind.model_fields['kind'].default}` | " in page


def test_a_gateway_says_file_and_line_of_a_mistake_and_finds_files_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    lines = [
        "gateway: {id: gw1, site: demo, data_dir: data}",
        "notifications:",
        "  receivers:",
        "    - {name: m, kind: smtp, host: h, sender: a@b.c, to: [d@e.f], username: u, password_file: p.txt}",
        "  shifts:",
        '    - {name: day, from: "8:00"}',
        "  rules:",
        "    - {name: r, steps: [{receivers: [nobody]}]}",
    ]
    file.write_text("\n".join(lines) + "\n")
    with pytest.raises(ConfigError) as raised:
        load_config(file)
    assert [(m.line, m.key, m.found) for m in raised.value.mistakes] == [
        (6, "notifications.shifts[0].from", "'8:00'"),
        (8, "notifications.rules[0].steps[0].receivers", "'nobody'"),
    ]
    file.write_text("\n".join(lines).replace("8:00", "08:00").replace("nobody", "m"))
    file.write_text(file.read_text().replace('"08:00"', "20:30"))  # a number in YAML 1.1
    assert load_config(file).notifications.shifts[0].from_ == "20:30"
    (receiver,) = load_config(file).notifications.receivers
    assert isinstance(receiver, SmtpConfig)
    assert receiver.password_file == tmp_path / "p.txt"
