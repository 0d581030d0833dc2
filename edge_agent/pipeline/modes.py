"""Modes of equipment units: what a text tag says, and what a person set with a reason and an end.

A person's word holds over every tag's word for the unit and all below it until its end, or until it is withdrawn; of two persons' words the later
one holds. What tags say meanwhile is remembered and holds again afterwards. Ends come at ticks of received time, never from a clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_agent.core import MODES, Audit, Catalogue, Context, OperatorAction, Record, UnitMode
from edge_agent.core.tag import JUDGED_MODES, UNMODED
from edge_agent.pipeline.ticks import NEVER

REMEMBERED_ACTIONS: Final = 4096
"""Operator actions whose repetition is recognised."""


class ModeRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who may set the mode of a unit, and for how long."""

    roles: tuple[str, ...] = ("shift_lead", "maintenance", "engineer")
    longest_s: float = 43_200.0


class Word(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a person set."""

    mode: str
    until_ns: int
    user: str
    reason: str
    since_ns: int


def within(path: str, unit: str) -> bool:
    """Whether a unit is another one or a part of it.

    >>> within("line1/press1", "line1"), within("line10", "line1")
    (True, False)
    """
    return path == unit or path.startswith(unit + "/")


def mode_index(value: str) -> int:
    """The number of a mode; an unknown one is judged like production: a misspelt text must not silence alarms.

    >>> mode_index(" Cleaning"), mode_index("clening")
    (1, 0)
    """
    name = value.strip().lower()
    return MODES.index(name) if name in MODES else 0


class Modes:
    """The mode of every unit; writes `mode` and `evaluated`, both (tags,) uint8, when one changes."""

    def __init__(self, catalogue: Catalogue, mode: NDArray[np.uint8], evaluated: NDArray[np.uint8], rules: ModeRules) -> None:
        self._mode, self._evaluated, self._rules = mode, evaluated, rules
        self._paths = [tag.unit_path for tag in catalogue]
        self._always = np.array([tag.class_ in UNMODED for tag in catalogue], np.bool_)
        self._said: dict[str, str] = {}
        self._set: dict[str, Word] = {}
        self._acted: dict[str, None] = {}
        self._now: dict[str, str] = {}

    @property
    def now(self) -> Mapping[str, str]:
        """The mode in force of each unit of which anybody said one, units before their parts."""
        return self._now

    @property
    def due_ns(self) -> int:
        """The earliest tick at which a person's word ends."""
        return min((word.until_ns for word in self._set.values()), default=NEVER)

    def said(self, unit: str, value: str, time_ns: int, received_ns: int, tag: int) -> list[Context]:
        """A tag says in which mode its unit is: the changes that follow, none while a person's word holds."""
        self._said.pop(unit, None)  # a later word about a part of a unit holds over an earlier one about the whole
        self._said[unit] = value
        changes = self._settle(time_ns, received_ns)
        return [msgspec.structs.replace(c, tag=tag) if c.unit == unit else c for c in changes]

    def act(self, action: OperatorAction, received_ns: int) -> list[Record]:
        """Set or withdraw a mode, or refuse it: an audit entry that cites the action, none when its id was seen before."""
        if action.id in self._acted:
            return []
        self._acted[action.id] = None
        while len(self._acted) > REMEMBERED_ACTIONS:
            del self._acted[next(iter(self._acted))]
        wanted = action.unit_mode or UnitMode(unit="")
        unit, before = wanted.unit, self._of(wanted.unit)
        refusal = self._refusal(action, wanted, received_ns)
        if refusal:
            return [_audit(action, unit, "unit_mode_refused", received_ns, old=before, new=_words(wanted), reason=refusal)]
        self._set.pop(unit, None)
        if action.kind == "withdraw_mode":
            changes = self._settle(received_ns, received_ns, user=action.user, reason=action.reason)
            return [_audit(action, unit, "unit_mode_withdrawn", received_ns, old=before, new=self._of(unit), reason=action.reason), *changes]
        assert wanted.until_ns is not None
        self._set[unit] = Word(wanted.mode, wanted.until_ns, action.user, action.reason, received_ns)
        changes = self._settle(received_ns, received_ns, user=action.user, reason=action.reason, always=unit)
        return [_audit(action, unit, "unit_mode", received_ns, old=before, new=_words(wanted), reason=action.reason), *changes]

    def tick(self, tick_ns: int) -> list[Record]:
        """End what persons set and whose time is up."""
        records: list[Record] = []
        for unit in [unit for unit, word in self._set.items() if word.until_ns <= tick_ns]:
            word = self._set.pop(unit)
            changes = self._settle(tick_ns, tick_ns, reason="the time is up")
            why = f"the time is up; set by {word.user}: {word.reason}"
            ended = Audit(
                time_ns=tick_ns, user="pharmedge", role="system", action="unit_mode_ended", object=unit, old=word.mode, new=self._of(unit), reason=why
            )
            records += [ended, *changes]
        return records

    def _refusal(self, action: OperatorAction, wanted: UnitMode, received_ns: int) -> str:
        rules, longest_ns = self._rules, round(self._rules.longest_s * 1e9)
        if not action.user.strip():
            return f"{action.kind} needs the name of a user"
        if action.role not in rules.roles:
            return f"the mode of a unit is set by {' or '.join(rules.roles) or 'nobody'}, not by the role {action.role or 'of nobody'}"
        if not wanted.unit or not any(within(path, wanted.unit) for path in self._paths):
            return "there is no unit of this name"
        if action.kind == "withdraw_mode":
            return "" if wanted.unit in self._set else "nobody has set the mode of this unit, or its time is up"
        if wanted.mode not in MODES:
            return f"expected a mode of {', '.join(MODES)}, found {wanted.mode!r}"
        if not action.reason.strip():
            return "a mode needs a reason"
        if wanted.until_ns is None:
            return "a mode needs an end"
        if wanted.until_ns <= received_ns:
            return "its end is over already"
        if wanted.until_ns - received_ns > longest_ns:
            return f"a mode that a person sets ends after {rules.longest_s / 60:g} min at the latest"
        return ""

    def _of(self, path: str) -> str:
        """The mode in force at a unit, "production" where nobody said one."""
        for words in ({unit: word.mode for unit, word in self._set.items()}, self._said):
            for unit in reversed(words):
                if within(path, unit):
                    return words[unit]
        return MODES[0]

    def _settle(self, time_ns: int, received_ns: int, *, user: str = "", reason: str = "", always: str = "") -> list[Context]:
        """Bring everything up to date with the words; the changes, units before their parts. `always`: a unit whose end is news by itself."""
        before = self._now
        units = sorted({*self._said, *self._set, *before})
        self._now = {unit: self._of(unit) for unit in units}
        self._write()
        return [
            Context(
                unit=unit, role="mode", value=value, time_ns=time_ns, received_ns=received_ns, previous=before.get(unit, ""), user=user,
                reason=reason, until_ns=self._until(unit),
            )
            for unit, value in self._now.items()
            if before.get(unit) != value or unit == always
        ]  # fmt: skip

    def _until(self, path: str) -> int | None:
        return next((self._set[unit].until_ns for unit in reversed(self._set) if within(path, unit)), None)

    def _write(self) -> None:
        known: dict[str, int] = {}
        for i, path in enumerate(self._paths):
            if path not in known:
                known[path] = mode_index(self._of(path))
            self._mode[i] = known[path]
            self._evaluated[i] = MODES[known[path]] in JUDGED_MODES or self._always[i]

    def state(self) -> dict[str, Any]:
        """All words, in the order in which they were said; pairs, because a saved mapping may be ordered otherwise."""
        return {
            "said": [[unit, value] for unit, value in self._said.items()],
            "set": [[unit, msgspec.to_builtins(word)] for unit, word in self._set.items()],
            "acted": list(self._acted),
            "now": [[unit, value] for unit, value in self._now.items()],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state and switch every unit to its mode."""
        self._said = dict(state["said"])
        self._set = {unit: msgspec.convert(word, Word) for unit, word in state["set"]}
        self._acted = dict.fromkeys(state["acted"])
        self._now = dict(state["now"])
        self._write()

    def take_up(self, said: Mapping[str, str]) -> None:
        """Begin with what tags said and the gateway knows, in the order in which it was said; nobody has set a mode."""
        self._said, self._now = dict(said), dict(said)
        self._write()


def _words(wanted: UnitMode) -> str:
    until = "" if wanted.until_ns is None else f" until {datetime.fromtimestamp(wanted.until_ns / 1e9, UTC):%Y-%m-%dT%H:%M:%SZ}"
    return wanted.mode + until


def _audit(action: OperatorAction, unit: str, what: str, received_ns: int, *, old: str, new: str, reason: str) -> Audit:
    return Audit(
        time_ns=received_ns, user=action.user, role=action.role, station=action.station, action=what, object=unit, old=old, new=new,
        reason=reason, action_id=action.id,
    )  # fmt: skip
