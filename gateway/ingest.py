"""From the broker into the store.

Messages wait in a queue bounded in bytes; the writer thread commits all that wait at once, and only then is the broker answered and the edge told.
"""

from __future__ import annotations

import asyncio
import logging
import re
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from edge_agent.core import Delivery, OperatorAction, WireError, encode_actions, topic
from edge_agent.core.delivery import MAX_MESSAGE
from gateway.config import NAME
from gateway.deadletters import DeadLetters
from gateway.inbox import Strange, Taken
from gateway.store import Store

BATCH_BYTES: Final = 8 << 20
"""Bytes of messages in one commit at the most."""
SEEN: Final = 10_000
ELSEWHERE: Final = 1_000
"""Edges of other gateways that are counted by name."""
UNNAMED: Final = "*"
"""Those beyond, and what stands on a topic that no edge has, together."""

log = logging.getLogger(__name__)


class Line(Protocol):
    """What the ingest needs of the broker connection."""

    def publish(self, topic: str, payload: bytes) -> None:
        """Send a retained message."""

    def acknowledge(self, tokens: Sequence[tuple[int, int]]) -> None:
        """Let go of messages."""

    def pause(self) -> None:
        """Stop reading."""

    def resume(self) -> None:
        """Read again."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message as it came."""

    topic: str
    payload: bytes
    token: tuple[int, int] | None
    received_ns: int


class Ingest:
    """Commits what comes in. `receive` and `connected` on the loop; `_drain` in the writer thread."""

    def __init__(
        self,
        store: Store,
        site: str,
        writer: Executor,
        line: Callable[[], Line],
        *,
        clock: Callable[[], int],
        session: Callable[[], str] = lambda: uuid.uuid4().hex,
        failed: Callable[[BaseException], None],
        edges: Sequence[str] = (),
    ) -> None:
        self._store, self._site, self._writer, self._line, self._clock = store, site, writer, line, clock
        self._new_session, self._failed = session, failed
        self._session = session()
        self._home = frozenset(topic(site, edge, "records") for edge in edges)
        self.elsewhere: dict[str, int] = {}
        """Messages let go of because their edge is not one of ours, by edge."""
        self._waiting: deque[Message] = deque()
        self._busy = False
        self.queue_bytes = 0
        folder: Path = store.data_dir
        self.letters = DeadLetters(folder / "quarantine.jsonl", store.settings.quarantine_bytes)
        self._seen: dict[tuple[str, int, int, int], None] = {}
        store.actions_changed = self._actions_changed

    def begin(self) -> None:
        """Called on the loop that all of this runs on, before anything can ask for a message to be sent."""
        self._loop = asyncio.get_running_loop()

    def receive(self, topic: str, payload: bytes, token: tuple[int, int] | None) -> None:
        """A message came; beyond the bound nothing more is read until the writer has caught up. `token` is None where no answer is waited for."""
        self.begin()
        if self._home and topic not in self._home:
            # Another gateway's edge. One subscription for all and this look cost less than a subscription for each edge, which a
            # cluster of brokers keeps as a queue of its own.
            self._let_go(topic)
            if token is not None:
                self._line().acknowledge([token])
            return
        self._waiting.append(Message(topic, payload, token, self._clock()))
        self.queue_bytes += len(payload)
        if self.queue_bytes >= self._store.settings.queue_bytes:
            self._line().pause()
        self._start()

    def _let_go(self, topic: str) -> None:
        # Whether another gateway keeps them is not known here: an edge that is nobody's is found by comparing what the gateways show.
        edge = topic.split("/")[-2]
        if edge not in self.elsewhere and (len(self.elsewhere) >= ELSEWHERE or re.fullmatch(NAME, edge) is None):
            edge = UNNAMED
        if edge not in self.elsewhere:
            log.warning("edge %s is not among gateway.edges: its records are not kept here", edge)
        self.elsewhere[edge] = self.elsewhere.get(edge, 0) + 1

    def _start(self) -> None:
        if self._waiting and not self._busy:
            self._busy = True
            batch, size = [], 0
            while self._waiting and size < BATCH_BYTES:
                batch.append(self._waiting.popleft())
                size += len(batch[-1].payload)
            self._loop.run_in_executor(self._writer, self._drain, batch, size).add_done_callback(self._done)

    def _done(self, job: asyncio.Future[None]) -> None:
        self._busy = False
        error = job.exception() if not job.cancelled() else None
        if error is not None:
            self._failed(error)
        else:
            self._start()

    def connected(self) -> None:
        """The broker is there (again): every known edge is told what is committed under a new session, and what is asked of it."""
        self.begin()
        self._session = self._new_session()
        self._loop.run_in_executor(self._writer, self._announce, self._session).add_done_callback(self._announced)

    def _announced(self, job: asyncio.Future[None]) -> None:
        error = job.exception() if not job.cancelled() else None
        if error is not None:
            self._failed(error)

    def _announce(self, session: str) -> None:
        known = {edge: fact for edge, fact in self._store.inbox.facts.items() if not fact.refused}
        for edge in known:
            self._publish(edge, "committed", self._store.inbox.committed(edge, session).encode())
            self._actions_changed(edge)

    def _actions_changed(self, edge: str) -> None:
        self._publish(edge, "actions", _list(self._store.actions(edge)))

    def _publish(self, edge: str, leaf: str, payload: bytes) -> None:
        # A topic for each gateway: a broker keeps one message of each, and what one gateway says must not take another's place.
        name = topic(self._site, edge, f"{leaf}/{self._store.gateway}")
        self._loop.call_soon_threadsafe(lambda: self._line().publish(name, payload))

    def _drain(self, batch: list[Message], size: int) -> None:
        deliveries = [(found, m.received_ns) for m in batch if (found := self._decoded(m)) is not None]
        taken = self._store.take(deliveries) if deliveries else Taken()
        for edge in taken.edges:
            self._publish(edge, "committed", self._store.inbox.committed(edge, self._session).encode())
        self._loop.call_soon_threadsafe(self._answer, [m.token for m in batch if m.token is not None], size)
        taken.strange = [s for s in taken.strange if self._is_new(s)]
        for strange in taken.strange:
            kept = strange.record
            self.letters.add(kept.received_ns, f"{kept.edge}/{kept.epoch}/{kept.seq}", strange.what, kept.frame)
        self._store.quarantined = self.letters.count
        self._store.apply(taken)

    def _is_new(self, strange: Strange) -> bool:
        # An edge sends what is not committed again and again; it is kept and counted once.
        kept = strange.record
        key = (kept.edge, kept.epoch, kept.seq, kept.chain)
        if key in self._seen:
            return False
        self._seen[key] = None
        if len(self._seen) > SEEN:
            del self._seen[next(iter(self._seen))]
        return True

    def _decoded(self, message: Message) -> Delivery | None:
        try:
            delivery = Delivery.decode(message.payload)
            expected = topic(delivery.site, delivery.edge, "records")
            if message.topic != expected or delivery.site != self._site:
                raise WireError(f"delivery: expected topic {expected} of site {self._site}, found {message.topic}")
        except WireError as error:
            self.letters.add(message.received_ns, message.topic, str(error), message.payload)
            self._store.quarantined = self.letters.count
            return None
        return delivery

    def _answer(self, tokens: list[tuple[int, int]], size: int) -> None:
        self._line().acknowledge(tokens)
        self.queue_bytes -= size
        if self.queue_bytes < self._store.settings.queue_bytes // 2:
            self._line().resume()


def _list(actions: list[OperatorAction]) -> bytes:
    """The outstanding actions as one message: the oldest that fit; the others follow as these are answered."""
    while len(data := encode_actions(actions)) > MAX_MESSAGE and len(actions) > 1:
        actions = actions[: max(1, len(actions) * MAX_MESSAGE // len(data) - 1)]
    return data
