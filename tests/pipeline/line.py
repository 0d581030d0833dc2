"""A small line for the tests of the pipeline."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import numpy as np

from edge_agent.core import AlarmDefinition, AlarmEvent, Entry, Record, Samples, Start, Summaries, Tag, pack, unpack
from edge_agent.pipeline.chain import Pipeline
from edge_agent.pipeline.plan import GroupPlan, JudgementPlan, PipelinePlan, SourcePlan

S = 1_000_000_000
T0 = 1_760_000_000 * S

FORCE, SPEED, BATCH, MODE = range(4)
MODELS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "auto": (("score", "alarm"), {"warmup": 16}),
    "ewma": (("z",), {"warmup": 5}),
    "cusum": (("c",), {"warmup": 5}),
    "robust_z": (("z",), {"window": 8}),
    "shewhart": (("z", "mr"), {"warmup": 5}),
    "spc": (("rule", "alarm"), {"warmup": 5}),
    "budget": (("finding", "threshold"), {"per_day": 1000, "apart_s": 0.5, "settle_h": 0}),
    "flatline": (("held",), {}),
    "limit_cycle": (("cycling", "period", "height"), {"swing": 0.5, "cycles": 3}),
    "wear": (("health", "rul", "rul_low", "rul_high", "drift"), {"healthy": 10.0, "limit": 20.0, "every_h": 0.001}),
    "degradation": (("degraded", "ratio"), {"skip": 0, "baseline": 5, "ratio": 1.01, "quiet": 3}),
    "cold_chain": (("mkt", "excursion", "budget", "known"), {"allowed_min": 1.0, "window_h": 0.01, "high": 12.0, "gap_s": 2.0}),
    "page_hinkley": (("drift", "ratio"), {"least_rows": 5}),
    "adwin": (("drift", "width"), {"clock": 2}),
    "residual": (("z", "ewma"), {"warmup": 5}),
    "discord": (("score",), {"rows": 4, "history": 32, "warmup": 64}),
    "seasonal": (("z",), {"parts": 1, "least": 5}),
    "river": (("score",), {"estimator": "anomaly.GaussianScorer", "params": {"grace_period": 4}, "warmup": 5, "generation": 8}),
}


GROUPS: dict[str, dict[str, Any]] = {"press1/same": {}, "press1/grid": {"step_s": 0.5, "hold_s": 2.0}}


def start(
    received_ns: int = T0,
    *,
    models: Iterable[str] = tuple(MODELS),
    groups: bool = False,
    alarms: tuple[AlarmDefinition, ...] | None = None,
    **plan: Any,
) -> Start:
    """Two periodic numeric tags, a batch and a mode on one source, with models and alarms; `groups`: with models of both tags together."""
    tags = [
        Tag(id=FORCE, name="press1/force", unit="kN", range=(0.0, 40.0), expected_s=1.0, class_="gmp"),
        Tag(id=SPEED, name="press1/speed", unit="r/min", expected_s=1.0, record="summary", record_reason="test"),
        Tag(id=BATCH, name="press1/batch", kind="text", role="batch"),
        Tag(id=MODE, name="press1/mode", kind="text", role="mode"),
    ]
    judgements = []
    for kind in models:
        outputs, config = MODELS[kind]
        for parent in ("press1/force", "press1/speed"):
            names = tuple(f"{parent}.{kind}.{o}" for o in outputs)
            judgements.append(JudgementPlan(kind, parent, names, {"kind": kind, "tags": [parent], **config}))
            tags += [Tag(id=len(tags) + i, name=n, derived_from=(parent,), record="summary", record_reason="test") for i, n in enumerate(names)]
    together = []
    for name, config in GROUPS.items() if groups else ():
        parents = ("press1/force", "press1/speed")
        names = tuple(f"{name}.pca.{o}" for o in ("t2", "spe", "alarm", "evaluated"))
        settings = {"kind": "pca", "name": name, "tags": list(parents), "train_rows": 8, "components": 1, **config}
        together.append(GroupPlan("pca", name, parents, names, settings))
        tags += [Tag(id=len(tags) + i, name=n, derived_from=parents, record="summary", record_reason="test") for i, n in enumerate(names)]
    plan_ = PipelinePlan(
        groups=tuple(together),
        site="test", sources=(SourcePlan("plc", lossy=True),), tag_source={t.name: "plc" for t in tags[:4]}, judgements=tuple(judgements), **plan
    )
    default = (
        AlarmDefinition(
            name="press1/force.high", tag="press1/force", kind="limit", limit=16.0, deadband=0.5, on_delay_s=2.0, off_delay_s=1.0, priority=2
        ),
        AlarmDefinition(name="press1/force.rate", tag="press1/force", kind="rate", limit=5.0, priority=3),
        AlarmDefinition(name="press1/force.stale", tag="press1/force", kind="stale", priority=2),
        AlarmDefinition(name="press1/force.bad_quality", tag="press1/force", kind="bad_quality", priority=2),
        AlarmDefinition(name="source/plc.disconnected", tag="", kind="diagnostic", priority=2, on_delay_s=5.0),
    )
    scores = tuple(
        AlarmDefinition(
            name=f"press1/force.{kind}", tag=f"press1/force.{kind}.{MODELS[kind][0][0]}", kind="limit", limit=3.0, priority=4, advisory=True
        )
        for kind in models
    )
    if groups:
        scores += (AlarmDefinition(name="press1/spe", tag="press1/grid.pca.spe", kind="limit", limit=1.0, priority=4, advisory=True),)
    return Start(
        received_ns=received_ns,
        edge="e1",
        config=msgspec.to_builtins(plan_),
        config_hash="h",
        tags=tuple(tags),
        alarms=(*default, *scores) if alarms is None else alarms,
    )


def values(second: float, force: float, *, tag: int = FORCE, status: int = 0, received_s: float | None = None) -> Samples:
    """One value, source time and time of receipt in seconds after T0."""
    received = second if received_s is None else received_s
    return Samples.of([T0 + round(second * S)], [tag], [force], status, T0 + round(received * S))


def run(pipeline: Pipeline, entries: Iterable[Entry]) -> list[Record]:
    """All records of the entries."""
    return [record for entry in entries for record in pipeline.step(entry)]


def reborn(pipeline: Pipeline) -> Pipeline:
    """Another pipeline with the same state, after a trip through bytes."""
    other = Pipeline()
    other.restore(unpack(pack(pipeline.state())))
    return other


def alarms(records: Iterable[Record]) -> list[tuple[str, str]]:
    """Name and event of each alarm event."""
    return [(r.alarm, r.event) for r in records if isinstance(r, AlarmEvent)]


def substance(records: Iterable[Record]) -> dict[str, Any]:
    """What records say, whatever entries they were cut into: everything but samples in order, samples joined."""
    records = list(records)
    samples = [r for r in records if isinstance(r, Samples)]
    joined = Samples.joined(samples, 0) if samples else Samples.empty()
    rest = [(r.received_ns, r.rows.tobytes()) if isinstance(r, Summaries) else r for r in records if not isinstance(r, Samples)]
    columns = (joined.time_ns, joined.tag, joined.value, joined.status)
    return {"rest": rest, "samples": [c.tobytes() for c in columns], "received": [s.received_ns for s in samples for _ in range(len(s))]}


def summaries(records: Iterable[Record]) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    """All summary rows."""
    return np.concatenate([r.rows for r in records if isinstance(r, Summaries)])
