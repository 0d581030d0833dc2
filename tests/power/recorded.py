"""Trials of process records and of what says how long a machine still runs."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import numpy as np

from models.prognosis.remaining import Settings, train
from models.prognosis.running import Running, packed
from models.prognosis.stored import arrays_of, settings_json
from models.records.sterilisation import boiling
from tests.models.prognosis.fleet import fleet, unit
from tests.power.streams import Rng, noise
from tests.power.trial import MODEL, Array, Flags, Trial, bank, group, times

COLD: Final[dict[str, Any]] = {"allowed_min": 60.0}
STEAM: Final[dict[str, Any]] = {"probes": ["a", "b", "c"], "pressure": "p"}
METER: Final[dict[str, Any]] = {"counter": "m", "base_kwh": 100.0}
SHIFT: Final[dict[str, Any]] = {"state": "s"}
FILTER: Final[dict[str, Any]] = {"healthy": 0.5, "limit": 1.5}
COLUMNS: Final = {"settings": ["altitude", "mach", "throttle"], "sensors": ["s1", "s2", "s3", "s4", "s5"]}
INPUTS: Final = {c: c for cs in COLUMNS.values() for c in cs}


def store(rng: Rng, phi: float, size: float) -> tuple[Array, int]:
    """A cold store, each minute: 5 degC with a defrosting of 10 min every four hours; a door that stays open for an hour, `size` K more."""
    at = 1800
    x = 5.0 + 0.4 * noise(rng, 2880, phi)
    x[np.arange(len(x)) % 240 < 10] += 2.0
    rows = np.arange(len(x) - at)
    x[at:] += size * np.where(rows < 60, 1 - np.exp(-rows / 10), np.exp(-(rows - 60) / 10))
    return x, at


def warm(rng: Rng, phi: float, size: float) -> tuple[Array, int]:
    """The same store after its controller has lost its setpoint: `size` K more from then on."""
    x, at = store(rng, phi, 0.0)
    x[at:] += size
    return x, at


def steam(rng: Rng, phi: float, size: float) -> tuple[Array, int]:
    """A cycle every 5 s: heating for 20 min, 15.5 min at 122 degC, cooling; one probe stays `size` K behind in the exposure. The pressure in bar."""
    up, hold = np.linspace(20, 122.0, 240), np.full(186, 122.0)
    at = len(up)
    plan = np.concatenate([up, hold, np.linspace(122.0, 50, 120)])
    x = np.empty((len(plan), 4))
    x[:, :3] = plan[:, None] + 0.1 * noise(rng, (len(plan), 3), phi)
    grid = np.linspace(1.0, 2.4, 200)
    x[:, 3] = np.interp(plan, [boiling(float(b)) for b in grid], grid)
    x[at:, 1] -= size
    return x, at


def too_little(c: Any) -> Any:
    """F0 below 15 min at the end of the exposure, in the row behind it."""
    at = np.arange(len(c["f0"])) == 240 + 186
    return at & (c["f0"] < 15)


def cold_spot(x: Array) -> Flags:
    """Any probe below 121 degC in the exposure."""
    return np.asarray((x[:, :3].min(axis=1) < 121) & (np.arange(len(x)) >= 240) & (np.arange(len(x)) < 240 + 186))


def batches(rng: Rng, phi: float, size: float) -> tuple[Array, int]:
    """A meter each minute over 20 batches of an hour and 100 kWh, 3 % from batch to batch; from the 13th on they take `size` % more."""
    per = 100.0 * (1 + 0.03 * noise(rng, 20, phi))
    per[12:] *= 1 + size / 100
    meter = np.cumsum(np.repeat(per / 60, 60) * (1 + 0.1 * rng.normal(size=1200)))
    return np.ascontiguousarray(meter[:, None]), 720


def shifts(rng: Rng, phi: float, size: float) -> tuple[Array, int]:
    """A machine each minute over 15 shifts: it runs 92 % of the time; from the 9th shift on stops of 3 min take `size` % more."""
    x = np.where(noise(rng, 7200, phi) > -1.405, 6.0, 4.0)
    at = 3840
    begins = np.flatnonzero(rng.random(7200 - at) < size / 100 / 3) + at
    for row in begins.tolist():
        x[row : row + 3] = 4.0
    return np.ascontiguousarray(x[:, None]), at


def vibrating(rng: Rng, phi: float, size: float) -> tuple[Array, int]:
    """The level of a machine, g, a value every 10 s; from the 400th on it grows to `size` times what it was within 50 values, and stays there."""
    x = 0.5 + 0.05 * noise(rng, 600, phi)
    if size:
        x[400:] *= 1 + (size - 1) * np.minimum(1.0, np.arange(200) / 50)
    return x, 400


def clogging(rng: Rng, phi: float, size: float) -> tuple[Array, int]:
    """A filter's pressure drop every 20 min, .5 bar and 2 % noise; from row 300 on it grows so that 1.5 bar is reached `size` hours later."""
    x, at = 0.5 + 0.01 * noise(rng, 1020, phi), 300
    if size:
        x[at:] += np.arange(len(x) - at) / 3.0 / size
    return x, at


def life(rng: Rng, phi: float, size: float) -> tuple[Any, int]:
    """100 cycles of a unit of the fleet whose life ends `size` cycles later; without a size it hardly wears."""
    settings, values = unit(rng, 100 + int(size)) if size else unit(rng, 1000)
    return (settings[:100], values[:100]), 20


@cache
def learned() -> Any:
    """What twelve histories teach."""
    settings = Settings(directions=2)
    return packed({**settings_json(settings), "columns": COLUMNS}, arrays_of(train(fleet(12, 1), settings)))


def ending(seen: Any) -> Flags:
    """The advice to plan: within lead and horizon at the lower end of the interval."""
    config = MODEL.validate_python({"kind": "remaining", "name": "u", "file": "x", "inputs": INPUTS})
    model, columns = Running(config, len(INPUTS)), dict(zip([c for cs in COLUMNS.values() for c in cs], np.hstack(seen).T, strict=True))
    model.settle(learned())
    x = np.column_stack([columns[c] for c in sorted(INPUTS)])
    out = np.empty((len(x), 8 + len(INPUTS)))
    model.step(times(len(x), 86_400.0), x, np.ones(x.shape, np.uint8), out)
    return np.asarray((out[:, 2] < config.lead + config.horizon) & (out[:, 4] == 0))


def never(x: Array) -> Flags:
    """No limit on a counter or a state sees it."""
    return np.zeros(len(x), np.bool_)


def lasting(least: float) -> Any:
    """Longer out of the range than a defrosting takes."""
    return lambda c: c["excursion"] > least


RECORDS: Final[dict[str, tuple[Trial, ...]]] = {
    "cold_chain": (
        Trial("a door open for an hour, K", (3.5, 5.0, 10.0), store, bank("cold_chain", lasting(15.0), 60.0, **COLD), ready=0, within=75,
              promised=0.0, options=COLD, peer=lambda x: np.asarray(x > 8), cost=2),
        Trial("too warm for long (MKT), K", (3.2, 4.0, 6.0), warm, bank("cold_chain", lambda c: c["mkt"] > 8, 60.0, **COLD), ready=0, within=1079,
              promised=0.0, options=COLD, peer=lambda x: np.asarray(x > 8), cost=2),
    ),
    "sterilisation": (
        Trial("air at a probe, K", (1.5, 2.5, 5.0), steam, group("sterilisation", lambda c: c["saturation"] < -2, 5.0, **STEAM), ready=0, within=186,
              promised=0.0, options=STEAM, peer=cold_spot),
        Trial("too little exposure (F0), K", (0.5, 1.5, 3.0), steam, group("sterilisation", too_little, 5.0, **STEAM), ready=0, within=187,
              promised=0.0, options=STEAM),
    ),
    "energy": (
        Trial("batches that take more (EnPI above 1.1), %", (8.0, 15.0, 30.0), batches, group("energy", lambda c: c["enpi"] > 1.1, 60.0, 60, **METER),
              ready=60, within=181, promised=0.2, options=METER, peer=never),
    ),
    "oee": (
        Trial("short stops (OEE of the shift below 85 %), %", (5.0, 10.0, 20.0), shifts, group("oee", lambda c: c["last"] < 85, 60.0, **SHIFT),
              ready=480, within=1441, promised=0.0, options=SHIFT, peer=never),
    ),
    "wear": (
        Trial("a filter that clogs, bar in 1,000 h", (2.0, 4.0, 8.0), lambda rng, phi, size: clogging(rng, phi, 1000 / size if size else 0.0),
              bank("wear", lambda c: c["rul_low"] < 408, 1200.0, **FILTER), ready=30, within=450, promised=0.5, options=FILTER,
              peer=lambda x: np.asarray(x > 1.5)),
    ),
    "degradation": (
        Trial("a level of vibration that grows, times its baseline", (1.5, 2.5, 4.0), vibrating,
              bank("degradation", lambda c: c["degraded"] == 1, 10.0), ready=110, within=100, promised=0.5),
    ),
    "remaining": (
        Trial("an end that is near, cycles behind the 100 that are seen", (60.0, 30.0, 10.0), life, ending, ready=20, within=79, promised=0.0,
              phis=(0.0,), options={"inputs": INPUTS, "file": "x"}, cost=20),
    ),
}  # fmt: skip
"""Faults of each kind; a new kind adds its line."""
