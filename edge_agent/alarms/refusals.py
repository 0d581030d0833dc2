"""What an alarm refuses as it stands, in words for whoever asked; who may do what at all is in `rules.py`."""

from __future__ import annotations

from edge_agent.alarms.lives import Life
from edge_agent.alarms.states import Cause, Suppression, table_of
from edge_agent.core import OperatorAction


def other_occurrence(life: Life, action: OperatorAction) -> str:
    """Why an action is not about the occurrence that is there now; empty when it is."""
    if action.raised_ns == life.raised_ns:
        return ""
    if action.kind in ("shelve", "out_of_service") and action.raised_ns <= 0:
        # Nothing was on the screen: what stands now was not seen by who asked.
        return "" if life.shown == "NORM" else "the alarm was raised meanwhile"
    return "this occurrence is over: the alarm was raised again" if action.raised_ns < life.raised_ns else "there is no such occurrence"


def impossible(life: Life, action: OperatorAction, *, latching: bool) -> str:
    """Why the state of an alarm does not allow an action; empty when it does."""
    if action.kind in ("acknowledge", "reset"):
        cause: Cause = action.kind
        if cause in table_of(life.suppression, latching=latching)[life.state]:
            return ""
        if life.suppression:
            return f"it is suppressed ({life.shown})"
        if cause == "acknowledge":
            return "already acknowledged" if life.acked_ns is not None else "this occurrence is over"
        return {"LATUN": "acknowledge it before the reset", "UNACK": "the condition still stands", "ACKED": "the condition still stands"}.get(
            life.state, "nothing is latched"
        )
    shelved, out = bool(life.suppression & Suppression.SHELVED), bool(life.suppression & Suppression.OUT_OF_SERVICE)
    return {
        "shelve": "already shelved" if shelved else "",
        "unshelve": "" if shelved else "it is not shelved",
        "out_of_service": "already out of service" if out else "",
        "in_service": "" if out else "it is not out of service",
    }.get(action.kind, "")
