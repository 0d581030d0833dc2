"""Modbus TCP and RTU: registers read at a steady pace; over TCP each unit has a connection of its own, so that a dead one delays no other.

Nothing is ever written. Modbus knows neither time nor quality: a value gets the time at which its answer came, and what could not be read is a bad
value of its tag, once per attempt.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from edge_agent.core import NotConnected, Samples, Texts
from edge_agent.core.settings import Section
from edge_agent.core.status import BAD_NO_COMMUNICATION
from edge_agent.sources.modbus_address import Address, AddressError, parse
from edge_agent.sources.modbus_line import SerialSection, Wire
from edge_agent.sources.modbus_plan import Decoder, Request, requests_for
from edge_agent.sources.source import Plug, Received, Source
from edge_agent.sources.zone import ReceiptTime

if TYPE_CHECKING:
    from edge_agent.sources.source import Item

BAD_DEVICE_FAILURE: Final = 0x808B0000
"""The unit answered, but with an exception."""
_LONGEST_S: Final = 30.0
_ILLEGAL_ADDRESS: Final = 2
_ROUNDS: Final = 16
"""Rounds read and not yet taken; then the units wait."""


class ModbusConfig(Section):
    """Tags that a Modbus device or gateway has, over TCP or on a serial line."""

    lossy: ClassVar[bool] = True
    """What arises while nobody asks is lost."""
    time: ClassVar[ReceiptTime] = ReceiptTime()
    """Devices stamp nothing: the time of asking counts."""

    kind: Literal["modbus"]
    name: Annotated[str, Field(min_length=1)]
    host: str | None = None
    """Name or address of a device or gateway; either this or `serial`."""
    port: Annotated[int, Field(ge=1, le=65535)] = 502
    framing: Literal["tcp", "rtu"] | None = None
    """tcp (Modbus TCP, the default with a host) or rtu: frames of a serial line inside a TCP connection, which all units then share."""
    serial: SerialSection | None = None
    """A serial line of this computer, which all units share."""
    period_s: Annotated[float, Field(ge=0.01, le=3600)] = 1.0
    """Seconds between two readings of a unit."""
    timeout_s: Annotated[float, Field(ge=0.05, le=60)] = 1.0
    max_gap: Annotated[int, Field(ge=0, le=120)] = 16
    """Registers or coils that may lie between two values read together; 0 where a device refuses to be read in between."""
    watchdog_s: Annotated[float, Field(gt=0)] | None = None
    """Seconds without any value, while periodic tags are configured, after which the connection is made anew."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.host is None) == (self.serial is None):
            raise ValueError("host: expected either host or serial")
        if self.serial is not None and self.framing == "tcp":
            raise ValueError("framing: expected rtu on a serial line")
        return self

    def wire(self) -> Wire:
        """A connection, not made yet."""
        return Wire(self.host or "", self.port, self.serial, rtu=self.framing == "rtu", timeout_s=self.timeout_s)

    @property
    def shared(self) -> bool:
        """Whether all units are on one line, where one speaks at a time."""
        return self.serial is not None or self.framing == "rtu"

    def source(self, plug: Plug) -> Source:
        """The connector of this configuration."""
        return ModbusSource(self, plug)

    def address_mistake(self, address: str, kind: str) -> str | None:
        """What is wrong with a tag's address, or None."""
        try:
            found = parse(address)
        except AddressError as error:
            return str(error)
        if (found.type == "string") != (kind == "text"):
            return f"expected type string for a text tag and no other, found {found.type} for kind {kind}"
        return None


class _Silent(Exception):
    """A unit does not answer."""


class ModbusSource:
    """One device or gateway, with all its units."""

    def __init__(self, config: ModbusConfig, plug: Plug) -> None:
        self._config, self._plug = config, plug
        by_unit: dict[int, tuple[list[Address], list[int]]] = {}
        for tag in plug.tags:
            address = parse(plug.address[tag.id] or "holding 0")
            addresses, tags = by_unit.setdefault(address.unit, ([], []))
            addresses.append(address)
            tags.append(tag.id)
        line = config.wire() if config.shared else None
        self._units = [_Unit(config, plug, unit, line or config.wire(), *of) for unit, of in sorted(by_unit.items())]
        self._rounds: asyncio.Queue[tuple[Item, ...]] = asyncio.Queue(_ROUNDS)
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self, resume: bytes | None) -> None:  # noqa: ARG002 - there is nothing to go on from
        """Connect to every unit; NotConnected when none lets us."""
        self._rounds = asyncio.Queue(_ROUNDS)
        await asyncio.gather(*(unit.connect() for unit in self._units))
        if not any(unit.reachable for unit in self._units):
            await self.close()
            raise NotConnected(f"{self._config.wire()}: expected a Modbus server or line, found nobody")
        self._tasks = [asyncio.create_task(unit.poll(self._rounds), name=f"{self._plug.name} unit {unit.number}") for unit in self._units]

    async def read(self) -> Received:
        """The next round of some unit; NotConnected when no unit is reachable any more."""
        if not self._tasks:
            raise NotConnected("not open")
        getting = asyncio.ensure_future(self._rounds.get())
        try:
            while True:
                await asyncio.wait((getting, *self._tasks), timeout=self._config.timeout_s, return_when=asyncio.FIRST_COMPLETED)
                if getting.done():
                    return Received(getting.result())
                for task in self._tasks:
                    if task.done():
                        task.result()
                if not any(unit.reachable for unit in self._units):
                    raise NotConnected(f"{self._config.wire()}: every connection was lost")
        finally:
            getting.cancel()

    async def close(self) -> None:
        """Leave every unit."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for unit in self._units:
            unit.disconnect()


class _Unit:
    """One unit: its own pace, its own patience, and its own connection where the line is not shared."""

    def __init__(self, config: ModbusConfig, plug: Plug, number: int, wire: Wire, addresses: list[Address], tags: list[int]) -> None:
        self._config, self._plug, self.number, self._addresses, self._tags = config, plug, number, addresses, tags
        self._wire = wire
        self.reachable = False
        """Whether the last attempt to connect went; a unit that does not answer behind a gateway is reachable all the same."""
        self._requests = [(r, Decoder(r, addresses, tags)) for r in requests_for(addresses, config.max_gap)]

    async def connect(self) -> None:
        """Connect; `reachable` says whether it went."""
        self.reachable = await self._wire.connect()

    def disconnect(self) -> None:
        """Let go of the connection."""
        self._wire.disconnect()

    async def poll(self, rounds: asyncio.Queue[tuple[Item, ...]]) -> None:
        """Read again and again; a unit that does not answer is asked less and less often, up to every 30 s."""
        loop = asyncio.get_running_loop()
        due, silent = loop.time(), 0
        me = asyncio.current_task()
        # A cancellation in the moment of an answer is swallowed by asyncio.wait_for of Python 3.11, under pymodbus: close would wait for ever.
        while me is None or not me.cancelling():
            try:
                if not self._wire.connected:
                    await self.connect()
                items = await self._round()
                silent = 0
            except _Silent:
                silent += 1
                self._count("silent_rounds")
                items = self._bad(range(len(self._tags)), BAD_NO_COMMUNICATION)
            await rounds.put(tuple(items))
            now = loop.time()
            due += self._config.period_s
            if due <= now:
                self._count("overruns")
                due = now + self._config.period_s
            if silent:
                due = max(due, now + min(_LONGEST_S, self._config.period_s * 2 ** min(silent, 12)))
            await asyncio.sleep(due - now)

    async def _round(self) -> list[Item]:
        items: list[Item] = []
        again: list[tuple[Request, Decoder]] = []
        for request, decoder in self._requests:
            registers, exception = await self._ask(request)
            if registers is not None:
                items += self._good(decoder, registers)
                again.append((request, decoder))
            elif exception == _ILLEGAL_ADDRESS and len(request.rows) > 1:
                # One register that is not there must not blind its neighbours: from now on they are read one by one.
                self._count("split_requests")
                single = [r for k in request.rows for r in requests_for(self._addresses, 0, [k])]
                again += [(r, Decoder(r, self._addresses, self._tags)) for r in single]
            else:
                self._count("exceptions")
                items += self._bad(request.rows, BAD_DEVICE_FAILURE)
                again.append((request, decoder))
        self._requests = again
        return items

    async def _ask(self, request: Request) -> tuple[NDArray[np.uint16] | None, int]:
        """Registers or bits of one request, or the exception code of the unit; _Silent when no answer comes."""
        from pymodbus.exceptions import ModbusException

        wire = self._wire
        async with wire.turn:
            client = wire.client
            if not wire.connected:
                raise _Silent
            asking = {
                "coil": client.read_coils, "discrete": client.read_discrete_inputs,
                "holding": client.read_holding_registers, "input": client.read_input_registers,
            }[request.table]  # fmt: skip
            self._count("requests")
            try:
                answer = await asking(request.start, count=request.count, device_id=self.number)
            except ModbusException as error:
                # A late answer must not be taken for that of the next question.
                wire.disconnect()
                raise _Silent from error
            if wire.pause_s:
                await asyncio.sleep(wire.pause_s)
        if answer.isError():
            return None, int(getattr(answer, "exception_code", 0))
        read = answer.bits if request.table in ("coil", "discrete") else answer.registers
        if len(read) < request.count:
            wire.disconnect()
            raise _Silent
        return np.array(read[: request.count], np.uint16), 0

    def _good(self, decoder: Decoder, registers: NDArray[np.uint16]) -> list[Item]:
        now, n = self._plug.clock(), len(decoder.tags)
        items: list[Item] = []
        if n:
            items.append(Samples.of(np.full(n, now, np.int64), decoder.tags, decoder.values(registers)))
        if decoder.text_tags:
            m = len(decoder.text_tags)
            items.append(Texts((now,) * m, decoder.text_tags, tuple(decoder.texts(registers)), (0,) * m))
        return items

    def _bad(self, rows: Any, status: int) -> list[Item]:
        now = self._plug.clock()
        numeric = [self._tags[k] for k in rows if self._addresses[k].type != "string"]
        texts = tuple(self._tags[k] for k in rows if self._addresses[k].type == "string")
        items: list[Item] = []
        if numeric:
            items.append(Samples.of([now] * len(numeric), numeric, [float("nan")] * len(numeric), status))
        if texts:
            items.append(Texts((now,) * len(texts), texts, ("",) * len(texts), (status,) * len(texts)))
        return items

    def _count(self, name: str) -> None:
        self._plug.counters[name] = self._plug.counters.get(name, 0) + 1
