"""Spectra and waveforms at the HTTP interface."""

from __future__ import annotations

import time
from typing import Annotated

import msgspec
from fastapi import APIRouter, Response
from fastapi import Query as Parameter

from gateway.blocks import MAX_BLOCKS, BlocksRow
from gateway.console.api import HOUR_NS, documented
from gateway.console.errors import Impossible
from gateway.console.instants import Instant
from gateway.query import Query


def blocks(query: Query) -> APIRouter:
    """The route."""
    routes = APIRouter(prefix="/api/v1")

    @routes.get("/blocks", responses=documented(BlocksRow))
    def of_stream(
        tag: Annotated[str, Parameter(min_length=3, max_length=512, description="<edge>:<tag name>", examples=["nir-edge-1:nir1/spectrum"])],
        from_ns: Annotated[Instant | None, Parameter(alias="from", description="start, included; an hour before `to` when absent")] = None,
        to_ns: Annotated[Instant | None, Parameter(alias="to", description="end, not included; now when absent")] = None,
        count: Annotated[int, Parameter(ge=1, le=MAX_BLOCKS)] = 60,
    ) -> Response:
        """At most `count` spectra or waveforms of one stream over a span, spread evenly, with how they were taken and what good ones look like."""
        end = time.time_ns() if to_ns is None else to_ns
        begin = max(0, end - HOUR_NS) if from_ns is None else from_ns
        if begin >= end:
            raise Impossible(f"from: expected an instant before `to`, found {begin} and {end}")
        try:
            row = query.blocks(tag, begin, end, count)
        except ValueError as error:
            raise Impossible(str(error)) from error
        return Response(msgspec.json.encode(row), media_type="application/json")

    return routes
