"""A change of configuration keeps what models have learned wherever model and tag are the same."""

import msgspec
import numpy as np
import pytest

from edge_agent.core import Connection, Samples, Texts
from edge_agent.pipeline.chain import Pipeline
from models import BANKS
from tests.pipeline.line import BATCH, FORCE, SPEED, T0, S, run, start


def scores(p: Pipeline, seconds: range, tag: int) -> list[float]:
    found = []
    for i in seconds:
        records = p.step(Samples.of([T0 + i * S], [tag], [12.0 + (i * 7 % 5)], 0, T0 + i * S))
        found += [float(v) for r in records if isinstance(r, Samples) and r.tag[0] > 3 for v in r.value]
    return found


def shown(kind: str, received_ns: int, parents: tuple[str, ...]) -> object:
    """A start whose derived tags are recorded raw, judging only the tags of `parents`."""
    whole = start(received_ns, models=(kind,))
    tags = tuple(msgspec.structs.replace(t, record="raw") if t.derived_from else t for t in whole.tags)
    kept = [j for j in whole.config["judgements"] if j["tag"] in parents]
    return msgspec.structs.replace(whole, tags=tags, config=whole.config | {"judgements": kept})


@pytest.mark.parametrize("kind", sorted(BANKS))
def test_a_model_added_beside_takes_nothing_from_the_others(kind):
    both = ("press1/force", "press1/speed")
    changed, steady = Pipeline(), Pipeline()
    run(changed, [shown(kind, T0, both[1:]), Connection(received_ns=T0, source="plc", state="connected")])
    run(steady, [shown(kind, T0, both), Connection(received_ns=T0, source="plc", state="connected")])
    assert scores(changed, range(1, 20), SPEED) == scores(steady, range(1, 20), SPEED)
    changed.step(shown(kind, T0 + 20 * S, both))
    steady.step(shown(kind, T0 + 20 * S, both))
    assert scores(changed, range(21, 30), SPEED) == scores(steady, range(21, 30), SPEED)
    assert np.isfinite(scores(changed, range(30, 60), FORCE)).all()


def test_a_new_batch_of_its_unit_begins_the_runs_of_a_tag_anew():
    """Nine on one side are the ninth value's finding, unless a batch began between them."""
    whole = start(models=("spc",))
    config = whole.config | {"judgements": [j | {"config": j["config"] | {"mu": 12.0, "sigma": 1.0}} for j in whole.config["judgements"]]}
    tags = tuple(msgspec.structs.replace(t, record="raw") if t.derived_from else t for t in whole.tags)
    whole = msgspec.structs.replace(whole, tags=tags, config=config)
    rule = next(t.id for t in tags if t.name == "press1/force.spc.rule")
    for batch, expected in ((None, 2.0), (BATCH, 0.0)):
        p, said = Pipeline(), []
        p.step(whole)
        for i in range(1, 10):
            if i == 5 and batch is not None:
                p.step(Texts((T0 + i * S,), (batch,), ("B2",), (0,), T0 + i * S))
            records = p.step(Samples.of([T0 + i * S], [FORCE], [12.1], 0, T0 + i * S))
            said += [float(v) for r in records if isinstance(r, Samples) for v, t in zip(r.value, r.tag, strict=True) if t == rule]
        assert said == [*[0.0] * 8, expected]


def test_a_default_detector_of_the_version_before_goes_on_beside_a_new_one():
    """The state of `auto` had a column less: what it learned is kept when the configuration changes with the release."""
    both = ("press1/force", "press1/speed")
    first, p = Pipeline(), Pipeline()
    first.step(shown("auto", T0, both[1:]))
    scores(first, range(1, 60), SPEED)
    state = first.state()
    [(place, kept)] = state["banks"].items()
    kept["bank"]["floats"] = np.ascontiguousarray(kept["bank"]["floats"][:, :15])
    p.restore(state)
    p.step(shown("auto", T0 + 60 * S, both))
    assert p.untaught == ()
    slot = p.state()["banks"][place]["keys"].index(kept["keys"][0])
    assert p.state()["banks"][place]["bank"]["floats"][slot, :15].tolist() == kept["bank"]["floats"][0].tolist()
    assert p.state()["banks"][place]["bank"]["ints"][slot, 0] == 59
