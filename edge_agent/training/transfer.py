"""`edge-agent model transfer`: a soft sensor for a second instrument, from the spectra of the first and the same samples measured on both."""

from __future__ import annotations

import getpass
import math
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import typer
from numpy.typing import NDArray

from edge_agent import __version__
from edge_agent.config import fingerprint
from edge_agent.core.errors import PharmedgeError
from edge_agent.core.model_file import ModelFile, Training, write
from edge_agent.training import sensor_commands as shared
from edge_agent.training.made_of import by_name, sha256_of
from edge_agent.training.spectra_table import Pairs, Table, read_pairs, read_table
from models.spectra.choose import Calibration, calibrate, rmse
from models.spectra.folds import folds
from models.spectra.intervals import half_width
from models.spectra.sensor import sensor_arrays
from models.spectra.transfer import factors_of, recentred, spectral_space, transferred

Float64 = NDArray[np.float64]
LEAST: Final = 10
"""Pairs from which a transfer can say how far it errs."""
PARTS: Final = 5
"""Parts of the pairs that are left out in turn."""


def transfer_model(
    table: Table, pairs: Pairs, *, name: str, tag: str, unit: str, coverage: float, saturation: float, trained_by: str, trained_ns: int, reason: str,
    progress: Callable[[int, int], None] | None = None,
) -> ModelFile:  # fmt: skip
    """A calibration of the second instrument with an interval from pairs that were left out of it; PharmedgeError when the data do not suffice.

    Where the laboratory knows the pairs, the interval is that of left-out predictions against its references. Where not, they are held against
    what the calibration of the first instrument says, and the interval of that is added: the two errors may point the same way.
    """
    X, y, axis = table.X, table.y, table.axis
    if pairs.axis.shape != axis.shape or not np.allclose(pairs.axis, axis, rtol=1e-6, atol=0.0):
        wanted, found = (f"{len(a)} points from {a[0]:g} to {a[-1]:g}" for a in (axis, pairs.axis))
        raise PharmedgeError(f"transfer: expected pairs on the axis of the calibration, {wanted}, found {found}")
    n = len(pairs.first)
    if n < LEAST:
        raise PharmedgeError(f"transfer: expected {LEAST} or more samples measured on both instruments, found {n}")
    _one_name_each(table, pairs)
    known = pairs.y is not None
    try:
        first = None if known else calibrate(X, y, axis)
        truth = pairs.y if pairs.y is not None else first.predict(pairs.first) if first is not None else np.zeros(n)
        # A pair may be one of the calibration's own samples: it is left out there too, by its name.
        fold, said = folds(truth, PARTS), np.empty(n)
        for k in range(PARTS):
            out = fold == k
            named = {pairs.sample[i] for i in np.flatnonzero(out)}
            keep = np.array([s not in named for s in table.sample])
            made = transferred(X[keep], y[keep], axis, pairs.first[~out], pairs.second[~out], truth[~out] if known else None)
            said[out] = made.predict(pairs.second[out])
            if progress is not None:
                progress(k + 1, PARTS + 1)
        error = said - truth
        half = _half(error, coverage)
        if first is not None:
            half += _half(_left_out(table), coverage)
        whole = transferred(X, y, axis, pairs.first, pairs.second, pairs.y)
        # Limits of T2 and Q are those of the second instrument: the calibration's spectra as it would see them, and what it did see.
        back = spectral_space(pairs.second, pairs.first, factors_of(pairs.second, pairs.first))
        seen = np.vstack([back.apply(X), pairs.second])
        arrays = sensor_arrays(_told_from(whole, seen), seen, np.concatenate([y, truth]), half, saturation=saturation)
    except ValueError as wrong:
        raise PharmedgeError(f"transfer: {wrong}") from wrong
    if progress is not None:
        progress(PARTS + 1, PARTS + 1)
    about = {
        "rmsecv": rmse(error), "bias": float(error.mean()), "half_width": half, "coverage": coverage, "pairs": n,
        "against": "references" if known else "the first instrument",
        "members": [f"{w:.2f} {m.words}" for m, w in zip(whole.members, whole.weights, strict=True)],
    }  # fmt: skip
    files = (*table.files, *pairs.files)
    training = Training(files=by_name(files), data_sha256=sha256_of(files), rows_used=len(y), rows_left_out=dict(table.left))
    return ModelFile(
        kind="spectra", name=name, tags=(tag,), units={"value": unit}, config={"method": "transfer", "coverage": coverage}, arrays=arrays,
        calibration=about, training=training,
        trained_by=trained_by, trained_ns=trained_ns, reason=reason, software=f"pharmedge {__version__}", fingerprint=fingerprint(),
    )  # fmt: skip


def _one_name_each(table: Table, pairs: Pairs) -> None:
    """PharmedgeError where a pair's spectrum stands in the calibration under another name: it could not be left out there."""
    called: dict[bytes, set[str]] = {}
    for row, name in zip(pairs.first, pairs.sample, strict=True):
        called.setdefault(row.tobytes(), set()).add(name)
    for row, name in zip(table.X, table.sample, strict=True):
        names = called.get(row.tobytes())
        if names is not None and name not in names:
            raise PharmedgeError(f"transfer: expected one name of a sample, found the spectrum of {min(names)!r} as {name!r} in the calibration")


def _told_from(calibration: Calibration, seen: Float64) -> Calibration:
    """The calibration with the middle of each member where the second instrument's spectra lie."""
    members = []
    for member in calibration.members:
        Z, valid = member.treatment.apply(seen)
        members.append(replace(member, model=recentred(member.model, Z[valid][:, member.columns].mean(axis=0))))
    return replace(calibration, members=tuple(members))


def _half(error: Float64, coverage: float) -> float:
    half = half_width(error, coverage)
    if not math.isfinite(half):
        raise ValueError(f"expected {math.ceil(coverage / (1 - coverage))} or more pairs for an interval of {coverage:.0%}, found {len(error)}")
    return half


def _left_out(table: Table) -> Float64:
    """Left-out errors of the first instrument's calibration."""
    fold = folds(table.y, PARTS, groups=table.group)
    said = np.empty(len(table.y))
    for k in range(int(fold.max()) + 1):
        said[fold == k] = calibrate(table.X[fold != k], table.y[fold != k], table.axis).predict(table.X[fold == k])
    return said - table.y


def transfer(
    table: shared.Table,
    reference: shared.Reference,
    first: Annotated[Path, typer.Option("--from", help="Spectra of the samples on the first instrument: a table or a folder.", metavar="TABLE")],
    second: Annotated[Path, typer.Option("--to", help="Spectra of the same samples on the second one, joined by --sample.", metavar="TABLE")],
    name: Annotated[str, typer.Option(help="What the property is called.")],
    tag: Annotated[str, typer.Option(help="Tag of kind block: the spectra of the second instrument.")],
    out: shared.Out,
    references: shared.References = None,
    sample: shared.SampleColumn = None,
    group: shared.Group = None,
    unit: Annotated[str, typer.Option(help="Unit of the property.")] = "",
    coverage: shared.Coverage = 0.9,
    saturation: shared.Saturation = float("inf"),
    user: shared.User = None,
    reason: shared.Reason = "",
) -> None:
    """Take a calibration to a second instrument, from samples that were measured on both; the interval is that of samples left out of it."""
    if out.exists():
        raise shared.failed(f"{out}: expected a new file, found one already", 2)
    try:
        data = read_table(table, reference, group, references=references, sample=sample, named=True)
        pairs = read_pairs(first, second, reference, sample)
        for remark in (*(f"{cause}: {n}, left out" for cause, n in data.left), *pairs.remarks):
            print(f"note: {remark}", file=sys.stderr)
        made = write(
            out,
            transfer_model(
                data, pairs, name=name, tag=tag, unit=unit, coverage=coverage, saturation=saturation, trained_by=user or getpass.getuser(),
                trained_ns=time.time_ns(), reason=reason, progress=shared.told_progress(time.monotonic()),
            ),
        )  # fmt: skip
    except (PharmedgeError, OSError) as error:
        raise shared.failed(error) from error
    c = made.calibration
    errors = f"error of left-out pairs {c['rmsecv']:.4g}{f' {unit}' if unit else ''} against {c['against']}"
    print(f"{out}: {made.name}, {len(data.y)} samples, {c['pairs']} pairs, {errors}, interval +-{c['half_width']:.4g}")
    print(f"sha256 {made.sha256}")
