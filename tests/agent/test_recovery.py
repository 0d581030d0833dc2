"""After a death at any commit the agent is what it was: states, windows and models, and no record twice or missing (rule 1)."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.agent.commit import CHECKPOINTS, JOURNAL, OUTBOX, STREAMS, Commit, checkpoint_state, write
from edge_agent.agent.recovery import recover
from edge_agent.core import AlarmEvent, Connection, Entry, Heartbeat, Log, Record, Samples, decode, pack, unpack
from edge_agent.pipeline.chain import Pipeline
from tests.pipeline.line import T0, S, start


def life(n: int) -> Iterator[Entry]:
    rng = np.random.default_rng(11)
    yield start()
    yield Connection(received_ns=T0, source="plc", state="connected")
    for i in range(n):
        now = T0 + i * S // 2
        if i % 50 == 49:
            yield Connection(received_ns=now, source="plc", state="disconnected")
            yield Connection(received_ns=now, source="plc", state="connected")
        jump = 6.0 if i % 40 > 30 else 0.0
        yield Samples.of([now, now - int(rng.integers(0, 40)) * S // 10], [0, 1], [float(rng.normal(12 + jump, 1)), float(rng.normal(40, 1))], 0, now)
    yield Heartbeat(received_ns=T0 + n * S)


def opened(folder: Path) -> Log:
    return Log(folder / "edge.sqlite", STREAMS, synchronous="OFF")


def committed(log: Log, pipeline: Pipeline, entries: list[Entry], *, checkpoint: str | None) -> None:
    commit = Commit()
    for entry in entries:
        commit.add(entry, pipeline.step(entry))
    if checkpoint:
        commit.state = pipeline.state()
    write(log, commit, np.ones(100, np.bool_), checkpoint or CHECKPOINTS[0], {})


def outbox(log: Log) -> list[bytes]:
    return [row.data for row in log.read(OUTBOX, 0, max_bytes=1 << 30, max_rows=100_000)]


@functools.cache
def unbroken() -> tuple[list[bytes], list[Record]]:
    """The packed state behind each entry of a life without any death, and all records of it."""
    pipeline, states, records = Pipeline(), [], []
    for entry in life(120):
        records += pipeline.step(entry)
        states.append(pack(pipeline.state()))
    return states, records


def test_the_life_has_alarms_open_windows_and_models_that_have_learned():
    pipeline, standing, open_windows, events = Pipeline(), 0, 0, 0
    for entry in life(120):
        events += sum(isinstance(r, AlarmEvent) for r in pipeline.step(entry))
        standing = max(standing, len(pipeline.alarms.standing()))
        open_windows = max(open_windows, pipeline.open_windows)
    assert (standing > 1, open_windows > 1, events > 5) == (True, True, True)
    models = pipeline.state()["banks"]
    assert any(np.any(np.asarray(part) != 0) for part in _arrays(models))


def _arrays(state: Any) -> Iterator[Any]:
    if isinstance(state, dict):
        for part in state.values():
            yield from _arrays(part)
    elif isinstance(state, list | tuple):
        for part in state:
            yield from _arrays(part)
    elif isinstance(state, np.ndarray):
        yield state


@settings(max_examples=25, deadline=None)
@given(sizes=st.lists(st.integers(1, 60), min_size=1, max_size=8), data=st.data())
def test_a_death_after_any_commit_changes_nothing(tmp_path_factory, sizes, data):
    states, expected = unbroken()
    entries = list(life(120))
    log = opened(tmp_path_factory.mktemp("log"))
    pipeline, at = Pipeline(), 0
    while at < len(entries):
        size = sizes[at % len(sizes)]
        name = data.draw(st.sampled_from([None, None, *CHECKPOINTS]))
        committed(log, pipeline, entries[at : at + size], checkpoint=name)
        at += size
        recovered = recover(log)
        assert recovered.differing == ()
        pipeline = recovered.pipeline
        assert pack(pipeline.state()) == states[min(at, len(entries)) - 1]  # alarm states, windows, models: everything
    assert [decode(frame) for frame in outbox(log)] == expected
    log.close()


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path):
    log, pipeline, entries = opened(tmp_path), Pipeline(), list(life(60))
    committed(log, pipeline, entries[:20], checkpoint=CHECKPOINTS[0])
    committed(log, pipeline, entries[20:40], checkpoint=CHECKPOINTS[1])
    committed(log, pipeline, entries[40:], checkpoint=None)
    newest = bytearray(log.value(CHECKPOINTS[1]) or b"")
    newest[len(newest) // 2] ^= 1
    log.commit(values={CHECKPOINTS[1]: bytes(newest)})
    recovered = recover(log)
    assert (recovered.checkpoint, recovered.restepped, recovered.differing) == (CHECKPOINTS[0], len(entries) - 20, ())
    assert pack(recovered.pipeline.state()) == pack(pipeline.state())
    log.close()


@pytest.mark.parametrize("error", [ValueError, KeyError, IndexError, TypeError])
def test_what_another_release_kept_is_passed_over_and_told(tmp_path, monkeypatch, error):
    log, pipeline, entries = opened(tmp_path), Pipeline(), list(life(60))
    committed(log, pipeline, entries[:20], checkpoint=CHECKPOINTS[0])
    committed(log, pipeline, entries[20:40], checkpoint=CHECKPOINTS[1])
    committed(log, pipeline, entries[40:], checkpoint=None)
    newest = log.value(CHECKPOINTS[1]) or b""
    other = unpack(checkpoint_state(newest)) | {"release": "other"}
    log.commit(values={CHECKPOINTS[1]: newest[:16] + pack(other)})
    restore = Pipeline.restore

    def of_another_release(self, state):
        restore(self, state)
        if "release" in state:
            raise error("names")

    monkeypatch.setattr(Pipeline, "restore", of_another_release)
    recovered = recover(log)
    assert (recovered.checkpoint, recovered.restepped, recovered.differing) == (CHECKPOINTS[0], len(entries) - 20, ())
    [why] = recovered.unusable
    assert f"{CHECKPOINTS[1]}: kept by another release: {error.__name__}" in why
    assert pack(recovered.pipeline.state()) == pack(pipeline.state())
    log.close()


@pytest.mark.parametrize("other", [{"floats": np.zeros((1, 3))}, {"level": np.zeros(1)}])
def test_a_model_whose_state_cannot_be_taken_up_begins_anew_alone_and_is_told(tmp_path, other):
    log, pipeline, entries = opened(tmp_path), Pipeline(), list(life(60))
    committed(log, pipeline, entries, checkpoint=CHECKPOINTS[0])
    newest = log.value(CHECKPOINTS[0]) or b""
    state = unpack(checkpoint_state(newest))
    place = next(iter(state["banks"]))
    kind = place.partition(".")[2]
    kept, state["banks"][place]["bank"] = state["banks"][place], other
    log.commit(values={CHECKPOINTS[0]: newest[:16] + pack(state)})
    recovered = recover(log)
    assert (recovered.checkpoint, recovered.unusable) == (CHECKPOINTS[0], ())
    [why] = recovered.untaught
    assert why.startswith(f"{kind}: ")
    found, whole = recovered.pipeline.state(), pipeline.state()
    anew, expected = found["banks"].pop(place), whole["banks"].pop(place)
    assert pack(found) == pack(whole)
    assert anew["keys"] == expected["keys"] == kept["keys"]
    assert pack(anew) != pack(expected)
    log.close()


def test_a_record_that_comes_out_otherwise_is_named(tmp_path):
    log, pipeline, entries = opened(tmp_path), Pipeline(), list(life(30))
    committed(log, pipeline, entries[:1], checkpoint=CHECKPOINTS[0])
    stepped = Commit()
    for entry in entries[1:]:
        stepped.add(entry, pipeline.step(entry))
    where = next(i for i, (r, _) in enumerate(stepped.records) if type(r).__name__ == "Summaries")
    record, _ = stepped.records[where]
    record.rows["sum"] += 1  # type: ignore[union-attr]
    write(log, stepped, np.ones(100, np.bool_), CHECKPOINTS[0], {})
    assert recover(log).differing == (2 + where + 1,)
    log.close()


def test_a_value_recorded_as_it_came_is_stored_once(tmp_path):
    log, pipeline = opened(tmp_path), Pipeline()
    committed(log, pipeline, [start(models=(), alarms=())], checkpoint=None)
    before = log.head(OUTBOX).bytes
    now = T0 + S
    committed(log, pipeline, [Samples.of(np.full(2000, now), np.zeros(2000), np.random.default_rng(1).random(2000), 0, now)], checkpoint=None)
    assert log.head(OUTBOX).bytes == before
    assert log.head(JOURNAL).bytes > 10_000
    log.close()


def test_without_any_checkpoint_the_journal_is_stepped_from_its_first_start(tmp_path):
    log, pipeline, entries = opened(tmp_path), Pipeline(), list(life(40))
    committed(log, pipeline, entries, checkpoint=None)
    assert pack(recover(log).pipeline.state()) == pack(pipeline.state())
    log.close()


def test_a_new_log_gives_a_pipeline_that_waits_for_its_start(tmp_path):
    log = opened(tmp_path)
    recovered = recover(log)
    assert (recovered.pipeline.started, recovered.last_received_ns, recovered.restepped) == (False, 0, 0)
    log.close()


@pytest.mark.parametrize("step_ns", [0, 5 * S])
def test_received_time_goes_on_behind_the_journal(tmp_path, step_ns):
    log, pipeline, entries = opened(tmp_path), Pipeline(), list(life(10))
    committed(log, pipeline, entries, checkpoint=CHECKPOINTS[0] if step_ns else None)
    assert recover(log).last_received_ns == entries[-1].received_ns
    log.close()
