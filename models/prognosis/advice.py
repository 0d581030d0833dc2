"""Advice to maintenance in words, English and Chinese: what, why, how soon, how sure. Nothing is advised where nothing is known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from models.prognosis.remaining import Estimate
from models.prognosis.rotating import Finding
from models.prognosis.trend import Passage

_PARTS: Final = {"outer race": "外圈", "inner race": "内圈", "ball": "滚动体", "cage": "保持架"}
_REFUSED: Final = {
    "bad input": ("no remaining life: values are missing or bad", "无法给出剩余寿命：数值缺失或质量不良"),
    "too young": ("no remaining life: the unit has run too short", "无法给出剩余寿命：设备运行时间太短"),
    "unknown condition": ("no remaining life: an operating condition that was never seen", "无法给出剩余寿命：工况未曾出现"),
}


@dataclass(frozen=True, slots=True)
class Advice:
    """One piece of advice; each a text in English and in Chinese. urgency: act, plan or watch."""

    urgency: str
    what: dict[str, str]
    why: dict[str, str]
    how_soon: dict[str, str]
    how_sure: dict[str, str]

    def text(self, language: str) -> str:
        """All four in one line."""
        parts = (self.what[language], self.why[language], self.how_soon[language], self.how_sure[language])
        return ("；".join(parts) + "。") if language == "zh" else ("; ".join(parts) + ".")


def urgency(soon: float, lead: float, horizon: float) -> str:
    """act when the early end of the range lies within the lead time of the work, plan within the planning horizon behind it, else watch.

    >>> [urgency(s, 3.0, 14.0) for s in (2.0, 10.0, 40.0)]
    ['act', 'plan', 'watch']
    """
    return "act" if soon <= lead else "plan" if soon <= lead + horizon else "watch"


def of_life(
    unit: str, e: Estimate, sensors: tuple[str, ...], *, lead: float, horizon: float, per: tuple[str, str] = ("cycles", "个循环")
) -> Advice | None:
    """Advice from a fleet's remaining life; None for a status without a number (`refusal` says why). sensors: names by column."""
    if not math.isfinite(e.remaining):
        return None
    how = urgency(e.lower, lead, horizon)
    what = {
        "act": (f"Overhaul {unit} now", f"立即检修 {unit}"),
        "plan": (f"Plan the overhaul of {unit}", f"安排 {unit} 的检修"),
        "watch": (f"Keep watching {unit}", f"继续观察 {unit}"),
    }[how]
    moved = ", ".join(sensors[c] for c, _ in e.sensors[:3])
    u, r, w = e.alike[0]
    strange = e.status == "new pattern"
    sure = (
        f"the interval holds 90 of 100 units; nearest history weighs {100 * w:.0f} %",
        f"区间对 100 台设备中的 90 台成立；最相似历史的权重为 {100 * w:.0f} %",
    )
    odd = ("no known history looks like this unit: do not rely on the number", "没有相似的历史：请勿依赖该数值")
    return Advice(
        how,
        {"en": what[0], "zh": what[1]},
        {
            "en": f"{moved} moved; it looks like unit {u + 1} at {r} {per[0]} before its end",
            "zh": f"{moved} 发生变化；与设备 {u + 1} 失效前 {r} {per[1]}时相似",
        },
        {
            "en": f"about {e.remaining:.0f} {per[0]}, between {e.lower:.0f} and {e.upper:.0f}",
            "zh": f"约 {e.remaining:.0f} {per[1]}，{e.lower:.0f} 至 {e.upper:.0f} 之间",
        },
        {"en": odd[0] if strange else sure[0], "zh": odd[1] if strange else sure[1]},
    )


def refusal(e: Estimate) -> dict[str, str]:
    """Why there is no number, empty when there is one."""
    said = _REFUSED.get(e.status)
    return {"en": said[0], "zh": said[1]} if said is not None else {}


def of_trend(tag: str, p: Passage, *, lead: float, horizon: float, per: tuple[str, str] = ("h", "小时")) -> Advice | None:
    """Advice from a drift towards a limit; None when it is not estimable."""
    if p.status == "not estimable":
        return None
    how = "act" if p.status == "passed" else urgency(p.soon, lead, horizon)
    if p.status == "passed":
        return Advice(
            how,
            {"en": f"Service what {tag} stands for now", "zh": f"立即维护 {tag} 对应的部件"},
            {"en": "its limit is passed", "zh": "已超过限值"},
            {"en": "at once", "zh": "立即"},
            {"en": "measured", "zh": "实测"},
        )
    what = {
        "act": (f"Service what {tag} stands for now", f"立即维护 {tag} 对应的部件"),
        "plan": (f"Plan the service of what {tag} stands for", f"安排 {tag} 对应部件的维护"),
        "watch": (f"Keep watching {tag}", f"继续观察 {tag}"),
    }[how]
    return Advice(
        how,
        {"en": what[0], "zh": what[1]},
        {"en": f"{tag} drifts by {p.drift:.3g} per {per[0]} towards its limit", "zh": f"{tag} 以每{per[1]} {p.drift:.3g} 的速度趋近限值"},
        {"en": f"most likely in {p.middle:.0f} {per[0]}", "zh": f"最可能在 {p.middle:.0f} {per[1]}后"},
        {"en": f"80 %: between {p.soon:.0f} and {p.late:.0f} {per[0]}", "zh": f"80 %：{p.soon:.0f} 至 {p.late:.0f} {per[1]}之间"},
    )


def of_bearing(machine: str, f: Finding, zone: str) -> Advice | None:
    """Advice from the envelope and the severity of one machine; None when no line stands out and the zone is A or B."""
    if not f.part and zone not in ("C", "D"):
        return None
    how = "act" if zone == "D" else "plan"
    low = {"A": "new", "B": "fit for long", "C": "for a limited time only", "D": "damaging"}.get(zone, "unknown")
    zh = {"A": "新机水平", "B": "可长期运行", "C": "仅可短期运行", "D": "可能造成损坏"}.get(zone, "未知")
    if f.part:
        why = (
            f"lines of the {f.part} stand {f.strength:.0f} times above the floor of the envelope",
            f"{_PARTS[f.part]}特征频率为包络谱底噪的 {f.strength:.0f} 倍",
        )
    else:
        why = (
            "velocity is high without a line of the bearing: look for unbalance, misalignment, looseness",
            "速度有效值高但无轴承特征频率：检查不平衡、不对中、松动",
        )
    return Advice(
        how,
        {
            "en": f"Inspect the bearing of {machine}" if f.part else f"Inspect {machine}",
            "zh": f"检查 {machine} 的轴承" if f.part else f"检查 {machine}",
        },
        {"en": why[0], "zh": why[1]},
        {"en": f"severity zone {zone or '?'}: {low}", "zh": f"振动烈度区域 {zone or '?'}：{zh}"},
        {"en": "a first sign; vibration alone gives no remaining life", "zh": "仅为早期征兆；单凭振动不能给出剩余寿命"},
    )
