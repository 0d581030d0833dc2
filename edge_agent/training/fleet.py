"""`edge-agent model fleet` and `remaining`: histories to failure in a table to a model file, and what that says of units that still run."""

from __future__ import annotations

import csv
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent import __version__
from edge_agent.config import fingerprint
from edge_agent.core.errors import PharmedgeError
from edge_agent.core.model_file import ModelFile, ModelFileError, Training
from models.prognosis.remaining import RemainingLife, Settings, train
from models.prognosis.stored import arrays_of, model_of, settings_json

Float64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Fleet:
    """Units by name, each settings (n, s) and sensors (n, m) in the order of the table; names of both; SHA-256 of the file."""

    units: dict[str, tuple[Float64, Float64]]
    settings: tuple[str, ...]
    sensors: tuple[str, ...]
    sha256: str


def read_fleet(path: Path, unit: str, settings: Sequence[str], sensors: Sequence[str] | None = None, skip: Sequence[str] = ()) -> Fleet:
    """A CSV with a row per unit and cycle, in order; sensors are all other columns when not named. PharmedgeError says what is wrong."""
    text = path.read_text("utf-8-sig").splitlines()
    rows = list(csv.reader(text))
    names = rows[0] if rows else []
    chosen = tuple(sensors) if sensors is not None else tuple(n for n in names if n not in (unit, *settings, *skip))
    for name in (unit, *settings, *chosen):
        if name not in names:
            raise PharmedgeError(f"{path}: expected a column {name!r}, found {', '.join(names[:12]) or 'none'}")
    of, at = names.index(unit), [names.index(n) for n in (*settings, *chosen)]
    found: dict[str, list[list[float]]] = {}
    for i, row in enumerate(rows[1:], 2):
        if len(row) != len(names):
            raise PharmedgeError(f"{path}:{i}: expected {len(names)} cells, found {len(row)}")
        try:
            found.setdefault(row[of], []).append([float(row[c]) if row[c] else math.nan for c in at])
        except ValueError as wrong:
            raise PharmedgeError(f"{path}:{i}: expected numbers, found {wrong}") from wrong
    s = len(settings)
    units: dict[str, tuple[Float64, Float64]] = {}
    for name, values in found.items():
        a = np.array(values)
        units[name] = (a[:, :s] if s else np.zeros((len(a), 1)), a[:, s:])
    return Fleet(units, tuple(settings), chosen, hashlib.sha256(path.read_bytes()).hexdigest())


def trained(fleet: Fleet, *, name: str, steps: Sequence[float], trained_by: str, trained_ns: int, reason: str) -> tuple[ModelFile, RemainingLife]:
    """The model of a fleet that ran to failure, as a file's content; PharmedgeError when the data do not suffice."""
    if len(steps) != len(fleet.settings):
        raise PharmedgeError(f"--step: expected one number for each of {len(fleet.settings)} settings, found {len(steps)}")
    for unit, (settings, values) in fleet.units.items():
        if not (np.isfinite(settings).all() and np.isfinite(values).all()):
            raise PharmedgeError(f"unit {unit}: expected a number in every cell of a history for training, found empty ones")
    chosen = replace(Settings(), step=tuple(steps) or (1.0,))
    try:
        model = train(list(fleet.units.values()), chosen)
    except ValueError as wrong:
        raise PharmedgeError(str(wrong)) from wrong
    rows = sum(len(v) for _, v in fleet.units.values())
    config: dict[str, Any] = {**settings_json(chosen), "columns": {"settings": list(fleet.settings), "sensors": list(fleet.sensors)}}
    file = ModelFile(
        kind="remaining", name=name, tags=fleet.sensors, config=config, arrays=arrays_of(model),
        calibration={k: v for k, v in model.figures.items() if math.isfinite(v)},
        training=Training(files={name: fleet.sha256}, data_sha256=fleet.sha256, rows_used=rows), trained_by=trained_by, trained_ns=trained_ns,
        reason=reason, software=f"pharmedge {__version__}", fingerprint=fingerprint(),
    )  # fmt: skip
    return file, model


def loaded(path: Path, file: ModelFile) -> tuple[RemainingLife, tuple[str, ...], tuple[str, ...]]:
    """The model in a file, and the columns of settings and sensors it needs; ModelFileError when it is none of remaining life."""
    if file.kind != "remaining":
        raise ModelFileError(path, "kind", "remaining", file.kind)
    config = dict(file.config)
    columns = config.pop("columns", {})
    try:
        model = model_of(config, file.arrays)
    except ValueError as wrong:
        raise ModelFileError(path, "arrays", "a model of remaining life", str(wrong)) from wrong
    return model, tuple(columns.get("settings", ())), tuple(columns.get("sensors", ()))
