"""Who asks at the HTTP interface and whether they may: session cookie, token against foreign forms, and the acts that go into the audit trail."""

from __future__ import annotations

import secrets
import unicodedata
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

import msgspec
from fastapi import Query as Parameter
from fastapi import Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints

from edge_agent.core import PharmedgeError
from edge_agent.core.alarm import ActionKind
from edge_agent.core.change import MAX_DOCUMENT
from gateway.audit import Act, Actor
from gateway.console.errors import Impossible
from gateway.console.guard import SMALL_BODY
from gateway.console.instants import Instant, rfc3339
from gateway.query import Asked, ModeAsked, NotFound, Query
from gateway.sessions import NotAllowed, NotLoggedIn, Session, Sessions, Signature
from gateway.units import subject
from gateway.users import RIGHTS, Right

COOKIE: Final = "pharmedge_session"
MOST: Final = 1000
"""Occurrences that are acknowledged by one request at the most."""
MANY_BODY: Final = 4 << 20
"""Bytes of a body: `MOST` occurrences of 1,024 characters each have room, in whatever writing (UTF-8 has at most four bytes for one)."""
PROPOSAL_BODY: Final = MAX_DOCUMENT + (1 << 20)
RIGHT_OF: Final[dict[ActionKind, Right]] = {
    "acknowledge": "acknowledge",
    "reset": "acknowledge",
    "comment": "acknowledge",
    "shelve": "shelve",
    "unshelve": "acknowledge",
    "out_of_service": "out_of_service",
    "in_service": "out_of_service",
    "set_mode": "set_mode",
    "withdraw_mode": "set_mode",
}
"""What a role must be allowed here; the edge judges again by its own rules for priority and class."""
TOKEN: Final = "X-CSRF-Token"  # noqa: S105 - the name of a header


def one_line(text: str) -> str:
    """The text; ValueError when it has control characters."""
    if any(unicodedata.category(c).startswith("C") for c in text):
        raise ValueError("expected text without control characters")
    return text


Line = Annotated[str, StringConstraints(strip_whitespace=True, max_length=500), AfterValidator(one_line)]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64), AfterValidator(one_line)]
RoleName = Annotated[str, StringConstraints(pattern=r"^[a-z_]{0,32}$")]
Password = Annotated[str, StringConstraints(min_length=1, max_length=1024)]


class Body(BaseModel):
    """A request body; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid")


class Signed(Body):
    """Password again, and what signing means."""

    password: Password
    meaning: Name


class Login(Body):
    """Name and password."""

    user: Name
    password: Password


class NewPassword(Body):
    """The password as it is and as it shall be."""

    old: Password
    new: Password


class Review(Body):
    """A reviewer signs that entries up to a number were reviewed."""

    through: Annotated[int, Parameter(ge=1)]
    batch: Line = ""
    """Only what belongs to this batch; all entries when absent."""
    reason: Line = ""
    signature: Signed


class Acted(Body):
    """Why. `user` is said only while there are no accounts; with accounts the session says who."""

    user: Name | None = None
    reason: Line = ""
    signature: Signed | None = None


class Suppressed(Acted):
    """`role` is said only while there are no accounts: the edge lets nobody without a role suppress an alarm."""

    role: RoleName = ""


class Many(Acted):
    """Acknowledge these occurrences and no others: those that the person saw."""

    occurrences: Annotated[list[Annotated[str, StringConstraints(max_length=1024)]], Parameter(min_length=1, max_length=MOST)]


class Second(Body):
    """Another person who agrees; the password only where there are accounts, the role only where there are none."""

    user: Name
    password: Password | None = None
    role: RoleName = ""


class Shelving(Suppressed):
    """For how long (none: as long as the edge allows), until the condition is over or not, and who else agrees."""

    duration_s: Annotated[float, Parameter(gt=0, le=43_200)] | None = None
    one_shot: bool = False
    second: Second | None = None


class WantedMode(Suppressed):
    """The mode that a unit shall be in, and until when; the reason is needed."""

    mode: Literal["production", "cleaning", "maintenance", "calibration", "simulation"]
    until: Instant


class OutOfService(Suppressed):
    """Under which work permit."""

    permit: Name


def json_answer(body: Any, status: int = 200) -> Response:
    """An answer of rows."""
    return Response(msgspec.json.encode(body), status, media_type="application/json")


class Access:
    """Who asks, and whether they may; without `sessions` there are neither accounts nor an audit trail (tests of other parts)."""

    def __init__(self, sessions: Sessions | None) -> None:
        self.sessions = sessions

    def open(self) -> bool:
        """Whether there are no accounts."""
        return self.sessions is None or self.sessions.open()

    def session(self, request: Request) -> Session | None:
        """The session of a request; None when nobody is logged in."""
        return None if self.sessions is None else self.sessions.find(request.cookies.get(COOKIE))

    def acknowledges(self, request: Request) -> bool:
        """Whether somebody who is logged in and may do so acknowledges an alarm; whether the request is right is judged where it is answered."""
        if request.method != "POST" or not (request.url.path.startswith("/api/v1/alarms/") and request.url.path.endswith("/ack")):
            return False
        session = self.session(request)
        return session is not None and session.account.may("acknowledge")

    def largest(self, request: Request) -> int:
        """Bytes that the body of a request may have: what needs more than a login needs somebody who is logged in."""
        if not self.open():
            session = self.session(request)
            if session is None:
                return SMALL_BODY
            if not session.account.may("propose"):
                return MANY_BODY
        return PROPOSAL_BODY if request.url.path == "/api/v1/proposals" else MANY_BODY

    def acting(self, request: Request) -> tuple[Sessions, Session]:
        """The session of a request that changes something; NotLoggedIn without one, NotAllowed without its token."""
        session = self.session(request)
        if self.sessions is None or session is None:
            raise NotLoggedIn("log in first; looking needs no login")
        if not secrets.compare_digest(request.headers.get(TOKEN, "").encode(), session.csrf.encode()):
            why = f"{TOKEN}: expected the token of this session, found another or none; reload the page"
            self.sessions.trail.append(session.actor(), Act("refused", request.url.path, reason=why), self.sessions.now())
            raise NotAllowed(why)
        return self.sessions, session

    def state(self, session: Session | None) -> dict[str, Any]:
        """What a page needs to know of its session."""
        account = session.account if session else None
        return {
            "accounts": not self.open(),
            "user": None
            if account is None
            else {
                "name": account.name,
                "full_name": account.full_name,
                "role": account.role,
                "rights": sorted(RIGHTS[account.role]),
                "must_change": account.must_change,
            },
            "csrf": session.csrf if session else "",
            "ends_ns": session.ends_ns if session else None,
            "sign": sorted(self.sessions.settings.sign) if self.sessions is not None and not self.open() else [],
        }

    def act(self, request: Request, query: Query, kind: ActionKind, occurrences: Sequence[str], body: Acted) -> list[str | PharmedgeError]:
        """Write down what a person asks of each occurrence, then ask the edges; for each the id of the action, or why not."""
        right = RIGHT_OF[kind]
        second = body.second if isinstance(body, Shelving) else None
        second_user = second_role = ""
        if self.open():
            if body.user is None:
                raise Impossible("user: expected a name, because this gateway has no accounts")
            who, meaning = Actor(body.user, body.role if isinstance(body, Suppressed) else "", "", station_of(request)), ""
            if second is not None:
                second_user, second_role = second.user, second.role
        else:
            sessions, session = self.acting(request)
            _themselves(sessions, session, body.user, occurrences[0])
            sessions.allowed(session, right, occurrences[0])
            who, meaning = session.actor(), sessions.meaning(session, right, signature_of(body.signature))
            if second is not None:
                agreeing = sessions.agreeing(session, second.user, second.password or "")
                second_user, second_role = agreeing.name, agreeing.role
            sessions.touch(request.cookies[COOKIE])
        asked = [
            Asked(
                kind=kind,
                occurrence=occurrence,
                user=who.user,
                role=who.role,
                station=who.station,
                reason=body.reason,
                duration_s=body.duration_s if isinstance(body, Shelving) else None,
                one_shot=isinstance(body, Shelving) and body.one_shot,
                permit=body.permit if isinstance(body, OutOfService) else "",
                second_user=second_user,
                second_role=second_role,
            )
            for occurrence in occurrences
        ]
        known = [self._state(query, occurrence) for occurrence in occurrences]
        now = query.status()["now_ns"]
        wanted = [(one, state) for one, state in zip(asked, known, strict=True) if isinstance(state, str)]
        if self.sessions is not None and wanted:
            acts = [Act(kind, one.occurrence, state, _told(one), one.reason, meaning, query.batch_of(one.occurrence)) for one, state in wanted]
            self.sessions.trail.append(who, acts, now)
        done = iter(query.act([one for one, _ in wanted]) if wanted else [])
        answers: list[str | PharmedgeError] = [next(done) if isinstance(state, str) else state for state in known]
        if self.sessions is not None:
            refused = [
                Act(f"{kind}_refused", one.occurrence, state, state, str(answer), batch=query.batch_of(one.occurrence))
                for one, state, answer in zip(asked, known, answers, strict=True)
                if isinstance(state, str) and isinstance(answer, PharmedgeError)
            ]
            if refused:
                self.sessions.trail.append(who, refused, now)
        return answers

    def set_mode(self, request: Request, query: Query, edge: str, unit: str, body: Suppressed) -> str:
        """Write down that a person sets the mode of a unit or withdraws it, then ask the edge; the id of the action."""
        kind: ActionKind = "set_mode" if isinstance(body, WantedMode) else "withdraw_mode"
        if self.open():
            if body.user is None:
                raise Impossible("user: expected a name, because this gateway has no accounts")
            who, meaning = Actor(body.user, body.role, "", station_of(request)), ""
        else:
            sessions, session = self.acting(request)
            _themselves(sessions, session, body.user, f"unit {edge}/{unit}")
            sessions.allowed(session, "set_mode", f"unit {edge}/{unit}")
            who, meaning = session.actor(), sessions.meaning(session, "set_mode", signature_of(body.signature))
            sessions.touch(request.cookies[COOKIE])
        mode, until = (body.mode, body.until) if isinstance(body, WantedMode) else ("", None)
        asked = ModeAsked(edge=edge, unit=unit, mode=mode, until_ns=until, user=who.user, role=who.role, station=who.station, reason=body.reason)
        before = next((u["mode"] for e in query.edges() if e["edge"] == edge for u in e["units"] if u["unit"] == unit), "")
        now, batch = query.status()["now_ns"], query.batch_of(subject(edge, unit))
        told = "asked" if until is None else f"asked, {mode} until {rfc3339(until)}"
        if self.sessions is not None and before:
            self.sessions.trail.append(who, Act(kind, f"unit {edge}/{unit}", before, told, body.reason, meaning, batch), now)
        try:
            return query.set_mode(asked)
        except PharmedgeError as error:
            if self.sessions is not None and before:
                self.sessions.trail.append(who, Act(f"{kind}_refused", f"unit {edge}/{unit}", before, before, str(error), batch=batch), now)
            raise

    @staticmethod
    def _state(query: Query, occurrence: str) -> str | PharmedgeError:
        if occurrence.endswith("~0"):
            return "NORM"  # an alarm that stands nowhere
        try:
            return query.alarm(occurrence)["state"]
        except NotFound as error:
            return error


def _told(asked: Asked) -> str:
    """What was asked for, for the audit trail."""
    parts = ["asked"]
    if asked.kind == "shelve":
        parts.append("as long as allowed" if asked.duration_s is None else f"{asked.duration_s / 60:g} min")
        if asked.one_shot:
            parts.append("one shot")
    if asked.permit:
        parts.append(f"permit {asked.permit}")
    if asked.second_user:
        parts.append(f"agreed by {asked.second_user}" + (f" ({asked.second_role})" if asked.second_role else ""))
    return ", ".join(parts)


def _themselves(sessions: Sessions, session: Session, claimed: str | None, what: str) -> None:
    """NotAllowed, with an audit entry, when the name that is claimed is not that of the session."""
    if claimed is not None and claimed != session.account.name:
        why = f"user: expected {session.account.name}, who is logged in, found {claimed!r}"
        sessions.trail.append(session.actor(), Act("refused", what, reason=why), sessions.now())
        raise NotAllowed(why)


def signature_of(signed: Signed | None) -> Signature | None:
    """The signature of a body."""
    return None if signed is None else Signature(signed.password, signed.meaning)


def station_of(request: Request) -> str:
    """The address that a request came from."""
    return request.client.host if request.client else ""
