"""The one wrapper around every source: open, read, hand over, back off, and notice when nothing comes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, Protocol

import structlog

from edge_agent.backoff import Backoff
from edge_agent.core import Block, Connection, EndOfInput, NotConnected, Recalled, RecalledTexts, Samples, Tag, Texts
from edge_agent.sources.source import Item, Plug, Received, Source
from edge_agent.sources.zone import SourceTime, ZonedSource

log = structlog.get_logger()

State = Literal["connecting", "connected", "no_data", "waiting", "ended", "stopped"]

_ANNOUNCE_S: Final = 1.0
"""A source may say by its first item how it connected (a resumed subscription lost nothing); after this time we say it for it."""


DEFAULT_WATCHDOG_S: Final = 30.0
"""Seconds without a value when a connector's section says nothing."""
_SLOWEST_PERIODS: Final = 3.0


class Offer(Protocol):
    """The intake as a source sees it."""

    async def __call__(self, source: str, items: Sequence[Item], ack: Callable[[], None], resume: bytes | None) -> None:
        """Take what one read brought; returns when it is queued, and only while there is room: that is the back pressure.

        `ack` is called on the event loop when all items are durable; `resume` is kept in the same commit as the source's bookkeeping.
        The intake owns received time and stamps the items.
        """


class SourceConfig(Protocol):
    """What the runner needs of a connector's section."""

    @property
    def name(self) -> str:
        """Its name in the configuration."""

    @property
    def kind(self) -> str:
        """Its protocol."""

    @property
    def watchdog_s(self) -> float | None:
        """Seconds without a value after which a connection is made anew; None for the default."""

    @property
    def time(self) -> SourceTime:
        """What is known of its clock."""

    def source(self, plug: Plug) -> Source:
        """The connector."""


def watchdog_s(configured: float | None, tags: Sequence[Tag]) -> float | None:
    """Seconds without any value that are a fault; None when no tag is periodic. Never less than three periods of the fastest tag.

    >>> watchdog_s(None, [Tag(id=0, name="a", expected_s=60.0)]), watchdog_s(5.0, [Tag(id=0, name="a")])
    (180.0, None)
    """
    periods = [tag.expected_s for tag in tags if tag.expected_s is not None]
    return max(configured or DEFAULT_WATCHDOG_S, _SLOWEST_PERIODS * min(periods)) if periods else None


@dataclass(slots=True)
class SourceState:
    """What /status shows of one source; times in ns UTC, 0 when it never happened."""

    state: State = "connecting"
    error: str = ""
    since_ns: int = 0
    last_data_ns: int = 0
    connects: int = 0
    failures: int = 0
    values: int = 0


class SourceRunner:
    """Runs one source until it ends or is cancelled.

    offer    the intake
    resume   what the source's last committed `Received.resume` was
    sleep    seconds; random: numbers in [0, 1) for the jitter of the back-off; both passed in so that tests neither wait nor vary
    """

    def __init__(
        self,
        config: SourceConfig,
        plug: Plug,
        offer: Offer,
        resume: bytes | None = None,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random: Callable[[], float] = random.random,
    ) -> None:
        self.name = config.name
        self._kind = config.kind
        self._plug = plug
        zone = config.time.assumed_zone
        self._source = config.source(plug) if zone is None else ZonedSource.of(config.source, plug, zone)
        self._offer = offer
        self._clock = plug.clock
        self._sleep = sleep
        self._backoff = Backoff(random)
        self._watchdog_s = watchdog_s(config.watchdog_s, plug.tags)
        self._resume = resume
        self._pending_resume: bytes | None = None
        self._announced = False
        self._told = False
        self._starved = False
        self.state = SourceState(since_ns=plug.clock())

    def status(self) -> dict[str, Any]:
        """What /status and /metrics show."""
        return {"name": self.name, "kind": self._kind, **asdict(self.state), "counters": dict(self._plug.counters)}

    async def run(self) -> None:
        """Read until the end of a finite source. Only an error of the intake comes out of here: a source's own stops nothing but itself."""
        try:
            await self._run()
        except _Intake as failed:
            raise failed.error from None
        except asyncio.CancelledError:
            self._enter("stopped")
            raise

    async def _run(self) -> None:
        while True:
            try:
                await self._connected()
            except EndOfInput:
                self._enter("ended")
                await self._say("ended")
                return
            except _Intake:
                raise
            except (NotConnected, OSError) as error:
                await self._disconnected(str(error) or type(error).__name__)
            except Exception as error:  # noqa: BLE001 a defect of one connector is shown, journaled and retried; it must not stop the others
                await self._disconnected(f"{type(error).__name__}: {error}")
            await self._sleep(self._backoff.next_s())

    async def _connected(self) -> None:
        """One connection, from `open` to its loss; whatever happens the source is closed once."""
        self._enter("connecting", self.state.error)
        self._announced = False
        try:
            await self._source.open(self._resume)
            self.state.connects += 1
            self._enter("no_data" if self._starved else "connected")
            await self._read_all()
        finally:
            await self._close()

    async def _close(self) -> None:
        try:
            # A cancelled runner still closes: the peer must not keep a dead session.
            await asyncio.shield(asyncio.ensure_future(self._source.close()))
        except (NotConnected, OSError) as error:
            self.state.failures += 1
            self.state.error = f"close: {error}"

    async def _read_all(self) -> None:
        heard_ns = self._clock()
        dog = None if self._watchdog_s is None else self._after(self._watchdog_s)
        herald: asyncio.Future[None] | None = self._after(_ANNOUNCE_S)
        reading: asyncio.Future[Received] = asyncio.ensure_future(self._source.read())
        try:
            while True:
                await asyncio.wait([f for f in (reading, dog, herald) if f is not None], return_when=asyncio.FIRST_COMPLETED)
                if herald is not None and herald.done():
                    herald = None
                    await self._announce(None)
                if reading.done():
                    received = reading.result()
                    await self._hand_over(received)
                    if any(isinstance(item, Samples | Texts | Block) and not isinstance(item, Recalled | RecalledTexts) for item in received.items):
                        heard_ns = self._clock()
                        self._starved = False
                        self._enter("connected")
                    if not self._starved:
                        self._backoff.reset()
                    reading = asyncio.ensure_future(self._source.read())
                elif dog is not None and self._watchdog_s is not None and dog.done():
                    left_s = self._watchdog_s - (self._clock() - heard_ns) / 1e9
                    if left_s <= 0:
                        await self._starve(reading)
                    dog = self._after(left_s)
        finally:
            for future in (reading, dog, herald):
                if future is not None:
                    future.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _starve(self, reading: asyncio.Future[Received]) -> None:
        self._starved = True
        self._enter("no_data")
        await self._say("no_data", f"expected a value within {self._watchdog_s:g} s, found none")
        self._told = True
        if reading.done() and reading.exception() is None:
            await self._hand_over(reading.result())  # it came meanwhile, and its connector takes it as handed over
        raise NotConnected(f"connected, but no value for {self._watchdog_s:g} s")

    async def _announce(self, first: Received | None) -> None:
        if self._announced:
            return
        self._announced = True
        self._told = False
        if first is not None and any(isinstance(i, Connection) and i.state in ("connected", "resumed") and not i.tags for i in first.items):
            return
        await self._say("connected")

    async def _hand_over(self, received: Received) -> None:
        said = self._announced
        await self._announce(received)
        items = received.items
        if said:
            # We have said so already; a source that says it late must not say it twice.
            items = tuple(i for i in items if not (isinstance(i, Connection) and i.state == "connected" and not i.tags))
        self._pending_resume = received.resume or self._pending_resume
        if not items:
            received.ack()  # nothing that could be lost; its bookkeeping goes with the next items
            return
        await self._put(items, received.ack, self._pending_resume)
        self._resume = self._pending_resume or self._resume
        self._pending_resume = None
        values = sum(len(item) for item in items if isinstance(item, Samples | Texts | Block))
        log.debug("read", source=self.name, items=len(items), values=values)
        if values:
            self.state.values += values
            self.state.last_data_ns = self._clock()

    async def _disconnected(self, why: str) -> None:
        self.state.failures += 1
        self._enter("waiting", why)
        if not self._told:
            self._told = True
            await self._say("disconnected", why)

    async def _say(self, state: Literal["connected", "disconnected", "no_data", "ended"], detail: str = "") -> None:
        await self._put((Connection(received_ns=self._clock(), source=self.name, state=state, detail=detail),), _nothing, None)

    async def _put(self, items: Sequence[Item], ack: Callable[[], None], resume: bytes | None) -> None:
        try:
            await self._offer(self.name, items, ack, resume)
        except Exception as error:
            raise _Intake(error) from error

    def _enter(self, state: State, error: str = "") -> None:
        if state != self.state.state:
            self.state.since_ns = self._clock()
            log.info("source", source=self.name, state=state, why=error)
        self.state.state, self.state.error = state, error

    def _after(self, seconds: float) -> asyncio.Future[None]:
        return asyncio.ensure_future(self._sleep(seconds))


class _Intake(Exception):
    """The intake failed: that is not the source's fault and not ours to retry."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


def _nothing() -> None:
    return
