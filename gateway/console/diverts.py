"""Diverters of continuous lines at the HTTP interface."""

from __future__ import annotations

import csv
import io
import time
from typing import Annotated, Any, Final, Literal

import msgspec
from fastapi import APIRouter, Response
from fastapi import Query as Parameter

from edge_agent.core.divert import reason_words
from gateway.console.errors import Impossible
from gateway.console.instants import Instant, rfc3339
from gateway.diverts import ACCOUNTS, DivertLedgerRow, diverters, ledger
from gateway.query import NotFound, Query

SPAN_NS: Final = 8 * 3600 * 1_000_000_000


def _csv(row: DivertLedgerRow) -> Response:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(("diverter", "from_ns", "from_utc", "to_ns", "to_utc", "request", "reason", "reason_text", *ACCOUNTS))
    for span in row["spans"]:
        masses: list[Any] = [span[account] for account in ACCOUNTS]
        times = (span["from_ns"], rfc3339(span["from_ns"]), span["to_ns"], rfc3339(span["to_ns"]))
        writer.writerow((row["diverter"], *times, "divert" if span["request"] else "accept", span["reason"], reason_words(span["reason"]), *masses))
    name = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "_" for c in row["diverter"])
    attached = {"Content-Disposition": f'attachment; filename="{name}.csv"'}
    return Response("\ufeff" + out.getvalue(), media_type="text/csv; charset=utf-8", headers=attached)


def diverts(query: Query) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/api/v1")

    @routes.get("/diverters")
    def all_() -> Response:
        """Keys of all diverters, `<edge>:<name>`."""
        return Response(msgspec.json.encode({"diverters": diverters(query.tags())}), media_type="application/json")

    @routes.get("/diverts")
    def material(
        diverter: Annotated[str, Parameter(min_length=3, max_length=512, description="<edge>:<name>", examples=["cm-edge-1:cm1/divert"])],
        from_ns: Annotated[Instant | None, Parameter(alias="from", description="start, included; 8 hours before `to` when absent")] = None,
        to_ns: Annotated[Instant | None, Parameter(alias="to", description="end, not included; now when absent")] = None,
        form: Annotated[Literal["json", "csv"], Parameter(alias="format")] = "json",
    ) -> Response:
        """What was accepted and diverted when, why, and how much of it, by time and mass."""
        end = time.time_ns() if to_ns is None else to_ns
        begin = max(0, end - SPAN_NS) if from_ns is None else from_ns
        if diverter not in diverters(query.tags()):
            raise NotFound(f"diverter: expected the key of one, found {diverter[:200]!r}")
        try:
            row = ledger(query.series, diverter, begin, end)
        except ValueError as error:
            raise Impossible(str(error)) from error
        return _csv(row) if form == "csv" else Response(msgspec.json.encode(row), media_type="application/json")

    return routes
