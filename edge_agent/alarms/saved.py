"""The lives of alarms as columns of a checkpoint, and back, also into other definitions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from edge_agent.alarms.kernels import NEVER
from edge_agent.alarms.lives import Lives
from edge_agent.alarms.states import STATES, Suppression
from edge_agent.core import AlarmEvent

_COLUMNS = ("state", "suppression", "raised_ns", "last_ns", "status")


def lives_state(kept: Lives) -> dict[str, Any]:
    """Everything that `lives_from` needs, as independent copies."""
    lives, names = kept.lives, [d.name for d in kept.definitions]
    return {
        "names": names,
        "versions": [d.version for d in kept.definitions],
        "state": np.array([STATES.index(life.state) for life in lives], np.uint8),
        "suppression": np.array([int(life.suppression) for life in lives], np.uint8),
        "raised_ns": np.array([life.raised_ns for life in lives], np.int64),
        "last_ns": np.array([life.last_ns for life in lives], np.int64),
        "status": np.array([life.status for life in lives], np.uint32),
        "timers": kept.timers.copy(),
        "said": {
            name: [life.value, life.explanation, life.acked_by, life.acked_ns] for name, life in zip(names, lives, strict=True) if life.raised_ns >= 0
        },
        "suppressed": {
            name: [life.by_mode, names[life.by] if life.by >= 0 else "", life.one_shot, life.permit, life.why]
            for name, life in zip(names, lives, strict=True)
            if life.suppression
        },
        "first": {group: names[a] for group, a in kept.first.items()},
        "standing": {
            kept.definitions[a].name: msgspec.to_builtins(kept.ended(a, "definition removed", (0, 0)))
            for a, life in enumerate(lives)
            if life.shown != "NORM"
        },
    }


def lives_from(kept: Lives, state: Mapping[str, Any]) -> tuple[list[tuple[int, int]], list[AlarmEvent]]:
    """Fill new lives from a state of `lives_state`.

    Returns (row of the state, alarm) of every definition that is the same, and the events that end what stood under one that is not. Raises
    KeyError, TypeError, ValueError or msgspec.ValidationError when it is none.
    """
    names, versions = list(state["names"]), list(state["versions"])
    columns = {key: np.asarray(state[key]).tolist() for key in _COLUMNS}
    timers = np.asarray(state["timers"], np.int64) if "timers" in state else np.full((len(names), 2), NEVER, np.int64)
    lengths = {len(names), len(versions), len(timers), *(len(c) for c in columns.values())}
    if len(lengths) != 1 or timers.shape[1:] != kept.timers.shape[1:]:
        raise ValueError(f"alarms: expected columns of one length, found {sorted(lengths)}")
    ends = {name: msgspec.convert(e, AlarmEvent) for name, e in state["standing"].items()}
    said, suppressed = state["said"], state.get("suppressed", {})
    same: list[tuple[int, int]] = []
    ended: list[AlarmEvent] = []
    for row, (name, version) in enumerate(zip(names, versions, strict=True)):
        a = kept.index.get(name)
        if a is None or kept.definitions[a].version != version:
            if name in ends:
                ended.append(msgspec.structs.replace(ends[name], explanation="definition removed" if a is None else "definition changed"))
            if a is not None:
                kept.lives[a].raised_ns = columns["raised_ns"][row]
            continue
        same.append((row, a))
        life = kept.lives[a]
        life.state, life.suppression = STATES[columns["state"][row]], Suppression(columns["suppression"][row])
        life.raised_ns, life.last_ns, life.status = columns["raised_ns"][row], columns["last_ns"][row], columns["status"][row]
        kept.timers[a] = timers[row]
        if name in said:
            life.value, life.explanation, life.acked_by, life.acked_ns = said[name]
        if name in suppressed:
            life.by_mode, cause, life.one_shot, life.permit, life.why = suppressed[name]
            life.by = kept.index.get(cause, -1)
        life.causing = life.met and not life.suppression
    kept.first = {group: kept.index[name] for group, name in state.get("first", {}).items() if name in kept.index}
    kept.forget_first()
    return same, ended
