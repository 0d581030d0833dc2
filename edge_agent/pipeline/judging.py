"""What follows from what a source sent: values, texts and blocks to records, models and alarms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_agent.alarms.detect import Found
from edge_agent.core import AlarmEvent, Block, Context, OperatorAction, Recalled, RecalledTexts, Record, Samples, Texts
from edge_agent.core.status import qualities
from edge_agent.pipeline.banks import Derived
from edge_agent.pipeline.conditions import Conditions
from edge_agent.pipeline.groups import STAGE
from edge_agent.pipeline.parts import Parts
from edge_agent.pipeline.quality import FATE_BAD, FATE_DUPLICATE, FATE_GOOD, FATE_LATE, Screened
from edge_agent.pipeline.silence import Silent

Observe = Callable[[Screened], None]
"""Is shown every screened and every derived batch."""

Finding = tuple[int, int, Callable[[], Sequence[Record]]]
"""Row of the entry or pass, stage within the row, and who tells what follows from it."""


class Judging:
    """Judges entry by entry, with the parts of one plan."""

    def __init__(self, parts: Parts, conditions: Conditions, observe: Observe | None) -> None:
        self._parts, self._conditions, self._observe = parts, conditions, observe

    def samples(self, entry: Samples) -> list[Record]:
        """Values as they came, in the order of the rows. Those that a history brought are no sign of life of anything."""
        parts, news = self._parts, not isinstance(entry, Recalled)
        if isinstance(entry, Recalled):
            entry = entry.samples
        rows = self.screened(entry)
        if rows.newest_ns is not None:
            parts.watermark.heard(rows.newest_ns, entry.received_ns)
        records: list[Record] = []
        arrived = (rows.fate <= FATE_LATE) & news
        every = bool(arrived.all())
        tags, times = (entry.tag, entry.time_ns) if every else (entry.tag[arrived], entry.time_ns[arrived])
        back, gaps = parts.silence.heard(tags, times, entry.received_ns)
        records += gaps
        found: list[Finding] = [(self._heard_at(s, entry, arrived), -1, partial(self._conditions.silent, s, entry.received_ns)) for s in back]
        if (recorded := parts.recorder.step(rows)) is not None:
            records.append(recorded)
        parts.windows.step(rows)
        current = rows.fate <= FATE_BAD
        if not current.all():
            rows = Screened(rows.samples.take(current), rows.fate[current], rows.usable[current], rows.newest_ns)
        return records + self._judge(rows, np.flatnonzero(current), found)

    def screened(self, samples: Samples) -> Screened:
        """The fate of every row; machines and whoever observes hear of them."""
        rows = self._parts.screen.step(samples, self._parts.windows.closed_ns)
        self._parts.machines.heard(rows.samples, rows.usable)
        if self._observe is not None:
            self._observe(rows)
        return rows

    def of_models(self, rows: Screened) -> list[tuple[Derived, Screened]]:
        """What every model derives from rows, stage by stage."""
        parts = self._parts
        told = []
        for derived in [*parts.banks.step(rows.samples, rows.fate, rows.usable), *parts.groups.step(rows.samples, rows.usable)]:
            screened = Screened(derived.samples, derived.fate, derived.usable, None)
            if self._observe is not None:
                self._observe(screened)
            told.append((derived, screened))
        return told

    def block(self, entry: Block) -> list[Record]:
        """A block as it came, and what soft sensors and machines say of it: values like any other, late, alarmed, summarised, forwarded."""
        parts = self._parts
        fresh = parts.streams.fresh(entry)
        parts.screen.totals[entry.tag, FATE_DUPLICATE] += len(entry) - len(fresh)
        entry = fresh  # an instrument that sends the same again and again has stopped
        back, gaps = parts.silence.heard(np.full(len(entry), entry.tag, np.int32), entry.time_ns, entry.received_ns)
        records: list[Record] = [*gaps, entry] if len(entry) else [*gaps]
        for silent in back:
            records += self._conditions.silent(silent, entry.received_ns)
        if not len(entry):
            return records
        vibration, spectra = parts.machines.step(entry)
        records += spectra
        for told in (parts.sensors.step(entry), *vibration):
            if len(told):
                records += self.samples(told)
        for told in vibration:
            records += parts.advisor.vibration(told)
        return records

    def texts(self, entry: Texts) -> list[Record]:
        """Texts as they came, and what they say of units. Those that a history brought are over: they are kept, and change nothing."""
        parts = self._parts
        if isinstance(entry, RecalledTexts):
            entry = parts.units.fresh(entry.texts, news=False)
            return [entry] if len(entry) else []
        counted = parts.screen.words(entry)
        back, gaps = parts.silence.heard(np.array(counted.tag, np.int32), np.array(counted.time_ns, np.int64), entry.received_ns)
        entry = parts.units.fresh(entry)
        records: list[Record] = [*gaps, entry] if len(entry) else [*gaps]
        for silent in back:
            records += self._conditions.silent(silent, entry.received_ns)
        for changes in parts.units.step(counted if len(entry) == len(counted) else parts.screen.words(entry)):
            records += self.of_units(changes)
        return records

    def of_units(self, told: Sequence[Record]) -> list[Record]:
        """What units are doing now, and what follows for models and alarms."""
        parts = self._parts
        records: list[Record] = list(told)
        changes = [change for change in told if isinstance(change, Context)]
        for change in changes:
            if change.role in ("batch", "phase"):
                mine = parts.catalogue.of_unit(change.unit)
                parts.banks.restart(mine, change.role)
                parts.groups.tell(mine, change.role, change.value, change.time_ns)
            if change.role != "mode":
                parts.groups.turned(change)
                records += parts.alarms.context(change.unit, change.role, change.value, change.time_ns, change.received_ns)
        if any(change.role == "mode" for change in changes):
            records += parts.alarms.modes(parts.modes.now, changes[-1].time_ns, changes[-1].received_ns)
        return records

    def found(self, action: OperatorAction, received_ns: int) -> list[Record]:
        """What people found where maintenance was advised, and what is judged anew since."""
        parts = self._parts
        told, renewed = parts.advisor.act(action, received_ns)
        parts.banks.renew(renewed)
        parts.groups.renew(renewed)
        return told

    def arisen(self, told: Samples) -> list[Record]:
        """Values that a tick brought forth: recorded, summarised, judged; they are no news of any source."""
        parts = self._parts
        fate = np.asarray(qualities(told.status, simulated=parts.plan.simulated), np.uint8)
        usable = ((fate == FATE_GOOD) & (parts.screen.evaluated[told.tag] == 1)).astype(np.uint8)
        rows = Screened(told, fate, usable, None)
        if self._observe is not None:
            self._observe(rows)
        parts.windows.step(rows)
        recorded = parts.recorder.step(rows)
        return [*([recorded] if recorded is not None else []), *self._judge(rows, np.arange(len(told)), [])]

    def _heard_at(self, silent: Silent, entry: Samples, arrived: NDArray[np.bool_]) -> int:
        """The row that ended a silence: the first of the tag, or of the whole source."""
        mine = entry.tag == silent.tag if silent.tag >= 0 else self._parts.tags.source[entry.tag] == silent.source
        return int(np.argmax(arrived & mine))

    def _judge(self, rows: Screened, places: NDArray[np.intp], found: list[Finding]) -> list[Record]:
        """Models and alarms over rows that are neither late, rejected nor repeated; events in the order of the rows."""
        parts = self._parts
        parts.diverters.hear(rows.samples, ((rows.fate == FATE_GOOD) & (rows.usable == 1)).astype(np.uint8))
        # What is found is told in the order of the rows, whichever tag it is about: one alarm may decide what another one says.
        found += [(int(places[row]), 0, told) for row, told in self._conditions.turned(rows)]
        found += [(int(places[f.row]), 1, partial(parts.alarms.turned, f, rows.samples)) for f in parts.alarms.detect(rows.samples, rows.usable)]
        records: list[Record] = []
        for derived, screened in self.of_models(rows):
            parts.windows.step(screened)
            if (recorded := parts.recorder.step(screened)) is not None:
                records.append(recorded)
            received_ns = np.full(len(rows.samples), rows.samples.received_ns)
            found += [(int(places[row]), stage, told) for row, stage, told in self.advised(derived, received_ns)]
            found += [
                (int(places[derived.origin[f.row]]), 2 + derived.stage, partial(self.explained, f, derived, rows))
                for f in parts.alarms.detect(derived.samples, derived.usable)
            ]
        found.sort(key=lambda f: f[:2])
        return records + [event for _, _, told in found for event in told()]

    def advised(self, derived: Derived, received_ns: NDArray[np.int64]) -> list[Finding]:
        """Advice that follows from derived values; received_ns (n,) of the rows that they came from."""
        return [(row, 2 + derived.stage, partial(_one, context)) for row, context in self._parts.advisor.derived(derived, received_ns)]

    def explained(self, found: Found, derived: Derived, rows: Screened, received_ns: int | None = None) -> list[AlarmEvent]:
        """Events of an alarm on a derived value, with the numbers that explain it."""
        parts, row = self._parts, found.row
        origin = int(derived.origin[row])
        source = parts.catalogue[int(rows.samples.tag[origin])]
        value = {source.name: float(rows.samples.value[origin])} if derived.stage < STAGE else {}
        numbers = {**value, **derived.why(row)}
        events = parts.alarms.turned(found, derived.samples, received_ns)
        own = parts.alarms.definitions[found.alarm].name
        return [msgspec.structs.replace(e, contributions=numbers) if e.alarm == own else e for e in events]


def _one(record: Record) -> list[Record]:
    return [record]
