"""Key figures of the alarm system at the HTTP interface: JSON, and CSV of one row per figure."""

from __future__ import annotations

import csv
import io
import time
from typing import Annotated, Any, Final, Literal

import msgspec
from fastapi import APIRouter, Response
from fastapi import Query as Parameter

from gateway.audit_verify import csv_cell
from gateway.console.api import documented
from gateway.console.errors import Impossible
from gateway.console.instants import Instant, rfc3339
from gateway.kpis import DAY, KpiRow
from gateway.query import Query

LONGEST: Final = 366 * DAY


def kpis(query: Query) -> APIRouter:
    """The route."""
    routes = APIRouter(prefix="/api/v1")

    @routes.get("/alarms/kpis", responses=documented(KpiRow))
    def figures(
        from_ns: Annotated[Instant | None, Parameter(alias="from", description="start, included; 30 days before `to` when absent")] = None,
        to_ns: Annotated[Instant | None, Parameter(alias="to", description="end, not included; now when absent")] = None,
        form: Annotated[Literal["json", "csv"], Parameter(alias="format")] = "json",
    ) -> Response:
        """Rates, floods, chattering, stale alarms, top ten, priorities, acknowledgement and suppression over a span of at most 366 days."""
        end = time.time_ns() if to_ns is None else to_ns
        begin = max(0, end - 30 * DAY) if from_ns is None else from_ns
        if not 0 < end - begin <= LONGEST:
            raise Impossible(f"from: expected an instant up to 366 days before `to`, found {begin} and {end}")
        row = query.kpis(begin, end)
        if form == "csv":
            headers = {"Content-Disposition": 'attachment; filename="alarm-kpis.csv"'}
            return Response(kpi_csv(row), media_type="text/csv; charset=utf-8", headers=headers)
        return Response(msgspec.json.encode(row), media_type="application/json")

    return routes


def kpi_csv(row: KpiRow) -> str:
    """The figures as CSV: figure, item, value; times in UTC."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(("figure", "item", "value"))

    def put(figure: str, item: str, value: Any) -> None:
        writer.writerow((figure, csv_cell(item), "" if value is None else rfc3339(value) if figure.endswith("_ns") else value))

    for key, value in row.items():
        if key in ("start_ns", "count"):
            continue
        if isinstance(value, dict):
            for item, n in value.items():
                put(key, item, n)
        elif isinstance(value, list):
            put(key, "", len(value))
            for inner in value:
                where = rfc3339(inner["from_ns"]) if "from_ns" in inner else f"{inner['edge']}~{inner['alarm']}"
                for field, n in inner.items():
                    if field not in ("edge", "alarm", "from_ns"):
                        put(f"{key}.{field}", where, n)
        else:
            put(key, "", value)
    for start, n in zip(row["start_ns"], row["count"], strict=True):
        writer.writerow(("calls_in_bucket", rfc3339(start), n))
    return "\ufeff" + out.getvalue()
