"""Rotating machines: blocks of vibration in, values of derived tags out; a waveform that is not to be trusted gives no good value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

from edge_agent.core import Block, Catalogue, Samples
from edge_agent.core.status import BAD, BAD_SENSOR_FAILURE
from models.prognosis.rotating import PARTS, SLIP, Bearing, Envelope, line, velocity, zone
from models.prognosis.waveform import features

UNITS: Final = {
    "velocity": "mm/s", "zone": "", "rms": "m/s2", "peak": "m/s2", "crest": "", "kurtosis": "", "level": "m/s2",
    "cage": "", "outer": "", "inner": "", "ball": "", "fault": "",
}  # fmt: skip
OUTPUTS: Final = tuple(UNITS)
"""Derived tags of a machine: `<name>.<output>`. zone 1 to 4 for A to D; cage to ball: how far the line stands above the floor."""
OF_BEARING: Final = frozenset({"cage", "outer", "inner", "ball"})
"""Those that only a machine of known bearing has."""
NO_WAVEFORM: Final = 8
"""Bit of `fault` beside those of `models.prognosis.waveform`: the block's axis is no even time, or its unit no acceleration."""
LEAST_POINTS: Final = 256
_EVEN: Final = 1e-3
_SECONDS: Final = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
_ACCELERATION: Final = {"m/s2": 1.0, "m/s²": 1.0, "g": 9.80665}


class MachinePlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One machine on one stream of acceleration; bearing is elements, ball and pitch diameter (mm), contact angle (deg), or absent."""

    name: str
    tag: str
    outputs: tuple[str, ...]
    speed_rpm: float
    bearing: tuple[int, float, float, float] | None = None
    group: int = 2
    support: str = "rigid"
    full_scale: float = 0.0


def rate_of(block: Block) -> float:
    """Points a second of a block of waveforms, NaN when its axis is no even time of 256 points or more."""
    axis, scale = block.axis, _SECONDS.get(block.axis_unit, np.nan)
    if len(axis) < LEAST_POINTS:
        return float("nan")
    step = float(axis[-1] - axis[0]) / (len(axis) - 1)
    even = step > 0 and bool(np.all(np.abs(np.diff(axis) - step) <= _EVEN * step))
    return 1.0 / (step * scale) if even else float("nan")


class Machines:
    """All machines of the edge; nothing in here changes from one waveform to the next."""

    def __init__(self, plans: Sequence[MachinePlan], catalogue: Catalogue) -> None:
        self._machines = [(catalogue.id(p.tag), np.array([catalogue.id(name) for name in p.outputs], np.int32), p) for p in plans]

    def step(self, block: Block) -> list[Samples]:
        """Values of each machine on the block's stream, waveform by waveform."""
        return [self._one(block, outputs, plan) for tag, outputs, plan in self._machines if tag == block.tag and len(block)]

    def _one(self, block: Block, outputs: np.ndarray[tuple[int], np.dtype[np.int32]], plan: MachinePlan) -> Samples:
        n = len(block)
        status = (block.status if block.status.ndim == 1 else block.status.max(axis=1, initial=0)).astype(np.uint32)
        rate, scale = rate_of(block), _ACCELERATION.get(block.unit, np.nan)
        found = np.full((n, len(OUTPUTS)), np.nan)
        found[:, -1] = NO_WAVEFORM
        if np.isfinite(rate) and np.isfinite(scale):
            waves = block.values * scale
            shape = features(waves, plan.full_scale * scale)
            found[:, 2:7] = np.column_stack([shape.rms, shape.peak, shape.crest, shape.kurtosis, shape.level])
            found[:, -1] = shape.fault
            envelope = Envelope(waves.shape[1], rate)
            for i in np.flatnonzero((shape.fault == 0) & (status < BAD)):
                found[i, 0] = velocity(waves[i], rate)
                found[i, 1] = "ABCD".index(zone(found[i, 0], plan.group, plan.support)) + 1
                if plan.bearing is not None:
                    spectrum = envelope.spectrum(waves[i])
                    amplitude, bin_hz = envelope.lines(spectrum, envelope.choose(envelope.kurtoses(spectrum)))
                    cage, outer, inner, spin = Bearing(*plan.bearing).frequencies(plan.speed_rpm / 60.0)
                    found[i, 7 : 7 + len(PARTS)] = [line(amplitude, bin_hz, hz, 3, SLIP) for hz in (cage, outer, inner, 2 * spin)]
        dark = (found[:, -1] > 0) | (status >= BAD)
        found[dark, :-1] = np.nan
        kept = np.array([plan.bearing is not None or name not in OF_BEARING for name in OUTPUTS])
        found = np.ascontiguousarray(found[:, kept])
        each = np.repeat(np.where(dark, np.uint32(BAD_SENSOR_FAILURE), status).astype(np.uint32)[:, None], len(outputs), axis=1)
        each[:, -1] = np.where(dark, np.uint32(0), status)  # why a waveform is not trusted is known
        each[np.isnan(found) & (each < BAD)] = BAD_SENSOR_FAILURE
        times, tags = np.repeat(block.time_ns, len(outputs)), np.tile(outputs, n)
        return Samples(times, tags, found.ravel(), each.ravel(), block.received_ns)
