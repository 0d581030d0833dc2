"""Models of several tags in the configuration: their derived tags, and what does not fit together."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.config import load_agent, start_of
from edge_agent.core import ConfigError
from edge_agent.pipeline.chain import Pipeline
from edge_agent.pipeline.plan import plan_of

CONFIG = """
edge: {{site: test, id: e1}}
tags:
  - {{name: press1/force, class: gmp_critical}}
  - {{name: press1/speed}}
  - {{name: press1/batch, kind: text, role: batch}}
models:
  - {{kind: unit, name: {name}, tags: {tags}}}
alarms:
  - {{name: press1.unusual, kind: limit, tag: press1/state.unit.alarm, limit: 0.5, priority: 4, advisory: {advisory}}}
"""


def written(folder: Path, *, name: str = "press1/state", tags: str = "['press1/*']", advisory: str = "true") -> Path:
    path = folder / "agent.yaml"
    path.write_text(CONFIG.format(name=name, tags=tags, advisory=advisory))
    return path


def test_derived_tags_are_as_critical_as_the_most_critical_input(tmp_path: Path) -> None:
    start = start_of(load_agent(written(tmp_path)), 0)
    made = {t.name: t for t in start.tags if t.derived_from}
    assert set(made) == {f"press1/state.unit.{o}" for o in ("ratio", "alarm", "evaluated")}
    tag = made["press1/state.unit.ratio"]
    assert (tag.class_, tag.unit_path, tag.derived_from, tag.adaptive) == ("gmp_critical", "press1", ("press1/force", "press1/speed"), True)
    (group,) = plan_of(start).groups
    assert group.tags == ("press1/force", "press1/speed")
    Pipeline().step(start)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"tags": "['press1/force']"}, "at least two measured numeric tags"),
        ({"tags": "['press1/*', 'press2/*']"}, "a name or pattern of measured numeric tags"),
        ({"name": "press1/speed"}, "a name that no tag has"),
        ({"advisory": "false"}, "advisory: true, or a static model, on a gmp_critical tag"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, change: dict[str, str], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        load_agent(written(tmp_path, **change))
