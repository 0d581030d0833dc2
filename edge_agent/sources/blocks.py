"""What every source of spectra and waveforms shares: the axis, the facts of the acquisition, and what they mean for quality."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from edge_agent.core import Acquisition, Block, PharmedgeError, Tag
from edge_agent.core.samples import Float64
from edge_agent.core.settings import Section
from edge_agent.core.status import BAD_DECODING, BAD_OUT_OF_SERVICE, BAD_SENSOR_FAILURE

MOST_POINTS: Final = 4_000_000
"""Values of one block at the most: 32 MB, half of what a frame holds."""
STATUSES: Final = ("not_used", "good", "bad", "unknown", "partial")
"""AcquisitionResultStatus of ADI (OPC 10020): the index is its number."""
SAMPLING: Final = 16
GRAB_SAMPLE: Final = 32768


class BlockError(PharmedgeError):
    """What was sent is no block: expected X, found Y."""


class AxisSection(Section):
    """An equidistant axis, for instruments that do not tell theirs: x(k) = low + k (high - low) / (points - 1), or low + k step."""

    low: float
    """First point, in `unit`."""
    high: float | None = None
    """Last point, in `unit`; below `low` where the axis falls."""
    step: float | None = None
    """Distance of two points in place of `high`."""
    unit: str = ""
    """nm, 1/cm; s for waveforms."""

    @model_validator(mode="after")
    def _one_end(self) -> Self:
        if (self.high is None) == (self.step is None) or self.high == self.low or self.step == 0:
            raise ValueError("either high, other than low, or a step other than 0")
        return self

    def points(self, n: int) -> Float64:
        """The axis of n points."""
        return spread(self.low, self.high, self.step, n)


class StreamSection(Section):
    """One stream of blocks: what its instrument does not tell itself. What it does tell goes before what stands here."""

    tag: Annotated[str, Field(min_length=1)]
    """Name of a tag of kind block of this source."""
    axis: AxisSection | None = None
    """Its axis, where the instrument tells none."""
    instrument: str = ""
    """Name of the instrument."""
    probe: str = ""
    """Name of the probe."""
    integration_s: Annotated[float, Field(gt=0)] | None = None
    """Integration time of one scan, seconds."""
    scans: Annotated[int, Field(ge=1)] | None = None
    """Scans averaged into one spectrum."""
    background: str = ""
    """Name of the background reference."""

    def acquisition(self, told: Acquisition | None = None) -> Acquisition | None:
        """What the instrument told, completed; None when nothing is known."""
        own = Acquisition(
            instrument=self.instrument, probe=self.probe, integration_s=self.integration_s, scans=self.scans, background=self.background
        )
        return completed(told, own)


def completed(told: Acquisition | None, own: Acquisition) -> Acquisition | None:
    """The facts of `told`, and those of `own` where it is silent; None when neither says anything."""
    nothing = Acquisition()
    told = told or nothing
    fields = {f: getattr(own, f) if getattr(told, f) == getattr(nothing, f) else getattr(told, f) for f in Acquisition.__struct_fields__}
    found = Acquisition(**fields)
    return None if found == nothing else found


def wrong_streams(streams: Sequence[StreamSection]) -> None:
    """ValueError when two sections are about one tag."""
    names = [s.tag for s in streams]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"one section for each tag, found {names.count(name)} for {name}")


def spread(low: float, high: float | None, step: float | None, n: int) -> Float64:
    """An equidistant axis of n points from low to high, or in steps (OPC 10000-8, 5.3.3: YArrayItemType).

    >>> spread(1100.0, 1104.0, None, 3).tolist(), spread(0.0, None, 0.5, 3).tolist()
    ([1100.0, 1102.0, 1104.0], [0.0, 0.5, 1.0])
    """
    k = np.arange(n, dtype=np.float64)
    if step is not None:
        return low + k * step
    return low + k * ((high if high is not None else low) - low) / max(n - 1, 1)


def quality_of(told: Acquisition | None) -> int:
    """The status that the facts of an acquisition give its block: anything but good is bad, and so is what no sample was measured in.

    >>> hex(quality_of(Acquisition(status="partial"))), quality_of(Acquisition(status="good", cycle=16 + 32768)), quality_of(None)
    ('0x808c0000', 0, 0)
    >>> hex(quality_of(Acquisition(status="good", cycle=4)))
    '0x808d0000'
    """
    if told is None:
        return 0
    if told.status not in ("", "good"):
        return BAD_SENSOR_FAILURE
    if told.cycle is not None and told.cycle & ~GRAB_SAMPLE != SAMPLING:
        return BAD_OUT_OF_SERVICE
    return 0


def block(
    tag: Tag, times: Sequence[int], values: NDArray[Any], axis: Float64, axis_unit: str, unit: str, *,
    status: int | Sequence[int] = 0, acquisition: Acquisition | None = None,
) -> Block:  # fmt: skip
    """A block of rows (n, k), or of one row (k,); BlockError when its sizes or its axis are none.

    Rows are bad where the acquisition was not good or a point is missing (NaN, infinite).
    """
    rows = np.ascontiguousarray(values if values.ndim == 2 else values[None], np.float64)
    n, k = rows.shape
    if n != len(times) or n == 0:
        raise BlockError(f"expected one time for each row, found {len(times)} times and {n} rows")
    if not k >= 2 or n * k > MOST_POINTS:
        raise BlockError(f"expected 2 or more points and at most {MOST_POINTS} values, found {n} rows of {k}")
    if axis.shape != (k,):
        raise BlockError(f"expected an axis of {k} points, as many as values, found {axis.size}")
    steps = np.diff(axis)
    if not (np.isfinite(axis).all() and ((steps > 0).all() or (steps < 0).all())):
        wrong = int(np.argmax(~np.isfinite(steps) | (np.sign(steps) != np.sign(steps[0])) | (steps == 0)))
        raise BlockError(f"expected an axis that rises or falls throughout, found {axis[wrong + 1]:g} behind {axis[wrong]:g} (point {wrong + 2})")
    told = np.full(n, status, np.int64) if isinstance(status, int) else np.asarray(status, np.int64)
    if told.shape != (n,):
        raise BlockError(f"expected one status for each row, found {told.size} for {n}")
    told = np.maximum(told, quality_of(acquisition))
    told = np.where(np.isfinite(rows).all(axis=1), told, np.maximum(told, BAD_DECODING))
    return Block(
        tag.id, np.asarray(times, np.int64), rows, told.astype(np.uint32), np.ascontiguousarray(axis, np.float64), axis_unit, unit or tag.unit,
        acquisition=acquisition,
    )  # fmt: skip
