"""The life of an alarm as a table (ISA-18.2-2016 figure "alarm state transition", IEC 62682).

Everything that decides the next state is in this file. The condition itself (after deadband and delays) comes from `detect.py`; suppression
is a set of flags beside the state, so that removing one leaves the others and the life goes on underneath.
"""

from __future__ import annotations

from enum import IntFlag
from typing import Final, Literal

from edge_agent.core import PharmedgeError
from edge_agent.core.alarm import Overlay, State

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

UNDERNEATH: Final[dict[State, dict[Cause, State]]] = {
    "NORM": {"raise": "UNACK"},
    "UNACK": {"clear": "NORM"},
    "ACKED": {},
    "RTNUN": {},
    "LATUN": {},
    "LATACK": {},
}
"""Alarms that are suppressed: the condition is followed, nobody is called and nothing is acknowledged."""

COVERED: Final[dict[State, State]] = {"NORM": "NORM", "UNACK": "UNACK", "ACKED": "UNACK", "RTNUN": "NORM", "LATUN": "NORM", "LATACK": "NORM"}
"""What is left of a state when a suppression comes over it: whether the condition is met. So the last suppression to leave uncovers a fresh
unacknowledged alarm or a normal one."""


class TransitionError(PharmedgeError):
    """An alarm was given something that cannot happen in its state: a mistake in the caller."""


class Suppression(IntFlag):
    """Why an alarm is not annunciated; several may hold at once."""

    NONE = 0
    SHELVED = 1
    DESIGNED = 2
    OUT_OF_SERVICE = 4


OVERLAYS: Final[tuple[tuple[Suppression, Overlay, str], ...]] = (
    (Suppression.OUT_OF_SERVICE, "out_of_service", "OOSRV"),
    (Suppression.DESIGNED, "designed", "DSUPR"),
    (Suppression.SHELVED, "shelved", "SHLVD"),
)
"""Suppressions, their names in events and the states they show, the strongest first."""


def table_of(suppression: Suppression, *, latching: bool) -> dict[State, dict[Cause, State]]:
    """The table that holds for an alarm."""
    if suppression:
        return UNDERNEATH
    return LATCHING_TRANSITIONS if latching else TRANSITIONS


def after(state: State, cause: Cause, *, latching: bool = False, suppression: Suppression = Suppression.NONE) -> State:
    """The state that follows; TransitionError when the table has none.

    >>> after("UNACK", "clear"), after("UNACK", "clear", latching=True), after("UNACK", "clear", suppression=Suppression.SHELVED)
    ('RTNUN', 'LATUN', 'NORM')
    """
    table = table_of(suppression, latching=latching)
    following = table[state].get(cause)
    if following is None:
        raise TransitionError(f"alarm in {state}: expected one of {sorted(table[state])}, found {cause}")
    return following


def shown(state: State, suppression: Suppression) -> str:
    """What an operator is shown: out of service before designed before shelved before the state of life.

    >>> shown("UNACK", Suppression.SHELVED | Suppression.DESIGNED), shown("UNACK", Suppression.NONE)
    ('DSUPR', 'UNACK')
    """
    for flag, _, name in OVERLAYS:
        if suppression & flag:
            return name
    return state
