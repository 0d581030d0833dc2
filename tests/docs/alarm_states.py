"""The diagram and the tables of docs/alarms.md, from the tables the program itself runs on.

`python -m tests.docs.alarm_states` writes them anew.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from edge_agent.alarms import AlarmRules
from edge_agent.alarms.states import COVERED, LATCHING_TRANSITIONS, OVERLAYS, TRANSITIONS, UNDERNEATH, Cause
from edge_agent.config.alarm_csv import COLUMNS
from edge_agent.core.alarm import ANNUNCIATED, State

FILE: Final = Path(__file__).parents[2] / "docs" / "alarms.md"
_BETWEEN: Final = re.compile(r"(<!-- (\w+): begin -->\n).*?(<!-- \2: end -->)", re.DOTALL)


def _arrows(table: dict[State, dict[Cause, State]]) -> list[str]:
    return [f"    {state} --> {following}: {cause.replace('_', '-')}" for state, row in table.items() for cause, following in row.items()]


def diagram() -> str:
    """The lives of an alarm as a Mermaid state diagram."""
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> NORM"]
    lines += dict.fromkeys(
        [*_arrows(TRANSITIONS), *(f"{arrow} (latching)" for arrow in _arrows(LATCHING_TRANSITIONS) if arrow not in _arrows(TRANSITIONS))]
    )
    return "\n".join([*lines, "```", ""])


def overlays() -> str:
    """What a suppression leaves of each state, and what is called when the last one leaves."""
    lines = ["| state before | underneath | condition then met | condition then over | after the last suppression |", "|---|---|---|---|---|"]
    for state, under in COVERED.items():
        after = [UNDERNEATH[under].get(cause, "-") for cause in ("raise", "clear")]
        lines.append(f"| {state} | {under} | {after[0]} | {after[1]} | UNACK if the condition is met, else NORM |")
    shown = ", ".join(f"{name} ({word.replace('_', ' ')})" for _, word, name in OVERLAYS)
    return "\n".join(
        [*lines, "", f"Shown instead of the state, the strongest first: {shown}. Sounding states: {', '.join(sorted(ANNUNCIATED))}.", ""]
    )


def rules() -> str:
    """Who may shelve what, by default."""
    lines = ["| class of the tag | priority | roles | a second person | longest |", "|---|---|---|---|---|"]
    for r in AlarmRules().shelve:
        classes, second = ", ".join(r.classes) or "any other", ", ".join(r.second_roles) or "-"
        lines.append(f"| {classes} | {', '.join(map(str, r.priorities))} | {', '.join(r.roles)} | {second} | {r.max_s / 60:g} min |")
    return "\n".join([*lines, ""])


def columns() -> str:
    """Columns of the alarm database."""
    return "`" + "`, `".join(COLUMNS) + "`\n"


BLOCKS: Final = {"diagram": diagram, "overlays": overlays, "rules": rules, "columns": columns}


def renewed(text: str) -> str:
    """The page with its blocks as the tables say now."""
    return _BETWEEN.sub(lambda match: match[1] + BLOCKS[match[2]]() + match[3], text)


if __name__ == "__main__":
    FILE.write_text(renewed(FILE.read_text("utf-8")), "utf-8")
