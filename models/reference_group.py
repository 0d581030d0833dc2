"""What models of several tags share that are learned from reference rows: standardisation, held-out limits, files and state."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from models.baseline import enough
from models.compiled import kernel
from models.linear import add_ridge, inverse, mean_and_covariance
from models.model import GroupConfig
from models.reference import MOST_ROWS, FirstRows, moments, standardised

OF_LAST: Final = 5
"""Alarm when ABOVE of so many instants were above the limit."""
ABOVE: Final = 3


class ReferenceConfig(GroupConfig):
    """Base of a model that takes its normal from complete instants and then stays as it is."""

    train_rows: int = Field(400, ge=60, le=100_000)
    """Complete instants that teach it what is normal; one operating point, no faults."""
    quantile: float = Field(0.99, gt=0.5, lt=1)
    """Of the scores of held-out parts of the reference: the limit."""
    blocks: int = Field(4, ge=2, le=20)
    """Contiguous parts of the reference, each judged by a model of the others, that set the limit."""
    margin: float = Field(1.0, ge=0.5, le=20)
    """By what the limit is multiplied for what the reference has not seen."""


@kernel("float64(float64[:, ::1], int64, float64, int64[::1])")
def told(out: NDArray[np.float64], i: int, ratio: float, ints: NDArray[np.int64]) -> float:
    """Write ratio, alarm and evaluated of instant i; ints[1] holds the last instants above the limit, one bit each. Returns the alarm."""
    ints[1] = ((ints[1] << 1) & ((1 << OF_LAST) - 1)) | (1 if ratio > 1.0 else 0)
    above = 0
    for r in range(OF_LAST):
        above += (ints[1] >> r) & 1
    alarm = 1.0 if above >= ABOVE else 0.0
    out[i, 0] = ratio
    out[i, 1] = alarm
    out[i, 2] = 1.0
    return alarm


@kernel(
    "boolean(Array(float64, 2, 'C', readonly=True), Array(uint8, 2, 'C', readonly=True), int64, float64[:, ::1], float64[::1], float64[::1],"
    " float64[:, ::1], float64[::1], uint8[::1])"
)
def opened(
    value: NDArray[np.float64],
    usable: NDArray[np.uint8],
    i: int,
    out: NDArray[np.float64],
    mean: NDArray[np.float64],
    sd: NDArray[np.float64],
    plain: NDArray[np.float64],
    z: NDArray[np.float64],
    known: NDArray[np.uint8],
) -> bool:
    """Begin instant i: nothing said, not evaluated, z (k,) the row in standard deviations; false when too much of it is missing."""
    for c in range(out.shape[1]):
        out[i, c] = np.nan
    out[i, 2] = 0.0
    return standardised(value, usable, i, mean, sd, plain, z, known)


@kernel("void(float64[:, ::1], int64, float64, float64[::1], float64[::1], int64[::1])")
def closed(
    out: NDArray[np.float64], i: int, score: float, share: NDArray[np.float64], limit: NDArray[np.float64], ints: NDArray[np.int64]
) -> None:
    """End instant i of a model with one score: ratio, alarm and evaluated, the score, and the share of each tag (k,)."""
    told(out, i, score / limit[0], ints)
    out[i, 3] = score
    for j in range(len(share)):
        out[i, 4 + j] = share[j]


class ReferenceGroup(FirstRows):
    """One whose limits come from held-out parts of its reference.

    A model gives its arrays, `_fit` (learn from standardised rows), `_scores` (of rows, with what was learned) and `_judge`. One that looks at rows
    before each row too gives `_looked_at` and `reach`. Where there are several scores, the share of normal instants above a limit is divided by them.
    """

    reach: ClassVar[int] = 0
    """Rows beside a row that enter into what is looked at."""

    outputs: ClassVar[tuple[str, ...]] = ("ratio", "alarm", "evaluated")
    units: ClassVar[tuple[str, ...]] = ("", "", "")
    watched: ClassVar[tuple[str, ...]] = ("ratio",)
    reasons: ClassVar[tuple[str, ...]] = ("score",)

    def __init__(self, config: Any, k: int, model: Mapping[str, NDArray[Any]], now: Mapping[str, NDArray[Any]] | None = None) -> None:
        scores = len(self.reasons)
        standard = {"mean": np.zeros(k), "sd": np.ones(k), "plain": np.zeros((k, k)), "limit": np.ones(scores)}
        super().__init__(config, k, {**standard, **model}, {"ints": np.zeros(2, np.int64), **(now or {})})

    def _looked_at(self, z: NDArray[np.float64]) -> NDArray[np.float64]:
        """What is looked at of standardised rows (n, k) in order: (n, any number)."""
        return z

    def _fit(self, rows: NDArray[np.float64], used: NDArray[np.bool_]) -> None:
        """Learn from those rows that are used."""
        raise NotImplementedError

    def _scores(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """How unusual rows are, (n, scores), positive."""
        raise NotImplementedError

    def _trained(self, z: NDArray[np.float64]) -> None:
        """Called once behind the training with all standardised rows."""

    def _train(self) -> None:
        c, m, rows = self._config, self._model, self._kept["kept"]
        m["mean"][:], m["sd"][:] = moments(rows)
        z = (rows - m["mean"]) / m["sd"]
        covariance = np.empty_like(m["plain"])
        mean_and_covariance(z, np.ones(len(z), np.uint8), np.empty(z.shape[1]), covariance)
        add_ridge(covariance, 0.01)
        inverse(covariance, m["plain"])
        looked, reach = self._looked_at(z), self.reach
        found = []
        place = np.arange(len(z))
        for a, b in itertools.pairwise(np.linspace(reach, len(z), c.blocks + 1).astype(int).tolist()):
            self._fit(looked, (place >= reach) & ((place < a) | (place >= b + reach)))
            found.append(self._scores(np.ascontiguousarray(looked[a:b])))
        self._fit(looked, place >= reach)
        share = (1.0 - c.quantile) / len(m["limit"])
        m["limit"][:] = c.margin * np.maximum(np.quantile(np.concatenate(found), 1.0 - share, axis=0), 1e-12)
        self._trained(z)

    @classmethod
    def _of(cls, config: Any, k: int) -> Self:
        """One that waits for its rows."""
        make: Any = cls
        made: Self = make(config.model_copy(update={"file": None, "train_rows": 60}), k)
        return made

    @classmethod
    def train(cls, config: Any, time_ns: NDArray[np.int64], value: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        """What it learns from n complete instants; see `models.model.Group.train`."""
        enough(len(value), 60, MOST_ROWS)
        return cls._of(config, value.shape[1])._from(time_ns, value)
