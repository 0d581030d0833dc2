"""A model of batches from recorded batches to findings: `edge-agent model train`, then the pipeline with its file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from edge_agent.__main__ import app
from edge_agent.agent.replay import csv_entries
from edge_agent.config import load_agent
from edge_agent.core import AlarmEvent, Samples
from edge_agent.core.model_file import read
from edge_agent.pipeline.chain import Pipeline
from tests.models.test_batch import TAGS, course

T0 = 1_767_225_600
CONFIG = """
edge: {site: demo, id: e1, data_dir: data}
sources: [{name: history, kind: csv, files: [good.csv], speed: 0}]
tags:
TAGS
  - {name: dryer1/batch, source: history, kind: text, role: batch}
  - {name: dryer1/phase, source: history, kind: text, role: phase}
models:
  - {kind: batch, name: dryer1/way, tags: [NAMES], phases: [heat, dry], indicator: dryer1/dried, points: 30FILE}
alarms:
  - {name: dryer1/off_the_way, kind: limit, tag: dryer1/way.batch.alarm, limit: 0.5, priority: 4, advisory: true}
http: {port: 0}
"""


def configured(folder: Path, file: str = "") -> Path:
    tags = "\n".join(f"  - {{name: dryer1/{t}, source: history}}" for t in TAGS)
    text = CONFIG.replace("TAGS", tags).replace("NAMES", ", ".join(f"dryer1/{t}" for t in TAGS))
    path = folder / "agent.yaml"
    path.write_text(text.replace("FILE", f", file: {file}" if file else ""), "utf-8")
    return path


def written(path: Path, seed: int, batches: int, fault: dict[int, str] | None = None) -> int:
    """A recording, and the time of the middle of the last phase that has values."""
    told, t, x = course(seed, batches, fault)
    lines = [(at, 0, f"dryer1/{role},{value or 'idle'}") for role, value, at in told if value or role == "phase"]
    lines += [(int(at), 1, f"dryer1/{tag},{value:.4f}") for at, row in zip(t, x, strict=True) for tag, value in zip(TAGS, row, strict=True)]
    rows = [f"{T0 + at / 1e9:.0f},{text}\n" for at, _, text in sorted(lines, key=lambda line: line[:2])]
    path.write_text("time,tag,value\n" + "".join(rows), "utf-8")
    return T0 * 10**9 + told[-3][2]


def test_recorded_batches_teach_and_the_next_ones_are_judged(tmp_path: Path) -> None:
    written(tmp_path / "good.csv", 1, 12)
    (tmp_path / "bad.csv").write_text("batch\nB3\n")
    words = ["model", "train", "-c", configured(tmp_path), "--model", "dryer1/way", "--input", tmp_path / "good.csv"]
    words += ["--rejected", tmp_path / "bad.csv", "--out", tmp_path / "way.model", "--user", "Engineer", "--reason", "first campaign"]
    done = CliRunner().invoke(app, [str(w) for w in words])
    assert done.exit_code == 0, done.output
    model = read(tmp_path / "way.model")
    assert model.calibration["runs"] == {"heat": 11, "dry": 11}
    assert model.training.rows_left_out["batch"] > 6 * 140
    last_phase_ns = written(tmp_path / "next.csv", 9, 2, {1: "torque"})
    settings = load_agent(configured(tmp_path, "way.model"))
    pipeline, events, evaluated = Pipeline(), [], 0
    for entry in csv_entries(settings, [tmp_path / "next.csv"], scores=True):
        for record in pipeline.step(entry):
            if isinstance(record, AlarmEvent) and record.alarm == "dryer1/off_the_way" and record.event == "raise":
                events.append(record)
            if isinstance(record, Samples):
                at = record.tag == pipeline.catalogue.id("dryer1/way.batch.evaluated")
                evaluated += int(np.sum(record.value[at]))
    assert evaluated > 250
    (event,) = [e for e in events if e.time_ns >= last_phase_ns]
    shares = {name: x for name, x in event.contributions.items() if name.startswith("dryer1/")}
    assert max(shares, key=lambda name: abs(shares[name])) == "dryer1/torque"
