"""Modbus: addresses, coalesced reads, every type and order, and units that fail each for itself, against a real server."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.constants import ExcCodes
from pymodbus.exceptions import ModbusIOException
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from edge_agent.config import load_agent
from edge_agent.core import ConfigError, NotConnected, Samples, Tag, Texts
from edge_agent.core.status import BAD_NO_COMMUNICATION
from edge_agent.sources.modbus import BAD_DEVICE_FAILURE, ModbusConfig, ModbusSource
from edge_agent.sources.modbus_address import ORDERS, WORDS, Address, AddressError, parse
from edge_agent.sources.modbus_plan import MOST, Decoder, requests_for
from edge_agent.sources.source import Plug
from tests.naive import modbus as naive

T0 = 1_767_225_600_000_000_000
ADDRESSES = st.builds(
    lambda table, number, kind, order, bit: Address(table, number, kind, 1, order, 0.5, -3.0, bit, WORDS[kind]),
    st.sampled_from(["holding", "input"]), st.integers(0, 400), st.sampled_from(sorted(WORDS)), st.sampled_from(ORDERS), st.integers(0, 15),
)  # fmt: skip


@given(st.lists(ADDRESSES, min_size=1, max_size=40), st.integers(0, 120), st.randoms(use_true_random=False))
def test_every_value_is_read_once_whole_and_as_the_naive_twin_reads_it(addresses: list[Address], gap: int, random: Any) -> None:
    memory = [random.randrange(65_536) for _ in range(500)]
    seen: dict[int, float] = {}
    requests = requests_for(addresses, gap)
    for request in requests:
        assert 1 <= request.count <= MOST[request.table]
        decoder = Decoder(request, addresses, range(len(addresses)))
        values = decoder.values(np.array(memory[request.start : request.start + request.count], np.uint16))
        assert not seen.keys() & set(decoder.tags.tolist())
        seen |= dict(zip(decoder.tags.tolist(), values.tolist(), strict=True))
    for k, address in enumerate(addresses):
        expected = naive.value(address, memory[address.number : address.end])
        assert struct.pack(">d", seen[k]) == struct.pack(">d", expected) or (np.isnan(seen[k]) and np.isnan(expected))
    ends = {(r.table, r.start): r.start + r.count for r in requests}
    assert len(ends) == len(requests)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "TABLE NUMBER"), ("register 4", "TABLE NUMBER"), ("holding", "TABLE NUMBER"), ("holding x", "number"), ("holding 65536", "number"),
        ("holding 65535 int32", "65535"), ("coil 3 int16", "bool"), ("holding 3 int24", "one of"), ("holding 3 order=abdc", "order"),
        ("holding 3 scale=0", "other than 0"), ("holding 3 scale=nan", "scale"), ("holding 3 bit=4", "bit"), ("coil 3 scale=2", "scale"),
        ("holding 3 string", "length"), ("holding 3 string length=126", "length"), ("holding 3 unit=256", "unit"), ("holding 3 bool bit=16", "bit"),
    ],
)  # fmt: skip
def test_addresses_that_say_nothing_are_refused_with_what_is_expected(text: str, words: str) -> None:
    with pytest.raises(AddressError, match=words) as error:
        parse(text)
    assert ", found " in str(error.value)


def test_check_names_the_tag_whose_address_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(
        "edge: {site: s, id: e}\nsources:\n  - {kind: modbus, name: plc, host: 127.0.0.1}\ntags:\n"
        "  - {name: a, source: plc, address: holding 4 float32}\n  - {name: b, source: plc, address: holding 4 float23}\n"
        "  - {name: c, source: plc, kind: text, address: holding 4}\n"
    )
    with pytest.raises(ConfigError) as error:
        load_agent(path)
    found = [(m.line, m.key) for m in error.value.mistakes]
    assert found == [(6, "tags[1].address"), (7, "tags[2].address")]
    assert "float23" in str(error.value.mistakes[0])


Look = Callable[[int, int, list[int]], Awaitable[ExcCodes | None]]


@asynccontextmanager
async def serving(**units: Look) -> AsyncIterator[int]:
    """A Modbus server whose units answer by their functions: (function, address asked for, registers of the block)."""

    def device(number: int, look: Look) -> SimDevice:
        async def action(function: int, _start: int, at: int, _count: int, registers: list[int], written: object) -> ExcCodes | None:
            assert written is None
            return await look(function, at, registers)

        return SimDevice(number, [SimData(0, count=300, values=0, datatype=DataType.REGISTERS)], action=action)

    server = ModbusTcpServer([device(int(name[1:]), look) for name, look in units.items()], address=("127.0.0.1", 0))
    assert await server.listen()
    try:
        yield server.transport.sockets[0].getsockname()[1]
    finally:
        await server.shutdown()


def source(port: int, addresses: list[str], folder: Path, **more: Any) -> tuple[ModbusSource, Plug]:
    tags = [Tag(id=k, name=f"t{k}", kind="text" if " string" in a else "numeric") for k, a in enumerate(addresses)]
    plug = Plug("plc", tags, dict(enumerate(addresses)), lambda: T0, folder)
    config = ModbusConfig(kind="modbus", name="plc", host="127.0.0.1", port=port, **({"period_s": 0.02, "timeout_s": 0.3} | more))
    return ModbusSource(config, plug), plug


async def rounds(made: ModbusSource, enough: Callable[[dict[int, list[tuple[float | str, int]]]], bool]) -> dict[int, list[tuple[float | str, int]]]:
    """Values and statuses by tag until there is enough."""
    seen: dict[int, list[tuple[float | str, int]]] = {}
    async with asyncio.timeout(20):
        while not enough(seen):
            for item in (await made.read()).items:
                assert isinstance(item, Samples | Texts)
                assert set(item.time_ns) == {T0}
                for tag, value, status in zip(item.tag, item.value, item.status, strict=True):
                    seen.setdefault(int(tag), []).append((value, int(status)))
    return seen


async def test_tables_types_texts_and_bits_in_one_coalesced_read(tmp_path: Path) -> None:
    asked: list[tuple[int, int]] = []
    words = [*struct.unpack(">2H", struct.pack(">f", 21.5)), 0xFFFE, 0b100, *struct.unpack(">4H", "批A7".encode() + b"\0\0\0")]

    async def look(function: int, at: int, registers: list[int]) -> None:
        asked.append((function, at))
        registers[10:18] = words

    async with serving(u1=look) as port:
        addresses = ["holding 10 float32", "holding 12 int16 scale=0.1 offset=5", "holding 13 bool bit=2", "holding 14 string length=4", "input 11"]
        made, _ = source(port, addresses, tmp_path, max_gap=0)
        await made.open(None)
        seen = await rounds(made, lambda s: len(s) == 5)
        await made.close()
    assert {k: v[0] for k, v in seen.items()} == {0: (21.5, 0), 1: (4.8, 0), 2: (1.0, 0), 3: ("批A7", 0), 4: (float(words[1]), 0)}
    assert set(asked) == {(3, 10), (4, 11)}


async def test_a_dead_unit_delays_no_other_and_its_tags_are_bad(tmp_path: Path) -> None:
    async def alive(_function: int, _at: int, registers: list[int]) -> None:
        registers[0] = 7

    async def dead(_function: int, _at: int, _registers: list[int]) -> None:
        await over.wait()  # the server does not end before its handlers do

    over = asyncio.Event()
    async with serving(u1=alive, u2=dead) as port:
        try:
            made, plug = source(port, ["holding 0 unit=1", "holding 0 unit=2"], tmp_path)
            await made.open(None)
            seen = await rounds(made, lambda s: len(s.get(1, [])) >= 2)
            await made.close()
        finally:
            over.set()
    # Two silences of 0.3 s and the pause between them, in which the other unit was read every 0.02 s.
    assert {status for _, status in seen[1]} == {BAD_NO_COMMUNICATION}
    assert len(seen[0]) >= 10
    assert set(seen[0]) == {(7.0, 0)}
    assert plug.counters["silent_rounds"] >= 2


async def test_it_closes_though_a_cancellation_was_swallowed_under_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def alive(_function: int, _at: int, registers: list[int]) -> None:
        registers[0] = 7

    async with serving(u1=alive) as port:
        made, _ = source(port, ["holding 0"], tmp_path)
        await made.open(None)
        await rounds(made, lambda s: 0 in s)
        asking = asyncio.Event()

        async def deaf(*_: Any, **__: Any) -> Any:
            asking.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise ModbusIOException("answered in that very moment") from None

        monkeypatch.setattr(AsyncModbusTcpClient, "read_holding_registers", deaf)
        async with asyncio.timeout(15):
            await asking.wait()
            await made.close()


async def test_one_register_that_is_not_there_blinds_no_neighbour(tmp_path: Path) -> None:
    async def look(_function: int, at: int, registers: list[int]) -> ExcCodes | None:
        registers[0], registers[2] = 5, 6
        return ExcCodes.ILLEGAL_ADDRESS if at == 1 or (at == 0 and wide[0]) else None

    wide = [True]
    async with serving(u1=look) as port:
        made, plug = source(port, ["holding 0", "holding 1", "holding 2"], tmp_path)
        await made.open(None)

        def enough(seen: dict[int, list[tuple[float | str, int]]]) -> bool:
            wide[0] = plug.counters.get("split_requests", 0) == 0
            return len(seen) == 3 and len(seen[0]) >= 2

        seen = await rounds(made, enough)
        await made.close()
    assert plug.counters["split_requests"] == 1
    assert (seen[0][-1], seen[2][-1]) == ((5.0, 0), (6.0, 0))
    assert {status for _, status in seen[1]} == {BAD_DEVICE_FAILURE}


async def test_a_server_that_goes_is_not_connected_and_comes_back(tmp_path: Path) -> None:
    async def look(_function: int, _at: int, registers: list[int]) -> None:
        registers[0] = 1

    async with serving(u1=look) as port:
        made, _ = source(port, ["holding 0"], tmp_path)
        await made.open(None)
        await rounds(made, lambda s: len(s.get(0, [])) >= 2)
    with pytest.raises(NotConnected):
        await rounds(made, lambda _: False)
    await made.close()
    with pytest.raises(NotConnected):
        await made.open(None)
    await made.close()
