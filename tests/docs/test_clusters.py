"""docs/clusters.md: the files on the page are files that the programs take."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import yaml

from edge_agent.uplinks.gateway import GatewayConfig
from gateway.config import BrokerSection
from tests.brokers import executable

PAGE = (Path(__file__).parents[2] / "docs" / "clusters.md").read_text("utf-8")


def test_the_node_file_is_one_that_nats_server_takes(tmp_path: Path) -> None:
    program = executable("nats")
    assert program is not None
    (text,) = re.findall(r"^```\n(server_name: .*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    (tmp_path / "node.conf").write_text(text.replace("/var/lib/nats", str(tmp_path / "store")))
    ran = subprocess.run([program, "-t", "-c", tmp_path / "node.conf"], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr


def test_the_sections_are_sections_of_agent_and_gateway() -> None:
    blocks = [yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE) if "..." not in block]
    uplinks = [GatewayConfig.model_validate(uplink) for block in blocks for uplink in block.get("uplinks", ())]
    assert [uplink.copies for uplink in uplinks] == [1, 2]
    brokers = [BrokerSection.model_validate(block["broker"]) for block in blocks if "broker" in block]
    assert brokers[0].nodes == (("mq2", 1883), ("mq3", 1883), ("mq1", 1883))
