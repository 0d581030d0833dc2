"""OPC UA: subscribes to the tags of one server and acknowledges a notification only after its values are kept.

Reading and acknowledging (OPC 10000-4, 5.14): several PublishRequests are outstanding; each response is decoded to columns and handed on; its
sequence number goes into the next request once `Received.ack` was called. A number that is missing is asked for again with Republish; one that
the server no longer has makes every tag suspect, and the first value behind the hole tells its interval as `Overflow` (`opcua_messages.py`).

Coming back: the session of before is taken up again on a new channel; else its subscription is transferred; else a new one is made. The first
item after `open` is a Connection, `resumed` when the subscription survived and `connected` when it is a new one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

import msgspec

from edge_agent.core import Connection, NotConnected
from edge_agent.sources.opcua_settings import OpcUaSettings
from edge_agent.sources.source import Item, Plug, Received, Source

if TYPE_CHECKING:
    from edge_agent.sources.opcua_decode import Decoder
    from edge_agent.sources.opcua_history import History
    from edge_agent.sources.opcua_holes import Holes
    from edge_agent.sources.opcua_messages import Messages
    from edge_agent.sources.opcua_publish import Publisher
    from edge_agent.sources.opcua_session import Session
    from edge_agent.sources.opcua_subscription import Granted, Wanted

_BASES: Final = {"source": 0, "server": 1, "received": 2}
SILENCE_AT_LEAST_S: Final = 5.0
"""A link is not given up for less: a busy server or a busy computer of ours may hold its breath for a second or two."""
_MESSAGES_PER_READ: Final = 16


class OpcUaConfig(OpcUaSettings):
    """One OPC UA server."""

    lossy: ClassVar[bool] = True
    """Values that arise while nobody is subscribed are lost: the pipeline declares them as gaps."""

    def source(self, plug: Plug) -> Source:
        """The connector."""
        return OpcUaSource(self, plug)


class OpcUaSource:
    """The connector to one OPC UA server; see `Source` for who calls what."""

    def __init__(self, config: OpcUaConfig, plug: Plug) -> None:
        self._config, self._plug = config, plug
        self._wanted: dict[int, Wanted] = {}
        self._misaddressed: dict[int, str] = {}
        self._distrusted = False
        self._opened = False
        # The last message known to be durable, and the subscription it belongs to.
        self._durable = (0, 0)
        self._holes: Holes | None = None
        self._session: Session | None = None
        self._reset()

    def _reset(self) -> None:
        self._decoder: Decoder | None = None
        self._messages: Messages | None = None
        self._history: History | None = None
        self._plan = ""
        self._publisher: Publisher | None = None
        self._failed: set[int] = set()
        self._since = 0.0
        self._unanswered: set[int] = set()
        self._renew_at = self._retry_at = self._verify_at = self._silence_s = 0.0

    # Opening

    async def open(self, resume: bytes | None) -> None:
        """Connect, and take up the subscription of before or make a new one."""
        from edge_agent.sources.opcua_decode import Decoder
        from edge_agent.sources.opcua_messages import Messages
        from edge_agent.sources.opcua_publish import Publisher
        from edge_agent.sources.opcua_session import Session, read_kept, read_resume
        from edge_agent.sources.opcua_subscription import plan_of, wanted

        self._reset()
        config, plug = self._config, self._plug
        self._wanted, self._misaddressed = {}, {}
        for tag in plug.tags:
            try:
                self._wanted[tag.id] = wanted(tag, config.address(plug.address.get(tag.id, "")), config)
            except ValueError as error:
                self._misaddressed[tag.id] = str(error)
        self._plan = plan_of(self._wanted.values(), config)
        self._decoder = Decoder(plug.name, tuple(plug.tags), _BASES[config.time.basis], plug.counters, round(plug.max_skew_s * 1e9))
        self._session = Session(config, plug.data_dir, read_kept(plug.data_dir))
        self._messages = Messages(self._session, config, plug, self._decoder, self._durable)
        await self._session.open()
        self._arm()
        await self._subscribe(dict(read_resume(resume)))
        self._arm()
        self._publisher = Publisher(self._session, self._messages.subscription, config.outstanding)
        self._publisher.top_up()
        if config.history.fill:
            await self._fill(dict(read_resume(resume)))

    async def _fill(self, resume: dict[str, Any]) -> None:
        """Have the holes of this connection, and those still open of earlier ones, filled from the server's history."""
        from edge_agent.sources.opcua_decode import Decoder
        from edge_agent.sources.opcua_history import History
        from edge_agent.sources.opcua_holes import Holes

        assert self._session is not None
        assert self._messages is not None
        assert self._publisher is not None
        config, plug = self._config, self._plug
        if self._holes is None:
            self._holes = await asyncio.to_thread(Holes, plug.data_dir, plug.tags, plug.newest_ns, resume)
        self._holes.opened(resumed=self._messages.resumed_from is not None)
        decoder = Decoder(plug.name, tuple(plug.tags))
        namespaces = await self._session.namespaces()
        self._history = History(self._session, config, plug, decoder, self._holes, self._wanted, namespaces, self._publisher.news.set)

    def _arm(self) -> None:
        assert self._session is not None
        now = asyncio.get_running_loop().time()
        self._since = now
        self._retry_at = now + self._config.retry_s
        self._verify_at = now + self._config.verify_s
        self._renew_at = now + 0.75 * self._session.channel_lifetime_s

    async def _subscribe(self, resume: dict[str, Any]) -> None:
        from edge_agent.sources import opcua_subscription as at_server

        assert self._session is not None
        assert self._decoder is not None
        assert self._messages is not None
        session, config, kept, messages = self._session, self._config, self._session.kept, self._messages
        old = kept.subscription
        same = kept.plan == self._plan
        known = resume if (resume.get("subscription"), resume.get("plan")) == (old, self._plan) else {}
        last = int(known.get("sequence", 0))
        if not self._opened:
            # Out of the journal: durable. What a later open is given may still be on its way there.
            self._durable = messages.durable = (old, last)
        self._opened = True
        how = ""
        if old and same and not self._distrusted:
            if session.reactivated:
                how = "session taken up again"
            elif session.transfer_works and await at_server.transfer(session, config, old):
                how = "subscription transferred"
            if how and not await at_server.alive(session, config, old):
                how = ""
        if how:
            messages.subscription, messages.last, messages.resumed_from = old, last, last
            self._failed = set(kept.failed)
            self._granted(kept.publishing_ms, kept.keepalive_count, kept.queue)
            self._say("resumed", f"{how}, from message {last}")
            self._tell_failures(dict.fromkeys(sorted(self._failed), (0, "refused when the subscription was made")))
            await messages.recover(old)
            return
        if old:
            # Its messages may still be had although it is no longer ours; what was kept already comes twice and is removed by (tag, time, value).
            messages.last = last
            if same:
                await messages.recover(old)
                # What its queue still held goes with it: the first value of the new one shows whether something did.
                self._decoder.suspect()
                messages.let_go()
            await at_server.delete(session, config, old)
        messages.last = 0
        messages.subscription, publishing_ms, keepalive_count = await at_server.create(session, config)
        granted = await self._add(list(self._wanted.values()))
        self._failed = set(granted.refused)
        self._granted(publishing_ms, keepalive_count, granted.queue)
        await session.keep(
            msgspec.structs.replace(
                session.kept, subscription=messages.subscription, plan=self._plan, failed=tuple(sorted(self._failed)),
                publishing_ms=publishing_ms, keepalive_count=keepalive_count, queue=granted.queue,
            )
        )  # fmt: skip
        detail = f"new subscription of {len(granted.queue)} tags, {publishing_ms:g} ms, keep-alive after {keepalive_count}"
        if granted.without_filter:
            detail += f"; trigger on time refused for {granted.without_filter} tags: a value that does not change is not sent again"
        self._say("connected", detail, first=True)
        self._tell_failures(granted.refused)

    async def _add(self, items: list[Wanted]) -> Granted:
        from edge_agent.sources import opcua_subscription as at_server

        assert self._session is not None
        assert self._messages is not None
        session = self._session
        namespaces = await session.namespaces()
        chunk = await at_server.items_per_call(session, self._config)
        granted = await at_server.add_items(session, self._config, self._messages.subscription, items, namespaces, chunk)
        self._plug.count("queues_shortened", sum(size < self._wanted[tag].queue for tag, size in granted.queue.items()))
        self._plug.count("sampling_slowed", granted.slowed)
        return granted

    def _granted(self, publishing_ms: float, keepalive_count: int, queue: dict[int, int]) -> None:
        assert self._decoder is not None
        for tag, size in queue.items():
            self._decoder.queued(tag, size)
        self._silence_s = max(SILENCE_AT_LEAST_S, publishing_ms * keepalive_count * 1.5 / 1000.0)

    def _say(self, state: Literal["connected", "resumed"], detail: str, *, first: bool = False) -> None:
        assert self._messages is not None
        connection = Connection(received_ns=0, source=self._plug.name, state=state, detail=detail)
        (self._messages.first if first else self._messages.add)(connection)

    def _tell_failures(self, refused: dict[int, tuple[int, str]]) -> None:
        from edge_agent.sources.opcua_subscription import BAD_NODE_ID_INVALID

        told = refused | {tag: (BAD_NODE_ID_INVALID, text) for tag, text in self._misaddressed.items()}
        items: list[Item] = [
            Connection(received_ns=0, source=self._plug.name, state="tag_failed", tags=(tag,), status=status, detail=detail)
            for tag, (status, detail) in told.items()
        ]
        assert self._messages is not None
        self._messages.add(*items)

    # Reading

    async def read(self) -> Received:
        """The next messages, or a sign of life, or news about a tag."""
        if self._publisher is None or self._messages is None:
            raise NotConnected(f"{self._config.url}: not open")
        messages = self._messages
        while True:
            await self._due(messages)
            if not messages.ready:
                await self._take(messages)
            if messages.ready:
                return await self._received(messages)
            if self._history is not None and (items := self._history.page(asyncio.get_running_loop().time())):
                return Received(tuple(items), resume=self._bookkeeping(messages))
            if messages.ended is not None:
                self._distrusted = True
                raise NotConnected(f"{self._config.url}: the server ended the subscription: {_status_name(messages.ended)}")
            self._publisher.top_up()
            if self._history is not None:
                self._history.ask(asyncio.get_running_loop().time())
            await self._wait(self._publisher)

    async def _received(self, messages: Messages) -> Received:
        items, sequences = messages.drain()
        until_ns = self._plug.clock() + round(self._plug.max_skew_s * 1e9)
        if self._holes is not None and self._holes.see(items, asyncio.get_running_loop().time(), until_ns):
            await asyncio.to_thread(self._holes.write)
        if not sequences:
            return Received(items)
        return Received(items, partial(self._acknowledge, messages.subscription, sequences), self._bookkeeping(messages))

    def _bookkeeping(self, messages: Messages) -> bytes:
        found: dict[str, Any] = {"subscription": messages.subscription, "sequence": messages.last, "plan": self._plan}
        if self._holes is not None:
            found["history"] = self._holes.told()
        return json.dumps(found).encode()

    def _acknowledge(self, subscription: int, sequences: list[int]) -> None:
        self._durable = (subscription, sequences[-1])
        if self._messages is not None:
            self._messages.durable = self._durable
            if self._publisher is not None and subscription == self._messages.subscription:
                self._publisher.acknowledge(sequences)

    async def _wait(self, publisher: Publisher) -> None:
        now = asyncio.get_running_loop().time()
        until = min(publisher.heard + self._silence_s, self._renew_at, self._verify_at, self._retry_at if self._failed else self._renew_at)
        if self._history is not None:
            until = min(until, self._history.due_s(now))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, until - now)):
                await publisher.news.wait()

    async def _due(self, messages: Messages) -> None:
        """Whatever time has brought: a dead link, a channel to renew, refused tags to try again."""
        assert self._session is not None
        assert self._publisher is not None
        now = asyncio.get_running_loop().time()
        heard = self._publisher.heard
        if not self._publisher.arrived and not messages.ready and now - heard >= self._silence_s:
            # A subscription that was taken up and then says nothing is not taken up a second time.
            self._distrusted = messages.resumed_from is not None
            raise NotConnected(f"{self._config.url}: no message for {now - heard:.1f} s, expected one within {self._silence_s:.1f} s")
        if now >= self._renew_at:
            await self._session.renew()
            self._renew_at = now + 0.75 * self._session.channel_lifetime_s
        if self._failed and now >= self._retry_at:
            self._retry_at = now + self._config.retry_s
            granted = await self._add([self._wanted[tag] for tag in sorted(self._failed)])
            await self._recovered(granted, messages)
        if now >= self._verify_at:
            self._verify_at = now + self._config.verify_s
            await self._verify(messages)

    async def _verify(self, messages: Messages) -> None:
        from edge_agent.sources.opcua_verify import unanswered

        assert self._session is not None
        quiet = [self._wanted[tag.id] for tag in self._plug.tags if tag.expected_s is None and tag.id in self._wanted and tag.id not in self._failed]
        if not quiet:
            return
        found = await unanswered(self._session, self._config, quiet, await self._session.namespaces())
        self._plug.count("verifying_reads", len(quiet))
        back = self._unanswered - set(found)
        items: list[Item] = [
            Connection(received_ns=0, source=self._plug.name, state="tag_failed", tags=(tag,), status=status, detail=detail)
            for tag, (status, detail) in found.items()
            if tag not in self._unanswered
        ]
        items += [Connection(received_ns=0, source=self._plug.name, state="tag_recovered", tags=(tag,)) for tag in sorted(back)]
        self._unanswered = set(found)
        messages.add(*items)

    async def _recovered(self, granted: Granted, messages: Messages) -> None:
        assert self._session is not None
        assert self._decoder is not None
        items: list[Item] = []
        for tag, size in granted.queue.items():
            self._decoder.queued(tag, size)
            self._failed.discard(tag)
            items.append(Connection(received_ns=0, source=self._plug.name, state="tag_recovered", tags=(tag,)))
        if items:
            kept = self._session.kept
            await self._session.keep(msgspec.structs.replace(kept, failed=tuple(sorted(self._failed)), queue=kept.queue | granted.queue))
            messages.add(*items)

    async def _take(self, messages: Messages) -> None:
        """Everything that has arrived becomes items."""
        from edge_agent.sources.opcua_decode import envelope
        from edge_agent.sources.opcua_walk import DamagedError

        assert self._publisher is not None
        arrived = self._publisher.arrived
        self._publisher.news.clear()
        taken = 0
        while arrived and taken < _MESSAGES_PER_READ and messages.ended is None:
            body, acks = arrived.popleft()
            if isinstance(body, BaseException):
                if messages.ready:
                    arrived.appendleft((body, acks))
                    return
                raise NotConnected(f"{self._config.url}: {body or type(body).__name__}") from body
            taken += 1
            try:
                head = envelope(body)
                if head.result >> 30 or not head.subscription:
                    if not self._publisher.refused(head.result, acks):
                        self._distrusted = True
                        raise NotConnected(f"{self._config.url}: publishing: {_status_name(head.result)}")
                elif head.subscription == messages.subscription:
                    await messages.take(head, body, self._publisher)
                    self._distrusted = False
                else:
                    self._plug.count("messages_of_other_subscriptions")
            except DamagedError as error:
                raise NotConnected(f"{self._config.url}: {error}") from error

    # Closing

    async def close(self) -> None:
        """Close the session but leave the subscription to its lifetime: what was not acknowledged can still be had."""
        session, self._session = self._session, None
        if self._publisher is not None:
            self._publisher.stop()
            self._publisher = None
        if session is None:
            return
        silent = self._messages is not None and not self._messages.saw_data
        if self._since and silent and asyncio.get_running_loop().time() - self._since >= self._silence_s:
            # Connected for long and no value: whatever is wrong with this subscription, the next connection makes a new one.
            self._distrusted = True
        await session.close()


def _status_name(status: int) -> str:
    from asyncua import ua

    return f"{ua.StatusCode(status).name} ({status:#010x})"
