"""The tags of a configuration: the measured ones, and those derived by models, sensors, machines and diverters, with the plans that compute them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import msgspec

from edge_agent.config.agent import AgentSettings
from edge_agent.config.diverters import output_fields
from edge_agent.config.sections import PeriodicReport
from edge_agent.config.trained import Trained
from edge_agent.core import ConfigError, Mistake, Tag, pack
from edge_agent.core.model_file import ModelFileError, read
from edge_agent.pipeline.diverters import DiverterPlan
from edge_agent.pipeline.machines import ENVELOPE, OF_BEARING, UNITS, MachinePlan
from edge_agent.pipeline.plan import WATCH, GroupPlan, JudgementPlan
from edge_agent.pipeline.sensors import OUTPUTS, SensorPlan
from models import BANKS, GROUPS, GroupConfig
from models.auto import AutoConfig
from models.auto_judge import CAP
from models.budget import BudgetConfig
from models.drift import Drift

DRIFT = f".{WATCH}.{Drift.outputs[0]}"
"""How the derived tags of watches over static models end."""


def measured_tags(settings: AgentSettings) -> list[Tag]:
    """The configured tags; ids are given by the catalogue."""
    return [
        Tag(
            id=0,
            name=t.name,
            kind=t.kind,
            unit=t.unit,
            range=t.range,
            decimals=t.decimals,
            description={str(lang): text for lang, text in t.description.items()},
            path=t.path,
            class_=t.class_,
            role=t.role,
            expected_s=t.report.expected_s if isinstance(t.report, PeriodicReport) else None,
            record=t.record,
            record_reason=t.record_reason,
        )
        for t in settings.tags
    ]


_CRITICALITY = ("gmp_critical", "gmp", "safety", "environment", "other")


def judged_tags(
    settings: AgentSettings, measured: list[Tag], trained: Mapping[int, Trained], vibrating: Sequence[Tag] = ()
) -> tuple[list[Tag], list[JudgementPlan], list[GroupPlan]]:
    """Derived tags of all models and what computes them, values of vibrating machines judged like measured ones.

    Static models come with what their files hold and a watch over each of them.
    """
    known = {t.name: t for t in (*measured, *vibrating) if t.kind == "numeric"}
    level = dict.fromkeys(known, 0)
    highest: dict[str, float] = {}
    derived: list[Tag] = []
    plans: list[JudgementPlan] = []
    gathered: list[Tag] = []
    watches_of_tags: list[Tag] = []
    groups: list[GroupPlan] = []
    for place, model in enumerate(settings.models):
        static = trained.get(place)
        config = model.model_dump(mode="json", by_alias=True) | ({"file": static.sha256} if static else {})
        about = f"{model.kind}:{static.sha256 if static else content_hash(model.model_dump(mode='json', exclude={'tags', 'name'}))[:16]}"
        if isinstance(model, GroupConfig):
            parents = [known[n] for n in settings.gathered(model)]
            made = GROUPS[model.kind]
            outputs = tuple(f"{model.name}.{model.kind}.{output}" for output in made.outputs)
            gathered += [_gathered(output, unit, parents, model, about) for output, unit in zip(outputs, made.units, strict=True)]
            learned, watched = (static.learned[model.name], {o: part[model.name] for o, part in static.watched.items()}) if static else (b"", {})
            watches = tuple(_watch(f"{model.name}.{model.kind}.{output}") for output in watched)
            gathered += [_gathered(name, "", parents, model, about, WATCH) for name in watches]
            groups.append(GroupPlan(model.kind, model.name, tuple(p.name for p in parents), (*outputs, *watches), config, learned, watched))
            continue
        bank = BANKS[model.kind]
        names = [n for n in known if any(fnmatchcase(n, p) for p in model.tags)]
        if isinstance(model, BudgetConfig):
            config |= {"among": len(names)}
        if isinstance(model, AutoConfig):
            highest |= {f"{name}.auto.score": CAP / model.budget for name in names}
        for name in names:
            mine = {"tags": [name]} | ({"highest": highest[name]} if isinstance(model, BudgetConfig) and name in highest else {})
            outputs = tuple(f"{name}.{model.kind}.{output}" for output in bank.outputs)
            plans.append(JudgementPlan(model.kind, name, outputs, config | mine, level[name], static.learned[name] if static else b""))
            for output, unit in zip(outputs, bank.units, strict=True):
                derived.append(_derived(output, unit, known[name], model, about))
                level[output] = level[name] + 1
            for watched_output, calibrations in static.watched.items() if static else ():
                output = f"{name}.{model.kind}.{watched_output}"
                drift = {"kind": WATCH, "tags": [output], "file": config["file"]}
                plans.append(JudgementPlan(WATCH, output, (_watch(output),), drift, level[output], calibrations[name]))
                watches_of_tags.append(_derived(_watch(output), "", known[name], model, about, WATCH, parent_name=output))
        known |= {t.name: t for t in derived}
    return [*derived, *watches_of_tags, *gathered], plans, groups


def _watch(output: str) -> str:
    """The derived tag of the watch over an output."""
    return output + DRIFT


def _gathered(name: str, unit: str, parents: list[Tag], model: Any, about: str, what: str = "") -> Tag:
    """A derived tag of several: as critical as the most critical of them."""
    worst = min(parents, key=lambda t: _CRITICALITY.index(t.class_))
    words = dict.fromkeys(worst.description, " · ".join(filter(None, (model.name, model.kind, what))))
    return msgspec.structs.replace(_derived(name, unit, worst, model, about), description=words, derived_from=tuple(p.name for p in parents))


def _derived(name: str, unit: str, parent: Tag, model: Any, about: str, what: str = "", parent_name: str = "") -> Tag:
    return Tag(
        id=0,
        name=name,
        unit=unit,
        path=parent.unit_path,
        class_=parent.class_,
        description={lang: " · ".join(filter(None, (text, model.kind, what))) for lang, text in parent.description.items()},
        record="summary",
        record_reason="recomputed bit for bit from the journal",
        derived_from=(parent_name or parent.name,),
        model=about,
        adaptive=model.learns,
    )


def sensor_tags(settings: AgentSettings, measured: list[Tag]) -> tuple[list[Tag], list[SensorPlan]]:
    """Derived tags of the soft sensors, as critical as their streams, and what computes them; ConfigError where a model file cannot be read."""
    known = {t.name: t for t in measured}
    tags: list[Tag] = []
    plans: list[SensorPlan] = []
    for sensor in settings.sensors:
        try:
            file = read(Path(sensor.file))
        except ModelFileError as error:
            raise ConfigError([Mistake(error.path, 1, error.key, error.expected, error.found)]) from error
        parent = known[sensor.tag]
        unit = sensor.unit or file.units.get("value", "")
        names = tuple(f"{sensor.name}.{output}" for output in OUTPUTS)
        for name, output in zip(names, OUTPUTS, strict=True):
            words = {lang: f"{text} · {sensor.name} · {output}" for lang, text in parent.description.items()}
            tags.append(
                Tag(
                    id=0, name=name, unit=unit if output in ("value", "low", "high") else "", decimals=sensor.decimals, path=parent.unit_path,
                    class_=parent.class_, description=words, derived_from=(parent.name,), model=f"{file.kind}:{file.sha256}",
                )
            )  # fmt: skip
        plans.append(SensorPlan(sensor.name, sensor.tag, names, file.sha256, pack(file.arrays)))
    return tags, plans


def machine_tags(settings: AgentSettings, measured: list[Tag]) -> tuple[list[Tag], list[MachinePlan]]:
    """Derived tags of the rotating machines, as critical as their streams, and what computes them."""
    known = {t.name: t for t in measured}
    tags: list[Tag] = []
    plans: list[MachinePlan] = []
    for machine in settings.machines:
        parent = known[machine.tag]
        about = machine.model_dump(mode="json", exclude={"name", "tag", "decimals", *(() if machine.speed_tag else ("speed_tag",))})
        made = {o: unit for o, unit in UNITS.items() if machine.bearing is not None or o not in OF_BEARING}
        for output, unit in made.items():
            words = {lang: f"{text} · {machine.name} · {output}" for lang, text in parent.description.items()}
            tags.append(
                Tag(
                    id=0, name=f"{machine.name}.{output}", unit=unit, decimals=machine.decimals, path=parent.unit_path, class_=parent.class_,
                    description=words, derived_from=(parent.name,), model=f"vibration:{content_hash(about)[:16]}",
                )
            )  # fmt: skip
        envelope = f"{machine.name}.{ENVELOPE}" if machine.bearing is not None else ""
        if envelope:
            words = {lang: f"{text} · {machine.name} · {ENVELOPE}" for lang, text in parent.description.items()}
            tags.append(
                Tag(
                    id=0, name=envelope, kind="block", unit="(m/s2)2", path=parent.unit_path, class_=parent.class_, description=words,
                    derived_from=(parent.name,), model=f"vibration:{content_hash(about)[:16]}",
                )
            )  # fmt: skip
        b = machine.bearing
        bearing = None if b is None else (b.elements, b.ball_mm, b.pitch_mm, b.angle_deg)
        names = tuple(f"{machine.name}.{output}" for output in made)
        plans.append(
            MachinePlan(
                machine.name, machine.tag, names, machine.speed_rpm, bearing, machine.group, machine.support, machine.full_scale,
                machine.speed_tag or "", envelope,
            )
        )  # fmt: skip
    return tags, plans


def diverter_tags(settings: AgentSettings, others: list[Tag]) -> tuple[list[Tag], list[DiverterPlan]]:
    """Derived tags of the diverters, as critical as the most critical of what they look at, and what computes them."""
    known = {t.name: t for t in others}
    tags: list[Tag] = []
    plans: list[DiverterPlan] = []
    for diverter in settings.diverters:
        plan = diverter.plan()
        parents = [known[name] for name in dict.fromkeys(diverter.inputs().values())]
        worst = min(parents, key=lambda t: _CRITICALITY.index(t.class_))
        about = f"divert:{content_hash(msgspec.to_builtins(plan))[:16]}"
        for name in plan.outputs:
            words = _DIVERTER[name.rpartition(".")[2]]
            tags.append(
                Tag(
                    id=0, name=name, path=parents[0].unit_path, class_=worst.class_, description=dict(zip(("en", "zh"), words, strict=True)),
                    derived_from=tuple(p.name for p in parents), model=about, **output_fields(name),
                )
            )  # fmt: skip
        plans.append(plan)
    return tags, plans


_DIVERTER = {
    "divert_request": ("Divert request", "剔除请求"),
    "reason": ("Reason of the divert request", "剔除原因"),
    "state": ("State of the divert decision", "剔除判断状态"),
    "watchdog": ("Watchdog of the divert request", "剔除请求看门狗"),
    "valid_until": ("Divert request valid until", "剔除请求有效期"),
    "mismatch": ("Diverter: 1 not where it was asked to be, 2 no feedback", "换向阀：1＝不在请求位置，2＝无反馈"),
    "low": ("Lowest possible content at the diverter", "换向阀处含量下界"),
    "high": ("Highest possible content at the diverter", "换向阀处含量上界"),
    "limit_low": ("Lower limit in force, its margin taken off", "生效下限（已扣裕量）"),
    "limit_high": ("Upper limit in force, its margin taken off", "生效上限（已扣裕量）"),
    "feed": ("Content of the feed", "进料含量"),
    "flow": ("Total flow of the feeders", "总进料流量"),
    "starts_s": ("Material outside its limits arrives in", "超限物料到达剩余时间"),
    "ends_s": ("Material outside its limits has passed in", "超限物料通过剩余时间"),
    "accepted_kg": ("Accepted material", "合格物料累计"),
    "diverted_kg": ("Diverted material", "剔除物料累计"),
    "unconfirmed_kg": ("Material that passed without feedback of the diverter", "换向阀无反馈时通过的物料"),
    "against_kg": ("Material accepted against the request", "违反请求而放行的物料"),
    "unseen_s": ("Time in which the edge did not run or the flow was not known", "边缘设备未运行或流量未知的时间"),
}


def content_hash(value: Any) -> str:
    """SHA-256 of a value as JSON with sorted keys; structures as the mappings of their fields."""
    return hashlib.sha256(msgspec.json.encode(value, order="sorted")).hexdigest()
