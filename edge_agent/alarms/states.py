"""The life of an alarm as a table (ISA-18.2-2016 figure "alarm state transition", IEC 62682).

Everything that decides the next state is in this file. The condition itself (after deadband and delays) comes from `detect.py`; suppression
is a set of flags beside the state, so that removing one leaves the others and the life goes on underneath.
"""

from __future__ import annotations

from enum import IntFlag
from typing import Final, Literal

from edge_agent.core import PharmedgeError

State = Literal["NORM", "UNACK", "ACKED", "RTNUN", "LATUN", "LATACK"]
"""Normal; unacknowledged; acknowledged; returned unacknowledged; latched unacknowledged; latched acknowledged."""
Cause = Literal["raise", "clear", "acknowledge", "reset", "re_alarm"]

STATES: Final[tuple[State, ...]] = ("NORM", "UNACK", "ACKED", "RTNUN", "LATUN", "LATACK")
"""A state's index is its number in saved states; new states are added at the end."""

TRANSITIONS: Final[dict[State, dict[Cause, State]]] = {
    "NORM": {"raise": "UNACK"},
    "UNACK": {"clear": "RTNUN", "acknowledge": "ACKED"},
    "ACKED": {"clear": "NORM", "re_alarm": "UNACK"},
    "RTNUN": {"raise": "UNACK", "acknowledge": "NORM"},
    "LATUN": {},
    "LATACK": {},
}
"""Alarms that clear by themselves."""

LATCHING_TRANSITIONS: Final[dict[State, dict[Cause, State]]] = {
    "NORM": {"raise": "UNACK"},
    "UNACK": {"clear": "LATUN", "acknowledge": "ACKED"},
    "ACKED": {"clear": "LATACK", "re_alarm": "UNACK"},
    "RTNUN": {},
    "LATUN": {"raise": "UNACK", "acknowledge": "LATACK"},  # no reset before the acknowledgement
    "LATACK": {"raise": "UNACK", "reset": "NORM"},
}
"""Alarms that stay until somebody resets them."""

ACTIVE: Final[frozenset[State]] = frozenset({"UNACK", "ACKED"})
"""States in which the condition is met."""
ANNUNCIATED: Final[frozenset[State]] = frozenset({"UNACK", "LATUN"})
"""States that sound and flash."""


class TransitionError(PharmedgeError):
    """An alarm was given something that cannot happen in its state: a mistake in the caller."""


class Suppression(IntFlag):
    """Why an alarm is not annunciated; several may hold at once."""

    NONE = 0
    SHELVED = 1
    DESIGNED = 2
    OUT_OF_SERVICE = 4


def after(state: State, cause: Cause, *, latching: bool = False) -> State:
    """The state that follows; TransitionError when the table has none.

    >>> after("UNACK", "clear"), after("UNACK", "clear", latching=True)
    ('RTNUN', 'LATUN')
    """
    table = LATCHING_TRANSITIONS if latching else TRANSITIONS
    following = table[state].get(cause)
    if following is None:
        raise TransitionError(f"alarm in {state}: expected one of {sorted(table[state])}, found {cause}")
    return following


def shown(state: State, suppression: Suppression) -> str:
    """What an operator is shown: out of service before designed before shelved before the state of life.

    >>> shown("UNACK", Suppression.SHELVED | Suppression.DESIGNED), shown("UNACK", Suppression.NONE)
    ('DSUPR', 'UNACK')
    """
    if suppression & Suppression.OUT_OF_SERVICE:
        return "OOSRV"
    if suppression & Suppression.DESIGNED:
        return "DSUPR"
    return "SHLVD" if suppression & Suppression.SHELVED else state
