"""Every HTTP route of gateway and edge against requests that its OpenAPI document allows and forbids, and against plain noise: none may fail inside.

Schemathesis draws the requests (seeded); the gateway is the real one, called in this process, over a store that knows one edge: some requests go to
its alarms, tags and people, and are made by nobody, by everybody (no accounts) and by a person of each role.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import argon2
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from gateway.app import Gateway
from gateway.config import GatewayConfig
from gateway.console.access import COOKIE, TOKEN
from gateway.console.app import create_app
from gateway.users import ROLES, Account, check_role
from tests.gateway.edge import SECOND, START, Edge

DOCUMENT: Final = "/api/v1/openapi.json"
PASSWORD: Final = "correct horse battery"
KNOWN: Final[dict[str, tuple[Any, ...]]] = {
    "occurrence": (f"press-edge-1~press1/main_force.high~{START + 100 * SECOND}", "press-edge-1~press1/main_force.high~0"),
    "edge": ("press-edge-1",), "unit": ("press1",), "key": ("press-edge-1:press1/main_force", "press-edge-1:press1/batch"),
    "tag": ("press-edge-1:press1/main_force", "press1/main_force"), "name": tuple(ROLES), "id": (1, 2), "batch": ("B7",),
}  # fmt: skip
"""Values that mean something, by the name of their parameter."""
ENDLESS: Final = frozenset({"GET /api/v1/live"})
"""A stream that never ends; its parameters are those of others."""


@dataclass
class Served:
    """An application, and who may ask it: a person of each role where there are accounts."""

    app: Any
    gateway: Gateway
    accounts: bool

    def person(self, role: str) -> dict[str, Any]:
        """Headers and cookies of somebody with a role, made anew where an earlier request took the account away; nobody for ""."""
        if not role or not self.accounts:
            return {}
        users, now = self.gateway.users, self.gateway.sessions.now()
        users.put(Account(role, role.title(), check_role(role)), PASSWORD, now)
        token, session = self.gateway.sessions.login(role, PASSWORD, f"{role}-{now}.example")
        return {"headers": {TOKEN: session.csrf}, "cookies": {COOKIE: token}}


@contextmanager
def gateway_app(folder: Path, *, accounts: bool = False) -> Iterator[Served]:
    """The gateway's application over a store of its own with one edge, without a broker."""
    config = GatewayConfig.model_validate({"gateway": {"id": "gw1", "site": "demo", "data_dir": folder / "gateway"}})
    gateway = Gateway(config)
    gateway.ingest._publish = lambda *_: None  # type: ignore[method-assign]  # there is no broker to tell
    edge = Edge()
    edge.define()
    edge.summary(edge.samples(0, 30))
    edge.event("raise", "NORM", "UNACK")
    gateway.store.apply(gateway.store.take([(edge.deliver(), gateway.sessions.now())]))
    gateway.users._hasher = argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
    if accounts:
        for role in ROLES:
            gateway.users.put(gateway.users.check_new(role, role.title(), role), PASSWORD, 1)
    try:
        app = create_app(gateway.questions, timezone="Asia/Shanghai", sessions=gateway.sessions, office=gateway.office)
        yield Served(app, gateway, accounts)
    finally:
        gateway.close()


class Failure(AssertionError):
    """A request that made something fail inside, with how to send it again."""


def fuzz_routes(folder: Path, number: int, seconds: float) -> tuple[dict[str, int], str]:
    """Round after round until the time is over, by turns with and without accounts: requests by route, and the first failure."""
    made: dict[str, int] = {}
    until = time.monotonic() + seconds
    with gateway_app(folder / "open") as open_, gateway_app(folder / "accounts", accounts=True) as closed:
        while time.monotonic() < until:
            number += 1
            try:
                for served in (open_, closed):
                    for label, count in tried(served, examples=20, number=number, until=until).items():
                        made[label] = made.get(label, 0) + count
            except AssertionError as error:
                return made, str(error)
    return made, ""


def tried(served: Served, *, examples: int, number: int, routes: int = 1000, until: float = float("inf")) -> dict[str, int]:
    """Requests made per route; Failure at the first that is answered with 5xx, or with an error that is no problem document (RFC 9457)."""
    schema = schemathesis.openapi.from_asgi(DOCUMENT, served.app)
    made: dict[str, int] = {}
    operations = [found.ok() for found in schema.get_all_operations()]
    rng = random.Random(number)
    rng.shuffle(operations)
    for operation in operations[:routes]:
        if operation.label in ENDLESS or time.monotonic() > until:
            continue
        made[operation.label] = 0
        role = rng.choice(("", *ROLES))
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            with contextlib.suppress(Unsatisfiable):  # a route without parameters has nothing to get wrong
                made[operation.label] += _asked(operation, mode, role, served.person(role), number, examples)
    return made


def _asked(operation: Any, mode: GenerationMode, role: str, who: dict[str, Any], number: int, examples: int) -> int:
    """Requests to one route that somebody made."""
    made = 0

    @seed(number)
    @settings(
        max_examples=examples, deadline=None, database=None, phases=(Phase.generate,), suppress_health_check=list(HealthCheck), print_blob=False
    )  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=mode), pick=st.integers(0, 3))
    def one(case: Any, pick: int) -> None:
        nonlocal made
        made += 1
        for values in (case.path_parameters, case.query) if pick else ():
            for name in (values or {}).keys() & KNOWN.keys():
                values[name] = KNOWN[name][pick % len(KNOWN[name])]
        try:
            answer = case.call(**who)
        except requests.exceptions.Timeout:  # other work has the machine; a request that is slow by itself is slow again in another round
            return
        told = "problem+json" in "".join(answer.headers.get("content-type", []))
        if answer.status_code >= 500 or (answer.status_code >= 400 and not told):
            raise Failure(f"{case.operation.label} as {role or 'nobody'}: {answer.status_code} {answer.text[:500]}\n{case.as_curl_command()}")

    one()
    return made
