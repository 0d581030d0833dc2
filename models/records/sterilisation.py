"""`sterilisation`: F0 of a steam cycle at its coldest probe, spread of the probes, saturation of the steam and time of exposure."""

from __future__ import annotations

from typing import Any, ClassVar, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from models.compiled import kernel
from models.model import UnlearnedConfig
from models.records.roles import Counting, RolesConfig

NEVER: Final = -(2**62)
_HOTTEST: Final = 250.0
_MMHG_PER_BAR: Final = 750.0617
"""mmHg in a bar."""


class SterilisationConfig(RolesConfig, UnlearnedConfig):
    """F0 of a steam sterilisation, minutes at 121.1 degC, in each probe by trapezoids; the least of all probes counts.

    A probe that is missing or bad gathers nothing until it is back: the record shows too little rather than too much.
    """

    kind: Literal["sterilisation"] = "sterilisation"
    roles: ClassVar[tuple[str, ...]] = ("probes", "pressure")
    probes: tuple[str, ...] = Field(min_length=1, max_length=32)
    """Tags of the temperatures in the load and the drain, degC."""
    pressure: str | None = None
    """Tag of the chamber's pressure, for the check of saturated steam."""
    bar: float = Field(1.0, gt=0)
    """Bar absolute in one unit of the pressure tag; 0.01 for kPa."""
    per: Literal["cycle", "batch", "phase"] = "cycle"
    """When F0 begins anew: as the load heats up behind `cold_c`, or with a batch or phase of the unit."""
    reference_c: float = Field(121.1, ge=60, le=200)
    """Temperature of which F0 counts minutes, degC."""
    z_k: float = Field(10.0, gt=0, le=60)
    """Kelvin for ten times the lethality."""
    least_c: float = Field(100.0, ge=0, le=200)
    """Below this nothing is gathered, degC."""
    exposure_c: float = Field(121.0, ge=60, le=200)
    """Exposure lasts while every probe stands at this or above, degC; it begins anew when one falls below."""
    cold_c: float = Field(80.0, ge=0, le=200)
    """A cycle is over when every probe was below this, degC."""
    gap_s: float = Field(10.0, gt=0, le=3600)
    """Nothing is gathered over a longer interval without a value, seconds."""
    step_s: float | None = Field(1.0, gt=0)
    """Seconds of the grid on which the last value of each tag is taken."""
    hold_s: float | None = Field(5.0, gt=0)
    """Seconds for which a value is held."""

    @classmethod
    def group(cls) -> type[Sterilisation]:
        """The model that runs it."""
        return Sterilisation


@kernel("float64(float64, float64, float64)")
def lethality(celsius: float, reference: float, z: float) -> float:
    """Minutes at the reference that one minute at a temperature is worth.

    >>> round(15 * lethality(120.0, 121.1, 10.0), 2), round(15 * lethality(122.0, 121.1, 10.0), 2)
    (11.64, 18.45)
    """
    rate: float = 10.0 ** ((celsius - reference) / z)
    return rate


@kernel("float64(float64)")
def boiling(bar: float) -> float:
    """Temperature of saturated steam, degC, at a pressure in bar absolute (Antoine, 99 to 374 degC).

    >>> round(boiling(2.049), 1), round(boiling(2.2415), 1), round(boiling(3.023), 1)
    (121.1, 124.0, 134.0)
    """
    celsius: float = 1810.94 / (8.14019 - np.log10(bar * _MMHG_PER_BAR)) - 244.485
    return celsius


@kernel(
    "void(Array(int64, 1, 'C', readonly=True), Array(float64, 2, 'C', readonly=True), Array(uint8, 2, 'C', readonly=True), float64[:, ::1],"
    " float64[::1], int64, float64[::1], float64[::1], int64[::1], float64[::1], int64[::1])"
)
def sterilised(
    time_ns: NDArray[np.int64],
    value: NDArray[np.float64],
    usable: NDArray[np.uint8],
    out: NDArray[np.float64],
    options: NDArray[np.float64],
    probes: int,
    gathered: NDArray[np.float64],
    last: NDArray[np.float64],
    last_ns: NDArray[np.int64],
    exposed: NDArray[np.float64],
    cold: NDArray[np.int64],
) -> None:
    """options (8,): reference, z, least, exposure, cold, gap ns, bar per unit, 1 when cycles begin by themselves.

    gathered, last, last_ns (probes,) F0 in min, value and time of each probe; exposed (1,) min; cold (1,) 1 once every probe was cold.
    """
    for i in range(len(time_ns)):
        t = time_ns[i]
        for c in range(out.shape[1]):
            out[i, c] = np.nan
        coldest, hottest, known, all_cold = np.inf, -np.inf, 0, True
        seconds = 0.0
        for j in range(probes):
            x = value[i, j]
            if usable[i, j] == 0 or not abs(x) <= _HOTTEST:
                continue
            known += 1
            coldest = min(coldest, x)
            hottest = max(hottest, x)
            if x >= options[4]:
                all_cold = False
        if known == 0:
            continue
        if all_cold and known == probes:
            cold[0] = 1
        elif cold[0] == 1 and coldest >= options[2] and options[7] == 1.0:
            cold[0] = 0
            exposed[0] = 0.0
            for j in range(probes):
                gathered[j] = 0.0
                last_ns[j] = NEVER
        for j in range(probes):
            x = value[i, j]
            if usable[i, j] == 0 or not abs(x) <= _HOTTEST:
                continue
            dt = t - last_ns[j]
            if last_ns[j] != NEVER and 0 < dt <= options[5]:
                seconds = max(seconds, 1e-9 * dt)
                if x >= options[2] and last[j] >= options[2]:
                    rate = 0.5 * (lethality(x, options[0], options[1]) + lethality(last[j], options[0], options[1]))
                    gathered[j] += 1e-9 * dt / 60.0 * rate
            last[j] = x
            last_ns[j] = t
        exposed[0] = exposed[0] + seconds / 60.0 if known == probes and coldest >= options[3] else 0.0
        least = gathered[0]
        for j in range(1, probes):
            least = min(least, gathered[j])
        out[i, 0] = least
        out[i, 1] = lethality(coldest, options[0], options[1]) if coldest >= options[2] else 0.0
        out[i, 2] = hottest - coldest if coldest >= options[2] else 0.0
        out[i, 3] = exposed[0]
        if value.shape[1] > probes and usable[i, probes] == 1:
            bar = value[i, probes] * options[6]
            if 0.5 <= bar <= 10.0 and coldest >= options[2]:
                out[i, 4] = coldest - boiling(bar)
        out[i, 5] = coldest
        for j in range(probes):
            out[i, 6 + j] = gathered[j]


class Sterilisation(Counting):
    """Model of one steriliser (`models.model.Group`); the shares of the probes are the F0 that each has gathered."""

    outputs: ClassVar[tuple[str, ...]] = ("f0", "lethality", "spread", "exposure", "saturation")
    units: ClassVar[tuple[str, ...]] = ("min", "", "K", "min", "K")
    watched: ClassVar[tuple[str, ...]] = ()
    reasons: ClassVar[tuple[str, ...]] = ("coldest",)

    def __init__(self, config: SterilisationConfig, k: int) -> None:
        super().__init__(config)
        c = config
        self._probes = k - (c.pressure is not None)
        self._options = np.array([c.reference_c, c.z_k, c.least_c, c.exposure_c, c.cold_c, 1e9 * c.gap_s, c.bar, float(c.per == "cycle")])
        n = self._probes
        self._kept: dict[str, NDArray[Any]] = {
            "gathered": np.zeros(n), "last": np.zeros(n), "last_ns": np.full(n, NEVER, np.int64), "exposed": np.zeros(1),
            "cold": np.zeros(1, np.int64),
        }  # fmt: skip
        self._state |= self._kept

    def _run(self, time_ns: NDArray[np.int64], value: NDArray[np.float64], usable: NDArray[np.uint8], out: NDArray[np.float64]) -> None:
        sterilised(time_ns, value, usable, out, self._options, self._probes, *self._kept.values())

    def _turn(self, begin_ns: int, on: bool) -> None:  # noqa: ARG002
        if not on:
            return  # what the cycle gathered stands until the next one
        self._kept["gathered"][:] = 0.0
        self._kept["exposed"][:] = 0.0
        self._kept["last_ns"][:] = NEVER
