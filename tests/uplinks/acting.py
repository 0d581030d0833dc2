"""An outbox to fill, a port that remembers, and a gateway that commits what arrives, or does not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paho.mqtt.client import MQTTMessage

from edge_agent.broker import BrokerConfig, Link
from edge_agent.core import Append, Committed, Delivery, Epochs, Log, OperatorAction, Ranges, Tag, chain_crc, topic
from edge_agent.core.change import ChangeApproval
from edge_agent.uplinks.outgoing import STREAM
from edge_agent.uplinks.uplink import Port

SITE, EDGE = "demo", "e1"


def outbox(folder: Path) -> Log:
    """An empty outbox; not synchronous, tests cut no power."""
    return Log(folder / "edge.sqlite", [STREAM], synchronous="OFF")


def fill(log: Log, sizes: Iterable[int], *, lane: int = 1, shed: int = 0) -> None:
    """One record per size, its bytes telling its number."""
    seq = log.head(STREAM).seq
    appends = []
    for size in sizes:
        seq += 1
        appends.append(Append(STREAM, 1, seq.to_bytes(8, "little").ljust(size, b"x"), lane, shed))
    log.commit(appends)


@dataclass
class Edge:
    """The agent as an uplink sees it."""

    log: Log
    epochs: Epochs = field(default_factory=lambda: Epochs(((0, 1),)))
    moved: list[int] = field(default_factory=list)
    acted: list[tuple[str, tuple[OperatorAction, ...]]] = field(default_factory=list)
    parted: list[tuple[int, str]] = field(default_factory=list)
    apart: dict[str, int] = field(default_factory=dict)
    grown: asyncio.Event = field(default_factory=asyncio.Event)
    forget: bool = False
    anchored: list[tuple[str, str, str]] = field(default_factory=list)
    approved: list[tuple[ChangeApproval, ...]] = field(default_factory=list)
    tags: tuple[Tag, ...] = ()
    data_dir: Path = Path("unused")
    away: frozenset[int] = frozenset()
    ports: list[Port] = field(default_factory=list)

    @property
    def epoch(self) -> int:
        return self.epochs.current

    def _part(self, through: int, above: int, why: str) -> None:
        self.parted.append((through, why))
        self.epochs = self.epochs.parted(through + 1, max(self.epoch, above) + 1)

    def _settled(self, gateway: str) -> None:
        del self.apart[gateway]

    def _moved(self, seq: int) -> None:
        self.moved.append(seq)
        if self.forget:
            self.log.forget(STREAM, seq)

    async def _wake(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(min(seconds, 0.05)):
                await self.grown.wait()
        except TimeoutError:
            return
        self.grown.clear()

    def port(self, clock: Callable[[], int]) -> Port:
        made = Port(
            SITE, EDGE, True, self.log, lambda: self.epochs, self._moved, lambda *said: self.acted.append(said), self._part, self._wake,
            clock, self.data_dir,
            lambda *said: self.anchored.append(said), self.apart.get, self._settled, approved=self.approved.append,
            place=lambda: self.moved[-1] if self.moved else 0, tags=self.tags, away=lambda: self.away,
        )  # fmt: skip
        self.ports.append(made)
        return made


class Gateway:
    """Commits what arrives and says so; `deaf` drops everything, `lose` decides about single records."""

    def __init__(self, port: int, name: str = "gw1") -> None:
        self.name = name
        self.kept: dict[int, dict[int, bytes]] = {}
        self.ranges: dict[int, Ranges] = {}
        self.order: list[int] = []
        self.copies = 0
        self.problems: list[str] = []
        self.deaf = False
        self.lose: Callable[[int], bool] = lambda _seq: False
        self._parts: dict[tuple[int, int], dict[int, bytes]] = {}
        self._chains: dict[tuple[int, int], int] = {}
        self._sessions = 0
        self._broker = BrokerConfig(host="127.0.0.1", port=port)
        self._link: Link | None = None

    async def start(self) -> None:
        """Connect, waiting for the broker, and begin a new session."""
        while True:
            self._link = Link(self._broker, f"{self.name}-in", self._message, persistent=True)
            try:
                await self._link.open([topic(SITE, EDGE, "records")])
                break
            except Exception:  # noqa: BLE001 a broker that is not back yet
                self._link.close()
                await asyncio.sleep(0.05)
        self._sessions += 1
        self.tell()

    def stop(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None

    @property
    def lost(self) -> bool:
        return self._link is None or self._link.lost.is_set()

    def _message(self, message: MQTTMessage) -> None:
        if self.deaf or self._link is None:
            return
        if len(message.payload) > 256 * 1024:
            self.problems.append(f"message of {len(message.payload)} bytes")
        delivery = Delivery.decode(bytes(message.payload))
        for record in delivery.records:
            if self.lose(record.seq):
                continue
            parts = self._parts.setdefault((delivery.epoch, record.seq), {})
            parts[record.part] = record.data
            if len(parts) == record.parts:
                self._keep(delivery.epoch, record.seq, record.chain, b"".join(parts[i] for i in range(record.parts)))
                parts.clear()
        self._link.ack(message)
        self.tell()

    def _keep(self, epoch: int, seq: int, chain: int, data: bytes) -> None:
        kept = self.kept.setdefault(epoch, {})
        before = self._chains.get((epoch, seq - 1), 0 if seq == 1 else None)
        if before is not None and chain_crc(before, data) != chain:
            self.problems.append(f"chain of {seq}")
        if seq in kept:
            self.copies += 1
            if kept[seq] != data:
                self.problems.append(f"other bytes in {seq}")
        kept[seq] = data
        self._chains[epoch, seq] = chain
        self.order.append(seq)
        self.ranges.setdefault(epoch, Ranges()).add(seq, seq)

    def tell(self) -> None:
        """Publish what is held."""
        if self._link is not None and not self._link.lost.is_set():
            committed = Committed(self.name, f"{self.name}-{self._sessions}", EDGE, self.ranges)
            self._link.publish(topic(SITE, EDGE, f"committed/{self.name}"), committed.encode(), retain=True)

    def publish(self, leaf: str, payload: bytes) -> None:
        assert self._link is not None
        self._link.publish(topic(SITE, EDGE, leaf), payload, retain=True)


async def until(check: Callable[[], Any], seconds: float = 20.0) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(seconds):
        while not check():
            await asyncio.sleep(0.01)
