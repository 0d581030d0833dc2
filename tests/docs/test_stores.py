"""docs/stores.md: the targets on the page are targets that a gateway takes."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from gateway.targets import InfluxConfig

PAGE = (Path(__file__).parents[2] / "docs" / "stores.md").read_text("utf-8")


def test_the_targets_are_targets_of_a_gateway() -> None:
    blocks = [yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)]
    single, cluster = [InfluxConfig.model_validate(target) for block in blocks for target in block["targets"]]
    assert (single.read_url, cluster.read_url) == ("", "http://vmselect:8481/select/0/prometheus")
