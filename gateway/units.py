"""Modes of equipment units as their edges tell them, and what people asked of them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final

from edge_agent.core import MODES, AlarmDefinition, Context, OperatorAction, Tag
from edge_agent.core.tag import JUDGED_MODES, UNMODED
from gateway.catalog import EdgeTags
from gateway.rows import ModeRow, UnitRow

LIMITS: Final = frozenset({"limit", "deviation", "rate", "discrete", "expression"})
"""Kinds of alarms that a mode keeps from being judged; diagnostics of the edge go on."""


UNIT: Final = "unit:"


def subject(edge: str, unit: str) -> str:
    """What an action about a unit is about, where actions about alarms have an occurrence.

    >>> subject("press-edge-1", "line1/press1")
    'unit:press-edge-1/line1/press1'
    """
    return f"{UNIT}{edge}/{unit}"


def mode_of(known: EdgeTags, path: str) -> Context | None:
    """What its edge said last of the mode of a unit, or of the unit that it is a part of."""
    while path:
        if path in known.modes:
            return known.modes[path][-1]
        path = path.rpartition("/")[0]
    return None


def held(known: EdgeTags | None, definition: AlarmDefinition | None, tag: Tag | None) -> str:
    """The mode in which the limit of an alarm is not judged now; empty when it is judged."""
    if known is None or definition is None or tag is None or definition.kind not in LIMITS or tag.class_ in UNMODED:
        return ""
    told = mode_of(known, tag.unit_path)
    mode = told.value.strip().lower() if told is not None else MODES[0]
    return mode if mode in MODES and mode not in JUDGED_MODES else ""


def units(known: EdgeTags) -> list[str]:
    """Paths of the units of an edge: those that tags belong to, and those of which somebody said a mode."""
    return sorted({tag.unit_path for tag in known.tags if not tag.derived_from and tag.unit_path} | set(known.modes))


def unit_rows(known: EdgeTags, asked: Sequence[OperatorAction]) -> list[UnitRow]:
    """What is shown of the units of an edge; `asked`: its outstanding actions."""
    waiting = {a.unit_mode.unit: a for a in asked if a.unit_mode is not None}
    rows: list[UnitRow] = []
    for unit in units(known):
        told = mode_of(known, unit)
        wish = waiting.get(unit)
        rows.append(
            {
                "unit": unit,
                "mode": told.value if told is not None else MODES[0],
                "since_ns": told.time_ns if told is not None else None,
                "until_ns": told.until_ns if told is not None else None,
                "user": told.user if told is not None else "",
                "reason": told.reason if told is not None else "",
                "asked": wish.unit_mode.mode if wish is not None and wish.unit_mode is not None else None,
                "asked_by": wish.user if wish is not None else "",
                "action_id": wish.id if wish is not None else "",
            }
        )
    return rows


def mode_rows(known: EdgeTags, from_ns: int, to_ns: int) -> list[ModeRow]:
    """Spans of modes of an edge's units that touch [from_ns, to_ns), by unit and time."""
    rows: list[ModeRow] = []
    for unit, told in sorted(known.modes.items()):
        first = max(0, bisect_right(told, from_ns, key=_time) - 1)
        for i in range(first, len(told)):
            if told[i].time_ns >= to_ns:
                break
            end = told[i + 1].time_ns if i + 1 < len(told) else None
            rows.append(
                {
                    "edge": known.edge, "unit": unit, "mode": told[i].value, "from_ns": told[i].time_ns, "to_ns": end, "user": told[i].user,
                    "reason": told[i].reason,
                }
            )  # fmt: skip
    return rows


def _time(context: Context) -> int:
    return context.time_ns
