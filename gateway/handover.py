"""Shift handover: who hands over what stands, is shelved, suppressed or out of service, and who took it over (ISA-18.2-2016 clause 11).

The list is made from the store when it is handed over and sealed by its SHA-256; the one who takes over accepts that very list. Both steps are in the
audit trail before they are made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from edge_agent.core import Refused
from gateway.audit import Act, Actor, Trail
from gateway.book import Book
from gateway.query import NotFound
from gateway.rows import AlarmRow

FILE: Final = "handover.sqlite"
KINDS: Final[dict[str, str]] = {"SHLVD": "shelved", "DSUPR": "suppressed", "OOSRV": "out_of_service"}
"""States that are no standing alarm but must be known to whoever comes."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS handover (id INTEGER PRIMARY KEY, state TEXT NOT NULL, body BLOB NOT NULL, accepted_ns INTEGER);
CREATE TABLE IF NOT EXISTS since (only INTEGER PRIMARY KEY CHECK (only = 1), ns INTEGER NOT NULL);
"""


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One alarm that is handed over, as it stood."""

    occurrence: str
    edge: str
    alarm: str
    tag: str
    kind: Literal["standing", "shelved", "suppressed", "out_of_service"]
    state: str
    priority: int
    raised_ns: int
    acked_by: str
    explanation: str


class Handover(msgspec.Struct, frozen=True, kw_only=True):
    """One handover."""

    id: int
    state: Literal["offered", "accepted", "withdrawn"] = "offered"
    offered_by: str
    offered_name: str
    offered_role: str
    offered_ns: int
    notes: str
    items: tuple[Item, ...]
    digest: str
    """SHA-256 of notes and items: what is accepted is what was handed over."""
    accepted_by: str = ""
    accepted_name: str = ""
    accepted_role: str = ""
    accepted_ns: int | None = None
    remark: str = ""
    meaning: str = ""


def items_of(rows: Iterable[AlarmRow]) -> tuple[Item, ...]:
    """What is to be handed over of the occurrences that are not over: alarms before suppressed ones, the urgent first; no advisory findings."""
    found = [
        Item(
            occurrence=row["occurrence"],
            edge=row["edge"],
            alarm=row["alarm"],
            tag=row["tag"],
            kind=KINDS.get(row["state"], "standing"),  # type: ignore[arg-type]
            state=row["state"],
            priority=row["priority"],
            raised_ns=row["raised_ns"],
            acked_by=row["acked_by"],
            explanation=row["explanation"],
        )
        for row in rows
        if not row["advisory"]
    ]
    return tuple(sorted(found, key=lambda i: (i.kind != "standing", i.kind, i.priority, -i.raised_ns, i.occurrence)))


class Handovers(Book):
    """handover.sqlite; any thread."""

    def __init__(self, data_dir: Path, trail: Trail, *, every_s: float, clock: Callable[[], int]) -> None:
        """`every_s`: seconds after which a handover is overdue; 0 never."""
        self._trail, self._clock, self._every_ns = trail, clock, int(every_s * 1e9)
        super().__init__(data_dir / FILE, _SCHEMA)
        self._db.execute("INSERT OR IGNORE INTO since VALUES (1, ?)", (clock(),))

    def all(self, limit: int = 100) -> list[Handover]:
        """Handovers, the newest first."""
        return [msgspec.json.decode(row[0], type=Handover) for row in self._ask("SELECT body FROM handover ORDER BY id DESC LIMIT ?", limit)]

    def get(self, id_: int) -> Handover:
        """One handover; NotFound."""
        rows = self._ask("SELECT body FROM handover WHERE id=?", id_)
        if not rows:
            raise NotFound(f"handover: expected the number of one, found {id_}")
        return msgspec.json.decode(rows[0][0], type=Handover)

    def overdue_ns(self) -> int | None:
        """Since when a handover is overdue; None when it is not."""
        if not self._every_ns:
            return None
        last = self._ask("SELECT max(accepted_ns) FROM handover")[0][0] or self._ask("SELECT ns FROM since")[0][0]
        due = int(last) + self._every_ns
        return due if self._clock() > due else None

    def offer(self, by: Actor, rows: Iterable[AlarmRow], notes: str) -> Handover:
        """Hand over what stands now. Refused while another handover waits to be taken."""
        items = items_of(rows)
        with self._lock:
            if waiting := self._ask("SELECT id FROM handover WHERE state='offered'"):
                raise Refused(f"handover {waiting[0][0]} waits to be taken over; take it over or withdraw it first")
            id_ = int(self._ask("SELECT coalesce(max(id), 0) + 1 FROM handover")[0][0])
            handover = Handover(
                id=id_, offered_by=by.user, offered_name=by.name, offered_role=by.role, offered_ns=self._clock(), notes=notes.strip(), items=items,
                digest=hashlib.sha256(msgspec.json.encode([notes.strip(), items])).hexdigest(),
            )  # fmt: skip
            self._put(by, handover, Act("handover_offer", f"handover {id_}", "", told(handover), handover.notes))
        return handover

    def accept(self, by: Actor, id_: int, digest: str, remark: str, meaning: str) -> Handover:
        """Take over the list that was seen. Refused for one's own, one that does not wait, or another list."""
        with self._lock:
            handover = self._offered(id_)
            if by.user == handover.offered_by:
                self._trail.append(by, Act("refused", f"handover {id_}", new="accept", reason="one's own handover"), self._clock())
                raise Refused("one's own handover cannot be taken over by oneself; the next shift has to")
            if digest != handover.digest:
                raise Refused(f"handover {id_}: expected the list as it was handed over, found another; reload the page")
            done = msgspec.structs.replace(
                handover, state="accepted", accepted_by=by.user, accepted_name=by.name, accepted_role=by.role, accepted_ns=self._clock(),
                remark=remark.strip(), meaning=meaning,
            )  # fmt: skip
            self._put(by, done, Act("handover_accept", f"handover {id_}", "offered", told(done), remark.strip(), meaning))
        return done

    def withdraw(self, by: Actor, id_: int) -> Handover:
        """Take back one's own handover that nobody took over."""
        with self._lock:
            handover = self._offered(id_)
            if by.user != handover.offered_by:
                raise Refused(f"handover {id_}: expected {handover.offered_by}, who handed over, to withdraw it")
            done = msgspec.structs.replace(handover, state="withdrawn")
            self._put(by, done, Act("handover_withdraw", f"handover {id_}", "offered", "withdrawn"))
        return done

    def _offered(self, id_: int) -> Handover:
        handover = self.get(id_)
        if handover.state != "offered":
            raise Refused(f"handover {id_} is {handover.state} already")
        return handover

    def _put(self, by: Actor, handover: Handover, act: Act) -> None:
        self._trail.append(by, act, self._clock())
        row: tuple[Any, ...] = (handover.id, handover.state, msgspec.json.encode(handover), handover.accepted_ns)
        self._ask("INSERT OR REPLACE INTO handover VALUES (?,?,?,?)", *row)


def told(handover: Handover) -> str:
    """A handover in one line: how many of each kind, and the digest of the list."""
    counts = {kind: sum(1 for i in handover.items if i.kind == kind) for kind in ("standing", *KINDS.values())}
    return ", ".join(f"{n} {kind.replace('_', ' ')}" for kind, n in counts.items()) + f"; list {handover.digest[:16]}"
