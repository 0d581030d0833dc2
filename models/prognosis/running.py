"""`remaining`: remaining life of a unit of a fleet while it runs, from the model file that `edge-agent model fleet` wrote."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from models.compiled import kernel
from models.prognosis.remaining import Estimate, RemainingLife
from models.prognosis.stored import model_of
from models.records.roles import Counting, PeriodConfig

CYCLES: Final = 600
"""Cycles of a unit that are kept; of more the oldest leave."""
STATUSES: Final = ("good", "too young", "unknown condition", "new pattern", "bad input")
"""What `status` counts, from 0 on."""
_MOST: Final = 1e12
_SAID: Final = 8
_ENDS: Final = 5
_STARTS: Final = 10
"""Rows of a history whose mean stands for failed and for new."""


class RemainingConfig(PeriodConfig):
    """Cycles that a unit still runs, with an interval; a cycle is a batch, a phase or a period, of which the mean of every tag is taken.

    The model is static: its file holds the histories of units that ran to failure. Health is 1 where those began and 0 where they ended.
    """

    kind: Literal["remaining"] = "remaining"
    roles: ClassVar[tuple[str, ...]] = ("inputs", "overhauls")
    inputs: dict[str, str] = Field(min_length=1, max_length=200)
    """Tag of every column that the model was trained on, settings and sensors: `{column: tag}`."""
    overhauls: str | None = None
    """Tag that changes whenever the unit is made as new (count of overhauls, serial number): its history begins anew."""
    per: Literal["batch", "phase", "period"] = "period"
    """What a cycle is."""
    least_values: int = Field(1, ge=1, le=1_000_000)
    """Instants with all tags that a cycle needs; one with fewer is not counted as a cycle."""
    lead: float = Field(10.0, ge=0, le=1e6)
    """Cycles that the work needs from its order: with fewer left at the lower end of the interval the advice is to act."""
    horizon: float = Field(40.0, ge=0, le=1e6)
    """Cycles behind these for which work is planned."""
    step_s: float | None = Field(10.0, gt=0)
    """Seconds of the grid on which the last value of each tag is taken."""
    hold_s: float | None = Field(60.0, gt=0)
    """Seconds for which a value is held."""

    @model_validator(mode="after")
    def _needs_file(self) -> Self:
        if self.file is None:
            raise ValueError("file: expected a model file of `edge-agent model fleet`, found none")
        return self

    @classmethod
    def group(cls) -> type[Running]:
        """The model that runs it."""
        return Running


def packed(config: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """What `settle` takes up, from the options and arrays of a model file of a fleet; ValueError where they are none."""
    model_of({k: v for k, v in config.items() if k != "columns"}, arrays)
    return {**arrays, "config": np.frombuffer(json.dumps(config, sort_keys=True).encode(), np.uint8)}


@kernel("void(Array(float64, 2, 'C', readonly=True), Array(uint8, 2, 'C', readonly=True), int64, float64[::1], int64[::1], float64[::1])")
def added(value: Any, usable: Any, inputs: int, sums: Any, counts: Any, mark: Any) -> None:
    """Add instants to the open cycle where all inputs are there; counts[1] is set when the mark of the last overhaul changed."""
    for i in range(len(value)):
        if value.shape[1] > inputs and usable[i, inputs] == 1 and np.isfinite(value[i, inputs]):
            if not np.isnan(mark[0]) and value[i, inputs] != mark[0]:
                counts[1] = 1
            mark[0] = value[i, inputs]
        whole = True
        for j in range(inputs):
            if usable[i, j] == 0 or not abs(value[i, j]) <= _MOST:
                whole = False
        if whole:
            for j in range(inputs):
                sums[j] += value[i, j]
            counts[0] += 1


class Running(Counting):
    """Model of one unit (`models.model.Group`): it speaks once for each cycle, with the first instant behind it.

    alike, before_end and weight name the history that the unit looks like most; the shares are how far each sensor carries it off the fleet's middle.
    """

    outputs: ClassVar[tuple[str, ...]] = ("health", "rul", "rul_low", "rul_high", "status")
    units: ClassVar[tuple[str, ...]] = ("", "cycles", "cycles", "cycles", "")
    watched: ClassVar[tuple[str, ...]] = ()
    reasons: ClassVar[tuple[str, ...]] = ("alike", "before_end", "weight")

    def __init__(self, config: RemainingConfig, k: int) -> None:
        super().__init__(config)
        self._config = config
        n = self._inputs = k - (config.overhauls is not None)
        self._model: RemainingLife | None = None
        self._settings = self._sensors = np.zeros(0, np.int64)
        self._ends = (0.0, 1.0)
        self._kept: dict[str, NDArray[Any]] = {
            "rows": np.zeros((CYCLES, n)), "cycles": np.zeros(1, np.int64), "sums": np.zeros(n), "counts": np.zeros(2, np.int64),
            "mark": np.full(1, np.nan), "said": np.full(_SAID + n, np.nan), "untold": np.zeros(1, np.int64),
        }  # fmt: skip
        self._state |= self._kept

    def settle(self, learned: Mapping[str, NDArray[Any]]) -> None:
        """Take up a model of a fleet; see `models.model.Group.settle`."""
        if "config" not in learned:
            raise ValueError(f"learned: expected the arrays of a model of a fleet, found {sorted(learned)}")
        config = json.loads(bytes(learned["config"]))
        columns = config.pop("columns", {})
        names = sorted(self._config.inputs)
        wanted = [*columns.get("settings", ()), *columns.get("sensors", ())]
        if sorted(names) != sorted(wanted):
            raise ValueError(f"inputs: expected the columns {', '.join(wanted)}, found {', '.join(names)}")
        self._model = model_of(config, {name: array for name, array in learned.items() if name != "config"})
        self._settings = np.array([names.index(c) for c in columns.get("settings", ())], np.int64)
        self._sensors = np.array([names.index(c) for c in columns.get("sensors", ())], np.int64)
        first, begin = self._model.library.scores[0], self._model.library.begin
        ends = np.array([first[a : min(a + _ENDS, b)].mean() for a, b in itertools.pairwise(begin.tolist())])
        starts = np.array([first[max(b - _STARTS, a) : b].mean() for a, b in itertools.pairwise(begin.tolist())])
        self._ends = float(np.median(starts)), float(np.median(ends))

    def renew(self) -> None:
        """The unit is as new: its cycles begin anew, as behind a change of `overhauls`."""
        for name in ("cycles", "sums", "counts", "untold"):
            self._kept[name][:] = 0

    def _run(self, time_ns: NDArray[np.int64], value: NDArray[np.float64], usable: NDArray[np.uint8], out: NDArray[np.float64]) -> None:
        out[:] = np.nan
        kept = self._kept
        if len(time_ns) and kept["untold"][0]:
            out[0, : len(kept["said"])] = kept["said"]
            kept["untold"][0] = 0
        added(value, usable, self._inputs, kept["sums"], kept["counts"], kept["mark"])

    def _turn(self, begin_ns: int, on: bool) -> None:  # noqa: ARG002
        kept = self._kept
        n, overhauled = int(kept["counts"][0]), bool(kept["counts"][1])
        if overhauled:
            kept["cycles"][0] = 0
        if n >= self._config.least_values and not overhauled:
            c = int(kept["cycles"][0])
            if c == CYCLES:
                kept["rows"][:-1] = kept["rows"][1:].copy()
                c -= 1
            kept["rows"][c] = kept["sums"] / n
            kept["cycles"][0] = c + 1
            self._say(kept["rows"][: c + 1])
        kept["sums"][:] = 0.0
        kept["counts"][:] = 0

    def _say(self, rows: NDArray[np.float64]) -> None:
        if self._model is None:
            return
        settings = rows[:, self._settings] if len(self._settings) else np.zeros((len(rows), 1))
        e = self._model.estimate(settings, rows[:, self._sensors])
        said = self._kept["said"]
        said[:] = np.nan
        said[:5] = self._health(settings, rows[:, self._sensors], e), e.remaining, e.lower, e.upper, STATUSES.index(e.status)
        if e.alike:
            said[5:8] = e.alike[0][0] + 1, e.alike[0][1], e.alike[0][2]
        for column, part in e.sensors:
            said[_SAID + self._sensors[column]] = part
        said[~np.isfinite(said)] = np.nan
        self._kept["untold"][0] = 1

    def _health(self, settings: NDArray[np.float64], sensors: NDArray[np.float64], e: Estimate) -> float:
        if self._model is None or e.status in ("bad input", "unknown condition"):
            return float("nan")
        new, failed = self._ends
        at = float(self._model.scores(settings[-_ENDS:], sensors[-_ENDS:])[:, 0].mean())
        return 1.0 - min(max((at - new) / (failed - new), 0.0), 1.0) if failed != new else float("nan")
