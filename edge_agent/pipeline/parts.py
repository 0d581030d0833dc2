"""The parts of the chain as one Start entry plans them, and their state for a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from edge_agent.alarms import Alarms
from edge_agent.core import Catalogue, Start, decode, encode
from edge_agent.pipeline.advisor import Advisor
from edge_agent.pipeline.context import Units
from edge_agent.pipeline.diverters import Diverters
from edge_agent.pipeline.machines import Machines
from edge_agent.pipeline.modes import Modes
from edge_agent.pipeline.plan import TagArrays, banks_of, groups_of, plan_of
from edge_agent.pipeline.quality import Screen
from edge_agent.pipeline.recorded import Recorder
from edge_agent.pipeline.sensors import Sensors
from edge_agent.pipeline.silence import Silence
from edge_agent.pipeline.streams import Streams
from edge_agent.pipeline.ticks import NEVER, Watermark, seconds_ns
from edge_agent.pipeline.windows import Windows


class Parts:
    """What the chain consists of; each part keeps the state of its own work.

    tick_ns   the last tick that was run
    bad       (tags,) 1 where the last value had bad quality
    """

    def __init__(self, start: Start) -> None:
        """Everything as at the very beginning; msgspec.ValidationError when the plan in `start` is none."""
        self._start = encode(start)
        self.defined = msgspec.structs.replace(start, config={}, models={})
        """The entry that planned them without its plan: the tags and alarms as objects."""
        plan = plan_of(start)
        # The entry as objects, with a judgement for each tag and model, takes tens of megabytes; it is asked for at the next start alone.
        self.plan = msgspec.structs.replace(plan, judgements=(), tag_source={})
        """What holds for all; the judgements and the source of each tag are in `start`."""
        self.tick_ns = 0
        self.catalogue = catalogue = Catalogue(start.tags)
        self.tags = tags = TagArrays(catalogue, plan)
        self.sources = {source.name: i for i, source in enumerate(plan.sources)}
        self.watermark = Watermark(seconds_ns(plan.idle_s))
        self.screen = Screen(
            tags.low, tags.high, tags.group, simulated=plan.simulated, skew_ns=tags.skew_ns, source=tags.source, sources=tuple(self.sources)
        )
        self.windows = Windows(seconds_ns(plan.window_s), tags.group, tags.lateness_ns, tags.version)
        self.silence = Silence(tags.expected_ns, tags.source, tags.lossy, len(plan.sources))
        self.modes = Modes(catalogue, self.windows.mode, self.screen.evaluated, plan.mode_rules)
        self.units = Units(catalogue, self.modes)
        self.recorder = Recorder(tags.raw, tags.changes)
        self.banks = banks_of(plan, catalogue)
        self.groups = groups_of(plan, catalogue)
        self.streams = Streams()
        self.sensors = Sensors(plan.sensors, catalogue)
        self.machines = Machines(plan.machines, catalogue)
        self.diverters = Diverters(plan.diverters, catalogue, tags.source, simulated=plan.simulated)
        self.advisor = Advisor(plan, catalogue)
        self.alarms = Alarms(start.alarms, catalogue, plan.alarm_rules)
        self.alarm_names = frozenset(a.name for a in start.alarms)
        self.bad = np.zeros(len(catalogue), np.uint8)

    @property
    def start(self) -> Start:
        """The entry that planned them; unpacked at each call."""
        return _start_in(self._start)

    @property
    def due_ns(self) -> int:
        """The earliest time at which a tick could have something to do if nothing more arrives."""
        waits = self.windows.waits_for_ns
        return min(
            NEVER if waits == NEVER else self.watermark.reaches_ns(waits),
            self.windows.supplement_due_ns(self.tick_ns),
            self.silence.due_ns,
            self.alarms.due_ns,
            self.modes.due_ns,
            self.diverters.due_ns,
        )

    def _with_state(self) -> dict[str, Any]:
        return {
            "watermark": self.watermark,
            "screen": self.screen,
            "windows": self.windows,
            "silence": self.silence,
            "modes": self.modes,
            "units": self.units,
            "recorder": self.recorder,
            "banks": self.banks,
            "groups": self.groups,
            "diverters": self.diverters,
            "streams": self.streams,
            "machines": self.machines,
            "advisor": self.advisor,
            "alarms": self.alarms,
        }

    def state(self) -> dict[str, Any]:
        """The Start entry, the last tick and the state of every part: for `edge_agent.core.pack`."""
        start = np.frombuffer(self._start, np.uint8)
        return {"start": start, "tick_ns": self.tick_ns, "bad": self.bad.copy(), **{name: part.state() for name, part in self._with_state().items()}}

    def take_up(self, state: Mapping[str, Any]) -> None:
        """Go on from a state, also one of another plan: what no longer fits begins anew."""
        self.tick_ns = state["tick_ns"]
        self.bad[: len(state["bad"])] = state["bad"]
        for name, part in self._with_state().items():
            if name in state:  # a checkpoint of an earlier version knows fewer parts
                part.restore(state[name])
        if "modes" not in state:  # an earlier version kept the modes with the other texts
            self.modes.take_up(self.units.modes)

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> Parts:
        """The parts that gave this state."""
        parts = cls(_start_in(state["start"].tobytes()))
        parts.take_up(state)
        return parts


def _start_in(data: bytes) -> Start:
    start = decode(data)
    if not isinstance(start, Start):
        raise ValueError(f"pipeline state: expected a Start entry, found {type(start).__name__}")
    return start
