"""Errors as problem details (RFC 9457): one shape for every refusal, validation included."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from edge_agent.core import PharmedgeError, Refused
from gateway.proposals import WrongProposal
from gateway.query import NotFound
from gateway.sessions import NotAllowed, NotLoggedIn, SignatureNeeded, TooSoon
from gateway.users import WrongAccount

MEDIA_TYPE: Final = "application/problem+json"

PROBLEM_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "description": "Problem details (RFC 9457)",
    "required": ["type", "title", "status", "detail", "instance"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {"type": "object", "properties": {"field": {"type": "string"}, "detail": {"type": "string"}}},
        },
    },
}


class Impossible(PharmedgeError):
    """Arguments that are well formed one by one and make no sense together."""


def problem(
    request: Request,
    status: int,
    detail: str,
    errors: Sequence[dict[str, str]] = (),
    headers: dict[str, str] | None = None,
    kind: str = "about:blank",
) -> Response:
    """A problem document; `detail` is shown to people."""
    title = HTTPStatus(status).phrase
    body: dict[str, Any] = {"type": kind, "title": title, "status": status, "detail": detail, "instance": request.url.path}
    if errors:
        body["errors"] = list(errors)
    return Response(msgspec.json.encode(body), status, headers=headers, media_type=MEDIA_TYPE)


def _not_found(request: Request, error: Exception) -> Response:
    return problem(request, 404, str(error))


def _refused(request: Request, error: Exception) -> Response:
    return problem(request, 409, str(error))


def _impossible(request: Request, error: Exception) -> Response:
    return problem(request, 422, str(error))


def _login(request: Request, error: Exception) -> Response:
    return problem(request, 401, str(error))


def _forbidden(request: Request, error: Exception) -> Response:
    return problem(request, 403, str(error))


def _signature(request: Request, error: Exception) -> Response:
    return problem(request, 403, str(error), kind="urn:pharmedge:signature-needed")


def _too_soon(request: Request, error: Exception) -> Response:
    assert isinstance(error, TooSoon)
    return problem(request, 429, str(error), headers={"Retry-After": str(max(1, round(error.wait_s)))})


def _unavailable(request: Request, error: Exception) -> Response:
    return problem(request, 503, str(error), headers={"Retry-After": "1"})


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return problem(request, error.status_code, str(error.detail), headers=dict(error.headers or {}))


def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = [
        {"field": ".".join(str(part) for part in item["loc"] if part != "query"), "detail": str(item["msg"]).removeprefix("Value error, ")}
        for item in error.errors()
    ]
    return problem(request, 422, "; ".join(f"{item['field']}: {item['detail']}" for item in errors), errors)


def _unexpected(request: Request, _error: Exception) -> Response:
    # The server log has the traceback; the wire has nothing of it.
    return problem(request, 500, "the gateway failed to answer; its log says why")


def install_errors(app: FastAPI) -> None:
    """Every error of the application leaves it as a problem document."""
    app.add_exception_handler(NotFound, _not_found)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(Impossible, _impossible)
    app.add_exception_handler(WrongAccount, _impossible)
    app.add_exception_handler(WrongProposal, _impossible)
    app.add_exception_handler(NotLoggedIn, _login)
    app.add_exception_handler(NotAllowed, _forbidden)
    app.add_exception_handler(SignatureNeeded, _signature)
    app.add_exception_handler(TooSoon, _too_soon)
    app.add_exception_handler(PharmedgeError, _unavailable)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _unexpected)
