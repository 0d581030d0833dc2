"""From configuration to the Start entry: definitions with their permanent ids, and the plan of the pipeline."""

from __future__ import annotations

import platform
from importlib import metadata

import msgspec

from edge_agent import __version__
from edge_agent.alarms.expression import compiled
from edge_agent.config.agent import AgentSettings
from edge_agent.config.alarms import AlarmBase, DiscreteAlarm, ExpressionAlarm
from edge_agent.config.credentials import secured
from edge_agent.config.derivation import Derivation
from edge_agent.config.tags import DRIFT, content_hash, diverter_tags, judged_tags, machine_tags, measured_tags, sensor_tags
from edge_agent.config.trained import Trained, TrainedModels, model_name, trained_models
from edge_agent.core import AlarmDefinition, Catalogue, ConfigError, Mistake, Start, Tag
from edge_agent.pipeline.plan import PipelinePlan, SourcePlan, StaticPlan
from edge_agent.uplinks.syslog import SyslogConfig
from models.budget import FINDING, BudgetConfig

SOURCE_DELAY_S = 5.0
"""A source may be away so long before it is an alarm: a reconnect takes 1 to 2 s."""


def alarm_definitions(settings: AgentSettings, tags: list[Tag], previous: dict[str, AlarmDefinition]) -> tuple[AlarmDefinition, ...]:
    """Configured alarms, and the diagnostics that come with them; versions count up when a definition differs from `previous`."""
    by_name = {t.name: t for t in tags}
    definitions = [_alarm(a, by_name[a.tag]) for a in settings.alarms]
    blinding = {t.name: 5 for t in tags if not t.derived_from}
    derivation = Derivation(settings)
    for d in definitions:
        seen = compiled(d.expression).tags if d.kind == "expression" else derivation.roots(d.tag)
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
    definitions += [_diagnostic(f"edge/outbox_{what}", "", "diagnostic", priority, False) for what, priority in (("filling", 3), ("nearly_full", 2))]
    if any(isinstance(uplink, SyslogConfig) for uplink in settings.uplinks):
        definitions.append(_diagnostic("edge/audit_unsent", "", "diagnostic", 3, False))
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
        if old is None:
            versioned.append(d)
            continue
        same = msgspec.structs.replace(d, version=old.version)
        versioned.append(old if same == old else msgspec.structs.replace(d, version=old.version + 1))
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
    "edge/audit_unsent": (
        {"en": "A log server was away for so long that audit entries were given up", "zh": "日志服务器离线过久，部分审计记录未发送即被放弃"},
        {"en": "Bring the log server back; a gateway's trail has the entries", "zh": "恢复日志服务器；网关审计追踪中仍有这些记录"},
    ),
    "edge/outbox_filling": (
        {"en": "Of the room for what waits for delivery 70 % is used", "zh": "待发数据已用到存储上限的 70%"},
        {"en": "Bring gateway, broker or network back", "zh": "恢复网关、消息代理或网络"},
    ),
    "edge/outbox_nearly_full": (
        {"en": "Of the room for what waits for delivery 90 % is used", "zh": "待发数据已用到存储上限的 90%"},
        {
            "en": "Bring gateway, broker or network back at once: values are given up when it is full",
            "zh": "立即恢复网关、消息代理或网络：存满后将放弃部分数值",
        },
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
        config_hash=content_hash([config, alarms, tuple(catalogue)]),
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
