import numpy as np
import pytest

from edge_agent.config import load_agent
from edge_agent.config.start import start_of
from edge_agent.core import Block, ConfigError, Samples
from edge_agent.core.model_file import ModelFile, write
from edge_agent.pipeline.chain import Pipeline
from models.spectra import pls
from models.spectra.sensor import pls_arrays
from models.spectra.treatment import SavitzkyGolay, Treatment
from tests.models.spectra.lamp import AXIS, spectra

CONFIG = """\
edge: {site: s1, id: e1}
sources: [{kind: spectra, name: nir, folder: /tmp}]
tags:
  - {name: blend/nir, kind: block, source: nir, unit: AU, class: gmp_critical, description: {en: Blend}}
sensors:
  - {name: blend/api, tag: blend/nir, file: api.model}
alarms:
  - {kind: limit, name: blend/api.high_limit, tag: blend/api.value, side: high, limit: 0.9, priority: 2, advisory: true,
     cause: {en: c}, response: {en: r}}
"""


@pytest.fixture
def config(tmp_path):
    X, y = spectra(40, 1)
    chain = Treatment((SavitzkyGolay(width=7, derivative=1),), AXIS)
    arrays = pls_arrays(chain, pls.fit(chain.apply(X)[0], y, 4), X, y, 0.03)
    write(
        tmp_path / "api.model", ModelFile(kind="spectra", name="api", tags=("blend/nir",), config={}, arrays=arrays, trained_by="anna", trained_ns=1)
    )
    path = tmp_path / "edge.yaml"
    path.write_text(CONFIG)
    return path


def mistakes(path, old, new):
    path.write_text(CONFIG.replace(old, new))
    with pytest.raises(ConfigError) as error:
        load_agent(path)
    return str(error.value)


def test_a_configured_sensor_judges_spectra(config):
    start = start_of(load_agent(config), 1_760_000_000_000_000_000)
    pipeline = Pipeline()
    pipeline.step(start)
    names = {t.id: t.name for t in start.tags}
    stream = next(k for k, n in names.items() if n == "blend/nir")
    rows, truth = spectra(1, 5)
    when = np.array([start.received_ns + 10**9])
    records = pipeline.step(Block(stream, when, rows, np.zeros(1, np.uint32), AXIS, "nm", "AU", int(when[0])))
    told = {names[int(k)]: float(v) for r in records if isinstance(r, Samples) for k, v in zip(r.tag, r.value, strict=True)}
    assert told["blend/api.value"] == pytest.approx(truth[0], abs=0.08)
    assert {t.class_ for t in start.tags if t.name.startswith("blend/api.")} == {"gmp_critical"}


def test_mistakes_of_a_sensor_are_named(config):
    assert "sensors[0].tag: expected the name of a tag of kind block (blend/nir), found 'blend/uv'" in mistakes(
        config, "tag: blend/nir, file", "tag: blend/uv, file"
    )
    assert "sensors[0].file" in mistakes(config, "api.model", "other.model")
    assert "advisory" in mistakes(config, "advisory: true,", "")
