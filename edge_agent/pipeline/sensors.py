"""Soft sensors: blocks of spectra in, values of derived tags out, with the interval and the validity of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

from edge_agent.core import Block, Catalogue, Samples, unpack
from edge_agent.core.status import BAD, BAD_SENSOR_FAILURE, UNCERTAIN_ENGINEERING_UNITS_EXCEEDED
from models.spectra.sensor import DARK, Sensor

OUTPUTS: Final = ("value", "low", "high", "t2", "q", "valid", "why")
"""Derived tags of a sensor: `<name>.<output>`."""
AXIS_TOLERANCE: Final = 1e-6
"""Relative difference by which the axis of a spectrum may differ from that of the calibration."""


OTHER_AXIS, NOT_GOOD = 32, 64
"""Bits of `why` beside those of the sensor: the axis is not that of the calibration; the instrument or a missing point made the spectrum bad."""


class SensorPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One sensor on one stream: its derived tags and the packed arrays of its model file."""

    name: str
    tag: str
    outputs: tuple[str, ...]
    sha256: str
    learned: bytes


class Sensors:
    """All soft sensors of the edge; nothing in here changes from one spectrum to the next."""

    def __init__(self, plans: Sequence[SensorPlan], catalogue: Catalogue) -> None:
        self._sensors = [
            (catalogue.id(p.tag), np.array([catalogue.id(name) for name in p.outputs], np.int32), Sensor(unpack(p.learned))) for p in plans
        ]

    def step(self, block: Block) -> Samples:
        """Values of all sensors on the block's stream, row by row; empty when there is none.

        A spectrum that cannot be judged, or is bad as a whole or in any point, gives a bad value; one that the calibration does not cover an
        uncertain one. Another axis than that of the calibration is no spectrum of this sensor: bad.
        """
        n = len(block)
        status = (block.status if block.status.ndim == 1 else block.status.max(axis=1, initial=0)).astype(np.uint32)
        times, tags, values, statuses = [], [], [], []
        for tag, outputs, sensor in self._sensors:
            if tag != block.tag or n == 0:
                continue
            # Instruments tell their axis upwards or downwards; the points are the same.
            turned = n > 0 and bool(np.sign(block.axis[-1:] - block.axis[:1]) != np.sign(sensor.axis[-1] - sensor.axis[0]))
            axis = block.axis[::-1] if turned else block.axis
            same = axis.shape == sensor.axis.shape and bool(
                np.all(np.abs(axis - sensor.axis) <= AXIS_TOLERANCE * np.maximum(np.abs(sensor.axis), 1.0))
            )
            if same:
                found, why = sensor.judge(block.values[:, ::-1] if turned else block.values)
            else:
                found, why = np.full((n, 6), np.nan), np.full(n, DARK, np.int64)
            dark = ((why & DARK) > 0) | (status >= BAD)
            more = np.where(status >= BAD, NOT_GOOD, 0) | (0 if same else OTHER_AXIS)
            found = np.column_stack([found, why | np.where(dark, DARK, 0) | more])
            found[dark, :5], found[dark, 5] = np.nan, 0.0
            covered = np.where(found[:, 5] == 0.0, np.uint32(UNCERTAIN_ENGINEERING_UNITS_EXCEEDED), status)
            quality = np.where(dark, np.uint32(BAD_SENSOR_FAILURE), covered)
            each = np.repeat(quality.astype(np.uint32)[:, None], len(outputs), axis=1)
            # Whether a spectrum is valid, and why not, is known also of one that is not.
            each[:, 5:] = np.where(dark, np.uint32(0), status)[:, None]
            times.append(np.repeat(block.time_ns, len(outputs)))
            tags.append(np.tile(outputs, n))
            values.append(found.ravel())
            statuses.append(each.ravel())
        if not times:
            return Samples.empty()
        order = np.argsort(np.concatenate([np.repeat(np.arange(n), len(t) // n) for t in tags]), kind="stable")
        time_ns, tag_ids = np.concatenate(times)[order], np.concatenate(tags)[order]
        return Samples(time_ns, tag_ids, np.concatenate(values)[order], np.concatenate(statuses)[order], block.received_ns)
