"""A broker of three nodes that agree on what they hold; any one of them may die."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from pathlib import Path

from simulators.children import answers, free_port, nats_server, wait_for
from tests.faults.outcome import Happened, fault
from tests.faults.road import Recording, Road

NODES = ("broker", "node2", "node3")
MORE = 250
"""Values by which the store has to grow after a kill: more than what was on its way to the gateway."""


@dataclass
class ClusterRoad(Road):
    """The road with three nodes; agent and gateway begin at different ones."""

    mqtt: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.mqtt = [self.ports.mqtt, free_port(), free_port()]
        routes = [free_port() for _ in NODES]
        for name, mqtt, route in zip(NODES, self.mqtt, routes, strict=True):
            (self.folder / f"{name}.conf").write_text(f"""
server_name: {name}
listen: "127.0.0.1:{free_port()}"
jetstream {{ store_dir: "{self.folder / name}", max_memory_store: 67108864, max_file_store: 2147483648, sync_interval: always }}
cluster {{ name: plant, listen: "127.0.0.1:{route}", routes: [{", ".join(f'"nats://127.0.0.1:{r}"' for r in routes)}] }}
mqtt {{ listen: "127.0.0.1:{mqtt}", ack_wait: "5s", max_ack_pending: 1000, stream_replicas: 3 }}
""", "utf-8")  # fmt: skip
            self._add(name, [str(nats_server()), "-c", f"{name}.conf"])
        for file, first in (("agent.yaml", 0), ("gateway.yaml", 1)):
            path = self.folder / file
            nodes = self.mqtt[first:] + self.mqtt[:first]
            others = ", ".join(f'"127.0.0.1:{port}"' for port in nodes[1:])
            told = path.read_text("utf-8").replace(f"port: {self.ports.mqtt}", f"port: {nodes[0]}, others: [{others}]")
            path.write_text(told, "utf-8")

    def up(self, name: str) -> None:
        """Start a node and wait until it answers."""
        self.children[name].start()
        port = self.mqtt[NODES.index(name)]
        assert wait_for(lambda: answers(port), 30.0), self.children[name].tail()


@fault("one of three broker nodes killed under load", "every value stored once, nothing declared missing", quick=False)
def node_killed(seed: int, folder: Path, long: bool) -> Happened:
    """Each kill takes a node drawn anew, also the one that leads; two are left to agree. It is back before the next dies."""
    rng = random.Random(seed)
    kills, longest = 8 if long else 2, 0.0
    with ClusterRoad(folder, Recording(rows=kills * 2500, speed=100.0), seed) as road:
        for name in NODES:
            road.up(name)
        road.start("gateway", "agent")
        road.until("values", road.taken, 60.0)
        road.until("values at the gateway", road.stored, 90.0)
        for _ in range(kills):
            victim = rng.choice(NODES)
            road.kill(victim)
            died, before = time.monotonic(), road.stored()
            road.until(f"delivery with {victim} dead", lambda before=before: road.stored() > before + MORE, 90.0)  # type: ignore[misc]
            longest = max(longest, time.monotonic() - died)
            road.up(victim)
        books = road.settle(180.0)
        books.closed()
    text = f"{kills} kills, one node at a time; delivery went on with the other two after at most {longest:.0f} s"
    return Happened(text, books.lost, books.duplicated)
