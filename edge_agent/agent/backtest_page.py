"""The page of a backtest: one HTML file without anything from elsewhere, in English and Chinese, with its figures and curves as SVG."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

import numpy as np

from edge_agent.agent.backtest import Curve, Raised, Report, median_delay_s
from edge_agent.core import AlarmDefinition

MOST_CURVES: Final = 12
MOST_ROWS: Final = 200
_WIDE, _LEFT = 960, 64

_TEXTS: Final = {
    "title": ("What this configuration would have told", "此配置本会发出的报警"),
    "span": ("Data", "数据时段"), "values": ("Values", "数值个数"), "calls": ("Alarms", "报警"), "advisories": ("Advisories", "提示"),
    "per_day": ("per day", "每天"), "busiest": ("Busiest day", "最多的一天"), "unexplained": ("Not explained by a known event", "无已知事件可解释"),
    "found": ("Known events found", "已检出的已知事件"), "delay": ("Median delay", "延迟中位数"), "days": ("Alarms per day", "每日报警数"),
    "events": ("Known events", "已知事件"), "event": ("Event", "事件"), "start": ("Start (UTC)", "开始（UTC）"), "tags": ("Tags", "位号"),
    "by": ("Found by", "检出者"), "after": ("After", "延迟"), "not_found": ("not found", "未检出"), "alarms": ("By alarm", "按报警统计"),
    "alarm": ("Alarm", "报警"), "tag": ("Tag", "位号"), "count": ("Times", "次数"), "stood": ("Stood", "持续时间"), "kind": ("Kind", "类别"),
    "by_tag": ("By tag", "按位号统计"), "false": ("Alarms that no known event explains", "无已知事件可解释的报警"),
    "told": ("Told (UTC)", "发出（UTC）"),
    "why": ("Why", "原因"), "curves": ("Curves", "趋势"), "list": ("Every occurrence", "全部报警记录"), "none": ("none", "无"),
    "advisory": ("advisory", "提示"), "priority": ("priority", "优先级"), "limit": ("limit", "限值"),
    "more": ("further ones are not shown", "其余未显示"), "known": ("known event", "已知事件"),
    "note": (
        "Replayed as an agent works; nobody acknowledged or shelved. Advisories are only listed. Found: raised in time, not standing before.",
        "由与运行中代理相同的流水线回放，期间无人确认或搁置。提示仅列出，不鸣响。若与事件位号相关的报警在规定时间内发出且此前未处于报警状态，则该事件视为检出。",
    ),
}  # fmt: skip

_STYLE: Final = """
:root{color-scheme:light;--ink:#1c2733;--soft:#52606d;--line:#d5dbe1;--call:#b3261e;--note:#1f6f8b;--band:#4a6f91;--known:#f2d48a}
*{box-sizing:border-box}body{margin:0 auto;max-width:1040px;padding:24px;
font:15px/1.5 "Segoe UI","Noto Sans","Noto Sans CJK SC","Microsoft YaHei",sans-serif;color:var(--ink);background:#fff}
h1{font-size:24px;margin:0 0 4px}h2{font-size:18px;margin:32px 0 8px}h3{font-size:15px;margin:20px 0 4px}
p{margin:0 0 12px;color:var(--soft);max-width:80ch}html[lang=en] [lang=zh],html[lang^=zh] [lang=en]{display:none}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin:16px 0}
.tile{border:1px solid var(--line);border-radius:6px;padding:10px 12px}
.tile b{display:block;font-size:22px;font-variant-numeric:tabular-nums}
.tile small{color:var(--soft)}
table{border-collapse:collapse;width:100%;font-size:14px}th,td{text-align:left;padding:4px 8px;border-bottom:1px solid var(--line);vertical-align:top}
th{color:var(--soft);font-weight:600}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}td.t{white-space:nowrap;font-variant-numeric:tabular-nums}
.miss{color:var(--call);font-weight:600}svg{display:block;width:100%;height:auto}svg text{font:11px sans-serif;fill:var(--soft)}
.key i{display:inline-block;width:12px;height:12px;margin:0 6px 0 14px;vertical-align:-1px}.scroll{overflow-x:auto}
button{float:right;font:inherit;padding:4px 12px;border:1px solid var(--line);border-radius:4px;background:#fff;color:var(--ink);cursor:pointer}
@media print{button{display:none}}
"""
_SCRIPT: Final = (
    "const r=document.documentElement;r.lang=(navigator.language||'en').startsWith('zh')?'zh':'en';"
    "document.querySelector('button').onclick=()=>{r.lang=r.lang==='zh'?'en':'zh'}"
)


def _(key: str) -> str:
    en, zh = _TEXTS[key]
    return f'<span lang="en">{escape(en)}</span><span lang="zh">{escape(zh)}</span>'


def page(found: Report, about: str) -> str:
    """The whole file; `about` names the configuration and what was replayed."""
    sections = [_tiles(found), _days(found)]
    if found.verdicts is not None:
        sections += [_events(found), _unexplained(found)]
    sections += [_alarms(found), _by_tag(found), _curves(found), _list("list", found.raised)]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(about)}</title><style>{_STYLE}</style></head><body>"
        f'<button type="button" lang=""><span lang="en">中文</span><span lang="zh">English</span></button>'
        f"<h1>{_('title')}</h1><p>{escape(about)}</p><p>{_('note')}</p>{''.join(sections)}<script>{_SCRIPT}</script></body></html>\n"
    )


def _tile(label: str, figure: str, small: str = "") -> str:
    return f'<div class="tile"><small>{label}</small><b>{figure}</b><small>{small}</small></div>'


def _tiles(found: Report) -> str:
    days = max((found.test.end_ns - (found.test.begin_ns or 0)) / 86_400e9, 1e-9)
    calls, advisories = (sum(r.advisory is which for r in found.raised) for which in (False, True))
    tiles = [
        _tile(_("span"), f"{days:.1f} d" if days >= 0.1 else f"{days * 24:.2f} h", f"{_time(found.test.begin_ns or 0)} – {_time(found.test.end_ns)}"),
        _tile(_("values"), f"{found.test.values:,}"),
        _tile(_("calls"), str(calls), _daily(calls, days)),
        _tile(_("advisories"), str(advisories), _daily(advisories, days)),
    ]
    if found.days:
        day, *most = max(found.days, key=lambda d: d[1] + d[2])
        tiles.append(_tile(_("busiest"), str(sum(most)), day))
    if found.verdicts is not None and found.unexplained is not None:
        delay = median_delay_s(found.verdicts)
        tiles.append(_tile(_("found"), f"{sum(v.found is not None for v in found.verdicts)} / {len(found.verdicts)}"))
        tiles.append(_tile(_("delay"), "–" if delay is None else _long(delay)))
        tiles.append(_tile(_("unexplained"), str(len(found.unexplained)), _daily(len(found.unexplained), days)))
    return f'<div class="tiles">{"".join(tiles)}</div>'


def _daily(count: int, days: float) -> str:
    return f"{count / days:.2f} {_('per_day')}" if days >= 1 else ""


def _days(found: Report) -> str:
    if not found.days:
        return ""
    high, most = 140, max(1, *(calls + advisories for _day, calls, advisories in found.days))
    step = (_WIDE - _LEFT) / len(found.days)
    bars = []
    for i, (day, calls, advisories) in enumerate(found.days):
        x, wide = _LEFT + i * step, max(min(step * 0.8, 48), 0.6)
        below = 0.0
        for count, colour in ((calls, "call"), (advisories, "note")):
            tall = high * count / most
            if count:
                bars.append(f'<rect x="{x:.1f}" y="{high + 8 - below - tall:.1f}" width="{wide:.1f}" height="{tall:.1f}" fill="var(--{colour})">'
                            f"<title>{day}: {calls} + {advisories}</title></rect>")  # fmt: skip
            below += tall
        if i % max(1, len(found.days) // 8) == 0:
            bars.append(f'<text x="{x:.1f}" y="{high + 24}">{day}</text>')
    axis = f'<line x1="{_LEFT}" x2="{_WIDE}" y1="{high + 8}" y2="{high + 8}" stroke="var(--line)"/>' + _label(_LEFT - 8, 14, str(most), "end")
    key = (
        f'<p class="key"><i style="background:var(--call);margin-left:0"></i>{_("calls")}<i style="background:var(--note)"></i>{_("advisories")}</p>'
    )
    return f'<h2>{_("days")}</h2><svg viewBox="0 0 {_WIDE} {high + 32}" role="img">{axis}{"".join(bars)}</svg>{key}'


def _table(heads: Sequence[tuple[str, str]], rows: Iterator[Sequence[str]] | Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th class="{kind}">{_(key)}</th>' for key, kind in heads)
    body = "".join(
        "<tr>" + "".join(f'<td class="{kind}">{cell}</td>' for cell, (_key, kind) in zip(row, heads, strict=True)) + "</tr>" for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _events(found: Report) -> str:
    rows = []
    for v in found.verdicts or ():
        by = f'<span class="miss">{_("not_found")}</span>' if v.found is None else escape(v.found.alarm)
        rows.append(
            (escape(v.event.name), _time(v.event.start_ns), escape(", ".join(v.event.tags)), by, "" if v.delay_s is None else _long(v.delay_s))
        )
    heads = [("event", ""), ("start", "t"), ("tags", ""), ("by", ""), ("after", "n")]
    return f"<h2>{_('events')}</h2>{_table(heads, rows)}"


def _unexplained(found: Report) -> str:
    return _list("false", found.unexplained or [])


def _alarms(found: Report) -> str:
    if not found.by_alarm:
        return f"<h2>{_('alarms')}</h2><p>{_('none')}</p>"
    rows = []
    for alarm, count, stood in found.by_alarm:
        d = found.test.definitions.get(alarm)
        kind = "" if d is None else _("advisory") if d.advisory else f"{_('priority')} {d.priority}"
        rows.append((escape(alarm), escape(d.tag if d is not None else ""), kind, str(count), _long(stood)))
    return f"<h2>{_('alarms')}</h2>{_table([('alarm', ''), ('tag', ''), ('kind', ''), ('count', 'n'), ('stood', 'n')], rows)}"


def _by_tag(found: Report) -> str:
    if not found.by_tag:
        return ""
    return f"<h2>{_('by_tag')}</h2>{_table([('tag', ''), ('count', 'n')], [(escape(tag), str(n)) for tag, n in found.by_tag[:MOST_ROWS]])}"


def _list(key: str, raised: Sequence[Raised]) -> str:
    if not raised:
        return f"<h2>{_(key)}</h2><p>{_('none')}</p>"
    rows = [
        (_time(r.told_ns), escape(r.alarm), _("advisory") if r.advisory else f"{_('priority')} {r.priority}",
         _long((r.cleared_ns - r.raised_ns) / 1e9), escape(r.explanation)) for r in raised[:MOST_ROWS]
    ]  # fmt: skip
    more = f"<p>{len(raised) - MOST_ROWS} {_('more')}</p>" if len(raised) > MOST_ROWS else ""
    return f"<h2>{_(key)}</h2>{_table([('told', 't'), ('alarm', ''), ('kind', ''), ('stood', 'n'), ('why', '')], rows)}{more}"


def _curves(found: Report) -> str:
    """The tags with most alarms, measured and derived, with their alarms and the known events."""
    drawn = []
    names = dict.fromkeys(name for tag, _n in found.by_tag for name in (tag, *(r.tag for r in found.raised if tag in r.roots)))
    for name in [n for n in names if n in found.test.curves][:MOST_CURVES]:
        raised = [r for r in found.raised if r.tag == name or (name in r.roots and r.tag not in found.test.curves)]
        limits = [d for d in found.test.definitions.values() if d.tag == name and d.kind == "limit"]
        drawn.append(f"<h3>{escape(name)}</h3>{_curve(found, name, found.test.curves[name], raised, limits)}")
    return f"<h2>{_('curves')}</h2>{''.join(drawn)}" if drawn else ""


def _curve(found: Report, name: str, curve: Curve, raised: Sequence[Raised], limits: Sequence[AlarmDefinition]) -> str:
    have = np.flatnonzero(np.isfinite(curve.least))
    if not len(have):
        return ""
    high, top = 120, 12
    begin, span = curve.begin_ns, max(found.test.end_ns - curve.begin_ns, curve.width_ns)
    low, most = float(curve.least[have].min()), float(curve.most[have].max())
    shown = [d.limit for d in limits if d.limit is not None and low - (most - low) <= d.limit <= most + (most - low)]
    low, most = min([low, *shown]), max([most, *shown])
    tall = (most - low) or 1.0

    def x(time_ns: float) -> float:
        return _LEFT + (_WIDE - _LEFT) * min(max((time_ns - begin) / span, 0.0), 1.0)

    def y(value: float) -> float:
        return top + high * (1 - (value - low) / tall)

    parts = [_band(x(v.event.start_ns), x(v.event.end_ns), top, high, v.event.name) for v in found.verdicts or () if name in v.event.tags]
    wide = max((_WIDE - _LEFT) * curve.width_ns / span, 0.8)
    path = "".join(
        f"M{x(begin + float(i) * curve.width_ns):.1f} {y(curve.most[i]) - 0.6:.1f}h{wide:.1f}V{y(curve.least[i]) + 0.6:.1f}h-{wide:.1f}z"
        for i in have
    )
    parts.append(f'<path d="{path}" fill="var(--band)"/>')
    parts += [_limit(y(limit), limit) for limit in shown]
    parts += [_mark(x(r.raised_ns), top, r) for r in raised[:2000]]
    parts += [_label(_LEFT - 8, top + 8, f"{most:.4g}", "end"), _label(_LEFT - 8, top + high, f"{low:.4g}", "end")]
    parts += [_label(_LEFT, top + high + 16, _time(begin), "start"), _label(_WIDE, top + high + 16, _time(begin + span), "end")]
    frame = f'<rect x="{_LEFT}" y="{top}" width="{_WIDE - _LEFT}" height="{high}" fill="none" stroke="var(--line)"/>'
    return f'<svg viewBox="0 0 {_WIDE} {top + high + 22}" role="img" aria-label="{escape(name)}">{frame}{"".join(parts)}</svg>'


def _band(begin: float, end: float, top: float, high: float, name: str) -> str:
    size = f'x="{begin:.1f}" y="{top}" width="{max(end - begin, 1.5):.1f}" height="{high}"'
    return f'<rect {size} fill="var(--known)" opacity=".6"><title>{escape(name)}</title></rect>'


def _limit(y: float, limit: float) -> str:
    line = f'<line x1="{_LEFT}" x2="{_WIDE}" y1="{y:.1f}" y2="{y:.1f}" stroke="var(--call)" stroke-dasharray="5 4"/>'
    return line + _label(_WIDE, y - 3, f"{limit:g}", "end")


def _mark(x: float, top: float, r: Raised) -> str:
    colour = "note" if r.advisory else "call"
    return f'<path d="M{x:.1f} {top - 1}l4 -9h-8z" fill="var(--{colour})"><title>{_time(r.told_ns)} {escape(r.alarm)}</title></path>'


def _label(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>'


def _time(time_ns: int) -> str:
    return str(np.datetime64(time_ns, "ns").astype("datetime64[s]")).replace("T", " ")


def _long(seconds: float) -> str:
    """A length of time as people say it.

    >>> _long(4.26), _long(250), _long(9000), _long(200_000)
    ('4.3 s', '4.2 min', '2.5 h', '2.3 d')
    """
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"
