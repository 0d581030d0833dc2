"""The routes of people: login and logout, reading the audit trail, and signing that it was reviewed."""

from __future__ import annotations

import csv
import io
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Request, Response
from fastapi import Query as Parameter

from gateway.audit import EXCEPTIONS, FIELDS, PERSONAL, Act, Wanted, instant
from gateway.audit_verify import csv_cell, faults
from gateway.batches import BatchRow
from gateway.console.access import COOKIE, Access, Login, NewPassword, Review, json_answer, signature_of, station_of
from gateway.console.instants import Instant
from gateway.query import AlarmFilter, NotFound, Query
from gateway.sessions import NotAllowed, NotLoggedIn, Sessions


def people(access: Access, clock: Query) -> APIRouter:
    """The routes of sessions and of the audit trail."""
    routes = APIRouter(prefix="/api/v1")

    def reading(request: Request, taken: str = "") -> Sessions:
        """Whoever may read the trail; what is `taken` out of it, or judged of it, is itself written down."""
        if access.sessions is None:
            raise NotFound("this gateway keeps no audit trail")
        if not access.open():
            session = access.session(request)
            if session is None:
                raise NotLoggedIn("log in to read the audit trail")
            access.sessions.allowed(session, "read_audit", "audit trail")
            if taken:
                access.sessions.trail.append(session.actor(), Act(taken, "audit trail", new=request.url.query[:500]), clock.status()["now_ns"])
        return access.sessions

    @routes.get("/session")
    def who(request: Request) -> Response:
        """Who is logged in, and what they may do."""
        return json_answer(access.state(access.session(request)))

    @routes.post("/session")
    def login(request: Request, body: Login) -> Response:
        """Log in; the answer sets the session's cookie."""
        if access.sessions is None or access.open():
            raise NotFound("this gateway has no accounts")
        token, session = access.sessions.login(body.user, body.password, station_of(request), request.cookies.get(COOKIE))
        answer = json_answer(access.state(session))
        settings = access.sessions.settings
        answer.set_cookie(COOKIE, token, max_age=settings.longest_s, path="/", secure=settings.secure_cookie, httponly=True, samesite="strict")
        return answer

    @routes.post("/session/touch")
    def touch(request: Request) -> Response:
        """Somebody used the page: the session goes on."""
        sessions, _ = access.acting(request)
        sessions.touch(request.cookies[COOKIE])
        return json_answer(access.state(access.session(request)))

    @routes.delete("/session")
    def logout(request: Request) -> Response:
        """Log out."""
        sessions, session = access.acting(request)
        sessions.logout(request.cookies[COOKIE], session)
        answer = json_answer(access.state(None))
        answer.delete_cookie(COOKIE, path="/", secure=sessions.settings.secure_cookie, httponly=True, samesite="strict")
        return answer

    @routes.post("/session/password")
    def password(request: Request, body: NewPassword) -> Response:
        """Another password for oneself; every session of the person ends."""
        sessions, session = access.acting(request)
        sessions.change_password(session, body.old, body.new)
        return json_answer(access.state(None))

    @routes.get("/audit")
    def audit(
        request: Request,
        user: Annotated[str, Parameter(max_length=64)] = "",
        action: Annotated[str, Parameter(max_length=64)] = "",
        of: Annotated[str, Parameter(alias="object", max_length=512)] = "",
        text: Annotated[str, Parameter(alias="q", max_length=200)] = "",
        batch: Annotated[str, Parameter(max_length=200)] = "",
        from_ns: Annotated[Instant | None, Parameter(alias="from")] = None,
        to_ns: Annotated[Instant | None, Parameter(alias="to")] = None,
        exceptions: bool = False,
        limit: Annotated[int, Parameter(ge=1, le=100_000)] = 1000,
        form: Annotated[Literal["json", "csv"], Parameter(alias="format")] = "json",
    ) -> Response:
        """Entries of the audit trail, the newest first; exceptions before all others when asked for."""
        sessions = reading(request, "audit_export" if form == "csv" else "")
        bounds = ["" if t is None else instant(t, "UTC")[0] for t in (from_ns, to_ns)]
        bounds_of = {"from_ts": bounds[0], "to_ts": bounds[1]}
        want = Wanted(user=user, action=action, object=of, text=text, batch=batch, exceptions=exceptions, limit=limit + 1, **bounds_of)
        found = sessions.trail.entries(want)
        entries = found[:limit]
        if form == "csv":
            headers = {"Content-Disposition": 'attachment; filename="audit.csv"'}
            return Response(audit_csv(entries, cut=len(found) > limit), media_type="text/csv; charset=utf-8", headers=headers)
        seq, digest = sessions.trail.head()
        heads = sessions.trail.heads()
        reviewed = sessions.trail.entries(Wanted(action="review", object_is=f"batch {batch}" if batch else "audit trail", limit=1))
        return json_answer(
            {
                "entries": entries,
                "head": {"seq": seq, "hash": digest},
                "signed": msgspec.to_builtins(heads[-1]) if heads else None,
                "reviewed": reviewed[0] if reviewed else None,
                "exceptions": EXCEPTIONS,
                "personal": PERSONAL,
            }
        )

    @routes.get("/audit/verify")
    def verify(request: Request) -> Response:
        """Check every entry and signed head, also those that edges keep, as `edge-gateway audit verify` does; what is wrong, one line each."""
        sessions = reading(request, "audit_verify")
        seq, digest = sessions.trail.head()
        found = faults(sessions.trail.path.parent, gateway=clock.status()["gateway"])
        return json_answer({"faults": found, "head": {"seq": seq, "hash": digest}})

    @routes.get("/audit/batches")
    def batches(request: Request, batch: Annotated[str, Parameter(max_length=200)] = "") -> Response:
        """Batches with who reviewed them; with `batch`, that one with its alarms by unit."""
        sessions = reading(request)
        rows = [row for row in clock.batches() if not batch or row["batch"] == batch]
        if not batch:
            reviews = sessions.trail.entries(Wanted(action="review", text='"object":"batch ', limit=1000))
            by_batch = {entry["batch"]: entry for entry in reversed(reviews)}
            return json_answer({"batches": [{**row, "reviewed": by_batch.get(row["batch"])} for row in rows]})
        return json_answer({"batches": [{**row, "alarms": _alarms_of(clock, row)} for row in rows]})

    @routes.post("/audit/review")
    def review(request: Request, body: Review) -> Response:
        """Sign that entries up to a number were reviewed; nobody reviews what they did themselves."""
        sessions, session = access.acting(request)
        sessions.allowed(session, "review_audit", "audit trail")
        seq, _ = sessions.trail.head()
        if body.through > seq:
            raise NotFound(f"through: expected at most {seq}, found {body.through}")
        what = f"batch {body.batch}" if body.batch else "audit trail"
        done = sessions.trail.entries(Wanted(action="review", object_is=what, limit=1))
        own = sessions.trail.own_acts(session.account.name, int(done[0]["new"]) if done else 0, body.through, body.batch)
        if own:
            why = f"entry {own[0]} is one's own act, which another person has to review"
            sessions.trail.append(session.actor(), Act("refused", what, new="review", reason=why), clock.status()["now_ns"])
            raise NotAllowed(why)
        meaning = sessions.meaning(session, "review_audit", signature_of(body.signature), always=True)
        act = Act("review", what, done[0]["new"] if done else "", str(body.through), body.reason, meaning, body.batch)
        sessions.touch(request.cookies[COOKIE])
        number = sessions.trail.append(session.actor(), act, clock.status()["now_ns"])[0]
        return json_answer({"seq": number})

    return routes


def _alarms_of(query: Query, row: BatchRow) -> list[dict[str, Any]]:
    """The alarms that were raised in the unit of a batch while it was made, the newest first, without their events."""
    found = query.alarms("history", 1000, AlarmFilter(from_ns=row["from_ns"], to_ns=row["to_ns"]))
    mine = (a for a in found if a["edge"] == row["edge"] and query.batch_of(a["occurrence"]) == row["batch"])
    keys = ("occurrence", "alarm", "tag", "priority", "advisory", "state", "raised_ns", "last_ns", "acked_by", "acked_ns", "explanation")
    return [{key: a[key] for key in keys} for a in mine]  # type: ignore[literal-required]


def audit_csv(entries: list[dict[str, Any]], *, cut: bool = False) -> str:
    """Entries as CSV with fixed columns; UTF-8 with a byte order mark, so that spreadsheets read Chinese. `cut`: a last line says there are more."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(("seq", *FIELDS, "hash"))
    for entry in entries:
        writer.writerow([csv_cell(entry.get(key, "")) for key in ("seq", *FIELDS, "hash")])
    if cut:
        writer.writerow([f"cut: only the first {len(entries)} entries of those asked for; `edge-gateway audit export` has all"])
    return "\ufeff" + out.getvalue()
