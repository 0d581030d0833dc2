"""`edge-agent replay --report`: alarms per day, delay to known events, false alarms, and a page that needs nothing from elsewhere."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from edge_agent.agent.backtest import BINS, Backtest, Curve, EventsError, known_events, median_delay_s, report
from edge_agent.agent.backtest_page import page
from edge_agent.core import AlarmDefinition, AlarmEvent, Catalogue, Samples, Tag
from tests.agent.test_replay import START, folder, replay

__all__ = ["folder"]
S = 1_000_000_000
DAY = 86_400
TAGS = Catalogue(
    [Tag(id=0, name="press1/force"), Tag(id=1, name="press1/speed"), Tag(id=2, name="press1/force.ewma.z", derived_from=("press1/force",))]
)
DEFINED = (
    AlarmDefinition(name="high", tag="press1/force", kind="limit", limit=16.0, priority=2),
    AlarmDefinition(name="unusual", tag="press1/force.ewma.z", kind="limit", limit=3.0, advisory=True, priority=4),
)


def event(alarm: str, what: str, at_s: float) -> AlarmEvent:
    tag = "press1/force" if alarm == "high" else "press1/force.ewma.z"
    t = round((START + at_s) * S)
    return AlarmEvent(alarm=alarm, tag=tag, raised_ns=t, time_ns=t, received_ns=t, event=what, state_from="NORM", state_to="UNACK",
                      priority=2, advisory=alarm == "unusual", explanation="<16 & rising>")  # fmt: skip


def a_test() -> Backtest:
    test = Backtest(TAGS, DEFINED)
    times = (START + np.arange(0, 3 * DAY, 60)) * S
    test.measured(Samples.of(times, np.zeros(len(times), np.int32), np.sin(np.arange(len(times)) / 100)))
    for alarm, what, at_s in [("high", "raise", 100), ("high", "clear", 160), ("unusual", "raise", 2 * DAY), ("high", "raise", 2 * DAY + 40)]:
        test.told(event(alarm, what, at_s))
    return test


def line(**changed: object) -> str:
    return json.dumps(
        {"fault": "jam", "t_start": START + 2 * DAY - 10, "t_end": START + 2 * DAY + 5, "tags": ["press1/force"], "detect_within_s": 30} | changed
    )


def test_days_delays_and_alarms_that_no_event_explains(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text(
        line() + "\n\n" + line(fault="dose", t_start="2026-01-02T00:00:00Z", t_end="2026-01-02T00:01", tags=["press1/speed"])
    )
    found = report(a_test(), known_events(tmp_path / "events.jsonl"))
    assert found.days == [("2026-01-01", 1, 0), ("2026-01-02", 0, 0), ("2026-01-03", 1, 1)]
    assert found.verdicts is not None
    assert found.unexplained is not None
    assert [(v.event.name, v.found and v.found.alarm, v.delay_s) for v in found.verdicts] == [("dose", None, None), ("jam", "unusual", 10.0)]
    assert [(r.alarm, (r.told_ns // S) - START) for r in found.unexplained] == [("high", 100), ("high", 2 * DAY + 40)]
    assert median_delay_s(found.verdicts) == 10.0
    assert found.by_alarm[0] == ("high", 2, 60.0 + DAY - 60 - 40)
    assert found.by_tag == [("press1/force", 3)]


def test_an_alarm_that_stood_before_finds_nothing(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text(line(t_start=START + 120, t_end=START + 130))
    (verdict,) = report(a_test(), known_events(tmp_path / "events.jsonl")).verdicts or ()
    assert verdict.found is None


def test_the_page_says_everything_in_both_languages_and_needs_nothing(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text(line())
    text = page(report(a_test(), known_events(tmp_path / "events.jsonl")), "edge <1>")
    assert "edge &lt;1&gt;" in text
    assert "&lt;16 &amp; rising&gt;" in text
    assert not re.search(r"(src|href)=|https?://|@import", text)
    assert text.count('lang="en"') - 1 == text.count('lang="zh"')  # the page itself is English until its script has looked at the browser
    assert text.count("<svg") == text.count("</svg>") == 2
    assert page(report(Backtest(TAGS, DEFINED), None), "nothing")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "1: (line): expected a JSON object, found '{'"),
        ("[]", "1: (line): expected a JSON object, found []"),
        ("\n" + line(tags=[]), "2: tags: expected a list of tag names, found []"),
        (line(t_start="noon"), "1: t_start: expected seconds since 1970 or an ISO 8601 time, found 'noon'"),
        (line(t_end=None), "1: t_end: expected seconds since 1970 or an ISO 8601 time, found None"),
        (line(detect_within_s=0), "1: detect_within_s: expected seconds above 0, found 0"),
        (line(t_end=1), "1: t_end: expected a time not before t_start, found 1"),
    ],
)
def test_an_events_file_that_is_none(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "events.jsonl").write_text(text)
    with pytest.raises(EventsError) as error:
        known_events(tmp_path / "events.jsonl")
    assert str(error.value) == f"{tmp_path / 'events.jsonl'}:{message}"


def test_a_curve_keeps_extremes_however_long_it_grows() -> None:
    rng = np.random.default_rng(1)
    times, values = START * S + np.sort(rng.integers(0, 40 * DAY * S, 5000)), rng.normal(size=5000)
    curve = Curve(int(times[0]))
    for a in range(0, 5000, 700):
        curve.add(times[a : a + 700], values[a : a + 700])
    whole = Curve(int(times[0]), curve.width_ns)
    whole.add(times, values)
    assert curve.least.tolist() == whole.least.tolist()
    assert curve.most.tolist() == whole.most.tolist()
    assert np.isfinite(curve.least).sum() > BINS // 4
    assert (curve.most.max(), curve.least.min()) == (values.max(), values.min())


def test_a_replay_writes_the_page(folder: Path) -> None:
    (folder / "events.jsonl").write_text(line(t_start=START + 40, t_end=START + 60))
    words = ["--input", str(folder / "values.csv"), "--report", str(folder / "out.html")]
    code, _, told = replay(folder, *words, "--events", str(folder / "events.jsonl"))
    assert code == 0, told
    text = (folder / "out.html").read_text("utf-8")
    assert "press1/force.high" in text
    assert "1 / 1" in text
    assert replay(folder, *words[:2], "--events", str(folder / "events.jsonl"))[0] == 2
    (folder / "events.jsonl").write_text("x")
    assert replay(folder, *words, "--events", str(folder / "events.jsonl"))[0] == 2
    assert (folder / "out.html").read_text("utf-8") == text
