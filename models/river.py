"""`river`: any anomaly or drift detector of the River library by its name, so that people can bring their own.

River is imported when a model of this kind is configured, never otherwise. Its objects have no state that could be written down but a pickle, which
is not done here: what is kept are the last rows, and estimators that live in generations (docs/decisions/0053-river-in-generations.md).
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, ClassVar, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from models.baseline import HUGE, check_learned, check_rows, enough, offsets
from models.model import ModelConfig
from models.state import ArrayState

_NAME: Final = re.compile(r"[a-z_]+(\.[a-z_]+)*\.[A-Z][A-Za-z_]*")
_DEFECTS: Final = (ArithmeticError, LookupError, ValueError)
"""What an estimator may fail with at a row that is too large for it or comes too early; the row then says nothing."""
ADAPTIVE: Final = "a drift detector is always adaptive: it compares with what it saw last"
STILL: Final = (
    "GaussianScorer", "HalfSpaceTrees", "LODA", "LocalOutlierFactor", "OneClassSVM", "QuantileFilter", "StandardAbsoluteDeviation", "ThresholdFilter",
)  # fmt: skip
"""Estimators that a score leaves as they were: they can be static."""


class RiverConfig(ModelConfig):
    """A detector of the River library per tag; score is what the estimator says of an anomaly, or 1 on a row at which it detects drift, else 0.

    Tens of microseconds a row: for a few slow tags. Prefer `auto` where nothing is known of a tag. With a `file` an anomaly detector scores by what
    it learned in the training and learns nothing more; a drift detector compares with what it saw last, so it is always adaptive, as is an estimator
    that goes on learning when it scores (anomaly.PredictiveAnomalyDetection).
    """

    kind: Literal["river"] = "river"
    estimator: str = Field(max_length=200)
    """Name in River, for example anomaly.HalfSpaceTrees, anomaly.LocalOutlierFactor, drift.ADWIN, drift.PageHinkley."""
    params: dict[str, Any] = {}
    """Its parameters by name; one that is an estimator itself is written as {estimator: NAME, params: {...}}. A `seed` is 1 where none is given."""
    scale: tuple[float, float] | None = None
    """Values in the tag's unit that the estimator sees as 0 and 1; half-space trees look between those. As they are when absent."""
    warmup: int = Field(250, ge=0, le=100_000)
    """Usable values before the first score."""
    generation: int = Field(5000, ge=4, le=100_000)
    """Rows after which an estimator that has learned beside for as many takes over; at a restart up to twice as many are learned again."""

    @model_validator(mode="after")
    def _made(self) -> Self:
        if self.scale is not None and not self.scale[0] < self.scale[1]:
            raise ValueError("scale: expected low < high")
        why = moving(self)
        if self.file is not None and why:
            raise ValueError(f"no file: {why}")
        return self

    @classmethod
    def bank(cls) -> type[River]:
        """The bank that runs it."""
        return River


@cache
def _class(name: str) -> tuple[Any, tuple[str, ...]]:
    """A class of River and the names of its parameters."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"the name of a class in River such as anomaly.HalfSpaceTrees, found {name!r}")
    module, _, cls = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(f"river.{module}"), cls)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"the name of a class in River such as anomaly.HalfSpaceTrees, found {name!r}") from error
    return found, tuple(inspect.signature(found).parameters)


def built(name: str, params: Mapping[str, Any]) -> Any:
    """An object of River by its name below `river`; ValueError says what is wrong with the name or the parameters."""
    found, known = _class(name)
    inner = {k: built(v["estimator"], v.get("params", {})) if isinstance(v, Mapping) and "estimator" in v else v for k, v in params.items()}
    if "seed" in known and inner.get("seed") is None:
        inner["seed"] = 1
    unknown = sorted(set(inner) - set(known))
    if unknown:
        raise ValueError(f"parameters of {name} ({', '.join(known) or 'it has none'}), found {', '.join(unknown)}")
    try:
        return found(**inner)
    except (TypeError, ValueError) as error:
        raise ValueError(f"parameters that {name} takes, found {error}") from error


def detector(config: RiverConfig) -> _Detector:
    """The estimator of a configuration behind one interface; ValueError when it is neither an anomaly nor a drift detector."""
    from river import base

    made = built(config.estimator, config.params)
    if isinstance(made, base.DriftDetector | base.BinaryDriftDetector):
        return _DriftDetector(made, isinstance(made, base.BinaryDriftDetector))
    if isinstance(getattr(made, "anomaly_detector", made), base.SupervisedAnomalyDetector):
        return _Supervised(made)
    if isinstance(made, base.AnomalyDetector | base.AnomalyFilter):
        return _Detector(made)
    raise ValueError(f"an anomaly or drift detector, found {config.estimator}")


def moving(config: RiverConfig) -> str:
    """Why an estimator cannot be static; empty where it can."""
    found = detector(config)
    if isinstance(found, _DriftDetector):
        return ADAPTIVE
    made = found.made
    for one in (made, getattr(made, "anomaly_detector", made)):
        if not type(one).__module__.startswith("river.anomaly") or type(one).__name__ not in STILL:
            return f"{config.estimator} is always adaptive: only {', '.join(STILL)} are known to learn nothing when they score"
    return ""


class _Detector:
    """One estimator: each row is scored, then learned."""

    def __init__(self, made: Any) -> None:
        self.made = made

    def row(self, x: float, *, score: bool, learn: bool = True) -> float:
        """Score (NaN where it has none) and learn a row; without `score` it is only learned, without `learn` only scored."""
        said = math.nan
        with contextlib.suppress(*_DEFECTS):
            said = self._score(x) if score else math.nan
        with contextlib.suppress(*_DEFECTS):
            if learn:
                self._learn(x)
        return said if math.isfinite(said) else math.nan

    def _score(self, x: float) -> float:
        return float(self.made.score_one({"x": x}))

    def _learn(self, x: float) -> None:
        self.made.learn_one({"x": x})


class _Supervised(_Detector):
    def _score(self, x: float) -> float:
        return float(self.made.score_one({}, x))

    def _learn(self, x: float) -> None:
        self.made.learn_one({}, x)


class _DriftDetector(_Detector):
    def __init__(self, made: Any, binary: bool) -> None:
        super().__init__(made)
        self._binary = binary

    def row(self, x: float, *, score: bool, learn: bool = True) -> float:  # noqa: ARG002 - a drift detector says what it found when it learns
        try:
            self.made.update(x > 0.5 if self._binary else x)
        except _DEFECTS:
            return math.nan
        return float(bool(self.made.drift_detected))


def _scaled(config: RiverConfig, x: float) -> float:
    """The value as the estimator sees it."""
    if config.scale is None:
        return x
    low, high = config.scale
    return (x - low) / (high - low)


class _Generations:
    """The estimator in charge and the one that learns beside it.

    Generation g is born at row g * length, learns beside for `length` rows and is in charge for the next; the first is in charge at once. All that
    either has seen are the at most 2 * length rows since the birth of the one in charge.
    """

    def __init__(self, config: RiverConfig) -> None:
        self._config, self._length = config, config.generation
        self._charge = detector(config)
        self._beside: _Detector | None = None

    @staticmethod
    def born(seen: int, length: int) -> int:
        """Row at which the estimator in charge behind `seen` rows was born."""
        return max(0, (seen - 1) // length - 1) * length if seen else 0

    def row(self, at: int, x: float, rows: NDArray[np.float64]) -> float:
        """Score of row number `at`, which is learned and kept in rows (2 * length,)."""
        length = self._length
        if at and at % length == 0:
            if at >= 2 * length:
                assert self._beside is not None
                self._charge = self._beside
                rows[:length] = rows[length:]
                rows[length:] = 0.0
            self._beside = detector(self._config)
        rows[at - self.born(at + 1, length)] = x
        return self._step(x, score=True)

    def again(self, seen: int, rows: NDArray[np.float64]) -> None:
        """Become what it was behind `seen` rows, from those that are kept."""
        born = self.born(seen, self._length)
        for i in range(seen - born):
            if i == self._length:
                self._beside = detector(self._config)
            self._step(float(rows[i]), score=born == 0 or i >= self._length)

    def _step(self, x: float, *, score: bool) -> float:
        x = _scaled(self._config, x)
        said = self._charge.row(x, score=score)
        if self._beside is not None:
            self._beside.row(x, score=False)
        return said


class River(ArrayState):
    """Bank of River's detectors (`models/model.py`)."""

    outputs: ClassVar[tuple[str, ...]] = ("score",)
    units: ClassVar[tuple[str, ...]] = ("",)
    watched: ClassVar[tuple[str, ...]] = ("score",)
    reasons: ClassVar[tuple[str, ...]] = ()
    ragged: ClassVar[tuple[str, ...]] = ("rows",)

    def __init__(self, configs: Sequence[RiverConfig]) -> None:
        self._configs = configs
        self._start = offsets(np.array([2 * c.generation if c.file is None else 0 for c in configs], np.int64))
        self._state: dict[str, NDArray[Any]] = {"seen": np.zeros(len(configs), np.int64), "rows": np.zeros(int(self._start[-1]))}
        self._running: dict[int, _Generations] = {}
        self._frozen: dict[int, _Detector] = {}

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(slots,) rows each slot keeps."""
        return np.diff(self._start)

    def step(
        self,
        slot: NDArray[np.int32],
        time_ns: NDArray[np.int64],  # noqa: ARG002 - the estimators count rows, not seconds
        value: NDArray[np.float64],
        usable: NDArray[np.uint8],
        out: NDArray[np.float64],
    ) -> None:
        """Judge n rows in order; see `models.model.Bank.step`."""
        check_rows(len(self._configs), 1, slot, out)
        out[:] = np.nan
        for i, (s, x, use) in enumerate(zip(slot.tolist(), value.tolist(), usable.tolist(), strict=True)):
            if not use or not abs(x) <= HUGE:
                continue
            if s in self._frozen:
                out[i, 0] = self._frozen[s].row(_scaled(self._configs[s], x), score=True, learn=False)
                continue
            seen = int(self._state["seen"][s])
            said = self._of(s).row(seen, x, self._rows(s))
            self._state["seen"][s] = seen + 1
            if seen >= self._configs[s].warmup:
                out[i, 0] = said

    def _rows(self, s: int) -> NDArray[np.float64]:
        return self._state["rows"][self._start[s] : self._start[s + 1]]

    def _of(self, s: int) -> _Generations:
        if s not in self._running:
            self._running[s] = made = _Generations(self._configs[s])
            made.again(int(self._state["seen"][s]), self._rows(s))
        return self._running[s]

    @classmethod
    def train(cls, config: RiverConfig, time_ns: NDArray[np.int64], value: NDArray[np.float64]) -> dict[str, NDArray[Any]]:  # noqa: ARG003
        """The last rows of n usable values, twice a generation at the most: what the estimator learns again at each start."""
        if why := moving(config):
            raise ValueError(why)
        enough(len(value), max(config.warmup, 10))
        most = 2 * config.generation
        rows = np.zeros(most)
        used = value[-most:]
        rows[: len(used)] = used
        return {"rows": rows, "seen": np.array(len(used), np.int64)}

    def settle(self, slot: int, learned: Mapping[str, NDArray[Any]]) -> None:
        """Let the estimator learn the rows of `train`; see `models.model.Bank.settle`."""
        config = self._configs[slot]
        check_learned({"rows": np.zeros(2 * config.generation), "seen": np.zeros((), np.int64)}, learned)
        made = detector(config)
        for x in learned["rows"][: int(learned["seen"])].tolist():
            made.row(_scaled(config, x), score=False)
        self._frozen[slot] = made

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state; what ran until now is made anew from its rows."""
        super().restore(state)
        self._running.clear()
