"""`edge-gateway`: run a gateway, check its configuration, ask it, export, back up, restore and verify what it keeps; accounts and audit.

Exit codes: 0 all right, 1 failed or something is wrong with the data, 2 wrong configuration or usage.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Annotated, NoReturn

import msgspec
import typer

from edge_agent.core import ConfigError, PharmedgeError
from gateway.config import GatewayConfig, load_config
from gateway.console.instants import instant_ns
from gateway.export import Format, Kind
from gateway.notify_command import notify
from gateway.users_command import audit, forget, user

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help="The gateway of a Pharmedge site.")
app.add_typer(user, name="user")
app.add_typer(audit, name="audit")
app.add_typer(notify, name="notify")
app.command()(forget)
config_app = typer.Typer(no_args_is_help=True, help="Configuration files.")
app.add_typer(config_app, name="config")
ConfigFile = Annotated[Path, typer.Option("-c", "--config", help="Configuration file (YAML).")]


def _config(path: Path) -> GatewayConfig:
    try:
        return load_config(path)
    except ConfigError as error:
        for mistake in error.mistakes:
            typer.echo(str(mistake), err=True)
        raise typer.Exit(2) from error


def _failed(error: BaseException) -> NoReturn:
    typer.echo(f"edge-gateway: {error}", err=True)
    raise typer.Exit(1) from error


@app.command()
def run(config: ConfigFile) -> None:
    """Take in records, keep them, show them, until told to stop."""
    settings = _config(config)
    from gateway.app import Gateway

    def started(address: str) -> None:
        typer.echo(f"gateway {settings.gateway.id} of site {settings.gateway.site}: console on {address}", err=True)

    async def main() -> None:
        await Gateway(settings).run(started)

    try:
        asyncio.run(main())
    except (PharmedgeError, OSError) as error:
        _failed(error)


@app.command()
def check(config: ConfigFile) -> None:
    """Print every mistake of a configuration, one line each, or say that there is none."""
    path = config
    try:
        load_config(path)
    except ConfigError as error:
        for mistake in error.mistakes:
            typer.echo(str(mistake))
        raise typer.Exit(2) from error
    typer.echo(f"{path}: no mistakes")


@app.command()
def status(config: ConfigFile) -> None:
    """Print the status of the running gateway as JSON; exit code 1 when it does not run or is not ready."""
    settings = _config(config)
    host = f"[{settings.http.host}]" if ":" in settings.http.host else settings.http.host
    address = f"http://{host}:{settings.http.port}"
    try:
        with urllib.request.urlopen(f"{address}/api/v1/status", timeout=5) as answer:  # noqa: S310 - our own loopback address
            typer.echo(json.dumps(json.load(answer), indent=2, ensure_ascii=False))
        with urllib.request.urlopen(f"{address}/readyz", timeout=5):  # noqa: S310
            pass
    except urllib.error.HTTPError as error:
        typer.echo(error.read().decode(errors="replace"), err=True)
        raise typer.Exit(1) from error
    except OSError as error:
        _failed(error)


@app.command()
def doctor(config: ConfigFile, as_json: Annotated[bool, typer.Option("--json", help="Everything, as JSON.")] = False) -> None:
    """Look at everything this gateway rests on and say in words what is wrong; exit 1 when something is."""
    from edge_agent.core.diagnosis import report
    from gateway.doctor import examine

    findings = list(examine(config))
    text, good = report(findings)
    typer.echo(msgspec.json.encode(findings).decode() if as_json else text)
    raise typer.Exit(0 if good else 1)


@config_app.command()
def migrate(
    config: ConfigFile, write: Annotated[bool, typer.Option("--write", help="Change the file; it is kept as FILE.bak1 beside it.")] = False
) -> None:
    """Show how options of earlier versions are called now, as a difference; nothing is changed without --write."""
    from edge_agent.core.renamed import GATEWAY
    from edge_agent.core.renamed import migrate as change

    try:
        difference, kept = change(config, GATEWAY, write=write)
    except ConfigError as error:
        for mistake in error.mistakes:
            typer.echo(str(mistake), err=True)
        raise typer.Exit(2) from error
    except OSError as error:
        _failed(error)
    typer.echo(difference or f"{config}: nothing to migrate", nl=not difference)
    if kept is not None:
        typer.echo(f"{config}: written; as it was: {kept}. Then: edge-gateway check -c {config}", err=True)


def _instant(text: str | None, otherwise: int) -> int:
    if text is None:
        return otherwise
    try:
        return instant_ns(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


@app.command()
def export(
    config: ConfigFile,
    kind: Annotated[Kind, typer.Option(help="What to export.")],
    form: Annotated[Format, typer.Option("--format", help="How to write it.")] = "csv",
    tag: Annotated[str | None, typer.Option(help="Only this tag: NAME or EDGE:NAME.")] = None,
    from_: Annotated[str | None, typer.Option("--from", help="From this time on: ns UTC or RFC 3339.")] = None,
    to: Annotated[str | None, typer.Option("--to", help="Before this time: ns UTC or RFC 3339.")] = None,
    batch: Annotated[str | None, typer.Option(help="Only rows of this batch.")] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="File to write; standard output when absent.")] = None,
    safe: Annotated[bool, typer.Option("--safe", help="CSV for a spreadsheet: an apostrophe before texts that it would take for a formula.")] = False,
) -> None:
    """Write summaries, samples, alarms, gaps or audit entries with fixed columns and times in ns UTC; also while the gateway runs."""
    from gateway.export import Wanted
    from gateway.export import export as write

    settings = _config(config)
    want = Wanted(tag, _instant(from_, -(2**63)), _instant(to, 2**63 - 1), batch)
    try:
        if out is None:
            try:
                write(settings.gateway.data_dir, kind, form, sys.stdout.buffer, want, safe=safe)
                sys.stdout.buffer.flush()
            except BrokenPipeError:  # whoever reads has seen enough
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        else:
            with out.open("wb") as file:
                write(settings.gateway.data_dir, kind, form, file, want, safe=safe)
    except (PharmedgeError, OSError) as error:
        _failed(error)


@app.command()
def backup(config: ConfigFile, folder: Annotated[Path, typer.Argument(help="New or empty folder.")]) -> None:
    """Copy everything the gateway keeps into a folder, also while it runs."""
    from gateway.backup import backup as copy

    settings = _config(config)
    try:
        segments = copy(settings.gateway.data_dir, folder)
    except (PharmedgeError, OSError) as error:
        _failed(error)
    typer.echo(f"{folder}: inbox, journal, manifest and {segments} segments")


@app.command()
def restore(config: ConfigFile, folder: Annotated[Path, typer.Argument(help="Folder that `backup` wrote.")]) -> None:
    """Put a backup in place of the data folder, which must be empty; the backup is verified first."""
    from gateway.backup import restore as put

    settings = _config(config)
    try:
        segments = put(folder, settings.gateway.data_dir)
    except (PharmedgeError, OSError) as error:
        _failed(error)
    typer.echo(f"{settings.gateway.data_dir}: inbox, journal, manifest and {segments} segments restored")


@app.command()
def verify(
    config: Annotated[Path | None, typer.Option("-c", "--config", help="Configuration file whose data folder is meant.")] = None,
    folder: Annotated[Path | None, typer.Argument(help="A data folder or a backup.")] = None,
    heads: Annotated[list[Path] | None, typer.Option(help="File of heads of the manifest from `edge-agent log heads --of manifest`.")] = None,
) -> None:
    """Check every file, manifest line, journal row and inbox record; name each that is not as it was written."""
    from gateway.audit_verify import heads_in
    from gateway.backup import verify as inspect
    from gateway.manifest import GivenHead

    if (config is None) == (folder is None):
        raise typer.BadParameter("give either -c FILE or a folder")
    section = None if folder is not None else _config(config or Path()).gateway
    data_dir, name = (section.data_dir, section.id) if section is not None else (folder or Path(), "")
    try:
        faults = inspect(data_dir, [head for file in heads or [] for head in heads_in(file, GivenHead)], name)
    except (PharmedgeError, OSError, ValueError) as error:
        _failed(error)
    for fault in faults:
        typer.echo(fault)
    if faults:
        raise typer.Exit(1)
    typer.echo(f"{data_dir}: as it was written")


def main() -> None:
    """Entry point of the command."""
    app()


if __name__ == "__main__":
    main()
