"""Signals of the rotary tablet press and their instruments."""

from __future__ import annotations

from simulators.signals import Signal

UNIT = "press1"

STATIONS = 36
"""Stations of the turret: 36 stations at 40 r/min press 24 tablets a second."""


def _ua(name: str, unit: str, low: float, high: float, decimals: int, period_s: float, en: str, zh: str,
        tag_class: str = "gmp") -> Signal:
    return Signal(f"{UNIT}/{name}", unit, low, high, decimals, period_s, "opcua", en, zh, tag_class=tag_class)


def _text(name: str, en: str, zh: str) -> Signal:
    return Signal(f"{UNIT}/{name}", "", 0.0, 0.0, 0, 0.0, "opcua", en, zh, kind="text", role=name)


def _mqtt(name: str, unit: str, low: float, high: float, decimals: int, period_s: float, en: str, zh: str,
          tag_class: str = "gmp") -> Signal:
    return Signal(f"{UNIT}/{name}", unit, low, high, decimals, period_s, "mqtt", en, zh, tag_class=tag_class)


def press_signals(ipc_period_s: float) -> tuple[Signal, ...]:
    """All signals of the press; `ipc_period_s` is the interval of the in-process control of weight and hardness."""
    return (
        _ua("turret_speed", "r/min", 0, 80, 1, 1.0, "Turret speed", "转台转速"),
        _ua("main_force", "kN", 0, 40, 2, 1.0, "Main compression force, mean of the last second", "主压力（1 s 均值）",
            "gmp_critical"),
        _ua("pre_force", "kN", 0, 10, 2, 1.0, "Pre-compression force, mean of the last second", "预压力（1 s 均值）"),
        _ua("ejection_force", "N", 0, 1000, 0, 1.0, "Ejection force, mean of the last second", "出片力（1 s 均值）"),
        _ua("fill_depth", "mm", 0, 20, 3, 1.0, "Fill depth", "填充深度"),
        _ua("feeder_speed", "r/min", 0, 100, 1, 1.0, "Feeder paddle speed", "强迫加料器转速"),
        _ua("hopper_level", "%", 0, 100, 1, 1.0, "Hopper level", "料斗料位"),
        _ua("drive_torque", "%", 0, 120, 1, 1.0, "Main drive torque", "主驱动扭矩", "other"),
        _ua("tablets_made", "10³", 0, 1000, 2, 1.0, "Tablets pressed in this batch", "本批压片数", "other"),
        _ua("force_rsd", "%", 0, 20, 2, 1.5, "Relative standard deviation of the force over one turn", "每转压力相对标准偏差"),
        _ua("station_dev", "%", -30, 30, 2, 1.5, "Largest force loss of one station against its calibrated factor",
            "单冲最大压力偏差"),
        _ua("station_no", "", 0, 36, 0, 1.5, "Station with the largest force loss", "偏差最大冲位号", "other"),
        _ua("peak_force", "kN", 0, 40, 2, 0.1, "Main compression force of the last tablet", "末片主压力峰值"),
        _ua("ejection_peak", "N", 0, 1000, 0, 0.1, "Ejection force of the last tablet", "末片出片力峰值"),
        _mqtt("nir_api", "%LC", 0, 120, 1, 2.0, "API at the feed frame by NIR", "加料架近红外主药含量", "gmp_critical"),
        _mqtt("tablet_weight", "mg", 0, 600, 1, ipc_period_s, "Tablet weight, mean of 20", "片重（20 片均值）", "gmp_critical"),
        _mqtt("weight_force_ratio", "1", 0, 2, 4, ipc_period_s, "Weight against the weight expected from the force",
              "片重与压力推算片重之比"),
        _mqtt("hardness", "N", 0, 300, 0, ipc_period_s, "Tablet hardness, mean of 10", "硬度（10 片均值）"),
        _mqtt("thickness", "mm", 0, 10, 2, ipc_period_s, "Tablet thickness, mean of 10", "厚度（10 片均值）"),
        _mqtt("room_temp", "°C", 0, 50, 1, 5.0, "Room temperature", "房间温度", "environment"),
        _mqtt("room_rh", "%", 0, 100, 1, 5.0, "Room relative humidity", "房间相对湿度", "environment"),
        _text("batch", "Batch number", "批号"),
        _text("phase", "Batch phase", "工序阶段"),
        _text("mode", "Unit mode", "设备模式"),
    )


NOISE: dict[str, tuple[float, float]] = {
    # name: (sigma in the signal's unit, phi). The tablets' own scatter comes on top for the forces.
    "turret_speed": (0.1, 0.3),
    "main_force": (0.14, 0.2),  # with 2.2 % scatter of 24 tablets: 0.15 kN
    "pre_force": (0.04, 0.2),
    "ejection_force": (9.5, 0.3),
    "fill_depth": (0.005, 0.0),
    "feeder_speed": (0.2, 0.3),
    "hopper_level": (1.0, 0.3),
    "drive_torque": (1.0, 0.3),
    "tablets_made": (0.0, 0.0),
    "force_rsd": (0.05, 0.0),  # the scatter of 36 tablets gives 0.25 %
    "station_dev": (0.0, 0.0),
    "station_no": (0.0, 0.0),
    "peak_force": (0.02, 0.0),
    "ejection_peak": (4.0, 0.0),
    "nir_api": (1.0, 0.2),
    "tablet_weight": (0.0, 0.0),  # the balance's noise is drawn per tablet
    "weight_force_ratio": (0.0, 0.0),
    "hardness": (0.0, 0.0),
    "thickness": (0.01, 0.0),
    "room_temp": (0.1, 0.9),
    "room_rh": (0.8, 0.9),
}
"""Instrument noise of each numeric signal."""

DIGITAL = frozenset({"tablets_made", "station_no"})
"""Counts, carried as they are: no noise, no converter."""
