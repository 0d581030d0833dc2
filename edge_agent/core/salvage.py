"""Reading on after a mistake: what is right in a configuration is kept, so that mistakes between its sections are found in the same look."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import pydantic

Place = tuple[str | int, ...]
_TRIES: Final = 20
_GONE: Final = object()


class Salvage:
    """A copy of raw data from which wrong parts are cut out until the rest can be read.

    A wrong optional key is left out; an item of a top-level list that cannot be read without it is taken out whole, and its name remembered:
    a reference to it is not a further mistake. `placeholders` stand in for wrong values that nothing can be read without.
    """

    def __init__(self, data: Mapping[str, Any], placeholders: Mapping[Place, Any]) -> None:
        self._data: dict[str, Any] = copy.deepcopy(dict(data))
        self._placeholders = placeholders
        self._names: set[str] = set()
        self._parted: set[Place] = set()

    def read(self, validate: Callable[[Any], Any], place_of: Callable[[tuple[int | str, ...], Any], Place]) -> Any | None:
        """The settings of what can be read; None when too much is wrong."""
        for _ in range(_TRIES):
            data, origin = self._compact()
            try:
                return validate(data)
            except pydantic.ValidationError as error:
                found = error.errors(include_url=False)
                places = [(self._original(place_of(e["loc"], data), origin), e["type"] == "missing") for e in found]
            cut = [self._cut(place, missing=missing) for place, missing in places]
            if not all(cut):
                return None
        return None

    def sound(self, mistakes: Iterable[tuple[Place, str, str]]) -> list[tuple[Place, str, str]]:
        """Mistakes between sections, at their places in the original data, without those that only follow from what was cut out."""
        _, origin = self._compact()
        placed = [(self._original(place, origin), expected, found) for place, expected, found in mistakes if found not in self._names]
        # What is said of an item as a whole is about which keys it has: one that was cut out is not missing.
        return [mistake for mistake in placed if mistake[0] not in self._parted]

    def _compact(self) -> tuple[dict[str, Any], dict[str, list[int]]]:
        data: dict[str, Any] = {}
        origin: dict[str, list[int]] = {}
        for key, value in self._data.items():
            if isinstance(value, list):
                origin[key] = [i for i, item in enumerate(value) if item is not _GONE]
                data[key] = [value[i] for i in origin[key]]
            else:
                data[key] = value
        return data, origin

    @staticmethod
    def _original(place: Place, origin: Mapping[str, list[int]]) -> Place:
        match place:
            case (str(section), int(index), *rest) if section in origin and index < len(origin[section]):
                return (section, origin[section][index], *rest)
        return place

    def _cut(self, place: Place, *, missing: bool) -> bool:
        if not place:
            return False
        if place in self._placeholders:
            self._put(place, self._placeholders[place])
            return True
        parent: Any = self._data
        for part in place[:-1]:
            if parent is _GONE or (isinstance(parent, dict) and part not in parent):
                return True  # cut out already, with another mistake
            parent = parent[part]
        if isinstance(parent, dict) and not missing and place[-1] in parent and not (len(place) == 3 and place[-1] == "name"):
            del parent[place[-1]]
            self._parted.add(place[:2])
            return True
        match place:
            case (str(section), int(index), *_) if isinstance(self._data.get(section), list):
                item = self._data[section][index]
                if isinstance(item, dict):
                    self._names.add(repr(item.get("name")))
                self._data[section][index] = _GONE
                return True
            case (str(section), *_) if section in self._data:
                del self._data[section]
                return True
        return False

    def _put(self, place: Place, value: Any) -> None:
        parent: Any = self._data
        for part in place[:-1]:
            inner = parent.get(part)
            if not isinstance(inner, dict):
                inner = parent[part] = {}
            parent = inner
        parent[place[-1]] = value
