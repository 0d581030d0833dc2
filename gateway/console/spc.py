"""Control charts at the HTTP interface."""

from __future__ import annotations

import math
import time
from typing import Annotated, Final

import msgspec
from fastapi import APIRouter, Response
from fastapi import Query as Parameter

from gateway.console.api import HOUR_NS, documented
from gateway.console.errors import Impossible
from gateway.console.instants import Instant
from gateway.query import Query
from gateway.spc import Rules, SpcRow, chart

POINTS: Final = 200
Number = Annotated[float | None, Parameter(allow_inf_nan=False, ge=-1e15, le=1e15)]


def spc(query: Query) -> APIRouter:
    """The route."""
    routes = APIRouter(prefix="/api/v1")

    @routes.get("/spc", responses=documented(SpcRow))
    def control_chart(
        tag: Annotated[str, Parameter(min_length=3, max_length=512, description="<edge>:<tag name>", examples=["press-edge-1:press1/main_force"])],
        from_ns: Annotated[Instant | None, Parameter(alias="from", description="start, included; 8 hours before `to` when absent")] = None,
        to_ns: Annotated[Instant | None, Parameter(alias="to", description="end, not included; now when absent")] = None,
        points: Annotated[int, Parameter(ge=2, le=2000)] = POINTS,
        rules: Rules = "nelson",
        lsl: Number = None,
        usl: Number = None,
        mu: Number = None,
        sigma: Number = None,
    ) -> Response:
        """Individuals chart of single values, one in each of `points` parts of the span, run rules and capability.

        `lsl`, `usl`: specification in the tag's unit, either or both; `mu`, `sigma`: mean and standard deviation that limits are drawn from, both or
        none, those of the values shown when absent.
        """
        end = time.time_ns() if to_ns is None else to_ns
        begin = max(0, end - 8 * HOUR_NS) if from_ns is None else from_ns
        if begin >= end:
            raise Impossible(f"from: expected an instant before `to`, found {begin} and {end}")
        if lsl is not None and usl is not None and not lsl < usl:
            raise Impossible(f"lsl, usl: expected lsl below usl, found {lsl} and {usl}")
        if (mu is None) != (sigma is None) or (sigma is not None and not (sigma > 0 and math.isfinite(1 / sigma))):
            raise Impossible(f"mu, sigma: expected both or none and sigma above 0, found {mu} and {sigma}")
        try:
            row = query.series(tag, begin, end, points)
        except ValueError as error:
            raise Impossible(str(error)) from error
        if row["text"]:
            raise Impossible(f"tag: expected a numeric tag, found the text tag {tag!r}")
        edge, name = tag.split(":", 1)
        path = next((r["path"] for r in query.tags() if r["key"] == tag), "") or name.rpartition("/")[0]
        modes = [m for m in query.modes(begin, end) if m["edge"] == edge and f"{path}/".startswith(m["unit"] + "/")]
        return Response(msgspec.json.encode(chart(row, modes, rules, lsl, usl, mu, sigma)), media_type="application/json")

    return routes
