"""What travels between edge and gateway: deliveries of records, and the ranges that a gateway has committed."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np

from edge_agent.core.alarm import OperatorAction
from edge_agent.core.errors import WireError
from edge_agent.core.wire import frame, unframe

DELIVERY_KIND: Final = 64
COMMITTED_KIND: Final = 65
MAX_MESSAGE: Final = 256 * 1024
"""Bytes of one MQTT message at the most."""
MAX_ANCHOR: Final = 1024
"""Bytes of one signed head at the most."""


class Ranges:
    """A set of positive integers as sorted, disjoint, closed ranges.

    >>> r = Ranges([(1, 3)]); r.add(5, 6); r.add(4, 4); r.ranges
    ((1, 6),)
    >>> 6 in r, r.contiguous, Ranges([(2, 3)]).contiguous
    (True, 6, 0)
    """

    __slots__ = ("_ranges",)

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._ranges: list[tuple[int, int]] = []
        for a, b in ranges:
            self.add(a, b)

    def add(self, a: int, b: int) -> None:
        """Take in a..b, both included; ValueError unless 1 <= a <= b."""
        if not 1 <= a <= b:
            raise ValueError(f"Ranges: expected 1 <= a <= b, found {a}..{b}")
        before = [(x, y) for x, y in self._ranges if y < a - 1]
        after = [(x, y) for x, y in self._ranges if x > b + 1]
        touching = self._ranges[len(before) : len(self._ranges) - len(after)]
        if touching:
            a, b = min(a, touching[0][0]), max(b, touching[-1][1])
        self._ranges = [*before, (a, b), *after]

    def __contains__(self, seq: object) -> bool:
        return isinstance(seq, int) and any(a <= seq <= b for a, b in self._ranges)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ranges) and self._ranges == other._ranges

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Ranges({self._ranges})"

    @property
    def ranges(self) -> tuple[tuple[int, int], ...]:
        """The ranges in order."""
        return tuple(self._ranges)

    @property
    def contiguous(self) -> int:
        """The highest number up to which nothing is missing from 1 on; 0 when 1 is missing."""
        return self._ranges[0][1] if self._ranges and self._ranges[0][0] == 1 else 0

    @property
    def highest(self) -> int:
        """The highest number contained; 0 when empty."""
        return self._ranges[-1][1] if self._ranges else 0


@dataclass(frozen=True, slots=True)
class Delivered:
    """One record on its way: its place in the edge's sequence and its frame."""

    seq: int
    chain: int
    """Running CRC-32 over all frames of the epoch up to this one: identity together with edge, epoch and seq."""
    data: bytes
    part: int = 0
    parts: int = 1
    """A frame too large for one message travels as `parts` pieces, `part` counting from 0; the gateway commits it once, when whole."""

    def pieces(self, size: int) -> tuple[Delivered, ...]:
        """This record cut into pieces of at most `size` bytes.

        >>> [p.data for p in Delivered(1, 0, b"abcde").pieces(2)]
        [b'ab', b'cd', b'e']
        """
        parts = max(1, -(-len(self.data) // size))
        return tuple(Delivered(self.seq, self.chain, self.data[i * size : (i + 1) * size], i, parts) for i in range(parts))


class _DeliveryHead(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    site: str
    edge: str
    epoch: int
    oldest_seq: int
    simulated: bool
    n: int
    current: int = 0


class _CommittedHead(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    gateway: str
    session: str
    edge: str
    epochs: dict[str, list[tuple[int, int]]]
    chains: dict[str, list[int]] = {}
    disputed: dict[str, list[int]] = {}


_delivery_head: Final = msgspec.json.Decoder(_DeliveryHead)
_committed_head: Final = msgspec.json.Decoder(_CommittedHead)
_actions: Final = msgspec.json.Decoder(list[msgspec.Raw])
_action: Final = msgspec.json.Decoder(OperatorAction)


@dataclass(frozen=True, slots=True)
class Delivery:
    """Records of one edge and epoch in one message; `oldest_seq` is the oldest of that epoch that the edge still has."""

    site: str
    edge: str
    epoch: int
    oldest_seq: int
    simulated: bool
    records: tuple[Delivered, ...]
    current: int = 0
    """The epoch that the edge is in now; 0 when it is the one of these records."""

    def encode(self) -> bytes:
        """One message; the sender packs it to at most MAX_MESSAGE bytes."""
        head = msgspec.json.encode(
            _DeliveryHead(self.site, self.edge, self.epoch, self.oldest_seq, self.simulated, len(self.records), self.current)
        )
        seqs = np.array([r.seq for r in self.records], "<i8").tobytes()
        chains = np.array([r.chain for r in self.records], "<u4").tobytes()
        sizes = np.array([len(r.data) for r in self.records], "<u4").tobytes()
        parts = np.array([(r.part, r.parts) for r in self.records], "<u4").tobytes()
        columns = (len(head).to_bytes(4, "little"), head, seqs, chains, sizes, parts)
        return frame(DELIVERY_KIND, b"".join((*columns, *(r.data for r in self.records))))

    @classmethod
    def decode(cls, data: bytes) -> Delivery:
        """The delivery in a message; WireError when it is damaged. The frames inside are not decoded."""
        kind, body = unframe(data)
        if kind != DELIVERY_KIND:
            raise WireError(f"delivery: expected kind {DELIVERY_KIND}, found {kind}")
        at = 4 + int.from_bytes(body[:4], "little")
        try:
            head = _delivery_head.decode(body[4:at])
            n = head.n
            if n < 0 or len(body) < at + 24 * n:
                raise WireError(f"delivery: expected {n} records, found {len(body)} bytes")
            seqs = np.frombuffer(body, "<i8", n, at).tolist()
            chains = np.frombuffer(body, "<u4", n, at + 8 * n).tolist()
            sizes = np.frombuffer(body, "<u4", n, at + 12 * n).tolist()
            parts = np.frombuffer(body, "<u4", 2 * n, at + 16 * n).reshape(n, 2).tolist()
        except (msgspec.DecodeError, ValueError) as error:
            raise WireError(f"delivery: {error}") from error
        at += 24 * n
        if len(body) != at + sum(sizes):
            raise WireError(f"delivery: expected {at + sum(sizes)} bytes, found {len(body)}")
        records = []
        for seq, chain, size, (part, of) in zip(seqs, chains, sizes, parts, strict=True):
            if seq < 1 or not part < of:
                raise WireError(f"delivery: expected sequence numbers from 1 and part < parts, found {seq}, part {part} of {of}")
            records.append(Delivered(seq, chain, body[at : at + size], part, of))
            at += size
        return cls(head.site, head.edge, head.epoch, head.oldest_seq, head.simulated, tuple(records), head.current)


@dataclass(frozen=True, slots=True)
class Committed:
    """What one gateway holds of one edge, by epoch; a new `session` asks the edge to send everything else again.

    chains    by epoch the running CRC at the end of each range, in their order: the edge compares them with its own
    disputed  by epoch the last numbers that were quarantined, because their running CRC does not go on from what is committed
    """

    gateway: str
    session: str
    edge: str
    epochs: dict[int, Ranges]
    chains: dict[int, tuple[int, ...]] = field(default_factory=dict)
    disputed: dict[int, tuple[int, ...]] = field(default_factory=dict)

    def encode(self) -> bytes:
        """One retained message."""
        epochs = {str(epoch): list(ranges.ranges) for epoch, ranges in self.epochs.items()}
        chains, disputed = ({str(epoch): list(numbers) for epoch, numbers in of.items()} for of in (self.chains, self.disputed))
        return frame(COMMITTED_KIND, msgspec.json.encode(_CommittedHead(self.gateway, self.session, self.edge, epochs, chains, disputed)))

    @classmethod
    def decode(cls, data: bytes) -> Committed:
        """The message; WireError when it is damaged."""
        kind, body = unframe(data)
        if kind != COMMITTED_KIND:
            raise WireError(f"committed: expected kind {COMMITTED_KIND}, found {kind}")
        try:
            head = _committed_head.decode(body)
            epochs = {int(epoch): Ranges(ranges) for epoch, ranges in head.epochs.items()}
            chains, disputed = ({int(epoch): tuple(numbers) for epoch, numbers in of.items()} for of in (head.chains, head.disputed))
        except (msgspec.DecodeError, ValueError) as error:
            raise WireError(f"committed: {error}") from error
        wrong = [epoch for epoch, numbers in chains.items() if len(numbers) != len(epochs.get(epoch, Ranges()).ranges)]
        if wrong:
            raise WireError(f"committed: expected a chain for each range of epoch {wrong[0]}, found {len(chains[wrong[0]])}")
        return cls(head.gateway, head.session, head.edge, epochs, chains, disputed)


def encode_actions(actions: Sequence[OperatorAction]) -> bytes:
    """The full list of outstanding operator actions as a JSON list."""
    return msgspec.json.encode(list(actions))


def decode_actions(data: bytes) -> tuple[OperatorAction, ...]:
    """The outstanding actions of an edge; WireError when the message is not such a list. An empty payload is an empty list.

    One that a later version has written becomes an action of kind `unknown`, which is refused by its id: it stops none of the others.
    """
    if not data:
        return ()
    try:
        return tuple(_read(raw) for raw in _actions.decode(data))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(f"actions: {error}") from error


class _AnyAction(msgspec.Struct, frozen=True):
    """What every version writes of an action."""

    id: str
    kind: str
    alarm: str
    user: str
    time_ns: int
    role: str = ""
    station: str = ""


_any_action: Final = msgspec.json.Decoder(_AnyAction)


def _read(raw: msgspec.Raw) -> OperatorAction:
    try:
        return _action.decode(raw)
    except msgspec.ValidationError as error:
        found = _any_action.decode(raw)
        reason = f"this version cannot read {found.kind}: {error}"
        return OperatorAction(
            id=found.id, kind="unknown", alarm=found.alarm, raised_ns=0, user=found.user, role=found.role, station=found.station, reason=reason,
            time_ns=found.time_ns,
        )  # fmt: skip


def decode_anchor(data: bytes) -> str:
    """The signed head of a gateway's audit trail, as text: a JSON object that is kept as it came; WireError when it is none or too long.

    >>> decode_anchor(b'{"seq":7,"hash":"00"}')
    '{"seq":7,"hash":"00"}'
    """
    if len(data) > MAX_ANCHOR:
        raise WireError(f"anchor: expected at most {MAX_ANCHOR} bytes, found {len(data)}")
    try:
        head = msgspec.json.decode(data, type=dict[str, int | str])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(f"anchor: {error}") from error
    if not {"seq", "hash"} <= head.keys():
        raise WireError(f"anchor: expected seq and hash, found {', '.join(head) or 'nothing'}")
    return data.decode()


def chain_crc(previous: int, data: bytes) -> int:
    """The running CRC behind one more frame.

    >>> chain_crc(chain_crc(0, b"a"), b"b") == zlib.crc32(b"ab")
    True
    """
    return zlib.crc32(data, previous)


def chain_joined(previous: int, crc: int, size: int) -> int:
    """The running CRC behind a frame of which only its own CRC-32 and its size in bytes are known.

    As zlib's crc32_combine: what stands before is multiplied by x^(8 size) modulo the polynomial of CRC-32.

    >>> chain_joined(zlib.crc32(b"before"), zlib.crc32(b"frame"), 5) == zlib.crc32(b"beforeframe")
    True
    """
    power, k = 1 << 31, 3
    while size:
        if size & 1:
            power = _times(_SQUARES[k & 31], power)
        size >>= 1
        k += 1
    return _times(power, previous) ^ crc


def _times(a: int, b: int) -> int:
    """Product of two polynomials over GF(2) modulo that of CRC-32, bits reflected."""
    product = 0
    for place in range(31, -1, -1):
        if a >> place & 1:
            product ^= b
        b = b >> 1 ^ (0xEDB88320 if b & 1 else 0)
    return product


def _squares() -> tuple[int, ...]:
    found = [1 << 30]
    for _ in range(31):
        found.append(_times(found[-1], found[-1]))
    return tuple(found)


_SQUARES: Final = _squares()
"""x to the power of 2^k, modulo the polynomial of CRC-32."""


def topic(site: str, edge: str, leaf: str) -> str:
    """The MQTT topic of one edge.

    >>> topic("demo", "e1", "records")
    'pharmedge/demo/e1/records'
    """
    return f"pharmedge/{site}/{edge}/{leaf}"
