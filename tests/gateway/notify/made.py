"""Rules, events and messages for the tests of notifications."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

from edge_agent.core import AlarmEvent
from gateway.notify import Item, Message
from gateway.notify.plan import Facts, Plan
from gateway.notify.rules import Calendar
from gateway.notify.section import Notifications
from tests.gateway.edge import SECOND, START

SHANGHAI = ZoneInfo("Asia/Shanghai")


def mail(name: str = "mail", **more: Any) -> dict[str, Any]:
    return {"name": name, "kind": "smtp", "host": "127.0.0.1", "sender": "gw@plant.example", "to": ["a@plant.example"], "group_s": 0, **more}


def section(steps: list[dict[str, Any]] | None = None, *, receivers: list[dict[str, Any]] | None = None, **more: Any) -> Notifications:
    rule = {"name": "all", "priority": 4, "steps": steps or [{"receivers": ["mail"]}], **more.pop("rule", {})}
    return Notifications.model_validate({"receivers": receivers or [mail()], "rules": [rule], "settle_s": 0, **more})


def plan(of: Notifications, **more: Any) -> Plan:
    def facts(edge: str, alarm: str, tag: str) -> Facts:
        return Facts(unit="demo/solids/press-line/press1", measure="kN", response={"en": "Stop the press", "zh": "停机"})

    return Plan(of.rules, of.receivers, Calendar(of.shifts, SHANGHAI), facts, max_age_s=of.max_age_s, **more)


def event(
    what: str = "raise", state: str = "UNACK", *, alarm: str = "press1/main_force.high", raised: float = 0, at: float | None = None, **more: Any
) -> AlarmEvent:
    """Times in seconds after START."""
    time_ns = START + int((raised if at is None else at) * SECOND)
    return AlarmEvent(
        alarm=alarm,
        tag=alarm.rpartition(".")[0],
        raised_ns=START + int(raised * SECOND),
        time_ns=time_ns,
        received_ns=time_ns,
        event=what,
        state_from="NORM",
        state_to=state,
        **{"priority": 2, "value": 16.5, "limit": 16.0, "explanation": "16.5 kN above 16.0 kN in batch B-2026-0042", **more},
    )


def message(n: int = 1, *, receiver: str = "peer", step: int = 1, simulated: bool = False) -> Message:
    items = tuple(
        Item(
            occurrence=f"press-edge-1~press1/main_force.high~{START + i}",
            step=step,
            edge="press-edge-1",
            alarm="press1/main_force.high",
            tag="press1/main_force",
            unit="demo/solids/press-line/press1",
            priority=2,
            state="UNACK",
            raised_ns=START + i,
            simulated=simulated,
            value=16.5,
            limit=16.0,
            measure="kN",
            explanation="16.5 kN above 16.0 kN in batch B-2026-0042",
            response={"en": "Stop the press", "zh": "停机"},
        )
        for i in range(n)
    )
    return Message(
        id="0123456789abcdef0123456789abcdef",
        receiver=receiver,
        made_ns=START,
        total=n,
        priorities={2: n},
        step=step,
        first_ns=START,
        simulated=simulated,
        items=items[:100],
        keys=tuple(f"{i.occurrence}#0" for i in items),
    )
