"""The report of a calibration: one HTML page without anything from elsewhere, its plots as SVG, to be read before the model is approved."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_agent.training.made_of import by_name

if TYPE_CHECKING:
    from edge_agent.training.calibrate import Calibrated
    from edge_agent.training.spectra_table import Table

Float64 = NDArray[np.float64]

_WIDE, _HIGH = 560, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 16, 14, 44
_MOST_NAMES: Final = 8
"""Odd samples that are named in plots: the worst ones."""
_MOST_LINES: Final = 150
_MOST_POINTS: Final = 500
"""Points of a spectrum that are drawn at most: a line of the page has no more pixels."""
_STYLE: Final = (
    ":root{color-scheme:light}body{font:15px/1.5 system-ui,sans-serif;color:#1b1f24;background:#f4f5f7;margin:0}"
    "main{max-width:1180px;margin:0 auto;padding:24px}h1{font-size:24px;margin:0 0 4px}h2{font-size:17px;margin:0 0 8px}"
    "p{margin:4px 0 12px}.quiet{color:#57606a}.cards{display:flex;flex-wrap:wrap;gap:12px;margin:16px 0}"
    ".card{background:#fff;border:1px solid #d5d9de;border-radius:6px;padding:10px 16px;min-width:150px}"
    ".card b{display:block;font-size:22px;font-weight:600}.card span{color:#57606a;font-size:13px}"
    ".plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(500px,1fr));gap:16px}"
    "section,figure{background:#fff;border:1px solid #d5d9de;border-radius:6px;padding:14px 16px;margin:0}section{margin-top:16px}"
    "figcaption{font-weight:600}figure p{font-size:13px;margin:2px 0 6px}svg{width:100%;height:auto;display:block}"
    "svg text{font-size:12px;fill:#414a54}"
    "table{border-collapse:collapse}td,th{padding:3px 14px 3px 0;text-align:left;border-bottom:1px solid #e6e8eb;vertical-align:top}"
    "td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}code{overflow-wrap:anywhere;font-size:13px}"
    ".remark{border-left:4px solid #b45309}@media print{body{background:#fff}.plots{display:block}figure{break-inside:avoid;margin-bottom:12px}}"
)


def report(table: Table, made: Calibrated) -> str:
    """Figures, plots, treatments tried, odd samples, and what the calibration was made of."""
    c, unit = made.file.calibration, made.file.units.get("value", "")
    name, u = html.escape(made.file.name), html.escape(f" {unit}" if unit else "")
    error = made.said - table.y
    inside = float(np.mean(np.abs(error) <= c["half_width"]))
    share = 1.0 - float(np.sum(error**2) / np.sum((table.y - table.y.mean()) ** 2))
    cards = [
        (f"{c['rmsecv']:.3g}{u}", "RMSECV, everything left out"), (f"{c['bias']:+.2g}{u}", "bias"),
        (f"± {c['half_width']:.3g}{u}", f"interval, {c['coverage']:.0%}"),
        (f"{inside:.0%}", "of left-out samples inside it"), (f"{share:.3f}", "R² of left-out predictions"),
        (f"{float(np.std(table.y, ddof=1)) / c['rmsecv']:.1f}", "RPD: spread of references / RMSECV"),
        (str(len(table.y)), f"samples, {len(set(table.group))} independent"), (str(int(made.odd.sum())), "odd samples"),
    ]  # fmt: skip
    remarks = [*(f"{cause}: {n}, left out" for cause, n in table.left), *table.remarks]
    told = "".join(f"<li>{html.escape(r[:1].upper() + r[1:])}.</li>" for r in remarks)
    when = datetime.fromtimestamp(made.file.trained_ns / 1e9, UTC).isoformat(sep=" ", timespec="minutes")
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'><title>Calibration {name}</title>"
        f"<style>{_STYLE}</style><main><h1>Calibration {name}</h1>"
        f"<p class=quiet>For spectra of <code>{html.escape(made.file.tags[0])}</code>: {len(table.axis)} points, "
        f"{table.axis[0]:g} to {table.axis[-1]:g}. "
        f"References {table.y.min():.5g} to {table.y.max():.5g}{u}. Trained by {html.escape(made.file.trained_by)} on {when}"
        f"{html.escape(': ' + made.file.reason) if made.file.reason else ''}.</p>"
        f"<div class=cards>{''.join(f'<div class=card><b>{v}</b><span>{html.escape(w)}</span></div>' for v, w in cards)}</div>"
        + (f"<section class=remark><h2>To know before it is approved</h2><ul>{told}</ul></section><p></p>" if told else "")
        + f"<div class=plots>{''.join(_plots(table, made, unit))}</div>{_members(made)}{_odd(table, made, u)}{_made_of(table, made)}</main></html>\n"
    )


def _plots(table: Table, made: Calibrated, unit: str) -> list[str]:
    c = made.file.calibration
    y, said, odd, half = table.y, made.said, made.odd, float(c["half_width"])
    in_unit = f", {unit}" if unit else ""
    worst = _worst_first(table, made)[:_MOST_NAMES].tolist()
    label = [table.sample[i] if i in worst else "" for i in range(len(y))]
    both = np.concatenate([y, said])
    ends = np.array([both.min(), both.max()])
    found: list[str] = []

    plot = _Plot(f"reference{in_unit}", f"left-out prediction{in_unit}", ends, np.concatenate([said, ends - half, ends + half]))
    plot.area(ends, ends - half, ends + half)
    plot.line(ends, ends, "#8a929b")
    plot.dots(y, said, odd, label)
    found.append(plot.figure("Left-out predictions", f"Band: the interval of {c['coverage']:.0%}. Orange: odd samples."))

    error = said - y
    plot = _Plot(f"reference{in_unit}", f"error{in_unit}", y, np.concatenate([error, [half, -half]]))
    plot.area(np.array([y.min(), y.max()]), np.full(2, -half), np.full(2, half))
    plot.line(np.array([y.min(), y.max()]), np.zeros(2), "#8a929b")
    plot.dots(y, error, odd, label)
    found.append(plot.figure("Left-out errors", "A slope or a bend over the reference says that the model is too stiff, or that the references are."))

    factors = np.arange(1.0, len(made.rmsecv) + 1)
    plot = _Plot("factors", f"RMSE{in_unit}", factors, np.concatenate([made.rmsecv, made.rmsec, [0.0]]), whole=True)
    plot.line(factors, made.rmsec, "#8a929b", dash="5 4")
    plot.line(factors, made.rmsecv, "#0a58a5")
    plot.dots(factors, made.rmsecv, factors == made.factors, [f"{made.factors} factors" if f == made.factors else "" for f in factors])
    words = "Line: RMSECV. Dashed: RMSE of the fit. Marked: the fewest factors within 3 % of the least RMSECV."
    if made.file.config.get("method") != "pls":
        words += f" PLS is shown for comparison: it would reach {made.rmsecv.min():.3g}, the calibration {c['rmsecv']:.3g}."
    found.append(plot.figure("RMSECV of PLS", words))

    plot = _Plot("axis", "VIP", made.vip_axis, np.concatenate([made.vip, [0.0, 1.0]]))
    plot.line(made.vip_axis, np.ones(len(made.vip)), "#8a929b", dash="5 4")
    plot.line(made.vip_axis, made.vip, "#0a58a5")
    words = "Above 1 a point says more than the mean point. Bands should be where the substance absorbs."
    found.append(plot.figure("Importance of the points (VIP)", words))

    t2, q = np.maximum(made.t2, 1e-3), np.maximum(made.q, 1e-3)
    plot = _Plot("T² / limit", "Q / limit", np.append(t2, [0.1, 1.5]), np.append(q, [0.1, 1.5]), log=True)
    plot.line(np.array([1.0, 1.0]), np.array([plot.y0, plot.y1]), "#8a929b", dash="5 4")
    plot.line(np.array([plot.x0, plot.x1]), np.array([1.0, 1.0]), "#8a929b", dash="5 4")
    plot.dots(t2, q, odd, label)
    words = "Right of the dashed line: far from the middle of the calibration (T²). Above it: a shape that the model does not know (Q)."
    found.append(plot.figure("Outliers", words))

    every = max(1, -(-len(table.axis) // _MOST_POINTS))
    rows = np.unique(np.linspace(0, len(y) - 1, min(len(y), _MOST_LINES)).round().astype(int))
    axis, X = table.axis[::every], table.X[:, ::every]
    plot = _Plot("axis", "as measured", axis, X[np.unique(np.append(rows, np.flatnonzero(odd)))].ravel())
    for i in rows:
        plot.line(axis, X[i], _between((y[i] - y.min()) / np.ptp(y)), thin=True)
    for i in np.flatnonzero(odd)[:20]:
        plot.line(axis, X[i], "#c2410c", thin=True)
    note = f"Light: low references, dark: high ones. Orange: odd samples.{f' {len(rows)} of {len(y)} are drawn.' if len(rows) < len(y) else ''}"
    found.append(plot.figure("Spectra", note))
    return found


def _between(share: float) -> str:
    low, high = (168, 205, 236), (8, 48, 107)
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in zip(low, high, strict=True))


def _members(made: Calibrated) -> str:
    members = "".join(f"<li>{html.escape(w)}</li>" for w in made.file.calibration["members"])
    tried = "".join(
        f"<tr><td>{html.escape(words)}</td><td class=n>{n}</td><td class=n>{least:.4g}</td></tr>"
        for words, n, least in sorted(made.tried, key=lambda t: t[2])
    )
    return (
        f"<section><h2>The model</h2><ul>{members}</ul><h2>Treatments tried with PLS</h2>"
        f"<table><tr><th>treatment<th class=n>factors<th class=n>RMSECV</tr>{tried}</table></section>"
    )


def _worst_first(table: Table, made: Calibrated) -> NDArray[np.intp]:
    """The odd samples, the largest error first."""
    found = np.flatnonzero(made.odd)
    return found[np.argsort(-np.abs(made.said - table.y)[found], kind="stable")]


def _odd(table: Table, made: Calibrated, u: str) -> str:
    if not made.odd.any():
        none = "None: no T² or Q above its limit, and no error beyond 3.5 robust standard deviations."
        return f"<section><h2>Odd samples</h2><p>{none}</p></section>"
    grouped = table.group != table.sample and len(set(table.group)) < len(table.group)
    rows = []
    for i in _worst_first(table, made).tolist():
        numbers = (f"{table.y[i]:.5g}", f"{made.said[i]:.5g}", f"{made.said[i] - table.y[i]:+.3g}", f"{made.t2[i]:.2f}", f"{made.q[i]:.2f}")
        names = (table.sample[i], table.group[i]) if grouped else (table.sample[i],)
        cells = [f"<td>{html.escape(n)}" for n in names] + [f"<td class=n>{n}" for n in numbers] + [f"<td>{html.escape(made.why[i])}"]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    head = "".join(f"<th class=n>{n}" for n in (f"reference{u}", "left-out prediction", "error", "T² / limit", "Q / limit"))
    return (
        f"<section><h2>Odd samples ({len(rows)})</h2><p>They are part of the calibration. Look at each before the model is approved: "
        "a wrong reference, a mixed-up sample, a bad measurement, or material that belongs in it.</p>"
        f"<table><tr><th>sample{'<th>group' if grouped else ''}{head}<th>why</tr>{''.join(rows)}</table></section>"
    )


def _made_of(table: Table, made: Calibrated) -> str:
    files = "".join(f"<tr><td>{html.escape(n)}</td><td><code>{h}</code></td></tr>" for n, h in by_name(table.files).items())
    return (
        f"<section><h2>Made of</h2><table><tr><th>file<th>SHA-256</tr>{files}</table>"
        f"<p class=quiet>{html.escape(made.file.software)}. `edge-agent model verify` prints the SHA-256 of the model's own file.</p></section>"
    )


class _Plot:
    """One SVG with two axes; what is drawn first lies below."""

    def __init__(self, x_name: str, y_name: str, x: Float64, y: Float64, *, log: bool = False, whole: bool = False) -> None:
        self._names, self._log, self._whole = (x_name, y_name), log, whole
        self.x0, self.x1 = _room(x, log)
        self.y0, self.y1 = _room(y, log)
        self._drawn: list[str] = []

    def _x(self, v: float) -> float:
        return _LEFT + _share(v, self.x0, self.x1, self._log) * (_WIDE - _LEFT - _RIGHT)

    def _y(self, v: float) -> float:
        return _HIGH - _BOTTOM - _share(v, self.y0, self.y1, self._log) * (_HIGH - _TOP - _BOTTOM)

    def _path(self, x: Float64, y: Float64) -> str:
        return " ".join(f"{self._x(float(a)):.1f},{self._y(float(b)):.1f}" for a, b in zip(x, y, strict=True))

    def line(self, x: Float64, y: Float64, color: str, *, dash: str = "", thin: bool = False) -> None:
        """A line through points."""
        more = f' stroke-dasharray="{dash}"' if dash else ""
        size, fade = ("0.8", ' stroke-opacity="0.7"') if thin else ("1.8", "")
        self._drawn.append(f'<polyline points="{self._path(x, y)}" fill="none" stroke="{color}" stroke-width="{size}"{fade}{more}/>')

    def area(self, x: Float64, low: Float64, high: Float64) -> None:
        """What lies between two lines."""
        self._drawn.append(f'<polygon points="{self._path(x, low)} {self._path(x[::-1], high[::-1])}" fill="#dce9f5"/>')

    def dots(self, x: Float64, y: Float64, marked: NDArray[np.bool_], label: Sequence[str]) -> None:
        """A dot for each pair; marked ones lie on top, with their label."""
        for i in np.argsort(marked, kind="stable"):
            px, py = self._x(float(x[i])), self._y(float(y[i]))
            color = "#c2410c" if marked[i] else "#0a58a5"
            self._drawn.append(f'<circle cx="{px:.1f}" cy="{py:.1f}" r="{4 if marked[i] else 2.8}" fill="{color}" fill-opacity="0.85"/>')
            if marked[i] and label[i]:
                at, anchor = (px - 7, "end") if px > _WIDE - 130 else (px + 7, "start")
                self._drawn.append(f'<text x="{at:.1f}" y="{py - 5:.1f}" text-anchor="{anchor}">{html.escape(label[i][:24])}</text>')

    def figure(self, title: str, words: str) -> str:
        """The plot with its title and what it says."""
        parts = []
        for v in _ticks(self.x0, self.x1, 7, log=self._log, whole=self._whole):
            px = self._x(v)
            parts.append(f'<line x1="{px:.1f}" x2="{px:.1f}" y1="{_HIGH - _BOTTOM}" y2="{_HIGH - _BOTTOM + 4}" stroke="#8a929b"/>')
            parts.append(f'<text x="{px:.1f}" y="{_HIGH - _BOTTOM + 18}" text-anchor="middle">{v:g}</text>')
        for v in _ticks(self.y0, self.y1, 6, log=self._log):
            py = self._y(v)
            parts.append(f'<line x1="{_LEFT}" x2="{_WIDE - _RIGHT}" y1="{py:.1f}" y2="{py:.1f}" stroke="#edeff1"/>')
            parts.append(f'<text x="{_LEFT - 8}" y="{py + 4:.1f}" text-anchor="end">{v:g}</text>')
        middle, x_name, y_name = (_HIGH - _BOTTOM + _TOP) / 2, html.escape(self._names[0]), html.escape(self._names[1])
        return (
            f'<figure><figcaption>{html.escape(title)}</figcaption><p class=quiet>{html.escape(words)}</p>'
            f'<svg role="img" aria-label="{html.escape(title)}" viewBox="0 0 {_WIDE} {_HIGH}">{"".join(parts)}{"".join(self._drawn)}'
            f'<path d="M{_LEFT},{_TOP}V{_HIGH - _BOTTOM}H{_WIDE - _RIGHT}" fill="none" stroke="#8a929b"/>'
            f'<text x="{(_LEFT + _WIDE - _RIGHT) / 2}" y="{_HIGH - 6}" text-anchor="middle">{x_name}</text>'
            f'<text x="14" y="{middle}" text-anchor="middle" transform="rotate(-90 14 {middle})">{y_name}</text></svg></figure>'
        )


def _room(v: NDArray[Any], log: bool) -> tuple[float, float]:
    low, high = float(np.min(v)), float(np.max(v))
    if log:
        return low / 1.3, high * 1.3
    room = 0.04 * (high - low) or abs(high) * 0.04 or 1.0
    return low - room if low != 0.0 else 0.0, high + room


def _share(v: float, low: float, high: float, log: bool) -> float:
    return math.log(v / low) / math.log(high / low) if log else (v - low) / (high - low)


def _ticks(low: float, high: float, most: int, *, log: bool = False, whole: bool = False) -> list[float]:
    """Round numbers between two.

    >>> _ticks(1.3, 8.2, 5), _ticks(0.02, 30.0, 5, log=True)
    ([2.0, 4.0, 6.0, 8.0], [0.1, 1.0, 10.0])
    """
    if log:
        return [10.0**e for e in range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)]
    rough = (high - low) / most
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(m * size for m in (1.0, 2.0, 5.0, 10.0) if m * size >= rough)
    step = max(1.0, step) if whole else step
    return [round(i * step, 12) for i in range(math.ceil(low / step), math.floor(high / step) + 1)]
