"""`flatline`: for how long a value has not moved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from models.baseline import HUGE, check_rows
from models.compiled import kernel
from models.model import UnlearnedConfig
from models.state import ArrayState


class FlatlineConfig(UnlearnedConfig):
    """Seconds for which a tag that arrives stays within `tolerance` of one value: a frozen sensor, a stuck valve.

    It learns nothing. Silence, no values at all, is judged by the tag's `report` instead; `auto` learns by itself how long a tag may stand still.
    """

    kind: Literal["flatline"] = "flatline"
    tolerance: float = Field(0.0, ge=0)
    """Distance from the first value of the stand in the tag's unit that does not count as movement."""

    @classmethod
    def bank(cls) -> type[Flatline]:
        """The bank that runs it."""
        return Flatline


@kernel(
    "void(Array(int32, 1, 'C', readonly=True), Array(int64, 1, 'C', readonly=True), Array(float64, 1, 'C', readonly=True),"
    " Array(uint8, 1, 'C', readonly=True), float64[:, ::1], float64[::1], float64[::1], int64[::1], int64[::1])"
)
def flatline(
    slot: NDArray[np.int32],
    time_ns: NDArray[np.int64],
    value: NDArray[np.float64],
    usable: NDArray[np.uint8],
    out: NDArray[np.float64],
    tolerance: NDArray[np.float64],
    held: NDArray[np.float64],
    since: NDArray[np.int64],
    rows: NDArray[np.int64],
) -> None:
    """held (slots,) the value of the stand, since (slots,) its first time, rows (slots,) its values."""
    for i in range(len(slot)):
        s = slot[i]
        x = value[i]
        out[i, 0] = np.nan
        out[i, 1] = np.nan
        out[i, 2] = np.nan
        if usable[i] == 0 or not abs(x) <= HUGE:
            continue
        if rows[s] == 0 or not abs(x - held[s]) <= tolerance[s]:
            held[s] = x
            since[s] = time_ns[i]
            rows[s] = 0
        rows[s] += 1
        out[i, 0] = 1e-9 * (time_ns[i] - since[s])
        out[i, 1] = held[s]
        out[i, 2] = rows[s]


class Flatline(ArrayState):
    """Bank of stands (`models/model.py`).

    >>> bank = Flatline([FlatlineConfig(tags=("a",), tolerance=0.1)])
    >>> out = np.empty((4, 3))
    >>> bank.step(np.zeros(4, np.int32), np.arange(4) * 10**9, np.array([5.0, 5.05, 4.95, 5.2]), np.ones(4, np.uint8), out)
    >>> out[:, 0].tolist()
    [0.0, 1.0, 2.0, 0.0]
    """

    outputs: ClassVar[tuple[str, ...]] = ("held",)
    units: ClassVar[tuple[str, ...]] = ("s",)
    watched: ClassVar[tuple[str, ...]] = ()
    reasons: ClassVar[tuple[str, ...]] = ("expected", "rows")
    ragged: ClassVar[tuple[str, ...]] = ()

    def __init__(self, configs: Sequence[FlatlineConfig]) -> None:
        n = len(configs)
        self._tolerance = np.array([c.tolerance for c in configs], np.float64)
        self._state: dict[str, NDArray[Any]] = {"held": np.zeros(n), "since": np.zeros(n, np.int64), "rows": np.zeros(n, np.int64)}

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(slots,) zeros: nothing is ragged."""
        return np.zeros(len(self._tolerance), np.int64)

    def step(
        self,
        slot: NDArray[np.int32],
        time_ns: NDArray[np.int64],
        value: NDArray[np.float64],
        usable: NDArray[np.uint8],
        out: NDArray[np.float64],
    ) -> None:
        """Judge n rows in order; see `models.model.Bank.step`."""
        check_rows(len(self._tolerance), 3, slot, out)
        flatline(slot, time_ns, value, usable, out, self._tolerance, *self._state.values())

