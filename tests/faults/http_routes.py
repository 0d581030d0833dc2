"""Every HTTP route of gateway and edge against requests that its OpenAPI document allows and forbids, and against plain noise: none may fail inside.

Schemathesis draws the requests (seeded); the applications are the real ones over an empty store, called in this process.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from gateway.app import Gateway
from gateway.config import GatewayConfig
from gateway.console.app import create_app

DOCUMENT: Final = "/api/v1/openapi.json"
ENDLESS: Final = frozenset({"GET /api/v1/live"})
"""A stream that never ends; its parameters are those of others."""


@contextmanager
def gateway_app(folder: Path) -> Iterator[Any]:
    """The gateway's application over a store of its own, without a broker."""
    config = GatewayConfig.model_validate({"gateway": {"id": "gw1", "site": "demo", "data_dir": folder / "gateway"}})
    gateway = Gateway(config)
    try:
        yield create_app(gateway, timezone="Asia/Shanghai", sessions=gateway.sessions, office=gateway.office)
    finally:
        gateway.close()


class Failure(AssertionError):
    """A request that made something fail inside, with how to send it again."""


def fuzz_routes(folder: Path, number: int, seconds: float) -> tuple[dict[str, int], str]:
    """Round after round until the time is over: requests by route, and the first failure."""
    made: dict[str, int] = {}
    until = time.monotonic() + seconds
    with gateway_app(folder) as app:
        while time.monotonic() < until:
            number += 1
            try:
                for label, count in tried(app, examples=20, number=number, until=until).items():
                    made[label] = made.get(label, 0) + count
            except AssertionError as error:
                return made, str(error)
    return made, ""


def tried(app: Any, *, examples: int, number: int, routes: int = 1000, until: float = float("inf")) -> dict[str, int]:
    """Requests made per route; Failure at the first that is answered with 5xx, or with an error that is no problem document (RFC 9457)."""
    schema = schemathesis.openapi.from_asgi(DOCUMENT, app)
    made: dict[str, int] = {}
    operations = [found.ok() for found in schema.get_all_operations()]
    random.Random(number).shuffle(operations)
    for operation in operations[:routes]:
        if operation.label in ENDLESS or time.monotonic() > until:
            continue
        made[operation.label] = 0
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

            @seed(number)
            @settings(
                max_examples=examples, deadline=None, database=None, phases=(Phase.generate,), suppress_health_check=list(HealthCheck),
                print_blob=False,
            )  # fmt: skip
            @given(case=operation.as_strategy(generation_mode=mode))
            def one(case: Any) -> None:
                made[case.operation.label] += 1
                answer = case.call()
                told = "problem+json" in "".join(answer.headers.get("content-type", []))
                if answer.status_code >= 500 or (answer.status_code >= 400 and not told):
                    raise Failure(f"{case.operation.label}: {answer.status_code} {answer.text[:500]}\n{case.as_curl_command()}")

            with contextlib.suppress(Unsatisfiable):  # a route without parameters has nothing to get wrong
                one()
    return made
