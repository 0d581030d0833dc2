"""Configurations of one demo run: copies of the templates with their own ports and folders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

TEMPLATES = (Path(__file__).resolve().parents[1] / "configs" / "demo", Path(__file__).resolve().parent / "demo_configs")
"""Where the templates lie: in a source tree, and in an installed package."""


@dataclass(frozen=True)
class Ports:
    """TCP ports of one run, all on loopback."""

    console: int
    agent: int
    opcua: int
    mqtt: int
    broker: int


def templates() -> Path:
    """The folder with agent.yaml, gateway.yaml and tags.csv. Raises FileNotFoundError."""
    for folder in TEMPLATES:
        if (folder / "agent.yaml").exists():
            return folder
    raise FileNotFoundError(f"demo configuration: expected agent.yaml in {' or '.join(map(str, TEMPLATES))}, found none")


def _load(path: Path) -> dict[str, Any]:
    loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(loaded, dict):
        raise TypeError(f"{path}:1: expected a mapping, found {type(loaded).__name__}")
    return loaded


def _dump(path: Path, origin: Path, config: dict[str, Any]) -> None:
    text = yaml.safe_dump(config, allow_unicode=True, sort_keys=False, width=150)
    path.write_text(f"# Made for this run from {origin.name}, with its own ports and folders.\n{text}", encoding="utf-8")


def write_configs(folder: Path, ports: Ports, origin: Path | None = None) -> None:
    """agent.yaml, gateway.yaml, their CSV files and nats.conf for one run, from the demo's templates or those in `origin`."""
    origin = origin or templates()
    agent = _load(origin / "agent.yaml")
    agent["edge"]["data_dir"] = "data/agent"
    for source in agent["sources"]:
        if source["kind"] == "opcua":
            source["url"] = f"opc.tcp://127.0.0.1:{ports.opcua}/"
        elif source["kind"] == "mqtt":
            source["port"] = ports.mqtt
    for uplink in agent["uplinks"]:
        uplink["port"] = ports.mqtt
    agent["http"]["port"] = ports.agent
    _dump(folder / "agent.yaml", origin / "agent.yaml", agent)
    gateway = _load(origin / "gateway.yaml")
    gateway["gateway"]["data_dir"] = "data/gateway"
    gateway["broker"]["port"] = ports.mqtt
    gateway["http"]["port"] = ports.console
    _dump(folder / "gateway.yaml", origin / "gateway.yaml", gateway)
    for table in origin.glob("*.csv"):
        (folder / table.name).write_text(table.read_text(encoding="utf-8"), encoding="utf-8")
    (folder / "nats.conf").write_text(nats_config(folder / "data" / "broker", ports), encoding="utf-8")


def nats_config(store: Path, ports: Ports) -> str:
    """Configuration of nats-server as an MQTT 3.1.1 broker whose acknowledged messages outlive a kill."""
    return f"""# Broker of this run: MQTT 3.1.1 over JetStream, loopback only.
server_name: pharmedge-demo
listen: "127.0.0.1:{ports.broker}"
jetstream {{
  store_dir: "{store}"
  max_memory_store: 67108864
  max_file_store: 2147483648
  sync_interval: always   # a message is acknowledged after it is on disk
}}
mqtt {{
  listen: "127.0.0.1:{ports.mqtt}"
  ack_wait: "5s"          # redelivery after a subscriber was killed
  max_ack_pending: 1000
}}
"""
