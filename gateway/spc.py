"""Statistical process control of one tag: individuals chart, run rules and capability from what the store answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

from edge_agent.core.tag import JUDGED_MODES
from gateway.rows import ModeRow, SeriesRow

Rules = Literal["western_electric", "nelson"]
INFORMATION: Final = {"nelson": frozenset({3, 4, 7}), "western_electric": frozenset[int]()}
"""Rules that call for no action."""
D2: Final = 1.128
D4: Final = 3.267
LEAST: Final = 30
"""Values below which no capability is told."""
GAP: Final = 3.5
"""Runs and moving ranges begin anew behind a distance of so many usual distances."""
NORMAL: Final = 0.752
"""5 % point of the adjusted Anderson-Darling statistic, mean and sigma estimated (Stephens, 1974)."""
Z95: Final = 1.959964
TAILS: Final = (0.00135, 0.5, 0.99865)


class Capability(TypedDict):
    """Indices against the specification; None where there is none of it or the conditions are not met."""

    lsl: float | None
    usl: float | None
    cp: float | None
    cpk: float | None
    cpk_low: float | None  # 95 % interval of cpk
    cpk_high: float | None
    pp: float | None
    ppk: float | None
    ppk_quantile: float | None  # by the 0.135, 50 and 99.865 % points
    outside: int  # values beyond the specification
    unmet: list[str]  # few, unstable, not_normal, correlated


class SpcRow(TypedDict):
    """The chart of one tag over [from_ns, to_ns); single values in the tag's unit, the last of each bucket, oldest first."""

    tag: str
    from_ns: int
    to_ns: int
    rules: str
    every_s: float | None  # usual distance of the values
    time_ns: list[int]
    value: list[float]
    range: list[float | None]  # distance to the value before; None behind a gap
    broken: list[list[int]]  # rules that each value breaks
    left_out: int  # buckets left out: bad values, or the unit was not in production
    given: bool  # whether mean and sigma were given
    mean: float | None
    sigma: float | None  # within: mean moving range / 1.128
    overall: float | None  # standard deviation of all values
    lower: float | None
    upper: float | None
    range_mean: float | None
    range_upper: float | None
    phi: float | None  # correlation of neighbours
    tau_s: float | None  # time constant that follows from it
    normality: float | None  # adjusted Anderson-Darling statistic
    capability: Capability


def chart(
    row: SeriesRow,
    modes: Sequence[ModeRow],
    rules: Rules,
    lsl: float | None = None,
    usl: float | None = None,
    mu: float | None = None,
    sigma: float | None = None,
) -> SpcRow:
    """The chart of a series; `modes` are the spans of the tag's unit, of which those in production count."""
    time_ns = np.array(row["time_ns"], np.int64)
    value = np.array([math.nan if v is None else v for v in row["last"]], np.float64)
    keep = np.isfinite(value) & (np.array(row["n_bad"], np.int64) == 0)
    for span in modes:
        if span["mode"] not in JUDGED_MODES:
            end = span["to_ns"]
            keep &= (time_ns < span["from_ns"]) | ((time_ns >= end) if end is not None else False)
    left_out = int((~keep).sum())
    time_ns, value = time_ns[keep], value[keep]
    n = len(value)
    step = np.diff(time_ns)
    usual = float(np.median(step)) if n > 1 else math.nan
    begins = np.concatenate([[True], step > GAP * usual]) if n else np.zeros(0, np.bool_)
    moved = np.full(n, math.nan)
    moved[1:] = np.abs(np.diff(value))
    moved[begins] = math.nan
    range_mean = float(np.nanmean(moved)) if np.isfinite(moved).any() else math.nan
    mean = mu if mu is not None else float(value.mean()) if n else math.nan
    within = sigma if sigma is not None else range_mean / D2
    overall = float(value.std(ddof=1)) if n > 1 else math.nan
    broken = runs(value, begins, mean, within, rules) if math.isfinite(within) and within > 0 else [[] for _ in range(n)]
    phi = _phi(value, begins)
    tau = usual / 1e9 / -math.log(phi) if math.isfinite(phi) and 0 < phi < 1 else math.nan
    statistic = anderson_darling(value) if n >= 8 and overall > 0 else math.nan
    return {
        "tag": row["tag"], "from_ns": row["from_ns"], "to_ns": row["to_ns"], "rules": rules, "every_s": _told(usual / 1e9),
        "time_ns": time_ns.tolist(), "value": value.tolist(), "range": [_told(r) for r in moved.tolist()], "broken": broken, "left_out": left_out,
        "given": mu is not None, "mean": _told(mean), "sigma": _told(within), "overall": _told(overall), "lower": _told(mean - 3 * within),
        "upper": _told(mean + 3 * within), "range_mean": _told(range_mean), "range_upper": _told(D4 * D2 * within), "phi": _told(phi),
        "tau_s": _told(tau), "normality": _told(statistic),
        "capability": capability(value, lsl, usl, mean, within, overall, _unmet(n, broken, rules, statistic, phi)),
    }  # fmt: skip


def _told(x: float) -> float | None:
    return x if math.isfinite(x) else None


def runs(value: NDArray[np.float64], begins: NDArray[np.bool_], mean: float, sigma: float, rules: Rules) -> list[list[int]]:
    """Rules that each value breaks, from the values since the last gap.

    Comparisons are strict, a value on the centre line breaks a run, a tie breaks a trend, the newest value is one of those beyond.

    >>> runs(np.array([-0.5, -0.2, 0.0, 0.3, 0.4, 0.9]), np.zeros(6, np.bool_), 0.0, 1.0, "nelson")[-1]
    [3]
    """
    found, since = [], 0
    u = (value - mean) / sigma
    for i in range(len(value)):
        since = i if begins[i] else since
        w, x = u[max(since, i - 14) : i + 1], value[max(since, i - 14) : i + 1]
        one = bool(abs(w[-1]) > 3)
        two, four = _some(w, 2, 3, 2.0), _some(w, 4, 5, 1.0)
        if rules == "western_electric":
            hits = [one, two, four, _side(w, 8)]
        else:
            trend, turns = np.sign(np.diff(x[-6:])), np.sign(np.diff(x[-14:]))
            far = w[-8:]
            hits = [
                one,
                _side(w, 9),
                len(trend) == 5 and bool(abs(trend.sum()) == 5),
                len(turns) == 13 and bool((turns != 0).all() and (turns[1:] == -turns[:-1]).all()),
                two,
                four,
                len(w) == 15 and bool((np.abs(w) < 1).all()),
                len(far) == 8 and bool((np.abs(far) > 1).all() and far.min() < 0 < far.max()),
            ]
        found.append([number for number, hit in enumerate(hits, 1) if hit])
    return found


def _some(u: NDArray[np.float64], least: int, of: int, limit: float) -> bool:
    w = u[-of:]
    return any(bool(side * w[-1] > limit) and int((side * w > limit).sum()) >= least for side in (1, -1))


def _side(u: NDArray[np.float64], n: int) -> bool:
    w = u[-n:]
    return len(w) == n and bool((w > 0).all() or (w < 0).all())


def _phi(value: NDArray[np.float64], begins: NDArray[np.bool_]) -> float:
    """Correlation of neighbours that no gap divides."""
    if len(value) < LEAST:
        return math.nan
    away = value - value.mean()
    pairs = ~begins[1:]
    whole = float((away * away).mean())
    return float((away[1:] * away[:-1])[pairs].mean()) / whole if whole > 0 and pairs.any() else math.nan


def anderson_darling(value: NDArray[np.float64]) -> float:
    """Adjusted Anderson-Darling statistic against a normal distribution of the values' own mean and sigma; above 0.752 it is refused at 5 %."""
    n = len(value)
    z = (np.sort(value) - value.mean()) / value.std(ddof=1)
    below = np.array([math.erfc(-x / math.sqrt(2)) / 2 for x in z.tolist()])
    above = np.array([math.erfc(x / math.sqrt(2)) / 2 for x in z.tolist()])
    logs = np.log(np.maximum(below, 1e-300)) + np.log(np.maximum(above[::-1], 1e-300))
    statistic = -n - float(((2 * np.arange(1, n + 1) - 1) * logs).sum()) / n
    return statistic * (1 + 0.75 / n + 2.25 / n**2)


def _unmet(n: int, broken: list[list[int]], rules: Rules, statistic: float, phi: float) -> list[str]:
    unmet = ["few"] if n < LEAST else []
    if any(set(b) - INFORMATION[rules] for b in broken):
        unmet.append("unstable")
    if not statistic < NORMAL:
        unmet.append("not_normal")
    if phi > 2 / math.sqrt(max(n, 1)):
        unmet.append("correlated")
    return unmet


def capability(
    value: NDArray[np.float64], lsl: float | None, usl: float | None, mean: float, within: float, overall: float, unmet: list[str]
) -> Capability:
    """Cp and Cpk by the spread within, Pp and Ppk by that of all values (domain: for stable, normal, enough values), else by quantiles.

    Of correlated values the spread within is too small: Cp and Cpk are then not told, Pp and Ppk are.
    """
    blocked = {"few", "unstable", "not_normal"} & set(unmet)
    outside = int(((value < lsl) if lsl is not None else np.zeros(len(value), np.bool_)).sum())
    outside += int(((value > usl) if usl is not None else np.zeros(len(value), np.bool_)).sum())
    short = None if blocked or "correlated" in unmet else within
    long = None if blocked else overall
    centre = float(value.mean()) if len(value) else mean
    cpk = _nearest(lsl, usl, centre, short)
    half = Z95 * math.sqrt(1 / (9 * len(value)) + cpk * cpk / (2 * (len(value) - 1))) if cpk is not None else None
    return {
        "lsl": lsl, "usl": usl, "cp": _both(lsl, usl, short), "cpk": cpk,
        "cpk_low": None if cpk is None or half is None else cpk - half, "cpk_high": None if cpk is None or half is None else cpk + half,
        "pp": _both(lsl, usl, long), "ppk": _nearest(lsl, usl, centre, long), "ppk_quantile": _quantile(value, lsl, usl),
        "outside": outside, "unmet": unmet,
    }  # fmt: skip


def _both(lsl: float | None, usl: float | None, sigma: float | None) -> float | None:
    return None if lsl is None or usl is None or sigma is None or not sigma > 0 else (usl - lsl) / (6 * sigma)


def _nearest(lsl: float | None, usl: float | None, mean: float, sigma: float | None) -> float | None:
    if sigma is None or not sigma > 0 or (lsl is None and usl is None):
        return None
    return min((mean - lsl) / (3 * sigma) if lsl is not None else math.inf, (usl - mean) / (3 * sigma) if usl is not None else math.inf)


def _quantile(value: NDArray[np.float64], lsl: float | None, usl: float | None) -> float | None:
    if len(value) < LEAST or (lsl is None and usl is None):
        return None
    low, middle, high = (float(q) for q in np.quantile(value, TAILS))
    if not low < middle < high:
        return None
    return min((usl - middle) / (high - middle) if usl is not None else math.inf, (middle - lsl) / (middle - low) if lsl is not None else math.inf)
