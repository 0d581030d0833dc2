"""The line of the tests: blender, press and coater, each tag with the shape of its values."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

S = 1_000_000_000
EDGES = ("press-edge-1", "coat-edge-1")


@dataclass(frozen=True)
class Signal:
    """One tag: what it is, and the shape of its values."""

    name: str
    unit: str
    low: float
    high: float
    decimals: int
    mean: float
    sigma: float
    en: str
    zh: str
    period_s: float | None = 1.0
    swing: float = 0.0
    swing_s: float = 900.0
    klass: str = "gmp"
    limits: tuple[tuple[str, float, int], ...] = ()
    edge: str = EDGES[0]
    texts: tuple[str, ...] = ()
    role: str = "value"
    derived_from: tuple[str, ...] = ()
    text_s: float = 900.0

    @property
    def key(self) -> str:
        return f"{self.edge}:{self.name}"

    def values(self, time_ns: np.ndarray) -> np.ndarray:
        """The value at each instant: a slow swing and noise that depends on the instant alone."""
        t = time_ns / S
        seed = sum(map(ord, self.name))
        noise = np.modf(np.abs(np.sin(np.floor(t / (self.period_s or 1.0)) * 12.9898 + seed) * 43758.5453))[0] - 0.5
        return self.mean + self.swing * np.sin(2 * math.pi * t / self.swing_s + seed) + 2.4 * self.sigma * noise

    def text(self, time_ns: int) -> str:
        return self.texts[int(time_ns // int(self.text_s * S)) % len(self.texts)]


SIGNALS: tuple[Signal, ...] = (
    Signal(
        "blender1/api_flow",
        "kg/h",
        0,
        4,
        3,
        2.0,
        0.02,
        "API feeder flow",
        "主药喂料流量",
        klass="gmp_critical",
        limits=(("high", 2.1, 2), ("low", 1.9, 2)),
        swing=0.02,
        swing_s=400,
    ),
    Signal(
        "blender1/excipient_flow",
        "kg/h",
        0,
        30,
        2,
        18.0,
        0.1,
        "Excipient feeder flow",
        "辅料喂料流量",
        limits=(("high", 18.6, 3), ("low", 17.4, 3)),
        swing=0.12,
        swing_s=700,
    ),
    Signal("blender1/speed", "r/min", 0, 400, 0, 240, 1.0, "Blender speed", "混合机转速"),
    Signal("blender1/torque", "Nm", 0, 10, 2, 3.4, 0.08, "Blender torque", "混合机扭矩", limits=(("high", 4.5, 3),), swing=0.2),
    Signal("blender1/holdup", "kg", 0, 2, 2, 0.8, 0.01, "Blender hold-up", "混合机滞留量", swing=0.04, limits=(("low", 0.65, 3),)),
    Signal(
        "blender1/nir_api",
        "%LC",
        0,
        120,
        1,
        100.2,
        0.5,
        "API after the blender by NIR",
        "混合后近红外主药含量",
        period_s=2.0,
        klass="gmp_critical",
        limits=(("high", 103, 1), ("low", 97, 1)),
        swing=0.5,
        swing_s=500,
    ),
    Signal("blender1/phase", "", 0, 0, 0, 0, 0, "Batch phase", "工序", period_s=None, texts=("blending",), role="phase"),
    Signal("blender1/batch", "", 0, 0, 0, 0, 0, "Batch", "批次", period_s=None, texts=("B0007", "B0008"), role="batch", text_s=2400),
    Signal(
        "press1/main_force",
        "kN",
        0,
        40,
        2,
        12.0,
        0.15,
        "Main compression force",
        "主压力",
        klass="gmp_critical",
        limits=(("high", 16.0, 2), ("low", 9.0, 2)),
        swing=0.25,
        swing_s=600,
    ),
    Signal("press1/pre_force", "kN", 0, 10, 2, 2.5, 0.05, "Pre-compression force", "预压力", limits=(("high", 4.0, 3),)),
    Signal("press1/ejection_force", "N", 0, 1000, 0, 205, 6, "Ejection force", "出片力", limits=(("high", 400, 2),), swing=12, swing_s=1700),
    Signal("press1/turret_speed", "r/min", 0, 80, 1, 40.0, 0.1, "Turret speed", "转台转速"),
    Signal("press1/fill_depth", "mm", 0, 20, 3, 10.0, 0.005, "Fill depth", "填充深度", limits=(("high", 10.5, 3), ("low", 9.5, 3)), swing=0.06),
    Signal(
        "press1/tablet_weight",
        "mg",
        0,
        600,
        1,
        300.0,
        0.6,
        "Tablet weight, mean of 20",
        "片重（20 片均值）",
        period_s=2.0,
        klass="gmp_critical",
        limits=(("high", 306, 1), ("low", 294, 1)),
        swing=0.8,
        swing_s=800,
    ),
    Signal("press1/hopper_level", "%", 0, 100, 1, 55.0, 0.6, "Hopper level", "料斗料位", swing=4, swing_s=450, limits=(("low", 20, 3),)),
    Signal("press1/tablets_made", "", 0, 100000, 0, 48210, 3, "Tablets pressed in this batch", "本批压片数", klass="other"),
    Signal(
        "press1/room_temp", "Cel", 0, 50, 1, 22.1, 0.1, "Room temperature", "房间温度", period_s=5.0, klass="environment", limits=(("high", 25, 4),)
    ),
    Signal("press1/batch", "", 0, 0, 0, 0, 0, "Batch", "批次", period_s=None, texts=("B0007", "B0008"), role="batch", text_s=2400),
    Signal(
        "press1/phase",
        "",
        0,
        0,
        0,
        0,
        0,
        "Batch phase",
        "工序",
        period_s=None,
        texts=("start-up", "compression", "compression", "compression"),
        role="phase",
    ),
    Signal("press1/mode", "", 0, 0, 0, 0, 0, "Unit mode", "设备模式", period_s=None, texts=("production",), role="mode"),
    Signal("press1/main_force.ewma.z", "", 0, 0, 2, 0.1, 0.5, "Main compression force · ewma", "主压力 · ewma", derived_from=("press1/main_force",)),
    Signal("press1/ejection_force.ewma.z", "", 0, 0, 2, -0.2, 0.4, "Ejection force · ewma", "出片力 · ewma", derived_from=("press1/ejection_force",)),
    Signal(
        "coater1/bed_temp",
        "Cel",
        0,
        80,
        1,
        42.5,
        0.3,
        "Tablet bed temperature",
        "片床温度",
        klass="gmp_critical",
        edge=EDGES[1],
        limits=(("high", 45, 2), ("low", 40, 2)),
        swing=0.6,
        swing_s=1100,
    ),
    Signal(
        "coater1/inlet_temp", "Cel", 0, 100, 1, 60.0, 0.3, "Inlet air temperature", "进风温度", edge=EDGES[1], limits=(("high", 65, 3),), swing=0.8
    ),
    Signal("coater1/air_flow", "m3/h", 0, 5000, 0, 3200, 25, "Air flow", "风量", edge=EDGES[1], limits=(("low", 2500, 3),), swing=60),
    Signal("coater1/spray_rate", "g/min", 0, 500, 0, 250, 3, "Spray rate", "喷液速率", edge=EDGES[1], limits=(("high", 350, 3),), swing=6),
    Signal("coater1/pan_dp", "Pa", -100, 0, 0, -45, 2, "Pan pressure difference", "锅内压差", edge=EDGES[1], limits=(("high", -30, 2),)),
    Signal("coater1/exhaust_rh", "%", 0, 100, 1, 27, 0.6, "Exhaust humidity", "排风湿度", period_s=5.0, edge=EDGES[1]),
    Signal("coater1/phase", "", 0, 0, 0, 0, 0, "Batch phase", "工序", period_s=None, texts=("spraying",), role="phase", edge=EDGES[1]),
)

TEXTS: dict[str, dict[str, dict[str, str]]] = {
    "press1/ejection_force.high": {
        "cause": {"en": "Too little lubricant, worn dies", "zh": "润滑不足、中模磨损"},
        "consequence": {"en": "Punch sticking, capping", "zh": "黏冲、裂片"},
        "response": {
            "en": "Check the lubricant in the blend; sample ten tablets and look for scratches.",
            "zh": "检查混合物润滑剂；取十片检查划痕。",
        },
    },
    "press1/hopper_level.low": {
        "cause": {"en": "Bin empty or bridged", "zh": "料斗空或架桥"},
        "consequence": {"en": "Weight falls within two minutes", "zh": "两分钟内片重下降"},
        "response": {"en": "Change the bin.", "zh": "更换料桶。"},
    },
}
