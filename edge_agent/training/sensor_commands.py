"""`edge-agent model train` of a soft sensor, `calibrate` and `adjust`: what the commands say of spectra."""

from __future__ import annotations

import getpass
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pydantic
import typer

from edge_agent.config.sections import SensorSection
from edge_agent.core import ConfigError, PharmedgeError
from edge_agent.core.model_file import read, write
from edge_agent.core.settings import read_yaml

Table = Annotated[
    list[Path],
    typer.Argument(help="CSV or Parquet, a row per sample columns named by wavelength; or a folder of .jdx, .spc, .csv files.", metavar="TABLE"),
]
Reference = Annotated[str, typer.Option(help="Column of the references.", metavar="COLUMN")]
References = Annotated[
    Path | None, typer.Option(help="Table of the laboratory, where the references are not beside the spectra; joined by --sample.", metavar="CSV")
]
SampleColumn = Annotated[str | None, typer.Option("--sample", help='Column of sample names in both tables; "sample" when absent.', metavar="COLUMN")]
Group = Annotated[
    str | None, typer.Option(help="Column of what belongs together and is left out together: batches; when absent the samples.", metavar="COLUMN")
]
Report = Annotated[Path | None, typer.Option("--report", help="HTML report to write.", metavar="PATH")]
Method = Annotated[str, typer.Option(help="default (Gaussian process over treatments), or pls.")]
Steps = Annotated[
    str | None, typer.Option("--treatment", help='Of pls: the treatment, such as "msc > d1w15"; the best of six when absent.', metavar="STEPS")
]
Coverage = Annotated[float, typer.Option(min=0.5, max=0.99, help="Of a soft sensor: probability that the interval holds the reference.")]
Saturation = Annotated[float, typer.Option(help="Of a soft sensor: a spectrum with a point at or above this is not valid.")]
Out = Annotated[Path, typer.Option(help="Model file to write; an existing one is never overwritten.", metavar="PATH")]
User = Annotated[str | None, typer.Option(help="Who trains; the user of the operating system when absent.")]
Reason = Annotated[str, typer.Option(help="What for.")]


def failed(error: Exception | str, code: int = 1) -> typer.Exit:
    """Say what is wrong; the exit to raise."""
    print(error, file=sys.stderr)
    return typer.Exit(code)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A soft sensor to be calibrated, as a command line asks for it."""

    tables: Sequence[Path]
    reference: str
    references: Path | None
    sample: str | None
    group: str | None
    name: str
    tag: str
    unit: str
    method: str
    treatment: str | None
    coverage: float
    saturation: float
    out: Path
    page: Path | None
    user: str | None
    reason: str


def named_sensor(config: Path, name: str) -> SensorSection:
    """The entry of a soft sensor in a configuration, whose model file need not be there yet; ConfigError when there is none of this name."""
    sensors = read_yaml(config)[0].get("sensors")
    entries = [s for s in sensors if isinstance(s, dict)] if isinstance(sensors, list) else []
    found = [s for s in entries if s.get("name") == name]
    if len(found) != 1:
        known = ", ".join(str(s.get("name")) for s in entries) or "none is configured"
        raise PharmedgeError(f"{config}: --model: expected the name of one soft sensor ({known}), found {len(found)} called {name!r}")
    try:
        return SensorSection.model_validate(found[0])
    except pydantic.ValidationError as error:
        wrong = error.errors()[0]
        raise PharmedgeError(f"{config}: sensors, {name}, {'.'.join(map(str, wrong['loc']))}: {wrong['msg']}") from error


def names_sensor(config: Path, name: str) -> bool:
    """Whether a configuration has a soft sensor of a name."""
    try:
        named_sensor(config, name)
    except (ConfigError, PharmedgeError):
        return False
    return True


def told_progress(begin: float) -> Callable[[int, int], None]:
    """Says on standard error how far a long command is, in seconds since `begin`."""

    def told(done: int, of: int) -> None:
        spent = time.monotonic() - begin
        left = f", about {spent / done * (of - done):.0f} s to go" if 0 < done < of else ""
        print(f"{done} of {of} calibrations, {spent:.0f} s{left}", file=sys.stderr, flush=True)

    return told


def calibrate_as(wish: Wish) -> None:
    """Calibrate, write model file and report, and say what was reached."""
    from edge_agent.training.calibrate import calibrated, treatment
    from edge_agent.training.spectra_report import report
    from edge_agent.training.spectra_table import read_table

    if wish.method not in ("default", "pls"):
        raise failed(f"--method: expected default or pls, found {wish.method!r}", 2)
    if wish.treatment is not None and wish.method != "pls":
        raise failed("--treatment: expected --method pls beside it, for the default tries all, found none", 2)
    if wish.out.exists():
        raise failed(f"{wish.out}: expected a new file, found one already", 2)
    try:
        steps = None if wish.treatment is None else treatment(wish.treatment)
        data = read_table(wish.tables, wish.reference, wish.group, references=wish.references, sample=wish.sample)
        print(f"{len(data.y)} samples, {len(data.axis)} points, {data.axis[0]:g} to {data.axis[-1]:g}", file=sys.stderr)
        for n, cause in ((n, c) for c, n in data.left):
            print(f"note: {cause}: {n}, left out", file=sys.stderr)
        for remark in data.remarks:
            print(f"note: {remark}", file=sys.stderr)
        found = calibrated(
            data, name=wish.name, tag=wish.tag, unit=wish.unit, method=wish.method, coverage=wish.coverage, saturation=wish.saturation,
            trained_by=wish.user or getpass.getuser(), trained_ns=time.time_ns(), reason=wish.reason, steps=steps,
            progress=told_progress(time.monotonic()),
        )  # fmt: skip
        made = write(wish.out, found.file)
        if wish.page is not None:
            wish.page.write_text(report(data, found), "utf-8")
    except (PharmedgeError, OSError) as error:
        raise failed(error) from error
    c = made.calibration
    errors = f"RMSECV {c['rmsecv']:.4g}{f' {wish.unit}' if wish.unit else ''}, interval +-{c['half_width']:.4g}"
    print(f"{wish.out}: {made.name}, {len(data.y)} samples, {errors}, {int(found.odd.sum())} odd samples")
    if wish.page is not None:
        print(f"report: {wish.page}")
    print(f"sha256 {made.sha256}")


def calibrate(
    table: Table,
    reference: Reference,
    name: Annotated[str, typer.Option(help="What the property is called.")],
    tag: Annotated[str, typer.Option(help="Tag of kind block whose spectra it will judge.")],
    out: Out,
    page: Report = None,
    references: References = None,
    sample: SampleColumn = None,
    group: Group = None,
    unit: Annotated[str, typer.Option(help="Unit of the property.")] = "",
    method: Method = "default",
    chain: Steps = None,
    coverage: Coverage = 0.9,
    saturation: Saturation = float("inf"),
    user: User = None,
    reason: Reason = "",
) -> None:
    """Calibrate a soft sensor on spectra with references: `train --reference` without a configuration."""
    calibrate_as(
        Wish(
            tables=table, reference=reference, references=references, sample=sample, group=group, name=name, tag=tag, unit=unit, method=method,
            treatment=chain, coverage=coverage, saturation=saturation, out=out, page=page, user=user, reason=reason,
        )
    )  # fmt: skip


def train_sensor(config: Path | None, model: str | None, tag: str | None, wish: Callable[[str, str, str], Wish]) -> None:
    """`model train --reference`: name, tag and unit from the configuration's entry, or from the command line where there is none."""
    if model is None:
        raise failed("--model: expected the name of the soft sensor, found none", 2)
    if config is None:
        if tag is None:
            raise failed("--tag: expected the tag of kind block whose spectra it will judge, or --config, found neither", 2)
        calibrate_as(wish(model, tag, ""))
        return
    try:
        section = named_sensor(config, model)
    except (ConfigError, PharmedgeError) as error:
        raise failed(error, 2) from error
    if tag is not None and tag != section.tag:
        raise failed(f"--tag: expected {section.tag}, which the configuration says, or nothing, found {tag}", 2)
    calibrate_as(wish(section.name, section.tag, section.unit))


def adjust(
    file: Annotated[Path, typer.Argument(help="Model file of a soft sensor.", metavar="FILE")],
    out: Out,
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
        raise failed("adjust: expected either --pairs, or --predicted and --reference, found both or neither", 2)
    if out.exists():
        raise failed(f"{out}: expected a new file, found one already", 2)
    try:
        said, found = read_pairs(pairs) if pairs is not None else (np.array([predicted], float), np.array([reference], float))
        change = fitted(said, found, slope=slope)
        told = list(zip(said.tolist(), found.tolist(), strict=True))
        new = adjusted(read(file), change, told, user=user or getpass.getuser(), reason=reason, now_ns=time.time_ns())
        made = write(out, new)
    except (PharmedgeError, OSError) as error:
        raise failed(error) from error
    half = made.calibration["half_width"]
    print(f"{out}: {made.name}, value x {change.slope:.6g} + {change.bias:.6g}, from {change.n} pairs, interval +-{half:.4g}")
    if change.significant is not None:
        print(f"the difference is {'' if change.significant else 'not '}beyond chance (t test, 95 %)")
    print(f"sha256 {made.sha256}; not in force before `edge-agent model approve {out}`")
