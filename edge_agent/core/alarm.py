"""Alarm definitions, transitions and operator actions (ISA-18.2-2016, IEC 62682)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, Literal

import msgspec

AlarmKind = Literal["limit", "deviation", "rate", "stale", "bad_quality", "diagnostic", "discrete", "expression"]
Side = Literal["high", "low"]
ActionKind = Literal[
    "acknowledge", "shelve", "unshelve", "reset", "out_of_service", "in_service", "comment", "set_mode", "withdraw_mode", "renewed", "no_fault",
    "withdraw_no_fault", "rejected", "withdraw_rejected", "unknown",
]
"""`unknown` is what this version cannot read; it is refused."""
Overlay = Literal["", "shelved", "designed", "out_of_service"]
State = Literal["NORM", "UNACK", "ACKED", "RTNUN", "LATUN", "LATACK"]
"""Normal; unacknowledged; acknowledged; returned unacknowledged; latched unacknowledged; latched acknowledged (suppressions left aside)."""

ACTIVE: Final[frozenset[State]] = frozenset({"UNACK", "ACKED"})
"""States in which the condition is met."""
ANNUNCIATED: Final[frozenset[State]] = frozenset({"UNACK", "LATUN"})
"""States that sound and flash."""
TO_ACKNOWLEDGE: Final[frozenset[State]] = frozenset({"UNACK", "RTNUN", "LATUN"})
"""States that somebody has to acknowledge."""


def written(value: Any) -> Any:
    """A default that is written all the same."""
    # Fields of the first version of the format are written whatever they hold, later ones only when they say something: so what an earlier
    # version wrote is written again as the same bytes. msgspec takes no value made by a factory of ours for a default that may be left out;
    # `dict` itself it would.
    return msgspec.field(default_factory=lambda: value.copy() if isinstance(value, dict) else value)


@lru_cache(256)
def _once(items: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """The same mapping for the same items."""
    return dict(items)


_NO_LIMITS: Final[dict[str, float | None]] = {}


class AlarmDefinition(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One configured alarm with its rationalisation (ISA-18.2 clause 8)."""

    name: str
    """Unique on its edge, e.g. "press1/main_force.high"."""
    tag: str
    kind: AlarmKind
    version: int = written(1)
    side: Side = written("high")
    limit: float | None = written(None)
    """In the tag's unit; per second for a rate; relative to the setpoint for a deviation."""
    setpoint_tag: str | None = written(None)
    setpoint: float | None = written(None)
    deadband: float = written(0.0)
    on_delay_s: float = written(0.0)
    off_delay_s: float = written(0.0)
    priority: int = written(3)
    """1 urgent, 2 high, 3 medium, 4 low or advisory."""
    advisory: bool = written(False)
    """A finding without a rationalised response: listed, no horn."""
    latching: bool = written(False)
    unit: str = written("")
    cause: dict[str, str] = written({})
    consequence: dict[str, str] = written({})
    response: dict[str, str] = written({})
    when: Literal["equals", "not_equals"] = "equals"
    """Of a discrete alarm: met when the value equals `limit`, or when it does not."""
    expression: str = ""
    """Of an expression alarm: the condition over tags (docs/alarms.md)."""
    hold_off_s: float = 0.0
    """Seconds after a change of the setpoint that do not count for the on-delay of a deviation."""
    phase_limits: dict[str, float | None] = {}
    """Limits that hold instead of `limit` while the unit is in these batch phases; None: no limit."""
    re_alarm_s: float = 0.0
    """Seconds after which an acknowledged alarm that still stands is called out again; 0 never."""
    group: str = ""
    """Alarms of one trip: the first that is raised is marked."""
    when_not_first: Literal["announce", "suppress"] = "announce"
    """What becomes of it when it follows another alarm of its group."""
    suppressed_by: tuple[str, ...] = ()
    """Alarms whose consequence it is: suppressed by design while one of them stands and is itself shown."""
    suppress_modes: tuple[str, ...] = ()
    """Modes of its unit in which it is suppressed by design."""
    check: dict[str, str] = {}
    """How to confirm it."""
    respond_within_s: float | None = None
    owner: str = ""
    routing: str = ""
    gmp_impact: str = ""
    """Critical parameter or attribute it guards, deviation template."""
    approval: str = ""
    last_review: str = ""

    def __post_init__(self) -> None:
        # Two diagnostics for each tag say the same words, most say nothing: what is equal is kept once. Each definition that is read gives its own
        # copy back before the next one is, so that thousands leave no holes.
        put = msgspec.structs.force_setattr
        put(self, "cause", _once(tuple(self.cause.items())))
        put(self, "consequence", _once(tuple(self.consequence.items())))
        put(self, "response", _once(tuple(self.response.items())))
        put(self, "check", _once(tuple(self.check.items())))
        if not self.phase_limits:
            put(self, "phase_limits", _NO_LIMITS)


class AlarmEvent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One transition of one alarm occurrence, with its cause.

    The occurrence is identified by (alarm, raised_ns); `raised_ns` is the source time at which the condition was first met.
    """

    alarm: str
    tag: str
    raised_ns: int
    time_ns: int
    """Source time of what caused the transition; the tick's time for a timer; the action's time for an operator."""
    received_ns: int
    """Time of the tick or entry at which the edge decided."""
    event: str
    """raise, clear, acknowledge, reset, re_alarm, suppress, unsuppress, comment, refuse."""
    state_from: str
    state_to: str
    priority: int
    advisory: bool = written(False)
    value: float | None = written(None)
    limit: float | None = written(None)
    status: int = written(0)
    explanation: str = written("")
    """Why, in one line: driving tag, feature or residual."""
    contributions: dict[str, float] = written({})
    action_id: str = written("")
    user: str = written("")
    role: str = written("")
    station: str = written("")
    reason: str = written("")
    overlay: Overlay = ""
    """Of suppress and unsuppress: which of the suppressions came or went."""
    until_ns: int | None = None
    """Of suppress: when it ends by itself."""
    one_shot: bool = False
    """Of suppress: it also ends when the condition does."""
    permit: str = ""
    """Of suppress out_of_service: number of the work permit."""
    second_user: str = ""
    second_role: str = ""
    group: str = ""
    first_out: bool = False
    """The first alarm of its group."""


class UnitMode(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The mode that a person wants a unit to be in."""

    unit: str
    """Its path."""
    mode: str = ""
    """One of MODES; nothing to withdraw what was set."""
    until_ns: int | None = None
    """When it ends by itself; needed to set one."""


class OperatorAction(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a person asked for; it stays outstanding until an event cites its id, done or refused."""

    id: str
    kind: ActionKind
    alarm: str
    """Of what answers maintenance advice (renewed, no_fault, rejected and their withdrawals): the machine, tag or model that was advised on."""
    raised_ns: int
    """The occurrence; of an answer to advice: the time of that advice."""
    user: str
    role: str = written("")
    station: str = written("")
    reason: str = written("")
    time_ns: int
    duration_s: float | None = written(None)
    """Of shelve: seconds, at most what the rules allow; None: as long as they allow."""
    one_shot: bool = False
    """Of shelve: it also ends when the condition does."""
    permit: str = ""
    """Of out_of_service: number of the work permit."""
    second_user: str = ""
    """Who agreed, where nobody may do it alone."""
    second_role: str = ""
    unit_mode: UnitMode | None = None
    """Of set_mode and withdraw_mode, which are about no alarm."""


class ShelveRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Alarms of these priorities and classes may be shelved by these roles; the first rule that fits an alarm decides."""

    roles: tuple[str, ...]
    priorities: tuple[int, ...] = (1, 2, 3, 4)
    classes: tuple[str, ...] = ()
    """Classes of the tag; empty: all."""
    second_roles: tuple[str, ...] = ()
    """Where nobody may do it alone: who else has to agree; empty: one person is enough."""
    max_s: float = 3600.0

    def fits(self, priority: int, class_: str) -> bool:
        """Whether this rule is about an alarm."""
        return priority in self.priorities and (not self.classes or class_ in self.classes)


def shelve_rule(rules: Sequence[ShelveRule], priority: int, class_: str) -> ShelveRule | None:
    """The rule for an alarm; None: nobody may shelve it."""
    return next((rule for rule in rules if rule.fits(priority, class_)), None)


def occurrence_id(edge: str, alarm: str, raised_ns: int) -> str:
    """The public id of one occurrence.

    >>> occurrence_id("press-edge-1", "press1/main_force.high", 1767225600000000000)
    'press-edge-1~press1/main_force.high~1767225600000000000'
    """
    return f"{edge}~{alarm}~{raised_ns}"


def parse_occurrence_id(text: str) -> tuple[str, str, int]:
    """Edge, alarm and raise time of an occurrence id; ValueError when it is none.

    >>> parse_occurrence_id("e~a.high~12")
    ('e', 'a.high', 12)
    """
    edge, _, rest = text.partition("~")
    alarm, _, raised = rest.rpartition("~")
    if not edge or not alarm or not raised.isascii() or not raised.isdigit() or len(raised) > 19:
        raise ValueError(f"occurrence id: expected EDGE~ALARM~NANOSECONDS, found {text!r}")
    return edge, alarm, int(raised)
