"""The HTTP interface under /api/v1: every route reads or asks through `Query` and answers JSON, CSV or server-sent events."""

from __future__ import annotations

import csv
import io
import time
from typing import Annotated, Any, Final, Literal

import msgspec
from fastapi import APIRouter, Request, Response
from fastapi import Query as Parameter

from gateway.audit_verify import csv_cell
from gateway.blocks import BlocksRow
from gateway.console.access import Access
from gateway.console.alarms import alarm_routes
from gateway.console.errors import MEDIA_TYPE, Impossible
from gateway.console.instants import Instant, rfc3339
from gateway.console.live import Live, LiveResponse
from gateway.console.units import unit_routes
from gateway.courses import CourseRow
from gateway.kpis import KpiRow
from gateway.query import MAX_POINTS, Query
from gateway.rows import ActionRow, AlarmRow, EdgeRow, LedgerRow, ModeRow, SeriesRow, StatusRow, TagRow
from gateway.spc import SpcRow
from gateway.targets.target import TooMany

HOUR_NS: Final = 3_600_000_000_000
_SERIES_COLUMNS: Final = ("n", "mean", "min", "max", "first", "last", "n_bad", "n_uncertain", "worst_status", "text")

ROWS: Final = (TagRow, SeriesRow, AlarmRow, ActionRow, EdgeRow, ModeRow, StatusRow, LedgerRow, KpiRow, SpcRow, BlocksRow, CourseRow)
"""Row types whose schemas the OpenAPI document carries."""


def _json(body: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")


def documented(row: type, key: str = "") -> dict[int | str, dict[str, Any]]:
    schema: dict[str, Any] = {"$ref": f"#/components/schemas/{row.__name__}"}
    if key:
        schema = {"type": "object", "required": [key], "properties": {key: {"type": "array", "items": schema}}}
    return {
        200: {"content": {"application/json": {"schema": schema}}, "description": "OK"},
        "default": {"content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}, "description": "Problem details (RFC 9457)"},
    }


def _csv(series: SeriesRow) -> Response:
    """For a spreadsheet: UTF-8 with a byte order mark, no text that it takes for a formula."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(("tag", "time_ns", "time_utc", *_SERIES_COLUMNS))
    for i, time_ns in enumerate(series["time_ns"]):
        cells = (series[column][i] if i < len(series[column]) else None for column in _SERIES_COLUMNS)
        told = ("" if cell is None else csv_cell(cell) if isinstance(cell, str) else cell for cell in cells)
        writer.writerow((csv_cell(series["tag"]), time_ns, rfc3339(time_ns), *told))
    name = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "_" for c in series["tag"])
    attached = {"Content-Disposition": f'attachment; filename="{name}.csv"'}
    return Response("\ufeff" + out.getvalue(), media_type="text/csv; charset=utf-8", headers=attached)


def api(query: Query, live: Live, timezone: str, access: Access) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/api/v1")

    @routes.get("/tags", responses=documented(TagRow, "tags"))
    def tags() -> Response:
        """All tags of all edges with their limits and newest value."""
        return _json({"tags": query.tags()})

    @routes.get("/series", responses=documented(SeriesRow))
    def series(
        tag: Annotated[str, Parameter(min_length=3, max_length=512, description="<edge>:<tag name>", examples=["press-edge-1:press1/main_force"])],
        from_ns: Annotated[Instant | None, Parameter(alias="from", description="start, included; an hour before `to` when absent")] = None,
        to_ns: Annotated[Instant | None, Parameter(alias="to", description="end, not included; now when absent")] = None,
        points: Annotated[int, Parameter(ge=1, le=MAX_POINTS)] = 500,
        form: Annotated[Literal["json", "csv"], Parameter(alias="format")] = "json",
        store: Annotated[str, Parameter(max_length=200, description="a target that is read instead of our own store")] = "",
    ) -> Response:
        """One tag over a span in at most `points` buckets: raw values where they are few, else windows and rollups."""
        end = time.time_ns() if to_ns is None else to_ns
        begin = max(0, end - HOUR_NS) if from_ns is None else from_ns
        if begin >= end:
            raise Impossible(f"from: expected an instant before `to`, found {begin} and {end}")
        try:
            row = query.series_in(store, tag, begin, end, points) if store else query.series(tag, begin, end, points)
        except (ValueError, TooMany) as error:
            raise Impossible(str(error)) from error
        return _csv(row) if form == "csv" else _json(row)

    routes.include_router(alarm_routes(query, access, documented))
    routes.include_router(unit_routes(query, access, documented))

    @routes.get("/edges", responses=documented(EdgeRow, "edges"))
    def edges() -> Response:
        """All edges that were ever heard, with their sources and backlog."""
        return _json({"edges": query.edges()})

    @routes.get("/status", responses=documented(StatusRow))
    def status() -> Response:
        """The gateway at a glance."""
        return _json({**query.status(), "timezone": timezone})

    @routes.get("/ledger", responses=documented(LedgerRow, "ledger"))
    def ledger() -> Response:
        """The accounting of every tag."""
        return _json({"ledger": query.ledger()})

    @routes.get("/live", responses={200: {"content": {"text/event-stream": {}}, "description": "hello, values, alarms, edges, tags, beat"}})
    async def stream(request: Request) -> Response:  # noqa: ARG001 - FastAPI hands the raw request on to the response
        """Server-sent events: `values` at most twice a second, `beat` every second."""
        return _Stream(LiveResponse(live, await live.open()))

    return routes


class _Stream(Response):
    """Lets FastAPI hand the connection to a LiveResponse."""

    def __init__(self, response: LiveResponse) -> None:
        super().__init__()
        self._response = response

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._response(scope, receive, send)
