"""`edge-gateway notify`: try a receiver of notifications."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from edge_agent.core import ConfigError, PharmedgeError
from gateway.config import load_config

notify = typer.Typer(no_args_is_help=True, help="Receivers of notifications.")


@notify.callback()
def _group() -> None:
    """Receivers of notifications."""


@notify.command()
def test(
    name: Annotated[str, typer.Argument(help="Name of a receiver in the configuration.")],
    config: Annotated[Path, typer.Option("-c", "--config", help="Configuration file (YAML).")],
) -> None:
    """Hand a test message to a receiver, also while the gateway runs; exit code 1 when it is not taken."""
    from gateway.notify.trial import trial

    try:
        settings = load_config(config)
    except ConfigError as error:
        for mistake in error.mistakes:
            typer.echo(str(mistake), err=True)
        raise typer.Exit(2) from error
    section = settings.gateway
    try:
        trial(settings.notifications, name, gateway=section.id, timezone=section.timezone, now_ns=time.time_ns())
    except (PharmedgeError, OSError) as error:
        typer.echo(f"edge-gateway: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"{name}: the test message was taken")
