"""Rotating machines: severity of vibration, the lines of bearings in the spectrum of the envelope, and what they say of the machine's health.

Blocks of ISO 13374: data manipulation (`velocity`, `resampled`, `Envelope`), state detection (`zone`, `line`), health assessment (`Finding`). Fast
Fourier transforms are numpy's, one row at a time: the rows of a batch never meet, so batches may be cut anywhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.compiled import kernel

Float64 = NDArray[np.float64]

LEVELS: Final = 4
"""Bands that are tried: the whole range cut into 2, 4, 8 and 16."""
HOLD: Final = 1.0
"""A band is kept until another has a spectral kurtosis larger by so much; below that the choice jumps."""
LOWEST_HZ: Final = 50.0
SLIP: Final = 0.02
"""Bearing lines are looked for within this share of their frequency."""
LEAST_TURNS: Final = 6.0
"""Turns of the shaft that a waveform must hold for its orders to stand apart: the main lobe of a Hann window is four bins wide."""
CLEAR: Final = 4.0
"""A line this many times above the floor of the spectrum is there."""

ZONES: Final[dict[tuple[int, str], tuple[float, float, float]]] = {
    (1, "rigid"): (2.3, 4.5, 7.1), (1, "flexible"): (3.5, 7.1, 11.0), (2, "rigid"): (1.4, 2.8, 4.5), (2, "flexible"): (2.3, 4.5, 7.1),
}  # fmt: skip
"""ISO 20816-3:2022, velocity rms in mm/s at the boundaries A/B, B/C, C/D by group (1: above 300 kW; 2: 15 to 300 kW) and support."""


@dataclass(frozen=True, slots=True)
class Bearing:
    """Geometry of a rolling bearing whose outer race stands: rolling elements, their diameter and that of the pitch circle (mm), contact angle (deg).

    >>> b = Bearing(9, 7.94, 39.04)
    >>> [round(f, 2) for f in b.frequencies(29.95)]
    [11.93, 107.36, 162.19, 70.58]
    """

    elements: int
    ball_mm: float
    pitch_mm: float
    angle_deg: float = 0.0

    def frequencies(self, shaft_hz: float) -> tuple[float, float, float, float]:
        """Cage, outer race, inner race and ball spin, Hz, at a shaft speed; defects of a ball strike at twice the last."""
        ratio = self.ball_mm / self.pitch_mm * math.cos(math.radians(self.angle_deg))
        outer = self.elements * shaft_hz / 2 * (1 - ratio)
        inner = self.elements * shaft_hz / 2 * (1 + ratio)
        return shaft_hz / 2 * (1 - ratio), outer, inner, shaft_hz * self.pitch_mm / (2 * self.ball_mm) * (1 - ratio**2)


def zone(velocity_mm_s: float, group: int = 2, support: str = "rigid") -> str:
    """Zone A (new), B (fit for long), C (for a limited time), D (damaging) of a velocity, mm/s rms; "" when it is not known.

    >>> [zone(v) for v in (1.3, 1.5, 3.0, 4.6)]
    ['A', 'B', 'C', 'D']
    """
    if not math.isfinite(velocity_mm_s):
        return ""
    return "ABCD"[sum(velocity_mm_s > limit for limit in ZONES[group, support])]


def alarm_limit(baseline_mm_s: float, group: int = 2, support: str = "rigid") -> float:
    """Limit of the first alarm, mm/s: the machine's own baseline and a quarter of B/C, at most 1.25 B/C (ISO 20816-3).

    >>> alarm_limit(1.0), alarm_limit(9.0)
    (1.7, 3.5)
    """
    b_c = ZONES[group, support][1]
    return min(baseline_mm_s + 0.25 * b_c, 1.25 * b_c)


def velocity(wave: NDArray[Any], rate_hz: float, low_hz: float = 10.0, high_hz: float = 1000.0) -> float:
    """Velocity, mm/s rms between two frequencies, of an acceleration in m/s2 (n,): integrated as a spectrum behind a Hann window."""
    n = len(wave)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / n)
    x = np.asarray(wave, np.float64)
    spectrum = np.fft.rfft((x - x.mean()) * hann)
    f = np.arange(len(spectrum)) * rate_hz / n
    use = (f >= low_hz) & (f <= high_hz)
    power = np.abs(spectrum[use]) ** 2 / (2 * np.pi * f[use]) ** 2
    return 1000.0 * math.sqrt(2.0 * float(power.sum()) / (n * float((hann**2).sum())))


def orders(wave: NDArray[Any], rate_hz: float, shaft_hz: float) -> Float64:
    """(3,) velocity, mm/s rms, at one, two and three times the speed of the shaft, of an acceleration in m/s2 (n,).

    Once a turn is unbalance, twice misalignment, three times looseness. The largest peak within the slip of each order counts, with all of the main
    lobe of its Hann window: so it does not matter where between two bins it stands. NaN where the waveform holds fewer than `LEAST_TURNS` turns, or
    its spectrum ends before.

    >>> t = np.arange(8192) / 8192
    >>> wave = 2 * np.pi * 24.7 * 1e-3 * np.sqrt(2) * np.sin(2 * np.pi * 24.7 * t)  # 1 mm/s rms
    >>> orders(wave, 8192.0, 24.5).round(2).tolist()
    [1.0, 0.0, 0.0]
    """
    n = len(wave)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / n)
    x = np.asarray(wave, np.float64)
    power = np.abs(np.fft.rfft((x - x.mean()) * hann)) ** 2
    turns = shaft_hz * n / rate_hz
    found = np.full(3, np.nan)
    for i in range(3 if turns >= LEAST_TURNS else 0):
        first, last = math.floor((i + 1) * turns * (1 - SLIP)), math.ceil((i + 1) * turns * (1 + SLIP))
        if last + 2 >= len(power):
            break
        peak = first + int(np.argmax(power[first : last + 1]))
        bins = np.arange(peak - 2, peak + 3)
        speed = power[bins] / (2 * np.pi * bins * rate_hz / n) ** 2
        found[i] = 1000.0 * math.sqrt(2.0 * float(speed.sum()) / (n * float((hann**2).sum())))
    return found


@kernel("void(float64[::1], float64[::1], float64, float64[::1])")
def at_angles(wave: Any, turns: Any, per_turn: Any, out: Any) -> None:
    """The wave (n,) at equal angles: out (m,) at turns 0, 1/per_turn, ...; turns (n,) of the shaft at each point, rising. Cubic (Catmull-Rom)."""
    n = len(wave)
    j = 0
    for i in range(len(out)):
        place = turns[0] + i / per_turn
        while j < n - 2 and turns[j + 1] < place:
            j += 1
        t = (place - turns[j]) / (turns[j + 1] - turns[j])
        a = wave[max(j - 1, 0)]
        b, c = wave[j], wave[j + 1]
        d = wave[min(j + 2, n - 1)]
        out[i] = b + 0.5 * t * (c - a + t * (2.0 * a - 5.0 * b + 4.0 * c - d + t * (3.0 * (b - c) + d - a)))


def resampled(wave: NDArray[Any], rate_hz: float, shaft_hz: NDArray[Any]) -> tuple[Float64, float]:
    """The wave at equal angles of a shaft of varying speed (n,) Hz, and points per turn: frequencies are orders. ValueError for a shaft at rest."""
    speed = np.asarray(shaft_hz, np.float64)
    if not (np.isfinite(speed).all() and speed.min() > 0.0):
        raise ValueError("order tracking: expected a shaft that turns, found speeds of 0 or below or unknown ones")
    turns = np.concatenate([[0.0], np.cumsum((speed[1:] + speed[:-1]) / 2) / rate_hz])
    per_turn = rate_hz / float(speed.max())
    out = np.empty(math.floor(turns[-1] * per_turn) + 1)
    at_angles(np.ascontiguousarray(wave, np.float64), turns, per_turn, out)
    return out, per_turn


@dataclass(frozen=True, slots=True)
class Band:
    """A part of the spectrum: `index` of 2^level equal ones, and the spectral kurtosis that chose it (0 for noise)."""

    level: int
    index: int
    kurtosis: float

    def limits(self, rate_hz: float) -> tuple[float, float]:
        """From and to, Hz."""
        width = rate_hz / 2 / 2**self.level
        return self.index * width, (self.index + 1) * width


class Envelope:
    """Envelopes of waveforms of one length: spectra are made once, bands are cut out of them."""

    def __init__(self, points: int, rate_hz: float) -> None:
        self.points, self.rate_hz = points, rate_hz

    def spectrum(self, wave: NDArray[Any]) -> NDArray[np.complex128]:
        """(points // 2,) one side of the spectrum without what is below 50 Hz."""
        s = np.fft.rfft(np.asarray(wave, np.float64))[: self.points // 2]
        s[: math.ceil(LOWEST_HZ * self.points / self.rate_hz)] = 0.0
        out: NDArray[np.complex128] = s
        return out

    def _square(self, spectrum: NDArray[np.complex128], level: int, index: int) -> Float64:
        """Squared envelope of a band at the rate the band needs: bins of the band alone, shifted to zero."""
        width = len(spectrum) >> level
        a = np.fft.ifft(spectrum[index * width : (index + 1) * width]) * (2.0 * width / self.points)
        out: Float64 = a.real**2 + a.imag**2
        return out

    def kurtoses(self, spectrum: NDArray[np.complex128]) -> Float64:
        """(2 + 4 + 8 + 16,) spectral kurtosis of every band (Antoni 2006): mean |a|^4 / (mean |a|^2)^2 - 2."""
        out = []
        for level in range(1, LEVELS + 1):
            for index in range(2**level):
                square = self._square(spectrum, level, index)
                power = float(square.mean())
                out.append(float((square**2).mean()) / power**2 - 2.0 if power > 0.0 else 0.0)
        return np.array(out)

    def choose(self, kurtoses: NDArray[Any], held: Band | None = None) -> Band:
        """The band with the largest median kurtosis of some spectra (m, 30); the one that is held unless another is better by 1."""
        middle = np.median(np.atleast_2d(kurtoses), axis=0)
        best = int(np.argmax(middle))
        if held is not None:
            now = float(middle[2**held.level - 2 + held.index])
            if middle[best] < now + HOLD:
                return Band(held.level, held.index, now)
        level = int(math.log2(best + 2))
        return Band(level, best + 2 - 2**level, float(middle[best]))

    def lines(self, spectrum: NDArray[np.complex128], band: Band) -> tuple[Float64, float]:
        """Amplitude spectrum of the squared envelope in a band, and the distance of its bins, Hz."""
        square = self._square(spectrum, band.level, band.index)
        n = len(square)
        return np.abs(np.fft.rfft(square - square.mean())) * 2.0 / n, self.rate_hz / self.points


@kernel("float64(float64[::1], float64, float64, int64, float64)")
def line(amplitude: Any, bin_hz: Any, hz: Any, harmonics: Any, slip: Any) -> float:
    """How far a line and its harmonics stand above the floor: mean of the largest amplitudes within +-slip over the median of the spectrum around.

    The floor of a harmonic is the median of the bins within half its frequency, at most 200 of them; harmonics beyond the spectrum are not counted.
    """
    n = len(amplitude)
    total, count = 0.0, 0
    near = np.empty(401)
    for h in range(1, harmonics + 1):
        centre = h * hz / bin_hz
        first = max(1, int(np.floor(centre * (1.0 - slip))))
        last = int(np.ceil(centre * (1.0 + slip)))
        if last >= n:
            break
        most = 0.0
        for i in range(first, last + 1):
            most = max(most, amplitude[i])
        reach = min(200, max(3, int(0.5 * hz / bin_hz)))
        begin, end = max(1, int(centre) - reach), min(n, int(centre) + reach + 1)
        for i in range(begin, end):  # sorted as they come: a library's sort needs more of numba's runtime than loops compiled ahead have
            at = i - begin
            while at > 0 and near[at - 1] > amplitude[i]:
                near[at] = near[at - 1]
                at -= 1
            near[at] = amplitude[i]
        floor = near[(end - begin) // 2]
        if floor > 0.0:
            total += most / floor
            count += 1
    return total / count if count > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Finding:
    """What the envelope says: `part` is outer race, inner race, ball, cage or "" for none; strength over the floor; band that was looked at."""

    part: str
    strength: float
    lines: dict[str, float]
    band: Band


PARTS: Final = ("cage", "outer race", "inner race", "ball")


def diagnose(waves: NDArray[Any], rate_hz: float, shaft_hz: float, bearing: Bearing, held: Band | None = None) -> Finding:
    """The bearing line that stands out of the envelope spectra of waveforms (m, n) of constant speed; n / rate_hz seconds resolve their inverse."""
    envelope = Envelope(waves.shape[1], rate_hz)
    spectra = [envelope.spectrum(w) for w in waves]
    band = envelope.choose(np.stack([envelope.kurtoses(s) for s in spectra]), held)
    parts = [envelope.lines(s, band) for s in spectra]
    amplitude = parts[0][0].copy()
    for other, _ in parts[1:]:
        amplitude += other
    amplitude /= len(parts)
    cage, outer, inner, spin = bearing.frequencies(shaft_hz)
    found = {
        part: float(line(amplitude, parts[0][1], hz, 3, SLIP))
        for part, hz in zip(PARTS, (cage, outer, inner, 2 * spin), strict=True)
    }  # fmt: skip
    part = max(found, key=lambda p: found[p])
    return Finding(part if found[part] >= CLEAR else "", found[part], found, band)


def health(distance: float, healthy: float, failed: float) -> float:
    """Health index from 1 (as when new) to 0 (as when it failed) of any distance from the healthy state.

    >>> health(2.0, 2.0, 10.0), health(6.0, 2.0, 10.0), health(99.0, 2.0, 10.0)
    (1.0, 0.5, 0.0)
    """
    return 1.0 - min(max((distance - healthy) / (failed - healthy), 0.0), 1.0)
