"""Batches, and their course against earlier ones, at the HTTP interface."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Response
from fastapi import Query as Parameter

from gateway.console.api import documented
from gateway.console.errors import Impossible
from gateway.courses import MOST, CourseRow, course, earlier
from gateway.query import NotFound, Query

Name = Annotated[str, Parameter(max_length=512)]


def courses(query: Query) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/api/v1")

    @routes.get("/batches")
    def batches(limit: Annotated[int, Parameter(ge=1, le=10_000)] = 500) -> Response:
        """Every batch of every unit with its begin and end, the newest first."""
        return Response(msgspec.json.encode({"batches": query.batches()[:limit]}), media_type="application/json")

    @routes.get("/course", responses=documented(CourseRow))
    def of_batch(
        tag: Annotated[str, Parameter(min_length=3, max_length=512, description="<edge>:<tag name>", examples=["press-edge-1:press1/main_force"])],
        unit: Name,
        batch: Annotated[str, Parameter(min_length=1, max_length=200)],
        against: Annotated[list[str] | None, Parameter(max_length=MOST, description="earlier batches; the newest finished ones when absent")] = None,
        phase: Name = "",
        maturity: Annotated[str, Parameter(max_length=512, description="key of the tag that tells how far a batch is; time when absent")] = "",
        points: Annotated[int, Parameter(ge=10, le=500)] = 100,
    ) -> Response:
        """One tag through a batch, with what earlier batches did at the same moment and limits from them."""
        edge = tag.split(":", 1)[0]
        rows = [row for row in query.batches() if row["edge"] == edge and row["unit"] == unit]
        of = next((row for row in rows if row["batch"] == batch), None)
        if of is None:
            raise NotFound(f"batch: expected one that edge {edge} made in {unit or 'a unit'}, found {batch!r}")
        others = earlier(rows, of)
        if against is not None:
            others = [row for row in rows if row["batch"] in against and row is not of][:MOST]
        phases = ""
        if phase:
            phases = next(
                (t["key"] for t in query.tags() if t["edge"] == edge and t["role"] == "phase" and _unit_of(t["path"], t["name"]) == unit), ""
            )
            if not phases:
                raise Impossible(f"phase: expected a unit whose phases are told, found {unit}")
        try:
            row = course(query, of, others, tag, phase=phase, phases=phases, maturity=maturity, points=points)
        except ValueError as error:
            raise Impossible(str(error)) from error
        return Response(msgspec.json.encode(row), media_type="application/json")

    return routes


def _unit_of(path: str, name: str) -> str:
    return path or name.rpartition("/")[0]
