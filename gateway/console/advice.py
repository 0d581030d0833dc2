"""Maintenance advice at the HTTP interface: everybody sees it; maintenance and engineers decide, and say what was found."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Path, Request, Response
from fastapi import Query as Parameter
from pydantic import StringConstraints

from gateway.advice import Advices
from gateway.audit import Actor
from gateway.console.access import COOKIE, Access, Body, Line
from gateway.query import NotFound

Id = Annotated[str, Path(pattern="^[0-9a-f]{20}$")]
Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]


class Accepting(Body):
    """What the workshop should know beside the advice."""

    reason: Line = ""


class Rejecting(Body):
    """Why nothing is done."""

    reason: Reason


class Found(Body):
    """What maintenance found."""

    outcome: Literal["confirmed", "other_fault", "no_fault"]
    renewed: bool = False
    remark: Line = ""


def _json(body: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")


def advice(access: Access, advices: Advices | None) -> APIRouter:
    """The routes; without a store of decisions every one answers 404."""
    routes = APIRouter(prefix="/api/v1")

    def kept() -> Advices:
        if advices is None:
            raise NotFound("this gateway keeps no maintenance advice")
        return advices

    def acting(request: Request, what: str) -> tuple[Advices, Actor]:
        store = kept()
        if access.open():
            raise NotFound("deciding on advice needs accounts; make them with `edge-gateway user add`")
        sessions, session = access.acting(request)
        sessions.allowed(session, "decide_advice", what)
        sessions.touch(request.cookies[COOKIE])
        return store, session.actor()

    @routes.get("/advice")
    def all_(limit: Annotated[int, Parameter(ge=1, le=10_000)] = 200) -> Response:
        """Advice, what waits for a decision first, and what became of advice of each kind and of each machine."""
        store = kept()
        return _json({"advice": store.all(limit), "counts": store.counts(), "machines": store.records()})

    @routes.post("/advice/{id}/accept")
    def accept(request: Request, id: Id, body: Accepting) -> Response:  # noqa: A002 - the name in the address
        """Accept advice: a work request goes to the receivers of `notifications.work_requests`."""
        store, by = acting(request, f"advice {id}")
        return _json(store.accept(by, id, body.reason))

    @routes.post("/advice/{id}/reject")
    def reject(request: Request, id: Id, body: Rejecting) -> Response:  # noqa: A002
        """Reject advice, with the reason."""
        store, by = acting(request, f"advice {id}")
        return _json(store.reject(by, id, body.reason))

    @routes.post("/advice/{id}/outcome")
    def outcome(request: Request, id: Id, body: Found) -> Response:  # noqa: A002
        """Say what was found: the advice was right, something else was wrong, or nothing; and whether the part is as new. The edge is told."""
        store, by = acting(request, f"advice {id}")
        return _json(store.outcome(by, id, body.outcome, body.remark, renewed=body.renewed))

    return routes
