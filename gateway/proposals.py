"""Proposed changes of edges' configurations and what became of them: proposed by one person, approved with a signature by another.

An approval is signed with the gateway's key and published for its edge, which verifies it and runs what it cites (edge_agent/core/change.py).
Every step is in the audit trail before it is made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.core import PharmedgeError, Refused, topic
from edge_agent.core.change import LEAF, MAX_DOCUMENT, ChangeApproval, Difference, canonical_config, config_sha256, differences, encode_changes
from edge_agent.core.change import sign_change as signed
from gateway.audit import Act, Actor, Trail, instant
from gateway.book import Book
from gateway.query import NotFound

FILE: Final = "proposals.sqlite"
PUBLISHED: Final = 20
"""Approvals that are kept on the topic of an edge, the newest."""
TOLD: Final = 40
"""Differences written out in the audit entry of a proposal."""

State = Literal["proposed", "approved", "refused", "withdrawn"]

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS proposal (id INTEGER PRIMARY KEY, site TEXT NOT NULL, edge TEXT NOT NULL, sha256 TEXT NOT NULL, config BLOB NOT NULL,
  base INTEGER NOT NULL, state TEXT NOT NULL, proposed_by TEXT NOT NULL, proposed_name TEXT NOT NULL, reason TEXT NOT NULL,
  proposed_ns INTEGER NOT NULL, decided_by TEXT NOT NULL DEFAULT '', decided_name TEXT NOT NULL DEFAULT '', meaning TEXT NOT NULL DEFAULT '',
  why TEXT NOT NULL DEFAULT '', decided_ns INTEGER, effective_ns INTEGER, approval BLOB);
CREATE INDEX IF NOT EXISTS proposal_edge ON proposal (edge, state);
"""


class WrongProposal(PharmedgeError):
    """A proposal that cannot be taken, with what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """One proposal; times in ns UTC."""

    id: int
    site: str
    edge: str
    sha256: str
    base: int
    """Number of the approved proposal that it was compared with; 0 when nothing was approved before."""
    state: State
    proposed_by: str
    proposed_name: str
    reason: str
    proposed_ns: int
    decided_by: str
    decided_name: str
    meaning: str
    why: str
    decided_ns: int | None
    effective_ns: int | None


_COLUMNS: Final = (
    "id, site, edge, sha256, base, state, proposed_by, proposed_name, reason, proposed_ns, decided_by, decided_name, meaning, why, decided_ns,"
    " effective_ns"
)


class Proposals(Book):
    """proposals.sqlite; any thread."""

    def __init__(self, data_dir: Path, trail: Trail, key: Ed25519PrivateKey, *, gateway: str, site: str, clock: Callable[[], int]) -> None:
        self._trail, self._key, self._gateway, self._site, self._clock = trail, key, gateway, site, clock
        super().__init__(data_dir / FILE, _SCHEMA)
        self._given: dict[str, bytes] = {}

    def all(self, limit: int = 200) -> list[Proposal]:
        """Proposals, those that wait first, then the newest first."""
        rows = self._ask(f"SELECT {_COLUMNS} FROM proposal ORDER BY state <> 'proposed', id DESC LIMIT ?", limit)
        return [Proposal(*row) for row in rows]

    def get(self, id_: int) -> Proposal:
        """One proposal; NotFound."""
        rows = self._ask(f"SELECT {_COLUMNS} FROM proposal WHERE id=?", id_)
        if not rows:
            raise NotFound(f"proposal: expected the number of one, found {id_}")
        return Proposal(*rows[0])

    def config(self, id_: int) -> dict[str, Any]:
        """The configuration of a proposal; empty for 0."""
        rows = self._ask("SELECT config FROM proposal WHERE id=?", id_)
        found: dict[str, Any] = msgspec.json.decode(rows[0][0]) if rows else {}
        return found

    def differences(self, proposal: Proposal) -> list[Difference]:
        """How a proposal differs from what was approved when it was made."""
        return differences(self.config(proposal.base), self.config(proposal.id))

    def _approved(self, edge: str) -> int:
        rows = self._ask("SELECT id FROM proposal WHERE edge=? AND state='approved' ORDER BY decided_ns DESC, id DESC LIMIT 1", edge)
        return int(rows[0][0]) if rows else 0

    def propose(self, by: Actor, edge: str, site: str, config: Mapping[str, Any], sha256: str, reason: str) -> Proposal:
        """Take a proposal in. WrongProposal when it is none, is damaged, changes nothing, or the same one waits already."""
        data = canonical_config(config)
        if len(data) > MAX_DOCUMENT:
            raise WrongProposal(f"config: expected at most {MAX_DOCUMENT} bytes, found {len(data)}")
        section = config.get("edge")
        if not isinstance(section, dict) or (section.get("id"), section.get("site")) != (edge, site) or site != self._site:
            raise WrongProposal(f"config: expected edge {edge} of site {self._site}, found another or none")
        if config_sha256(config) != sha256:
            raise WrongProposal("sha256: expected that of the configuration, found another: the file was changed after it was made")
        if not reason.strip():
            raise WrongProposal("reason: expected why the change is made, found nothing")
        with self._lock:
            base = self._approved(edge)
            if base and self.get(base).sha256 == sha256:
                raise WrongProposal(f"config: expected one that differs from proposal {base}, which is approved")
            if self._ask("SELECT 1 FROM proposal WHERE edge=? AND sha256=? AND state='proposed'", edge, sha256):
                raise WrongProposal("config: expected one that was not proposed yet; the same one waits to be approved")
            found = differences(self.config(base), config)
            id_ = int(self._ask("SELECT coalesce(max(id), 0) + 1 FROM proposal")[0][0])
            old, new = _told(found, "old"), _told(found, "new")
            old, new = (old, new) if base else ("", f"first configuration {sha256}")
            self._trail.append(by, Act("propose", f"edge {edge}: proposal {id_}", old, new, reason.strip()), self._clock())
            self._ask(
                "INSERT INTO proposal (id, site, edge, sha256, config, base, state, proposed_by, proposed_name, reason, proposed_ns)"
                " VALUES (?,?,?,?,?,?,'proposed',?,?,?,?)",
                id_, site, edge, sha256, data, base, by.user, by.name, reason.strip(), self._clock(),
            )  # fmt: skip
            return self.get(id_)

    def _waiting(self, id_: int) -> Proposal:
        proposal = self.get(id_)
        if proposal.state != "proposed":
            raise Refused(f"proposal {id_} is {proposal.state} already")
        return proposal

    def check_approver(self, by: Actor, id_: int) -> Proposal:
        """The proposal, if this person may decide on it; Refused, with an entry, for one's own."""
        proposal = self._waiting(id_)
        if by.user.casefold() == proposal.proposed_by.casefold():
            self._trail.append(by, Act("refused", _object(proposal), new="approve", reason="one's own proposal"), self._clock())
            raise Refused("one's own proposal cannot be approved by oneself; another person has to")
        if proposal.base != self._approved(proposal.edge):
            why = f"since proposal {id_} was made, another one was approved for {proposal.edge}"
            raise Refused(f"{why}; propose it again, so that its differences are right")
        return proposal

    def approve(self, by: Actor, id_: int, meaning: str, reason: str, effective_ns: int | None = None) -> Proposal:
        """Approve a proposal of another person; it may run from `effective_ns` on, now when absent. Refused says why not."""
        with self._lock:
            proposal = self.check_approver(by, id_)
            now = self._clock()
            if not meaning.strip() or not reason.strip():
                raise WrongProposal("approve: expected a meaning and a reason, found nothing")
            effective = now if effective_ns is None else max(effective_ns, now)
            approval = signed(
                ChangeApproval(
                    site=proposal.site, edge=proposal.edge, proposal=id_, sha256=proposal.sha256, proposed_by=proposal.proposed_by,
                    proposed_name=proposal.proposed_name, approved_by=by.user, approved_name=by.name, approved_role=by.role, meaning=meaning.strip(),
                    reason=reason.strip(), effective_ns=effective, approved_ns=now, gateway=self._gateway,
                ),
                self._key,
            )  # fmt: skip
            since = instant(effective, "UTC")[0]
            act = Act("approve", _object(proposal), "proposed", f"approved, in effect from {since}", reason.strip(), meaning.strip())
            self._trail.append(by, act, now)
            self._ask(
                "UPDATE proposal SET state='approved', decided_by=?, decided_name=?, meaning=?, why=?, decided_ns=?, effective_ns=?, approval=?"
                " WHERE id=?",
                by.user, by.name, meaning.strip(), reason.strip(), now, effective, msgspec.json.encode(approval), id_,
            )  # fmt: skip
            return self.get(id_)

    def refuse(self, by: Actor, id_: int, reason: str) -> Proposal:
        """Refuse a proposal, or withdraw one's own."""
        with self._lock:
            proposal = self._waiting(id_)
            if not reason.strip():
                raise WrongProposal("reason: expected why, found nothing")
            state = "withdrawn" if by.user == proposal.proposed_by else "refused"
            act = Act(f"proposal_{state}", _object(proposal), "proposed", state, reason.strip())
            self._trail.append(by, act, self._clock())
            self._ask(
                "UPDATE proposal SET state=?, decided_by=?, decided_name=?, why=?, decided_ns=? WHERE id=?",
                state, by.user, by.name, reason.strip(), self._clock(), id_,
            )  # fmt: skip
            return self.get(id_)

    def approvals(self, edge: str) -> list[ChangeApproval]:
        """What is approved for an edge, the oldest first."""
        rows = self._ask("SELECT approval FROM proposal WHERE edge=? AND state='approved' ORDER BY decided_ns DESC, id DESC LIMIT ?", edge, PUBLISHED)
        return [msgspec.json.decode(row[0], type=ChangeApproval) for row in reversed(rows)]

    def approval(self, id_: int) -> ChangeApproval:
        """The signed approval of a proposal; NotFound when it has none."""
        rows = self._ask("SELECT approval FROM proposal WHERE id=? AND approval IS NOT NULL", id_)
        if not rows:
            raise NotFound(f"proposal {id_}: expected one that is approved")
        return msgspec.json.decode(rows[0][0], type=ChangeApproval)

    def give(self, publish: Callable[[str, bytes], None]) -> None:
        """Hand every edge what was approved for it, unless it has it."""
        for (edge,) in self._ask("SELECT DISTINCT edge FROM proposal WHERE state='approved'"):
            payload = encode_changes(self.approvals(edge))
            if self._given.get(edge) != payload:
                publish(topic(self._site, edge, f"{LEAF}/{self._gateway}"), payload)
                self._given[edge] = payload

    def disconnected(self) -> None:
        """The broker may have forgotten what it was given."""
        self._given.clear()


def _object(proposal: Proposal) -> str:
    return f"edge {proposal.edge}: proposal {proposal.id}"


def _told(found: list[Difference], side: Literal["old", "new"]) -> str:
    shown = "; ".join(f"{d.key}={getattr(d, side)}" for d in found[:TOLD])
    return shown + (f"; and {len(found) - TOLD} more" if len(found) > TOLD else "")
