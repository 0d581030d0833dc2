"""`edge-agent propose` and `edge-agent approved`: hand a changed configuration to a gateway, and say by which approval this edge runs."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

import msgspec

from edge_agent.config import AgentSettings
from edge_agent.config.approved import Approvals, choose_of, document_of
from edge_agent.core import PharmedgeError
from edge_agent.core.change import config_sha256, decode_changes

TIMEOUT_S = 20.0


class NotTaken(PharmedgeError):
    """The gateway did not take a proposal."""


def proposal_of(settings: AgentSettings, reason: str) -> dict[str, Any]:
    """What a gateway needs of a proposal; secrets are in files of their own and not part of it."""
    document = document_of(settings)
    return {"edge": settings.edge.id, "site": settings.edge.site, "sha256": config_sha256(document), "config": document, "reason": reason}


def send(gateway: str, user: str, password: str, proposal: dict[str, Any]) -> dict[str, Any]:
    """Log in at a gateway and propose; its answer. NotTaken says why not."""
    if not gateway.startswith(("http://", "https://")):
        raise NotTaken(f"--gateway: expected http://HOST:PORT, found {gateway!r}")
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))

    def post(path: str, body: object, token: str = "", method: str = "POST") -> Any:
        headers = {"Content-Type": "application/json", "X-CSRF-Token": token}
        data = json.dumps(body, ensure_ascii=False).encode() if body is not None else None
        request = urllib.request.Request(f"{gateway.rstrip('/')}/api/v1/{path}", data, headers, method=method)  # noqa: S310 - http(s) only
        try:
            with opener.open(request, timeout=TIMEOUT_S) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            try:
                why = json.load(error)["detail"]
            except (ValueError, KeyError, TypeError):
                why = error.reason
            raise NotTaken(f"{gateway}: {why}") from error
        except OSError as error:
            raise NotTaken(f"{gateway}: {error}") from error

    token = str(post("session", {"user": user, "password": password})["csrf"])
    try:
        answer: dict[str, Any] = post("proposals", proposal, token)
    finally:
        post("session", None, token, "DELETE")
    return answer


def state(path: Path, now_ns: int, take: Path | None = None) -> tuple[bool, list[str]]:
    """Whether the configuration in a file may run now, and what is known of its approval; `take` holds approvals that a gateway wrote."""
    lines = []
    choice = choose_of(path, now_ns)
    edge = choice.settings.edge
    folder = Approvals(path.parent / edge.data_dir, site=edge.site, edge=edge.id)
    if take is not None:
        data = take.read_bytes()
        new, wrong = folder.take(decode_changes(data if data.lstrip().startswith(b"[") else b"[" + data + b"]"))
        lines += [f"taken: {a.words()}, in effect from {a.effective_ns}" for a in new]
        lines += [f"not taken: {why}" for why in wrong]
        choice = choose_of(path, now_ns)
    if not edge.gmp:
        return True, [*lines, "GMP mode is off: the file runs as it is"]
    lines += [f"known: {a.sha256[:16]} {a.words()}" for a in folder.known()]
    if choice.problem:
        lines.append(choice.problem)
        lines += [f"  {d.key}: {d.old or '-'} -> {d.new or '-'}" for d in choice.refused]
    elif choice.approval is not None:
        lines.append(f"approved: {choice.sha256[:16]} {choice.approval.words()}")
    return not choice.problem, lines


def written(proposal: dict[str, Any]) -> bytes:
    """A proposal as a file."""
    return msgspec.json.format(msgspec.json.encode(proposal), indent=1) + b"\n"
