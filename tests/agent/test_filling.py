"""Somebody is told before what waits for delivery has no more room."""

from __future__ import annotations

import math
from pathlib import Path

from edge_agent.agent.filling import LEVELS, Filling
from edge_agent.config.start import start_of
from tests.agent.line import settings

MUCH = 10**12


def told(filling: Filling, held: int, free: int = MUCH, to_full_s: float = math.inf) -> list[tuple[str, bool]]:
    return [(entry(1).alarm, entry(1).active) for entry in filling.look(held, free, to_full_s)]


def test_an_alarm_at_70_and_at_90_percent_and_none_that_chatters() -> None:
    filling = Filling(1000)
    assert told(filling, 699) == []
    assert told(filling, 700) == [("edge/outbox_filling", True)]
    assert told(filling, 899) == []
    assert told(filling, 900) == [("edge/outbox_nearly_full", True)]
    assert told(filling, 860) == []
    assert told(filling, 849) == [("edge/outbox_nearly_full", False)]
    assert told(filling, 655) == []
    assert told(filling, 640) == [("edge/outbox_filling", False)]
    assert told(filling, 1200) == [("edge/outbox_filling", True), ("edge/outbox_nearly_full", True)]


def test_a_disk_that_fills_up_with_other_things_counts_as_well() -> None:
    filling = Filling(1000)
    assert told(filling, 0, free=301) == []
    (entry,) = filling.look(10, 290, 60.0)
    assert entry(7).explanation == "the disk has 290 bytes left, and 990 more may have to wait"
    assert told(filling, 10, free=0) == [("edge/outbox_nearly_full", True)]


def test_it_says_how_much_is_used_and_when_it_is_full() -> None:
    (entry,) = Filling(1000).look(820, MUCH, 2220.0)
    assert (entry(7).received_ns, entry(7).explanation) == (7, "82 % of the room for what waits is used; full in 37 min at this rate")
    (entry,) = Filling(1000).look(820, MUCH, math.inf)
    assert entry(7).explanation == "82 % of the room for what waits is used, and no more each minute"


def test_what_stood_before_a_restart_ends_behind_it() -> None:
    standing = ("edge/outbox_filling", "edge/outbox_nearly_full", "edge/clock")
    assert told(Filling(1000, standing), 750) == [("edge/outbox_nearly_full", False)]
    assert told(Filling(1000, standing), 0) == [("edge/outbox_filling", False), ("edge/outbox_nearly_full", False)]


def test_every_edge_has_these_alarms_with_what_to_do_in_both_languages(tmp_path: Path) -> None:
    known = {alarm.name: alarm for alarm in start_of(settings(tmp_path), 1).alarms}
    assert [known[name].priority for _, name in LEVELS] == [3, 2]
    assert all(known[name].response.keys() == {"en", "zh"} and not known[name].advisory for _, name in LEVELS)
