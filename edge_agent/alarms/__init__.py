"""Alarms: when a condition is met, what state that leaves, and what people do about it (ISA-18.2, IEC 62682)."""

from edge_agent.alarms.rules import AlarmRules
from edge_agent.alarms.standing import Alarms, Standing
from edge_agent.alarms.states import LATCHING_TRANSITIONS, TRANSITIONS, Suppression, TransitionError, after
from edge_agent.core.alarm import State

__all__ = [
    "LATCHING_TRANSITIONS",
    "TRANSITIONS",
    "AlarmRules",
    "Alarms",
    "TransitionError",
    "Standing",
    "State",
    "Suppression",
    "after",
]
