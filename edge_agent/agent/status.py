"""What the agent says of itself: health, readiness, figures."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from prometheus_client import generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from edge_agent import __version__
from edge_agent.agent.commit import JOURNAL, OUTBOX
from edge_agent.agent.engine import Engine
from edge_agent.agent.figures import registry_of
from edge_agent.agent.intake import Intake
from edge_agent.core.divert import DivertNow


@dataclass
class Status:
    """Gathers what is known; every call reads the moment."""

    edge: str
    site: str
    simulated: bool
    epoch: Callable[[], int]
    engine: Engine
    intake: Intake
    sources: Callable[[], list[dict[str, Any]]]
    uplinks: Callable[[], list[dict[str, Any]]]
    required: Callable[[], frozenset[str]]
    started: float
    listening: Callable[[], list[dict[str, Any]]] = list

    def problems(self) -> list[str]:
        """Why the edge is not ready; empty when it is."""
        found = [f"source {s['name']}: {s['state']}" for s in self.sources() if s["state"] not in ("connected", "ended")]
        found += [f"uplink {u['name']}: not connected" for u in self.uplinks() if u["name"] in self.required() and not u.get("connected")]
        if self.engine.full:
            found.append("outbox is full: sources are not read")
        if self.engine.write_error:
            found.append(f"journal cannot be written: {self.engine.write_error}")
        if self.engine.failed is not None:
            found.append(f"stopped: {self.engine.failed}")
        return found

    def latency(self) -> dict[str, float | int | None]:
        """Sensor-to-durable latency of raised alarms in ms, minus their delay; percentiles are null below 500 latencies."""
        kept = list(self.engine.latencies_ms)
        enough = len(kept) >= 500
        return {
            "p50_ms": float(np.percentile(kept, 50)) if enough else None,
            "p99_ms": float(np.percentile(kept, 99)) if enough else None,
            "n": self.engine.latency_count,
        }

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        log, pipeline = self.engine.log, self.engine.pipeline
        totals = {fate: int(counts.sum()) for fate, counts in pipeline.totals().items()} if pipeline.started else {}
        standing = pipeline.alarms.standing() if pipeline.started else []
        return {
            "edge": self.edge,
            "site": self.site,
            "simulated": self.simulated,
            "version": __version__,
            "uptime_s": round(time.monotonic() - self.started, 1),
            "ready": not self.problems(),
            "problems": self.problems(),
            "epoch": self.epoch(),
            "journal": {"seq": log.head(JOURNAL).seq, "bytes": log.head(JOURNAL).bytes},
            "outbox": {
                "seq": log.head(OUTBOX).seq,
                "bytes": log.head(OUTBOX).bytes,
                "oldest_seq": log.first(OUTBOX),
                "held_bytes": self.engine.held_bytes,
                "limit_bytes": self.engine.limit_bytes,
                "seconds_to_full": to_full if math.isfinite(to_full := self.engine.to_full_s) else None,
            },
            "waiting_bytes": self.intake.waiting_bytes,
            "open_windows": pipeline.open_windows if pipeline.started else 0,
            "samples": totals,
            "sources": self.sources(),
            "uplinks": self.uplinks(),
            "listening": self.listening(),
            "alarms": {"standing": len(standing)},
            "diverters": [_divert(d) for d in self.engine.diverts],
            "latency": self.latency(),
            "latencies_ms": list(self.engine.latencies_ms),
        }


def _divert(now: DivertNow) -> dict[str, Any]:
    told = {"name": now.name, "request": now.request, "reason": now.reason, "state": now.state, "watchdog": now.watchdog}
    return {**told, "valid_until_ns": now.valid_until_ns, "low": now.low, "high": now.high, **dict(now.accounts)}


def create_app(status: Status, more: Sequence[BaseRoute] = ()) -> Starlette:
    """The agent's HTTP interface: its status, read only, and what is served beside it."""
    registry = registry_of(status)

    async def healthz(_: Request) -> Response:
        failed = status.engine.failed
        return PlainTextResponse("ok" if failed is None else f"stopped: {failed}", 200 if failed is None else 500)

    async def readyz(_: Request) -> Response:
        problems = status.problems()
        return JSONResponse({"ready": not problems, "problems": problems}, 503 if problems else 200)

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(registry), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def version(_: Request) -> Response:
        return JSONResponse({"version": __version__})

    async def everything(_: Request) -> Response:
        return JSONResponse(status.as_json())

    return Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/ping", healthz),
            Route("/readyz", readyz),
            Route("/ready", readyz),
            Route("/metrics", metrics),
            Route("/version", version),
            Route("/status", everything),
            *more,
        ]
    )
