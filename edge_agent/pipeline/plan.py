"""What the pipeline is set up with: arrays per tag, read from the entry that the agent writes when it starts."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import numpy as np
import pydantic
from numpy.typing import NDArray

from edge_agent.alarms import AlarmRules
from edge_agent.core import Catalogue, Start, unpack
from edge_agent.pipeline.banks import Banks, Judgement
from edge_agent.pipeline.diverters import DiverterPlan
from edge_agent.pipeline.groups import Gathering, Groups
from edge_agent.pipeline.machines import MachinePlan
from edge_agent.pipeline.modes import ModeRules
from edge_agent.pipeline.sensors import SensorPlan
from edge_agent.pipeline.ticks import seconds_ns
from models import BANKS, GROUPS, AnyModel
from models.drift import Drift, DriftConfig
from models.model import GroupConfig, ModelConfig

WATCH: Final = "drift"
"""Kind of the judgements that watch over static models."""
_model: Final[pydantic.TypeAdapter[Any]] = pydantic.TypeAdapter(AnyModel)


class JudgementPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One tag to be judged by one model: its parameters, its derived tags, and how many models stand before it."""

    kind: str
    tag: str
    outputs: tuple[str, ...]
    config: dict[str, Any]
    level: int = 0
    learned: bytes = b""
    """Packed arrays of a static model; its configuration has the SHA-256 of the model file as `file`."""


class GroupPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Tags to be judged together by one model: its parameters and its derived tags."""

    kind: str
    name: str
    tags: tuple[str, ...]
    outputs: tuple[str, ...]
    config: dict[str, Any]
    learned: bytes = b""
    """Packed arrays of a static model; its configuration has the SHA-256 of the model file as `file`."""
    watched: dict[str, bytes] = {}
    """Outputs whose drift is watched to their packed calibration; the watch's own derived tags stand behind those of the model."""


class StaticPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A static model in force: its file, who approved it, and why another file was refused in its favour."""

    name: str
    kind: str
    sha256: str
    approved_by: str = ""
    role: str = ""
    meaning: str = ""
    reason: str = ""
    effective_ns: int = 0
    signature: str = ""
    refused: str = ""


class SourcePlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the pipeline must know of a source."""

    name: str
    lossy: bool = False
    """Values that arise while it is disconnected are lost."""
    max_skew_s: float | None = None
    """Its clock may be ahead by so much; None: as the plan says for all."""


class PipelinePlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The part of the configuration that decides what the pipeline does; kept in every Start entry."""

    site: str = ""
    software: str = ""
    simulated: bool = False
    window_s: float = 10.0
    lateness_s: float = 2.0
    idle_s: float = 10.0
    max_skew_s: float = 5.0
    sources: tuple[SourcePlan, ...] = ()
    tag_source: dict[str, str] = {}
    tag_lateness_s: dict[str, float] = {}
    """Tags whose values come later than `lateness_s` as a rule: an analyser that stamps the sampling."""
    judgements: tuple[JudgementPlan, ...] = ()
    groups: tuple[GroupPlan, ...] = ()
    sensors: tuple[SensorPlan, ...] = ()
    machines: tuple[MachinePlan, ...] = ()
    diverters: tuple[DiverterPlan, ...] = ()
    alarm_rules: AlarmRules = AlarmRules()
    mode_rules: ModeRules = ModeRules()
    static: tuple[StaticPlan, ...] = ()
    """Static models; what changes here from one start to the next is an audit entry."""


def plan_of(start: Start) -> PipelinePlan:
    """The plan in a Start entry; msgspec.ValidationError when it is none."""
    return msgspec.convert(start.config, PipelinePlan, strict=False)


class TagArrays:
    """The catalogue as arrays, all (tags,)."""

    def __init__(self, catalogue: Catalogue, plan: PipelinePlan) -> None:
        n = len(catalogue)
        self.low = np.full(n, -np.inf)
        self.high = np.full(n, np.inf)
        self.expected_ns = np.zeros(n, np.int64)
        self.source = np.full(n, -1, np.int32)
        self.lossy = np.zeros(n, np.uint8)
        self.version = np.zeros(n, np.int32)
        self.raw = np.zeros(n, np.bool_)
        self.changes = np.zeros(n, np.bool_)
        self.never_shed = np.zeros(n, np.bool_)
        self.skew_ns = np.full(n, seconds_ns(plan.max_skew_s), np.int64)
        lateness = np.full(n, seconds_ns(plan.lateness_s), np.int64)
        places = {source.name: i for i, source in enumerate(plan.sources)}
        for tag in catalogue:
            i = tag.id
            if tag.range is not None:
                self.low[i], self.high[i] = tag.range
            self.expected_ns[i] = seconds_ns(tag.expected_s or 0)
            self.version[i] = tag.version
            self.raw[i], self.changes[i] = tag.record == "raw", tag.record == "changes"
            self.never_shed[i] = tag.never_shed
            place = places.get(plan.tag_source.get(tag.name, ""))
            if place is not None:
                source = plan.sources[place]
                self.source[i], self.lossy[i] = place, source.lossy
                if source.max_skew_s is not None:
                    self.skew_ns[i] = seconds_ns(source.max_skew_s)
            lateness[i] = seconds_ns(plan.tag_lateness_s.get(tag.name, plan.lateness_s))
        for tag in catalogue:
            for parent in tag.derived_from:
                lateness[tag.id] = max(lateness[tag.id], lateness[catalogue.id(parent)])
        self.lateness_ns, group = np.unique(lateness, return_inverse=True)
        if n == 0:
            self.lateness_ns = np.array([seconds_ns(plan.lateness_s)], np.int64)
        self.group: NDArray[np.int32] = group.astype(np.int32)


def banks_of(plan: PipelinePlan, catalogue: Catalogue) -> Banks:
    """The model banks of a plan, by level and kind in the order of their first appearance."""
    levels: dict[int, dict[str, list[Judgement]]] = {}
    read: dict[str, tuple[ModelConfig, str]] = {}
    for j in plan.judgements:
        # A model stands here once for each of its tags, alike but for them: it is read once.
        alike = j.kind + repr({key: option for key, option in j.config.items() if key != "tags"})
        if alike not in read:
            one: ModelConfig = DriftConfig(**j.config) if j.kind == WATCH else _model.validate_python(j.config)
            read[alike] = one, one.model_dump_json(exclude={"tags", "name"})
        config, text = read[alike]
        outputs = tuple(catalogue.id(name) for name in j.outputs)
        key = f"{j.tag}\n{text}"
        learned = unpack(j.learned) if j.learned else None
        levels.setdefault(j.level, {}).setdefault(j.kind, []).append(Judgement(catalogue.id(j.tag), config, outputs, key, learned))
    banks: dict[str, Any] = {**BANKS, WATCH: Drift}
    return Banks([[(kind, banks[kind], judged) for kind, judged in levels[level].items()] for level in sorted(levels)], len(catalogue))


def groups_of(plan: PipelinePlan, catalogue: Catalogue) -> Groups:
    """The models of several tags of a plan."""
    gatherings = []
    for g in plan.groups:
        config: GroupConfig = _model.validate_python(g.config)
        step_ns = seconds_ns(config.step_s or 0)
        hold_ns = seconds_ns(config.hold_s) if config.hold_s is not None else 3 * step_ns
        key = f"{g.name}\n{config.model_dump_json()}"
        tags, outputs = (tuple(catalogue.id(name) for name in names) for names in (g.tags, g.outputs))
        learned = unpack(g.learned) if g.learned else None
        unit = catalogue[tags[0]].unit_path
        watched = {GROUPS[g.kind].outputs.index(name): unpack(data) for name, data in g.watched.items()}
        gatherings.append((GROUPS[g.kind], Gathering(config, tags, g.tags, outputs, key, step_ns, hold_ns, learned, watched, unit)))
    return Groups(gatherings, len(catalogue), simulated=plan.simulated)
