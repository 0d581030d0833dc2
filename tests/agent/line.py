"""A configuration for the tests of the agent: one press fed by a CSV file."""

from __future__ import annotations

from pathlib import Path

from edge_agent.config import AgentSettings, load_agent

CONFIG = """
edge: {site: demo, id: e1, data_dir: data}
sources:
  - {name: history, kind: csv, files: [values.csv], speed: 0}
tags:
  - {name: press1/force, source: history, unit: kN, range: [0, 40], class: gmp, report: {kind: periodic, expected_s: 1}}
  - {name: press1/speed, source: history, unit: r/min}
models:
  - {kind: robust_z, tags: ["press1/*"], window: 20}
alarms:
  - {name: press1/force.high, kind: limit, tag: press1/force, limit: 16, deadband: 0.5, on_delay_s: 2, priority: 2}
windows: {length_s: 10, lateness_s: 2}
http: {port: 0}
"""


def settings(folder: Path, config: str = CONFIG) -> AgentSettings:
    """The settings of a configuration text written into a folder."""
    path = folder / "agent.yaml"
    path.write_text(config, "utf-8")
    return load_agent(path)
