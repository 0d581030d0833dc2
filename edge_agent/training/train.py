"""From gathered values to a model file: what the model learned, and how its scores are spread over values that it was not trained on."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from edge_agent import __version__
from edge_agent.config import AgentSettings, fingerprint
from edge_agent.config.trained import inputs, model_name, settled_config
from edge_agent.core.errors import PharmedgeError
from edge_agent.core.model_file import ModelFile, Training
from edge_agent.pipeline.align import Alignment
from edge_agent.pipeline.ticks import seconds_ns
from edge_agent.training.gather import FOREVER, Gathered, file_hashes, gathered
from models import BANKS, GROUPS
from models.batch import Batch, BatchConfig, runs_of
from models.drift import QUANTILES, Drift
from models.model import GroupConfig, ModelConfig

FOLDS: Final = 4
"""Parts of the training data, each scored by a model of the others: scores of values that a model knows are too good."""
FOLD_ROWS: Final = 50_000
"""Rows of a fold at the most: how scores are spread is known well enough from so many."""

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be trained: the model at `place` of the configuration, on recorded files between two source times, without some batches."""

    settings: AgentSettings
    place: int
    files: tuple[Path, ...]
    from_ns: int = -FOREVER
    to_ns: int = FOREVER
    rejected: frozenset[str] = frozenset()

    @property
    def config(self) -> ModelConfig:
        """The model's configuration."""
        found: ModelConfig = self.settings.models[self.place]
        return found


@dataclass(frozen=True, slots=True)
class Made:
    """What a trainer hands over.

    arrays       `learned.NAME`, and `watch.OUTPUT.NAME` of each output whose drift is watched; of models of single tags with the tags as first axis
    calibration  the same in words, for people
    """

    arrays: dict[str, NDArray[Any]]
    calibration: dict[str, Any]
    training: Training


Trainer = Callable[[Job], Made]
"""Trains one kind of model; PharmedgeError says what the data lack."""


def train_model(job: Job, *, trained_by: str, trained_ns: int, reason: str) -> ModelFile:
    """Train the model of a job; PharmedgeError when its kind has no static form or the data do not suffice."""
    config = job.config
    kind = config.kind
    trainer = TRAINERS.get(kind)
    if trainer is None:
        raise PharmedgeError(f"models[{job.place}]: expected a kind with a static form ({', '.join(sorted(TRAINERS))}), found {kind}")
    if getattr(config, "adapt", False):
        raise PharmedgeError(f"models[{job.place}]: expected adapt: false, found true: a trained model learns nothing more")
    made = trainer(job)
    names = tuple(inputs(job.settings, job.place))
    units = {t.name: t.unit for t in job.settings.tags if t.name in names and t.unit}
    return ModelFile(
        kind=kind, name=model_name(config), tags=names, units=units, config=settled_config(config), arrays=made.arrays, calibration=made.calibration,
        training=made.training, trained_by=trained_by, trained_ns=trained_ns, reason=reason, software=f"pharmedge {__version__}",
        fingerprint=fingerprint(),
    )  # fmt: skip


def train_bank(job: Job) -> Made:
    """A model of single tags: each is trained and calibrated alone."""
    rows = _gathered(job)
    bank = BANKS[job.config.kind]
    config = job.config.model_copy(update={"file": "training"})
    found: list[dict[str, NDArray[Any]]] = []
    calibration: dict[str, Any] = {}
    for place, name in enumerate(rows.names):
        time_ns, value = rows.of(place)

        def score(learned: Mapping[str, Any], time_ns: Int64, value: Float64) -> Float64:
            one = cast("Any", bank)([config])
            one.settle(0, learned)
            out = np.empty((len(value), len(bank.outputs) + len(bank.reasons)))
            one.step(np.zeros(len(value), np.int32), time_ns, value, np.ones(len(value), np.uint8), out)
            return out[:, [bank.outputs.index(o) for o in bank.watched]]

        arrays, calibration[name] = _trained(name, bank, config, time_ns, value, score)
        found.append(arrays)
    stacked = {key: np.stack([arrays[key] for arrays in found]) for key in found[0]}
    return Made(stacked, calibration, _training(job, rows, int(rows.usable.sum()), rows.left_out, rows.time_ns[rows.usable == 1]))


def train_group(job: Job) -> Made:
    """A model of several tags: trained and calibrated on the instants at which all of them have a usable value."""
    rows = _gathered(job)
    config = cast("GroupConfig", job.config.model_copy(update={"file": "training"}))
    time_ns, value, incomplete = instants(rows, config)
    arrays, calibration = calibrated_group(config, time_ns, value)
    return Made(arrays, calibration, _training(job, rows, len(time_ns), rows.left_out | {"incomplete": incomplete}, time_ns))


def train_batches(job: Job) -> Made:
    """A model of batches: from the phases of recorded batches, calibrated on those that did not teach."""
    rows = _gathered(job)
    config = cast("BatchConfig", job.config.model_copy(update={"file": "training"}))
    time_ns, value, incomplete = instants(rows, config)
    runs = runs_of(config.phases, rows.told, time_ns, value)
    try:
        learned, scores = Batch.train_batches(config, runs)
        watches, said = _watched(Batch.watched, scores)
    except ValueError as error:
        raise PharmedgeError(f"{config.name}: {error}") from error
    arrays = {f"learned.{key}": a for key, a in learned.items()} | watches
    used = np.concatenate([run.time_ns for run in runs])
    names = config.phases or ("batch",)
    said["runs"] = {name: sum(run.phase == i for run in runs) for i, name in enumerate(names)}
    return Made(arrays, said, _training(job, rows, len(used), rows.left_out | {"incomplete": incomplete}, used))


def calibrated_group(config: GroupConfig, time_ns: Int64, value: Float64) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Arrays and calibration of a model of several tags from complete rows (n, k) in order of time; the configuration has a `file`."""
    group = GROUPS[config.kind]

    def score(learned: Mapping[str, Any], time_ns: Int64, value: Float64) -> Float64:
        one = cast("Any", group)(config, value.shape[1])
        one.settle(learned)
        out = np.empty((len(value), len(group.outputs) + len(group.reasons) + value.shape[1]))
        one.step(time_ns, value, np.ones(value.shape, np.uint8), out)
        return out[:, [group.outputs.index(o) for o in group.watched]]

    return _trained(config.name, group, config, time_ns, value, score)


TRAINERS: Final[dict[str, Trainer]] = {
    **{kind: train_bank for kind, bank in BANKS.items() if hasattr(bank, "train")},
    **{kind: train_group for kind, group in GROUPS.items() if hasattr(group, "train")},
    "batch": train_batches,
}
"""Who trains which kind of model: the register of trainers."""


def instants(rows: Gathered, config: GroupConfig) -> tuple[Int64, Float64, int]:
    """Times and complete rows (n, k) as the pipeline aligns them, and how many instants were incomplete."""
    k = len(rows.names)
    step_ns = seconds_ns(config.step_s or 0)
    hold_ns = seconds_ns(config.hold_s) if config.hold_s is not None else 3 * step_ns
    alignment = Alignment(np.arange(k, dtype=np.int32), k, step_ns, hold_ns)
    times, values, left = [], [], 0
    for begin in range(0, len(rows.time_ns), CHUNK):
        part = slice(begin, begin + CHUNK)
        found = alignment.step(rows.time_ns[part], rows.place[part], rows.value[part], rows.usable[part], rows.status[part])
        complete = found.usable.all(axis=1)
        left += int((~complete).sum())
        times.append(found.time_ns[complete])
        values.append(found.value[complete])
    return np.concatenate(times), np.concatenate(values), left


CHUNK: Final = 1 << 18


def _gathered(job: Job) -> Gathered:
    return gathered(job.settings, job.place, job.files, from_ns=job.from_ns, to_ns=job.to_ns, rejected=job.rejected)


def _training(job: Job, rows: Gathered, used: int, left_out: dict[str, int], time_ns: Int64) -> Training:
    windows = ((int(time_ns.min()), int(time_ns.max())),) if len(time_ns) else ()
    return Training(windows=windows, files=file_hashes(job.files), data_sha256=rows.sha256(), rows_used=used, rows_left_out=left_out)


def _trained(
    name: str, model: Any, config: ModelConfig, time_ns: Int64, value: Float64, score: Callable[[Mapping[str, Any], Int64, Float64], Float64]
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Arrays of one model and its calibration; PharmedgeError with the name when there are too few rows."""
    try:
        learned = model.train(config, time_ns, value)
        watches, said = _watched(model.watched, _held_out(model, config, time_ns, value, score))
    except ValueError as error:
        raise PharmedgeError(f"{name}: {error}") from error
    return {f"learned.{key}": a for key, a in learned.items()} | watches, said


def _watched(outputs: Sequence[str], scores: Float64) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Arrays of the watch over each output, and the same in words, from scores (n, outputs) of what a model did not learn from."""
    arrays: dict[str, NDArray[Any]] = {}
    said: dict[str, Any] = {}
    for column, output in enumerate(outputs):
        x = scores[:, column]
        watch = Drift.train(None, np.arange(int(np.isfinite(x).sum())), x[np.isfinite(x)])
        arrays |= {f"watch.{output}.{key}": a for key, a in watch.items()}
        said[output] = {
            "scores": int(np.isfinite(x).sum()),
            "quantiles": dict(zip([f"{q:g}" for q in QUANTILES], [float(e) for e in watch["edges"]], strict=True)),
            "window": int(watch["window"]),
            "drift_limit": float(watch["limit"]),
        }
    return arrays, said


def _held_out(
    model: Any, config: ModelConfig, time_ns: Int64, value: Float64, score: Callable[[Mapping[str, Any], Int64, Float64], Float64]
) -> Float64:
    """Scores of each fold by a model of the others, in order of time; of long folds only the beginning is taken."""
    edges: Sequence[int] = np.linspace(0, len(value), FOLDS + 1).astype(int).tolist()
    folds = [slice(a, min(b, a + FOLD_ROWS)) for a, b in itertools.pairwise(edges)]
    found = []
    for mine in folds:
        others = tuple(np.concatenate([column[other] for other in folds if other != mine]) for column in (time_ns, value))
        found.append(score(model.train(config, *others), time_ns[mine], value[mine]))
    return np.concatenate(found)
