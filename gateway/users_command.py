"""`edge-gateway user` and `edge-gateway audit`: accounts, verification and export of the audit trail, also while the gateway runs."""

from __future__ import annotations

import getpass
import json
import os
import pwd
import socket
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import typer

from edge_agent.core import ConfigError, PharmedgeError
from edge_agent.core.settings import secret
from gateway import __version__
from gateway.accounts import Accounts
from gateway.audit import FORGOTTEN, Act, Actor, Trail, Wanted, instant
from gateway.audit_verify import faults, heads_in
from gateway.config import GatewayConfig, load_config
from gateway.console.instants import instant_ns
from gateway.journal import FILE as JOURNAL
from gateway.journal import Journal
from gateway.query import NotFound
from gateway.users import ROLES, Users, WrongAccount

user = typer.Typer(no_args_is_help=True, help="Accounts of the console.")
audit = typer.Typer(no_args_is_help=True, help="The audit trail.")

ConfigFile = Annotated[Path, typer.Option("-c", "--config", help="Configuration file (YAML).")]
Name = Annotated[str, typer.Argument(help="Login name.")]
Reason = Annotated[str, typer.Option(help="Why; it is written into the audit trail.")]
PasswordFile = Annotated[Path | None, typer.Option(help="File with the password; asked for when absent.")]


@contextmanager
def _told(config: Path) -> Iterator[GatewayConfig]:
    """The configuration; mistakes and refusals become words and an exit code."""
    try:
        yield load_config(config)
    except ConfigError as error:
        for mistake in error.mistakes:
            typer.echo(str(mistake), err=True)
        raise typer.Exit(2) from error
    except (PharmedgeError, OSError, ValueError, sqlite3.Error) as error:
        typer.echo(f"edge-gateway: {error}", err=True)
        raise typer.Exit(1) from error


def _actor() -> Actor:
    """Whoever is logged in to this computer; `sudo` does not hide them."""
    who = os.environ.get("SUDO_USER") or pwd.getpwuid(os.getuid()).pw_name
    return Actor(who, "computer account", "", socket.gethostname())


def _password(file: Path | None) -> str:
    if file is not None:
        return secret(file) or ""
    if not sys.stdin.isatty():
        raise WrongAccount("password: expected a terminal to ask on, or --password-file FILE")
    first = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != first:
        raise WrongAccount("password: expected the same one twice, found two")
    return first


def trail_of(settings: GatewayConfig) -> Trail:
    """The audit trail of a configuration, whose entries name its hash."""
    section = settings.gateway
    return Trail(section.data_dir, zone=section.timezone, version=__version__, config=settings.fingerprint())


@contextmanager
def _as_owner(folder: Path) -> Iterator[None]:
    """What root makes in a service's folder belongs to the service, which could not open it otherwise; without effect for anybody else."""
    owner = folder.stat() if folder.is_dir() else None
    if owner is None or os.geteuid() != 0:
        yield
        return
    group = os.getegid()
    os.setegid(owner.st_gid)
    os.seteuid(owner.st_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)


@contextmanager
def _accounts(config: Path) -> Iterator[tuple[Accounts, Actor, GatewayConfig]]:
    """The accounts of a configuration, and who asks."""
    with ExitStack() as opened:
        settings = opened.enter_context(_told(config))
        with _as_owner(settings.gateway.data_dir):
            users = opened.enter_context(closing(Users(settings.gateway.data_dir)))
            trail = opened.enter_context(closing(trail_of(settings)))
        yield Accounts(users, trail, clock=time.time_ns), _actor(), settings


@user.command()
def add(
    config: ConfigFile,
    name: Name,
    role: Annotated[str, typer.Option(help=f"One of {', '.join(ROLES)}.")],
    full_name: Annotated[str, typer.Option(help="Name as it is printed beside a signature.")],
    reason: Reason = "",
    password_file: PasswordFile = None,
) -> None:
    """Make an account. With the first one, acting at the console needs a login."""
    with _accounts(config) as (accounts, by, settings):
        with closing(Users(settings.gateway.data_dir)) as users:
            users.check_new(name, full_name, role)  # before a password is asked for
        made = accounts.add(by, name, full_name, role, _password(password_file), reason)
    typer.echo(f"{made.name}: {made.full_name}, {made.role}")


def forget(
    config: ConfigFile,
    edge: Annotated[str, typer.Argument(help="Name of the edge that is gone for good.")],
    reason: Annotated[str, typer.Option(help="Why; it is written into the audit trail.")],
) -> None:
    """Call nobody any more because an edge is not heard, and show it no more; its records stay, and it is back as soon as it is heard again."""
    with _accounts(config) as (_, by, settings):
        path = settings.gateway.data_dir / JOURNAL
        if not path.exists():
            raise NotFound(f"{path}: expected the journal of a gateway, found none")
        with closing(Journal(path, read_only=True)) as journal:
            known = {name for name, _, _ in journal.tags()}
        if edge not in known:
            raise NotFound(f"edge: expected one of {', '.join(sorted(known)) or 'none that was heard yet'}, found {edge!r}")
        if not reason.strip():
            raise WrongAccount("reason: expected why, found nothing")
        now = time.time_ns()
        with closing(trail_of(settings)) as trail:
            trail.append(by, Act("edge_forgotten", f"edge {edge}", reason=reason.strip()), now, place=(FORGOTTEN + edge, str(now)))
    typer.echo(f"{edge}: forgotten until it is heard again")


@user.command("list")
def list_(config: ConfigFile) -> None:
    """Print every account."""
    with _told(config) as settings, closing(Users(settings.gateway.data_dir)) as users:
        for account in users.all():
            changed = instant(account.changed_ns, settings.gateway.timezone)[1][:19]
            typer.echo(f"{account.name}\t{account.role}\t{'disabled' if account.disabled else 'active'}\t{changed}\t{account.full_name}")


@user.command()
def role(config: ConfigFile, name: Name, new: Annotated[str, typer.Argument(help="The new role.")], reason: Reason) -> None:
    """Give a person another role; their sessions end."""
    with _accounts(config) as (accounts, by, _):
        account = accounts.role(by, name, new, reason)
    typer.echo(f"{name}: {account.role}")


@user.command()
def disable(
    config: ConfigFile, name: Name, reason: Reason, again: Annotated[bool, typer.Option("--undo", help="Let them log in again.")] = False
) -> None:
    """Let a person no longer log in; the name stays theirs."""
    with _accounts(config) as (accounts, by, _):
        account = accounts.disable(by, name, reason, undo=again)
    typer.echo(f"{name}: {'disabled' if account.disabled else 'active'}")


@user.command()
def password(config: ConfigFile, name: Name, reason: Reason, password_file: PasswordFile = None) -> None:
    """Give a person another password; their sessions end."""
    with _accounts(config) as (accounts, by, _):
        accounts.password(by, name, _password(password_file), reason)
    typer.echo(f"{name}: password changed")


@user.command()
def sessions(config: ConfigFile, end: Annotated[str | None, typer.Option(help="End the session of this id.")] = None, reason: Reason = "") -> None:
    """Print who is logged in, or end a session."""
    with _accounts(config) as (accounts, by, settings):
        if end is not None:
            typer.echo(f"{accounts.end(by, end, reason).user}: session ended")
            return
        for login in accounts.logins():
            typer.echo(f"{login.id}\t{login.user}\t{login.station}\t{instant(login.used_ns, settings.gateway.timezone)[1][:19]}")


@audit.command()
def verify(
    config: ConfigFile,
    heads: Annotated[list[Path] | None, typer.Option(help="File of signed heads kept elsewhere, one JSON a line; `audit heads` prints them.")] = None,
) -> None:
    """Check every entry and signed head, also those that edges keep; name what was changed, removed, swapped, cut off or written anew."""
    with _told(config) as settings:
        elsewhere = [head for file in heads or [] for head in heads_in(file)]
        found = faults(settings.gateway.data_dir, elsewhere, settings.gateway.id)
        for fault in found:
            typer.echo(fault)
        if found:
            raise typer.Exit(1)
        typer.echo(f"{settings.gateway.data_dir}: the audit trail is as it was written")


@audit.command("heads")
def heads_(config: ConfigFile) -> None:
    """Print the signed heads, to be kept where this computer's owner cannot change them."""
    with _told(config) as settings, closing(Trail(settings.gateway.data_dir, zone="UTC", version=__version__)) as trail:
        for head in trail.heads():
            typer.echo(msgspec.json.encode(head).decode())


@audit.command()
def export(
    config: ConfigFile,
    form: Annotated[Literal["csv", "jsonl"], typer.Option("--format", help="How to write it.")] = "csv",
    from_: Annotated[str | None, typer.Option("--from", help="From this time on: ns UTC or RFC 3339.")] = None,
    to: Annotated[str | None, typer.Option("--to", help="Before this time: ns UTC or RFC 3339.")] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="File to write; standard output when absent.")] = None,
) -> None:
    """Write entries of the audit trail, oldest first."""
    from gateway.console.people import audit_csv

    with _told(config) as settings, closing(Trail(settings.gateway.data_dir, zone="UTC", version=__version__)) as trail:
        bounds = ["" if t is None else instant(instant_ns(t), "UTC")[0] for t in (from_, to)]
        entries = trail.entries(Wanted(from_ts=bounds[0], to_ts=bounds[1], limit=-1))[::-1]
        text = audit_csv(entries) if form == "csv" else "".join(json.dumps(e, ensure_ascii=False, sort_keys=True) + "\n" for e in entries)
        if out is None:
            sys.stdout.write(text)
        else:
            out.write_bytes(text.encode())
