"""Spectra and waveforms of one stream over a span of time, for the screen: a choice of them, with their reference and how they were taken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypedDict

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_agent.core import Block, decode
from edge_agent.core.status import qualities

MAX_BLOCKS: Final = 200
MAX_AXIS: Final = 4000
"""Points of one block at the most; of a longer one each n-th is shown."""
_AXIS_TOLERANCE: Final = 1e-9


class ReferenceRow(TypedDict):
    """What good blocks of the span look like: median and 3 robust standard deviations on either side, point by point, and of how many."""

    n: int
    median: list[float]
    low: list[float]
    high: list[float]


class BlocksRow(TypedDict):
    """Blocks of one stream in order of time; values (blocks, axis), null where there is none.

    found       blocks in the span, of which `time_ns` are a choice spread evenly, the newest always among them
    other_axis  chosen ones that are left out because their axis is not that of the newest
    every       each how manieth point of the axis is shown
    acquisition how each was taken, as far as the source told
    """

    tag: str
    unit: str
    axis_unit: str
    axis: list[float]
    every: int
    found: int
    other_axis: int
    time_ns: list[int]
    status: list[int]
    quality: list[int]
    values: list[list[float | None]]
    acquisition: list[dict[str, Any]]
    reference: ReferenceRow | None


def spread_over(times: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """At most `count` of the times (n,), ascending, spread evenly by place, the newest always among them.

    >>> spread_over(np.arange(10, dtype=np.int64), 4).tolist()
    [0, 3, 6, 9]
    """
    if len(times) <= count:
        return times
    if count == 1:
        return times[-1:]
    return times[np.linspace(0, len(times) - 1, count).round().astype(np.int64)]


def blocks_row(key: str, found: int, frames: Sequence[bytes], from_ns: int, to_ns: int, *, simulated: bool) -> BlocksRow:
    """The row of the chosen frames; instants of a block outside the span are left out."""
    told: list[tuple[int, Block, int]] = []
    for frame in frames:
        block = decode(frame)
        if isinstance(block, Block):
            told += [(int(t), block, i) for i, t in enumerate(block.time_ns.tolist()) if from_ns <= t < to_ns]
    told.sort(key=lambda row: row[0])
    told = told[-MAX_BLOCKS:]
    row: BlocksRow = {
        "tag": key, "unit": "", "axis_unit": "", "axis": [], "every": 1, "found": found, "other_axis": 0, "time_ns": [], "status": [],
        "quality": [], "values": [], "acquisition": [], "reference": None,
    }  # fmt: skip
    if not told:
        return row
    newest = told[-1][1]
    same = [(t, b, i) for t, b, i in told if _same_axis(b, newest)]
    every = -(-len(newest.axis) // MAX_AXIS)
    values = np.array([b.values[i, ::every] for _, b, i in same])
    status = np.array([int(b.status[i] if b.status.ndim == 1 else b.status[i].max()) for _, b, i in same], np.uint32)
    quality = qualities(status, simulated=simulated)
    row |= {
        "unit": newest.unit, "axis_unit": newest.axis_unit, "axis": newest.axis[::every].tolist(), "every": every,
        "other_axis": len(told) - len(same), "time_ns": [t for t, _, _ in same], "status": status.tolist(), "quality": quality.tolist(),
        "values": [[v if np.isfinite(v) else None for v in line] for line in values.tolist()],
        "acquisition": [msgspec.to_builtins(b.acquisition) if b.acquisition is not None else {} for _, b, _ in same],
        "reference": _reference(values[quality == 0]),
    }  # fmt: skip
    return row


def _same_axis(one: Block, other: Block) -> bool:
    if one.axis.shape != other.axis.shape or one.axis_unit != other.axis_unit:
        return False
    return bool(np.all(np.abs(one.axis - other.axis) <= _AXIS_TOLERANCE * np.maximum(np.abs(other.axis), 1.0)))


def _reference(good: NDArray[np.float64]) -> ReferenceRow | None:
    """Three or more good blocks. A few odd ones, such as a saturated detector's, hide nothing: the spread is 1.4826 times the median distance from
    the median; where most are alike to the last bit it is the standard deviation."""
    good = good[np.isfinite(good).all(axis=1)] if good.size else good
    if len(good) < 3:
        return None
    middle = np.median(good, axis=0)
    robust = 1.4826 * np.median(np.abs(good - middle), axis=0)
    spread = 3.0 * np.where(robust > 0.0, robust, good.std(axis=0, ddof=1))
    return {"n": len(good), "median": middle.tolist(), "low": (middle - spread).tolist(), "high": (middle + spread).tolist()}
