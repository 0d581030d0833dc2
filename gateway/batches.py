"""Which batch a unit was making when, from what edges told (ISA-88): audit entries cite it, and a reviewer asks by it."""

from __future__ import annotations

from bisect import bisect_right, insort
from typing import TypedDict

from edge_agent.core import Context

NONE = frozenset({"", "-", "none"})
"""Texts that say that there is no batch."""


class BatchRow(TypedDict):
    """One batch in one unit; `to_ns` is None while it goes on."""

    batch: str
    edge: str
    unit: str
    from_ns: int
    to_ns: int | None


class Batches:
    """The batches of all units; one thread tells, any may ask."""

    def __init__(self) -> None:
        self._steps: dict[tuple[str, str], list[tuple[int, str]]] = {}

    def told(self, edge: str, context: Context) -> None:
        """Take in a change of context; roles other than batch are not ours."""
        if context.role == "batch":
            steps = self._steps.setdefault((edge, context.unit), [])
            step = (context.time_ns, context.value.strip())
            if step not in steps:
                insort(steps, step)

    def at(self, edge: str, unit: str, time_ns: int) -> str:
        """The batch in a unit, or in the nearest one that it is part of, at some time; empty without one.

        >>> b = Batches()
        >>> b.told("e", Context(unit="line/press", role="batch", value="B7", time_ns=5, received_ns=5))
        >>> b.at("e", "line/press/feeder", 6), b.at("e", "line/press", 4), b.at("e", "line/coater", 6)
        ('B7', '', '')
        """
        while unit:
            steps = list(self._steps.get((edge, unit), ()))
            if steps:
                i = bisect_right(steps, time_ns, key=lambda s: s[0]) - 1
                found = steps[i][1] if i >= 0 else ""
                return "" if found.lower() in NONE else found
            unit = unit.rpartition("/")[0]
        return ""

    def rows(self) -> list[BatchRow]:
        """Every batch of every unit, the newest first."""
        found: list[BatchRow] = []
        for (edge, unit), steps in list(self._steps.items()):
            ends = [*(at for at, _ in steps[1:]), None]
            for (at, batch), end in zip(list(steps), ends, strict=False):
                if batch.lower() not in NONE:
                    found.append({"batch": batch, "edge": edge, "unit": unit, "from_ns": at, "to_ns": end})
        return sorted(found, key=lambda row: (-row["from_ns"], row["edge"], row["unit"]))
