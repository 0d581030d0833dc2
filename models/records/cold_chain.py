"""`cold_chain`: mean kinetic temperature and the budget of excursions of one measuring point, from values at any intervals and with gaps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from models.baseline import check_rows
from models.compiled import kernel
from models.model import UnlearnedConfig
from models.state import ArrayState

PARTS: Final = 360
"""Parts of the window; the oldest one leaves it as a whole."""
NEVER: Final = -(2**62)
_MOST: Final = 200.0
"""A temperature beyond +-200 degC is no temperature of a store and changes nothing."""
_TIMES: Final = 4
"""Integer columns of a point: its first time, its last, since when it is out of range, its last breach."""


class ColdChainConfig(UnlearnedConfig):
    """Mean kinetic temperature (USP <1160>, dH/R 10,000 K) over a window, minutes of the present excursion, and what is left of the allowance.

    A value holds until the next one, at most for `gap_s`; what lies beyond is not known, enters no mean and lowers `known`. It learns nothing.
    """

    kind: Literal["cold_chain"] = "cold_chain"
    low: float = Field(2.0, ge=-200, le=200)
    """Lower end of the range that the product is kept in, degC."""
    high: float = Field(8.0, ge=-200, le=200)
    """Upper end of it, degC."""
    allowed_min: float = Field(gt=0, le=1e7)
    """Minutes out of the range that stability data allow within the window: the budget."""
    never_below: float | None = Field(None, ge=-200, le=200)
    """A temperature below this uses up the whole budget at once, degC: freezing."""
    never_above: float | None = Field(None, ge=-200, le=200)
    """The same above, degC."""
    window_h: float = Field(24.0, gt=0, le=24 * 366)
    """Hours over which mean and budget are counted: 24 for cold, 720 for controlled room temperature."""
    gap_s: float = Field(1800.0, gt=0, le=86_400)
    """Seconds for which a value stands at most."""
    activation_k: float = Field(10_000.0, ge=1000, le=30_000)
    """Activation energy over the gas constant, K."""

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low: expected below high ({self.high:g}), found {self.low:g}")
        return self

    @classmethod
    def bank(cls) -> type[ColdChain]:
        """The bank that runs it."""
        return ColdChain


def kinetic_mean(celsius: NDArray[np.float64], weight: NDArray[np.float64] | None = None, activation_k: float = 10_000.0) -> float:
    """Mean kinetic temperature, degC, of temperatures (n,) with the times (n,) for which each held; equal times when absent (USP <1160>).

    >>> round(kinetic_mean(np.array([20.0, 22.0, 25.0, 30.0])), 2), round(kinetic_mean(np.array([2.0, 4.0, 6.0, 8.0])), 2)
    (25.03, 5.3)
    >>> round(kinetic_mean(np.array([5.0, 15.0]), np.array([22.0, 2.0])), 2)
    6.46
    """
    kelvin = np.asarray(celsius, np.float64) + 273.15
    share = np.ones(len(kelvin)) if weight is None else np.asarray(weight, np.float64)
    mean = float((share * np.exp(-activation_k / kelvin)).sum() / share.sum())
    return activation_k / -math.log(mean) - 273.15


@kernel("void(float64[:, ::1], int64[::1], int64, int64, int64, float64, float64, float64, float64)")
def _add(ring: Any, begin: Any, s: int, a: Any, b: Any, width: float, kinetic: float, celsius: float, spent: float) -> None:
    """Spread the time from a to b over the parts of the ring (parts, 4): seconds known, their kinetic weight, their sum, seconds out of range.

    begin (slots,) is the number of the newest part of each slot; width: ns of a part; kinetic < 0: the time is not known, only spent.
    """
    parts = ring.shape[0]
    step = np.int64(width)
    first = a // step
    last = (b - 1) // step
    if last > begin[s]:
        # What the ring says of parts that are over by now is forgotten, oldest first.
        for k in range(max(begin[s] + 1, last - parts + 1), last + 1):
            for c in range(4):
                ring[k % parts, c] = 0.0
        begin[s] = last
    for k in range(max(first, begin[s] - parts + 1), last + 1):
        seconds = 1e-9 * (min(b, (k + 1) * step) - max(a, k * step))
        if kinetic >= 0.0:
            ring[k % parts, 0] += seconds
            ring[k % parts, 1] += seconds * kinetic
            ring[k % parts, 2] += seconds * celsius
        ring[k % parts, 3] += seconds * spent


@kernel(
    "void(Array(int32, 1, 'C', readonly=True), Array(int64, 1, 'C', readonly=True), Array(float64, 1, 'C', readonly=True),"
    " Array(uint8, 1, 'C', readonly=True), float64[:, ::1], float64[:, ::1], float64[:, :, ::1], int64[:, ::1], int64[::1], float64[::1])"
)
def cold_chain(
    slot: NDArray[np.int32],
    time_ns: NDArray[np.int64],
    value: NDArray[np.float64],
    usable: NDArray[np.uint8],
    out: NDArray[np.float64],
    options: NDArray[np.float64],
    ring: NDArray[np.float64],
    times: NDArray[np.int64],
    newest: NDArray[np.int64],
    held: NDArray[np.float64],
) -> None:
    """options (slots, 8): low, high, allowed s, never below, never above, ns of a part, gap ns, activation K.

    ring (slots, parts, 4), times (slots, 4) and newest (slots,) as `_add` and the module have them; held (slots,) the value that stands.
    """
    parts = ring.shape[1]
    for i in range(len(slot)):
        s = slot[i]
        x = value[i]
        t = time_ns[i]
        for c in range(out.shape[1]):
            out[i, c] = np.nan
        if usable[i] == 0 or not abs(x) <= _MOST:
            continue
        low, high, allowed, least, most = options[s, 0], options[s, 1], options[s, 2], options[s, 3], options[s, 4]
        width, gap, activation = options[s, 5], options[s, 6], options[s, 7]
        step = np.int64(width)
        middle = 0.5 * (low + high) + 273.15
        if times[s, 0] == NEVER:
            times[s, 0] = t
            times[s, 1] = t
            newest[s] = t // step
            held[s] = x
        if t < times[s, 1]:
            continue  # an older value than the one that stands: the time in between is counted already
        outside = x < low or x > high
        was_outside = held[s] < low or held[s] > high
        if t > times[s, 1]:
            if t - times[s, 1] <= gap:
                kinetic = np.exp(activation * (1.0 / middle - 1.0 / (held[s] + 273.15)))
                _add(ring[s], newest, s, times[s, 1], t, width, kinetic, held[s], 1.0 if was_outside else 0.0)
            else:
                # Nobody knows what it was; out of range before and after is taken as out of range all the while.
                _add(ring[s], newest, s, times[s, 1], t, width, -1.0, 0.0, 1.0 if was_outside and outside else 0.0)
        if not outside:
            times[s, 2] = NEVER
        elif times[s, 2] == NEVER:
            times[s, 2] = t
        if x < least or x > most:
            times[s, 3] = t
        times[s, 1] = t
        held[s] = x
        known, weight, total, spent = 0.0, 0.0, 0.0, 0.0
        for k in range(parts):
            known += ring[s, k, 0]
            weight += ring[s, k, 1]
            total += ring[s, k, 2]
            spent += ring[s, k, 3]
        since = max(times[s, 0], (newest[s] - parts + 1) * step)
        span = 1e-9 * (t - since)
        if span <= 0.0:
            out[i, 0] = x
            out[i, 3] = 100.0
            out[i, 4] = x
        else:
            if known > 0.0:
                out[i, 0] = 1.0 / (1.0 / middle - np.log(weight / known) / activation) - 273.15
                out[i, 4] = total / known
            out[i, 3] = min(100.0, 100.0 * known / span)
        out[i, 1] = 1e-9 * (t - times[s, 2]) / 60.0 if times[s, 2] != NEVER else 0.0
        out[i, 2] = 0.0 if times[s, 3] != NEVER and times[s, 3] >= since else 100.0 * max(0.0, 1.0 - spent / allowed)
        out[i, 5] = spent / 60.0


class ColdChain(ArrayState):
    """Bank of measuring points (`models.model.Bank`).

    >>> bank = ColdChain([ColdChainConfig(tags=("a",), allowed_min=60.0)])
    >>> out = np.empty((3, 6))
    >>> hour = 3600 * 10**9
    >>> bank.step(np.zeros(3, np.int32), np.array([0, 30, 60]) * hour // 60, np.array([5.0, 9.0, 5.0]), np.ones(3, np.uint8), out)
    >>> out[:, 1:4].round(6).tolist()
    [[0.0, 100.0, 100.0], [0.0, 100.0, 100.0], [0.0, 50.0, 100.0]]
    """

    outputs: ClassVar[tuple[str, ...]] = ("mkt", "excursion", "budget", "known")
    units: ClassVar[tuple[str, ...]] = ("°C", "min", "%", "%")
    watched: ClassVar[tuple[str, ...]] = ()
    reasons: ClassVar[tuple[str, ...]] = ("mean", "out_min")
    ragged: ClassVar[tuple[str, ...]] = ()

    def __init__(self, configs: Sequence[ColdChainConfig]) -> None:
        n = len(configs)
        self._options = np.array(
            [
                (
                    c.low, c.high, 60.0 * c.allowed_min, -np.inf if c.never_below is None else c.never_below,
                    np.inf if c.never_above is None else c.never_above, max(1.0, round(3600e9 * c.window_h / PARTS)), 1e9 * c.gap_s, c.activation_k,
                )
                for c in configs
            ],
            np.float64,
        ).reshape(n, 8)  # fmt: skip
        self._state: dict[str, NDArray[Any]] = {
            "ring": np.zeros((n, PARTS, 4)), "times": np.full((n, _TIMES), NEVER, np.int64), "newest": np.zeros(n, np.int64), "held": np.zeros(n),
        }  # fmt: skip

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(slots,) zeros: nothing is ragged."""
        return np.zeros(len(self._options), np.int64)

    def step(
        self,
        slot: NDArray[np.int32],
        time_ns: NDArray[np.int64],
        value: NDArray[np.float64],
        usable: NDArray[np.uint8],
        out: NDArray[np.float64],
    ) -> None:
        """Judge n rows in order; see `models.model.Bank.step`."""
        check_rows(len(self._options), 6, slot, out)
        cold_chain(slot, time_ns, value, usable, out, self._options, *self._state.values())

