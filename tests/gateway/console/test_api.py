"""Every route of the HTTP interface: answers, problem documents, headers, parameters."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from gateway.console.app import create_app
from gateway.console.guard import LOOPBACK
from tests.gateway.console.plant import Plant

KEY = "press-edge-1:press1/main_force"
ACTIONS = (
    "alarms/ack",
    *(f"alarms/{{occurrence}}/{name}" for name in ("shelve", "unshelve", "out-of-service", "in-service", "reset", "comment")),
)
ROUTES = (
    "tags",
    "series",
    "alarms",
    "alarms/{occurrence}",
    "alarms/{occurrence}/ack",
    *ACTIONS,
    "actions/{action_id}",
    "edges",
    "status",
    "ledger",
    "live",
)


@pytest.fixture
def plant() -> Plant:
    return Plant()


@pytest.fixture
async def client(plant: Plant) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(plant, timezone="Asia/Shanghai", hosts=LOOPBACK)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as made:
        yield made


def is_problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    assert body["instance"].startswith("/")
    return body


async def test_tags_edges_status_and_ledger_answer_rows(client: httpx.AsyncClient) -> None:
    tags = (await client.get("/api/v1/tags")).json()["tags"]
    force = next(tag for tag in tags if tag["key"] == KEY)
    assert force["unit"] == "kN"
    assert force["report"] == {"kind": "periodic", "expected_s": 1.0}
    assert force["limits"][0] == {"alarm": "press1/main_force.high", "side": "high", "limit": 16.0, "priority": 2}
    assert force["last"]["quality"] == "good"
    edges = (await client.get("/api/v1/edges")).json()["edges"]
    assert [edge["edge"] for edge in edges] == ["press-edge-1", "coat-edge-1"]
    status = (await client.get("/api/v1/status")).json()
    assert status["timezone"] == "Asia/Shanghai"
    assert status["gateway"] == "gw1"
    ledger = (await client.get("/api/v1/ledger")).json()["ledger"]
    assert {"n_good", "n_missing", "sum", "gaps"} <= set(ledger[0])


async def test_series_takes_integers_and_rfc3339_alike(client: httpx.AsyncClient) -> None:
    one = await client.get("/api/v1/series", params={"tag": KEY, "from": "2026-01-01T00:00:00Z", "to": "2026-01-01T00:10:00Z", "points": 100})
    other = await client.get("/api/v1/series", params={"tag": KEY, "from": 1767225600000000000, "to": 1767226200000000000, "points": 100})
    assert one.json() == other.json()
    row = one.json()
    assert len(row["time_ns"]) == len(row["mean"]) <= 100
    assert row["from_ns"] == 1767225600000000000


async def test_a_series_can_be_read_from_a_target(client: httpx.AsyncClient) -> None:
    params = {"tag": KEY, "from": 1767225600000000000, "to": 1767226200000000000}
    own = (await client.get("/api/v1/series", params=params)).json()
    assert (await client.get("/api/v1/series", params={**params, "store": "influx"})).json() == own
    is_problem(await client.get("/api/v1/series", params={**params, "store": "nowhere"}), 404)
    is_problem(await client.get("/api/v1/series", params={**params, "store": "long"}), 422)


async def test_series_as_csv_has_the_rows_of_the_json(client: httpx.AsyncClient) -> None:
    params: dict[str, Any] = {"tag": KEY, "from": 1767226000000000000, "to": 1767226200000000000, "points": 50}
    row = (await client.get("/api/v1/series", params=params)).json()
    answer = await client.get("/api/v1/series", params={**params, "format": "csv"})
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.headers["content-disposition"] == 'attachment; filename="press-edge-1_press1_main_force.csv"'
    lines = list(csv.DictReader(io.StringIO(answer.text.removeprefix("\ufeff"))))
    assert [int(line["time_ns"]) for line in lines] == row["time_ns"]
    assert [float(line["mean"]) for line in lines] == row["mean"]
    assert lines[0]["time_utc"].endswith("Z")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("tag=e:t&from=yesterday", "from"),
        ("tag=e:t&points=0", "points"),
        ("tag=e:t&points=10001", "points"),
        ("tag=e:t&format=xml", "format"),
        ("from=1&to=2", "tag"),
        ("tag=e:t&to=99999999999999999999", "to"),
    ],
)
async def test_a_wrong_parameter_is_named(client: httpx.AsyncClient, query: str, field: str) -> None:
    body = is_problem(await client.get(f"/api/v1/series?{query}"), 422)
    assert [error["field"] for error in body["errors"]] == [field]


async def test_a_span_that_ends_before_it_begins_is_refused(client: httpx.AsyncClient) -> None:
    body = is_problem(await client.get("/api/v1/series", params={"tag": KEY, "from": 5, "to": 5}), 422)
    assert "before" in body["detail"]


async def test_unknown_things_are_404_problems(client: httpx.AsyncClient) -> None:
    is_problem(await client.get("/api/v1/series", params={"tag": "e:none"}), 404)
    is_problem(await client.get("/api/v1/alarms/e~a~1"), 404)
    is_problem(await client.post("/api/v1/alarms/e~a~1/ack", json={"user": "op"}), 404)
    is_problem(await client.get("/api/v1/nothing"), 404)
    is_problem(await client.get("/nothing.js"), 404)
    is_problem(await client.delete("/api/v1/tags"), 405)


async def test_an_acknowledge_goes_to_the_store_and_answers_202(client: httpx.AsyncClient, plant: Plant) -> None:
    occurrence = plant.raise_alarm("press1/main_force", "high", 2)
    answer = await client.post(f"/api/v1/alarms/{quote(occurrence, safe='')}/ack", json={"user": "  wang ", "reason": "seen"})
    assert answer.status_code == 202
    assert answer.json() == {"action_id": "action-1", "state": "sent"}
    assert plant.acknowledged == [(occurrence, "wang", "seen")]
    assert (await client.get(f"/api/v1/alarms/{quote(occurrence, safe='')}")).json()["occurrence"] == occurrence


async def test_what_cannot_be_acknowledged_is_a_409(client: httpx.AsyncClient, plant: Plant) -> None:
    occurrence = plant.raise_alarm("press1/main_force", "high", 2)
    plant.occurrences[occurrence]["state"] = "ACKED"
    body = is_problem(await client.post(f"/api/v1/alarms/{quote(occurrence, safe='')}/ack", json={"user": "op"}), 409)
    assert "already" in body["detail"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"user": ""},
        {"user": "   "},
        {"user": "x" * 65},
        {"user": "a\nb"},
        {"user": "op", "reason": "x" * 501},
        {"user": "op", "role": "admin"},
        [],
    ],
)
async def test_a_wrong_acknowledge_is_refused(client: httpx.AsyncClient, plant: Plant, body: Any) -> None:
    occurrence = plant.raise_alarm("press1/main_force", "high", 2)
    is_problem(await client.post(f"/api/v1/alarms/{quote(occurrence, safe='')}/ack", json=body), 422)
    assert plant.acknowledged == []


async def test_a_page_of_another_site_cannot_acknowledge(client: httpx.AsyncClient, plant: Plant) -> None:
    occurrence = quote(plant.raise_alarm("press1/main_force", "high", 2), safe="")
    for fetch_site in ("cross-site", "same-site"):
        is_problem(await client.post(f"/api/v1/alarms/{occurrence}/ack", json={"user": "op"}, headers={"Sec-Fetch-Site": fetch_site}), 403)
    form = await client.post(f"/api/v1/alarms/{occurrence}/ack", content=b'{"user":"op"}', headers={"Content-Type": "text/plain"})
    assert form.status_code == 422
    assert plant.acknowledged == []


async def test_a_rebound_host_name_is_refused(client: httpx.AsyncClient) -> None:
    is_problem(await client.get("/api/v1/tags", headers={"Host": "evil.example:8080"}), 403)
    assert (await client.get("/api/v1/tags", headers={"Host": "localhost:8080"})).status_code == 200
    assert (await client.get("/api/v1/tags", headers={"Host": "[::1]:8080"})).status_code == 200


@pytest.mark.parametrize("path", ["/", "/api/v1/tags", "/api/v1/series", "/nothing", "/js/main.js", "/vendor/uplot/uPlot.esm.js"])
async def test_every_answer_carries_the_security_headers(client: httpx.AsyncClient, path: str) -> None:
    headers = (await client.get(path)).headers
    policy = headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] in ("no-store", "no-cache")


async def test_large_answers_are_compressed(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/v1/tags", headers={"Accept-Encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"


async def test_health_readiness_version_and_metrics(client: httpx.AsyncClient, plant: Plant) -> None:
    assert (await client.get("/healthz")).json() == {"status": "ok"}
    assert (await client.get("/readyz")).json() == {"ready": True, "why": []}
    plant.not_ready = ["the broker is not connected"]
    answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["why"] == ["the broker is not connected"]
    assert (await client.get("/version")).json() == {"version": "0.1.0"}
    metrics = (await client.get("/metrics")).text
    assert "# TYPE pharmedge_gateway_rows_total counter" in metrics
    assert "# TYPE pharmedge_gateway_inbox_bytes gauge" in metrics
    assert "pharmedge_gateway_console_pages 0.0" in metrics


async def test_the_openapi_document_names_every_route_and_row(client: httpx.AsyncClient) -> None:
    document = (await client.get("/api/v1/openapi.json")).json()
    # Other pages bring routes of their own.
    of_people = ("session", "session/touch", "session/password", "audit", "audit/review")
    assert set(document["paths"]) >= {f"/api/v1/{name}" for name in (*ROUTES, *of_people)}
    components = document["components"]["schemas"]
    assert {"TagRow", "SeriesRow", "AlarmRow", "EdgeRow", "StatusRow", "LedgerRow", "Problem"} <= set(components)

    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            return [node["$ref"], *[]] if "$ref" in node else [ref for child in node.values() for ref in references(child)]
        return [ref for child in node for ref in references(child)] if isinstance(node, list) else []

    for reference in references(document):
        assert reference.removeprefix("#/components/schemas/") in components


async def test_an_unexpected_failure_tells_nothing_of_its_inside(client: httpx.AsyncClient, plant: Plant) -> None:
    plant.tags = lambda: 1 / 0  # type: ignore[method-assign,assignment,return-value]
    body = is_problem(await client.get("/api/v1/tags"), 500)
    assert "division" not in str(body)


def test_an_unknown_zone_is_refused(plant: Plant) -> None:
    with pytest.raises(ValueError, match="IANA"):
        create_app(plant, timezone="Shanghai time")


async def test_key_figures(client: httpx.AsyncClient, plant: Plant) -> None:
    plant.raise_alarm("press1/main_force", "high", 2, ago_s=60)
    row = (await client.get("/api/v1/alarms/kpis")).json()
    assert (row["calls"], row["hours"], row["priorities"]["2"]) == (1, 720.0, 1)
    table = await client.get("/api/v1/alarms/kpis?format=csv")
    assert table.text.startswith("\ufefffigure,item,value\r\n")
    assert "top.calls,press-edge-1~press1/main_force.high,1\r\n" in table.text
    is_problem(await client.get("/api/v1/alarms/kpis?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z"), 422)
    is_problem(await client.get("/api/v1/alarms/kpis?from=0&to=2026-01-01T00:00:00Z"), 422)


async def test_control_chart(client: httpx.AsyncClient) -> None:
    key = "press-edge-1:press1/main_force"
    row = (await client.get("/api/v1/spc", params={"tag": key, "points": 100, "lsl": 9, "usl": 16, "rules": "western_electric"})).json()
    assert len(row["value"]) == len(row["broken"]) > 50
    assert row["lower"] < row["mean"] < row["upper"]
    assert row["capability"]["ppk_quantile"] > 1
    given = (await client.get("/api/v1/spc", params={"tag": key, "mu": 12, "sigma": 0.5})).json()
    assert (given["mean"], given["upper"], given["given"]) == (12, 13.5, True)
    for wrong in ({"lsl": 5, "usl": 5}, {"mu": 1}, {"mu": 1, "sigma": 0}, {"rules": "mine"}, {"from": 9, "to": 5}, {"usl": "nan"}):
        is_problem(await client.get("/api/v1/spc", params={"tag": key, **wrong}), 422)
    is_problem(await client.get("/api/v1/spc", params={"tag": "press-edge-1:press1/batch"}), 422)
    is_problem(await client.get("/api/v1/spc", params={"tag": "press-edge-1:nothing"}), 404)
