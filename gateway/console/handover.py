"""Shift handover at the HTTP interface."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Path, Request, Response
from fastapi import Query as Parameter
from pydantic import StringConstraints

from gateway.audit import Actor
from gateway.console.access import COOKIE, Access, Body, Line, Signed
from gateway.handover import Handovers, items_of
from gateway.query import NotFound, Query
from gateway.sessions import Session, Sessions, Signature

MOST = 10_000
Number = Annotated[int, Path(ge=1, le=2**31)]


class Offering(Body):
    """What the next shift should know beside the list."""

    notes: Annotated[str, StringConstraints(strip_whitespace=True, max_length=4000)] = ""


class Accepting(Body):
    """The list that was seen, by its digest, and a remark."""

    digest: Annotated[str, Parameter(pattern="^[0-9a-f]{64}$")]
    remark: Line = ""
    signature: Signed | None = None


def _json(body: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")


def handover(access: Access, query: Query, handovers: Handovers | None) -> APIRouter:
    """The routes; without a store of handovers every one answers 404."""
    routes = APIRouter(prefix="/api/v1")

    def kept() -> Handovers:
        if handovers is None:
            raise NotFound("this gateway keeps no handovers")
        return handovers

    def acting(request: Request) -> tuple[Handovers, Sessions, Session, Actor]:
        store = kept()
        if access.open():
            raise NotFound("a handover needs accounts; make them with `edge-gateway user add`")
        sessions, session = access.acting(request)
        sessions.allowed(session, "hand_over", "handover")
        sessions.touch(request.cookies[COOKIE])
        return store, sessions, session, session.actor()

    @routes.get("/handovers")
    def all_(limit: Annotated[int, Parameter(ge=1, le=1000)] = 50) -> Response:
        """Handovers, the newest first; what would be handed over now; and since when one is overdue."""
        store = kept()
        return _json({"handovers": store.all(limit), "now": items_of(query.alarms("standing", MOST)), "overdue_ns": store.overdue_ns()})

    @routes.post("/handovers", status_code=201)
    def offer(request: Request, body: Offering) -> Response:
        """Hand over what stands, is shelved, suppressed and out of service."""
        store, _, _, by = acting(request)
        return _json(store.offer(by, query.alarms("standing", MOST), body.notes), 201)

    @routes.post("/handovers/{id}/accept")
    def accept(request: Request, id: Number, body: Accepting) -> Response:  # noqa: A002 - the name in the address
        """Take over the list; signed where the configuration asks for it."""
        store, sessions, session, by = acting(request)
        signature = None if body.signature is None else Signature(body.signature.password, body.signature.meaning)
        return _json(store.accept(by, id, body.digest, body.remark, sessions.meaning(session, "hand_over", signature)))

    @routes.post("/handovers/{id}/withdraw")
    def withdraw(request: Request, id: Number) -> Response:  # noqa: A002
        """Take back one's own handover."""
        store, _, _, by = acting(request)
        return _json(store.withdraw(by, id))

    return routes
