"""From configuration to the Start entry: definitions with their permanent ids, and the plan of the pipeline."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec

from edge_agent import __version__
from edge_agent.alarms.expression import compiled
from edge_agent.config.agent import AgentSettings
from edge_agent.config.alarms import AlarmBase, DiscreteAlarm, ExpressionAlarm
from edge_agent.config.credentials import secured
from edge_agent.config.diverters import output_fields
from edge_agent.config.sections import PeriodicReport
from edge_agent.config.trained import Trained, TrainedModels, model_name, trained_models
from edge_agent.core import AlarmDefinition, Catalogue, ConfigError, Mistake, Start, Tag, pack
from edge_agent.core.model_file import ModelFileError, read
from edge_agent.pipeline.diverters import DiverterPlan
from edge_agent.pipeline.machines import ENVELOPE, OF_BEARING, UNITS, MachinePlan
from edge_agent.pipeline.plan import WATCH, GroupPlan, JudgementPlan, PipelinePlan, SourcePlan, StaticPlan
from edge_agent.pipeline.sensors import OUTPUTS, SensorPlan
from models import BANKS, GROUPS, GroupConfig
from models.auto import AutoConfig
from models.auto_judge import CAP
from models.budget import FINDING, BudgetConfig
from models.drift import Drift

DRIFT = f".{WATCH}.{Drift.outputs[0]}"
"""How the derived tags of watches over static models end."""

SOURCE_DELAY_S = 5.0
"""A source may be away so long before it is an alarm: a reconnect takes 1 to 2 s."""


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
        about = f"{model.kind}:{static.sha256 if static else _hash(model.model_dump(mode='json', exclude={'tags', 'name'}))[:16]}"
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
                    description=words, derived_from=(parent.name,), model=f"vibration:{_hash(about)[:16]}",
                )
            )  # fmt: skip
        envelope = f"{machine.name}.{ENVELOPE}" if machine.bearing is not None else ""
        if envelope:
            words = {lang: f"{text} · {machine.name} · {ENVELOPE}" for lang, text in parent.description.items()}
            tags.append(
                Tag(
                    id=0, name=envelope, kind="block", unit="(m/s2)2", path=parent.unit_path, class_=parent.class_, description=words,
                    derived_from=(parent.name,), model=f"vibration:{_hash(about)[:16]}",
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
        about = f"divert:{_hash(msgspec.to_builtins(plan))[:16]}"
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
    "mismatch": ("Diverter not where it was asked to be", "换向阀位置与请求不一致"),
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


def alarm_definitions(settings: AgentSettings, tags: list[Tag], previous: dict[str, AlarmDefinition]) -> tuple[AlarmDefinition, ...]:
    """Configured alarms, and the diagnostics that come with them; versions count up when a definition differs from `previous`."""
    by_name = {t.name: t for t in tags}
    definitions = [_alarm(a, by_name[a.tag]) for a in settings.alarms]
    blinding = {t.name: 5 for t in tags if not t.derived_from}
    for d in definitions:
        seen = compiled(d.expression).tags if d.kind == "expression" else settings.judged_roots(d.tag)
        for root in seen if not d.advisory else ():
            blinding[root] = min(blinding[root], d.priority)
    for t in (t for t in tags if not t.derived_from):
        priority, advisory = min(blinding[t.name], 4), blinding[t.name] == 5
        if t.expected_s is not None:
            definitions.append(_diagnostic(f"{t.name}.stale", t.name, "stale", priority, advisory))
        if t.kind == "numeric":
            definitions.append(_diagnostic(f"{t.name}.bad_quality", t.name, "bad_quality", priority, advisory))
    for source in settings.sources:
        mine = [blinding[t.name] for t in settings.tags if t.source == source.name and t.name in blinding]
        worst = min([4, *mine])
        definitions.append(_diagnostic(f"source/{source.name}.disconnected", "", "diagnostic", worst, worst > 3, delay_s=SOURCE_DELAY_S))
    definitions += [_drift(t.name) for t in tags if t.name.endswith(DRIFT)]
    definitions += _findings(settings)
    definitions += [_diagnostic(f"edge/{what}", "", "diagnostic", 2, False) for what in ("outbox_full", "log_damaged", "identity")]
    # Received times go on undisturbed when the wall clock steps; somebody should look after its source all the same.
    definitions.append(_diagnostic("edge/clock", "", "diagnostic", 3, True))
    if secured(settings):
        definitions.append(_diagnostic("edge/certificate", "", "diagnostic", 3, False))
    if settings.edge.gmp:
        definitions.append(_diagnostic("edge/not_approved", "", "diagnostic", 2, False))
    # A flood is listed, not called: it is one more alarm when there are too many.
    definitions.append(_diagnostic("edge/flood", "", "diagnostic", 4, True))
    versioned = []
    for d in definitions:
        old = previous.get(d.name)
        same = old is not None and msgspec.structs.replace(d, version=old.version) == old
        versioned.append(d if old is None else msgspec.structs.replace(d, version=old.version + (not same)))
    return tuple(versioned)


def _alarm(alarm: AlarmBase, tag: Tag) -> AlarmDefinition:
    fields = alarm.model_dump(exclude={"kind", "tag", "name", "state"})
    if isinstance(alarm, DiscreteAlarm):
        fields["limit"] = alarm.state
    return AlarmDefinition(
        name=alarm.name,
        tag=tag.name,
        kind=alarm.kind,  # type: ignore[attr-defined]
        unit="" if isinstance(alarm, ExpressionAlarm) else tag.unit,
        **{k: v for k, v in fields.items() if v is not None} | ({"advisory": True} if tag.adaptive else {}),
    )


_WORDS = {
    "stale": ({"en": "No values arrive", "zh": "无数据到达"}, {"en": "Check instrument, cable and source", "zh": "检查仪表、电缆和数据源"}),
    "bad_quality": ({"en": "The instrument reports a fault", "zh": "仪表报告故障"}, {"en": "Check the instrument", "zh": "检查仪表"}),
    "source": ({"en": "The source is not connected", "zh": "数据源未连接"}, {"en": "Check server and network", "zh": "检查服务器和网络"}),
    "edge/flood": (
        {"en": "Alarms come faster than people can act", "zh": "报警涌现，超出人员处理能力"},
        {"en": "Begin with the first alarm", "zh": "从首个报警开始处理"},
    ),
    "edge/certificate": (
        {"en": "A certificate expires soon or has expired", "zh": "证书即将到期或已过期"},
        {"en": "Renew the certificate before connections fail", "zh": "请在连接中断前更新证书"},
    ),
    "edge/not_approved": (
        {"en": "The configuration in the file is not the approved one", "zh": "配置文件与已批准的配置不一致"},
        {"en": "Have the change approved, or put the approved file back", "zh": "请批准该变更，或恢复已批准的文件"},
    ),
    "edge": ({"en": "The edge needs care", "zh": "边缘设备需要处理"}, {"en": "Call the automation engineer", "zh": "联系自动化工程师"}),
}


def _diagnostic(name: str, tag: str, kind: str, priority: int, advisory: bool, delay_s: float = 0.0) -> AlarmDefinition:
    cause, response = _WORDS[kind if kind in _WORDS else name if name in _WORDS else name.partition("/")[0]]
    return AlarmDefinition(name=name, tag=tag, kind=kind, priority=priority, advisory=advisory, on_delay_s=delay_s, cause=cause, response=response)  # type: ignore[arg-type]


def _drift(tag: str) -> AlarmDefinition:
    """The advisory that a static model no longer sees what it was trained on."""
    cause = {"en": "The scores of a static model are no longer those of its training", "zh": "静态模型的评分分布已偏离训练时的分布"}
    response = {"en": "Find out what changed; train and approve the model anew", "zh": "查明变化原因；重新训练并批准模型"}
    return AlarmDefinition(
        name=f"{tag}.high", tag=tag, kind="limit", side="high", limit=1.0, priority=4, advisory=True, cause=cause, response=response
    )  # fmt: skip


def _findings(settings: AgentSettings) -> list[AlarmDefinition]:
    """The advisories of alarm budgets, one for each tag that no configured alarm is about; what follows while another one stands is no message."""
    configured = {alarm.tag for alarm in settings.alarms}
    cause = {"en": "A score is higher than chance explains", "zh": "评分超出偶然波动可解释的范围"}
    found = []
    for place, model in enumerate(settings.models):
        for judged in settings.judged(place) if isinstance(model, BudgetConfig) else ():
            tag = f"{judged}.{model.kind}.{FINDING}"
            if tag not in configured:
                found.append(
                    AlarmDefinition(
                        name=f"{tag}.high", tag=tag, kind="limit", limit=0.5, priority=4, advisory=True, cause=cause,
                        group=f"budget/{model.name or model.kind}", when_not_first="suppress",
                    )
                )  # fmt: skip
    return found


def start_of(settings: AgentSettings, received_ns: int, previous: Start | None = None, trained: TrainedModels | None = None) -> Start:
    """The Start entry of a configuration; ids and versions go on from the `previous` one.

    Model files are read where `trained` does not hold them; ConfigError names those that cannot be used and have no other model in their place.
    """
    trained = trained if trained is not None else trained_models(settings)
    unusable = [error for place, error in trained.refused.items() if place not in trained.by_place]
    if unusable:
        raise ConfigError([Mistake(e.path, 1, e.key, e.expected, e.found) for e in unusable])
    measured = measured_tags(settings)
    vibrating, machines = machine_tags(settings, measured)
    derived, judgements, groups = judged_tags(settings, measured, trained.by_place, vibrating)
    sensed, sensors = sensor_tags(settings, measured)
    diverting, diverters = diverter_tags(settings, [*measured, *sensed])
    derived = [*vibrating, *derived, *sensed, *diverting]
    catalogue = Catalogue(previous.tags if previous else ()).revised([*measured, *derived])
    defined = {t.name for t in (*measured, *derived)}
    alarms = alarm_definitions(settings, [t for t in catalogue if t.name in defined], {a.name: a for a in previous.alarms} if previous else {})
    sources = tuple(SourcePlan(s.name, s.lossy, s.time.max_skew_s) for s in settings.sources)
    plan = PipelinePlan(
        site=settings.edge.site,
        software=f"pharmedge {__version__}",
        simulated=settings.edge.simulated,
        window_s=settings.windows.length_s,
        lateness_s=settings.windows.lateness_s,
        idle_s=settings.windows.idle_s,
        max_skew_s=settings.windows.max_skew_s,
        sources=sources,
        tag_source={t.name: t.source for t in settings.tags if t.source is not None},
        tag_lateness_s={t.name: t.lateness_s for t in settings.tags if t.lateness_s is not None},
        judgements=tuple(judgements),
        groups=tuple(groups),
        sensors=tuple(sensors),
        machines=tuple(machines),
        diverters=tuple(diverters),
        alarm_rules=settings.alarm_rules.rules(),
        mode_rules=settings.mode_rules.rules(),
        static=tuple(_static(settings, place, model, trained) for place, model in trained.by_place.items()),
    )
    config = msgspec.to_builtins(plan)
    return Start(
        received_ns=received_ns,
        edge=settings.edge.id,
        config=config,
        config_hash=_hash([config, msgspec.to_builtins(alarms), msgspec.to_builtins(tuple(catalogue))]),
        tags=tuple(catalogue),
        alarms=alarms,
        models={t.name: t.model for t in derived},
        fingerprint=fingerprint(),
    )


def _static(settings: AgentSettings, place: int, model: Trained, trained: TrainedModels) -> StaticPlan:
    configured = settings.models[place]
    refused = trained.refused.get(place)
    plan = StaticPlan(model_name(configured), configured.kind, model.sha256, refused=str(refused) if refused is not None else "")
    a = model.approval
    if a is None:
        return plan
    return msgspec.structs.replace(
        plan, approved_by=a.user, role=a.role, meaning=a.meaning, reason=a.reason, effective_ns=a.effective_ns, signature=a.signature
    )  # fmt: skip


def fingerprint() -> dict[str, str]:
    """Build, libm and CPU: what scores may differ by in their last bits."""
    return {
        "pharmedge": __version__,
        "python": platform.python_version(),
        "numpy": metadata.version("numpy"),
        "numba": metadata.version("numba"),
        "libc": "-".join(platform.libc_ver()),
        "machine": platform.machine(),
        "cpu": _cpu(),
    }


def _cpu() -> str:
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as info:  # noqa: PTH123 - not a file of ours
            return next((line.partition(":")[2].strip() for line in info if line.startswith("model name")), platform.processor())
    except OSError:
        return platform.processor()


def _hash(value: Any) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="sorted")).hexdigest()
