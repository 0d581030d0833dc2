"""Accounts at the HTTP interface: whoever has the role security_admin lists, makes and changes them; every rule is in gateway/accounts.py."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Path, Request, Response

from gateway.accounts import Accounts
from gateway.audit import Act, Actor
from gateway.console.access import COOKIE, Access, Body, Line, Name, Password
from gateway.query import NotFound, Query
from gateway.sessions import NotLoggedIn, Sessions
from gateway.users import RIGHTS, ROLES, Account

Who = Annotated[str, Path(max_length=32)]


class NewAccount(Body):
    """A person who is to log in."""

    name: Name
    full_name: Name
    role: Name
    password: Password
    reason: Line = ""


class NewRole(Body):
    """Another role, and why."""

    role: Name
    reason: Line


class Reset(Body):
    """Another password, and why."""

    password: Password
    reason: Line


class Disabling(Body):
    """Whether the person may no longer log in, and why."""

    disabled: bool
    reason: Line


def _json(body: Any) -> Response:
    return Response(msgspec.json.encode(body), media_type="application/json")


def _row(account: Account) -> dict[str, Any]:
    return {
        "name": account.name,
        "full_name": account.full_name,
        "role": account.role,
        "disabled": account.disabled,
        "changed_ns": account.changed_ns,
    }


def accounts(access: Access, query: Query) -> APIRouter:
    """The routes of accounts, and of trying whether people can be reached."""
    routes = APIRouter(prefix="/api/v1")

    def administers(request: Request, *, acting: bool = True) -> tuple[Accounts, Sessions, Actor]:
        if access.sessions is None or access.open():
            raise NotFound("this gateway has no accounts; make the first one with `edge-gateway user add`")
        if acting:
            sessions, session = access.acting(request)
            sessions.touch(request.cookies[COOKIE])
        else:
            sessions, found = access.sessions, access.session(request)
            if found is None:
                raise NotLoggedIn("log in to see the accounts")
            session = found
        sessions.allowed(session, "manage_users", "accounts")
        return sessions.accounts, sessions, session.actor()

    @routes.get("/users")
    def users(request: Request) -> Response:
        """Every account, what each role may do, and who is logged in."""
        changes, sessions, _ = administers(request, acting=False)
        return _json(
            {
                "users": [_row(account) for account in sessions.users.all()],
                "roles": {role: sorted(RIGHTS[role]) for role in ROLES},
                "sessions": changes.logins(),
            }
        )

    @routes.post("/users", status_code=201)
    def add(request: Request, body: NewAccount) -> Response:
        """Make an account."""
        changes, _, by = administers(request)
        return Response(
            msgspec.json.encode(_row(changes.add(by, body.name, body.full_name, body.role, body.password, body.reason))),
            201,
            media_type="application/json",
        )

    @routes.post("/users/{name}/role")
    def role(request: Request, name: Who, body: NewRole) -> Response:
        """Give another person another role; their sessions end."""
        changes, _, by = administers(request)
        return _json(_row(changes.role(by, name, body.role, body.reason)))

    @routes.post("/users/{name}/password")
    def password(request: Request, name: Who, body: Reset) -> Response:
        """Give another person another password; their sessions end."""
        changes, _, by = administers(request)
        return _json(_row(changes.password(by, name, body.password, body.reason)))

    @routes.post("/users/{name}/disabled")
    def disabled(request: Request, name: Who, body: Disabling) -> Response:
        """Let another person no longer log in, or let them again."""
        changes, _, by = administers(request)
        return _json(_row(changes.disable(by, name, body.reason, undo=not body.disabled)))

    @routes.delete("/sessions/{id}")
    def end(request: Request, id: Annotated[str, Path(max_length=16)], reason: Line = "") -> Response:  # noqa: A002 - the name in the address
        """End somebody's session."""
        changes, _, by = administers(request)
        return _json({"user": changes.end(by, id, reason).user})

    @routes.post("/notifications/{name}/test")
    def tried(request: Request, name: Annotated[str, Path(max_length=63)]) -> Response:
        """Hand a test message to a receiver of notifications; for engineers and system administrators."""
        if access.sessions is not None and not access.open():
            sessions, session = access.acting(request)
            sessions.allowed(session, "propose" if session.account.may("propose") else "manage_system", f"receiver {name}")
            sessions.trail.append(session.actor(), Act("notify_test", f"receiver {name}"), query.status()["now_ns"])
        query.try_receiver(name)
        return _json({"name": name, "state": "taken"})

    return routes
