"""Spectra and waveforms over OPC UA: plain arrays, and as ADI (OPC 10020) and LADS (OPC 30500) place them.

A tag's address is the array itself (ScaledData of an ADI stream, SensorValue of a LADS function, any array of numbers) or the object that has it.
What belongs to it is found beside it by its browse name. A new acquisition is known by its counter, its end time or, where there is neither, the
source time of the array. Everything of it is taken in one Read, and the counter is read again: an array that changed meanwhile is read anew.

What was taken last stands in the commit that holds the spectra: nothing is taken twice, and a counter that went on further while nobody asked tells
how many are lost. Such a loss is declared; a server keeps only its last spectrum.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from edge_agent.core import Block, Connection, NotConnected, Overflow, Tag
from edge_agent.core.settings import Section
from edge_agent.sources.blocks import BlockError, StreamSection, wrong_streams
from edge_agent.sources.opcua_settings import OpcUaServer
from edge_agent.sources.source import Item, Plug, Received, Source
from edge_agent.sources.zone import SourceTime

BAD_NODE_ID_UNKNOWN: Final = 0x80340000
_TRIES: Final = 3
"""Reads of an acquisition whose counter goes on meanwhile, before the next look."""


class Nodes(Section):
    """Addresses of what belongs to a spectrum, where the server does not keep it beside the array under the name that ADI gives it."""

    counter: str = ""
    """AcquisitionCounter: goes up by one with each acquisition."""
    status: str = ""
    """AcquisitionResultStatus: 0 not used, 1 good, 2 bad, 3 unknown, 4 partial; or these words."""
    end_time: str = ""
    """AcquisitionEndTime."""
    background: str = ""
    """ActiveBackground: the background reference's values, or its name."""
    integration_s: str = ""
    """Integration time, seconds."""
    scans: str = ""
    """Scans averaged."""
    cycle: str = ""
    """ExecutionCycle: 16 sampling."""
    sample: str = ""
    """SampleId."""
    probe: str = ""
    """Name of the probe."""


class OpcUaStream(StreamSection):
    """One stream of blocks at an OPC UA server."""

    nodes: Nodes = Nodes()
    """Where the server keeps what belongs to a spectrum, if not beside the array."""


class OpcUaSpectraConfig(OpcUaServer):
    """Spectra and waveforms of one OPC UA server; tags are of kind block, a tag's address is the array or the object that has it."""

    lossy: ClassVar[bool] = True
    """A server keeps its last spectrum only."""
    blocks: ClassVar[bool] = True

    kind: Literal["opcua_spectra"]
    streams: tuple[OpcUaStream, ...] = ()
    """What the server does not tell of a tag, or tells elsewhere."""
    poll_s: Annotated[float, Field(gt=0, le=3600)] = 0.25
    """Seconds between two looks for a new acquisition: less than half the shortest time between two."""
    time: SourceTime = SourceTime()
    retry_s: Annotated[float, Field(gt=0)] = 30.0
    """Between two attempts at a tag that could not be read."""
    watchdog_s: Annotated[float, Field(gt=0)] | None = None
    """Seconds without any spectrum, while periodic tags are configured, after which the connection is made anew."""

    @model_validator(mode="after")
    def _once(self) -> Self:
        wrong_streams(self.streams)
        return self

    def source(self, plug: Plug) -> Source:
        """The connector of this configuration."""
        return OpcUaSpectra(self, plug)


@dataclass(slots=True)
class _Stream:
    """One tag: its nodes by role (`data` always), and what was taken last."""

    tag: Tag
    section: OpcUaStream
    nodes: dict[str, Any] = field(default_factory=dict)
    trouble: str = ""
    retry_at: float = 0.0
    """When its nodes are looked for, anew while it is in trouble."""

    @property
    def trigger(self) -> str:
        return next(role for role in ("counter", "end_time", "data") if role in self.nodes)


class OpcUaSpectra:
    """The connector to one OPC UA server; see `Source` for who calls what."""

    def __init__(self, config: OpcUaSpectraConfig, plug: Plug, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._config, self._plug, self._sleep = config, plug, sleep
        own = {s.tag: s for s in config.streams}
        self._streams = [_Stream(tag, own.get(tag.name, OpcUaStream(tag=tag.name))) for tag in plug.tags]
        self._taken: dict[str, tuple[int | None, int]] = {}
        self._seen: dict[int, Any] = {}
        self._session: Any = None
        self._renew_at = 0.0

    async def open(self, resume: bytes | None) -> None:
        """Connect and find the nodes of every stream; one that is not there is told and tried again."""
        from edge_agent.sources.opcua_session import Session, read_kept, read_resume

        self._taken = {name: (found[0], int(found[1])) for name, found in read_resume(resume).items()}
        self._seen = {}
        self._session = Session(self._config, self._plug.data_dir, read_kept(self._plug.data_dir))
        await self._session.open()
        self._renew_at = asyncio.get_running_loop().time() + 0.75 * self._session.channel_lifetime_s
        for stream in self._streams:
            stream.nodes, stream.trouble, stream.retry_at = {}, "", 0.0

    async def read(self) -> Received:
        """The acquisitions that are new, waiting for one."""
        if self._session is None:
            raise NotConnected(f"{self._config.url}: not open")
        loop = asyncio.get_running_loop()
        while True:
            if loop.time() >= self._renew_at:
                await self._session.renew()
                self._renew_at = loop.time() + 0.75 * self._session.channel_lifetime_s
            items = await self._look(loop.time())
            if items:
                return Received(tuple(items), resume=json.dumps(self._taken).encode())
            await self._sleep(self._config.poll_s)

    async def close(self) -> None:
        """Close the session."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _look(self, now: float) -> list[Item]:
        from edge_agent.sources.opcua_spectra_nodes import located, read_values

        items: list[Item] = []
        for stream in self._streams:
            if (not stream.nodes or stream.trouble) and now >= stream.retry_at:
                stream.nodes = {}
                try:
                    stream.nodes = await located(self._session, self._config, stream.tag, self._plug.address.get(stream.tag.id, ""), stream.section)
                except BlockError as error:
                    items += self._failed(stream, str(error), now)
        ready = [s for s in self._streams if s.nodes]
        if not ready:
            return items
        seen = await read_values(self._session, self._config, [s.nodes[s.trigger] for s in ready])
        for stream, mark in zip(ready, seen, strict=True):
            sign = (mark.value if stream.trigger != "data" else None, mark.source_ns)
            if stream.trouble == "" and self._seen.get(stream.tag.id) == sign:
                continue
            try:
                block, counter = await self._acquired(stream)
            except BlockError as error:
                items += self._failed(stream, str(error), now)
                continue
            if block is None:
                continue
            self._seen[stream.tag.id] = sign
            if stream.trouble:
                stream.trouble = ""
                items.append(Connection(received_ns=0, source=self._plug.name, state="tag_recovered", tags=(stream.tag.id,)))
            items += self._new(stream, block, counter)
        return items

    async def _acquired(self, stream: _Stream) -> tuple[Block | None, int | None]:
        """The present acquisition; None when it changed with every attempt at reading it."""
        from edge_agent.sources.opcua_spectra_nodes import made, read_values

        roles = list(stream.nodes)
        for _ in range(_TRIES):
            values = dict(zip(roles, await read_values(self._session, self._config, list(stream.nodes.values())), strict=True))
            if "counter" in values:
                (again,) = await read_values(self._session, self._config, [stream.nodes["counter"]])
                if again.value != values["counter"].value:
                    self._count("torn_reads", 1)
                    continue
            return made(stream.tag, stream.section, values, self._plug.clock())
        return None, None

    def _new(self, stream: _Stream, block: Block, counter: int | None) -> list[Item]:
        """The block and what is lost before it; nothing when it was taken already."""
        name, time_ns = stream.tag.name, int(block.time_ns[0])
        last = self._taken.get(name)
        if last is not None and (counter, time_ns) == last:
            return []
        if last is not None and counter is None and time_ns == last[1]:
            return []
        self._taken[name] = (counter, time_ns)
        self._count("values", 1)
        found: list[Item] = [block]
        if last is not None and last[0] is not None and counter is not None and counter != last[0] + 1:
            # A counter that fell began anew: what came between is not known.
            self._count("spectra_missed", max(counter - last[0] - 1, 0))
            found.insert(0, Overflow(received_ns=0, source=self._plug.name, tag=stream.tag.id, after_ns=min(last[1], time_ns), before_ns=time_ns))
        return found

    def _failed(self, stream: _Stream, why: str, now: float) -> list[Item]:
        if now >= stream.retry_at:
            stream.retry_at = now + self._config.retry_s
        if stream.trouble == why:
            return []
        stream.trouble = why
        self._count("streams_failed", 1)
        return [Connection(received_ns=0, source=self._plug.name, state="tag_failed", tags=(stream.tag.id,), status=BAD_NODE_ID_UNKNOWN, detail=why)]

    def _count(self, what: str, n: int) -> None:
        if n:
            self._plug.counters[what] = self._plug.counters.get(what, 0) + n
