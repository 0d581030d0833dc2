"""Why an alarm was raised or cleared, in one line."""

from __future__ import annotations

from edge_agent.alarms.detect import Found
from edge_agent.core import AlarmDefinition

MOST_DECIMALS = 12


def number(x: float, decimals: int, apart_from: float | None = None) -> str:
    """A number with at most `decimals` decimals, more where it would otherwise read like the one it is apart from.

    >>> number(12.9, 2), number(12.5004, 2, 12.5), number(16.0, 1), number(-0.001, 1), number(1.5e12, 1)
    ('12.9', '12.5004', '16', '0', '1.5e+12')
    """
    for digits in range(max(decimals, 0), MOST_DECIMALS + 1):
        text = f"{x:.{digits}f}" if abs(x) < 1e9 else f"{x:.{digits + 6}g}"
        if apart_from is None or x == apart_from or float(text) != round(apart_from, digits):
            break
    return _plain(text)


def _plain(text: str) -> str:
    if "." in text and "e" not in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def over_words(d: AlarmDefinition, found: Found, unit: str, decimals: int) -> str:
    """What was compared with what, for how long: "12.9 kN above 12.5 kN for 2 s"."""
    if d.kind == "discrete":
        return discrete_words(d, found, unit, decimals)
    if d.limit is None:
        return "no limit holds in this phase"
    limit = d.limit
    high = d.side == "high"
    shift = 0.0 if found.met else d.deadband if high else -d.deadband
    edge = limit - shift
    delay = d.on_delay_s if found.met else d.off_delay_s
    after = f" for {delay:g} s" if delay > 0 else ""
    side = "above" if high == found.met else "below"
    per = "/s" if d.kind == "rate" else ""
    named = f" {unit}{per}" if unit or per else ""
    x = number(found.compared, decimals, edge)
    text = f"{x}{named} {side} {number(edge, decimals, found.compared)}{named}{after}"
    if d.kind == "deviation":
        return f"off setpoint {number(found.setpoint, decimals)}{f' {unit}' if unit else ''} by {text}"
    return text


def discrete_words(d: AlarmDefinition, found: Found, unit: str, decimals: int) -> str:
    """What was compared with which state: "2 equals 2 for 1 s"."""
    state = 0.0 if d.limit is None else d.limit
    delay = d.on_delay_s if found.met else d.off_delay_s
    relation = "equals" if found.compared == state else "differs from"
    named = f" {unit}" if unit else ""
    x = number(found.compared, decimals, state)
    return f"{x}{named} {relation} {number(state, decimals, found.compared)}{named}{f' for {delay:g} s' if delay > 0 else ''}"


def expression_words(d: AlarmDefinition, *, met: bool) -> str:
    """Which condition is met, or no longer."""
    delay = d.on_delay_s if met else d.off_delay_s
    return f"{'' if met else 'no longer: '}{d.expression}{f' for {delay:g} s' if delay > 0 else ''}"


def condition_words(d: AlarmDefinition, *, met: bool) -> str:
    """The words for a condition that was reported without any."""
    if not met:
        return "back to normal"
    return {"stale": "no new value", "bad_quality": "bad quality"}.get(d.kind, "condition met")
