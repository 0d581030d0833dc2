import pytest

from edge_agent.config import load_agent
from edge_agent.config.start import start_of
from edge_agent.core import ConfigError
from edge_agent.pipeline.chain import Pipeline
from edge_agent.pipeline.diverters import OUTPUTS

CONFIG = """\
edge: {site: s1, id: e1}
sources: [{kind: opcua, name: plc, url: "opc.tcp://127.0.0.1:4840"}]
tags:
  - {name: cm1/api, source: plc, address: "ns=2;s=api", unit: kg/h, class: gmp_critical}
  - {name: cm1/excipient, source: plc, address: "ns=2;s=exc", unit: kg/h, class: gmp}
  - {name: cm1/nir, source: plc, address: "ns=2;s=nir", unit: "%", class: gmp}
diverters:
  - name: cm1/divert
    feeders:
      - {tag: cm1/api, content_percent: 100}
      - {tag: cm1/excipient, content_percent: 0, uncertainty_percent: 0.5}
    target_percent: 10
    nominal_kg_h: 20
    sections:
      - units: [{kind: tanks, tau_s: 144, tanks: 2.5}]
        instrument: {tag: cm1/nir}
      - units: [{kind: dispersion, tau_s: 20, peclet: 30}, {kind: tanks, tau_s: 30, dead_s: 5}]
alarms:
  - {kind: limit, name: cm1/diverting, tag: cm1/divert.divert_request, side: high, limit: 0.5, priority: 3, cause: {en: c}, response: {en: r}}
  - {kind: limit, name: cm1/stuck, tag: cm1/divert.mismatch, side: high, limit: 0.5, priority: 1, cause: {en: c}, response: {en: r}}
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "edge.yaml"
    path.write_text(CONFIG)
    return path


def test_a_configured_diverter_has_its_tags_and_asks_for_a_divert_at_once(config):
    start = start_of(load_agent(config), 1_760_000_000_000_000_000)
    tags = {t.name: t for t in start.tags}
    request = tags["cm1/divert.divert_request"]
    assert (request.class_, request.record, request.description["zh"]) == ("gmp_critical", "changes", "剔除请求")
    assert tags["cm1/divert.accepted_kg"].unit == "kg"
    mismatch = tags["cm1/divert.mismatch"].description
    assert mismatch == {"en": "Diverter: 1 not where it was asked to be, 2 no feedback", "zh": "换向阀：1＝不在请求位置，2＝无反馈"}
    assert set(request.derived_from) == {"cm1/api", "cm1/excipient", "cm1/nir"}
    assert {f"cm1/divert.{o}" for o in OUTPUTS} <= set(tags)
    pipeline = Pipeline()
    pipeline.step(start)
    now = pipeline.diverts[0]
    assert (now.name, now.request) == ("cm1/divert", True)
    assert now.high == pytest.approx(1000.0)  # the pure substance


@pytest.mark.parametrize(
    ("change", "key", "expected"),
    [
        (("tag: cm1/excipient, content", "tag: cm1/other, content"), "diverters[0].feeders[1].tag", "measured numeric tag"),
        (("instrument: {tag: cm1/nir}", "instrument: {tag: cm1/none}"), "diverters[0].sections[0].instrument.tag", "measured numeric tag"),
        (("target_percent: 10", "target_percent: 10\n    limits: [99.9, 100.1]"), "diverters[0].limits", "low + margin"),
        (("target_percent: 10", "target_percent: 10\n    step_s: 0.25"), "diverters[0].step_s", "multiple of 0.1"),
        (("target_percent: 10", "target_percent: 10\n    lead_s: 5"), "diverters[0].lead_s", "at least hold_s + valid_s = 8"),
        (("tau_s: 144", "tau_s: 1440"), "diverters[0].sections", "washed out within 2000 steps"),
        (("name: cm1/divert\n", "name: cm1/api\n"), "diverters[0].name", "no tag"),
    ],
)
def test_what_does_not_fit_is_named(config, change, key, expected):
    config.write_text(CONFIG.replace(*change, 1))
    with pytest.raises(ConfigError) as error:
        load_agent(config)
    assert any(m.key == key and expected in m.expected for m in error.value.mistakes), error.value
