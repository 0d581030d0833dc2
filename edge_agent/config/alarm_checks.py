"""What must be right about the alarms of a configuration, beside what each of them says by itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from typing import TYPE_CHECKING

from edge_agent.alarms.expression import ExpressionError, compiled
from edge_agent.config.alarms import LONGEST_RESPONSE_S, AnyAlarm, DeviationAlarm, DiscreteAlarm, ExpressionAlarm, LimitAlarm, RateAlarm
from edge_agent.config.derivation import Derivation
from edge_agent.config.diverters import outputs as diverter_outputs
from edge_agent.core.salvage import Place
from models import BANKS

if TYPE_CHECKING:
    from edge_agent.config.agent import AgentSettings

LIMITED = ("safety", "gmp", "gmp_critical")
"""Classes of tags whose limits people set."""


def alarm_mistakes(settings: AgentSettings) -> Iterable[tuple[Place, str, str]]:
    """Alarms that no tag feeds, that could never clear, or that their tags or models do not allow: place, expected, found."""
    judged = settings.judged_before(len(settings.models))
    numeric = {*judged, *settings.group_outputs(), *settings.sensor_outputs(), *diverter_outputs(settings.diverters)}
    measured = {t.name for t in settings.tags if t.kind == "numeric"}
    classes = {t.name: t.class_ for t in settings.tags}
    ranges = {t.name: t.range for t in settings.tags}
    derivation = Derivation(settings)
    others = {a.name: a for a in settings.alarms}
    budgeted = {
        f"{n}.budget.{o}" for i, m in enumerate(settings.models) if m.kind == "budget" for n in settings.judged(i) for o in BANKS["budget"].outputs
    }
    for i, alarm in enumerate(settings.alarms):
        if alarm.tag not in numeric:
            yield ("alarms", i, "tag"), "the name of a numeric tag", repr(alarm.tag)
            continue
        span = ranges.get(alarm.tag)
        if isinstance(alarm, LimitAlarm) and span is not None:
            if not span[0] <= alarm.limit <= span[1]:
                yield ("alarms", i, "limit"), f"a limit within the tag's range {list(span)}", f"{alarm.limit}"
            for phase, limit in alarm.phase_limits.items():
                if limit is not None and not span[0] <= limit <= span[1]:
                    yield ("alarms", i, "phase_limits", phase), f"a limit within the tag's range {list(span)}", f"{limit}"
        yield from _clearing_mistakes(i, alarm, span)
        if isinstance(alarm, DiscreteAlarm) and span is not None and not span[0] <= alarm.state <= span[1]:
            yield ("alarms", i, "state"), f"a state within the tag's range {list(span)}", f"{alarm.state}"
        if isinstance(alarm, ExpressionAlarm):
            yield from _expression_mistakes(measured, i, alarm)
        yield from _rationale_mistakes(others, i, alarm)
        if isinstance(alarm, DeviationAlarm):
            yield from _deviation_mistakes(measured, i, alarm)
        if alarm.tag in budgeted and not alarm.advisory and any(classes.get(r) in LIMITED for r in derivation.roots(alarm.tag)):
            yield ("alarms", i, "advisory"), "advisory: true: no limit of a safety or GMP tag takes its threshold from a budget", f"{alarm.tag}"
        if alarm.tag not in classes and not alarm.advisory and derivation.critical(alarm.tag) and derivation.learns(alarm.tag):
            yield ("alarms", i, "tag"), "advisory: true, or a static model, on a gmp_critical tag", f"an adaptive model ({alarm.tag})"


def _clearing_mistakes(i: int, alarm: AnyAlarm, span: tuple[float, float] | None) -> Iterable[tuple[Place, str, str]]:
    """An alarm that no value could ever clear, or that stands always."""
    if isinstance(alarm, RateAlarm) and (alarm.limit == 0 or (alarm.limit > 0) != (alarm.side == "high")):
        yield ("alarms", i, "limit"), "above 0 for side high (rising), below 0 for side low (falling)", f"{alarm.limit}"
    elif isinstance(alarm, RateAlarm | DeviationAlarm):
        if alarm.deadband >= abs(alarm.limit) > 0:
            yield ("alarms", i, "deadband"), f"less than the limit of {abs(alarm.limit):g}, so that it can clear", f"{alarm.deadband:g}"
    elif isinstance(alarm, LimitAlarm) and span is not None:
        room = alarm.limit - span[0] if alarm.side == "high" else span[1] - alarm.limit
        if alarm.deadband > 0 and alarm.deadband >= room >= 0:
            yield ("alarms", i, "deadband"), f"less than {room:g}, to clear within the tag's range {list(span)}", f"{alarm.deadband:g}"


def _expression_mistakes(measured: Set[str], i: int, alarm: ExpressionAlarm) -> Iterable[tuple[Place, str, str]]:
    try:
        for name in compiled(alarm.expression).tags:
            if name not in measured:
                yield ("alarms", i, "expression"), "measured numeric tags", repr(name)
    except ExpressionError as error:
        expected, _, found = str(error).partition(", found ")
        yield ("alarms", i, "expression"), expected.replace("expected ", "", 1), found


def _rationale_mistakes(others: Mapping[str, AnyAlarm], i: int, alarm: AnyAlarm) -> Iterable[tuple[Place, str, str]]:
    for j, name in enumerate(alarm.suppressed_by):
        other = others.get(name)
        if other is None or name == alarm.name:
            yield ("alarms", i, "suppressed_by", j), "the name of another configured alarm", repr(name)
        elif other.suppressed_by or other.when_not_first == "suppress":
            yield ("alarms", i, "suppressed_by", j), "an alarm that no other one suppresses", repr(name)
    if alarm.when_not_first == "suppress" and not alarm.group:
        yield ("alarms", i, "when_not_first"), "a group beside it", "suppress without one"
    if alarm.respond_within_s is not None and alarm.respond_within_s > LONGEST_RESPONSE_S and not alarm.advisory:
        yield ("alarms", i, "respond_within_s"), "at most 1800 s, or advisory: true", f"{alarm.respond_within_s:g}"


def _deviation_mistakes(measured: Set[str], i: int, alarm: DeviationAlarm) -> Iterable[tuple[Place, str, str]]:
    if (alarm.setpoint is None) == (alarm.setpoint_tag is None):
        yield ("alarms", i), "either setpoint or setpoint_tag", "both" if alarm.setpoint is not None else "neither"
    # Derived values are judged behind the measured ones of the same instant: between the two a setpoint would depend on how values arrived.
    if alarm.setpoint_tag is not None and not {alarm.setpoint_tag, alarm.tag} <= measured:
        yield ("alarms", i, "setpoint_tag"), "a measured numeric tag, for the deviation of a measured tag", repr(alarm.setpoint_tag)
    if alarm.limit == 0 or (alarm.limit > 0) != (alarm.side == "high"):
        yield ("alarms", i, "limit"), "above 0 for side high, below 0 for side low", f"{alarm.limit}"
