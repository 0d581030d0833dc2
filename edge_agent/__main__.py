"""`edge-agent`: the commands of the edge."""

from __future__ import annotations

import asyncio
import json
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import typer

from edge_agent import __version__
from edge_agent.config import AgentSettings, load_agent
from edge_agent.core import ConfigError, LogError, PharmedgeError
from edge_agent.core.settings import is_loopback
from edge_agent.training.commands import app as model_app

app = typer.Typer(
    help="Reads a line, judges every value, calls the operator and keeps the record.", no_args_is_help=True, pretty_exceptions_enable=False
)
config_app = typer.Typer(help="Configuration files.", no_args_is_help=True)
log_app = typer.Typer(help="The journal and outbox of an edge.", no_args_is_help=True)
app.add_typer(config_app, name="config")
app.add_typer(log_app, name="log")
audit_app = typer.Typer(help="Audit entries of an edge.", no_args_is_help=True)
app.add_typer(audit_app, name="audit")
app.add_typer(model_app, name="model")

ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="Configuration file (YAML).", metavar="FILE")]


def _load(path: Path, *, files: bool = False) -> AgentSettings:
    """The configuration; with `files` the model files that it names are judged as at a start of the agent."""
    from edge_agent.config.trained import load_whole

    try:
        return load_whole(path) if files else load_agent(path)
    except ConfigError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(2) from error


@app.command()
def run(
    config: ConfigOption,
    record: Annotated[Path | None, typer.Option(help="Also keep a recording in this folder, for `replay --recording`.", metavar="DIR")] = None,
    log_format: Annotated[str, typer.Option(help="console or json.")] = "console",
    log_level: Annotated[Literal["debug", "info", "warning", "error"], typer.Option(help="The least that is written.")] = "info",
) -> None:
    """Run the agent until SIGINT or SIGTERM. SIGHUP reads the configuration again; SIGUSR1 writes everything into the log, or again less."""
    import signal

    # Until somebody listens these two would end the process.
    for number in (signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    from edge_agent.agent.memory import be_frugal

    be_frugal()
    from edge_agent.agent.process import run_agent
    from edge_agent.agent.words import Words
    from edge_agent.config.approved import choose_of

    words = Words(log_format, log_level)
    run_agent(choose_of(config, time.time_ns()), config.resolve(), record, words.toggle)


@app.command()
def check(config: ConfigOption) -> None:
    """Check a configuration: every mistake on one line, FILE:LINE: key: expected X, found Y. Opens no connection."""
    settings = _load(config, files=True)
    if settings.http.exposed and not is_loopback(settings.http.host):
        print(f"{config}: warning: http.host {settings.http.host}: other computers can read this agent; nothing asks who they are", file=sys.stderr)
    print(f"{config}: ok, {len(settings.sources)} sources, {len(settings.tags)} tags, {len(settings.models)} models, {len(settings.alarms)} alarms")


@app.command()
def replay(
    more: Annotated[list[Path] | None, typer.Argument(help="Further CSV files behind --input.", metavar="CSV")] = None,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="Configuration file; not needed with --recording.", metavar="FILE")] = None,
    input_: Annotated[
        list[Path] | None, typer.Option("--input", help="CSV files, wide (time and one column per tag) or long.", metavar="CSV")
    ] = None,
    recording: Annotated[Path | None, typer.Option(help="Step a recording again instead of CSV files.", metavar="DIR")] = None,
    records: Annotated[Path | None, typer.Option(help="Write what follows as JSON lines.", metavar="OUT.jsonl")] = None,
    scores: Annotated[Path | None, typer.Option(help="Write derived values, one row per input time.", metavar="OUT.csv")] = None,
    diff: Annotated[Path | None, typer.Option(help="Compare with the records of this recording; exit 1 when they differ.", metavar="DIR")] = None,
    report: Annotated[Path | None, typer.Option(help="Write what it would have told as an HTML page with plots.", metavar="OUT.html")] = None,
    events: Annotated[
        Path | None,
        typer.Option(help="Known events for --report, lines {fault, t_start, t_end, tags, detect_within_s}.", metavar="FILE"),
    ] = None,
    progress: Annotated[
        bool | None, typer.Option("--progress/--no-progress", help="Say on standard error how far it is; default when that is a terminal.")
    ] = None,
) -> None:
    """Run the same pipeline over recorded data. Exit 1 when records differ or a file cannot be written, 2 when an input cannot be used."""
    from edge_agent.agent.replaying import Replay, run_replay

    input_ = [*(input_ or []), *(more or [])]
    if (recording is None and diff is None) == (not input_):
        print("replay: expected either --input CSV files or --recording DIR, found both or neither", file=sys.stderr)
        raise typer.Exit(2)
    if input_ and config is None:
        print("replay: expected --config with --input, found none", file=sys.stderr)
        raise typer.Exit(2)
    if events is not None and report is None:
        print("replay: expected --report with --events, found none", file=sys.stderr)
        raise typer.Exit(2)
    settings = _load(config) if config is not None else None
    recorded = recording or diff if not input_ else None
    told = sys.stderr.isatty() if progress is None else progress
    try:
        same = run_replay(Replay(settings, tuple(input_), recorded, records, scores, diff, told, report, events))
    except PharmedgeError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(2) from error
    except OSError as error:
        print(f"replay: {error}", file=sys.stderr)
        raise typer.Exit(1) from error
    raise typer.Exit(0 if same else 1)


@app.command()
def browse(
    url: Annotated[str, typer.Argument(help="opc.tcp://HOST:PORT/ of a server.")],
    source: Annotated[str, typer.Option(help="Name of the source the tags are to belong to.")] = "plc",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write here instead of to the screen.", metavar="TAGS.csv")] = None,
    username: Annotated[str | None, typer.Option(help="User name, if the server asks for one.")] = None,
    password_file: Annotated[Path | None, typer.Option(help="File with the password.", metavar="FILE")] = None,
    init: Annotated[
        Path | None, typer.Option(help="Write a whole configuration that reads them, with tags.csv and alarms.csv beside it.", metavar="AGENT.yaml")
    ] = None,
) -> None:
    """Walk a live OPC UA server and write its variables as a tag CSV, or with --init as a configuration to begin with."""
    from edge_agent.config.beginning import begin, tag_csv
    from edge_agent.core.settings import secret
    from edge_agent.sources.opcua_browse import browse as browse_server

    if init is not None and out is not None:
        print("browse: expected either --out FILE or --init FILE, found both", file=sys.stderr)
        raise typer.Exit(2)
    try:
        rows, simulated = asyncio.run(browse_server(url, source=source, username=username, password=secret(password_file)))
        if init is not None:
            written = begin(init, url, rows, simulated=simulated, username=username, password_file=password_file)
            print(f"{', '.join(str(path) for path in written)} written; next: edge-agent check -c {init}")
        elif out is not None:
            out.write_text(tag_csv(rows), "utf-8")
        else:
            print(tag_csv(rows), end="")
    except (PharmedgeError, OSError) as error:
        print(error, file=sys.stderr)
        raise typer.Exit(2 if isinstance(error, ConfigError) else 1) from error
    print(f"{len(rows)} tags{', simulated' if simulated else ''}", file=sys.stderr)


@app.command()
def status(
    url: Annotated[str, typer.Option(help="Where the agent answers.")] = "http://127.0.0.1:9580",
    as_json: Annotated[bool, typer.Option("--json", help="Everything, as JSON.")] = False,
) -> None:
    """Ask a running agent how it is; exit 1 when it is not ready or does not answer."""
    try:
        with urllib.request.urlopen(f"{url}/status", timeout=5) as answer:  # noqa: S310 - the user's own address
            found = json.load(answer)
    except (urllib.error.URLError, TimeoutError, ValueError) as error:
        print(f"{url}: expected an agent's status, found {error}", file=sys.stderr)
        raise typer.Exit(1) from error
    if as_json:
        print(json.dumps(found, ensure_ascii=False))
    else:
        state = "ready" if found["ready"] else "NOT READY"
        print(f"{found['edge']} ({found['site']}) {state}, up {found['uptime_s']:.0f} s, outbox at {found['outbox']['seq']}")
        for problem in found["problems"]:
            print(f"  {problem}")
    raise typer.Exit(0 if found["ready"] else 1)


@app.command()
def doctor(config: ConfigOption, as_json: Annotated[bool, typer.Option("--json", help="Everything, as JSON.")] = False) -> None:
    """Look at everything this edge rests on and say in words what is wrong; exit 1 when something is."""
    from edge_agent.agent.doctor import examine
    from edge_agent.core.diagnosis import report

    findings = list(examine(config))
    text, good = report(findings)
    print(msgspec.json.encode(findings).decode() if as_json else text)
    raise typer.Exit(0 if good else 1)


@config_app.command("schema")
def config_schema() -> None:
    """Print the JSON schema of an agent's configuration."""
    print(json.dumps(AgentSettings.model_json_schema(), ensure_ascii=False, indent=2))


@config_app.command("init")
def config_init(
    out: Annotated[Path, typer.Argument(help="File to write; an existing one is never overwritten.", metavar="FILE")] = Path("agent.yaml"),
) -> None:
    """Write a commented configuration to begin with."""
    template = Path(__file__).with_name("config") / "agent.example.yaml"
    try:
        with out.open("x", encoding="utf-8") as stream:
            stream.write(template.read_text("utf-8"))
    except FileExistsError as error:
        print(f"{out}: expected a new file, found one already", file=sys.stderr)
        raise typer.Exit(1) from error
    print(out)


@config_app.command("migrate")
def config_migrate(
    config: ConfigOption,
    write: Annotated[bool, typer.Option("--write", help="Change the file; it is kept as FILE.bak1 beside it.")] = False,
) -> None:
    """Show how options of earlier versions are called now, as a difference; nothing is changed without --write."""
    from edge_agent.core.renamed import AGENT, migrate

    try:
        difference, kept = migrate(config, AGENT, write=write)
    except OSError as error:
        print(f"{config}: {error}", file=sys.stderr)
        raise typer.Exit(1) from error
    print(difference or f"{config}: nothing to migrate", end="" if difference else "\n")
    if kept is not None:
        print(f"{config}: written; as it was: {kept}. Then: edge-agent check -c {config}", file=sys.stderr)


@log_app.command("stat")
def log_stat(config: ConfigOption) -> None:
    """Say what journal and outbox hold; works beside a running agent."""
    from edge_agent.agent.inspect import stat

    print(msgspec.json.format(msgspec.json.encode(stat(_load(config), config.resolve().parent))).decode())


@log_app.command("verify")
def log_verify(config: ConfigOption) -> None:
    """Read everything and check every frame and the chain; exit 1 and one line per fault when something is wrong."""
    from edge_agent.agent.inspect import verify

    faults = verify(_load(config), config.resolve().parent)
    for fault in faults:
        print(fault)
    print(f"{len(faults)} faults" if faults else "ok")
    raise typer.Exit(1 if faults else 0)


@log_app.command("heads")
def log_heads(
    config: ConfigOption,
    of: Annotated[Literal["audit", "manifest"], typer.Option(help="Of which chain: audit trail, or manifest of the segments.")] = "audit",
) -> None:
    """Print the signed heads of gateways' chains that this edge keeps, one JSON a line, for `--heads` of `edge-gateway audit verify` and `verify`."""
    from edge_agent.agent.inspect import heads

    for head in heads(_load(config), config.resolve().parent, of):
        print(head)


@app.command()
def propose(
    config: ConfigOption,
    reason: Annotated[str, typer.Option(help="Why the change is made; the approver reads it.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the proposal here, to be uploaded at the console.", metavar="FILE")] = None,
    gateway: Annotated[str | None, typer.Option(help="http://HOST:PORT of the gateway to propose it to.")] = None,
    user: Annotated[str, typer.Option(help="Who proposes: an account of the gateway with the role engineer.")] = "",
    password_file: Annotated[Path | None, typer.Option(help="File with the password; asked for when absent.", metavar="FILE")] = None,
) -> None:
    """Propose this configuration for approval (GMP mode): to a gateway, or into a file."""
    import getpass

    from edge_agent.agent.propose import proposal_of, send, written
    from edge_agent.core.settings import secret

    if (out is None) == (gateway is None):
        print("propose: expected either --out FILE or --gateway URL, found both or neither", file=sys.stderr)
        raise typer.Exit(2)
    proposal = proposal_of(_load(config), reason)
    try:
        if out is not None:
            out.write_bytes(written(proposal))
            print(f"{out}: {proposal['sha256']}")
        elif gateway is not None:
            password = secret(password_file) if password_file is not None else getpass.getpass("Password: ")
            answer = send(gateway, user, password or "", proposal)
            print(f"proposal {answer['id']}: {proposal['sha256']}, {len(answer['differences'])} differences; another person with the right signs it")
    except (PharmedgeError, OSError) as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from error


@app.command()
def approved(
    config: ConfigOption,
    take: Annotated[Path | None, typer.Option(help="Keep the approvals in this file, which a gateway wrote.", metavar="FILE")] = None,
) -> None:
    """Say whether this configuration may run now (GMP mode), how it differs from the approved one, and who approved; exit 1 when it may not."""
    from edge_agent.agent.propose import state

    try:
        good, lines = state(config, time.time_ns(), take)
    except (PharmedgeError, OSError) as error:
        print(error, file=sys.stderr)
        raise typer.Exit(2 if isinstance(error, ConfigError) else 1) from error
    print("\n".join(lines))
    raise typer.Exit(0 if good else 1)


@audit_app.command("verify")
def audit_verify(config: ConfigOption, as_json: Annotated[bool, typer.Option("--json", help="Everything, as JSON.")] = False) -> None:
    """Check the chain of this edge's audit entries and the heads of gateways it keeps; exit 1 and one line per fault when something is wrong."""
    from edge_agent.agent.audit import verify

    found = verify(_load(config), config.resolve().parent)
    if as_json:
        print(json.dumps(found, ensure_ascii=False))
    else:
        for fault in found["faults"]:
            print(fault)
        wrong = f"{len(found['faults'])} faults" if found["faults"] else "ok" if found["entries"] else "nothing there to check"
        print(f"{wrong}: {found['entries']} audit entries, {found['heads']} heads of gateways")
    raise typer.Exit(1 if found["faults"] else 0)


@app.command()
def version() -> None:
    """Print the version."""
    print(__version__)


def main() -> None:
    """Entry point of the `edge-agent` command: a wrong configuration or use ends with exit code 2, whatever command it was."""
    try:
        app()
    except ConfigError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except LogError as error:
        print(error, file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
