"""`dynamic_pca` and `canonical_variates`: the last rows of a unit as one, along directions of its dynamics and off them."""

from __future__ import annotations

from typing import Any, ClassVar, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from models.compiled import kernel
from models.linear import add_ridge, eigen, inverse, mean_and_covariance
from models.reference import GAP_ROWS, standardised, usual_step
from models.reference_group import ReferenceConfig, ReferenceGroup, told

NEVER: Final = -(2**62)
"""Time of the last instant before the first."""
MOST_LAGS: Final = 10


class LaggedConfig(ReferenceConfig):
    """Base of a model that looks at the last rows together."""

    lags: int = Field(2, ge=1, le=MOST_LAGS)
    """Rows looked at together: the newest and those before it."""


class DynamicPcaConfig(LaggedConfig):
    """T2 and SPE of principal components of the last rows together; ratio is the larger of both over its limit, alarm 3 of the last 5 above 1.

    What `pca` is for independent rows, for tags that move slowly: that a row follows from those before it is then part of what is normal. Limits
    are those of held-out parts of the reference, not of a distribution. Prefer `canonical_variates` where small upsets of controllers count.
    """

    kind: Literal["dynamic_pca"] = "dynamic_pca"
    components: int | None = Field(None, ge=1, le=500)
    """Principal components kept; those with an eigenvalue above 1 when absent."""

    @classmethod
    def group(cls) -> type[DynamicPca]:
        """The model that runs it."""
        return DynamicPca


class CanonicalVariatesConfig(LaggedConfig):
    """Canonical variate analysis: the part of the last rows that foretells the next ones, and the rest, each judged against its limit.

    ratio is the larger of both over its limit, alarm is 1 while 3 of the last 5 instants were above 1. Finds upsets of the dynamics soonest; prefer
    `unit` where fewer false findings count more than minutes.
    """

    kind: Literal["canonical_variates"] = "canonical_variates"
    states: int | None = Field(None, ge=1, le=500)
    """Directions that foretell the next rows, taken as the state; half as many as tags when absent."""
    ridge: float = Field(0.01, gt=0, le=1)
    """Share of the mean variance added to each variance."""

    @classmethod
    def group(cls) -> type[CanonicalVariates]:
        """The model that runs it."""
        return CanonicalVariates


@kernel("void(float64[:, ::1], float64[:, ::1], float64[:, ::1])")
def product(a: NDArray[np.float64], b: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """out = a b, summed in the order of the columns of a."""
    for i in range(a.shape[0]):
        for j in range(b.shape[1]):
            out[i, j] = 0.0
        for c in range(a.shape[1]):
            x = a[i, c]
            for j in range(b.shape[1]):
                out[i, j] += x * b[c, j]


@kernel("void(float64[::1], float64[::1], float64[:, ::1], int64, float64[:, ::1], float64[::1])")
def lengths(
    x: NDArray[np.float64],
    centre: NDArray[np.float64],
    directions: NDArray[np.float64],
    first: int,
    weight: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """Squared length of x (D,) from its centre along the first rows of directions (D, D), and along the others.

    weight (2, D) becomes half the gradient of each.
    """
    d = len(x)
    for s in range(2):
        out[s] = 0.0
        for j in range(d):
            weight[s, j] = 0.0
    for c in range(d):
        u = 0.0
        for j in range(d):
            u += directions[c, j] * (x[j] - centre[j])
        s = 0 if c < first else 1
        out[s] += u * u
        for j in range(d):
            weight[s, j] += u * directions[c, j]


@kernel(
    "void(Array(int64, 1, 'C', readonly=True), Array(float64, 2, 'C', readonly=True), Array(uint8, 2, 'C', readonly=True), int64,"
    " float64[:, ::1], float64[::1], float64[::1], float64[:, ::1], float64[::1], float64[::1], float64[:, ::1], int64[::1], int64[::1],"
    " int64[::1], float64[:, ::1], int64[::1])"
)
def judge(
    time_ns: NDArray[np.int64],
    value: NDArray[np.float64],
    usable: NDArray[np.uint8],
    begin: int,
    out: NDArray[np.float64],
    mean: NDArray[np.float64],
    sd: NDArray[np.float64],
    plain: NDArray[np.float64],
    limit: NDArray[np.float64],
    centre: NDArray[np.float64],
    directions: NDArray[np.float64],
    first: NDArray[np.int64],
    gap: NDArray[np.int64],
    ints: NDArray[np.int64],
    lagged: NDArray[np.float64],
    last: NDArray[np.int64],
) -> None:
    """Judge instants from `begin` on; lagged (lags, k) the last rows, newest first, all of them the first row behind an interruption."""
    k = len(mean)
    lags = len(lagged)
    z = np.empty(k)
    known = np.empty(k, np.uint8)
    x = np.empty(lags * k)
    weight = np.empty((2, lags * k))
    found = np.empty(2)
    for i in range(begin, len(time_ns)):
        for c in range(out.shape[1]):
            out[i, c] = np.nan
        out[i, 2] = 0.0
        if not standardised(value, usable, i, mean, sd, plain, z, known):
            continue
        anew = time_ns[i] - last[0] > gap[0]
        last[0] = time_ns[i]
        for lag in range(lags - 1, -1, -1):
            for j in range(k):
                if lag == 0 or anew:
                    lagged[lag, j] = z[j]
                else:
                    lagged[lag, j] = lagged[lag - 1, j]
                x[lag * k + j] = lagged[lag, j]
        lengths(x, centre, directions, first[0], weight, found)
        for s in range(2):
            out[i, 3 + s] = found[s] / limit[s]
        lead = 0 if out[i, 3] >= out[i, 4] else 1
        told(out, i, out[i, 3 + lead], ints)
        for j in range(k):
            share = 0.0
            away = 0.0
            for lag in range(lags):
                at = lag * k + j
                share += (x[at] - centre[at]) * weight[lead, at]
                away += x[at] - centre[at]
            share /= max(found[lead], 1e-300)
            out[i, 5 + j] = share if away >= 0.0 else -share


class Lagged(ReferenceGroup):
    """What both have in common; a model gives `_directions` and how many of them come first."""

    def __init__(self, config: Any, k: int) -> None:
        d = config.lags * k
        model: dict[str, NDArray[Any]] = {
            "centre": np.zeros(d), "directions": np.zeros((d, d)), "first": np.zeros(1, np.int64), "gap": np.zeros(1, np.int64)
        }  # fmt: skip
        now: dict[str, NDArray[Any]] = {"lagged": np.zeros((config.lags, k)), "last": np.array([NEVER], np.int64)}
        super().__init__(config, k, model, now)

    @property
    def reach(self) -> int:  # type: ignore[override]
        """Rows before a row that are looked at with it."""
        return int(self._config.lags) - 1

    def _looked_at(self, z: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.hstack([z[np.maximum(np.arange(len(z)) - lag, 0)] for lag in range(self._config.lags)])

    def _scores(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        m, out = self._model, np.empty((len(rows), 2))
        weight = np.empty((2, rows.shape[1]))
        for row, found in zip(rows, out, strict=True):
            lengths(row, m["centre"], m["directions"], int(m["first"][0]), weight, found)
        return out

    def _trained(self, z: NDArray[np.float64]) -> None:
        times = self._kept["kept_ns"]
        self._model["gap"][0] = GAP_ROWS * usual_step(times)
        self._now["lagged"][:] = z[: -len(self._now["lagged"]) - 1 : -1]
        self._now["last"][0] = times[-1]

    def _judge(
        self, time_ns: NDArray[np.int64], value: NDArray[np.float64], usable: NDArray[np.uint8], begin: int, out: NDArray[np.float64]
    ) -> None:
        judge(time_ns, value, usable, begin, out, *self._model.values(), *self._now.values())


class DynamicPca(Lagged):
    """Model of one unit (`models.model.Group`; Ku, Storer and Georgakis, 1995); t2 and spe are in multiples of their limits."""

    reasons: ClassVar[tuple[str, ...]] = ("t2", "spe")

    def _fit(self, rows: NDArray[np.float64], used: NDArray[np.bool_]) -> None:
        m, d = self._model, rows.shape[1]
        covariance, values, vectors = np.empty((d, d)), np.empty(d), np.empty((d, d))
        mean_and_covariance(rows, used.view(np.uint8), m["centre"], covariance)
        eigen(covariance, values, vectors)
        wanted = self._config.components or int((values > 1.0).sum())
        a = max(1, min(wanted, int((values > 1e-9).sum())))
        m["first"][0] = a
        m["directions"][:] = vectors.T
        m["directions"][:a] /= np.sqrt(values[:a, None])


class CanonicalVariates(Lagged):
    """Model of one unit (`models.model.Group`; Russell, Chiang and Braatz, 2000); state and residual are in multiples of their limits."""

    reasons: ClassVar[tuple[str, ...]] = ("state", "residual")

    def _fit(self, rows: NDArray[np.float64], used: NDArray[np.bool_]) -> None:
        c, m, d = self._config, self._model, rows.shape[1]
        # Beside each row what came behind it; where that lies in a part that is left out, the pair is.
        pairs = np.hstack([rows[: -c.lags], rows[c.lags :]])
        both = used[: -c.lags] & used[c.lags :]
        covariance = np.empty((2 * d, 2 * d))
        mean_and_covariance(pairs, both.view(np.uint8), np.empty(2 * d), covariance)
        own = np.empty((d, d))
        mean_and_covariance(rows, used.view(np.uint8), m["centre"], own)
        whiten = _inverse_root(own, c.ridge)
        later, inverted = np.ascontiguousarray(covariance[d:, d:]), np.empty((d, d))
        add_ridge(later, c.ridge)
        inverse(later, inverted)
        across = np.ascontiguousarray(covariance[:d, d:])
        told_by = _times(_times(whiten, across), _times(inverted, _times(np.ascontiguousarray(across.T), whiten)))
        values, vectors = np.empty(d), np.empty((d, d))
        eigen(0.5 * (told_by + told_by.T), values, vectors)
        m["directions"][:] = _times(np.ascontiguousarray(vectors.T), whiten)
        m["first"][0] = min(c.states or max(d // c.lags // 2, 1), d - 1)


def _times(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    out = np.empty((a.shape[0], b.shape[1]))
    product(a, b, out)
    return out


def _inverse_root(covariance: NDArray[np.float64], ridge: float) -> NDArray[np.float64]:
    """The symmetric matrix by which rows of that covariance, ridge included, get a covariance of 1."""
    a = covariance.copy()
    add_ridge(a, ridge)
    values, vectors = np.empty(len(a)), np.empty_like(a)
    eigen(a, values, vectors)
    scaled = vectors / np.sqrt(np.maximum(values, 1e-300))
    return _times(scaled, np.ascontiguousarray(vectors.T))
