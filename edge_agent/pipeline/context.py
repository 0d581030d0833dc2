"""Batch context and modes of equipment units, from text tags (ISA-88, domain: samples outside a phase belong to no phase)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_agent.core import MODES, Catalogue, Context, Tag, Texts

_EVALUATED: Final = frozenset({"production", "simulation"})
_ALWAYS: Final = frozenset({"safety", "environment"})
"""Classes judged in every mode: cleaning makes no gas leak harmless."""

REMEMBERED: Final = 64
"""Texts remembered per tag to recognise a repetition."""


def _belongs(tag: Tag, unit: str) -> bool:
    return tag.unit_path == unit or tag.unit_path.startswith(unit + "/")


class Units:
    """What each unit is doing; writes `mode` and `evaluated`, both (tags,) uint8, when a unit changes its mode."""

    def __init__(self, catalogue: Catalogue, mode: NDArray[np.uint8], evaluated: NDArray[np.uint8]) -> None:
        self._catalogue, self._mode, self._evaluated = catalogue, mode, evaluated
        self._now: dict[str, str] = {}
        self._since: dict[str, int] = {}
        self._seen: dict[int, list[tuple[int, str]]] = {}

    def fresh(self, texts: Texts) -> Texts:
        """The texts without those that came before with the same time and value: a broker delivers again what was not acknowledged."""
        rows = []
        for i, (time_ns, tag_id, value) in enumerate(zip(texts.time_ns, texts.tag, texts.value, strict=True)):
            seen = self._seen.setdefault(tag_id, [])
            if (time_ns, value) not in seen:
                rows.append(i)
                seen.append((time_ns, value))
                del seen[:-REMEMBERED]
        if len(rows) == len(texts):
            return texts
        return Texts(
            tuple(texts.time_ns[i] for i in rows),
            tuple(texts.tag[i] for i in rows),
            tuple(texts.value[i] for i in rows),
            tuple(texts.status[i] for i in rows),
            texts.received_ns,
        )

    def step(self, texts: Texts) -> list[Context]:
        """Changes of context that these texts bring, in their order; a text with bad quality or the value it had changes nothing."""
        changes: list[Context] = []
        for time_ns, tag_id, value, status in zip(texts.time_ns, texts.tag, texts.value, texts.status, strict=True):
            tag = self._catalogue[tag_id]
            if tag.role == "value" or status >> 30 >= 2:
                continue
            key = f"{tag.unit_path}\n{tag.role}"
            previous = self._now.get(key)
            if time_ns < self._since.get(key, time_ns):
                continue  # older than what is in force: it must not bring back a mode or a batch that is over
            self._since[key] = time_ns
            if previous == value:
                continue
            self._now[key] = value
            if tag.role == "mode":
                self._switch(tag.unit_path, value)
            changes.append(
                Context(
                    unit=tag.unit_path,
                    role=tag.role,
                    value=value,
                    time_ns=time_ns,
                    received_ns=texts.received_ns,
                    tag=tag_id,
                    previous=previous or "",
                )
            )
        return changes

    def _switch(self, unit: str, value: str) -> None:
        # An unknown mode is judged like production: a misspelt text must not silence alarms.
        name = value.strip().lower()
        index = MODES.index(name) if name in MODES else 0
        for tag in self._catalogue:
            if _belongs(tag, unit):
                self._mode[tag.id] = index
                self._evaluated[tag.id] = MODES[index] in _EVALUATED or tag.class_ in _ALWAYS

    def state(self) -> dict[str, Any]:
        """Current texts by unit and role."""
        seen = {str(tag): [[t, v] for t, v in rows] for tag, rows in self._seen.items()}
        return {"now": dict(self._now), "since": dict(self._since), "seen": seen}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state and switch every unit to its mode."""
        self._now, self._since = dict(state["now"]), dict(state["since"])
        self._seen = {int(tag): [(t, v) for t, v in rows] for tag, rows in state["seen"].items()}
        for key, value in self._now.items():
            unit, _, role = key.partition("\n")
            if role == "mode":
                self._switch(unit, value)
