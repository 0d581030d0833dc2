"""Diverters of continuous lines: feeders' flows and instruments in, a divert request with reason, watchdog and validity out, at ticks.

We never write: the request is served, and whoever reads it treats a stale one as a divert.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
import pydantic
from numpy.typing import NDArray

from edge_agent.core import Catalogue, Samples
from edge_agent.core.divert import DivertNow
from edge_agent.core.samples import Float64, Int32, Int64, UInt8
from edge_agent.core.status import BAD_WAITING_FOR_INITIAL_DATA, GOOD, UNCERTAIN_SIMULATED
from edge_agent.pipeline.ticks import NEVER, SECOND_NS, seconds_ns
from models.compiled import kernel
from models.material.divert import ACCOUNTS, Decided, Divert, Feed, Rules, blend
from models.material.residence import Residence, train
from models.material.tracking import Train

UNITS: Final = {
    "divert_request": "", "reason": "", "state": "", "watchdog": "", "valid_until": "s", "mismatch": "", "low": "%", "high": "%", "feed": "%",
    "limit_low": "%", "limit_high": "%",
    "flow": "kg/h", "starts_s": "s", "ends_s": "s", "accepted_kg": "kg", "diverted_kg": "kg", "unconfirmed_kg": "kg", "against_kg": "kg",
    "unseen_s": "s",
}  # fmt: skip
OUTPUTS: Final = tuple(UNITS)
"""Derived tags of a diverter: `<name>.<output>`. reason is a sum of 1 feed, 2 measured, 4 feed unknown, 8 instrument unknown, 16 not running,
32 start; state 0 normal, 1 pending, 2 diverting, 3 clearing."""
KEPT: Final = frozenset({"divert_request", "reason", "state", "mismatch", "limit_low", "limit_high", "starts_s", "ends_s", *ACCOUNTS})
"""Recorded at every change."""
LEDGER_EVERY_NS: Final = 10 * SECOND_NS
"""The accounts are told so often, and whenever the request, its reason or the diverter changes."""
WATCHDOG: Final = 65_536
MOST_PARCELS: Final = 2000
"""Steps that material may be in a line at most: what is coming is looked at in full."""
MOST_FLOW: Final = 100.0
"""A feeder's flow beyond so many times the line's nominal one is no flow but garbage: then it is not known."""
MEMORY: Final = 64
"""Values of an instrument that may be averaged at most."""
_residence: Final[pydantic.TypeAdapter[Any]] = pydantic.TypeAdapter(Residence)


class FeederPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One feeder; shares, not percent."""

    tag: str
    content: float
    uncertainty: float
    refill: str = ""
    refill_low: float = 1.0
    refill_high: float = 1.0


class SectionPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Units in a row, and perhaps an instrument behind them."""

    units: tuple[dict[str, Any], ...]
    instrument: str = ""
    uncertainty: float = 0.0
    values: int = 1
    hold_s: float = 10.0
    required: bool = True


class DiverterPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One diverter at the end of a line."""

    name: str
    outputs: tuple[str, ...]
    feeders: tuple[FeederPlan, ...]
    sections: tuple[SectionPlan, ...]
    target: float
    """Share of the component in the blend at 100 % of label claim."""
    limits: tuple[float, float]
    """% of label claim, the margin taken off."""
    unknown: tuple[float, float]
    nominal_kg_h: float
    step_s: float
    hold_s: float
    lead_s: float
    after_s: float
    valid_s: float
    tolerance: float
    feedback: str = ""
    actuator_s: float = 2.0


def curves(sections: Sequence[SectionPlan], step_s: float, tolerance: float) -> list[list[Float64]]:
    """Shares of each section for the nominal residence time and those `tolerance` shorter and longer; ValueError when they are too long."""
    stretches = (1.0,) if tolerance == 0.0 else (1.0, 1.0 - tolerance, 1.0 + tolerance)
    found = [[train([_residence.validate_python(u) for u in s.units], step_s, stretch) for stretch in stretches] for s in sections]
    longest = sum(max(len(c) for c in section) for section in found)
    if longest > MOST_PARCELS:
        raise ValueError(f"a line that is washed out within {MOST_PARCELS} steps, found {longest} of {step_s:g} s: choose a larger step_s")
    return found


@kernel(
    "void(Array(int64, 1, 'C', readonly=True), Array(int32, 1, 'C', readonly=True), Array(float64, 1, 'C', readonly=True), uint8[::1], int64,"
    " int32[::1], int64[:, ::1], float64[:, ::1], int64[::1], int64[::1], uint8[::1])"
)
def _hear(
    time_ns: Int64, tag: Int32, value: Float64, good: UInt8, received_ns: int,
    place: Int32, times: Int64, values: Float64, at: Int64, newest: Int64, known: UInt8,
) -> None:  # fmt: skip
    """Keep the newest good values of each input; a bad one, or one that is none, takes the newest back.

    place (tags,) the row of a tag's input, -1 for none; times and values (inputs, MEMORY) rings with the newest at `at`.
    """
    for i in range(len(time_ns)):
        p = place[tag[i]]
        if p < 0 or time_ns[i] < newest[p]:
            continue
        newest[p] = time_ns[i]
        known[p] = good[i]
        if good[i] == 1:
            at[p] = at[p] + 1 if at[p] + 1 < values.shape[1] else 0
            values[p, at[p]] = value[i]
            times[p, at[p]] = min(time_ns[i], received_ns)


class Inputs:
    """The newest good values of the tags that diverters look at; `names` in the order of their rows; `source` (tags,) as in `Silence`."""

    def __init__(self, names: Sequence[str], catalogue: Catalogue, source: Int32) -> None:
        self.names = tuple(names)
        n = len(names)
        self._source = source[[catalogue.id(name) for name in names]] if names else source[:0]
        self._place = np.full(len(catalogue), -1, np.int32)
        for row, name in enumerate(names):
            self._place[catalogue.id(name)] = row
        self._times = np.full((n, MEMORY), np.iinfo(np.int64).min // 2, np.int64)
        self._values = np.zeros((n, MEMORY))
        self._at = np.zeros(n, np.int64)
        self._newest = np.full(n, np.iinfo(np.int64).min, np.int64)
        self._known = np.zeros(n, np.uint8)
        self._failed = np.zeros(n, np.uint8)

    def fail(self, tag: int, failed: bool) -> None:
        """The source said that a tag is gone, or is back; or a tag fell silent, or speaks again."""
        if (row := int(self._place[tag])) >= 0:
            self._failed[row] = failed

    def hear(self, rows: Samples, good: UInt8) -> None:
        """Values came; `good` (n,) says which may be used."""
        if self.names:
            _hear(
                rows.time_ns, rows.tag, rows.value, good, rows.received_ns,
                self._place, self._times, self._values, self._at, self._newest, self._known,
            )  # fmt: skip
            spoke = self._place[rows.tag]
            self._failed[spoke[spoke >= 0]] = 0

    def value(self, row: int, since_ns: int) -> float:
        """The newest value; NaN when it is bad or older than `since_ns`."""
        at = self._at[row]
        return float(self._values[row, at]) if self._known[row] and not self._failed[row] and self._times[row, at] >= since_ns else math.nan

    def switch(self, row: int, away: NDArray[np.bool_]) -> float:
        """What a switch said last, however long ago: it speaks when it changes; NaN when it is bad or its source is away."""
        source = self._source[row]
        return math.nan if source >= 0 and away[source] else self.value(row, np.iinfo(np.int64).min)

    def mean(self, row: int, n: int, since_ns: int) -> float:
        """Mean of the newest `n` good values not older than `since_ns`; NaN when there are less than half of them."""
        at = (self._at[row] - np.arange(n)) % MEMORY
        fresh = self._values[row, at[self._times[row, at] >= since_ns]]
        total = 0.0
        for v in fresh.tolist():  # one after the other: pairwise sums differ from machine to machine
            total += v
        return total / len(fresh) if 2 * len(fresh) >= n else math.nan

    def state(self) -> dict[str, Any]:
        """Rings by name."""
        return {
            name: {"times": self._times[i].copy(), "values": self._values[i].copy(), "at": int(self._at[i]), "newest": int(self._newest[i]),
                   "known": int(self._known[i]), "failed": int(self._failed[i])}
            for i, name in enumerate(self.names)
        }  # fmt: skip

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what is still looked at."""
        for i, name in enumerate(self.names):
            if name in state:
                kept = state[name]
                self._times[i], self._values[i] = kept["times"], kept["values"]
                self._at[i], self._newest[i], self._known[i] = kept["at"], kept["newest"], kept["known"]
                self._failed[i] = kept.get("failed", 0)


class _Diverter:
    def __init__(self, plan: DiverterPlan, catalogue: Catalogue, rows: Mapping[str, int], *, simulated: bool) -> None:
        self.plan, self._rows = plan, rows
        self.ids = np.array([catalogue.id(name) for name in plan.outputs], np.int32)
        self._status = UNCERTAIN_SIMULATED if simulated else GOOD
        self.step_ns, self._hold_ns, self._valid_ns = seconds_ns(plan.step_s), seconds_ns(plan.hold_s), seconds_ns(plan.valid_s)
        parcel_kg = plan.nominal_kg_h * plan.step_s / 3600.0
        rules = Rules(*plan.limits, parcel_kg, plan.step_s, plan.nominal_kg_h, plan.lead_s, plan.after_s, plan.actuator_s)
        self.divert = Divert(rules, Train(curves(plan.sections, plan.step_s, plan.tolerance), plan.unknown))
        self.last_ns = 0
        self.watchdog = 0
        self._shown: tuple[object, ...] = ()

    @property
    def due_ns(self) -> int:
        return self.last_ns + self.step_ns

    def tick(self, tick_ns: int, inputs: Inputs, away: NDArray[np.bool_]) -> Samples:
        """The step of a tick, and what it says."""
        if self.last_ns and tick_ns - self.last_ns > self.step_ns:
            self.divert.unseen((tick_ns - self.last_ns - self.step_ns) / SECOND_NS)
        self.last_ns = tick_ns - tick_ns % self.step_ns
        feed = self._feed(tick_ns, inputs, away)
        seen, unknown = self._seen(tick_ns, inputs)
        at = inputs.switch(self._rows[self.plan.feedback], away) if self.plan.feedback else math.nan
        diverted = None if math.isnan(at) else at >= 0.5
        now = self.divert.step(feed, seen, unknown, diverted, feedback=bool(self.plan.feedback))
        self.watchdog = (self.watchdog + 1) % WATCHDOG
        return self._said(tick_ns, now, feed, diverted)

    def _feed(self, tick_ns: int, inputs: Inputs, away: NDArray[np.bool_]) -> Feed | None:
        flows: list[tuple[float, float]] = []
        contents: list[float] = []
        kg_h = 0.0
        for feeder in self.plan.feeders:
            flow = inputs.value(self._rows[feeder.tag], tick_ns - self._hold_ns)
            if not flow <= MOST_FLOW * self.plan.nominal_kg_h:
                return None
            flow = max(0.0, flow)
            low, high = 1.0 - feeder.uncertainty, 1.0 + feeder.uncertainty
            if feeder.refill:
                refilling = inputs.switch(self._rows[feeder.refill], away)
                if not refilling < 0.5:  # also when it is not known
                    low, high = min(low, feeder.refill_low), max(high, feeder.refill_high)
            flows.append((flow * low, flow * high))
            contents.append(feeder.content)
            kg_h += flow
        low, high = blend(flows, contents)
        scale = 100.0 / self.plan.target
        return Feed(low * scale, high * scale, kg_h)

    def _seen(self, tick_ns: int, inputs: Inputs) -> tuple[Float64, NDArray[np.bool_]]:
        seen, unknown = np.full((len(self.plan.sections), 2), np.nan), np.zeros(len(self.plan.sections), np.bool_)
        for s, section in enumerate(self.plan.sections):
            if section.instrument:
                mean = inputs.mean(self._rows[section.instrument], section.values, tick_ns - seconds_ns(section.hold_s))
                seen[s] = mean - section.uncertainty, mean + section.uncertainty
                unknown[s] = section.required and math.isnan(mean)
        return seen, unknown

    def _said(self, tick_ns: int, now: Decided, feed: Feed | None, diverted: bool | None) -> Samples:
        values = {
            "divert_request": float(now.request), "reason": float(now.reason), "state": float(now.state), "watchdog": float(self.watchdog),
            "valid_until": (tick_ns + self._valid_ns) / SECOND_NS, "mismatch": float(now.mismatch), "low": now.low, "high": now.high,
            "feed": math.nan if feed is None else 0.5 * (feed.low + feed.high), "flow": math.nan if feed is None else feed.kg_h,
            "starts_s": now.starts_s, "ends_s": now.ends_s,
        }  # fmt: skip
        shown = (now.request, now.reason, diverted)
        if shown != self._shown or tick_ns % LEDGER_EVERY_NS < self.step_ns:
            self._shown = shown
            values |= {**now.accounts, "limit_low": self.plan.limits[0], "limit_high": self.plan.limits[1]}
        # A window that is not there is no value; a feed that is not known is a bad one.
        rows = [(i, values[o]) for i, o in enumerate(OUTPUTS) if o in values and not (math.isnan(values[o]) and o in ("starts_s", "ends_s"))]
        at, value = np.array([i for i, _ in rows]), np.array([v for _, v in rows])
        status = np.where(np.isnan(value), np.uint32(BAD_WAITING_FOR_INITIAL_DATA), np.uint32(self._status)).astype(np.uint32)
        return Samples(np.full(len(at), tick_ns, np.int64), self.ids[at], value, status, tick_ns)

    def told(self) -> DivertNow:
        now = self.divert.now
        until = self.last_ns + self._valid_ns if self.last_ns else 0
        return DivertNow(
            self.plan.name, now.request, now.reason, now.state, self.watchdog, until, now.starts_s, now.ends_s, now.low, now.high,
            tuple(now.accounts.items()),
        )  # fmt: skip

    def state(self) -> dict[str, Any]:
        shown = [-1 if x is None else int(x) for x in self._shown]  # type: ignore[call-overload]
        return {
            "key": self._key, "divert": self.divert.state(), "accounts": dict(self.divert.now.accounts), "last_ns": self.last_ns,
            "watchdog": self.watchdog, "shown": shown,
        }  # fmt: skip

    @property
    def _key(self) -> str:
        return msgspec.json.encode(msgspec.structs.replace(self.plan, outputs=())).decode()

    def restore(self, state: Mapping[str, Any]) -> None:
        self.divert.now.accounts.update({k: float(v) for k, v in state["accounts"].items()})
        self.last_ns, self.watchdog = int(state["last_ns"]), int(state["watchdog"])
        if state["key"] == self._key:
            self.divert.restore(state["divert"])
            if state["shown"]:
                request, reason, diverted = state["shown"]
                self._shown = (bool(request), int(reason), None if diverted < 0 else bool(diverted))


class Diverters:
    """All diverters of the edge; they act at ticks only."""

    def __init__(self, plans: Sequence[DiverterPlan], catalogue: Catalogue, source: Int32, *, simulated: bool) -> None:
        names: dict[str, None] = {}
        for plan in plans:
            names |= dict.fromkeys(name for f in plan.feeders for name in (f.tag, f.refill) if name)
            names |= dict.fromkeys(s.instrument for s in plan.sections if s.instrument)
            names |= dict.fromkeys([plan.feedback] if plan.feedback else [])
        self._inputs = Inputs(tuple(names), catalogue, source)
        rows = {name: i for i, name in enumerate(names)}
        self._diverters = [_Diverter(plan, catalogue, rows, simulated=simulated) for plan in plans]

    def fail(self, tag: int, failed: bool) -> None:
        """A tag is gone or silent, or is back: what it said last is not believed meanwhile."""
        self._inputs.fail(tag, failed)

    def hear(self, rows: Samples, good: UInt8) -> None:
        """Values came that are neither late, rejected nor repeated; `good` (n,) is 1 where one is good and its unit in production."""
        self._inputs.hear(rows, good)

    @property
    def due_ns(self) -> int:
        """When the next step is due; NEVER without a diverter."""
        return min((d.due_ns for d in self._diverters), default=NEVER)

    def tick(self, tick_ns: int, away: NDArray[np.bool_]) -> list[Samples]:
        """What the diverters whose step is due say at this tick; `away` (sources,) as in `Silence`."""
        return [d.tick(tick_ns, self._inputs, away) for d in self._diverters if tick_ns >= d.due_ns]

    def now(self) -> list[DivertNow]:
        """What a PLC is to be told."""
        return [d.told() for d in self._diverters]

    def state(self) -> dict[str, Any]:
        """By name."""
        return {"inputs": self._inputs.state(), "lines": {d.plan.name: d.state() for d in self._diverters}}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state; a line whose configuration changed knows nothing of its material, but keeps its accounts."""
        self._inputs.restore(state["inputs"])
        for diverter in self._diverters:
            found = state["lines"].get(diverter.plan.name)
            if found is not None:
                diverter.restore(found)
