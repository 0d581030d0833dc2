"""Trained models behind the configuration: the files named in it, read, checked against it and turned into what the pipeline is planned with."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np

from edge_agent.config.agent import AgentSettings, load_agent
from edge_agent.config.derivation import Derivation
from edge_agent.core import Start, pack
from edge_agent.core.approval import KEY_FOLDER, Approval, verified
from edge_agent.core.model_file import ModelFile, ModelFileError, read
from edge_agent.core.salvage import Place
from edge_agent.core.signing import public_keys
from edge_agent.pipeline.plan import GroupPlan, JudgementPlan, plan_of
from models import BANKS, GROUPS, GroupConfig, ModelConfig
from models.chart import ChartConfig
from models.drift import Drift, DriftConfig
from models.prognosis.running import RemainingConfig, Running, packed

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

MOST_BYTES: Final = 32 << 20
"""Arrays of all static models of an edge together: they stand in the journal and in every checkpoint."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What a static model of the configuration is planned with.

    learned     packed arrays of each tag; of a model of several tags under its name
    watched     the same of the calibrations, by output, then by tag
    approval    who approved it, where that was asked for
    """

    sha256: str
    learned: Mapping[str, bytes]
    watched: Mapping[str, Mapping[str, bytes]]
    approval: Approval | None = None


@dataclass(slots=True)
class TrainedModels:
    """The static models of a configuration by their place in `models`, and the files that were refused."""

    by_place: dict[int, Trained] = field(default_factory=dict)
    refused: dict[int, ModelFileError] = field(default_factory=dict)
    """Why a file is not used; where a model of the journal goes on in its stead, `by_place` has that one."""


def model_name(model: ModelConfig) -> str:
    """What commands call a model."""
    return model.name or model.kind


def settled_config(model: ModelConfig) -> dict[str, Any]:
    """The options that a model file must have been trained with; not the warm-up of a chart, which has none beside a file."""
    return _settled(model, model.model_dump(mode="json", by_alias=True))


def _settled(model: ModelConfig, options: Mapping[str, Any]) -> dict[str, Any]:
    """Of options of the kind of `model`, in whatever version they were written, those that a model file must have been trained with."""
    free = {"tags", "name", "file", "warmup"} if isinstance(model, ChartConfig) else {"tags", "name", "file"}
    return {k: v for k, v in options.items() if k not in free}


def inputs(settings: AgentSettings, place: int) -> list[str]:
    """The tags that a model judges, in their order."""
    model = settings.models[place]
    return settings.gathered(model) if isinstance(model, GroupConfig) else settings.judged(place)


def trained_models(
    settings: AgentSettings, *, keys: Mapping[str, Ed25519PublicKey] | None = None, now_ns: int = 0, previous: Start | None = None
) -> TrainedModels:
    """Read and check every model file of a configuration.

    keys      public keys whose approvals count; None asks for no approvals (replay, training)
    now_ns    an approval that takes effect later does not count yet
    previous  the plan in force: where a file is refused, the model that it holds for the same purpose goes on
    """
    found = TrainedModels()
    room = MOST_BYTES
    critical = Derivation(settings).critical_models() if any(model.file is not None for model in settings.models) else frozenset()
    for place, model in enumerate(settings.models):
        if model.file is None:
            continue
        try:
            file = read(Path(model.file))
            approval = _approval(Path(model.file), file, keys, now_ns, needed=place in critical) if keys is not None else None
            trained = _fitting(settings, place, file, approval)
            room -= sum(len(data) for part in (trained.learned, *trained.watched.values()) for data in part.values())
            if room < 0:
                raise ModelFileError(model.file, "arrays", f"at most {MOST_BYTES} bytes in all model files of an edge", f"{MOST_BYTES - room}")
            found.by_place[place] = trained
        except ModelFileError as error:
            found.refused[place] = error
            kept = _kept(settings, place, previous) if previous is not None else None
            if kept is not None and (place not in critical or (kept.approval and kept.approval.meaning == "approved for use")):
                found.by_place[place] = kept
    return found


def _approval(path: Path, file: ModelFile, keys: Mapping[str, Ed25519PublicKey], now_ns: int, *, needed: bool) -> Approval | None:
    """The approval in force; where none is needed, also None."""
    try:
        approval = verified(path, file, keys)
    except ModelFileError:
        if needed:
            raise
        return None
    if not needed:
        return approval
    if approval.meaning != "approved for use":
        raise ModelFileError(path, "approval.meaning", "approved for use, as a gmp_critical alarm stands on it", approval.meaning)
    if approval.effective_ns > now_ns:
        raise ModelFileError(path, "approval.effective_ns", "an approval in force", f"one from {_utc(approval.effective_ns)} on")
    return approval


def _utc(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns / 1e9, UTC).isoformat(timespec="seconds")


def _fitting(settings: AgentSettings, place: int, file: ModelFile, approval: Approval | None) -> Trained:
    """The file as what the configuration needs; ModelFileError where the two differ."""
    model = settings.models[place]
    path, names = str(model.file), inputs(settings, place)
    if file.kind != model.kind:
        raise ModelFileError(path, "kind", model.kind, file.kind)
    if isinstance(model, RemainingConfig):
        return _of_a_fleet(model, file, approval)
    wanted, trained = settled_config(model), _settled(model, file.config)
    for key in sorted({*wanted, *trained}):
        if wanted.get(key) != trained.get(key):
            raise ModelFileError(path, f"config.{key}", f"{wanted.get(key)!r} as configured", repr(trained.get(key)))
    group = isinstance(model, GroupConfig)
    missing = [n for n in names if n not in file.tags]
    if missing or (group and list(file.tags) != names):
        raise ModelFileError(path, "tags", ", ".join(names) if group else f"also {missing[0]}", ", ".join(file.tags))
    units = {t.name: t.unit for t in settings.tags}
    for name in names:
        if name in units and units[name] != file.units.get(name, ""):
            raise ModelFileError(path, f"units.{name}", repr(units[name]), repr(file.units.get(name, "")))
    outer = [model_name(model)] if group else names
    try:
        parts = {key: _parts(file, key) for key in ("learned", *(k for k in _watched(file)))}
        at = {name: file.tags.index(name) for name in names}
        single = {key: {n: arrays if group else {a: np.array(x[at[n]]) for a, x in arrays.items()} for n in outer} for key, arrays in parts.items()}
        _try(model, len(names), single)
    except IndexError as error:
        raise ModelFileError(path, "arrays", f"those of {len(file.tags)} tags", str(error)) from error
    except ValueError as error:
        key, _, rest = str(error).partition(": expected ")
        raise ModelFileError(path, key, *rest.split(", found ", 1)) from error
    packed = {key: {n: pack(arrays) for n, arrays in of.items()} for key, of in single.items()}
    return Trained(file.sha256, packed["learned"], {k.partition(".")[2]: v for k, v in packed.items() if k != "learned"}, approval)


def _of_a_fleet(model: RemainingConfig, file: ModelFile, approval: Approval | None) -> Trained:
    """A model of a fleet: its options are its own, its columns those that the configuration gives tags to."""
    try:
        learned = packed(file.config, file.arrays)
        Running(model, len(model.tags)).settle(learned)
    except ValueError as error:
        key, _, rest = str(error).partition(": expected ")
        raise ModelFileError(str(model.file), key, *rest.split(", found ", 1)) from error
    return Trained(file.sha256, {model.name: pack(learned)}, {}, approval)


def _try(model: ModelConfig, k: int, single: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
    """ValueError where arrays are not those that the model and its watches take up."""
    config = model.model_copy(update={"file": "tried"})
    for key, of in single.items():
        for arrays in of.values():
            if key != "learned":
                Drift([DriftConfig(tags=model.tags)]).settle(0, arrays)
            elif isinstance(config, GroupConfig):
                cast("Any", GROUPS[config.kind])(config, k).settle(arrays)
            else:
                cast("Any", BANKS[config.kind])([config]).settle(0, arrays)


def _watched(file: ModelFile) -> list[str]:
    return list(dict.fromkeys(".".join(name.split(".")[:2]) for name in file.arrays if name.startswith("watch.")))


def _parts(file: ModelFile, prefix: str) -> dict[str, Any]:
    return {name[len(prefix) + 1 :]: a for name, a in file.arrays.items() if name.startswith(prefix + ".")}


def _kept(settings: AgentSettings, place: int, previous: Start) -> Trained | None:
    """The static model that the plan in force has for the same tags and options."""
    model = settings.models[place]
    plan = plan_of(previous)
    names = inputs(settings, place)
    approvals = {
        s.sha256: Approval(
            model_sha256=s.sha256, kind=s.kind, name=s.name, user=s.approved_by, role=s.role, meaning=s.meaning, reason=s.reason,  # type: ignore[arg-type]
            effective_ns=s.effective_ns, signed_ns=0, key="", signature=s.signature,
        )
        for s in plan.static if s.signature
    }  # fmt: skip

    def fits(p: JudgementPlan | GroupPlan) -> bool:
        return p.kind == model.kind and bool(p.learned) and _settled(model, p.config) == settled_config(model)

    if isinstance(model, GroupConfig):
        for g in plan.groups:
            if fits(g) and g.name == model.name and list(g.tags) == names:
                watches = {o: {model.name: data} for o, data in g.watched.items()}
                return Trained(g.config["file"], {model.name: g.learned}, watches, approvals.get(g.config["file"]))
        return None
    mine = {j.tag: j for j in plan.judgements if fits(j) and j.tag in names}
    if set(mine) != set(names) or len({j.config["file"] for j in mine.values()}) != 1:
        return None
    watched: dict[str, dict[str, bytes]] = {}
    for j in plan.judgements:
        tag, _, output = j.tag.rpartition(f".{model.kind}.")
        if j.kind == "drift" and tag in mine:
            watched.setdefault(output, {})[tag] = j.learned
    sha256 = mine[names[0]].config["file"]
    return Trained(sha256, {n: j.learned for n, j in mine.items()}, watched, approvals.get(sha256))


def load_whole(path: Path) -> AgentSettings:
    """The configuration in a file, the model files that it names judged as at a start of the agent; ConfigError with every mistake."""

    def also(settings: AgentSettings) -> list[tuple[Place, str, str]]:
        return file_mistakes(settings, public_keys(path.resolve().parent / settings.edge.data_dir / KEY_FOLDER), time.time_ns())

    return load_agent(path, also=also)


def adjusted_mistakes(settings: AgentSettings, keys: Mapping[str, Ed25519PublicKey], now_ns: int) -> list[tuple[int, ModelFileError]]:
    """Soft sensors whose slope or bias was changed and that nobody has approved, by their place in `sensors`: such a file is never taken."""
    return [(place, found) for place, found in _adjusted(settings, keys, now_ns) if isinstance(found, ModelFileError)]


def adjusted_approvals(settings: AgentSettings, keys: Mapping[str, Ed25519PublicKey], now_ns: int) -> list[tuple[str, Approval]]:
    """Soft sensors whose slope or bias was changed, by name, with the approval under which they run."""
    return [(settings.sensors[place].name, found) for place, found in _adjusted(settings, keys, now_ns) if isinstance(found, Approval)]


def _adjusted(settings: AgentSettings, keys: Mapping[str, Ed25519PublicKey], now_ns: int) -> Iterator[tuple[int, Approval | ModelFileError]]:
    for place, sensor in enumerate(settings.sensors):
        try:
            file = read(Path(sensor.file))
            if file.calibration.get("adjusted") is None:
                continue
            approval = verified(Path(sensor.file), file, keys)
            if approval.effective_ns > now_ns:
                raise ModelFileError(sensor.file, "approval.effective_ns", "an approval in force", f"one from {_utc(approval.effective_ns)} on")
            yield place, approval
        except ModelFileError as error:
            yield place, error


def file_mistakes(settings: AgentSettings, keys: Mapping[str, Ed25519PublicKey], now_ns: int) -> list[tuple[Place, str, str]]:
    """What is wrong with the model files of a configuration, as mistakes of its keys."""
    refused = trained_models(settings, keys=keys, now_ns=now_ns).refused
    wrong: list[tuple[Place, ModelFileError]] = [(("models", place, "file"), e) for place, e in refused.items()]
    wrong += [(("sensors", place, "file"), e) for place, e in adjusted_mistakes(settings, keys, now_ns)]
    return [(place, f"{e.key}: {e.expected}", f"{e.found} ({Path(e.path).name})") for place, e in wrong]
