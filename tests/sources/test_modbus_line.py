"""Modbus RTU: several units on one line, a serial one between two pseudo terminals, and frames of a line over TCP."""

from __future__ import annotations

import asyncio
import os
import tty
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pydantic
import pytest
from pymodbus import FramerType
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from edge_agent.core import NotConnected, Samples, Tag
from edge_agent.core.status import BAD_NO_COMMUNICATION
from edge_agent.sources.modbus import BAD_DEVICE_FAILURE, ModbusConfig, ModbusSource
from edge_agent.sources.source import Plug
from tests.brokers import free_port

T0 = 1_767_225_600_000_000_000
ADDRESS = {0: "holding 4 float32", 1: "holding 4 uint16 unit=2", 2: "holding 4 uint16 unit=9"}
TAGS = tuple(Tag(id=k, name=f"t{k}") for k in ADDRESS)


def devices() -> list[SimDevice]:
    """Unit 1 holds 21.5 (41AC 0000) at register 4, unit 2 holds 7 there; there is no unit 9."""
    return [
        SimDevice(1, [SimData(0, count=4, values=0, datatype=DataType.REGISTERS), SimData(4, values=[0x41AC, 0], datatype=DataType.REGISTERS)]),
        SimDevice(2, [SimData(0, count=4, values=0, datatype=DataType.REGISTERS), SimData(4, values=[7, 0], datatype=DataType.REGISTERS)]),
    ]


@asynccontextmanager
async def line() -> AsyncIterator[tuple[str, str]]:
    """The two ends of a cable: pseudo terminals whose other sides are joined."""
    loop = asyncio.get_running_loop()
    (a, a_end), (b, b_end) = os.openpty(), os.openpty()
    for end in (a, a_end, b, b_end):
        tty.setraw(end)
    loop.add_reader(a, lambda: os.write(b, os.read(a, 4096)))
    loop.add_reader(b, lambda: os.write(a, os.read(b, 4096)))
    try:
        yield os.ttyname(a_end), os.ttyname(b_end)
    finally:
        for end in (a, b):
            loop.remove_reader(end)
        for end in (a, a_end, b, b_end):
            os.close(end)


@asynccontextmanager
async def serial_section() -> AsyncIterator[dict[str, Any]]:
    async with line() as (ours, theirs):
        server = ModbusSerialServer(devices(), framer=FramerType.RTU, port=theirs, baudrate=115200)
        await server.listen()
        try:
            yield {"serial": {"device": ours, "baud": 115200, "parity": "none"}}  # a pseudo terminal knows no parity
        finally:
            await server.shutdown()


@asynccontextmanager
async def tcp_section() -> AsyncIterator[dict[str, Any]]:
    port = free_port()
    server = ModbusTcpServer(devices(), framer=FramerType.RTU, address=("127.0.0.1", port))
    await server.listen()
    try:
        yield {"host": "127.0.0.1", "port": port, "framing": "rtu"}
    finally:
        await server.shutdown()


def source(section: dict[str, Any], folder: Path, units: tuple[int, ...] = (0, 1, 2)) -> ModbusSource:
    plug = Plug("plc", [TAGS[k] for k in units], ADDRESS, lambda: T0, folder)
    config = ModbusConfig.model_validate({"kind": "modbus", "name": "plc", "period_s": 0.05, "timeout_s": 0.3} | section)
    return ModbusSource(config, plug)


@pytest.mark.parametrize("kind", [serial_section, tcp_section], ids=["serial", "over-tcp"])
async def test_units_share_a_line_and_one_that_is_not_there_costs_the_others_only_its_turn(kind: Any, tmp_path: Path) -> None:
    async with kind() as section:
        made = source(section, tmp_path)
        await made.open(None)
        found: dict[int, tuple[float, int]] = {}
        good = 0
        async with asyncio.timeout(20):
            while found.keys() < {0, 1, 2} or good < 6:
                for item in (await made.read()).items:
                    assert isinstance(item, Samples)
                    good += int((item.status == 0).sum())
                    found |= {k: (v, s) for k, v, s in zip(item.tag.tolist(), item.value.tolist(), item.status.tolist(), strict=True)}
        await made.close()
    assert found[0] == (21.5, 0)
    assert found[1] == (7.0, 0)
    assert found[2][1] in (BAD_NO_COMMUNICATION, BAD_DEVICE_FAILURE)  # on some lines nobody answers for it, on others the gateway does


async def test_a_line_that_is_not_there_is_not_connected(tmp_path: Path) -> None:
    made = source({"serial": {"device": str(tmp_path / "nothing")}}, tmp_path)
    with pytest.raises(NotConnected, match="nothing"):
        await made.open(None)
    await made.close()


@pytest.mark.parametrize("section", [{}, {"host": "h", "serial": {"device": "/dev/ttyS0"}}, {"serial": {"device": "/dev/ttyS0"}, "framing": "tcp"}])
def test_either_a_host_or_a_line(section: dict[str, Any]) -> None:
    with pytest.raises(pydantic.ValidationError, match="expected"):
        ModbusConfig.model_validate({"kind": "modbus", "name": "plc"} | section)
