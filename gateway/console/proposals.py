"""Proposals at the HTTP interface: an engineer proposes, quality signs; everybody who may read the audit trail sees them."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Path, Request, Response
from fastapi import Query as Parameter

from edge_agent.core.change import encode_changes
from gateway.audit import Actor
from gateway.console.access import COOKIE, Access, Body, Line, Name, Signed
from gateway.console.instants import Instant
from gateway.proposals import Proposal, Proposals
from gateway.query import NotFound
from gateway.sessions import NotLoggedIn, Session, Sessions, Signature
from gateway.users import Right

Number = Annotated[int, Path(ge=1, le=2**31)]


class Proposing(Body):
    """What `edge-agent propose` makes: a whole configuration with its hash, and why it is changed."""

    edge: Name
    site: Name
    sha256: Annotated[str, Parameter(pattern="^[0-9a-f]{64}$")]
    config: dict[str, Any]
    reason: Line


class Approving(Body):
    """The signature, why, and from when on it may run (now when absent)."""

    reason: Line
    effective: Instant | None = None
    signature: Signed


class Refusing(Body):
    """Why it may not run."""

    reason: Line


def _json(body: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")


def changes(access: Access, proposals: Proposals | None) -> APIRouter:
    """The routes; without a store of proposals every one answers 404."""
    routes = APIRouter(prefix="/api/v1")

    def kept() -> Proposals:
        if proposals is None or access.sessions is None or access.open():
            raise NotFound("proposals need accounts: one person proposes, another one approves; make them with `edge-gateway user add`")
        return proposals

    def reading(request: Request) -> Proposals:
        if access.session(request) is None and proposals is not None and not access.open():
            raise NotLoggedIn("log in to see proposals")
        return kept()

    def acting(request: Request, right: Right, what: str) -> tuple[Proposals, Sessions, Session, Actor]:
        store = kept()
        sessions, session = access.acting(request)
        sessions.allowed(session, right, what)
        sessions.touch(request.cookies[COOKIE])
        return store, sessions, session, session.actor()

    def row(store: Proposals, proposal: Proposal) -> dict[str, Any]:
        return {**msgspec.to_builtins(proposal), "differences": msgspec.to_builtins(store.differences(proposal))}

    @routes.get("/proposals")
    def all_(request: Request) -> Response:
        """Proposals, those that wait first."""
        return _json({"proposals": reading(request).all()})

    @routes.post("/proposals", status_code=201)
    def propose(request: Request, body: Proposing) -> Response:
        """Propose a configuration for an edge."""
        store, _, _, by = acting(request, "propose", f"edge {body.edge}")
        return _json(row(store, store.propose(by, body.edge, body.site, body.config, body.sha256, body.reason)), 201)

    @routes.get("/proposals/{id}")
    def one(request: Request, id: Number) -> Response:  # noqa: A002 - the name in the address
        """One proposal with every key that differs from what was approved before."""
        store = reading(request)
        return _json(row(store, store.get(id)))

    @routes.get("/proposals/{id}/approval")
    def approval(request: Request, id: Number) -> Response:  # noqa: A002
        """The signed approval as a file, for `edge-agent approved --take` where no broker reaches the edge."""
        headers = {"Content-Disposition": f'attachment; filename="approval-{id}.json"'}
        return Response(encode_changes([reading(request).approval(id)]), media_type="application/json", headers=headers)

    @routes.post("/proposals/{id}/approve")
    def approve(request: Request, id: Number, body: Approving) -> Response:  # noqa: A002
        """Sign a proposal of another person; the edge gets the approval and runs it from its effective time on."""
        store, sessions, session, by = acting(request, "approve", f"proposal {id}")
        store.check_approver(by, id)  # before the password: one's own is refused whatever is typed
        meaning = sessions.meaning(session, "approve", Signature(body.signature.password, body.signature.meaning), always=True)
        return _json(row(store, store.approve(by, id, meaning, body.reason, body.effective)))

    @routes.post("/proposals/{id}/refuse")
    def refuse(request: Request, id: Number, body: Refusing) -> Response:  # noqa: A002
        """Refuse a proposal, or withdraw one's own."""
        store, sessions, session = kept(), *access.acting(request)
        if store.get(id).proposed_by != session.account.name:
            sessions.allowed(session, "approve", f"proposal {id}")
        sessions.own(session.actor(), session.account, f"proposal {id}")
        return _json(row(store, store.refuse(session.actor(), id, body.reason)))

    return routes
