"""A near-infrared spectrometer at the feed frame of a blend, with the content that it sees known to the last digit.

256 points, 1100 to 2100 nm: a(lam) = (1 + b) sum_c x_c s_c(lam) + offset + tilt + noise; s_c are sums of Gaussians; scatter b, offset and tilt are
new with every spectrum. Pure and seeded; time is passed in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from simulators.sensor import stream
from simulators.signals import Truth

Float64 = NDArray[np.float64]

POINTS: Final = 256
AXIS: Final[Float64] = np.linspace(1100.0, 2100.0, POINTS)
PERIOD_S: Final = 2.0
INTEGRATION_S: Final = 0.05
SCANS: Final = 32
UNIT: Final = "nir1"
NOISE_AU: Final = 3e-4
DETECTOR_AU: Final = 3.0
"""Absorbance above which the detector sees no light."""
GOOD, BAD, PARTIAL = 1, 2, 4
"""AcquisitionResultStatus of ADI (OPC 10020)."""
_PEAKS: Final = {
    # centre nm, width nm, height: the drug has narrow bands, the excipients broad ones, water its two.
    "api": ((1142, 14, 0.35), (1370, 18, 0.30), (1668, 16, 0.85), (1705, 12, 0.50), (2030, 22, 0.60)),
    "lactose": ((1210, 40, 0.25), (1450, 60, 0.40), (1535, 30, 0.55), (1780, 50, 0.35), (2095, 45, 0.90)),
    "cellulose": ((1215, 55, 0.20), (1490, 75, 0.55), (1590, 60, 0.30), (1825, 60, 0.30), (2020, 70, 0.40)),
    "water": ((1450, 45, 1.6), (1940, 40, 3.2)),
}
PURE: Final[Float64] = np.array([sum(h * np.exp(-0.5 * ((AXIS - c) / w) ** 2) for c, w, h in peaks) for peaks in _PEAKS.values()])
"""(4, POINTS) absorbance of a share of 1 of each of api, lactose, cellulose, water."""
_LABEL: Final = 0.20
"""Share of drug in the blend at 100 % of the label claim."""


@dataclass(frozen=True)
class FaultKind:
    """What can happen to a spectrometer."""

    name: str
    what: str
    rise_s: float
    """Seconds from the onset to the full effect."""
    lasts_s: float
    detect_within_s: float
    tags: tuple[str, ...]
    """Tags that move: outputs of the soft sensor `api`, without the unit."""


_JUDGED: Final = ("api.valid", "api.why", "api.q", "api.t2", "api.value")
KINDS: Final[dict[str, FaultKind]] = {
    k.name: k
    for k in (
        FaultKind("probe_fouling", "material sticks to the window: a growing layer is seen with every spectrum", 40.0, 60.0, 40.0, _JUDGED),
        FaultKind("lamp_ageing", "the lamp has lost light since the background was taken: noise and baseline grow", 40.0, 60.0, 40.0, _JUDGED),
        FaultKind("saturation", "too much material before the probe: the detector sees no light in the strong bands", 0.0, 10.0, 6.0, _JUDGED),
        FaultKind("air_bubble", "no material before the window: the spectrum is that of almost nothing", 0.0, 6.0, 6.0, _JUDGED),
        FaultKind("acquisition_failure", "the instrument says itself that its scans are not complete", 0.0, 6.0, 6.0, _JUDGED),
    )
}


@dataclass(frozen=True)
class SpectrometerFault:
    """One fault to happen; seconds since the start."""

    name: str
    onset_s: float
    lasts_s: float

    def effect(self, t_s: float) -> float:
        """0 outside, a ramp to 1 inside; it ends at once: a person cleans the window.

        >>> [SpectrometerFault("probe_fouling", 10.0, 60.0).effect(t) for t in (9.0, 30.0, 60.0, 71.0)]
        [0.0, 0.5, 1.0, 0.0]
        """
        since = t_s - self.onset_s
        if not 0.0 <= since <= self.lasts_s:
            return 0.0
        rise = KINDS[self.name].rise_s
        return 1.0 if rise == 0.0 else min(1.0, since / rise)


def spectrometer_fault(text: str) -> SpectrometerFault:
    """`NAME@SECONDS` of the command line.

    >>> spectrometer_fault("air_bubble@30").lasts_s
    6.0
    """
    name, at, when = text.partition("@")
    if name not in KINDS:
        raise ValueError(f"--fault: expected one of {', '.join(sorted(KINDS))}, found {name!r}")
    try:
        onset = float(when.removesuffix("s")) if at else math.nan
    except ValueError:
        onset = math.nan
    if not (math.isfinite(onset) and onset >= 0.0):
        raise ValueError(f"--fault {name}@: expected seconds since the start, found {when!r}")
    return SpectrometerFault(name, onset, KINDS[name].lasts_s)


@dataclass(frozen=True)
class Spectrum:
    """One acquisition and the truth behind it.

    time_ns  since the start; values (POINTS,) absorbance; status  GOOD, BAD or PARTIAL
    api      true content, % of the label claim; moisture  % w/w
    faults   names of what was wrong with it
    """

    counter: int
    time_ns: int
    values: Float64
    status: int
    api: float
    moisture: float
    faults: tuple[str, ...] = ()


class Spectrometer:
    """One instrument; `step` yields what it has measured since the last one."""

    def __init__(self, seed: int, faults: Sequence[SpectrometerFault] = ()) -> None:
        self._rng = stream(seed, "spectrometer")
        self._faults = tuple(faults)
        self._counter = 0
        self._api, self._moisture = 100.0, 3.0
        self._now_s = 0.0
        self.background: Float64 = 1.0 + 0.05 * np.sin(AXIS / 90.0)
        """(POINTS,) light of the reference tile, taken before the start."""

    def step(self, until_ns: int) -> list[Spectrum]:
        """All acquisitions that end not later than a time (ns since the start)."""
        found: list[Spectrum] = []
        while (self._counter + 1) * PERIOD_S * 1e9 <= until_ns:
            self._counter += 1
            found.append(self._acquire(self._counter * PERIOD_S))
        self._now_s = until_ns / 1e9
        return found

    def truth(self) -> tuple[Truth, ...]:
        """Faults that have begun so far."""
        return tuple(
            Truth(f.name, f.onset_s, f.onset_s + f.lasts_s, tuple(f"{UNIT}/{t}" for t in KINDS[f.name].tags), KINDS[f.name].detect_within_s)
            for f in self._faults
            if f.onset_s <= self._now_s
        )

    def _acquire(self, t_s: float) -> Spectrum:
        rng = self._rng
        # Ornstein-Uhlenbeck: the blend wanders by 1.5 % of the label claim within minutes.
        keep = math.exp(-PERIOD_S / 40.0)
        self._api = 100.0 + keep * (self._api - 100.0) + 1.5 * math.sqrt(1.0 - keep**2) * rng.standard_normal()
        self._moisture = 3.0 + keep * (self._moisture - 3.0) + 0.1 * math.sqrt(1.0 - keep**2) * rng.standard_normal()
        values = measured(self._api, self._moisture, 0.5 + 0.01 * rng.standard_normal(), rng)
        status = GOOD
        faults = []
        for fault in self._faults:
            effect = fault.effect(t_s)
            if effect <= 0.0:
                continue
            faults.append(fault.name)
            if fault.name == "probe_fouling":
                values = values + effect * (0.15 + 0.25 * np.exp(-0.5 * ((AXIS - 1560.0) / 120.0) ** 2))
            elif fault.name == "lamp_ageing":
                values = values + effect * (0.08 + 0.10 * (2100.0 - AXIS) / 1000.0) + 40.0 * effect * NOISE_AU * rng.standard_normal(POINTS)
            elif fault.name == "saturation":
                values = np.minimum(values * 6.0, DETECTOR_AU) + 1e-3 * rng.standard_normal(POINTS) * (values * 6.0 < DETECTOR_AU)
            elif fault.name == "air_bubble":
                values = 0.02 + 0.04 * values + 5.0 * NOISE_AU * rng.standard_normal(POINTS)
            else:
                status = PARTIAL
        return Spectrum(self._counter, round(t_s * 1e9), values, status, self._api, self._moisture, tuple(faults))


def measured(api: float, moisture: float, lactose: float, rng: np.random.Generator) -> Float64:
    """One spectrum (POINTS,) of a blend: drug in % of the label claim, moisture in % w/w, lactose as its share of the excipients."""
    drug, water = _LABEL * api / 100.0, moisture / 100.0
    rest = 1.0 - drug - water
    shares = np.array([drug, rest * lactose, rest * (1.0 - lactose), water])
    path = 1.0 + 0.03 * rng.standard_normal()
    offset, tilt = 0.02 * rng.standard_normal(), 0.005 * rng.standard_normal()
    clean = 0.25 + path * (shares @ PURE) + offset + tilt * (AXIS - 1600.0) / 500.0
    noisy: Float64 = clean + NOISE_AU * rng.standard_normal(POINTS)
    return noisy


def calibration_samples(n: int, seed: int) -> tuple[Float64, Float64]:
    """Spectra (n, POINTS) of prepared blends from 85 to 115 % of the label claim, and the laboratory's results (n,), each 0.2 % uncertain."""
    rng = stream(seed, "calibration")
    api = rng.uniform(85.0, 115.0, n)
    X = np.array([measured(a, rng.uniform(2.0, 4.0), rng.uniform(0.45, 0.55), rng) for a in api])
    return X, api + 0.2 * rng.standard_normal(n)


def calibration_csv(n: int, seed: int) -> str:
    """The table that `edge-agent model train` reads: column `api`, and one for each wavelength."""
    X, y = calibration_samples(n, seed)
    head = "api," + ",".join(f"{x:.10g}" for x in AXIS)
    return "\n".join([head, *(f"{v:.4f}," + ",".join(f"{a:.6f}" for a in row) for v, row in zip(y, X, strict=True))]) + "\n"
