"""`edge-agent model`: train, list, verify and approve static models."""

from __future__ import annotations

import getpass
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from edge_agent.config import AgentSettings, load_agent
from edge_agent.core import ConfigError, PharmedgeError, Refused
from edge_agent.core.approval import KEY_FILE, KEY_FOLDER, approval_path, approve, read_approval, verified, write_approval
from edge_agent.core.model_file import ModelFile, ModelFileError, read, write
from edge_agent.core.signing import public_keys, signing_key
from edge_agent.training import sensor_commands
from edge_agent.training.transfer import transfer

app = typer.Typer(help="Static models: train, approve and verify them.", no_args_is_help=True)

ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="Configuration file (YAML).", metavar="FILE")]
MEANINGS: Final = {"use": "approved for use", "advisory": "approved for advisory use"}


def _load(path: Path) -> AgentSettings:
    try:
        return load_agent(path)
    except ConfigError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(2) from error


def _fail(error: Exception | str, code: int = 1) -> typer.Exit:
    print(error, file=sys.stderr)
    return typer.Exit(code)


def _keys(settings: AgentSettings, config: Path) -> Path:
    return config.resolve().parent / settings.edge.data_dir / KEY_FOLDER


def _place(settings: AgentSettings, name: str) -> int:
    """The model with a name, or the only one of a kind."""
    from edge_agent.config.trained import model_name

    found = [i for i, m in enumerate(settings.models) if model_name(m) == name] or [i for i, m in enumerate(settings.models) if m.kind == name]
    if len(found) == 1:
        return found[0]
    known = ", ".join(model_name(m) for m in settings.models) or "none is configured"
    raise _fail(f"--model: expected the name of one model ({known}), found {len(found)} called {name!r}", 2)


def _time(text: str | None, option: str, default: int) -> int:
    if text is None:
        return default
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise _fail(f"{option}: expected a time such as 2026-01-31T06:00:00Z, found {text!r}", 2) from error
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(moment.timestamp()) * 1_000_000_000 + moment.microsecond * 1000


@app.command()
def train(
    out: sensor_commands.Out,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Configuration file (YAML); a soft sensor can do without.", metavar="FILE")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Name of a model or soft sensor of the configuration, or the kind of its only model of a kind.", metavar="NAME")
    ] = None,
    input_: Annotated[
        list[Path] | None, typer.Option("--input", help="CSV files, wide or long; of a soft sensor tables or folders of spectra.", metavar="FILE")
    ] = None,
    more: Annotated[list[Path] | None, typer.Argument(help="Further files behind --input.", metavar="FILE")] = None,
    from_: Annotated[str | None, typer.Option("--from", help="Source time from which on values are used (ISO 8601; UTC without offset).")] = None,
    to: Annotated[str | None, typer.Option(help="Source time up to which values are used.")] = None,
    rejected: Annotated[
        Path | None, typer.Option(help="Batches that teach nothing: a CSV with a column batch, or one id a line.", metavar="FILE")
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="Of a soft sensor, which this makes it: column of the references.", metavar="COLUMN")
    ] = None,
    references: sensor_commands.References = None,
    sample: sensor_commands.SampleColumn = None,
    group: sensor_commands.Group = None,
    tag: Annotated[str | None, typer.Option(help="Of a soft sensor without --config: tag of kind block whose spectra it will judge.")] = None,
    unit: Annotated[str, typer.Option(help="Of a soft sensor: unit of the property; that of the configuration when absent.")] = "",
    page: Annotated[
        Path | None, typer.Option("--report", help="Of a soft sensor: HTML report to write; beside the model file when absent.", metavar="PATH")
    ] = None,
    method: sensor_commands.Method = "default",
    chain: sensor_commands.Steps = None,
    coverage: sensor_commands.Coverage = 0.9,
    saturation: sensor_commands.Saturation = float("inf"),
    user: sensor_commands.User = None,
    reason: sensor_commands.Reason = "",
) -> None:
    """Train a model on recorded data, through the pipeline, or a soft sensor on spectra with references, and freeze it with its calibration."""
    files = (*(input_ or []), *(more or []))
    if not files:
        raise _fail("--input: expected one file or more, found none", 2)
    if reference is not None:
        beside = out.with_suffix(".html")
        if page is None and beside.exists():
            raise _fail(f"{beside}: expected a new file for the report, or --report, found one already", 2)
        sensor_commands.train_sensor(
            config, model, tag,
            lambda name, stream, told: sensor_commands.Wish(
                tables=files, reference=reference, references=references, sample=sample, group=group, name=name, tag=stream, unit=unit or told,
                method=method, treatment=chain, coverage=coverage, saturation=saturation, out=out, page=page or beside, user=user, reason=reason,
            ),
        )  # fmt: skip
        return
    if config is None or model is None:
        raise _fail("train: expected --config and --model, or --reference for a soft sensor on spectra, found neither", 2)
    if sensor_commands.names_sensor(config, model):
        raise _fail(f"--reference: expected the column of references that soft sensor {model} is trained on, found none", 2)
    _train_on_values(config, model, files, out, from_, to, rejected, user, reason)


def _train_on_values(
    config: Path, model: str, files: tuple[Path, ...], out: Path, from_: str | None, to: str | None, rejected: Path | None,
    user: str | None, reason: str,
) -> None:  # fmt: skip
    from edge_agent.training.gather import FOREVER, rejected_batches
    from edge_agent.training.train import Job, train_model

    settings = _load(config)
    place = _place(settings, model)
    if out.exists():
        raise _fail(f"{out}: expected a new file, found one already", 2)
    try:
        job = Job(settings, place, files, _time(from_, "--from", -FOREVER), _time(to, "--to", FOREVER), rejected_batches(rejected))
        made = write(out, train_model(job, trained_by=user or getpass.getuser(), trained_ns=time.time_ns(), reason=reason))
    except (PharmedgeError, OSError) as error:
        raise _fail(error) from error
    left = ", ".join(f"{n} {cause}" for cause, n in made.training.rows_left_out.items() if n) or "none"
    print(f"{out}: {made.kind} {made.name}, {len(made.tags)} tags, {made.training.rows_used} rows used, left out: {left}")
    print(f"sha256 {made.sha256}")


app.command()(sensor_commands.calibrate)
app.command()(sensor_commands.adjust)
app.command()(transfer)


@app.command()
def fleet(
    table: Annotated[Path, typer.Argument(help="CSV: a row per unit and cycle, each unit from new to failure.", metavar="TABLE")],
    name: Annotated[str, typer.Option(help="What the fleet is called.")],
    out: Annotated[Path, typer.Option(help="Model file to write; an existing one is never overwritten.", metavar="PATH")],
    unit: Annotated[str, typer.Option(help="Column that names the unit.", metavar="COLUMN")] = "unit",
    settings: Annotated[str, typer.Option(help="Columns of the operating condition, with commas between.", metavar="COLUMNS")] = "",
    step: Annotated[str, typer.Option(help="Grid of each setting, with commas between.", metavar="NUMBERS")] = "",
    skip: Annotated[str, typer.Option(help="Columns that are neither setting nor sensor.", metavar="COLUMNS")] = "",
    user: Annotated[str | None, typer.Option(help="Who trains; the user of the operating system when absent.")] = None,
    reason: Annotated[str, typer.Option(help="What for.")] = "",
) -> None:
    """Learn remaining life from a fleet that ran to failure, and freeze it with its interval."""
    from edge_agent.training.fleet import read_fleet, trained

    if out.exists():
        raise _fail(f"{out}: expected a new file, found one already", 2)
    try:
        steps = [float(s) for s in step.split(",") if s]
    except ValueError as error:
        raise _fail(f"--step: expected numbers, found {step!r}", 2) from error
    try:
        data = read_fleet(table, unit, [s for s in settings.split(",") if s], skip=[s for s in skip.split(",") if s])
        file, model = trained(data, name=name, steps=steps, trained_by=user or getpass.getuser(), trained_ns=time.time_ns(), reason=reason)
        made = write(out, file)
    except (PharmedgeError, OSError) as error:
        raise _fail(error) from error
    f = model.figures
    print(f"{out}: {made.name}, {len(data.units)} histories, left-out RMSE {f['rmse']:.1f} cycles, intervals hold {100 * f['coverage']:.0f} %")
    print(f"sha256 {made.sha256}")


@app.command()
def remaining(
    file: Annotated[Path, typer.Argument(help="Model file that `model fleet` wrote.", metavar="FILE")],
    table: Annotated[Path, typer.Argument(help="CSV: a row per unit and cycle, each unit from new to now.", metavar="TABLE")],
    unit: Annotated[str, typer.Option(help="Column that names the unit.", metavar="COLUMN")] = "unit",
    lead: Annotated[float, typer.Option(min=0, help="Cycles that the work takes to begin.")] = 10,
    horizon: Annotated[float, typer.Option(min=0, help="Cycles for which work is planned ahead.")] = 40,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Say how long units still run, with interval, reason and advice."""
    from edge_agent.training.fleet import loaded, read_fleet
    from models.prognosis.advice import of_life, refusal

    try:
        model, settings, sensors = loaded(file, read(file))
        data = read_fleet(table, unit, settings, sensors)
    except (PharmedgeError, OSError) as error:
        raise _fail(error) from error
    for name, rows in data.units.items():
        e = model.estimate(*rows)
        advice = of_life(f"unit {name}", e, sensors, lead=lead, horizon=horizon)
        words = {lang: advice.text(lang) for lang in ("en", "zh")} if advice is not None else refusal(e)
        number = {k: getattr(e, k) if advice is not None else None for k in ("remaining", "lower", "upper")}
        said = {"unit": name, "status": e.status, **number, "urgency": advice.urgency if advice is not None else None, "advice": words}
        print(json.dumps(said, ensure_ascii=False) if as_json else f"{name}: {e.status}: {words.get('en', 'no number')}")


def _told(path: Path, model: ModelFile, approval: str) -> dict[str, Any]:
    windows = [[datetime.fromtimestamp(t / 1e9, UTC).isoformat(timespec="seconds") for t in window] for window in model.training.windows]
    return {
        "file": str(path), "kind": model.kind, "name": model.name, "tags": len(model.tags), "rows_used": model.training.rows_used,
        "rows_left_out": model.training.rows_left_out, "trained": windows, "trained_by": model.trained_by, "reason": model.reason,
        "software": model.software, "sha256": model.sha256, "approval": approval,
    }  # fmt: skip


@app.command("list")
def list_(
    paths: Annotated[list[Path], typer.Argument(help="Model files or folders of them.", metavar="PATH")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Say what model files hold; signatures are for `verify`."""
    files = [f for p in paths for f in (sorted(p.glob("*.model")) if p.is_dir() else [p])]
    wrong = False
    for path in files:
        try:
            model, approval = read(path), read_approval(path)
        except ModelFileError as error:
            print(error, file=sys.stderr)
            wrong = True
            continue
        said = "none" if approval is None else f"{approval.meaning} by {approval.user} ({approval.role})"
        row = _told(path, model, said)
        if as_json:
            print(json.dumps(row, ensure_ascii=False))
        else:
            what = f"{model.kind} {model.name}, {len(model.tags)} tags, {model.training.rows_used} rows"
            print(f"{path}: {what}, trained by {model.trained_by}, approval: {said}")
    raise typer.Exit(1 if wrong else 0)


@app.command()
def verify(
    paths: Annotated[list[Path] | None, typer.Argument(help="Model files.", metavar="PATH")] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Configuration whose model files, keys and options are checked as well.", metavar="FILE")
    ] = None,
) -> None:
    """Check hashes, approvals and, with a configuration, whether its files fit it; exit 1 when one does not."""
    from edge_agent.config.trained import trained_models

    paths = paths or []
    if not paths and config is None:
        raise _fail("verify: expected model files or --config, found neither", 2)
    wrong = False
    keys = {}
    if config is not None:
        settings = _load(config)
        keys = public_keys(_keys(settings, config))
        found = trained_models(settings, keys=keys, now_ns=time.time_ns())
        for place, model in found.by_place.items():
            by = f"{model.approval.meaning} by {model.approval.user}" if model.approval else "not approved"
            print(f"models[{place}].file: ok, {model.sha256}, {by}")
        for place, error in found.refused.items():
            print(f"models[{place}].file: {error}")
            wrong = True
    for path in paths:
        try:
            file = read(path)
            said = "not approved"
            if config is not None and read_approval(path) is not None:
                approval = verified(path, file, keys)
                said = f"{approval.meaning} by {approval.user} ({approval.role})"
            elif read_approval(path) is not None:
                said = "its approval needs --config to be verified"
            print(f"{path}: ok, {file.sha256}, {said}")
        except ModelFileError as error:
            print(error)
            wrong = True
    raise typer.Exit(1 if wrong else 0)


@app.command("approve")
def approve_(
    path: Annotated[Path, typer.Argument(help="Model file.", metavar="PATH")],
    config: ConfigOption,
    user: Annotated[str, typer.Option(help="Who approves; never the one who trained.")],
    role: Annotated[str, typer.Option(help="In which role, for example quality unit.")],
    reason: Annotated[str, typer.Option(help="Why: validation report, change number.")],
    meaning: Annotated[str, typer.Option(help="use, or advisory: no gmp_critical alarm may stand on it.")] = "use",
    effective: Annotated[str | None, typer.Option(help="From when on (ISO 8601; UTC without offset); now when absent.")] = None,
) -> None:
    """Approve a model file with the edge's key; the approval stands beside it and becomes an audit entry at the next start of the agent."""
    settings = _load(config)
    if meaning not in MEANINGS:
        raise _fail(f"--meaning: expected one of {', '.join(MEANINGS)}, found {meaning!r}", 2)
    now = time.time_ns()
    try:
        approval = approve(
            read(path), signing_key(_keys(settings, config), KEY_FILE), user=user, role=role, meaning=MEANINGS[meaning], reason=reason,  # type: ignore[arg-type]
            effective_ns=_time(effective, "--effective", now), now_ns=now,
        )  # fmt: skip
        write_approval(path, approval)
    except (ModelFileError, Refused) as error:
        raise _fail(error) from error
    print(f"{approval_path(path)}: {approval.meaning} by {approval.user} ({approval.role}), key {approval.key}")
