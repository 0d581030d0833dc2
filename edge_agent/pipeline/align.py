"""Alignment: asynchronous values of several tags become instants at which all of them are looked at together.

Decided by the order of the rows alone, never by how they were cut into batches.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.compiled import kernel

NOTHING = -(2**62)
"""No instant is open, or no value has come."""


@kernel(
    "int64(int64, float64[::1], uint8[::1], uint32[::1], uint8[::1], int64, int64,"
    " int64[::1], float64[:, ::1], uint8[:, ::1], uint32[::1], int64[::1])"
)
def _emit(
    time_ns: int,
    value: NDArray[np.float64],
    usable: NDArray[np.uint8],
    status: NDArray[np.uint32],
    have: NDArray[np.uint8],
    row: int,
    n: int,
    out_ns: NDArray[np.int64],
    out_value: NDArray[np.float64],
    out_usable: NDArray[np.uint8],
    out_status: NDArray[np.uint32],
    out_row: NDArray[np.int64],
) -> int:
    """Write one instant at place n; its status is the worst of the values that are used. Returns n + 1."""
    out_ns[n] = time_ns
    out_row[n] = row
    worst = np.uint32(0)
    for j in range(len(value)):
        used = have[j] == 1 and usable[j] == 1
        out_value[n, j] = value[j] if used else np.nan
        out_usable[n, j] = 1 if used else 0
        if used and status[j] > worst:
            worst = status[j]
    out_status[n] = worst
    return n + 1


@kernel(
    "int64(Array(int64, 1, 'C', readonly=True), Array(int32, 1, 'C', readonly=True), Array(float64, 1, 'C', readonly=True),"
    " Array(uint8, 1, 'C', readonly=True), Array(uint32, 1, 'C', readonly=True), Array(int32, 1, 'C', readonly=True),"
    " int64[::1], float64[::1], uint8[::1], uint32[::1], uint8[::1],"
    " int64[::1], float64[:, ::1], uint8[:, ::1], uint32[::1], int64[::1])"
)
def _same_times(
    time_ns: NDArray[np.int64],
    tag: NDArray[np.int32],
    value: NDArray[np.float64],
    usable: NDArray[np.uint8],
    status: NDArray[np.uint32],
    place: NDArray[np.int32],
    now: NDArray[np.int64],
    held: NDArray[np.float64],
    held_usable: NDArray[np.uint8],
    held_status: NDArray[np.uint32],
    have: NDArray[np.uint8],
    out_ns: NDArray[np.int64],
    out_value: NDArray[np.float64],
    out_usable: NDArray[np.uint8],
    out_status: NDArray[np.uint32],
    out_row: NDArray[np.int64],
) -> int:
    """Instants of equal source time; now[0] is the open one, now[1] says whether it has gone out already. Returns how many were written."""
    n = 0
    for i in range(len(time_ns)):
        j = place[tag[i]]
        if j < 0:
            continue
        t = time_ns[i]
        if t < now[0] or (t == now[0] and now[1] == 1):
            now[2] += 1
            continue
        if t > now[0]:
            if now[0] != NOTHING and now[1] == 0:
                n = _emit(now[0], held, held_usable, held_status, have, i, n, out_ns, out_value, out_usable, out_status, out_row)
            now[0] = t
            now[1] = 0
            for c in range(len(have)):
                have[c] = 0
        held[j] = value[i]
        held_usable[j] = usable[i]
        held_status[j] = status[i]
        have[j] = 1
        complete = True
        for c in range(len(have)):
            if have[c] == 0:
                complete = False
        if complete:
            n = _emit(t, held, held_usable, held_status, have, i, n, out_ns, out_value, out_usable, out_status, out_row)
            now[1] = 1
    return n


@kernel(
    "int64(Array(int64, 1, 'C', readonly=True), Array(int32, 1, 'C', readonly=True), Array(float64, 1, 'C', readonly=True),"
    " Array(uint8, 1, 'C', readonly=True), Array(uint32, 1, 'C', readonly=True), Array(int32, 1, 'C', readonly=True), int64, int64,"
    " int64[::1], float64[::1], uint8[::1], uint32[::1], uint8[::1], int64[::1],"
    " int64[::1], float64[:, ::1], uint8[:, ::1], uint32[::1], int64[::1])"
)
def _grid(
    time_ns: NDArray[np.int64],
    tag: NDArray[np.int32],
    value: NDArray[np.float64],
    usable: NDArray[np.uint8],
    status: NDArray[np.uint32],
    place: NDArray[np.int32],
    step_ns: int,
    hold_ns: int,
    now: NDArray[np.int64],
    held: NDArray[np.float64],
    held_usable: NDArray[np.uint8],
    held_status: NDArray[np.uint32],
    have: NDArray[np.uint8],
    held_ns: NDArray[np.int64],
    out_ns: NDArray[np.int64],
    out_value: NDArray[np.float64],
    out_usable: NDArray[np.uint8],
    out_status: NDArray[np.uint32],
    out_row: NDArray[np.int64],
) -> int:
    """Last values at the points of a grid; a point goes out with the first value behind it. now[0] is the next point. Returns how many."""
    n = 0
    for i in range(len(time_ns)):
        j = place[tag[i]]
        if j < 0:
            continue
        t = time_ns[i]
        if now[0] == NOTHING:
            now[0] = t + (-t) % step_ns
        while t > now[0]:
            fresh = False
            for c in range(len(have)):
                have[c] = 1 if held_ns[c] != NOTHING and now[0] - held_ns[c] <= hold_ns else 0
                if have[c] == 1:
                    fresh = True
            if not fresh:
                # Nothing is held any more: go on with the last point before this value.
                now[0] = max(now[0] + step_ns, t + (-t) % step_ns)
                continue
            n = _emit(now[0], held, held_usable, held_status, have, i, n, out_ns, out_value, out_usable, out_status, out_row)
            now[0] += step_ns
        if t < held_ns[j]:
            now[2] += 1
            continue
        held[j] = value[i]
        held_usable[j] = usable[i]
        held_status[j] = status[i]
        held_ns[j] = t
    return n


class Aligned:
    """Instants (n,): time_ns, value and usable (n, k), status, and the input row that completed each."""

    __slots__ = ("row", "status", "time_ns", "usable", "value")

    def __init__(self, n: int, columns: tuple[NDArray[Any], ...]) -> None:
        self.time_ns, self.value, self.usable, self.status, self.row = (c[:n] for c in columns)

    def __len__(self) -> int:
        return len(self.time_ns)


class Alignment:
    """Brings k tags to common instants.

    Without `step_ns` an instant is one source time: it goes out when all tags have a value of that time, or incomplete when a later time is met.
    With it, instants are the points of a grid, each with the last value of every tag that is not older than `hold_ns`.
    A value that is missing or must not be used has usable 0. Values of an instant that has gone out are counted in `passed`.
    """

    def __init__(self, place: NDArray[np.int32], k: int, step_ns: int = 0, hold_ns: int = 0) -> None:
        self._place, self._k, self._step_ns, self._hold_ns = place, k, step_ns, hold_ns
        self._state: dict[str, NDArray[Any]] = {
            # In the order of the kernels' arguments.
            "now": np.array([NOTHING, 0, 0], np.int64),
            "held": np.zeros(k),
            "held_usable": np.zeros(k, np.uint8),
            "held_status": np.zeros(k, np.uint32),
            "have": np.zeros(k, np.uint8),
            "held_ns": np.full(k, NOTHING, np.int64),
        }

    def step(
        self,
        time_ns: NDArray[np.int64],
        tag: NDArray[np.int32],
        value: NDArray[np.float64],
        usable: NDArray[np.uint8],
        status: NDArray[np.uint32],
    ) -> Aligned:
        """The instants that these rows complete, in order."""
        n = len(time_ns)
        room = 2 * n + 2 if not self._step_ns else n * (self._hold_ns // self._step_ns + 2) + 2
        out = (
            np.empty(room, np.int64), np.empty((room, self._k)), np.empty((room, self._k), np.uint8), np.empty(room, np.uint32),
            np.empty(room, np.int64),
        )  # fmt: skip
        kept = tuple(self._state.values())
        rows: Any = (time_ns, tag, value, usable, status, self._place)
        grid: Any = (*rows, self._step_ns, self._hold_ns, *kept, *out)
        same: Any = (*rows, *kept[:-1], *out)
        done = _grid(*grid) if self._step_ns else _same_times(*same)
        return Aligned(done, out)

    @property
    def passed(self) -> int:
        """Values that came behind their instant and were not used."""
        return int(self._state["now"][2])

    def state(self) -> dict[str, Any]:
        """Everything that `restore` needs, as independent copies."""
        return {name: array.copy() for name, array in self._state.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state of as many tags."""
        for name, array in self._state.items():
            array[...] = state[name]
