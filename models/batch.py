"""`batch`: is a batch on the way that good batches took, phase by phase: T2 and SPE about the golden trajectory of each phase."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from models.baseline import check_learned
from models.compiled import kernel
from models.limits import box_limit, t2_limit
from models.linear import add_ridge, eigen, inverse
from models.model import GroupConfig
from models.pca import components
from models.reference import standardised
from models.reference_group import ABOVE, OF_LAST
from models.state import take_up

LEAST_BATCHES: Final = 8
"""Runs of a phase from which a trajectory can be drawn at all; 20 to 30 are what it needs."""
FOLDS: Final = 4
"""Parts of the batches, each judged by a model of the others, that widen the limits to what batches show that did not teach."""
LEAST_SPREAD: Final = 0.1
"""Spread at a point of the trajectory, over the median of the phase, at least: where all good batches met by chance."""
NEVER: Final = -(2**62)


class BatchConfig(GroupConfig):
    """Batch MSPC: each phase against the trajectory of good batches at the same maturity; alarm is 1 while 3 of the last 5 were above a limit.

    Static: `edge-agent model train` learns it from recorded batches, and without a file it evaluates nothing. Batch and phase come from text tags of
    the unit with `role: batch` and `role: phase`. t2 and spe are in multiples of their limits; high T2 is an unusual size along what varies from
    batch to batch, high SPE something that good batches never did. Prefer `unit` for a continuous process.
    """

    kind: Literal["batch"] = "batch"
    phases: tuple[str, ...] = Field((), max_length=50)
    """Phases that are judged, as the phase tag names them; the batch from its begin to its end when empty."""
    indicator: str | None = None
    """One of `tags` that moves one way through a phase and tells how far it is, as fed amount or share dried; time tells it when absent."""
    points: int = Field(50, ge=10, le=500)
    """Points of each trajectory."""
    components: int | None = Field(None, ge=1, le=50)
    """Principal components kept; those with an eigenvalue above 1 when absent."""
    quantile: float = Field(0.99, gt=0.5, lt=1)
    """Probability that a good batch is below each limit at a point."""
    within: float = Field(0.8, ge=0.5, le=1)
    """Share of the batches held out of the training whose instants keep to `quantile`: less finds more, and calls more batches that are only odd."""
    overrun: float = Field(0.1, ge=0, le=1)
    """Share of the usual way by which a phase may last longer and still be judged, at the end of the trajectory."""

    @classmethod
    def group(cls) -> type[Batch]:
        """The model that runs it."""
        return Batch


class Run(NamedTuple):
    """One phase of one recorded batch: number of the phase, begin, times (n,) and values (n, k) of its complete instants in order."""

    phase: int
    begin_ns: int
    time_ns: NDArray[np.int64]
    value: NDArray[np.float64]


class Course:
    """What the unit said of batch and phase: which phase is under way since when, and which was before.

    ways (2, 2)   number of the phase (-1: none that is judged) and its begin; the present one, then the one before it
    said (2,)     number of the phase that was named last; whether a batch is under way (-1: nothing was said of batches)
    """

    def __init__(self, phases: Sequence[str], ways: NDArray[np.int64], said: NDArray[np.int64]) -> None:
        self._phases, self._ways, self._said = tuple(phases), ways, said

    def tell(self, role: str, value: str, time_ns: int) -> bool:
        """A batch or phase has begun, or ended where its name is empty; whether that begins the way anew."""
        if role == "batch":
            self._said[1] = 1 if value else 0
        elif role == "phase" and self._phases:
            self._said[0] = self._phases.index(value) if value in self._phases else -1
        else:
            return False
        phase = int(self._said[0]) if self._phases else (0 if self._said[1] == 1 else -1)
        if self._said[1] == 0:
            phase = -1
        if time_ns > self._ways[0, 1]:
            self._ways[1] = self._ways[0]
        self._ways[0] = phase, max(time_ns, int(self._ways[0, 1]))
        return True

    @property
    def way(self) -> tuple[int, int]:
        """Number of the phase that is under way, -1 for none, and its begin."""
        return int(self._ways[0, 0]), int(self._ways[0, 1])


@kernel("int64(float64, int64, float64[::1])")
def point(maturity: float, points: int, part: NDArray[np.float64]) -> int:
    """The point of a trajectory before a maturity of 0 .. 1; part[0] becomes the way from it to the next, 0 .. 1."""
    x = min(max(maturity, 0.0), 1.0) * (points - 1)
    at = min(int(x), points - 2)
    part[0] = x - at
    return at


@kernel(
    "void(Array(int64, 1, 'C', readonly=True), Array(float64, 2, 'C', readonly=True), Array(uint8, 2, 'C', readonly=True), float64[:, ::1],"
    " int64, float64, float64[:, :, ::1], float64[:, :, ::1], float64[:, :, ::1], float64[:, :, ::1], float64[:, :, ::1], float64[:, :, ::1],"
    " float64[:, ::1], int64[::1], int64[:, ::1], int64[::1], float64[::1])"
)
def judge(
    time_ns: NDArray[np.int64],
    value: NDArray[np.float64],
    usable: NDArray[np.uint8],
    out: NDArray[np.float64],
    indicator: int,
    overrun: float,
    mean: NDArray[np.float64],
    sd: NDArray[np.float64],
    plain: NDArray[np.float64],
    vectors: NDArray[np.float64],
    values: NDArray[np.float64],
    limit: NDArray[np.float64],
    span: NDArray[np.float64],
    kept: NDArray[np.int64],
    ways: NDArray[np.int64],
    last: NDArray[np.int64],
    most: NDArray[np.float64],
) -> None:
    """Judge n instants.

    mean, sd (phases, points, k)     the trajectories and their spread; plain, vectors (phases, k, k): precision and components of deviations
    values (phases, points, k)       variances of the components at each point; limit (phases, points, 2): of T2 and SPE
    span (phases, 2)                 time: (0, usual duration in ns); indicator: its usual value at the begin and at the end
    kept (phases,)                   components kept, 0: nothing was learned
    ways (2, 2)                      as in `Course`; last (2,): begin of the way that is judged, the last instants above a limit as bits
    most (1,)                        furthest maturity on this way
    """
    k = mean.shape[2]
    points = mean.shape[1]
    centre = np.empty(k)
    spread = np.empty(k)
    here = np.empty(k)
    z = np.empty(k)
    t = np.empty(k)
    known = np.empty(k, np.uint8)
    part = np.empty(1)
    found = np.empty(2 + 2 * k)
    for i in range(len(time_ns)):
        for c in range(out.shape[1]):
            out[i, c] = np.nan
        out[i, 3] = 0.0
        way = 0 if time_ns[i] >= ways[0, 1] else 1
        p = ways[way, 0]
        begin = ways[way, 1]
        if p < 0 or time_ns[i] < begin or kept[p] == 0:
            continue
        if begin != last[0]:
            last[0] = begin
            last[1] = 0
            most[0] = 0.0
        if indicator < 0:
            maturity = (time_ns[i] - begin) / span[p, 1]
        else:
            x = value[i, indicator]
            if usable[i, indicator] == 1 and abs(x) <= 1e150:
                most[0] = max(most[0], min((x - span[p, 0]) / (span[p, 1] - span[p, 0]), 1e6))
            maturity = most[0]
        out[i, 4] = maturity
        if maturity > 1.0 + overrun:
            continue
        at = point(maturity, points, part)
        for j in range(k):
            centre[j] = mean[p, at, j] + part[0] * (mean[p, at + 1, j] - mean[p, at, j])
            spread[j] = sd[p, at, j] + part[0] * (sd[p, at + 1, j] - sd[p, at, j])
        if not standardised(value, usable, i, centre, spread, plain[p], z, known):
            continue
        nearer = at if part[0] < 0.5 else at + 1
        for j in range(k):
            here[j] = values[p, nearer, j]
        components(z, vectors[p], here, kept[p], t, found)
        t2 = found[0] / limit[p, nearer, 0]
        spe = found[1] / limit[p, nearer, 1]
        last[1] = ((last[1] << 1) & ((1 << OF_LAST) - 1)) | (1 if t2 > 1.0 or spe > 1.0 else 0)
        above = 0
        for r in range(OF_LAST):
            above += (last[1] >> r) & 1
        out[i, 0] = t2
        out[i, 1] = spe
        out[i, 2] = 1.0 if above >= ABOVE else 0.0
        out[i, 3] = 1.0
        off = spe >= t2
        out[i, 5] = 1.0 if off else 0.0
        for j in range(k):
            whole = max(found[1] if off else found[0], 1e-300)
            out[i, 6 + j] = (found[2 + j] if off else found[2 + k + j]) / whole


class Batch:
    """Model of the batches of one unit (`models.model.Group`), from a file.

    `off` is 1 when SPE leads; shares are as in `pca`. Before a judged phase, behind it and with too many inputs missing, evaluated is 0.
    """

    outputs: ClassVar[tuple[str, ...]] = ("t2", "spe", "alarm", "evaluated", "maturity")
    units: ClassVar[tuple[str, ...]] = ("", "", "", "", "")
    watched: ClassVar[tuple[str, ...]] = ("t2", "spe")
    reasons: ClassVar[tuple[str, ...]] = ("off",)

    def __init__(self, config: BatchConfig, k: int) -> None:
        self._config = config
        self._indicator = config.tags.index(config.indicator) if config.indicator in config.tags else -1
        phases, points = max(len(config.phases), 1), config.points
        self._model: dict[str, NDArray[Any]] = {
            "mean": np.zeros((phases, points, k)), "sd": np.ones((phases, points, k)), "plain": np.zeros((phases, k, k)),
            "vectors": np.zeros((phases, k, k)), "values": np.ones((phases, points, k)), "limit": np.ones((phases, points, 2)),
            "span": np.tile([0.0, 1.0], (phases, 1)), "kept": np.zeros(phases, np.int64),
        }  # fmt: skip
        self._now: dict[str, NDArray[Any]] = {
            "ways": np.array([[-1, NEVER], [-1, NEVER]], np.int64), "last": np.array([NEVER, 0], np.int64), "most": np.zeros(1)
        }  # fmt: skip
        self._said = {"said": np.array([-1, -1], np.int64)}
        self._course = Course(config.phases, self._now["ways"], self._said["said"])

    def tell(self, role: str, value: str, time_ns: int) -> None:
        """The unit says that a batch or phase has begun; instants from `time_ns` on belong to it."""
        self._course.tell(role, value, time_ns)

    def step(self, time_ns: NDArray[np.int64], value: NDArray[np.float64], usable: NDArray[np.uint8], out: NDArray[np.float64]) -> None:
        """Judge n instants in order; see `models.model.Group.step`."""
        judge(time_ns, value, usable, out, self._indicator, self._config.overrun, *self._model.values(), *self._now.values())

    @classmethod
    def train_batches(cls, config: BatchConfig, runs: Sequence[Run]) -> tuple[dict[str, NDArray[Any]], NDArray[np.float64]]:
        """What it learns from the phases of good batches, the arrays that `settle` takes up; and T2 and SPE (n, 2) of batches that did not teach.

        ValueError where a judged phase has too few runs (fewer than 8), or its indicator does not move.
        """
        k = runs[0].value.shape[1] if runs else 1
        model = cls(config, k)
        held_out: list[NDArray[np.float64]] = []
        for phase in range(max(len(config.phases), 1)):
            mine = [run for run in runs if run.phase == phase and len(run.time_ns) > 1]
            name = config.phases[phase] if config.phases else "batch"
            if len(mine) < LEAST_BATCHES:
                raise ValueError(f"phase {name}: expected at least {LEAST_BATCHES} runs of it with values, found {len(mine)}")
            ratios: list[NDArray[np.float64]] = []
            for fold in range(FOLDS):
                model._fit(phase, [run for i, run in enumerate(mine) if i % FOLDS != fold], name)
                ratios += [model.scored(run) for run in mine[fold::FOLDS]]
            model._fit(phase, mine, name)
            # Batches that did not teach lie further out than those that did: the limits are widened by as much. By batches, not by their
            # instants: one odd batch among the good ones must not blind the model.
            of_each = [np.nanquantile(r, config.quantile, axis=0) for r in ratios if not np.isnan(r).all()]
            wider = np.maximum(np.quantile(of_each, config.within, axis=0), 1.0)
            model._model["limit"][phase] *= wider
            held_out.append(np.concatenate(ratios) / wider)
        return dict(model._model), np.concatenate(held_out)

    def scored(self, run: Run) -> NDArray[np.float64]:
        """T2 and SPE (n, 2) of the instants of one run, NaN where nothing is said; the model's own course is not touched."""
        out = np.empty((len(run.time_ns), len(self.outputs) + len(self.reasons) + run.value.shape[1]))
        way = np.array([[run.phase, run.begin_ns], [-1, NEVER]], np.int64)
        arrays: list[NDArray[Any]] = [*self._model.values(), way, np.array([NEVER, 0], np.int64), np.zeros(1)]
        usable = np.ones(run.value.shape, np.uint8)
        value = np.ascontiguousarray(run.value)
        judge(run.time_ns, value, usable, out, self._indicator, self._config.overrun, *arrays)
        return out[:, :2]

    def _fit(self, phase: int, runs: Sequence[Run], name: str) -> None:
        c, m = self._config, self._model
        m["span"][phase] = self._span(runs, name)
        x = np.array([self._at_points(run) for run in runs])  # (batches, points, k), NaN where a batch had ended
        mean = np.nanmean(x, axis=0)
        spread = np.sqrt(_pooled(np.nanvar(x, axis=0, ddof=1)))
        usual = np.maximum(LEAST_SPREAD * np.median(spread, axis=0), np.maximum(1e-9 * np.abs(mean).max(axis=0), 1e-12))
        m["mean"][phase], m["sd"][phase] = mean, np.maximum(spread, usual)
        z = (x - m["mean"][phase]) / m["sd"][phase]
        rows = z[~np.isnan(z).any(axis=2)]
        covariance = np.ascontiguousarray(rows.T @ rows / (len(rows) - 1))  # by BLAS: what is kept is the file, never the way to it
        regular = covariance.copy()
        add_ridge(regular, 0.01)
        inverse(regular, m["plain"][phase])
        values, vectors = np.empty(len(covariance)), np.empty_like(covariance)
        eigen(covariance, values, vectors)
        a = max(1, min(c.components or int((values > 1.0).sum()), int((values > 1e-9).sum()), len(runs) - 3))
        m["kept"][phase], m["vectors"][phase] = a, vectors
        scores = z @ vectors[:, :a]
        variance = _pooled(np.nanmean(scores**2, axis=0)) * len(runs) / (len(runs) - 1)
        m["values"][phase] = 1.0
        m["values"][phase, :, :a] = np.maximum(variance, 1e-9)
        spe = ((z - scores @ vectors[:, :a].T) ** 2).sum(axis=2)
        average = _pooled(np.nanmean(spe, axis=0))
        second = _pooled(np.nanmean(spe**2, axis=0))
        least = max(float(np.median(average)), 1e-9) * LEAST_SPREAD
        for at, (one, two) in enumerate(zip(average.tolist(), second.tolist(), strict=True)):
            middle = max(one, least)
            m["limit"][phase, at, 1] = box_limit(c.quantile, middle, max(two - one * one, 0.01 * middle * middle))
        m["limit"][phase, :, 0] = t2_limit(c.quantile, a, len(runs))

    def _span(self, runs: Sequence[Run], name: str) -> tuple[float, float]:
        if self._indicator < 0:
            return 0.0, max(float(np.median([run.time_ns[-1] - run.begin_ns for run in runs])), 1.0)
        first, last = (float(np.median([run.value[at, self._indicator] for run in runs])) for at in (0, -1))
        if abs(last - first) <= 1e-9 * max(abs(first), abs(last)):
            raise ValueError(f"phase {name}: expected an indicator that moves, found {self._config.indicator} from {first:g} to {last:g}")
        return first, last

    def _at_points(self, run: Run) -> NDArray[np.float64]:
        """The run at the points of the trajectory (points, k); NaN beyond its end."""
        low, high = self._model["span"][run.phase]
        if self._indicator < 0:
            maturity = (run.time_ns - run.begin_ns) / high
        else:
            maturity = np.maximum.accumulate((run.value[:, self._indicator] - low) / (high - low))
        newest = np.append(np.diff(maturity) > 0, True)  # of several instants at one maturity the last
        grid = np.linspace(0.0, 1.0, self._config.points)
        at = np.column_stack([np.interp(grid, maturity[newest], column) for column in run.value[newest].T])
        step = grid[1]
        at[grid > maturity[-1] + step] = np.nan
        return at

    def settle(self, learned: Mapping[str, NDArray[Any]]) -> None:
        """Take up what `train_batches` found; see `models.model.Group.settle`."""
        check_learned(self._model, learned)
        for name, array in self._model.items():
            array[...] = learned[name]

    def state(self) -> dict[str, Any]:
        """Everything that `restore` needs beside the model file, as independent copies."""
        return {name: array.copy() for name, array in (self._now | self._said).items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state of `state`; ValueError when it is of another shape."""
        take_up(self._now | self._said, state)


def runs_of(
    phases: Sequence[str], told: Sequence[tuple[str, str, int]], time_ns: NDArray[np.int64], value: NDArray[np.float64]
) -> list[Run]:
    """The phases of recorded batches: complete instants (n, k) in order of time, cut where (role, value, time) was told.

    One that had not ended when the recording did is left out.
    """
    course = Course(phases, np.array([[-1, NEVER], [-1, NEVER]], np.int64), np.array([-1, -1], np.int64))
    begun: dict[int, int] = {}
    for role, name, at in told:
        if course.tell(role, name, at):
            phase, begin_ns = course.way
            begun[begin_ns] = phase
    found = []
    for (begin_ns, end_ns), phase in zip(itertools.pairwise(begun), begun.values(), strict=False):
        a, b = np.searchsorted(time_ns, (begin_ns, end_ns)).tolist()
        if phase >= 0 and b > a:
            found.append(Run(phase, begin_ns, time_ns[a:b], value[a:b]))
    return found


def _pooled(a: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of each point and its two neighbours, of those that are known; a point without any takes that of the last before it."""
    padded = np.concatenate([a[:1], a, a[-1:]])
    known = ~np.isnan(padded)
    filled = np.where(known, padded, 0.0)
    count = known[:-2].astype(int) + known[1:-1] + known[2:]
    out: NDArray[np.float64] = (filled[:-2] + filled[1:-1] + filled[2:]) / np.maximum(count, 1)
    for i in range(1, len(out)):
        out[i] = np.where(count[i] == 0, out[i - 1], out[i])
    return out
