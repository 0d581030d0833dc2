"""The web application of the gateway: API, live stream, health, metrics and the console's pages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.middleware.gzip import GZipMiddleware
from starlette.staticfiles import StaticFiles

from gateway.console.access import Access
from gateway.console.accounts import accounts
from gateway.console.advice import advice
from gateway.console.api import ROWS, api
from gateway.console.blocks import blocks
from gateway.console.courses import courses
from gateway.console.diverts import diverts
from gateway.console.errors import PROBLEM_SCHEMA, install_errors
from gateway.console.guard import Guard, Rate
from gateway.console.handover import handover
from gateway.console.kpis import kpis
from gateway.console.live import Live, Pace
from gateway.console.people import people
from gateway.console.proposals import changes
from gateway.console.spc import spc
from gateway.office import Office
from gateway.query import Query
from gateway.sessions import Sessions

STATIC: Final = Path(__file__).with_name("static")
PREFIX: Final = "pharmedge_gateway_"
_TEMPLATE: Final = "#/components/schemas/{name}"


class _Counters(Collector):
    """Counts of the store and of the live stream as Prometheus metrics."""

    def __init__(self, query: Query, live: Live) -> None:
        self._query = query
        self._live = live

    def collect(self) -> Iterable[Metric]:
        """One family per count."""
        counts = {**self._query.counters(), "console_pages": float(self._live.clients), "console_cut_off_total": float(self._live.cut_off_total)}
        for name, count in counts.items():
            family = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            metric = family(PREFIX + name, name.removesuffix("_total").replace("_", " "))
            metric.add_metric([], count)
            yield metric
        yield GaugeMetricFamily(PREFIX + "ready", "1 when ready", value=float(not self._query.ready()))
        yield from self._by_label()

    def _by_label(self) -> Iterable[Metric]:
        """What there is one of per target and per edge."""
        status = self._query.status()
        behind = GaugeMetricFamily(PREFIX + "target_behind_records", "Records that a target has not got", labels=["target"])
        up = GaugeMetricFamily(PREFIX + "target_up", "1 when a target is connected", labels=["target"])
        written = CounterMetricFamily(PREFIX + "target_written", "Points that a target has taken", labels=["target"])
        rejected = CounterMetricFamily(PREFIX + "target_rejected", "Points that a target has refused for good", labels=["target"])
        for target in status["targets"]:
            for family, value in ((behind, "behind"), (up, "connected"), (written, "written"), (rejected, "rejected")):
                family.add_metric([target["name"]], float(target[value]))  # type: ignore[literal-required]
        age = GaugeMetricFamily(PREFIX + "edge_age_seconds", "Seconds since the newest record of an edge came", labels=["edge"])
        backlog = GaugeMetricFamily(PREFIX + "edge_backlog_records", "Records that an edge announced and that are not committed", labels=["edge"])
        for edge in self._query.edges():
            if edge["last_seen_ns"] is not None:
                age.add_metric([edge["edge"]], max(0.0, (status["now_ns"] - edge["last_seen_ns"]) / 1e9))
            backlog.add_metric([edge["edge"]], float(edge["backlog"]))
        yield from (behind, up, written, rejected, age, backlog)


def create_app(
    query: Query,
    *,
    timezone: str,
    hosts: Collection[str] = (),
    pace: Pace | None = None,
    sessions: Sessions | None = None,
    office: Office | None = None,
    proxies: Collection[str] = (),
    rate: Rate | None = None,
) -> FastAPI:
    """The application over one store.

    timezone  IANA name of the plant's local time, written beside every time on the screen
    hosts     host names a browser may use, without port (`guard.LOOPBACK` for a loopback listener); empty accepts any
    sessions  accounts and audit trail; without them everyone acts under the name they give and nothing is written down
    office    proposals and handovers; without it there are none
    proxies   addresses of proxies whose X-Forwarded-For is believed
    rate      how many requests an address has; the usual ones when absent

    Open pages hold their stream open: whoever runs the server calls `await app.state.live.close()` when it is told to stop,
    or gives uvicorn a `timeout_graceful_shutdown`. ValueError when the zone is unknown.
    """
    try:
        ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"timezone: expected an IANA name such as 'Asia/Shanghai', found {timezone!r}") from error

    def hello() -> dict[str, Any]:
        status = query.status()
        return {key: status[key] for key in ("version", "gateway", "site", "mode")} | {"timezone": timezone}

    live = Live(query, hello, pace=pace)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        await live.close()

    app = FastAPI(
        title="Pharmedge gateway",
        version="1",
        docs_url=None,  # the stock pages load scripts from elsewhere
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
        lifespan=lifespan,
    )
    app.state.live = live
    app.add_middleware(GZipMiddleware, minimum_size=1024, compresslevel=5)
    access = Access(sessions)
    app.add_middleware(
        Guard, hosts=hosts, rate=rate, proxies=proxies, spared=lambda scope: access.acknowledges(Request(scope)),
        largest=lambda scope: access.largest(Request(scope)),
    )  # fmt: skip
    install_errors(app)
    app.include_router(people(access, query))
    app.include_router(accounts(access, query))
    app.include_router(changes(access, office.proposals if office is not None else None))
    app.include_router(handover(access, query, office.handovers if office is not None else None))
    app.include_router(advice(access, office.advices if office is not None else None))
    app.include_router(kpis(query))  # before the routes that take any text for an occurrence
    app.include_router(spc(query))
    app.include_router(blocks(query))
    app.include_router(diverts(query))
    app.include_router(courses(query))
    app.include_router(api(query, live, timezone, access))
    _add_health(app, query, live)
    app.mount("/", StaticFiles(directory=STATIC, html=True), name="console")
    _describe(app)
    return app


def _add_health(app: FastAPI, query: Query, live: Live) -> None:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Counters(query, live))
    ProcessCollector(registry=registry)

    @app.get("/healthz", include_in_schema=False)
    def healthz() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok"}

    @app.get("/readyz", include_in_schema=False)
    def readyz() -> Response:
        """Whether records can be taken in, stored and answered; 503 with the reasons when not."""
        why = query.ready()
        return Response(msgspec.json.encode({"ready": not why, "why": why}), 503 if why else 200, media_type="application/json")

    @app.get("/version", include_in_schema=False)
    def version() -> dict[str, str]:
        """The software's version."""
        return {"version": query.status()["version"]}

    @app.get("/metrics", include_in_schema=False)
    def metrics() -> Response:
        """Counts in Prometheus' text format."""
        return Response(generate_latest(registry), media_type="text/plain; version=0.0.4; charset=utf-8")


def _describe(app: FastAPI) -> None:
    """The OpenAPI document, with the schemas of the rows taken from their types."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
            components = app.openapi_schema.setdefault("components", {}).setdefault("schemas", {})
            components.update(msgspec.json.schema_components(ROWS, ref_template=_TEMPLATE)[1])
            components["Problem"] = PROBLEM_SCHEMA
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]
