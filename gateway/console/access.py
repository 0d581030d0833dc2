"""Persons at the HTTP interface: session cookie, token against foreign forms, login and logout, and the acts that go into the audit trail."""

from __future__ import annotations

import csv
import io
import secrets
import unicodedata
from typing import Annotated, Any, Final, Literal

import msgspec
from fastapi import APIRouter, Request, Response
from fastapi import Query as Parameter
from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints

from edge_agent.core import PharmedgeError
from gateway.audit import EXCEPTIONS, FIELDS, Act, Actor, Wanted, instant
from gateway.audit_verify import csv_cell
from gateway.console.errors import Impossible
from gateway.console.instants import Instant
from gateway.query import NotFound, Query
from gateway.sessions import NotAllowed, NotLoggedIn, Session, Sessions, Signature
from gateway.users import RIGHTS, Right

COOKIE: Final = "pharmedge_session"
TOKEN: Final = "X-CSRF-Token"  # noqa: S105 - the name of a header


def one_line(text: str) -> str:
    """The text; ValueError when it has control characters."""
    if any(unicodedata.category(c).startswith("C") for c in text):
        raise ValueError("expected text without control characters")
    return text


Line = Annotated[str, StringConstraints(strip_whitespace=True, max_length=500), AfterValidator(one_line)]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64), AfterValidator(one_line)]
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
    reason: Line = ""
    signature: Signed


class Acknowledgement(Body):
    """Why, if they wish to say it. `user` is needed only while there are no accounts; with accounts the session says who."""

    user: Name | None = None
    reason: Line = ""
    signature: Signed | None = None


def _json(body: Any, status: int = 200) -> Response:
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

    def acting(self, request: Request) -> tuple[Sessions, Session]:
        """The session of a request that changes something; NotLoggedIn without one, NotAllowed without its token."""
        session = self.session(request)
        if self.sessions is None or session is None:
            raise NotLoggedIn("log in first; looking needs no login")
        if not secrets.compare_digest(request.headers.get(TOKEN, "").encode(), session.csrf.encode()):
            raise NotAllowed(f"{TOKEN}: expected the token of this session, found another or none; reload the page")
        return self.sessions, session

    def state(self, session: Session | None) -> dict[str, Any]:
        """What a page needs to know of its session."""
        account = session.account if session else None
        return {
            "accounts": not self.open(),
            "user": None
            if account is None
            else {"name": account.name, "full_name": account.full_name, "role": account.role, "rights": sorted(RIGHTS[account.role])},
            "csrf": session.csrf if session else "",
            "ends_ns": session.ends_ns if session else None,
            "sign": sorted(self.sessions.settings.sign) if self.sessions is not None and not self.open() else [],
        }

    def acknowledge(self, request: Request, query: Query, occurrence: str, body: Acknowledgement) -> str:
        """Write down that a person acknowledges an occurrence, then ask its edge; the id of the action."""
        before = query.alarm(occurrence)
        if self.open():
            if body.user is None:
                raise Impossible("user: expected a name, because this gateway has no accounts")
            who, meaning = Actor(body.user, "", "", _station(request)), ""
        else:
            sessions, session = self.acting(request)
            if body.user is not None and body.user != session.account.name:
                raise NotAllowed(f"user: expected {session.account.name}, who is logged in, found {body.user!r}")
            sessions.allowed(session, "acknowledge", occurrence)
            who, meaning = session.actor(), sessions.meaning(session, "acknowledge", _signature(body.signature))
            sessions.touch(request.cookies[COOKIE])
        now = query.status()["now_ns"]
        if self.sessions is not None:
            act = Act("acknowledge", occurrence, before["state"], "asked", body.reason, meaning)
            self.sessions.trail.append(who, act, now)
        try:
            return query.acknowledge(occurrence, who.user, body.reason, who.role, who.station)
        except (PharmedgeError, NotFound) as error:
            if self.sessions is not None:
                self.sessions.trail.append(who, Act("acknowledge_refused", occurrence, before["state"], before["state"], str(error)), now)
            raise


def _signature(signed: Signed | None) -> Signature | None:
    return None if signed is None else Signature(signed.password, signed.meaning)


def _station(request: Request) -> str:
    return request.client.host if request.client else ""


def people(access: Access, clock: Query) -> APIRouter:
    """The routes of sessions and of the audit trail."""
    routes = APIRouter(prefix="/api/v1")

    def reading(request: Request, right: Right) -> Sessions:
        if access.sessions is None:
            raise NotFound("this gateway keeps no audit trail")
        if not access.open():
            session = access.session(request)
            if session is None:
                raise NotLoggedIn("log in to read the audit trail")
            access.sessions.allowed(session, right, "audit trail")
        return access.sessions

    @routes.get("/session")
    def who(request: Request) -> Response:
        """Who is logged in, and what they may do."""
        return _json(access.state(access.session(request)))

    @routes.post("/session")
    def login(request: Request, body: Login) -> Response:
        """Log in; the answer sets the session's cookie."""
        if access.sessions is None or access.open():
            raise NotFound("this gateway has no accounts")
        token, session = access.sessions.login(body.user, body.password, _station(request))
        answer = _json(access.state(session))
        settings = access.sessions.settings
        answer.set_cookie(COOKIE, token, max_age=settings.longest_s, path="/", secure=settings.secure_cookie, httponly=True, samesite="strict")
        return answer

    @routes.post("/session/touch")
    def touch(request: Request) -> Response:
        """Somebody used the page: the session goes on."""
        sessions, _ = access.acting(request)
        sessions.touch(request.cookies[COOKIE])
        return _json(access.state(access.session(request)))

    @routes.delete("/session")
    def logout(request: Request) -> Response:
        """Log out."""
        sessions, session = access.acting(request)
        sessions.logout(request.cookies[COOKIE], session)
        answer = _json(access.state(None))
        answer.delete_cookie(COOKIE, path="/", secure=sessions.settings.secure_cookie, httponly=True, samesite="strict")
        return answer

    @routes.post("/session/password")
    def password(request: Request, body: NewPassword) -> Response:
        """Another password for oneself; every session of the person ends."""
        sessions, session = access.acting(request)
        sessions.change_password(session, body.old, body.new)
        return _json(access.state(None))

    @routes.get("/audit")
    def audit(
        request: Request,
        user: Annotated[str, Parameter(max_length=64)] = "",
        action: Annotated[str, Parameter(max_length=64)] = "",
        of: Annotated[str, Parameter(alias="object", max_length=512)] = "",
        text: Annotated[str, Parameter(alias="q", max_length=200)] = "",
        from_ns: Annotated[Instant | None, Parameter(alias="from")] = None,
        to_ns: Annotated[Instant | None, Parameter(alias="to")] = None,
        exceptions: bool = False,
        limit: Annotated[int, Parameter(ge=1, le=100_000)] = 1000,
        form: Annotated[Literal["json", "csv"], Parameter(alias="format")] = "json",
    ) -> Response:
        """Entries of the audit trail, the newest first; exceptions before all others when asked for."""
        sessions = reading(request, "read_audit")
        bounds = ["" if t is None else instant(t, "UTC")[0] for t in (from_ns, to_ns)]
        want = Wanted(user=user, action=action, object=of, text=text, from_ts=bounds[0], to_ts=bounds[1], exceptions=exceptions, limit=limit)
        entries = sessions.trail.entries(want)
        if form == "csv":
            headers = {"Content-Disposition": 'attachment; filename="audit.csv"'}
            return Response(audit_csv(entries), media_type="text/csv; charset=utf-8", headers=headers)
        seq, digest = sessions.trail.head()
        heads = sessions.trail.heads()
        reviewed = sessions.trail.entries(Wanted(action="review", limit=1))
        return _json(
            {
                "entries": entries,
                "head": {"seq": seq, "hash": digest},
                "signed": msgspec.to_builtins(heads[-1]) if heads else None,
                "reviewed": reviewed[0] if reviewed else None,
                "exceptions": EXCEPTIONS,
            }
        )

    @routes.post("/audit/review")
    def review(request: Request, body: Review) -> Response:
        """Sign that entries up to a number were reviewed."""
        sessions, session = access.acting(request)
        sessions.allowed(session, "review_audit", "audit trail")
        seq, _ = sessions.trail.head()
        if body.through > seq:
            raise NotFound(f"through: expected at most {seq}, found {body.through}")
        meaning = sessions.meaning(session, "review_audit", _signature(body.signature), always=True)
        done = sessions.trail.entries(Wanted(action="review", limit=1))
        act = Act("review", "audit trail", done[0]["new"] if done else "", str(body.through), body.reason, meaning)
        sessions.touch(request.cookies[COOKIE])
        number = sessions.trail.append(session.actor(), act, clock.status()["now_ns"])[0]
        return _json({"seq": number})

    return routes


def audit_csv(entries: list[dict[str, Any]]) -> str:
    """Entries as CSV with fixed columns; UTF-8 with a byte order mark, so that spreadsheets read Chinese."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(("seq", *FIELDS, "hash"))
    for entry in entries:
        writer.writerow([csv_cell(entry.get(key, "")) for key in ("seq", *FIELDS, "hash")])
    return "\ufeff" + out.getvalue()
