"""The questions of `Query` that are answered from the store: tags, series, alarms, edges, ledger. Any thread may ask."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Final, Literal

from edge_agent.core import AlarmEvent, Context, OperatorAction, Tag, decode, parse_occurrence_id
from gateway.actions import Actions
from gateway.applying import Applier
from gateway.batches import BatchRow
from gateway.blocks import BlocksRow, blocks_row
from gateway.inbox import EdgeFacts, Inbox
from gateway.journal import Journal
from gateway.latest import Latest
from gateway.query import ALL, AlarmFilter, NotFound
from gateway.rows import AlarmRow, EdgeRow, LastValue, LedgerRow, LimitRow, ModeRow, SeriesRow, SourceRow, TagRow
from gateway.series import View, series, series_of
from gateway.standing import OVER, Occurrence, alarm_row
from gateway.targets.target import Reader
from gateway.units import UNIT, mode_rows, unit_rows

CONNECTED_S: Final = 20.0
"""An edge that was not heard for so long counts as disconnected; one that runs closes windows more often."""


class Answers:
    """Reads what the writer thread keeps up to date."""

    def __init__(
        self, applier: Applier, inbox: Inbox, journal: Journal, actions: Actions, view: Callable[[], View], clock: Callable[[], int]
    ) -> None:
        self._applier, self._inbox, self._journal, self._view, self._clock = applier, inbox, journal, view, clock
        self.gone: frozenset[str] = frozenset()
        """Edges that somebody forgot: they are shown no more, and what is kept of them stays."""
        self._actions = actions

    def series_from(self, reader: Reader, key: str, from_ns: int, to_ns: int, points: int) -> SeriesRow:
        """See Query, `series_in`."""
        found = self._applier.catalogue.find(key)
        if found is None:
            raise NotFound(f"tag: expected a known key EDGE:NAME, found {key!r}")
        known, number = found
        samples, texts = reader.read(known.edge, known.tags[number].name, from_ns, to_ns)
        return series_of(key, known, samples, texts, from_ns, to_ns, points)

    def series(self, key: str, from_ns: int, to_ns: int, points: int = 500) -> SeriesRow:
        """See Query."""
        found = self._applier.catalogue.find(key)
        if found is None:
            raise NotFound(f"tag: expected a known key EDGE:NAME, found {key!r}")
        known, number = found
        while True:
            view = self._view()
            try:
                return series(view, key, known, number, from_ns, to_ns, points)
            except FileNotFoundError:
                # A segment was merged into another while we looked; the new view has its rows. A file that is really gone is a fault.
                if self._view() is view:
                    raise

    def blocks(self, key: str, from_ns: int, to_ns: int, count: int = 60) -> BlocksRow:
        """See Query."""
        found = self._applier.catalogue.find(key)
        if found is None:
            raise NotFound(f"tag: expected a known key EDGE:NAME, found {key!r}")
        known, number = found
        if known.tags[number].kind != "block":
            raise ValueError(f"tag: expected a tag of kind block, found {key!r}")
        while True:
            view = self._view()
            try:
                times, frames = view.blocks(known.edge, number, from_ns, to_ns, count)
            except FileNotFoundError:
                # As above: the new view has its rows.
                if self._view() is view:
                    raise
            else:
                return blocks_row(key, times, frames, from_ns, to_ns, simulated=known.simulated)

    def tags(self) -> list[TagRow]:
        """See Query."""
        now, rows = self._clock(), []
        for edge, known in sorted(self._applier.catalogue.edges.items()):
            if edge in self.gone:
                continue
            limits: dict[str, list[LimitRow]] = {}
            for a in list(known.alarms.values()):
                if a.kind == "limit":
                    limits.setdefault(a.tag, []).append({"alarm": a.name, "side": a.side, "limit": a.limit, "priority": a.priority})
            latest = self._applier.latest.get(edge)
            for number, tag in enumerate(list(known.tags)):
                last = self._last(latest, number, edge, now) if latest is not None and latest.known(number) else None
                rows.append(_tag_row(edge, tag, limits.get(tag.name, []), last))
        return rows

    def _last(self, latest: Latest, number: int, edge: str, now_ns: int) -> LastValue:
        known = self._applier.catalogue.edges[edge]
        time_ns, value, status = latest.of(number)
        connected = self.connected(self._inbox.facts.get(edge), now_ns)
        return {
            "time_ns": time_ns,
            "value": value,
            "status": status,
            "quality": latest.quality(number, known.tags[number], now_ns, simulated=known.simulated, connected=connected),
            "received_ns": int(latest.received_ns[number]),
        }

    @staticmethod
    def connected(fact: EdgeFacts | None, now_ns: int) -> bool:
        """Whether an edge was heard lately."""
        return fact is not None and fact.last_seen_ns is not None and now_ns - fact.last_seen_ns < CONNECTED_S * 1e9

    def occurrence(self, id_: str) -> AlarmRow | None:
        """One occurrence, or None."""
        found = self._applier.occurrence(id_)
        return None if found is None else self._row(id_, found, self._actions.of_occurrence(id_))

    def _row(self, id_: str, found: Occurrence, asked: Sequence[OperatorAction]) -> AlarmRow:
        laid = self._applier.standing.suppressions(found.edge, found.ordered[0].alarm, found.state)
        return alarm_row(id_, found, self._applier.catalogue, laid, asked)

    def alarm(self, occurrence: str) -> AlarmRow:
        """See Query."""
        found = self.occurrence(occurrence)
        if found is None:
            raise NotFound(f"alarm occurrence: expected a known one, found {occurrence!r}")
        return found

    def alarms(self, state: Literal["standing", "history"] = "standing", limit: int = 1000, wanted: AlarmFilter = ALL) -> list[AlarmRow]:
        """See Query."""
        if state == "standing":
            held: dict[str, Occurrence] = dict(self._applier.standing.open)
            asked = self._actions.by_occurrence()
            open_ = {id_: o for id_, o in held.items() if o.events and o.state != OVER and o.edge not in self.gone}
            rows = [self._row(id_, o, asked.get(id_, ())) for id_, o in open_.items()]
            return sorted(filter(wanted.takes, rows), key=lambda r: (r["priority"], -r["raised_ns"], r["occurrence"]))[:limit]
        span = {"from_ns": wanted.from_ns, "to_ns": wanted.to_ns}
        ids: Iterable[tuple[str, bool]]
        if wanted == AlarmFilter(from_ns=wanted.from_ns, to_ns=wanted.to_ns):
            ids = ((id_, True) for id_ in self._journal.occurrences(standing=False, limit=limit, **span))
        else:
            ids = self._journal.search(wanted.words(), unit=wanted.unit, priority=wanted.priority, state=wanted.state, **span)
        found = (row for id_, known in ids if (row := self.occurrence(id_)) is not None and (known or wanted.takes(row)))
        return list(islice(found, limit))

    def batches(self) -> list[BatchRow]:
        """See Query."""
        return self._applier.batches.rows()

    def batch_of(self, occurrence: str) -> str:
        """See Query."""
        return self.batch_at(occurrence, self._clock())

    def batch_at(self, about: str, time_ns: int) -> str:
        """The batch in the unit of an alarm when it was raised, or at some time for one that stands nowhere and for a unit (`subject`)."""
        if about.startswith(UNIT):
            edge, _, unit = about.removeprefix(UNIT).partition("/")
            return self._applier.batches.at(edge, unit, time_ns)
        try:
            edge, alarm, raised_ns = parse_occurrence_id(about)
        except ValueError:
            return ""
        known = self._applier.catalogue.edges.get(edge)
        definition = known.alarms.get(alarm) if known is not None else None
        number = known.numbers.get(definition.tag) if known is not None and definition is not None else None
        if known is None or number is None:
            return ""
        return self._applier.batches.at(edge, known.tags[number].unit_path, raised_ns or time_ns)

    def events(self, from_ns: int, to_ns: int) -> Iterator[tuple[str, AlarmEvent]]:
        """(edge, event) of every alarm event of a span, and the earlier ones of what stood when it began, in the order of each edge."""
        for edge, frame in self._journal.alarms_since(from_ns):
            item = decode(frame)
            if isinstance(item, AlarmEvent) and item.received_ns < to_ns:
                yield edge, item

    def edge(self, edge: str, now_ns: int) -> EdgeRow:
        """One edge."""
        fact = self._inbox.facts[edge]
        known = self._applier.catalogue.edges.get(edge)
        position = self._inbox.positions.get((edge, fact.epoch))
        return {
            "edge": edge,
            "site": fact.site,
            "simulated": fact.simulated,
            "refused": fact.refused,
            "epoch": fact.epoch,
            "committed_through": position.ranges.contiguous if position is not None else 0,
            "last_seen_ns": fact.last_seen_ns,
            "connected": self.connected(fact, now_ns),
            "backlog": self._inbox.backlog(edge),
            "oldest_seq": fact.oldest_seq,
            "software": known.software if known is not None else "",
            "config_hash": known.config_hash if known is not None else "",
            "sources": [] if known is None else [_source(name, context) for name, context in sorted(known.sources.items())],
            "units": [] if known is None else unit_rows(known, self._actions.of_edge(edge)),
        }

    def edges(self) -> list[EdgeRow]:
        """See Query."""
        now = self._clock()
        return [self.edge(edge, now) for edge in sorted(self._inbox.facts.keys() - self.gone)]

    def modes(self, from_ns: int, to_ns: int) -> list[ModeRow]:
        """See Query."""
        return [row for _, known in sorted(self._applier.catalogue.edges.items()) for row in mode_rows(known, from_ns, to_ns)]

    def ledger(self) -> list[LedgerRow]:
        """See Query."""
        rows: list[LedgerRow] = []
        for edge, number, *total in self._applier.ledger.totals():
            name = self._applier.catalogue.edges[edge].tags[number].name
            good, uncertain, bad, late, rejected, duplicate, missing, gaps, total_sum, carry, first, last = total
            rows.append(
                {
                    "edge": edge,
                    "tag": name,
                    "key": f"{edge}:{name}",
                    "n_good": good,
                    "n_uncertain": uncertain,
                    "n_bad": bad,
                    "n_late": late,
                    "n_rejected": rejected,
                    "n_duplicate": duplicate,
                    "n_missing": missing,
                    "sum": total_sum + carry if math.isfinite(total_sum + carry) else None,
                    "first_ns": first or None,
                    "last_ns": last or None,
                    "gaps": gaps,
                }
            )
        return rows


def _tag_row(edge: str, tag: Tag, limits: list[LimitRow], last: LastValue | None) -> TagRow:
    return {
        "key": f"{edge}:{tag.name}",
        "edge": edge,
        "name": tag.name,
        "unit": tag.unit,
        "decimals": tag.decimals,
        "range": tag.range,
        "kind": tag.kind,
        "class": tag.class_,
        "path": tag.path,
        "description": dict(tag.description),
        "role": tag.role,
        "version": tag.version,
        "record": tag.record,
        "report": {"kind": "by_exception" if tag.expected_s is None else "periodic", "expected_s": tag.expected_s},
        "derived_from": list(tag.derived_from),
        "model": tag.model,
        "limits": limits,
        "last": last,
    }


def _source(name: str, context: Context) -> SourceRow:
    up = context.value in ("connected", "resumed")
    state = "connected" if up else context.value
    return {"name": name, "state": state, "last_data_ns": None, "error": "" if up else context.reason}
