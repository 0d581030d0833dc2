"""The inbox: what edges delivered, committed exactly once together with the ranges that say so.

One row of the inbox is an envelope around the edge's own frame: who sent it, its number, its running CRC, when we got it. The new rows and the
committed ranges of their edges go into one commit of the log; after a crash both are there or neither is.
"""

from __future__ import annotations

import struct
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from edge_agent.core import Append, Committed, Delivered, Delivery, Log, Ranges, WireError, chain_crc, chain_joined
from edge_agent.core.record import LANE_ALARM, LANE_DATA
from edge_agent.core.wire import HEADER_BYTES

STREAM: Final = "inbox"
RECENT: Final = 8192
"""Numbers per edge and epoch whose CRC is remembered to tell a duplicate from a clone."""
PARTS_BYTES: Final = 128 << 20
"""Bytes of records of which not all parts have come; the oldest is dropped beyond it, its edge sends it again."""
EPOCHS: Final = 16
"""Epochs of an edge that are told back: the one it is in, those heard last, the newest ones."""
DISPUTED: Final = 16
"""Quarantined numbers of an epoch that are told back, the last ones."""

_ENVELOPE: Final = struct.Struct("<BxHIqqq")
_VERSION: Final = 1
_DATA_KINDS: Final = frozenset({1, 2, 3, 4})


@dataclass(frozen=True, slots=True)
class Kept:
    """One record as the inbox holds it."""

    edge: str
    epoch: int
    seq: int
    chain: int
    received_ns: int
    """When the gateway received it."""
    frame: bytes
    at: int = 0
    """Its number in the inbox."""

    @property
    def kind(self) -> int:
        """Kind number of the frame, see wire.py; 255 when it is too short to have one."""
        return self.frame[3] if len(self.frame) >= HEADER_BYTES else 255

    def encode(self) -> bytes:
        """The row of the inbox."""
        name = self.edge.encode()
        return _ENVELOPE.pack(_VERSION, len(name), self.chain, self.epoch, self.seq, self.received_ns) + name + self.frame

    @classmethod
    def decode(cls, data: bytes, at: int = 0) -> Kept:
        """The record of a row; WireError when it is none.

        >>> k = Kept("e1", 1, 7, 99, 5, b"frame"); Kept.decode(k.encode()) == k
        True
        """
        if len(data) < _ENVELOPE.size or data[0] != _VERSION:
            raise WireError(f"inbox {at}: expected an envelope of version {_VERSION}, found {data[:1].hex() or 'nothing'}")
        _, size, chain, epoch, seq, received_ns = _ENVELOPE.unpack_from(data)
        end = _ENVELOPE.size + size
        return cls(data[_ENVELOPE.size : end].decode(), epoch, seq, chain, received_ns, data[end:], at)


class _Positions(msgspec.Struct):
    ranges: list[tuple[int, int, int]]
    """first, last, chain of last."""


class EdgeFacts(msgspec.Struct, kw_only=True):
    """What is remembered of an edge beside its records."""

    edge: str
    site: str
    simulated: bool = False
    epoch: int = 0
    """The epoch it says it is in."""
    newest_epoch: int = 0
    """The latest epoch it ever said it was in."""
    oldest_seq: int = 1
    highest_seq: int = 0
    last_seen_ns: int | None = None
    refused: bool = False


@dataclass(slots=True)
class Position:
    """What is committed of one epoch of one edge, with the running CRCs known of it."""

    ranges: Ranges
    ends: dict[int, int] = field(default_factory=dict)
    recent: OrderedDict[int, tuple[int, int, int]] = field(default_factory=OrderedDict)
    """Number to (chain, CRC of the frame, its bytes), newest last."""

    def chain(self, seq: int) -> int | None:
        """The running CRC at a committed number, when it is still known; 0 before the first."""
        if seq == 0:
            return 0
        known = self.recent.get(seq)
        return known[0] if known is not None else self.ends.get(seq)

    def leads_on(self, seq: int, chain: int) -> bool:
        """Whether what is committed behind a number goes on from this running CRC, as far as it is known."""
        behind = self.recent.get(seq + 1)
        return behind is None or chain_joined(chain, behind[1], behind[2]) == behind[0]

    def add(self, seq: int, chain: int, crc: int, size: int) -> None:
        """A number has been committed."""
        self.ranges.add(seq, seq)
        self.recent[seq] = (chain, crc, size)
        self.ends[seq] = chain
        while len(self.recent) > RECENT:
            self.recent.popitem(last=False)

    def encode(self) -> bytes:
        """The small value in the log."""
        self.ends = {b: self.ends[b] for _, b in self.ranges.ranges}
        return msgspec.json.encode(_Positions([(a, b, self.ends[b]) for a, b in self.ranges.ranges]))

    @classmethod
    def decode(cls, data: bytes) -> Position:
        """The position in a small value."""
        stored = msgspec.json.decode(data, type=_Positions)
        return cls(Ranges((a, b) for a, b, _ in stored.ranges), {b: chain for _, b, chain in stored.ranges})

    def copy(self) -> Position:
        """A copy to try a batch on."""
        return Position(Ranges(self.ranges.ranges), dict(self.ends), self.recent.copy())


@dataclass(frozen=True, slots=True)
class Strange:
    """A record that contradicts what is committed: an edge was cloned, or restored from an old copy."""

    record: Kept
    what: str
    disputed: bool = True
    """Whether the edge is told, so that it begins an epoch of its own; a record that it may take for committed is not."""


@dataclass(slots=True)
class Taken:
    """What a batch of deliveries brought."""

    kept: list[Kept] = field(default_factory=list)
    duplicates: int = 0
    strange: list[Strange] = field(default_factory=list)
    refused: int = 0
    edges: set[str] = field(default_factory=set)
    """Edges that were heard, whether or not they brought anything new."""
    back: list[tuple[str, int, int]] = field(default_factory=list)
    """Edges that brought something new and say they are in an earlier epoch than before: (edge, epoch, latest epoch)."""


class Inbox:
    """Takes deliveries into the log; one thread only."""

    def __init__(self, log: Log, *, gateway: str, production: bool) -> None:
        self.log = log
        self._gateway = gateway
        self._production = production
        self._parts: OrderedDict[tuple[str, int, int, int], dict[int, bytes]] = OrderedDict()
        self._parts_bytes = 0
        self._disputed: dict[tuple[str, int], OrderedDict[int, None]] = {}
        self._lately: dict[str, OrderedDict[int, None]] = {}
        self.facts = {f.edge: f for f in (msgspec.json.decode(data, type=EdgeFacts) for data in log.values("edge/").values())}
        self.positions: dict[tuple[str, int], Position] = {}
        for key, data in log.values("range/").items():
            edge, _, epoch = key.removeprefix("range/").rpartition("/")
            self.positions[edge, int(epoch)] = Position.decode(data)
        self._remember()

    def _remember(self) -> None:
        # Duplicates of what was committed just before a restart are compared too.
        head = self.log.head(STREAM).seq
        for row in self.log.read(STREAM, max(0, head - RECENT), max_bytes=64 << 20, max_rows=RECENT):
            kept = Kept.decode(row.data, row.seq)
            position = self.positions.get((kept.edge, kept.epoch))
            if position is not None:
                position.recent[kept.seq] = (kept.chain, zlib.crc32(kept.frame), len(kept.frame))

    def take(self, deliveries: Sequence[tuple[Delivery, int]]) -> Taken:
        """Commit what is new of some deliveries, each with the time it was received (ns); durable when this returns."""
        taken = Taken()
        facts: dict[str, EdgeFacts] = {}
        trial: dict[tuple[str, int], Position] = {}
        fresh: list[Kept] = []
        known_elsewhere: set[tuple[str, int]] = set()
        for delivery, received_ns in deliveries:
            known = facts.get(delivery.edge) or self.facts.get(delivery.edge)
            if self._production and delivery.simulated:
                facts[delivery.edge] = self._heard(known, delivery, received_ns, refused=True)
                taken.refused += len(delivery.records)
                continue
            taken.edges.add(delivery.edge)
            key = (delivery.edge, delivery.epoch)
            if key not in trial:
                held = self.positions.get(key)
                trial[key] = held.copy() if held is not None else Position(Ranges())
            others = [p for (edge, epoch), p in (self.positions | trial).items() if edge == delivery.edge and epoch != delivery.epoch]
            before = len(fresh)
            for record in delivery.records:
                if self._one(record, delivery, received_ns, trial[key], others, fresh, taken):
                    known_elsewhere.add(key)
            current = delivery.current or delivery.epoch
            went_back = known is not None and current < known.newest_epoch and current != known.epoch
            if went_back and len(fresh) == before:
                # What a broker hands over again after a restart was said long ago.
                assert known is not None
                facts[delivery.edge] = msgspec.structs.replace(known, last_seen_ns=received_ns)
                continue
            if went_back and known is not None:
                taken.back.append((delivery.edge, current, known.newest_epoch))
            facts[delivery.edge] = self._heard(known, delivery, received_ns, refused=False)
        values: dict[str, bytes | None] = {f"edge/{edge}": msgspec.json.encode(fact) for edge, fact in facts.items()}
        changed = {(k.edge, k.epoch) for k in fresh} | known_elsewhere
        values |= {f"range/{edge}/{epoch}": trial[edge, epoch].encode() for edge, epoch in changed}
        if fresh:
            appends = [Append(STREAM, k.kind, k.encode(), LANE_DATA if k.kind in _DATA_KINDS else LANE_ALARM) for k in fresh]
            given = self.log.commit(appends, values=values)[STREAM]
            taken.kept = [_numbered(k, at) for k, at in zip(fresh, given, strict=True)]
        elif changed or any(self.facts.get(edge) is None or self.facts[edge].refused != fact.refused for edge, fact in facts.items()):
            self.log.commit(values=values)
        self.facts |= facts
        self.positions |= {key: trial[key] for key in changed}
        self._remember_disputes(taken, fresh)
        for delivery, _ in deliveries:
            heard = self._lately.setdefault(delivery.edge, OrderedDict())
            heard[delivery.epoch] = None
            heard.move_to_end(delivery.epoch)
            while len(heard) > EPOCHS // 2:
                heard.popitem(last=False)
        return taken

    def _remember_disputes(self, taken: Taken, fresh: Sequence[Kept]) -> None:
        for strange in taken.strange:
            if strange.disputed:
                kept = strange.record
                numbers = self._disputed.setdefault((kept.edge, kept.epoch), OrderedDict())
                numbers[kept.seq] = None
                while len(numbers) > DISPUTED:
                    numbers.popitem(last=False)
        for kept in fresh if self._disputed else ():
            numbers = self._disputed.get((kept.edge, kept.epoch), OrderedDict())
            numbers.pop(kept.seq, None)

    @staticmethod
    def _heard(known: EdgeFacts | None, delivery: Delivery, received_ns: int, *, refused: bool) -> EdgeFacts:
        current = delivery.current or delivery.epoch
        oldest, highest = 1, 0
        if known is not None and known.epoch == current:
            oldest, highest = known.oldest_seq, known.highest_seq
        if delivery.epoch == current:
            oldest, highest = delivery.oldest_seq, max([highest, *(r.seq for r in delivery.records)])
        return EdgeFacts(
            edge=delivery.edge,
            site=delivery.site,
            simulated=delivery.simulated,
            epoch=current,
            newest_epoch=max(current, known.newest_epoch if known is not None else 0),
            oldest_seq=oldest,
            highest_seq=highest,
            last_seen_ns=received_ns,
            refused=refused,
        )

    def _one(
        self,
        record: Delivered,
        delivery: Delivery,
        received_ns: int,
        position: Position,
        others: Sequence[Position],
        fresh: list[Kept],
        taken: Taken,
    ) -> bool:
        """Take in one record or piece; returns whether it was committed under another epoch already and is now known in this one too."""
        known = position.recent.get(record.seq)
        if record.seq in position.ranges:
            chain = known[0] if known is not None else position.ends.get(record.seq)
            same_bytes = record.parts > 1 or known is None or zlib.crc32(record.data) == known[1]
            if (chain is None or chain == record.chain) and same_bytes:
                taken.duplicates += record.part == 0
            else:
                kept = Kept(delivery.edge, delivery.epoch, record.seq, record.chain, received_ns, record.data)
                other = chain != record.chain
                taken.strange.append(Strange(kept, f"expected chain {chain:08x}, found {record.chain:08x}" if other else "other bytes", other))
            return False
        data = record.data if record.parts == 1 else self._assemble(record, delivery)
        if data is None:
            return False
        crc = zlib.crc32(data)
        if any(p.recent.get(record.seq) == (record.chain, crc, len(data)) for p in others):
            # The edge has begun a new epoch because of another gateway, and gives us again what we have: the running CRC says it is the same.
            position.add(record.seq, record.chain, crc, len(data))
            taken.duplicates += 1
            return True
        kept = Kept(delivery.edge, delivery.epoch, record.seq, record.chain, received_ns, data)
        before = position.chain(record.seq - 1)
        if before is not None and chain_crc(before, data) != record.chain:
            taken.strange.append(Strange(kept, f"expected chain {chain_crc(before, data):08x} behind {record.seq - 1}, found {record.chain:08x}"))
            return False
        if not position.leads_on(record.seq, record.chain):
            # Two lives in one range, the later one behind a hole: its end would then prove what is not so.
            taken.strange.append(Strange(kept, f"record {record.seq + 1}, committed before, does not go on from chain {record.chain:08x}"))
            return False
        position.add(record.seq, record.chain, crc, len(data))
        fresh.append(kept)
        return False

    def _assemble(self, record: Delivered, delivery: Delivery) -> bytes | None:
        key = (delivery.edge, delivery.epoch, record.seq, record.chain)
        parts = self._parts.setdefault(key, {})
        if record.part not in parts:
            parts[record.part] = record.data
            self._parts_bytes += len(record.data)
        if len(parts) == record.parts:
            self._drop(key)
            return b"".join(parts[i] for i in range(record.parts))
        while self._parts_bytes > PARTS_BYTES:
            self._drop(next(iter(self._parts)))
        return None

    def _drop(self, key: tuple[str, int, int, int]) -> None:
        self._parts_bytes -= sum(len(p) for p in self._parts.pop(key).values())

    def committed(self, edge: str, session: str) -> Committed:
        """What to tell an edge."""
        known = {epoch for e, epoch in self.positions if e == edge}
        fact = self.facts.get(edge)
        first = {fact.epoch, *self._lately.get(edge, ())} if fact is not None else set()
        # The one the edge waits for must be among them, whatever its number: a clock that went back makes low ones.
        epochs = sorted(known, key=lambda epoch: (epoch in first, epoch), reverse=True)[:EPOCHS]
        held = {epoch: self.positions[edge, epoch] for epoch in epochs}
        chains = {epoch: tuple(p.ends[b] for _, b in p.ranges.ranges) for epoch, p in held.items()}
        disputed = {epoch: tuple(numbers) for (e, epoch), numbers in self._disputed.items() if e == edge and numbers}
        return Committed(self._gateway, session, edge, {epoch: p.ranges for epoch, p in held.items()}, chains, disputed)

    def backlog(self, edge: str) -> int:
        """Records that an edge announced and that are not committed."""
        fact = self.facts[edge]
        position = self.positions.get((edge, fact.epoch))
        held: Sequence[tuple[int, int]] = position.ranges.ranges if position is not None else ()
        lo, hi = max(1, fact.oldest_seq), fact.highest_seq
        inside = sum(max(0, min(b, hi) - max(a, lo) + 1) for a, b in held)
        return max(0, hi - lo + 1 - inside)


def _numbered(kept: Kept, at: int) -> Kept:
    """The same record with its number in the inbox."""
    return Kept(kept.edge, kept.epoch, kept.seq, kept.chain, kept.received_ns, kept.frame, at)
