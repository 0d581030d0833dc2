"""Running the models of several tags: alignment, judgement, and derived values with the shares of the tags."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import numpy as np

from edge_agent.core import Context, Samples
from edge_agent.core.samples import Float64, Int64, UInt8
from edge_agent.core.status import qualities
from edge_agent.pipeline.align import Alignment
from edge_agent.pipeline.banks import UNFIT, Derived
from edge_agent.pipeline.modes import within
from models.drift import Drift, DriftConfig
from models.model import Group, GroupConfig

STAGE: Final = 1_000_000
"""Stage of the first model of several tags: they are told behind those of single tags."""


@dataclass(frozen=True, slots=True)
class Gathering:
    """Tags judged together by one model.

    tags     ids of its inputs; names are theirs
    outputs  ids of its derived tags, those of the watches behind them
    key      name and configuration, by which its state is found again after a change of configuration
    learned  arrays of a static model
    watched  columns of outputs whose drift is watched, to their calibration
    unit     equipment unit of its first tag, whose batches and phases it may count by
    """

    config: GroupConfig
    tags: tuple[int, ...]
    names: tuple[str, ...]
    outputs: tuple[int, ...]
    key: str
    step_ns: int
    hold_ns: int
    learned: Mapping[str, Any] | None = None
    watched: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    unit: str = ""


class _Seat:
    def __init__(self, make: Callable[[GroupConfig, int], Group], gathering: Gathering, tags: int, stage: int, simulated: bool) -> None:
        self.gathering, self.stage, self.simulated = gathering, stage, simulated
        self.group = make(gathering.config, len(gathering.tags))
        if gathering.learned is not None:
            self.group.settle(gathering.learned)
        self.drift = Drift([DriftConfig(tags=gathering.names)] * len(gathering.watched))
        for slot, calibration in enumerate(gathering.watched.values()):
            self.drift.settle(slot, calibration)
        place = np.full(tags, -1, np.int32)
        place[list(gathering.tags)] = np.arange(len(gathering.tags))
        self.alignment = Alignment(place, len(gathering.tags), gathering.step_ns, gathering.hold_ns)

    def step(self, rows: Samples, usable: UInt8) -> Derived | None:
        instants = self.alignment.step(rows.time_ns, rows.tag, rows.value, usable, rows.status)
        if not len(instants):
            return None
        n_outputs, reasons = len(self.gathering.outputs), self.group.reasons
        n_said = n_outputs - len(self.gathering.watched)
        said = np.full((len(instants), n_said + len(reasons) + len(self.gathering.tags)), np.nan)
        self.group.step(instants.time_ns, instants.value, instants.usable, said)
        out = np.concatenate([said[:, :n_said], *self._drifts(instants.time_ns, said), said[:, n_said:]], axis=1)
        at, column = np.nonzero(~np.isnan(out[:, :n_outputs]))
        if not len(at):
            return None
        samples = Samples(
            instants.time_ns[at],
            np.array(self.gathering.outputs, np.int32)[column],
            np.ascontiguousarray(out[at, column]),
            instants.status[at],
            rows.received_ns,
        )
        fate = np.asarray(qualities(samples.status, simulated=self.simulated), np.uint8)
        # Only usable inputs enter an output: what is said at all may be judged.
        used = np.ones(len(at), np.uint8)
        return Derived(samples, fate, used, instants.row[at], self.stage, (*reasons, *self.gathering.names), out[at, n_outputs:])

    def turned(self, change: Context) -> None:
        if getattr(self.gathering.config, "per", "") == change.role and within(self.gathering.unit, change.unit):
            self.group.begin(change.time_ns, bool(change.value))

    def _drifts(self, time_ns: Int64, said: Float64) -> list[Float64]:
        """Column of the watch over each watched output."""
        found = []
        for slot, column in enumerate(self.gathering.watched):
            out = np.empty((len(said), len(self.drift.outputs) + len(self.drift.reasons)))
            every = np.ones(len(said), np.uint8)
            self.drift.step(np.full(len(said), slot, np.int32), time_ns, np.ascontiguousarray(said[:, column]), every, out)
            found.append(out[:, :1])
        return found

    def state(self) -> dict[str, Any]:
        return {"alignment": self.alignment.state(), "group": self.group.state(), "drift": self.drift.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.alignment.restore(state["alignment"])
        self.group.restore(state["group"])
        if "drift" in state:  # a checkpoint of an earlier version has none
            self.drift.restore(state["drift"])


class Groups:
    """All models of several tags on this edge."""

    def __init__(self, gatherings: Sequence[tuple[Callable[[GroupConfig, int], Group], Gathering]], tags: int, *, simulated: bool) -> None:
        self._begin = [partial(_Seat, make, gathering, tags, STAGE + i, simulated) for i, (make, gathering) in enumerate(gatherings)]
        self._seats = [begin() for begin in self._begin]
        self.untaught: list[str] = []
        """Models that could not take up their state at the last `restore`, with the reason."""

    def tell(self, tags: Collection[int], role: str, value: str, time_ns: int) -> None:
        """The unit of these tags says that a batch or phase has begun: models of batches begin a way anew."""
        for seat in self._seats:
            said: Callable[[str, str, int], None] | None = getattr(seat.group, "tell", None)
            if said is not None and any(tag in tags for tag in seat.gathering.tags):
                said(role, value, time_ns)

    def step(self, rows: Samples, usable: UInt8) -> list[Derived]:
        """Derived rows, one `Derived` per model that has something to say; `origin` counts in `rows`."""
        return [derived for seat in self._seats if (derived := seat.step(rows, usable)) is not None]

    def turned(self, change: Context) -> None:
        """A batch or phase of a unit began or ended: what is counted by it begins anew."""
        for seat in self._seats:
            seat.turned(change)

    def renew(self, outputs: Collection[int]) -> None:
        """What these derived tags are about was made as new: what their models saw of it before counts no more."""
        for seat in self._seats:
            begin: Callable[[], None] | None = getattr(seat.group, "renew", None)
            if begin is not None and any(tag in outputs for tag in seat.gathering.outputs):
                begin()

    def state(self) -> dict[str, Any]:
        """States by key."""
        return {seat.gathering.key: seat.state() for seat in self._seats}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state; models that are new or changed start untaught."""
        self.untaught = []
        for i, seat in enumerate(self._seats):
            found = state.get(seat.gathering.key)
            if found is None:
                continue
            try:
                seat.restore(found)
            except UNFIT as error:
                self._seats[i] = self._begin[i]()
                self.untaught.append(f"{seat.gathering.config.name}: {type(error).__name__}: {error}")
