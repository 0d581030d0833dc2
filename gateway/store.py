"""The store: inbox, journal, hot tail and segments under one roof. It takes deliveries in; `ask` answers from it (see answers.py).

Who runs where: `take`, `act`, `roll` and `trim` in the one writer thread that owns SQLite; `seal` and `tidy` in the sealing thread;
the questions in any thread. Readers look at a `View` that is swapped in one step, so that every row is in exactly one place.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from edge_agent.core import Delivery, Log, LogError, OperatorAction, PharmedgeError, parse_occurrence_id
from edge_agent.core.signing import public_keys
from gateway.actions import Actions
from gateway.answers import CONNECTED_S, Answers
from gateway.applying import Applied, Applier
from gateway.audit import Actor
from gateway.config import StoreSection
from gateway.inbox import STREAM, Inbox, Kept, Taken
from gateway.journal import FILE, Journal
from gateway.manifest import Manifest, faults
from gateway.own_alarms import OwnAlarms
from gateway.query import Asked, Maintained, ModeAsked, Subscription
from gateway.rows import Change
from gateway.segments import FOLDER, OpenSegments
from gateway.segments_seal import Sealer, day_of
from gateway.series import View
from gateway.standing import OVER
from gateway.tail import Generation

TRIM_ROWS: Final = 5000
INBOX_FILE: Final = "inbox.sqlite"


def open_inbox(data_dir: Path) -> Log:
    """The inbox of a gateway; LogError when SQLite cannot read it: its numbers say what is sealed, so it is never begun anew beside segments."""
    try:
        return Log(data_dir / INBOX_FILE, (STREAM,))
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        raise LogError(f"{data_dir / INBOX_FILE}: expected a readable SQLite file, found {error}; run `verify` and restore a backup") from error


class Store:
    """Everything a gateway keeps."""

    def __init__(
        self,
        data_dir: Path,
        *,
        gateway: str,
        production: bool,
        settings: StoreSection,
        edges: Sequence[str] = (),
        clock: Callable[[], int],
        pause: Callable[[float], object] = lambda _: None,
        step: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.data_dir, self.gateway, self.settings = data_dir, gateway, settings
        self._home = frozenset(edges)
        self._clock, self._pause, self._step = clock, pause, step
        self._view_lock = threading.Lock()
        self._subscriptions: set[Subscription] = set()
        self.write_error = ""
        self.actions_changed: Callable[[str], None] = lambda _: None
        """Called in the writer thread with the edge whose outstanding actions changed."""
        self.log = open_inbox(data_dir)
        self.journal = Journal(data_dir / FILE)
        self.manifest = Manifest(data_dir)
        wrong = faults(self.manifest.lines, public_keys(data_dir / "keys"), self.journal.anchor())
        if wrong:
            raise LogError(f"{data_dir}: the manifest is not as it was signed: {wrong[0]}; run `verify`")
        self.segments = OpenSegments(data_dir / FOLDER)
        self.inbox = Inbox(self.log, gateway=gateway, production=production)
        self.applier = Applier(self.journal, self._durably)
        self.sealer = Sealer(data_dir, self.manifest, self.segments, self.applier.catalogue, gateway, step)
        self.orphans = self.sealer.clean()
        self.duplicates = self.refused = self.quarantined = 0
        self.last_commit_ns: int | None = None
        self.last_seal_ns: int | None = None
        self.commit_ms: float | None = None
        self._view = View(tuple(self.manifest.live.values()), (), self.segments)
        self._heard: dict[str, bool] = {}
        self._watched_ns = 1 << 62
        self._catch_up()
        self.asked = Actions(self.journal, self.applier, clock)
        self.own = OwnAlarms(gateway, self.journal, self.applier, self.asked, durably=self._durably, tell=self._tell, clock=clock)
        self.ask = Answers(self.applier, self.inbox, self.journal, self.asked, self.view, clock)

    # --- writing -----------------------------------------------------------------------------------------------------------------

    def _durably(self, transaction: Callable[[], object]) -> None:
        while True:
            try:
                transaction()
            except sqlite3.OperationalError as error:
                self.write_error = f"cannot write: {error}"
                if self._pause(1.0):
                    raise
            else:
                self.write_error = ""
                return

    def _catch_up(self) -> None:
        """Bring tail and journal to the head of the inbox."""
        applied, sealed = self.journal.applied, self.manifest.sealed
        head = self.log.head(STREAM).seq
        if sealed > head or applied > head:
            raise LogError(f"{INBOX_FILE}: expected at least {max(sealed, applied)} numbers as segments and journal know them, found {head}")
        if sealed > applied:
            raise LogError(f"{FILE}: expected everything up to {sealed} as the segments know it, found it applied to {applied}")
        # Sealed, but killed before `trim` wrote the newest values down: they are read once more, and the rows thrown away.
        self._read(self.log.cursor("sealed"), sealed, Generation(1, 0, 0), applied)
        generation = Generation(sealed + 1, sealed, self._clock())
        self._view = View(self._view.files, (generation,), self.segments)
        self._read(sealed, head, generation, applied)

    def _read(self, after: int, through: int, generation: Generation, applied: int) -> None:
        """Apply rows of the inbox again; the journal takes those beyond `applied`."""
        while rows := self.log.read(STREAM, after, through=through, max_bytes=16 << 20, max_rows=20_000):
            batch = [Kept.decode(row.data, row.seq) for row in rows]
            after = rows[-1].seq
            done = self.applier.apply(batch, generation, journaled=applied, applied=after if after > applied else None)
            self.applier.settle(done)
            generation.last = after
            if through > self.manifest.sealed and generation.rows >= self.settings.seal_rows:
                generation = self._roll()

    def _roll(self) -> Generation:
        last = self._view.generations[-1].last
        fresh = Generation(last + 1, last, self._clock())
        with self._view_lock:
            self._view = View(self._view.files, (*self._view.generations, fresh), self.segments)
        return fresh

    def take(self, deliveries: Sequence[tuple[Delivery, int]]) -> Taken:
        """Commit deliveries and apply them; what is returned is durable."""
        begun = self._clock()
        taken = Taken()

        def transaction() -> None:
            nonlocal taken
            taken = self.inbox.take(deliveries)

        self._durably(transaction)
        self.commit_ms, self.last_commit_ns = (self._clock() - begun) / 1e6, begun
        self.duplicates += taken.duplicates
        self.refused += taken.refused
        return taken

    def apply(self, taken: Taken) -> None:
        """Bring everything that is derived up to date with what was taken, and tell the subscribers."""
        generation = self._view.generations[-1]
        done = Applied()
        if taken.kept:
            last = taken.kept[-1].at
            done = self.applier.apply(taken.kept, generation, journaled=0, applied=last)
            done.occurrences |= self.asked.settle(done.settled)
            generation.last = last
            if generation.rows >= self.settings.seal_rows:
                self._roll()
        for kept in done.unreadable:
            self.own.find(
                f"{kept.edge}.unreadable_record", f"record {kept.epoch}/{kept.seq} of {kept.edge} cannot be read; it is kept as it came", done
            )
        for strange in taken.strange:
            kept = strange.record
            why = f"{kept.edge} sent {kept.epoch}/{kept.seq} with other content than was committed ({strange.what}): is it a copy of another edge?"
            self.own.find(f"{kept.edge}.cloned", why, done)
        for edge, epoch, latest in taken.back:
            why = f"{edge} says it is in epoch {epoch} and was in {latest}: two run under its name, or it lost its log and its clock went back"
            self.own.find(f"{edge}.epoch_back", why, done)
        for edge, said_ns, before_ns in done.clocks_back:
            why = f"{edge} started at {_iso(said_ns)} by its clock, but had been at {_iso(before_ns)}: its clock went back"
            self.own.find(f"{edge}.clock_back", why, done)
        self._tell(done, taken.edges)
        for edge in done.settled_edges:
            self.actions_changed(edge)

    def act(self, wishes: Sequence[tuple[Asked, str]]) -> list[str | PharmedgeError]:
        """Carry out `Query.act` in the writer thread; each wish comes with the id that its action shall have."""
        mine = [w for w in wishes if w[0].occurrence.startswith(f"{self.gateway}~")]
        theirs = [w for w in wishes if w not in mine]
        answers = dict(zip((w[1] for w in theirs), self.asked.ask(theirs), strict=True))
        for asked, id_ in mine:
            try:
                answers[id_] = self.own.act(asked, id_)
            except PharmedgeError as error:
                answers[id_] = error
        told = {asked.occurrence for asked, id_ in theirs if answers[id_] == id_}
        self._tell(Applied(occurrences=told), set())
        for edge in {parse_occurrence_id(of)[0] for of in told}:
            self.actions_changed(edge)
        return [answers[id_] for _, id_ in wishes]

    def set_mode(self, asked: ModeAsked, id_: str) -> str:
        """Carry out `Query.set_mode` in the writer thread."""
        found = self.asked.ask_mode(asked, id_)
        self._tell(Applied(), {asked.edge} & self.inbox.facts.keys())
        self.actions_changed(asked.edge)
        return found

    def maintained(self, said: Maintained, by: Actor) -> str:
        """Hand to an edge what people found where it had advised maintenance, in the writer thread."""
        self.asked.ask_maintained(said, by)
        self._tell(Applied(), {said.edge} & self.inbox.facts.keys())
        self.actions_changed(said.edge)
        return said.id

    def actions(self, edge: str) -> list[OperatorAction]:
        """Outstanding operator actions of an edge, oldest first."""
        return self.asked.of_edge(edge)

    def _tell(self, done: Applied, edges: set[str]) -> None:
        if self._subscriptions and (done.numbers or done.occurrences or done.tags or edges):
            alarms = {id_: row for id_ in done.occurrences if (row := self.ask.occurrence(id_)) is not None}
            now = self._clock()
            change: Change = {
                "values": self.applier.values(done),
                "alarms": alarms,
                "edges": {e: self.ask.edge(e, now) for e in edges},
                "tags": done.tags,
            }
            for subscription in list(self._subscriptions):
                subscription.offer_from_thread(change)
        self.applier.settle(done)

    def watch(self, now_ns: int, forgotten: Mapping[str, int] = MappingProxyType({})) -> None:
        """Tell the subscribers which edges fell silent or came back, and call people while one is silent; in the writer thread.

        forgotten  edges that nobody waits for any more, with the time since when; one that was heard later is waited for again

        An edge whose home is another gateway is not waited for either.
        """
        away = {e for e in self.inbox.facts if self._home and e not in self._home}
        gone = away | {e for e, at in forgotten.items() if e in self.inbox.facts and (self.inbox.facts[e].last_seen_ns or 0) <= at}
        anew, self.ask.gone = gone != self.ask.gone, frozenset(gone)
        # A gateway that has just started gives every edge the time to find it.
        self._watched_ns = min(self._watched_ns, now_ns)
        awake = now_ns - self._watched_ns >= CONNECTED_S * 1e9
        heard = {edge: self.ask.connected(fact, now_ns) for edge, fact in self.inbox.facts.items()}
        changed = {edge for edge, connected in heard.items() if self._heard.get(edge) != connected}
        self._heard = heard
        self._tell(Applied(tags=anew), changed)
        for edge, connected in heard.items():
            if edge in gone:
                why = f"{edge} has its home at another gateway" if edge in away else f"{edge} was forgotten"
                self.own.hold(f"{edge}.silent", False, why)
            elif connected or awake:
                seen = self.inbox.facts[edge].last_seen_ns
                why = f"{edge} is heard again" if connected else f"nothing was heard of {edge} since {_iso(seen) if seen else 'ever'}"
                self.own.hold(f"{edge}.silent", not connected, why)

    # --- sealing -----------------------------------------------------------------------------------------------------------------

    def roll(self, now_ns: int) -> None:
        """Begin a new generation when the last one is old enough; in the writer thread."""
        last = self._view.generations[-1]
        if last.last >= last.first and now_ns - last.opened_ns >= self.settings.seal_after_s * 1e9:
            self._roll()

    def seal(self, now_ns: int) -> int:
        """Seal every closed generation; returns how many. In the sealing thread; `trim` afterwards lets go of the inbox rows."""
        closed = self._view.generations[:-1]
        for generation in closed:
            self.sealer.seal(generation, now_ns)
            self._swap(generation)
            self.last_seal_ns = now_ns
        return len(closed)

    def _swap(self, sealed: Generation | None = None) -> None:
        with self._view_lock:
            left = tuple(g for g in self._view.generations if g is not sealed)
            self._view = View(tuple(self.manifest.live.values()), left, self.segments)

    def trim(self, held_from: int) -> int:
        """Forget inbox rows that are sealed, applied and below a number that a target still needs; rows forgotten. In the writer thread."""
        sealed = self.manifest.sealed
        # What leaves the inbox here is not read again at the next start: a batch that began long ago must still be shown then.
        latest = {edge: values.state() for edge, values in self.applier.latest.items()}
        self._durably(lambda: self.journal.apply(anchor=self.manifest.head, latest=latest))
        self._step("anchored")
        self.log.commit(cursors={"sealed": sealed})
        through = min(sealed, self.journal.applied, held_from - 1)
        first, gone = self.log.first(STREAM), 0
        while first <= through:
            # In steps, so that a long backlog does not keep the writer from committing what comes in.
            gone += self.log.forget(STREAM, min(through, first + TRIM_ROWS - 1))
            first += TRIM_ROWS
        self._step("trimmed")
        return gone

    def tidy(self, now_ns: int) -> int:
        """Merge small segments and remove expired ones; how many files went. In the sealing thread."""
        today, gone = day_of(now_ns), 0
        expired = self.sealer.expired(self.settings.retention_days.other, now_ns)
        if expired:
            names = self.sealer.remove(expired, now_ns)
            self._swap()
            self.sealer.unlink(names)
            gone += len(names)
        for group in self.sealer.due(self.settings.compact_files, self.settings.compact_rows, today):
            names = self.sealer.merge(group, now_ns)
            self._swap()
            self.sealer.unlink(names)
            gone += len(names)
        return gone

    def close(self) -> None:
        """Release all files."""
        self.segments.close()
        self.manifest.close()
        self.journal.close()
        self.log.close()

    # --- reading -----------------------------------------------------------------------------------------------------------------

    def view(self) -> View:
        """What is in force now."""
        with self._view_lock:
            return self._view

    def subscribe(self) -> Subscription:
        """See Query."""
        made = Subscription(self._subscriptions.discard)
        self._subscriptions.add(made)
        return made

    def figures(self) -> dict[str, Any]:
        """What `Query.status` says of the store."""
        view = self.view()
        head = self.log.head(STREAM)
        return {
            "rows": sum(f.rows for f in view.files) + sum(g.rows for g in view.generations),
            "rows_by_kind": dict(self.applier.rows),
            "records": head.seq,
            "duplicates": self.duplicates,
            "quarantined": self.quarantined,
            "refused": self.refused,
            "inbox_records": head.seq - self.log.first(STREAM) + 1,
            "inbox_bytes": head.bytes,
            "segments": len(view.files),
            "segment_bytes": sum(f.bytes for f in view.files),
            "segment_rows": sum(f.rows for f in view.files),
            "manifest_rows": self.manifest.head.n,
            "manifest_head": self.manifest.head.hash,
            "last_commit_ns": self.last_commit_ns,
            "last_seal_ns": self.last_seal_ns,
            "commit_ms": self.commit_ms,
            "alarms_standing": sum(1 for o in list(self.applier.standing.open.values()) if o.events and o.state != OVER),
        }


def _iso(time_ns: int) -> str:
    return f"{np.datetime64(time_ns, 'ns').astype('datetime64[s]')}Z"
