"""Process records in the pipeline: from the example configuration to values of derived tags, counted by the batches that text tags tell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edge_agent.config import load_agent, start_of
from edge_agent.core import ConfigError, Connection, Heartbeat, Samples, Texts, pack
from edge_agent.pipeline.chain import Pipeline
from tests.pipeline.line import T0, S, reborn, run, substance

EXAMPLE = Path(__file__).parents[2] / "configs" / "examples" / "process-records.yaml"


def started() -> Any:
    import msgspec

    start = start_of(load_agent(EXAMPLE), T0)
    shown = tuple(msgspec.structs.replace(t, record="raw") if t.derived_from else t for t in start.tags)
    return msgspec.structs.replace(start, tags=shown), {t.name: t.id for t in start.tags}


def entries(ids: dict[str, int]) -> list[Any]:
    """Ten minutes of a press and a store, a value of each tag every 10 s; a batch begins after two minutes, another after seven."""
    found: list[Any] = [Connection(received_ns=T0, source="utilities", state="connected")]
    for i in range(1, 61):
        at = T0 + i * 10 * S
        names = ("press1/state", "press1/tablets", "press1/good", "press1/energy", "store1/t1")
        values = (6.0 if i > 6 else 5.0, i * 200.0, i * 199.0, 500.0 + i * 0.5, 5.0 if i < 30 else 9.0)
        found.append(Samples.of([at] * 5, [ids[n] for n in names], list(values), 0, at))
        if i in (12, 42):
            found.append(Texts((at + S,), (ids["press1/batch"],), (f"B{i}",), (0,), at + 2 * S))
    return found


def latest(records: Any, ids: dict[str, int]) -> dict[str, float]:
    names = {k: n for n, k in ids.items()}
    found: dict[str, float] = {}
    for r in records:
        if isinstance(r, Samples):
            found |= {names[k]: v for k, v in zip(r.tag.tolist(), r.value.tolist(), strict=True)}
    return found


def test_records_of_the_example_are_derived_tags() -> None:
    start, ids = started()
    pipeline = Pipeline()
    said = latest(run(pipeline, [start, *entries(ids)]), ids)
    # From 1 s behind the twelfth value to 1 s behind the forty-second: 300 s at 0.05 kWh and 20 tablets a second.
    assert said["press1.energy.batch"] == pytest.approx(15.0, abs=0.1)
    assert said["press1.energy.enpi"] == pytest.approx(15.0 / (12 + 0.00008 * 6000), rel=0.01)
    assert said["press1.oee.running"] == 1.0
    assert said["press1.oee.performance"] == pytest.approx(100 * 20 * 3600 / 86400, rel=0.2)
    assert said["store1/t1.cold_chain.excursion"] == pytest.approx(5.0)
    assert said["store1/t1.cold_chain.budget"] == pytest.approx(100 * 55 / 60, rel=0.01)


def test_cuts_and_restarts_change_no_bit() -> None:
    _, ids = started()
    start = start_of(load_agent(EXAMPLE), T0)
    whole, parts = Pipeline(), Pipeline()
    expected, found = run(whole, [start]), run(parts, [start])
    for entry in [*entries(ids), Heartbeat(received_ns=T0 + 700 * S)]:
        expected += whole.step(entry)
        for piece in [entry.take(slice(i, i + 1)) for i in range(len(entry))] if isinstance(entry, Samples) else [entry]:
            parts = reborn(parts)
            found += parts.step(piece)
    assert substance(found) == substance(expected)
    assert pack(parts.state()) == pack(whole.state())


def test_roles_are_names_of_measured_tags(tmp_path: Path) -> None:
    text = EXAMPLE.read_text("utf-8").replace("state: press1/state", "state: press1/stat")
    path = tmp_path / "agent.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigError, match=r"names of measured numeric tags, found 'press1/stat'"):
        load_agent(path)
