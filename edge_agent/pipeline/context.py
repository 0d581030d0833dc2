"""Batch context of equipment units, from text tags (ISA-88, domain: samples outside a phase belong to no phase)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from edge_agent.core import Catalogue, Context, Texts
from edge_agent.pipeline.modes import Modes

REMEMBERED: Final = 64
"""Texts remembered per tag to recognise a repetition."""


class Units:
    """What each unit is doing, as its text tags say; modes go on to `Modes`, where persons have a word too."""

    def __init__(self, catalogue: Catalogue, modes: Modes) -> None:
        self._catalogue, self._modes = catalogue, modes
        self._now: dict[str, str] = {}
        self._since: dict[str, int] = {}
        self._seen: dict[int, list[tuple[int, str]]] = {}

    def fresh(self, texts: Texts, *, news: bool = True) -> Texts:
        """The texts without those that came before with the same time and value: a broker delivers again what was not acknowledged.

        What a history brings is no `news`: it does not drive out the newest texts, which a new subscription shows again.
        """
        rows = []
        for i, (time_ns, tag_id, value) in enumerate(zip(texts.time_ns, texts.tag, texts.value, strict=True)):
            seen = self._seen.setdefault(tag_id, [])
            if (time_ns, value) not in seen:
                rows.append(i)
                if news:
                    seen.append((time_ns, value))
                    del seen[:-REMEMBERED]
        return texts if len(rows) == len(texts) else texts.take(rows)

    def step(self, texts: Texts) -> Iterator[list[Context]]:
        """The changes of context that each of these texts brings, text by text; one with bad quality or the value it had changes nothing."""
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
                yield self._modes.said(tag.unit_path, value, time_ns, texts.received_ns, tag_id)
                continue
            change = Context(
                unit=tag.unit_path, role=tag.role, value=value, time_ns=time_ns, received_ns=texts.received_ns, tag=tag_id, previous=previous or ""
            )
            yield [change]

    @property
    def modes(self) -> dict[str, str]:
        """The mode of each unit as its tag said it last, in the order in which they were said."""
        said = [(key.rpartition("\n"), value) for key, value in sorted(self._now.items(), key=lambda item: self._since[item[0]])]
        return {unit: value for (unit, _, role), value in said if role == "mode"}

    def state(self) -> dict[str, Any]:
        """Current texts by unit and role."""
        seen = {str(tag): [[t, v] for t, v in rows] for tag, rows in self._seen.items()}
        return {"now": dict(self._now), "since": dict(self._since), "seen": seen}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state."""
        self._now, self._since = dict(state["now"]), dict(state["since"])
        self._seen = {int(tag): [(t, v) for t, v in rows] for tag, rows in state["seen"].items()}
