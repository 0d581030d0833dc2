"""The table of alarm states, against the rules that the standard gives in words."""

from __future__ import annotations

from typing import get_args

import pytest

from edge_agent.alarms.states import (
    LATCHING_TRANSITIONS,
    STATES,
    TRANSITIONS,
    Cause,
    Suppression,
    TransitionError,
    after,
    shown,
)
from edge_agent.core.alarm import ACTIVE, ANNUNCIATED, State

CAUSES = get_args(Cause)


def test_every_state_is_in_both_tables() -> None:
    assert set(get_args(State)) == set(STATES) == set(TRANSITIONS) == set(LATCHING_TRANSITIONS)


@pytest.mark.parametrize("latching", [False, True])
def test_rules(*, latching: bool) -> None:
    table = LATCHING_TRANSITIONS if latching else TRANSITIONS
    reachable: set[State] = {"NORM"}
    front: list[State] = ["NORM"]
    while front:
        for following in table[front.pop()].values():
            if following not in reachable:
                reachable.add(following)
                front.append(following)
    assert reachable == ({"NORM", "UNACK", "ACKED", "LATUN", "LATACK"} if latching else {"NORM", "UNACK", "ACKED", "RTNUN"})
    for state in reachable:
        # The condition can be met exactly where it is not, and be over exactly where it is.
        assert ("raise" in table[state]) == (state not in ACTIVE)
        assert ("clear" in table[state]) == (state in ACTIVE)
        for cause, following in table[state].items():
            assert (following in ACTIVE) == (cause in ("raise", "re_alarm") or (cause == "acknowledge" and state in ACTIVE))
            if cause in ("raise", "re_alarm"):
                assert following == "UNACK"
            if cause == "acknowledge":
                assert following not in ANNUNCIATED
    resets = [(state, to) for state, row in table.items() for cause, to in row.items() if cause == "reset"]
    assert resets == ([("LATACK", "NORM")] if latching else [])


@pytest.mark.parametrize("latching", [False, True])
@pytest.mark.parametrize("state", STATES)
def test_what_the_table_does_not_hold_is_refused(state: State, *, latching: bool) -> None:
    table = LATCHING_TRANSITIONS if latching else TRANSITIONS
    for cause in CAUSES:
        if cause in table[state]:
            assert after(state, cause, latching=latching) == table[state][cause]
        else:
            with pytest.raises(TransitionError, match=f"alarm in {state}: expected one of .* found {cause}"):
                after(state, cause, latching=latching)


def test_suppressions_lie_over_each_other() -> None:
    both = Suppression.SHELVED | Suppression.OUT_OF_SERVICE
    assert shown("ACKED", both) == "OOSRV"
    assert shown("ACKED", both & ~Suppression.OUT_OF_SERVICE) == "SHLVD"
    assert shown("ACKED", Suppression.NONE) == "ACKED"
