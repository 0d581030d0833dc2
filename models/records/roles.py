"""Models of several tags of which each has a part to play: a counter, a state, a probe. They learn nothing unless they have a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from models.model import GroupConfig
from models.state import ArrayState

HOUR_NS: Final = 3_600_000_000_000
PENDING: Final = 16
"""Beginnings that may lie ahead of the next instant; of more the oldest are one with the next."""


class RolesConfig(GroupConfig):
    """A model whose tags are named one by one; their order is that of the roles, `tags` follows from them."""

    ordered: ClassVar[bool] = True
    roles: ClassVar[tuple[str, ...]] = ()
    """Fields that name a tag, or several, in the order in which the model sees them; those of a mapping in the order of its keys."""

    @model_validator(mode="before")
    @classmethod
    def _named(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        names: list[Any] = []
        for role in cls.roles:
            found = data.get(role)
            if isinstance(found, Mapping):
                names += [found[k] for k in sorted(found)]
            elif found:
                names += found if isinstance(found, list | tuple) else [found]
        return {**data, "tags": tuple(names)}

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        if len(set(self.tags)) != len(self.tags):
            raise ValueError(f"tags: expected each tag in one role, found {', '.join(self.tags)}")
        return self


class PeriodConfig(RolesConfig):
    """A model that counts per batch, phase or period of the clock."""

    per: Literal["batch", "phase", "period"] = "batch"
    """What is counted together: a batch or a phase of the unit as its text tags tell them, or a period of the clock."""
    every_h: float = Field(24.0, gt=0, le=24 * 31)
    """Hours of a period."""
    offset_h: float = Field(0.0, ge=-24, le=24)
    """Hours after midnight UTC at which periods begin."""


class Beginnings:
    """Times at which something new begins that the instants have not reached yet; the same however the instants are cut.

    waits (PENDING, 2): time and whether something is on from then (a batch) or nothing; -1 in the second column for a free place.
    """

    def __init__(self, per: str, every_h: float, offset_h: float) -> None:
        self.waits = np.full((PENDING, 2), -1, np.int64)
        self._every = round(every_h * HOUR_NS) if per == "period" else 0
        self._offset = round(offset_h * HOUR_NS)

    def begin(self, time_ns: int, on: bool) -> None:
        """Something begins, or ends with nothing behind it."""
        free = int((self.waits[:, 1] >= 0).sum())
        if free == PENDING:
            self.waits[:-1] = self.waits[1:]
            free -= 1
        self.waits[free] = time_ns, int(on)

    def cuts(self, time_ns: NDArray[np.int64]) -> list[tuple[int, int, bool]]:
        """Index of the first of the instants (n,) at or behind each beginning, its time, and whether something is on; those are taken off."""
        n = len(time_ns)
        if not n:
            return []
        if self._every:
            return self._periods(time_ns)
        due = (self.waits[:, 1] >= 0) & (self.waits[:, 0] <= time_ns[-1])
        found = [(int(np.argmax(time_ns >= t)), int(t), bool(on)) for t, on in self.waits[due]]
        rest = self.waits[~due & (self.waits[:, 1] >= 0)]
        self.waits[:] = -1
        self.waits[: len(rest)] = rest
        return sorted(found, key=lambda f: f[0])

    def _periods(self, time_ns: NDArray[np.int64]) -> list[tuple[int, int, bool]]:
        number = (time_ns - self._offset) // self._every
        last = int(self.waits[0, 0]) if self.waits[0, 1] >= 0 else None
        found = []
        for i, k in enumerate(number.tolist()):
            if last is None or k > last:
                found.append((i, k * self._every + self._offset, True))
                last = k
        self.waits[0] = (last if last is not None else -1), 1
        return found


class Counting(ArrayState):
    """Base of the models of roles: kernels over stretches between beginnings, their state as named arrays."""

    def __init__(self, config: Any) -> None:
        per = getattr(config, "per", "batch")
        self._beginnings = Beginnings(per, getattr(config, "every_h", 24.0), getattr(config, "offset_h", 0.0))
        self._state: dict[str, NDArray[Any]] = {"waits": self._beginnings.waits}

    def begin(self, time_ns: int, on: bool) -> None:
        """A batch or phase of the unit begins at a time, or ends with none behind it."""
        self._beginnings.begin(time_ns, on)

    def step(self, time_ns: NDArray[np.int64], value: NDArray[np.float64], usable: NDArray[np.uint8], out: NDArray[np.float64]) -> None:
        """Judge n instants in order; see `models.model.Group.step`."""
        at = 0
        for index, begin_ns, on in self._beginnings.cuts(time_ns):
            self._run(time_ns[at:index], value[at:index], usable[at:index], out[at:index])
            self._turn(begin_ns, on)
            at = index
        self._run(time_ns[at:], value[at:], usable[at:], out[at:])

    def _run(self, time_ns: NDArray[np.int64], value: NDArray[np.float64], usable: NDArray[np.uint8], out: NDArray[np.float64]) -> None:
        raise NotImplementedError

    def _turn(self, begin_ns: int, on: bool) -> None:
        raise NotImplementedError
