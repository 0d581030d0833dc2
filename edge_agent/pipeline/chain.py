"""The pipeline: a pure function from journal entries to records.

No I/O, no clock, no randomness: received times come from the entries, and ticks are derived from them. The same entries from the same state give
the same records, bit for bit; that is what recovery, replay and validation rest on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_agent.alarms import Alarms
from edge_agent.alarms.detect import Found
from edge_agent.core import (
    Abandoned,
    Action,
    AlarmEvent,
    Audit,
    Block,
    Catalogue,
    ClockStep,
    Connection,
    Context,
    Definitions,
    Diagnostic,
    Entry,
    Gap,
    Heartbeat,
    KeepAlive,
    Note,
    Overflow,
    Record,
    Run,
    Samples,
    Start,
    Texts,
    audit_link,
    decode,
    encode,
)
from edge_agent.core.divert import DivertNow
from edge_agent.core.status import qualities
from edge_agent.pipeline.advisor import Advisor
from edge_agent.pipeline.banks import Derived
from edge_agent.pipeline.context import Units
from edge_agent.pipeline.diverters import Diverters
from edge_agent.pipeline.groups import STAGE
from edge_agent.pipeline.machines import Machines
from edge_agent.pipeline.modes import Modes
from edge_agent.pipeline.passes import PASS_ROWS, AlarmPass, Chosen, Passed, passable, streamed, summary_records
from edge_agent.pipeline.plan import StaticPlan, TagArrays, banks_of, groups_of, plan_of
from edge_agent.pipeline.quality import FATE_BAD, FATE_GOOD, FATE_LATE, FATES, Screen, Screened
from edge_agent.pipeline.recorded import Recorder, flips
from edge_agent.pipeline.sensors import Sensors
from edge_agent.pipeline.silence import Silence, Silent
from edge_agent.pipeline.ticks import NEVER, TICK_NS, Watermark, seconds_ns, tick_at_or_after, tick_at_or_before
from edge_agent.pipeline.windows import Windows

PASS_LEAST: Final = 8
"""Entries that a pass has to bring to be worth its beginning."""

Finding = tuple[int, int, Callable[[], Sequence[Record]]]
"""Row of the entry, stage within the row, and who tells what follows from it."""


class NotStarted(RuntimeError):
    """An entry came before the first Start entry."""


class Pipeline:
    """Judges entries one after the other; planned by the Start entries among them.

    `observe` is shown every screened and every derived batch, as training needs to see them; it changes nothing.
    """

    def __init__(self, observe: Callable[[Screened], None] | None = None) -> None:
        self._observe = observe
        self._start: Start | None = None
        self._tick_ns = 0
        self._audit_link = ""

    def step(self, entry: Entry) -> list[Record]:
        """All records that follow from one entry, in order. Received times must not decrease; an earlier one is taken as the latest."""
        records = self._begin(entry) if isinstance(entry, Start) else self._stepped(entry)
        for i, record in enumerate(records):
            if isinstance(record, Audit):
                records[i] = linked = msgspec.structs.replace(record, chain=self._audit_link)
                self._audit_link = audit_link(linked)
        return records

    def _stepped(self, entry: Entry) -> list[Record]:
        if self._start is None:
            raise NotStarted(f"pipeline: expected a Start entry first, found {type(entry).__name__}")
        records = self._advance(entry.received_ns)
        match entry:
            case Samples():
                records += self._samples(entry)
            case Texts():
                records += self._texts(entry)
            case Block():
                records += self._block(entry)
            case Connection():
                records += self._connection(entry)
            case Overflow():
                records.append(self._silence.overflow(entry.tag, entry.after_ns, entry.before_ns, entry.received_ns))
            case Action():
                if entry.action.kind in ("set_mode", "withdraw_mode"):
                    records += self._told(self._modes.act(entry.action, entry.received_ns))
                else:
                    records += self._alarms.act(entry.action, entry.received_ns)
            case Diagnostic():
                records += self._condition(entry.alarm, entry.active, entry.received_ns, entry.received_ns, entry.explanation)
            case ClockStep():
                records.append(_system(entry.received_ns, "clock_step", "clock", new=f"{entry.step_ns} ns"))
            case Note():
                records.append(_noted(entry))
            case Abandoned():
                records += _given_up(entry)
            case Heartbeat() | KeepAlive():
                pass
        return records

    def run(self, run: Run) -> Iterator[Passed | tuple[Samples, list[Record]]]:
        """What `step` makes of every entry of a run, in passes; an entry that needs to be stepped alone comes with its records.

        The records are the same, bit for bit, and so is the state behind each part; all of them have to be taken.
        """
        at, alone = 0, 0
        while at < len(run):
            if alone == 0:
                passed = self._pass(run, at)
                if passed is not None:
                    yield passed
                    at += len(passed.run)
                # Where hardly anything passes, looking ahead costs more than it saves.
                alone = 1 if passed is not None and len(passed.run) >= PASS_LEAST else PASS_LEAST
            elif at < len(run):
                entry = run.entry(at)
                yield entry, self.step(entry)
                at, alone = at + 1, alone - 1

    def _pass(self, run: Run, at: int) -> Passed | None:
        if self._start is None:
            raise NotStarted("pipeline: expected a Start entry first, found Samples")
        if self._diverters.due_ns != NEVER:
            return None  # a diverter decides at every tick of its own on what was heard until then
        watermark, windows, screen = self._watermark, self._windows, self._screen
        begin = int(run.ends[at - 1]) if at else 0
        behind = max(at + 1, int(np.searchsorted(run.ends, begin + PASS_ROWS, "right")))
        due = tick_at_or_after(self._modes.due_ns)
        behind = min(behind, int(np.searchsorted(run.received_ns, due)), len(run))
        if behind <= at or int(run.received_ns[at]) < self._tick_ns:
            return None
        part = run.part(at, behind)
        newest = np.empty(len(part), np.int64)
        mark = np.array([watermark.newest_ns, watermark.heard_ns, watermark.low_ns, self._silence.due_ns], np.int64)
        stuck, watched, patience_ns, heard_ns = self._silence.passing()
        n = passable(
            part.samples.time_ns, part.samples.tag, part.ends, part.received_ns, self._tick_ns, self._tags.skew_ns, watermark.idle_ns,
            windows.length_ns, self._tags.group, windows.lateness_ns, windows.closed_ns.copy(), screen.last_ns.copy(),
            stuck, watched, patience_ns, heard_ns, newest, mark,
        )  # fmt: skip
        if n == 0:
            return None
        self._silence.passed(int(mark[3]))
        return self._passed(part.part(0, n), newest[:n])

    def _passed(self, run: Run, newest_ns: NDArray[np.int64]) -> Passed:
        entry = np.repeat(np.arange(len(run)), np.diff(run.ends, prepend=0))
        rows = self._screen.step(run.samples.received(int(run.received_ns[-1])), self._windows.closed_ns)
        self._machines.heard(rows.samples, rows.usable)
        if self._observe is not None:
            self._observe(rows)
        measured = Chosen(rows.samples, entry, self._recorder.chosen(rows))
        derived = [*self._banks.step(rows.samples, rows.fate, rows.usable), *self._groups.step(rows.samples, rows.usable)]
        chosen = []
        for d in derived:
            screened = Screened(d.samples, d.fate, d.usable, None)
            if self._observe is not None:
                self._observe(screened)
            chosen.append(Chosen(d.samples, entry[d.origin], self._recorder.chosen(screened)))
        stream = streamed(rows, entry, derived)
        alarms = AlarmPass(self._alarms, stream, run.received_ns, self._tick_ns)

        def explain(found: Found, e: int, whose: int, row: int) -> Finding:
            found, now = found._replace(row=row), int(run.received_ns[e])
            if whose == 0:
                return row, 1, partial(self._alarms.turned, found, rows.samples, now)
            d = derived[whose - 1]
            return int(d.origin[row]), 2 + d.stage, partial(self._explained, found, d, rows, now)

        flips: list[tuple[int, Finding]] = [(int(entry[row]), (row, 0, told)) for row, told in self._blinded(rows, run.received_ns[entry])]
        for d in derived:
            for row, context in self._advisor.derived(d, run.received_ns[entry]):
                flips.append((int(entry[row]), (row, 2 + d.stage, partial(_one, context))))
        told = alarms.run(flips, explain)
        ends = np.searchsorted(stream.entry, np.arange(len(run)), "right")
        closed, closed_ns = self._windows.pass_over(stream.samples, stream.fate, ends, run.received_ns, newest_ns, self._watermark, self._tick_ns)
        self._tick_ns = max(self._tick_ns, tick_at_or_before(int(run.received_ns[-1])))
        return Passed(run, measured, chosen, closed, closed_ns, told, self._tags.never_shed[closed["tag"]])

    # -- time ----------------------------------------------------------------------------------------------------------------

    def _advance(self, received_ns: int) -> list[Record]:
        """Run the ticks up to a time of receipt; those at which nothing can be due are passed over."""
        records: list[Record] = []
        last = tick_at_or_before(received_ns)
        while True:
            tick = max(tick_at_or_after(self._due_ns()), self._tick_ns + TICK_NS)
            if tick > last:
                break
            self._tick_ns = tick
            records += self._tick(tick)
        if last > self._tick_ns:
            # Only a new tick moves the boundary of lateness: rows of one time of receipt must find the same one however they are cut.
            self._tick_ns = last
            self._windows.advance(self._watermark.base_ns(last))
        return records

    def _due_ns(self) -> int:
        waits = self._windows.waits_for_ns
        return min(
            NEVER if waits == NEVER else self._watermark.reaches_ns(waits),
            self._windows.supplement_due_ns(self._tick_ns),
            self._silence.due_ns,
            self._alarms.due_ns,
            self._modes.due_ns,
            self._diverters.due_ns,
        )

    def _tick(self, tick_ns: int) -> list[Record]:
        records = self._told(self._modes.tick(tick_ns))
        for silent in self._silence.tick(tick_ns):
            records += self._silent(silent, tick_ns)
        records += self._alarms.tick(tick_ns)
        for told in self._diverters.tick(tick_ns, self._silence.away):
            records += self._arisen(told)
        self._windows.advance(self._watermark.base_ns(tick_ns))
        records += self._summaries(self._windows.close(tick_ns), tick_ns)
        return records

    def _summaries(self, rows: np.ndarray[tuple[int], np.dtype[np.void]], tick_ns: int) -> list[Record]:
        return summary_records(rows, self._tags.never_shed[rows["tag"]], tick_ns) if len(rows) else []

    # -- values --------------------------------------------------------------------------------------------------------------

    def _samples(self, entry: Samples) -> list[Record]:
        rows = self._screen.step(entry, self._windows.closed_ns)
        self._machines.heard(rows.samples, rows.usable)
        if self._observe is not None:
            self._observe(rows)
        if rows.newest_ns is not None:
            self._watermark.heard(rows.newest_ns, entry.received_ns)
        records: list[Record] = []
        arrived = rows.fate <= FATE_LATE
        every = bool(arrived.all())
        tags, times = (entry.tag, entry.time_ns) if every else (entry.tag[arrived], entry.time_ns[arrived])
        back, gaps = self._silence.heard(tags, times, entry.received_ns)
        records += gaps
        found: list[Finding] = [(self._heard_at(s, entry, arrived), -1, partial(self._silent, s, entry.received_ns)) for s in back]
        if (recorded := self._recorder.step(rows)) is not None:
            records.append(recorded)
        self._windows.step(rows)
        current = rows.fate <= FATE_BAD
        if not current.all():
            rows = Screened(rows.samples.take(current), rows.fate[current], rows.usable[current], rows.newest_ns)
        return records + self._judge(rows, np.flatnonzero(current), found)

    def _block(self, entry: Block) -> list[Record]:
        """A block as it came, and what soft sensors and machines say of it: values like any other, late, alarmed, summarised, forwarded."""
        back, gaps = self._silence.heard(np.full(len(entry), entry.tag, np.int32), entry.time_ns, entry.received_ns)
        records: list[Record] = [*gaps, entry]
        for silent in back:
            records += self._silent(silent, entry.received_ns)
        vibration, spectra = self._machines.step(entry)
        records += spectra
        for told in (self._sensors.step(entry), *vibration):
            if len(told):
                records += self._samples(told)
        for told in vibration:
            records += self._advisor.vibration(told)
        return records

    def _arisen(self, told: Samples) -> list[Record]:
        """Values that a tick brought forth: recorded, summarised, judged; they are no news of any source."""
        fate = np.asarray(qualities(told.status, simulated=self._simulated), np.uint8)
        usable = ((fate == FATE_GOOD) & (self._screen.evaluated[told.tag] == 1)).astype(np.uint8)
        rows = Screened(told, fate, usable, None)
        if self._observe is not None:
            self._observe(rows)
        self._windows.step(rows)
        recorded = self._recorder.step(rows)
        return [*([recorded] if recorded is not None else []), *self._judge(rows, np.arange(len(told)), [])]

    def _heard_at(self, silent: Silent, entry: Samples, arrived: NDArray[np.bool_]) -> int:
        """The row that ended a silence: the first of the tag, or of the whole source."""
        mine = entry.tag == silent.tag if silent.tag >= 0 else self._tags.source[entry.tag] == silent.source
        return int(np.argmax(arrived & mine))

    def _judge(self, rows: Screened, places: NDArray[np.intp], found: list[Finding]) -> list[Record]:
        """Models and alarms over rows that are neither late, rejected nor repeated; events in the order of the rows."""
        self._diverters.hear(rows.samples, ((rows.fate == FATE_GOOD) & (rows.usable == 1)).astype(np.uint8))
        # What is found is told in the order of the rows, whichever tag it is about: one alarm may decide what another one says.
        found += [(int(places[row]), 0, told) for row, told in self._blinded(rows)]
        found += [(int(places[f.row]), 1, partial(self._alarms.turned, f, rows.samples)) for f in self._alarms.detect(rows.samples, rows.usable)]
        records: list[Record] = []
        for derived in [*self._banks.step(rows.samples, rows.fate, rows.usable), *self._groups.step(rows.samples, rows.usable)]:
            screened = Screened(derived.samples, derived.fate, derived.usable, None)
            if self._observe is not None:
                self._observe(screened)
            self._windows.step(screened)
            if (recorded := self._recorder.step(screened)) is not None:
                records.append(recorded)
            advice = self._advisor.derived(derived, np.full(len(rows.samples), rows.samples.received_ns))
            found += [(int(places[row]), 2 + derived.stage, partial(_one, context)) for row, context in advice]
            found += [
                (int(places[derived.origin[f.row]]), 2 + derived.stage, partial(self._explained, f, derived, rows))
                for f in self._alarms.detect(derived.samples, derived.usable)
            ]
        found.sort(key=lambda f: f[:2])
        return records + [event for _, _, told in found for event in told()]

    def _explained(self, found: Found, derived: Derived, rows: Screened, received_ns: int | None = None) -> list[AlarmEvent]:
        row = found.row
        origin = int(derived.origin[row])
        source = self._catalogue[int(rows.samples.tag[origin])]
        value = {source.name: float(rows.samples.value[origin])} if derived.stage < STAGE else {}
        numbers = {**value, **derived.why(row)}
        events = self._alarms.turned(found, derived.samples, received_ns)
        own = self._alarms.definitions[found.alarm].name
        return [msgspec.structs.replace(e, contributions=numbers) if e.alarm == own else e for e in events]

    def _blinded(self, rows: Screened, received_ns: NDArray[np.int64] | None = None) -> list[tuple[int, Callable[[], list[AlarmEvent]]]]:
        found: list[tuple[int, Callable[[], list[AlarmEvent]]]] = []
        for row in flips(rows.samples.tag, rows.fate, self._bad):
            tag = self._catalogue[int(rows.samples.tag[row])]
            bad = bool(rows.fate[row] == FATE_BAD)
            why = f"status {int(rows.samples.status[row]):#010x}" if bad else "quality is good again"
            time_ns = int(rows.samples.time_ns[row])
            now = rows.samples.received_ns if received_ns is None else int(received_ns[row])
            found.append((row, partial(self._condition, f"{tag.name}.bad_quality", bad, time_ns, now, why)))
        return found

    def _texts(self, entry: Texts) -> list[Record]:
        tags = np.array(entry.tag, np.int32)
        times = np.array(entry.time_ns, np.int64)
        back, gaps = self._silence.heard(tags, times, entry.received_ns)
        entry = self._units.fresh(entry)
        records: list[Record] = [*gaps, entry] if len(entry) else [*gaps]
        for silent in back:
            records += self._silent(silent, entry.received_ns)
        for changes in self._units.step(entry):
            records += self._told(changes)
        return records

    def _told(self, told: Sequence[Record]) -> list[Record]:
        """What units are doing now, and what follows for alarms."""
        records: list[Record] = list(told)
        changes = [change for change in told if isinstance(change, Context)]
        for change in changes:
            if change.role in ("batch", "phase"):
                mine = self._catalogue.of_unit(change.unit)
                self._banks.restart(mine, change.role)
                self._groups.tell(mine, change.role, change.value, change.time_ns)
            if change.role != "mode":
                self._groups.turned(change)
                records += self._alarms.context(change.unit, change.role, change.value, change.time_ns, change.received_ns)
        if any(change.role == "mode" for change in changes):
            records += self._alarms.modes(self._modes.now, changes[-1].time_ns, changes[-1].received_ns)
        return records

    # -- sources -------------------------------------------------------------------------------------------------------------

    def _connection(self, entry: Connection) -> Sequence[Record]:
        place = self._sources.get(entry.source)
        if place is None:
            return []
        if entry.state in ("tag_failed", "tag_recovered"):
            return self._tag_states(entry)
        now = entry.received_ns
        told = Context(unit=f"source/{entry.source}", role="connection", value=entry.state, time_ns=now, received_ns=now, reason=entry.detail)
        alarm, why = f"source/{entry.source}.disconnected", entry.detail or entry.state.replace("_", " ")
        if entry.state in ("connected", "resumed"):
            self._silence.came(place, now, resumed=entry.state == "resumed")
            return [told, *self._condition(alarm, False, now, now, why)]
        # Also behind "no data": the runner makes the connection anew, and what arises until then may be missing.
        self._silence.left(place, self._screen.last_ns)
        return [told, *(self._condition(alarm, True, now, now, why) if entry.state != "ended" else [])]

    def _tag_states(self, entry: Connection) -> list[AlarmEvent]:
        now = entry.received_ns
        events: list[AlarmEvent] = []
        for k in entry.tags:
            name = self._catalogue[k].name
            self._diverters.fail(k, entry.state == "tag_failed")
            events += self._condition(f"{name}.bad_quality", entry.state == "tag_failed", now, now, entry.detail or f"status {entry.status:#010x}")
        return events

    def _silent(self, silent: Silent, now_ns: int) -> list[AlarmEvent]:
        if silent.tag < 0:
            name = next(name for name, place in self._sources.items() if place == silent.source)
            why = f"no value of any tag for {(now_ns - silent.since_ns) / 1e9:.1f} s" if silent.stale else "values came again"
            return self._condition(f"source/{name}.disconnected", silent.stale, now_ns, now_ns, why)
        tag = self._catalogue[silent.tag]
        self._diverters.fail(silent.tag, silent.stale)
        why = f"no value for {(now_ns - silent.since_ns) / 1e9:.1f} s, expected every {tag.expected_s:g} s" if silent.stale else "values came again"
        return self._condition(f"{tag.name}.stale", silent.stale, silent.since_ns if silent.stale else now_ns, now_ns, why)

    def _condition(self, alarm: str, active: bool, time_ns: int, received_ns: int, why: str) -> list[AlarmEvent]:
        if alarm not in self._alarm_names:
            return []
        return self._alarms.condition(alarm, active, time_ns, received_ns, explanation=why)

    # -- plan and state ------------------------------------------------------------------------------------------------------

    def _begin(self, start: Start) -> list[Record]:
        """Plan anew, with the state of before where it still fits; while the agent was down no tick ran and no tag went stale."""
        records: list[Record] = []
        state = self.state() if self._start is not None else None
        if state is not None and state["windows"]["length_ns"] != seconds_ns(plan_of(start).window_s):
            records += self._summaries(self._windows.flush(), self._tick_ns)
            state = self.state()
        before = plan_of(self._start).static if self._start is not None else ()
        self._plan(start)
        if state is not None:
            self._take_up(state)
        now = tick_at_or_before(start.received_ns)
        if now > self._tick_ns:
            self._tick_ns = now
        # What brokers and files kept while the agent was down comes first: it must not be late because of that.
        self._watermark.heard(0, start.received_ns)
        plan = plan_of(start)
        for place in range(len(plan.sources)):
            self._silence.left(place, self._screen.last_ns)
        described = Definitions(
            received_ns=start.received_ns, edge=start.edge, site=plan.site, simulated=plan.simulated, config_hash=start.config_hash,
            software=plan.software, tags=start.tags, alarms=start.alarms, shelve=plan.alarm_rules.shelve,
            out_of_service=plan.alarm_rules.out_of_service,
        )  # fmt: skip
        records.append(described)
        records.append(_system(start.received_ns, "start", start.edge, new=start.config_hash))
        records += _static_models(start.received_ns, before, plan.static)
        records += self._tick(self._tick_ns)
        return records

    def _plan(self, start: Start) -> None:
        plan = plan_of(start)
        self._start = start
        self._simulated = plan.simulated
        self._catalogue = Catalogue(start.tags)
        self._tags = tags = TagArrays(self._catalogue, plan)
        self._sources = {source.name: i for i, source in enumerate(plan.sources)}
        self._alarm_names = frozenset(a.name for a in start.alarms)
        self._watermark = Watermark(seconds_ns(plan.idle_s))
        self._screen = Screen(
            tags.low, tags.high, tags.group, simulated=plan.simulated, skew_ns=tags.skew_ns,
            source=tags.source, sources=tuple(self._sources),
        )  # fmt: skip
        self._windows = Windows(seconds_ns(plan.window_s), tags.group, tags.lateness_ns, tags.version)
        self._silence = Silence(tags.expected_ns, tags.source, tags.lossy, len(plan.sources))
        self._modes = Modes(self._catalogue, self._windows.mode, self._screen.evaluated, plan.mode_rules)
        self._units = Units(self._catalogue, self._modes)
        self._recorder = Recorder(tags.raw, tags.changes)
        self._banks = banks_of(plan, self._catalogue)
        self._groups = groups_of(plan, self._catalogue)
        self._sensors = Sensors(plan.sensors, self._catalogue)
        self._machines = Machines(plan.machines, self._catalogue)
        self._diverters = Diverters(plan.diverters, self._catalogue, tags.source, simulated=plan.simulated)
        self._advisor = Advisor(plan, self._catalogue)
        self._alarms = Alarms(start.alarms, self._catalogue, plan.alarm_rules)
        self._bad = np.zeros(len(self._catalogue), np.uint8)

    def _parts(self) -> dict[str, Any]:
        return {
            "watermark": self._watermark,
            "screen": self._screen,
            "windows": self._windows,
            "silence": self._silence,
            "modes": self._modes,
            "units": self._units,
            "recorder": self._recorder,
            "banks": self._banks,
            "groups": self._groups,
            "diverters": self._diverters,
            "machines": self._machines,
            "advisor": self._advisor,
            "alarms": self._alarms,
        }

    def _take_up(self, state: Mapping[str, Any]) -> None:
        self._tick_ns = state["tick_ns"]
        self._bad[: len(state["bad"])] = state["bad"]
        self._audit_link = state.get("audit_link", "")
        for name, part in self._parts().items():
            if name in state:  # a checkpoint of an earlier version knows fewer parts
                part.restore(state[name])
        if "modes" not in state:  # an earlier version kept the modes with the other texts
            self._modes.take_up(self._units.modes)

    def state(self) -> dict[str, Any]:
        """Everything of which the next records are a function beside the entries: for `edge_agent.core.pack`."""
        if self._start is None:
            return {"start": None}
        start = np.frombuffer(encode(self._start), np.uint8)
        parts = {name: part.state() for name, part in self._parts().items()}
        return {"start": start, "tick_ns": self._tick_ns, "bad": self._bad.copy(), "audit_link": self._audit_link, **parts}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become the pipeline that gave this state."""
        if state["start"] is None:
            self.__init__(self._observe)  # type: ignore[misc]
            return
        start = decode(state["start"].tobytes())
        if not isinstance(start, Start):
            raise ValueError(f"pipeline state: expected a Start entry, found {type(start).__name__}")
        self._plan(start)
        self._take_up(state)

    # -- for those who show what the edge is doing ------------------------------------------------------------------------------

    @property
    def due_ns(self) -> int:
        """The earliest time at which a tick could have something to do if nothing more arrives."""
        return self._due_ns() if self._start is not None else NEVER

    @property
    def open_windows(self) -> int:
        """Summary windows that are not closed yet, supplements included."""
        return self._windows.open

    @property
    def started(self) -> bool:
        """Whether a Start entry has come."""
        return self._start is not None

    @property
    def start(self) -> Start | None:
        """The Start entry that planned it."""
        return self._start

    @property
    def catalogue(self) -> Catalogue:
        """The tags of the current plan."""
        return self._catalogue

    @property
    def alarms(self) -> Alarms:
        """All alarms of the edge; read only."""
        return self._alarms

    @property
    def diverts(self) -> list[DivertNow]:
        """What the diverters of continuous lines are asked to do."""
        return self._diverters.now()

    def totals(self) -> dict[str, NDArray[np.int64]]:
        """Values received so far per tag, by fate."""
        return {fate: self._screen.totals[:, i] for i, fate in enumerate(FATES)}

    def totals_of_sources(self) -> dict[str, dict[str, int]]:
        """The same by source; values of tags without a source are not among them."""
        place = self._tags.source
        mine = place >= 0
        counts = {f: np.bincount(place[mine], c[mine], len(self._sources)) for f, c in self.totals().items()}
        return {name: {fate: int(count[i]) for fate, count in counts.items()} for name, i in self._sources.items()}


def _one(record: Record) -> list[Record]:
    return [record]


def _static_models(now: int, before: Sequence[StaticPlan], after: Sequence[StaticPlan]) -> list[Record]:
    """Audit entries of what a start changes in the static models, of their approvals and of files that were refused."""
    records: list[Record] = []
    old = {(s.kind, s.name): s for s in before}
    for model in after:
        was = old.pop((model.kind, model.name), None)
        name = f"model {model.kind} {model.name}"
        if model.signature and (was is None or was.signature != model.signature):
            since = np.datetime64(model.effective_ns, "ns").astype("datetime64[s]")
            reason = f"{model.meaning}: {model.reason}; from {since}Z on; signature {model.signature}"
            user, role = model.approved_by, model.role
            records.append(Audit(time_ns=now, user=user, role=role, action="model_approved", object=name, old="", new=model.sha256, reason=reason))
        if was is None or was.sha256 != model.sha256:
            records.append(_system(now, "model_in_force", name, old=was.sha256 if was else "", new=model.sha256))
        if model.refused and (was is None or was.refused != model.refused):
            records.append(_system(now, "model_refused", name, old=model.sha256, new=model.sha256, reason=model.refused))
    records += [_system(now, "model_gone", f"model {gone.kind} {gone.name}", old=gone.sha256) for gone in old.values()]
    return records


def _given_up(entry: Abandoned) -> list[Record]:
    """The gaps that close a range of shed records, and those of the values that its summaries had counted (rule 7)."""
    cause, now = f"abandoned {entry.first}..{entry.last}", entry.received_ns
    closing = Gap(tag=-1, from_ns=now, to_ns=now, missing=0, cause=cause, received_ns=now)
    return [closing, *(Gap(tag=k, from_ns=a, to_ns=b, missing=n, cause=cause, received_ns=now) for k, a, b, n in entry.lost)]


def _noted(entry: Note) -> Audit:
    told = _system(entry.received_ns, entry.action, entry.object, old=entry.old, new=entry.new, reason=entry.reason)
    return msgspec.structs.replace(told, user=entry.user, role=entry.role, station=entry.station) if entry.user else told


def _system(time_ns: int, action: str, subject: str, *, old: str = "", new: str = "", reason: str = "") -> Audit:
    return Audit(time_ns=time_ns, user="pharmedge", role="system", action=action, object=subject, old=old, new=new, reason=reason)
