"""Rotating machines: blocks of vibration in, values of derived tags out; a waveform that is not to be trusted gives no good value.

The speed of a machine with a `speed_tag` is what that tag said during the waveform. Where it varied by more than 1 % the waveform is read at equal
angles of the shaft before the envelope is looked at (order tracking): lines of a bearing then stand at their orders whatever the shaft did.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from edge_agent.core import Block, Catalogue, Samples
from edge_agent.core.status import BAD, BAD_SENSOR_FAILURE
from models.prognosis.rotating import PARTS, SLIP, Bearing, Envelope, line, orders, resampled, velocity, zone
from models.prognosis.waveform import features

Wave = np.ndarray[Any, np.dtype[np.float64]]

UNITS: Final = {
    "velocity": "mm/s", "zone": "", "rms": "m/s2", "peak": "m/s2", "crest": "", "kurtosis": "", "level": "m/s2",
    "order1": "mm/s", "order2": "mm/s", "order3": "mm/s",
    "cage": "", "outer": "", "inner": "", "ball": "", "cage_hz": "Hz", "outer_hz": "Hz", "inner_hz": "Hz", "ball_hz": "Hz", "fault": "",
}  # fmt: skip
OUTPUTS: Final = tuple(UNITS)
"""Derived tags of a machine: `<name>.<output>`. zone 1 to 4 for A to D; order1 to order3: at that many times the speed of the shaft; cage to
ball: how far a line stands above the floor."""
OF_BEARING: Final = frozenset({"cage", "outer", "inner", "ball", "cage_hz", "outer_hz", "inner_hz", "ball_hz"})
"""Those that only a machine of known bearing has."""
NO_WAVEFORM: Final = 8
"""Bit of `fault` beside those of `models.prognosis.waveform`: the block's axis is no even time, or its unit no acceleration."""
NO_SPEED: Final = 16
"""Bit of `fault`: the speed tag said nothing good within `SPEED_HOLD_NS` of the waveform, or that the shaft rests; orders and lines are
missing then."""
SPEED_HOLD_NS: Final = 60_000_000_000
SPEEDS: Final = 64
"""Values of a speed that are remembered."""
VARIES: Final = 0.01
"""Share by which a speed may vary over a waveform before it is read at equal angles."""
LEAST_POINTS: Final = 256
CHOSEN_OVER: Final = 5
"""Waveforms over whose median spectral kurtosis the band of the envelope is chosen: that of a single one jumps while a fault is small."""
SLOW_RPM: Final = 600.0
"""At this speed and below severity counts from 2 Hz instead of 10 Hz (ISO 20816-3)."""
ENVELOPE: Final = "envelope"
"""Stream of envelope spectra of a machine of known bearing: `<name>.envelope`, up to the third line of the inner race."""
ENVELOPE_POINTS: Final = 2048
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
    speed_tag: str = ""
    envelope: str = ""


class Turning(NamedTuple):
    """A waveform (n,) at even time or at equal angles of the shaft: points a second or a turn, speed of the shaft in Hz or 1, what 1 is in Hz."""

    wave: Wave
    rate: float
    shaft: float
    hz: float


class _Speed:
    """The last good values of one speed tag in the order of their times: (SPEEDS,) ns and Hz."""

    def __init__(self) -> None:
        self.time_ns, self.hz, self.n = np.zeros(SPEEDS, np.int64), np.zeros(SPEEDS), np.zeros(1, np.int64)

    def heard(self, time_ns: np.ndarray[Any, np.dtype[np.int64]], rpm: np.ndarray[Any, np.dtype[np.float64]]) -> None:
        """Values in order; one that is older than the newest is passed over."""
        for t, v in zip(time_ns[-SPEEDS:].tolist(), rpm[-SPEEDS:].tolist(), strict=True):
            n = int(self.n[0])
            if n and t <= self.time_ns[n - 1]:
                continue
            if n == SPEEDS:
                self.time_ns[:-1], self.hz[:-1] = self.time_ns[1:].copy(), self.hz[1:].copy()
                n -= 1
            self.time_ns[n], self.hz[n], self.n[0] = t, v / 60.0, n + 1

    def over(self, begin_ns: int, points: int, rate: float) -> np.ndarray[Any, np.dtype[np.float64]] | None:
        """Hz at each point of a waveform, between values in a straight line; None when nothing good was said near it or the shaft rests."""
        n = int(self.n[0])
        end_ns = begin_ns + round(points / rate * 1e9)
        if not n or begin_ns - self.time_ns[n - 1] > SPEED_HOLD_NS or self.time_ns[0] - end_ns > SPEED_HOLD_NS:
            return None
        seconds = (self.time_ns[:n] - begin_ns) / 1e9
        hz: np.ndarray[Any, np.dtype[np.float64]] = np.interp(np.arange(points) / rate, seconds, self.hz[:n])
        return hz if float(hz.min()) > 0.0 else None


def rate_of(block: Block) -> float:
    """Points a second of a block of waveforms, NaN when its axis is no even time of 256 points or more."""
    axis, scale = block.axis, _SECONDS.get(block.axis_unit, np.nan)
    if len(axis) < LEAST_POINTS:
        return float("nan")
    step = float(axis[-1] - axis[0]) / (len(axis) - 1)
    even = step > 0 and bool(np.all(np.abs(np.diff(axis) - step) <= _EVEN * step))
    return 1.0 / (step * scale) if even else float("nan")


class Machines:
    """All machines of the edge; what lasts from one waveform to the next are speeds and the spectral kurtosis of the last waveforms."""

    def __init__(self, plans: Sequence[MachinePlan], catalogue: Catalogue) -> None:
        self._envelopes = {p.name: catalogue.id(p.envelope) for p in plans if p.envelope}
        self._speeds = {p.speed_tag: _Speed() for p in plans if p.speed_tag}
        self._speed_ids = {catalogue.id(name): speed for name, speed in self._speeds.items()}
        self._kurtoses: dict[str, list[np.ndarray[Any, np.dtype[np.float64]]]] = {p.name: [] for p in plans if p.bearing is not None}
        self._machines = [(catalogue.id(p.tag), np.array([catalogue.id(name) for name in p.outputs], np.int32), p) for p in plans]

    def heard(self, rows: Samples, usable: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
        """Remember the usable values of the speed tags among some rows."""
        for tag, speed in self._speed_ids.items():
            mine = (rows.tag == tag) & (usable == 1) & np.isfinite(rows.value)
            if mine.any():
                speed.heard(rows.time_ns[mine], rows.value[mine])

    def state(self) -> dict[str, Any]:
        """Speeds by tag; under the name of no tag what machines remember, by machine."""
        speeds: dict[str, Any] = {name: {"time_ns": s.time_ns.copy(), "hz": s.hz.copy(), "n": s.n.copy()} for name, s in self._speeds.items()}
        return speeds | {"": {name: np.stack(rows) for name, rows in self._kurtoses.items() if rows}}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state; a speed that is new is not known yet."""
        for name, speed in self._speeds.items():
            if name in state:
                speed.time_ns[:], speed.hz[:], speed.n[:] = (state[name][k] for k in ("time_ns", "hz", "n"))
        kept = state.get("", {})  # a checkpoint of an earlier version has none
        for name in self._kurtoses:
            self._kurtoses[name] = [np.array(row) for row in kept.get(name, ())]

    def step(self, block: Block) -> tuple[list[Samples], list[Block]]:
        """Values and envelope spectra of each machine on the block's stream, waveform by waveform."""
        spectra: list[Block] = []
        mine = [m for m in self._machines if m[0] == block.tag and len(block)]
        return [self._one(block, outputs, plan, spectra) for _, outputs, plan in mine], spectra

    def _turning(self, wave: Wave, rate: float, begin_ns: int, plan: MachinePlan) -> Turning | None:
        """The waveform as its lines stand still in it; None where the speed is not known, or the shaft nearly stood."""
        shaft = plan.speed_rpm / 60.0
        if plan.speed_tag:
            over = self._speeds[plan.speed_tag].over(begin_ns, len(wave), rate)
            if over is None:
                return None
            shaft = float(over.mean())
            if float(over.max() - over.min()) > VARIES * shaft:
                # Points per turn of the shaft: what were Hz are orders now, and the shaft turns once.
                wave, rate = resampled(wave, rate, over)
                return Turning(wave, rate, 1.0, shaft) if len(wave) >= LEAST_POINTS else None  # else too few turns to see anything
        return Turning(wave, rate, shaft, 1.0)

    def _lines(self, seen: Turning, plan: MachinePlan, envelope: Envelope) -> tuple[list[float], Wave, float]:
        """How far the lines of cage, outer race, inner race and balls stand above the floor and at how many Hz; the spectrum of the envelope and its
        bins, Hz."""
        assert plan.bearing is not None
        if envelope.points != len(seen.wave) or envelope.rate_hz != seen.rate:
            envelope = Envelope(len(seen.wave), seen.rate)
        spectrum = envelope.spectrum(seen.wave)
        last = self._kurtoses[plan.name]
        last.append(envelope.kurtoses(spectrum))
        del last[:-CHOSEN_OVER]
        cage, outer, inner, spin = Bearing(*plan.bearing).frequencies(seen.shaft)
        places = (cage, outer, inner, 2 * spin)
        # Its own band as well: a large fault waits for no median. The one counts in which a line stands higher.
        bands = {(b.level, b.index): b for b in (envelope.choose(np.stack(last)), envelope.choose(last[-1]))}
        looked = [envelope.lines(spectrum, band) for band in bands.values()]
        found = [[float(line(a, b, hz, 3, SLIP)) for hz in places] for a, b in looked]
        best = max(range(len(found)), key=lambda i: max(found[i]))
        strengths, (amplitude, bin_hz) = found[best], looked[best]
        kept = min(len(amplitude), ENVELOPE_POINTS, int(3.3 * inner / bin_hz) + 1)
        return [*strengths, *(seen.hz * hz for hz in places)], amplitude[:kept], seen.hz * bin_hz

    def _envelope(self, plan: MachinePlan, block: Block, i: int, amplitude: Wave, bin_hz: float, status: int) -> Block:
        """One spectrum of the squared envelope as a block of its own stream."""
        return Block(
            self._envelopes[plan.name], block.time_ns[i : i + 1].copy(), np.ascontiguousarray(amplitude[None]), np.array([status], np.uint32),
            (np.arange(len(amplitude)) * bin_hz).astype(np.float64), "Hz", "(m/s2)2", block.received_ns,
        )  # fmt: skip

    def _one(
        self, block: Block, outputs: np.ndarray[tuple[int], np.dtype[np.int32]], plan: MachinePlan, spectra: list[Block]
    ) -> Samples:
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
            for i in np.flatnonzero((shape.fault == 0) & (status < BAD)).tolist():
                found[i, 0] = velocity(waves[i], rate, 2.0 if plan.speed_rpm <= SLOW_RPM else 10.0)
                found[i, 1] = "ABCD".index(zone(found[i, 0], plan.group, plan.support)) + 1
                turning = self._turning(waves[i], rate, int(block.time_ns[i]), plan)
                if turning is None:
                    found[i, -1] = NO_SPEED
                    continue
                found[i, 7:10] = orders(turning.wave, turning.rate, turning.shaft) / turning.hz
                if plan.bearing is not None:
                    lines, amplitude, bin_hz = self._lines(turning, plan, envelope)
                    found[i, 10 : 10 + 2 * len(PARTS)] = lines
                    if plan.envelope:
                        spectra.append(self._envelope(plan, block, i, amplitude, bin_hz, int(status[i])))
        dark = ((found[:, -1] > 0) & (found[:, -1] != NO_SPEED)) | (status >= BAD)
        found[dark, :-1] = np.nan
        kept = np.array([plan.bearing is not None or name not in OF_BEARING for name in OUTPUTS])
        found = np.ascontiguousarray(found[:, kept])
        each = np.repeat(np.where(dark, np.uint32(BAD_SENSOR_FAILURE), status).astype(np.uint32)[:, None], len(outputs), axis=1)
        each[:, -1] = np.where(dark, np.uint32(0), status)  # why a waveform is not trusted is known
        each[np.isnan(found) & (each < BAD)] = BAD_SENSOR_FAILURE
        times, tags = np.repeat(block.time_ns, len(outputs)), np.tile(outputs, n)
        return Samples(times, tags, found.ravel(), each.ravel(), block.received_ns)
