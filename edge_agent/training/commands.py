"""`edge-agent model`: train, list, verify and approve static models."""

from __future__ import annotations

import getpass
import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer

from edge_agent.config import AgentSettings, load_agent
from edge_agent.core import ConfigError, PharmedgeError, Refused
from edge_agent.core.approval import KEY_FILE, KEY_FOLDER, approval_path, approve, read_approval, verified, write_approval
from edge_agent.core.model_file import ModelFile, ModelFileError, read, write
from edge_agent.core.signing import public_keys, signing_key

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


def _progress(begin: float) -> Callable[[int, int], None]:
    """Says on standard error how far a long command is, in seconds since `begin`."""

    def told(done: int, of: int) -> None:
        spent = time.monotonic() - begin
        left = f", about {spent / done * (of - done):.0f} s to go" if 0 < done < of else ""
        print(f"{done} of {of} calibrations, {spent:.0f} s{left}", file=sys.stderr, flush=True)

    return told


@app.command()
def train(
    config: ConfigOption,
    model: Annotated[str, typer.Option(help="Name of a model of the configuration, or its kind where only one is of it.", metavar="NAME")],
    input_: Annotated[list[Path], typer.Option("--input", help="CSV files, wide or long.", metavar="CSV")],
    out: Annotated[Path, typer.Option(help="Model file to write; an existing one is never overwritten.", metavar="PATH")],
    more: Annotated[list[Path] | None, typer.Argument(help="Further CSV files behind --input.", metavar="CSV")] = None,
    from_: Annotated[str | None, typer.Option("--from", help="Source time from which on values are used (ISO 8601; UTC without offset).")] = None,
    to: Annotated[str | None, typer.Option(help="Source time up to which values are used.")] = None,
    rejected: Annotated[
        Path | None, typer.Option(help="Batches that teach nothing: a CSV with a column batch, or one id a line.", metavar="FILE")
    ] = None,
    user: Annotated[str | None, typer.Option(help="Who trains; the user of the operating system when absent.")] = None,
    reason: Annotated[str, typer.Option(help="What for.")] = "",
) -> None:
    """Train a model on recorded data, through the pipeline, and freeze it with its calibration."""
    from edge_agent.training.gather import FOREVER, rejected_batches
    from edge_agent.training.train import Job, train_model

    settings = _load(config)
    place = _place(settings, model)
    if out.exists():
        raise _fail(f"{out}: expected a new file, found one already", 2)
    try:
        job = Job(
            settings, place, (*input_, *(more or [])), _time(from_, "--from", -FOREVER), _time(to, "--to", FOREVER), rejected_batches(rejected)
        )  # fmt: skip
        made = write(out, train_model(job, trained_by=user or getpass.getuser(), trained_ns=time.time_ns(), reason=reason))
    except (PharmedgeError, OSError) as error:
        raise _fail(error) from error
    left = ", ".join(f"{n} {cause}" for cause, n in made.training.rows_left_out.items() if n) or "none"
    print(f"{out}: {made.kind} {made.name}, {len(made.tags)} tags, {made.training.rows_used} rows used, left out: {left}")
    print(f"sha256 {made.sha256}")


@app.command()
def calibrate(
    table: Annotated[Path, typer.Argument(help="CSV or Parquet: a row per sample, columns named by wavelength or wavenumber.", metavar="TABLE")],
    reference: Annotated[str, typer.Option(help="Column of the references.", metavar="COLUMN")],
    name: Annotated[str, typer.Option(help="What the property is called.")],
    tag: Annotated[str, typer.Option(help="Tag of kind block whose spectra it will judge.")],
    out: Annotated[Path, typer.Option(help="Model file to write; an existing one is never overwritten.", metavar="PATH")],
    page: Annotated[Path | None, typer.Option("--report", help="HTML report to write.", metavar="PATH")] = None,
    group: Annotated[str | None, typer.Option(help="Column of what belongs together: replicates, batches.", metavar="COLUMN")] = None,
    unit: Annotated[str, typer.Option(help="Unit of the property.")] = "",
    method: Annotated[str, typer.Option(help="default, or pls.")] = "default",
    chain: Annotated[
        str | None, typer.Option("--treatment", help='Of pls: the treatment, such as "msc > d1w15"; without it the best of six.', metavar="STEPS")
    ] = None,
    coverage: Annotated[float, typer.Option(min=0.5, max=0.99, help="Probability that the interval holds the reference.")] = 0.9,
    saturation: Annotated[float, typer.Option(help="A spectrum with a point at or above this is not valid.")] = float("inf"),
    user: Annotated[str | None, typer.Option(help="Who calibrates; the user of the operating system when absent.")] = None,
    reason: Annotated[str, typer.Option(help="What for.")] = "",
) -> None:
    """Calibrate a soft sensor on spectra with references, and freeze it with its interval."""
    from edge_agent.training.calibrate import calibrated, read_table, report, treatment

    if method not in ("default", "pls"):
        raise _fail(f"--method: expected default or pls, found {method!r}", 2)
    if chain is not None and method != "pls":
        raise _fail("--treatment: expected --method pls beside it, for the default tries all, found none", 2)
    if out.exists():
        raise _fail(f"{out}: expected a new file, found one already", 2)
    try:
        data = read_table(table, reference, group)
        found = calibrated(
            data, name=name, tag=tag, unit=unit, method=method, coverage=coverage, saturation=saturation, trained_by=user or getpass.getuser(),
            trained_ns=time.time_ns(), reason=reason, steps=None if chain is None else treatment(chain),
            progress=_progress(time.monotonic()),
        )  # fmt: skip
        made = write(out, found.file)
        if page is not None:
            page.write_text(report(data, found), "utf-8")
    except (PharmedgeError, OSError) as error:
        raise _fail(error) from error
    c = made.calibration
    errors = f"RMSECV {c['rmsecv']:.4g} {unit}, interval +-{c['half_width']:.4g}"
    print(f"{out}: {made.name}, {len(data.y)} samples, {errors}, {int(found.odd.sum())} odd samples")
    print(f"sha256 {made.sha256}")


@app.command()
def adjust(
    file: Annotated[Path, typer.Argument(help="Model file of a soft sensor.", metavar="FILE")],
    out: Annotated[Path, typer.Option(help="Model file to write; an existing one is never overwritten.", metavar="PATH")],
    reason: Annotated[str, typer.Option(help="Why: deviation or change number, laboratory report.")],
    pairs: Annotated[Path | None, typer.Option(help="CSV with columns predicted and reference.", metavar="CSV")] = None,
    predicted: Annotated[float | None, typer.Option(help="One point: what the sensor said.")] = None,
    reference: Annotated[float | None, typer.Option(help="One point: what the laboratory found.")] = None,
    slope: Annotated[bool, typer.Option("--slope", help="Fit a slope as well, from five or more pairs; otherwise a bias alone.")] = False,
    user: Annotated[str | None, typer.Option(help="Who adjusts; the user of the operating system when absent.")] = None,
) -> None:
    """Adjust bias and slope of a soft sensor to reference samples: a new model file, which someone else must approve before an agent takes it."""
    from edge_agent.training.adjust import adjusted, fitted, read_pairs

    if (pairs is None) == (predicted is None or reference is None):
        raise _fail("adjust: expected either --pairs, or --predicted and --reference, found both or neither", 2)
    if out.exists():
        raise _fail(f"{out}: expected a new file, found one already", 2)
    try:
        said, found = read_pairs(pairs) if pairs is not None else (np.array([predicted], float), np.array([reference], float))
        change = fitted(said, found, slope=slope)
        told = list(zip(said.tolist(), found.tolist(), strict=True))
        new = adjusted(read(file), change, told, user=user or getpass.getuser(), reason=reason, now_ns=time.time_ns())
        made = write(out, new)
    except (PharmedgeError, OSError) as error:
        raise _fail(error) from error
    half = made.calibration["half_width"]
    print(f"{out}: {made.name}, value x {change.slope:.6g} + {change.bias:.6g}, from {change.n} pairs, interval +-{half:.4g}")
    if change.significant is not None:
        print(f"the difference is {'' if change.significant else 'not '}beyond chance (t test, 95 %)")
    print(f"sha256 {made.sha256}; not in force before `edge-agent model approve {out}`")


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
