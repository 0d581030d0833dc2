"""Several gateways as several full copies, and edges that are at home at one of them."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

from gateway.inbox import Inbox
from gateway.store import open_inbox
from simulators.accounting import Sent
from simulators.children import free_port
from tests.faults.outcome import Happened, fault
from tests.faults.road import Recording, Road

MORE = 500
"""Values by which the other gateway has to go on."""


@dataclass
class TwoGateways(Road):
    """The road with two gateways: the edge `e1` owes both a copy, the edge `e2` is at home at the second alone."""

    agent2: int = field(default_factory=free_port)
    console2: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        super().__post_init__()
        first = (self.folder / "agent.yaml").read_text("utf-8")
        self._file("agent.yaml", first.replace("gateways: [gw1]", "gateways: [gw1, gw2], copies: 2"))
        second = first.replace("id: e1, data_dir: agent", "id: e2, data_dir: agent2").replace("gateways: [gw1]", "gateways: [gw2]")
        second = second.replace(f"port: {self.ports.agent}", f"port: {self.agent2}").replace("u/t0.high", "v/t0.high").replace("tag: u/", "tag: v/")
        for i in range(self.recording.tags):
            second = second.replace(f"{{name: u/t{i},", f"{{name: v/t{i}, address: u/t{i},")
        self._file("agent2.yaml", second.replace('"u/*"', '"v/*"'))
        gateway = (self.folder / "gateway.yaml").read_text("utf-8")
        self._file("gateway.yaml", gateway.replace("mode: simulation", "mode: simulation, edges: [e1]"))
        other = gateway.replace("id: gw1", "id: gw2").replace("data_dir: gateway", "data_dir: gateway2")
        self._file("gateway2.yaml", other.replace(f"port: {self.ports.console}", f"port: {self.console2}"))
        self._add("gateway2", [sys.executable, "-m", "gateway", "run", "-c", str(self.folder / "gateway2.yaml")])
        self._add("agent2", [sys.executable, "-m", "edge_agent", "run", "-c", str(self.folder / "agent2.yaml")])

    def _file(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, "utf-8")

    @property
    def sent2(self) -> list[Sent]:
        """What the second edge was given."""
        return [replace(one, tag=one.tag.replace("u/", "v/")) for one in self.sent]

    def confirmed(self) -> int:
        """Records that `e1` knows to be at both gateways."""
        return sum(int(uplink["committed_seq"]) for uplink in self.status.get("uplinks", []))

    def has(self, gateway: str) -> int:
        """The last record of `e1` up to which a dead gateway has everything."""
        log = open_inbox(self.folder / gateway)
        held = Inbox(log, gateway="?", production=False).committed("e1", "")
        log.close()
        return max((ranges.contiguous for ranges in held.epochs.values()), default=0)


@fault(
    "one of two gateways killed under load, copies: 2",
    "nothing is forgotten before both have it; then each reads back every value once",
    quick=False,
)
def gateway_killed(seed: int, folder: Path, long: bool) -> Happened:
    """The gateways die in turns. While one is away the other goes on taking, and the edge keeps what only one of them has."""
    kills = 8 if long else 2
    with TwoGateways(folder, Recording(rows=(kills + 1) * 1200, speed=100.0), seed) as road:
        road.start("broker", "gateway", "gateway2", "agent", "agent2")
        road.until("records at both", lambda: road.confirmed() > 0, 60.0)
        for turn in range(kills):
            victim, port = (("gateway", road.console2), ("gateway2", road.ports.console))[turn % 2]
            road.kill(victim)
            has, taken = road.has(victim), road.stored(port)
            road.until("the other gateway to go on", lambda port=port, taken=taken: road.stored(port) > taken + MORE, 60.0)  # type: ignore[misc]
            assert road.confirmed() <= has, f"the edge takes {road.confirmed()} records for delivered, {victim} has {has}"
            road.start(victim)
        first = road.settle(180.0)
        both = [*road.sent, *road.sent2]
        road.until("both edges at the second gateway", lambda: road.stored(road.console2, both) >= sum(s.n for s in both), 180.0)
        first.closed()
        copies = [first, road.books(road.sent, gateway="gateway2"), road.books(road.sent2, gateway="gateway2")]
        for books in copies:
            books.closed()
        rows = [sorted(road.export("summary", gateway).read_text("utf-8").splitlines()) for gateway in ("gateway", "gateway2")]
        of_e1 = [line for line in rows[1] if "v/t" not in line]
        assert rows[0] == of_e1, "the two copies differ"
    lost, twice = sum(b.lost for b in copies), sum(b.duplicated for b in copies)
    text = f"{kills} kills in turns; {len(rows[0]) - 1} windows equal row by row in both, a second edge kept by its home gateway alone"
    return Happened(text, lost, twice)
