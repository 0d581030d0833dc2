"""The pipeline: a pure function from journal entries to records.

No I/O, no clock, no randomness: received times come from the entries, and ticks are derived from them. The same entries from the same state give
the same records, bit for bit; that is what recovery, replay and validation rest on.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_agent.alarms import Alarms
from edge_agent.core import (
    Abandoned,
    Action,
    Audit,
    Block,
    Catalogue,
    ClockStep,
    Connection,
    Definitions,
    Diagnostic,
    Entry,
    Filled,
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
)
from edge_agent.core.divert import DivertNow
from edge_agent.pipeline.audits import by_system, not_understood, noted, of_static_models
from edge_agent.pipeline.conditions import Conditions
from edge_agent.pipeline.judging import Judging, Observe
from edge_agent.pipeline.parts import Parts
from edge_agent.pipeline.passes import Passed, Passes, summary_records
from edge_agent.pipeline.quality import FATE_BAD, FATE_REJECTED, FATES
from edge_agent.pipeline.silence import NEVER_HEARD
from edge_agent.pipeline.ticks import NEVER, TICK_NS, tick_at_or_after, tick_at_or_before

PASS_LEAST: Final = 8
"""Entries that a pass has to bring to be worth its beginning."""


class NotStarted(RuntimeError):
    """An entry came before the first Start entry."""


class Pipeline:
    """Judges entries one after the other; planned by the Start entries among them.

    `observe` is shown every screened and every derived batch, as training needs to see them; it changes nothing.
    """

    def __init__(self, observe: Observe | None = None) -> None:
        self._observe = observe
        self._begun = False
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
        if not self._begun:
            raise NotStarted(f"pipeline: expected a Start entry first, found {type(entry).__name__}")
        now = entry.received_ns
        records = self._advance(now)
        match entry:
            case Samples():
                records += self._judging.samples(entry)
            case Texts():
                records += self._judging.texts(entry)
            case Block():
                records += self._judging.block(entry)
            case Connection():
                records += self._conditions.connection(entry)
            case Overflow():
                last, skew = int(self._parts.screen.last_ns[entry.tag]), int(self._parts.tags.skew_ns[entry.tag])
                gap = self._parts.silence.overflow(entry.tag, entry.after_ns, entry.before_ns, now, last_ns=last, skew_ns=skew)
                records.append(gap)
            case Filled():
                records.append(self._parts.silence.filled(entry))
            case Action():
                if entry.action.kind in ("set_mode", "withdraw_mode"):
                    records += self._judging.of_units(self._parts.modes.act(entry.action, now))
                elif entry.action.kind in ("renewed", "no_fault", "withdraw_no_fault", "rejected", "withdraw_rejected"):
                    records += self._judging.found(entry.action, now)
                elif entry.action.kind == "unknown":
                    records.append(not_understood(entry.action, now))
                else:
                    records += self._parts.alarms.act(entry.action, now)
            case Diagnostic():
                records += self._conditions.condition(entry.alarm, entry.active, now, now, entry.explanation)
            case ClockStep():
                records.append(by_system(now, "clock_step", "clock", new=f"{entry.step_ns} ns"))
            case Note():
                records.append(noted(entry))
            case Abandoned():
                records += _given_up(entry)
            case Heartbeat() | KeepAlive():
                pass
        return records

    def run(self, run: Run) -> Iterator[Passed | tuple[Samples, list[Record]]]:
        """What `step` makes of every entry of a run, in passes; an entry that needs to be stepped alone comes with its records.

        The records are the same, bit for bit, and so is the state behind each part; all of them have to be taken.
        """
        if not self._begun:
            raise NotStarted("pipeline: expected a Start entry first, found Samples")
        at, alone = 0, 0
        while at < len(run):
            if alone == 0:
                passed = self._passes.take(run, at)
                if passed is not None:
                    yield passed
                    at += len(passed.run)
                # Where hardly anything passes, looking ahead costs more than it saves.
                alone = 1 if passed is not None and len(passed.run) >= PASS_LEAST else PASS_LEAST
            elif at < len(run):
                entry = run.entry(at)
                yield entry, self.step(entry)
                at, alone = at + 1, alone - 1

    # -- time ----------------------------------------------------------------------------------------------------------------

    def _advance(self, received_ns: int) -> list[Record]:
        """Run the ticks up to a time of receipt; those at which nothing can be due are passed over."""
        parts = self._parts
        records: list[Record] = []
        last = tick_at_or_before(received_ns)
        while True:
            tick = max(tick_at_or_after(parts.due_ns), parts.tick_ns + TICK_NS)
            if tick > last:
                break
            parts.tick_ns = tick
            records += self._tick(tick)
        if last > parts.tick_ns:
            # Only a new tick moves the boundary of lateness: rows of one time of receipt must find the same one however they are cut.
            parts.tick_ns = last
            parts.windows.advance(parts.watermark.base_ns(last))
        return records

    def _tick(self, tick_ns: int) -> list[Record]:
        parts = self._parts
        records = self._judging.of_units(parts.modes.tick(tick_ns))
        for silent in parts.silence.tick(tick_ns):
            records += self._conditions.silent(silent, tick_ns)
        records += parts.alarms.tick(tick_ns)
        for told in parts.diverters.tick(tick_ns, parts.silence.away):
            records += self._judging.arisen(told)
        parts.windows.advance(parts.watermark.base_ns(tick_ns))
        records += self._summaries(parts.windows.close(tick_ns))
        return records

    def _summaries(self, rows: np.ndarray[tuple[int], np.dtype[np.void]]) -> list[Record]:
        return summary_records(rows, self._parts.tags.never_shed[rows["tag"]], self._parts.tick_ns) if len(rows) else []

    # -- plan and state ------------------------------------------------------------------------------------------------------

    def _begin(self, start: Start) -> list[Record]:
        """Plan anew, with the state of before where it still fits; while the agent was down no tick ran and no tag went stale."""
        records: list[Record] = []
        parts, before = Parts(start), None
        if self._begun:
            before = self._parts.plan
            if self._parts.windows.length_ns != parts.windows.length_ns:
                records += self._summaries(self._parts.windows.flush())
            parts.take_up(self._parts.state())
        self._become(parts)
        parts.tick_ns = max(parts.tick_ns, tick_at_or_before(start.received_ns))
        # What brokers and files kept while the agent was down comes first: it must not be late because of that.
        parts.watermark.heard(0, start.received_ns)
        for place in parts.sources.values():
            parts.silence.left(place, parts.screen.last_ns)
        plan = parts.plan
        described = Definitions(
            received_ns=start.received_ns, edge=start.edge, site=plan.site, simulated=plan.simulated, config_hash=start.config_hash,
            software=plan.software, tags=start.tags, alarms=start.alarms, shelve=plan.alarm_rules.shelve,
            out_of_service=plan.alarm_rules.out_of_service,
        )  # fmt: skip
        records.append(described)
        records.append(by_system(start.received_ns, "start", start.edge, new=start.config_hash))
        records += of_static_models(start.received_ns, before.static if before is not None else (), plan.static)
        records += self._tick(parts.tick_ns)
        return records

    def _become(self, parts: Parts) -> None:
        self._begun, self._parts = True, parts
        self._conditions = Conditions(parts)
        self._judging = Judging(parts, self._conditions, self._observe)
        self._passes = Passes(parts, self._conditions, self._judging)

    def state(self) -> dict[str, Any]:
        """Everything of which the next records are a function beside the entries: for `edge_agent.core.pack`."""
        return {"start": None} if not self._begun else {**self._parts.state(), "audit_link": self._audit_link}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become the pipeline that gave this state."""
        if state["start"] is None:
            self._begun = False
        else:
            self._become(Parts.restored(state))
        self._audit_link = state.get("audit_link", "")

    # -- for those who show what the edge is doing ------------------------------------------------------------------------------

    @property
    def due_ns(self) -> int:
        """The earliest time at which a tick could have something to do if nothing more arrives."""
        return self._parts.due_ns if self._begun else NEVER

    @property
    def untaught(self) -> tuple[str, ...]:
        """Models that could not take up their state at the last restart and begin anew, with the reason."""
        return (*self._parts.banks.untaught, *self._parts.groups.untaught) if self._begun else ()

    @property
    def open_windows(self) -> int:
        """Summary windows that are not closed yet, supplements included."""
        return self._parts.windows.open

    @property
    def started(self) -> bool:
        """Whether a Start entry has come."""
        return self._begun

    @property
    def start(self) -> Start | None:
        """The Start entry that planned it; unpacked at each call."""
        return self._parts.start if self._begun else None

    @property
    def defined(self) -> Start | None:
        """The same without its plan, for which nothing is unpacked: the tags and alarms that it goes by."""
        return self._parts.defined if self._begun else None

    @property
    def catalogue(self) -> Catalogue:
        """The tags of the current plan."""
        return self._parts.catalogue

    @property
    def alarms(self) -> Alarms:
        """All alarms of the edge; read only."""
        return self._parts.alarms

    @property
    def diverts(self) -> list[DivertNow]:
        """What the diverters of continuous lines are asked to do."""
        return self._parts.diverters.now()

    def newest_ns(self, tag: int) -> int | None:
        """Source time of the newest value of a tag that was not rejected; None when there was none."""
        last_ns = self._parts.screen.last_ns if self._begun else ()
        found = int(last_ns[tag]) if tag < len(last_ns) else NEVER_HEARD
        return None if found == NEVER_HEARD else found

    def totals(self) -> dict[str, NDArray[np.int64]]:
        """Values received so far per tag, by fate."""
        return {fate: self._parts.screen.totals[:, i] for i, fate in enumerate(FATES)}

    def totals_of_sources(self) -> dict[str, dict[str, int]]:
        """The same by source; values of tags without a source are not among them."""
        place, sources = self._parts.tags.source, self._parts.sources
        mine = place >= 0
        counts = {f: np.bincount(place[mine], c[mine], len(sources)) for f, c in self.totals().items()}
        return {name: {fate: int(count[i]) for fate, count in counts.items()} for name, i in sources.items()}

    def testimony(self, sources: Collection[str], since_ns: int) -> tuple[int, int]:
        """What some sources say of received time: values rejected for a stamp too far in the future, and values taken whose stamps agree with it.

        A late value agrees with no clock, and neither does a tag whose newest value is stamped before `since_ns`.
        """
        parts = self._parts
        mine = np.isin(parts.tags.source, [parts.sources[name] for name in sources if name in parts.sources])
        agreeing = mine & (parts.screen.last_ns >= since_ns)
        totals = parts.screen.totals
        return int(totals[mine, FATE_REJECTED].sum()), int(totals[agreeing][:, : FATE_BAD + 1].sum())


def _given_up(entry: Abandoned) -> list[Record]:
    """The gaps that close a range of shed records, and those of the values that its summaries had counted (rule 7)."""
    cause, now = f"abandoned {entry.first}..{entry.last}", entry.received_ns
    closing = Gap(tag=-1, from_ns=now, to_ns=now, missing=0, cause=cause, received_ns=now)
    return [closing, *(Gap(tag=k, from_ns=a, to_ns=b, missing=n, cause=cause, received_ns=now) for k, a, b, n in entry.lost)]
