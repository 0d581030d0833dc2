"""The routes of equipment units: what a person asks of their mode, and the modes of a span of time for the trends."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Path, Request, Response
from fastapi import Query as Parameter

from gateway.console.access import Access, Suppressed, WantedMode
from gateway.console.errors import Impossible
from gateway.console.instants import Instant
from gateway.query import Query
from gateway.rows import ModeRow

Documented = Callable[..., dict[int | str, dict[str, Any]]]
Edge = Annotated[str, Path(max_length=256)]
Unit = Annotated[str, Path(max_length=512)]
HOUR_NS: Final = 3_600_000_000_000


def _json(body: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")


def unit_routes(query: Query, access: Access, documented: Documented) -> APIRouter:
    """The routes; `documented(row type, key)` gives the answers for the OpenAPI document."""
    routes = APIRouter()
    schema = {"type": "object", "properties": {"action_id": {"type": "string"}, "state": {"const": "sent"}}}
    sent: dict[int | str, dict[str, Any]] = {
        202: {"content": {"application/json": {"schema": schema}}, "description": "Sent to the edge"},
        "default": documented(ModeRow)["default"],
    }

    @routes.post("/units/{edge}/{unit:path}/mode", status_code=202, responses=sent)
    def set_mode(request: Request, edge: Edge, unit: Unit, body: WantedMode) -> Response:
        """Ask the edge to put a unit into a mode until an instant; `/actions/{id}` tells what became of it."""
        return _json({"action_id": access.set_mode(request, query, edge, unit, body), "state": "sent"}, 202)

    @routes.post("/units/{edge}/{unit:path}/mode/withdraw", status_code=202, responses=sent)
    def withdraw(request: Request, edge: Edge, unit: Unit, body: Suppressed) -> Response:
        """Ask the edge to end a mode that a person set: what the unit's tag says holds again."""
        return _json({"action_id": access.set_mode(request, query, edge, unit, body), "state": "sent"}, 202)

    @routes.get("/modes", responses=documented(ModeRow, "modes"))
    def modes(
        from_ns: Annotated[Instant | None, Parameter(alias="from", description="an hour before `to` when absent")] = None,
        to_ns: Annotated[Instant | None, Parameter(alias="to", description="now when absent")] = None,
    ) -> Response:
        """Spans of modes of all units that touch a span of time."""
        end = time.time_ns() if to_ns is None else to_ns
        begin = max(0, end - HOUR_NS) if from_ns is None else from_ns
        if begin >= end:
            raise Impossible(f"from: expected an instant before `to`, found {begin} and {end}")
        return _json({"modes": query.modes(begin, end)})

    return routes
