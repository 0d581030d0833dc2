"""The whole configuration of an agent and what must agree between its sections."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from edge_agent.config.alarm_checks import alarm_mistakes
from edge_agent.config.alarm_csv import expand_alarms
from edge_agent.config.alarms import AlarmRulesSection, AnyAlarm, ModeRulesSection
from edge_agent.config.diverters import DiverterSection
from edge_agent.config.sections import EdgeSection, HttpSection, MachineSection, OutboxSection, SensorSection, TagSection, WindowsSection
from edge_agent.config.tag_csv import expand_tags
from edge_agent.core import ConfigError, Mistake
from edge_agent.core.model_file import ModelFileError, read
from edge_agent.core.renamed import AGENT, Renamed
from edge_agent.core.salvage import Place
from edge_agent.core.settings import Settings, is_loopback, load, read_yaml
from edge_agent.local import ServeSection
from edge_agent.pipeline.machines import OF_BEARING
from edge_agent.pipeline.machines import OUTPUTS as MACHINE_OUTPUTS
from edge_agent.pipeline.sensors import OUTPUTS
from edge_agent.sources import AnySource
from edge_agent.uplinks import AnyUplink
from models import BANKS, GROUPS, AnyModel, GroupConfig
from models.spectra.sensor import Sensor


class AgentSettings(Settings):
    """Top-level keys of an agent's file."""

    placeholders: ClassVar[Mapping[Place, Any]] = {("edge", "id"): "x", ("edge", "site"): "x", ("edge",): {"id": "x", "site": "x"}}
    renamed: ClassVar[Sequence[Renamed]] = AGENT

    edge: EdgeSection
    """Who this edge is and where it keeps its data."""
    sources: tuple[AnySource, ...] = ()
    """Where values come from."""
    tags: tuple[TagSection, ...] = ()
    """What the values mean; an item `csv: FILE` stands for the tags in that file."""
    models: tuple[AnyModel, ...] = ()
    """Models that judge tags; each makes derived tags `<tag>.<kind>.<output>`, one of several tags together `<name>.<kind>.<output>`."""
    sensors: tuple[SensorSection, ...] = ()
    """Soft sensors on streams of spectra; each makes derived tags `<name>.value`, `.low`, `.high`, `.t2`, `.q`, `.valid` and `.why`."""
    machines: tuple[MachineSection, ...] = ()
    """Rotating machines on streams of vibration; each makes derived tags `<name>.velocity`, `.zone`, `.rms` and more."""
    diverters: tuple[DiverterSection, ...] = ()
    """Diverters of continuous lines; each makes derived tags `<name>.divert_request`, `.reason`, `.state`, `.watchdog`, `.valid_until` and more."""
    alarms: tuple[AnyAlarm, ...] = ()
    """What the operator is called for; an item `csv: FILE` stands for the alarms in that file."""
    alarm_rules: AlarmRulesSection = AlarmRulesSection()
    """What people may do with alarms, and when they are too many."""
    mode_rules: ModeRulesSection = ModeRulesSection()
    """Who may set the mode of a unit, and for how long."""
    windows: WindowsSection = WindowsSection()
    """Summaries and late data."""
    outbox: OutboxSection = OutboxSection()
    """Buffers and their budgets."""
    uplinks: tuple[AnyUplink, ...] = ()
    """Where records go."""
    http: HttpSection = Field(default_factory=HttpSection)
    """Where the agent answers."""
    serve: ServeSection = Field(default_factory=ServeSection)
    """What DCS and SCADA may look at; nothing unless it is named."""

    def mistakes(self) -> Iterable[tuple[Place, str, str]]:
        """What does not fit together."""
        yield from _twice("sources", [s.name for s in self.sources])
        yield from _twice("tags", [t.name for t in self.tags])
        yield from _twice("alarms", [a.name for a in self.alarms])
        taken = {f"{t.name}.{what}" for t in self.tags for what in ("stale", "bad_quality")}
        for i, alarm in enumerate(self.alarms):
            if alarm.name in taken or alarm.name.startswith(("source/", "edge/")):
                yield ("alarms", i, "name"), "a name that no diagnostic of the edge has", repr(alarm.name)
        yield from _twice("uplinks", [u.name for u in self.uplinks])
        yield from self._session_mistakes()
        if not is_loopback(self.http.host) and not self.http.exposed:
            yield ("http", "host"), "a loopback address, or exposed: true beside it", repr(self.http.host)
        yield from self._tag_mistakes()
        yield from self._model_mistakes()
        yield from self._sensor_mistakes()
        yield from self._machine_mistakes()
        yield from self._diverter_mistakes()
        yield from alarm_mistakes(self)
        for what, server in (("opcua", self.serve.opcua), ("modbus", self.serve.modbus)):
            if server is not None and not server.exposed and not is_loopback(server.host):
                yield ("serve", what, "host"), "a loopback address, or exposed: true beside it", repr(server.host)
        if self.http.panel and not is_loopback(self.http.host):
            yield ("http", "panel"), "http.host on loopback (a panel elsewhere comes through a TLS proxy)", self.http.host
        for gateway in self.http.panel_keys:
            if not any(gateway in getattr(u, "gateways", ()) for u in self.uplinks):
                yield ("http", "panel_keys", gateway), "the id of a gateway of an uplink", repr(gateway)
        if self.alarm_rules.flood_end > self.alarm_rules.flood_start:
            yield ("alarm_rules", "flood_end"), "at most flood_start", f"{self.alarm_rules.flood_end}"

    def _session_mistakes(self) -> Iterable[tuple[Place, str, str]]:
        """Two sessions of one name at a broker throw each other out, for ever; a gateway confirms one stream of records, not two."""
        sessions: dict[tuple[str, int, str], str] = {}
        for i, source in enumerate(self.sources):
            if source.kind in ("mqtt", "sparkplug"):
                other = sessions.setdefault((source.host, source.port, source.client_id), source.name)
                if other != source.name:
                    yield ("sources", i, "client_id"), f"an id that no other source has at {source.address}", f"{source.client_id!r}, as {other}"
        gateways: dict[str, str] = {}
        for i, uplink in enumerate(self.uplinks):
            if uplink.kind == "gateway":
                for j, gateway in enumerate(uplink.gateways):
                    other = gateways.setdefault(gateway, uplink.name)
                    if other != uplink.name:
                        yield ("uplinks", i, "gateways", j), "each gateway in one uplink", f"{gateway!r}, as in {other}"
            elif uplink.kind == "sparkplug":
                node = (uplink.host, uplink.port, f"{uplink.group or self.edge.site}/{uplink.node or self.edge.id}")
                other = sessions.setdefault(node, uplink.name)
                if other != uplink.name:
                    yield ("uplinks", i, "node"), f"a node that no other uplink is at {uplink.address}", f"{node[2]!r}, as {other}"

    def _tag_mistakes(self) -> Iterable[tuple[Place, str, str]]:
        sources = {s.name for s in self.sources}
        measured = [t.name for t in self.tags if t.kind == "numeric"]
        derived = {
            f"{name}.{model.kind}.{output}"
            for model in self.models
            for name in measured
            if any(fnmatchcase(name, pattern) for pattern in model.tags)
            for output in getattr(BANKS.get(model.kind), "outputs", ())
        }
        for i, tag in enumerate(self.tags):
            if tag.source is not None and tag.source not in sources:
                yield ("tags", i, "source"), f"the name of a source ({_listed(sources)})", repr(tag.source)
            elif tag.source is not None and (wrong := self._address_mistake(tag)) is not None:
                expected, _, found = wrong.partition(", found ")
                yield ("tags", i, "address"), expected.replace("expected ", "", 1), found
            if tag.range is not None and not tag.range[0] < tag.range[1]:
                yield ("tags", i, "range"), "low < high", f"{list(tag.range)}"
            if tag.record != "raw" and not tag.record_reason:
                yield ("tags", i, "record"), "a record_reason beside it", f"record: {tag.record} without one"
            if tag.name in derived:
                yield ("tags", i, "name"), "a name that no model gives to a derived tag", repr(tag.name)
            if tag.role != "value" and tag.kind != "text":
                yield ("tags", i, "role"), "kind: text for a tag that says what its unit does", f"kind: {tag.kind}"

    def _address_mistake(self, tag: TagSection) -> str | None:
        """What the tag's source cannot read in its address; only some connectors can tell before they are open."""
        source = next(s for s in self.sources if s.name == tag.source)
        check = getattr(source, "address_mistake", None)
        return check(tag.address, tag.kind) if check is not None else None

    def _model_mistakes(self) -> Iterable[tuple[Place, str, str]]:
        seen: set[tuple[str, str]] = set()
        for i, model in enumerate(self.models):
            if isinstance(model, GroupConfig):
                yield from self._group_mistakes(i, model)
                if (model.kind, model.name) in seen:
                    yield ("models", i, "name"), f"each name once under {model.kind}", repr(model.name)
                seen.add((model.kind, model.name))
                continue
            for j, pattern in enumerate(model.tags):
                names = [n for n in self.judged_before(i) if fnmatchcase(n, pattern)]
                if not names:
                    yield ("models", i, "tags", j), "a name or pattern of numeric tags", repr(pattern)
                for name in names:
                    if (model.kind, name) in seen:
                        yield ("models", i, "tags", j), f"each tag once under {model.kind}", repr(name)
                    seen.add((model.kind, name))

    def _group_mistakes(self, i: int, model: GroupConfig) -> Iterable[tuple[Place, str, str]]:
        names = [t.name for t in self.tags if t.kind == "numeric"]
        for j, pattern in enumerate(model.tags):
            if model.ordered and pattern not in names:
                yield ("models", i), "names of measured numeric tags", repr(pattern)
            elif not model.ordered and not any(fnmatchcase(n, pattern) for n in names):
                yield ("models", i, "tags", j), "a name or pattern of measured numeric tags", repr(pattern)
        if not model.ordered and len(self.gathered(model)) < 2:
            yield ("models", i, "tags"), "at least two measured numeric tags", str(len(self.gathered(model)))
        if any(t.name == model.name for t in self.tags):
            yield ("models", i, "name"), "a name that no tag has", repr(model.name)
        indicator = getattr(model, "indicator", None)
        if indicator is not None and (list(model.tags) != self.gathered(model) or indicator not in model.tags):
            yield ("models", i, "indicator"), "one of the model's tags, these given by name in the order of the tags", repr(indicator)

    def gathered(self, model: GroupConfig) -> list[str]:
        """The measured tags that a model looks at together, in the order of the tags, or of their roles."""
        if model.ordered:
            return list(model.tags)
        return [t.name for t in self.tags if t.kind == "numeric" and any(fnmatchcase(t.name, p) for p in model.tags)]

    def judged(self, index: int) -> list[str]:
        """The tags that a model judges one by one, in their order."""
        return [n for n in self.judged_before(index) if any(fnmatchcase(n, p) for p in self.models[index].tags)]

    def judged_before(self, index: int) -> list[str]:
        """The tags that a model may judge one by one: measured ones, and outputs of the models listed before it."""
        # A model may judge measured tags and the outputs of models listed before it: so there is no cycle.
        names = [*(t.name for t in self.tags if t.kind == "numeric"), *self.machine_outputs()]
        for model in self.models[:index]:
            if isinstance(model, GroupConfig):
                continue
            judged = [n for n in names if any(fnmatchcase(n, p) for p in model.tags)]
            names += [f"{n}.{model.kind}.{output}" for n in judged for output in BANKS[model.kind].outputs]
        return names

    def group_outputs(self) -> dict[str, GroupConfig]:
        """Derived tags of the models of several tags, with their model."""
        groups = [m for m in self.models if isinstance(m, GroupConfig)]
        return {f"{m.name}.{m.kind}.{output}": m for m in groups for output in GROUPS[m.kind].outputs}

    def sensor_outputs(self) -> dict[str, str]:
        """Derived tags of soft sensors and machines, with the stream that each comes from."""
        return {f"{s.name}.{output}": s.tag for s in self.sensors for output in OUTPUTS} | self.machine_outputs()

    def machine_outputs(self) -> dict[str, str]:
        """Derived tags of rotating machines, with the stream that each comes from."""
        return {f"{m.name}.{o}": m.tag for m in self.machines for o in MACHINE_OUTPUTS if m.bearing is not None or o not in OF_BEARING}

    def _machine_mistakes(self) -> Iterable[tuple[Place, str, str]]:
        yield from _twice("machines", [m.name for m in self.machines])
        streams = {t.name for t in self.tags if t.kind == "block"}
        taken = {t.name for t in self.tags} | {m.name for m in self.models if m.name} | {s.name for s in self.sensors}
        for i, machine in enumerate(self.machines):
            if machine.tag not in streams:
                yield ("machines", i, "tag"), f"the name of a tag of kind block ({_listed(streams)})", repr(machine.tag)
            if machine.speed_tag is not None and machine.speed_tag not in {t.name for t in self.tags if t.kind == "numeric"}:
                yield ("machines", i, "speed_tag"), "the name of a measured numeric tag", repr(machine.speed_tag)
            if machine.name in taken:
                yield ("machines", i, "name"), "a name that no tag, model or sensor has", repr(machine.name)
            if machine.bearing is not None and machine.bearing.ball_mm >= machine.bearing.pitch_mm:
                yield ("machines", i, "bearing", "ball_mm"), "less than pitch_mm", f"{machine.bearing.ball_mm:g}"

    def _diverter_mistakes(self) -> Iterable[tuple[Place, str, str]]:
        yield from _twice("diverters", [d.name for d in self.diverters])
        known = {t.name for t in self.tags if t.kind == "numeric"} | set(self.sensor_outputs())
        taken = {t.name for t in self.tags} | {m.name for m in self.models if m.name}
        taken |= {s.name for s in self.sensors} | {m.name for m in self.machines}
        for i, diverter in enumerate(self.diverters):
            if diverter.name in taken:
                yield ("diverters", i, "name"), "a name that no tag, model, sensor or machine has", repr(diverter.name)
            for place, expected, found in diverter.mistakes(known):
                yield ("diverters", i, *place), expected, found

    def _sensor_mistakes(self) -> Iterable[tuple[Place, str, str]]:
        yield from _twice("sensors", [s.name for s in self.sensors])
        streams = {t.name for t in self.tags if t.kind == "block"}
        taken = {t.name for t in self.tags} | {m.name for m in self.models if m.name}
        for i, sensor in enumerate(self.sensors):
            if sensor.tag not in streams:
                yield ("sensors", i, "tag"), f"the name of a tag of kind block ({_listed(streams)})", repr(sensor.tag)
            if sensor.name in taken:
                yield ("sensors", i, "name"), "a name that no tag or model has", repr(sensor.name)
            try:
                Sensor(read(Path(sensor.file)).arrays)
            except ModelFileError as error:
                yield ("sensors", i, "file"), f"{error.key}: {error.expected}", f"{error.found} ({Path(error.path).name})"
            except ValueError as error:
                expected, _, found = str(error).partition(", found ")
                yield ("sensors", i, "file"), expected.replace("expected ", "", 1), found


def _twice(section: str, names: Sequence[str]) -> Iterable[tuple[Place, str, str]]:
    first: Counter[str] = Counter()
    for i, name in enumerate(names):
        first[name] += 1
        if first[name] > 1:
            yield (section, i, "name"), "a name used once", repr(name)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none is configured"


def load_agent(
    path: Path,
    overrides: Mapping[str, Any] | None = None,
    also: Callable[[AgentSettings], Iterable[tuple[Place, str, str]]] | None = None,
) -> AgentSettings:
    """The configuration in a file; ConfigError with every mistake, those that `also` finds among them."""
    return load(AgentSettings, path, overrides=overrides, expand=_expand, also=also)


def files_of(path: Path) -> list[Path]:
    """The configuration file and the CSV files that it names; those that are not there too."""
    try:
        data = read_yaml(path)[0]
    except ConfigError:
        return [path]
    items = [item for key in ("tags", "alarms") if isinstance(data.get(key), list) for item in data[key]]
    return [path, *(path.parent / item["csv"] for item in items if isinstance(item, dict) and isinstance(item.get("csv"), str))]


def _expand(data: dict[str, Any], path: Path) -> tuple[dict[str, Any], dict[Place, tuple[str, int]], Sequence[Mistake]]:
    data, tags, in_tags = expand_tags(data, path)
    data, alarms, in_alarms = expand_alarms(data, path)
    models = data.get("models")
    if isinstance(models, list):
        data = {**data, "models": [_beside(model, path) for model in models]}
    sensors = data.get("sensors")
    if isinstance(sensors, list):
        data = {**data, "sensors": [_beside(sensor, path) for sensor in sensors]}
    return data, {**tags, **alarms}, [*in_tags, *in_alarms]


def _beside(model: Any, path: Path) -> Any:
    """A model or sensor whose file is named from the folder of the configuration."""
    if not isinstance(model, dict) or not isinstance(model.get("file"), str):
        return model
    return {**model, "file": str(path.resolve().parent / model["file"])}
