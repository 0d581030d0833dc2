"""Maintenance advice of the edges, and what people made of it: accepted with a work request, or rejected with a reason; later what was found.

What an edge advises comes as context of role `advice`, valid until the next of the same machine. Decisions stand in advice.sqlite; each is
in the audit trail before it is made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from edge_agent.core import Context, Refused, WireError, decode
from gateway.audit import Act, Actor, Trail
from gateway.book import Book
from gateway.journal import CONTEXT, Journal
from gateway.notify.receiver import WorkRequest
from gateway.query import Maintained, NotFound

FILE: Final = "advice.sqlite"
ROLE: Final = "advice"
OUTCOMES: Final = ("confirmed", "other_fault", "no_fault")

Tell = Callable[[Maintained, Actor], None]
"""Hands an edge what was found at what it had advised on, and by whom; the same id twice is one."""
Outcome = Literal["", "confirmed", "other_fault", "no_fault"]

_SCHEMA: Final = "CREATE TABLE IF NOT EXISTS decision (id TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;"


class Texts(msgspec.Struct, frozen=True):
    """What an edge advises, each text by language; urgency is act or plan."""

    kind: str
    urgency: str
    what: dict[str, str]
    why: dict[str, str]
    how_soon: dict[str, str]
    how_sure: dict[str, str]


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What a person decided, and what maintenance found."""

    state: Literal["accepted", "rejected"]
    by: str
    name: str
    role: str
    reason: str
    time_ns: int
    receivers: tuple[str, ...] = ()
    """Where the work request went."""
    outcome: Outcome = ""
    renewed: bool = False
    """The part was made as new: the edge judges it anew."""
    told: Literal["", "renewed", "no_fault", "rejected"] = ""
    """What the edge was told of it."""
    outcome_by: str = ""
    outcome_ns: int | None = None
    remark: str = ""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One piece of advice. `until_ns` is when the edge took it back or replaced it, None while it holds."""

    id: str
    edge: str
    unit: str
    time_ns: int
    until_ns: int | None
    advice: Texts
    decision: Decision | None = None


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the advice of one kind, or of one kind about one machine: how far it can be trusted here."""

    kind: str
    edge: str = ""
    unit: str = ""
    given: int = 0
    accepted: int = 0
    rejected: int = 0
    confirmed: int = 0
    other_fault: int = 0
    no_fault: int = 0


class Advices(Book):
    """Advice read from the journal, decisions from advice.sqlite; any thread."""

    def __init__(
        self, data_dir: Path, trail: Trail, journal: Journal, *, request: Callable[[WorkRequest, int], tuple[str, ...]], tell: Tell,
        clock: Callable[[], int],
    ) -> None:  # fmt: skip
        """`request` hands a work request to its receivers and says to which, and sends the same one once; `tell` hands the edge what was found."""
        self._trail, self._journal, self._request, self._tell, self._clock = trail, journal, request, tell, clock
        super().__init__(data_dir / FILE, _SCHEMA)
        self._read = 0
        self._given: dict[str, Row] = {}
        self._last: dict[tuple[str, str], str] = {}

    def _refresh(self) -> None:
        while rows := self._journal.behind(self._read, CONTEXT):
            for n, entry in rows:
                self._read = n
                try:
                    item = decode(entry.frame)
                except WireError:
                    continue  # the journal's own check names it
                if isinstance(item, Context) and item.role == ROLE:
                    self._take(entry.edge, item)

    def _take(self, edge: str, told: Context) -> None:
        before = self._last.pop((edge, told.unit), None)
        if before is not None:
            self._given[before] = msgspec.structs.replace(self._given[before], until_ns=told.time_ns)
        if not told.value:
            return
        try:
            texts = msgspec.json.decode(told.value, type=Texts)
        except (msgspec.DecodeError, msgspec.ValidationError):
            return  # of another version: it stays in the journal and in exports
        id_ = hashlib.sha256(f"{edge}\0{told.unit}\0{told.time_ns}".encode()).hexdigest()[:20]
        self._given[id_] = Row(id=id_, edge=edge, unit=told.unit, time_ns=told.time_ns, until_ns=None, advice=texts)
        self._last[edge, told.unit] = id_

    def _decisions(self) -> dict[str, Decision]:
        return {str(i): msgspec.json.decode(b, type=Decision) for i, b in self._db.execute("SELECT id, body FROM decision")}

    def all(self, limit: int = 200) -> list[Row]:
        """Advice, what holds and nobody decided on first, then the newest first."""
        with self._lock:
            self._refresh()
            decided = self._decisions()
            rows = [msgspec.structs.replace(row, decision=decided.get(id_)) for id_, row in self._given.items()]
        rows.sort(key=lambda r: (r.until_ns is not None or r.decision is not None, r.advice.urgency != "act", -r.time_ns))
        return rows[:limit]

    def get(self, id_: str) -> Row:
        """One piece of advice; NotFound."""
        with self._lock:
            self._refresh()
            row = self._given.get(id_)
            if row is None:
                raise NotFound(f"advice: expected the id of one, found {id_}")
            return msgspec.structs.replace(row, decision=self._decisions().get(id_))

    def counts(self) -> list[Counts]:
        """What became of the advice, by kind."""
        return self._counted(lambda row: (row.advice.kind, "", ""))

    def records(self) -> list[Counts]:
        """What became of the advice of each machine."""
        return self._counted(lambda row: (row.advice.kind, row.edge, row.unit))

    def _counted(self, of: Callable[[Row], tuple[str, str, str]]) -> list[Counts]:
        found: dict[tuple[str, str, str], dict[str, int]] = {}
        for row in self.all(1_000_000):
            n = found.setdefault(of(row), {})
            for key in ("given", row.decision.state if row.decision else "", row.decision.outcome if row.decision else ""):
                if key:
                    n[key] = n.get(key, 0) + 1
        return [Counts(kind=kind, edge=edge, unit=unit, **n) for (kind, edge, unit), n in sorted(found.items())]

    def accept(self, by: Actor, id_: str, reason: str) -> Row:
        """Make a work request of it. Refused when it is decided already."""
        with self._lock:
            row = self._undecided(id_)
            now = self._clock()
            a = row.advice
            work = WorkRequest(
                id=id_, edge=row.edge, unit=row.unit, urgency=a.urgency, what=a.what, why=a.why, how_soon=a.how_soon, how_sure=a.how_sure,
                reason=reason.strip(), requested_by=by.name or by.user, requested_ns=now,
            )  # fmt: skip
            self._trail.append(by, Act("advice_accept", f"{row.edge} {row.unit}", "", f"{a.urgency}: {a.what.get('en', '')}", reason.strip()), now)
            # The request first: a crash behind it leaves the advice undecided, and accepting it again sends nothing twice.
            receivers = self._request(work, now)
            return self._put(row, self._decided("accepted", by, reason, now, receivers))

    def reject(self, by: Actor, id_: str, reason: str) -> Row:
        """Decide that nothing is done, and why. The edge is told, and says the same again only when its evidence has clearly grown."""
        with self._lock:
            row = self._undecided(id_)
            now = self._clock()
            self._trail.append(by, Act("advice_reject", f"{row.edge} {row.unit}", "", f"{row.advice.what.get('en', '')}", reason.strip()), now)
            # The edge first: a crash behind it leaves the advice undecided, and rejecting it again says nothing twice.
            self._tell(_said(row, "rejected", reason.strip()), by)
            return self._put(row, msgspec.structs.replace(self._decided("rejected", by, reason, now, ()), told="rejected"))

    def outcome(self, by: Actor, id_: str, outcome: Literal["confirmed", "other_fault", "no_fault"], remark: str, *, renewed: bool = False) -> Row:
        """What maintenance found, and whether the part is as new: kept, and told the edge where it changes something there.

        It may be corrected; the trail keeps what was said. Refused for a part as new when the machine is advised on anew since.
        """
        with self._lock:
            row = self.get(id_)
            if row.decision is None:
                raise Refused(f"advice {id_}: expected one that was accepted or rejected, found one that nobody decided on")
            told = row.decision.told
            # Of advice that is over there is nothing to silence; what was rejected is silent already.
            tell: Literal["", "renewed", "no_fault", "rejected"] = "renewed" if renewed else ""
            if outcome == "no_fault" and not renewed:
                tell = "rejected" if told == "rejected" else "no_fault" if row.until_ns is None or told == "no_fault" else ""
            if tell == "renewed" and told != tell and self._last.get((row.edge, row.unit), id_) != id_:
                raise Refused(f"{row.unit} is advised on anew since: say of the newer advice that the part is as new")
            now = self._clock()
            words = f"{outcome}, as new" if renewed else outcome
            self._trail.append(by, Act("advice_outcome", f"{row.edge} {row.unit}", row.decision.outcome, words, remark.strip()), now)
            # The edge first: a crash behind it leaves the outcome open, and the same said twice changes nothing.
            if tell and tell != told:
                self._tell(_said(row, tell, remark.strip()), by)
            elif not tell and told in ("no_fault", "rejected"):
                self._tell(_said(row, "withdraw_no_fault" if told == "no_fault" else "withdraw_rejected", remark.strip()), by)
            done = msgspec.structs.replace(
                row.decision, outcome=outcome, renewed=renewed, told=tell, outcome_by=by.user, outcome_ns=now, remark=remark.strip()
            )  # fmt: skip
            return self._put(row, done)

    @staticmethod
    def _decided(state: Literal["accepted", "rejected"], by: Actor, reason: str, now: int, receivers: tuple[str, ...]) -> Decision:
        return Decision(state=state, by=by.user, name=by.name, role=by.role, reason=reason.strip(), time_ns=now, receivers=receivers)

    def _undecided(self, id_: str) -> Row:
        row = self.get(id_)
        if row.decision is not None:
            raise Refused(f"advice {id_} is {row.decision.state} already, by {row.decision.by}")
        if row.until_ns is not None:
            raise Refused(f"advice {id_} is withdrawn already, by {row.edge}")
        return row

    def _put(self, row: Row, decision: Decision) -> Row:
        body: Any = msgspec.json.encode(decision)
        self._db.execute("INSERT OR REPLACE INTO decision VALUES (?,?)", (row.id, body))
        return msgspec.structs.replace(row, decision=decision)


def _said(row: Row, kind: Literal["renewed", "no_fault", "withdraw_no_fault", "rejected", "withdraw_rejected"], remark: str) -> Maintained:
    # The id is that of the advice, of the outcome that is corrected and of what is said: a repetition of the same is recognised by it.
    before = row.decision.outcome_ns if row.decision is not None else None
    id_ = hashlib.sha256(f"{row.id}\0{before}\0{kind}".encode()).hexdigest()[:32]
    return Maintained(id=id_, edge=row.edge, subject=row.unit, advised_ns=row.time_ns, kind=kind, remark=remark)
