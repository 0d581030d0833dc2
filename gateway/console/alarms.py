"""The routes of alarms: lists, one in full, what people ask of them and what became of it.

Every action is asked of the edge and takes effect when the edge's event comes back on the live stream; `/actions/{id}` tells what became of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

import msgspec
from fastapi import APIRouter, Path, Request, Response
from fastapi import Query as Parameter

from edge_agent.core import PharmedgeError
from edge_agent.core.alarm import ActionKind
from gateway.console.access import Access, Acted, Many, OutOfService, Shelving, Suppressed
from gateway.console.errors import Impossible
from gateway.console.instants import Instant
from gateway.query import AlarmFilter, Query
from gateway.rows import ActionRow, AlarmRow

Documented = Callable[..., dict[int | str, dict[str, Any]]]
Occurrence = Annotated[str, Path(max_length=1024)]

_ONE: Final = {"type": "object", "properties": {"action_id": {"type": "string"}, "state": {"const": "sent"}}}
_EACH: Final = {
    "type": "object",
    "properties": {
        "occurrence": {"type": "string"},
        "action_id": {"type": "string"},
        "state": {"enum": ["sent", "refused"]},
        "detail": {"type": "string"},
    },
}


def _json(body: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")


def alarm_routes(query: Query, access: Access, documented: Documented) -> APIRouter:
    """The routes; `documented(row type, key)` gives the answers for the OpenAPI document."""
    routes = APIRouter()

    def sent(schema: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
        problem = documented(AlarmRow)["default"]
        return {202: {"content": {"application/json": {"schema": schema}}, "description": "Sent to the edge"}, "default": problem}

    @routes.get("/alarms", responses=documented(AlarmRow, "alarms"))
    def alarms(
        state: Annotated[Literal["standing", "history"], Parameter()] = "standing",
        limit: Annotated[int, Parameter(ge=1, le=10_000)] = 1000,
        unit: Annotated[str, Parameter(max_length=256)] = "",
        priority: Annotated[int, Parameter(ge=0, le=4, description="0: any")] = 0,
        is_: Annotated[str, Parameter(alias="is", max_length=16, description="UNACK, ACKED, RTNUN, SHLVD ...; empty: any")] = "",
        text: Annotated[str, Parameter(alias="q", max_length=200)] = "",
        from_ns: Annotated[Instant | None, Parameter(alias="from", description="raised then or later")] = None,
        to_ns: Annotated[Instant | None, Parameter(alias="to", description="raised before")] = None,
    ) -> Response:
        """Standing occurrences by priority, or the history, newest first."""
        if from_ns is not None and to_ns is not None and from_ns >= to_ns:
            raise Impossible(f"from: expected an instant before `to`, found {from_ns} and {to_ns}")
        wanted = AlarmFilter(unit=unit, priority=priority, state=is_, text=text, from_ns=from_ns, to_ns=to_ns)
        return _json({"alarms": query.alarms(state, limit, wanted)})

    @routes.post("/alarms/ack", status_code=202, responses=sent({"type": "object", "properties": {"results": {"type": "array", "items": _EACH}}}))
    def acknowledge_many(request: Request, body: Many) -> Response:
        """Ask the edges to acknowledge the occurrences that are listed; each is answered and written down by itself."""
        occurrences = list(dict.fromkeys(body.occurrences))
        answers = access.act(request, query, "acknowledge", occurrences, body)
        return _json({"results": [_each(of, answer) for of, answer in zip(occurrences, answers, strict=True)]}, 202)

    def one(request: Request, kind: ActionKind, occurrence: str, body: Acted) -> Response:
        (answer,) = access.act(request, query, kind, [occurrence], body)
        if isinstance(answer, PharmedgeError):
            raise answer
        return _json({"action_id": answer, "state": "sent"}, 202)

    @routes.post("/alarms/{occurrence:path}/ack", status_code=202, responses=sent(_ONE))
    def acknowledge(request: Request, occurrence: Occurrence, body: Acted) -> Response:
        """Ask the edge to acknowledge one occurrence."""
        return one(request, "acknowledge", occurrence, body)

    @routes.post("/alarms/{occurrence:path}/shelve", status_code=202, responses=sent(_ONE))
    def shelve(request: Request, occurrence: Occurrence, body: Shelving) -> Response:
        """Ask the edge to shelve an alarm for a limited time; raise time 0 in the id names one that does not stand."""
        return one(request, "shelve", occurrence, body)

    @routes.post("/alarms/{occurrence:path}/unshelve", status_code=202, responses=sent(_ONE))
    def unshelve(request: Request, occurrence: Occurrence, body: Suppressed) -> Response:
        """Ask the edge to end a shelving now."""
        return one(request, "unshelve", occurrence, body)

    @routes.post("/alarms/{occurrence:path}/out-of-service", status_code=202, responses=sent(_ONE))
    def out_of_service(request: Request, occurrence: Occurrence, body: OutOfService) -> Response:
        """Ask the edge to take an alarm out of service under a work permit; raise time 0 as for shelving."""
        return one(request, "out_of_service", occurrence, body)

    @routes.post("/alarms/{occurrence:path}/in-service", status_code=202, responses=sent(_ONE))
    def in_service(request: Request, occurrence: Occurrence, body: Suppressed) -> Response:
        """Ask the edge to put an alarm back into service."""
        return one(request, "in_service", occurrence, body)

    @routes.post("/alarms/{occurrence:path}/reset", status_code=202, responses=sent(_ONE))
    def reset(request: Request, occurrence: Occurrence, body: Acted) -> Response:
        """Ask the edge to reset a latched alarm."""
        return one(request, "reset", occurrence, body)

    @routes.post("/alarms/{occurrence:path}/comment", status_code=202, responses=sent(_ONE))
    def comment(request: Request, occurrence: Occurrence, body: Acted) -> Response:
        """Ask the edge to keep a comment with an occurrence."""
        return one(request, "comment", occurrence, body)

    @routes.get("/actions/{action_id}", responses=documented(ActionRow))
    def action(action_id: Annotated[str, Path(max_length=64)]) -> Response:
        """What became of an action: pending, done, or refused with the edge's reason."""
        return _json(query.action(action_id))

    @routes.get("/alarms/{occurrence:path}", responses=documented(AlarmRow))
    def alarm(occurrence: Occurrence) -> Response:
        """One occurrence with all its events."""
        return _json(query.alarm(occurrence))

    return routes


def _each(occurrence: str, answer: str | PharmedgeError) -> dict[str, str]:
    if isinstance(answer, PharmedgeError):
        return {"occurrence": occurrence, "action_id": "", "state": "refused", "detail": str(answer)}
    return {"occurrence": occurrence, "action_id": answer, "state": "sent", "detail": ""}
