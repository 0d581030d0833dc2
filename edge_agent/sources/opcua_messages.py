"""The messages of one subscription in their order: what is missing is asked for again, and what is gone makes tags suspect.

Sequence numbers run 1 .. 2^32 - 1 and then start again at 1 (OPC 10000-4, 5.14).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from edge_agent.core import KeepAlive
from edge_agent.sources.source import Item, Plug

if TYPE_CHECKING:
    from edge_agent.sources.opcua_decode import Decoder, Envelope
    from edge_agent.sources.opcua_publish import Publisher
    from edge_agent.sources.opcua_session import Session
    from edge_agent.sources.opcua_settings import OpcUaSettings

_SEQUENCES: Final = (1 << 32) - 1
_REPUBLISH_AT_MOST: Final = 10_000


def after(sequence: int, steps: int = 1) -> int:
    """The number so many steps behind another.

    >>> after(4294967295), after(4294967295, 2)
    (1, 2)
    """
    return (sequence - 1 + steps) % _SEQUENCES + 1


def distance(first: int, second: int) -> int:
    """Steps from one sequence number to another, negative when it lies behind.

    >>> distance(4294967295, 1), distance(3, 1)
    (1, -2)
    """
    steps = (second - first) % _SEQUENCES
    return steps if steps < _SEQUENCES // 2 else steps - _SEQUENCES


class Messages:
    """What one connection has read, as items with the numbers of the messages they came in.

    durable  subscription and number of the last message that the journal has; the source moves it on
    """

    def __init__(self, session: Session, config: OpcUaSettings, plug: Plug, decoder: Decoder, durable: tuple[int, int]) -> None:
        self._session, self._config, self._plug, self._decoder = session, config, plug, decoder
        self.durable = durable
        self.ready: deque[tuple[list[Item], list[int]]] = deque()
        """Items to be handed on, each group with the numbers to acknowledge once it is kept."""
        self.subscription = 0
        self.last = 0
        """Number of the last message read."""
        self.resumed_from: int | None = None
        """Where a subscription that survived was taken up, until its first message has come."""
        self.ended: int | None = None
        """StatusCode with which the server ended the subscription."""
        self.saw_data = False

    def add(self, *items: Item) -> None:
        """Items that came in no message."""
        if items:
            self.ready.append((list(items), []))

    def first(self, item: Item) -> None:
        """An item that stands before all others."""
        self.ready.appendleft(([item], []))

    def let_go(self) -> None:
        """What is ready came in messages of a subscription that is given up: nothing of it can be acknowledged."""
        self.ready = deque((items, []) for items, _ in self.ready)

    def drain(self) -> tuple[tuple[Item, ...], list[int]]:
        """Everything that is ready, and the numbers to acknowledge."""
        items: list[Item] = []
        sequences: list[int] = []
        while self.ready:
            more, numbers = self.ready.popleft()
            items += more
            sequences += numbers
        return tuple(items), sequences

    async def take(self, head: Envelope, body: bytes, publisher: Publisher) -> None:
        """One PublishResponse of this subscription; DamagedError when not even its number can be read."""
        from edge_agent.sources.opcua_decode import acknowledgements

        sequence = int.from_bytes(body[head.at : head.at + 4], "little")
        if self.resumed_from is not None and self.durable[0] == self.subscription:
            # What the journal already has only waits to be let go of.
            publisher.acks += [n for n in head.available if distance(n, self.durable[1]) >= 0]
        expected = after(self.last)
        ahead = distance(expected, sequence)
        if ahead > 0:
            await self._fill(expected, ahead, head.available)
        if self.resumed_from is not None:
            # While nobody asked, the server's queues may have run over without a word.
            self._decoder.suspect()
            self.resumed_from = None
        message = self._decoder.message(body, head.at, self._plug.clock())
        refused = sum(status >> 31 for status in acknowledgements(body, message.end)) if not message.damaged else 0
        self._plug.count("acknowledgements_refused", refused)
        if message.keep_alive:
            self.ready.append(([KeepAlive(received_ns=0, source=self._plug.name)], []))
            return
        if ahead < 0:
            self._plug.count("messages_repeated")
            self.ready.append(([], [sequence]))
            return
        self.last = sequence
        self.saw_data = True
        self.ready.append((list(message.items), [sequence]))
        self.ended = message.status

    async def _fill(self, expected: int, missing: int, available: tuple[int, ...]) -> None:
        """Get the messages expected .. expected + missing - 1 again, as far as the server has them."""
        steps = sorted(step for n in available if 0 <= (step := distance(expected, n)) < missing)
        got = 0
        for step in steps[:_REPUBLISH_AT_MOST]:
            if step != got:
                self._lost(step - got)
            got = step + 1
            if not await self._again(self.subscription, after(expected, step)):
                self._lost(1)
        if got != missing:
            self._lost(missing - got)
        self.last = after(expected, missing - 1)

    async def recover(self, subscription: int) -> None:
        """All messages behind the last one kept that the server has, in order."""
        for _ in range(_REPUBLISH_AT_MOST):
            sequence = after(self.last)
            if not await self._again(subscription, sequence):
                return
            self.last = sequence

    async def _again(self, subscription: int, sequence: int) -> bool:
        from edge_agent.sources import opcua_subscription as at_server
        from edge_agent.sources.opcua_walk import DamagedError

        try:
            found = await at_server.republish(self._session, self._config, subscription, sequence)
            if found is None:
                return False
            message = self._decoder.message(*found, self._plug.clock())
        except DamagedError:
            return False
        self._plug.count("messages_republished")
        self.ready.append((list(message.items), [sequence]))
        return True

    def _lost(self, messages: int) -> None:
        self._plug.count("messages_lost", messages)
        self._decoder.suspect()
