"""A real Modbus client reads the registers and can write none."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from pymodbus.client import AsyncModbusTcpClient

from edge_agent.local.modbus import REGISTERS, ModbusRegisters, ModbusServing
from tests.local.line import T0, Line, S


@pytest.fixture
def line() -> Line:
    made = Line(lambda: T0)
    made.committed([])
    return made


@pytest.fixture
async def client(line: Line) -> AsyncIterator[AsyncModbusTcpClient]:
    server = ModbusRegisters(ModbusServing(port=0), line.desk)
    made = AsyncModbusTcpClient("127.0.0.1", port=await server.start())
    assert await made.connect()
    yield made
    made.close()
    await server.stop()


async def test_both_functions_read_the_table_of_the_moment(line: Line, client: AsyncModbusTcpClient) -> None:
    quiet = [1, 1, 0, 0, *[0] * 8, 0, 0, 1, 0, T0 // S >> 16, T0 // S & 0xFFFF]
    assert (await client.read_input_registers(0, count=REGISTERS)).registers == quiet
    line.turn("press1/guard.open", True)
    line.turn("press1/hopper_level.low", True, 8.0)
    line.turn("press1/hopper_level.drift", True)
    line.trouble = ["uplink site: not connected"]
    loud = [1, 1, 1, 1, 1, 0, 1, 0, 1, 0, 1, 0, 0, 1, 0, 0, *quiet[16:]]
    assert (await client.read_holding_registers(0, count=REGISTERS)).registers == loud
    assert (await client.read_input_registers(2, count=2, device_id=17)).registers == [1, 1]
    assert (await client.read_input_registers(10, count=REGISTERS)).isError()


async def test_every_write_and_every_other_function_is_refused(line: Line, client: AsyncModbusTcpClient) -> None:
    before = (await client.read_input_registers(0, count=REGISTERS)).registers
    asked = [
        client.write_register(1, 5), client.write_registers(1, [5, 6]), client.write_coil(1, True), client.write_coils(1, [True, False]),
        client.mask_write_register(address=1, and_mask=0, or_mask=5),
        client.readwrite_registers(read_address=0, read_count=1, write_address=1, values=[5]),
        client.read_coils(0, count=8), client.read_discrete_inputs(0, count=8),
    ]  # fmt: skip
    assert all([(await one).isError() for one in asked])
    assert (await client.read_input_registers(0, count=REGISTERS)).registers == before


async def test_a_port_that_is_taken_is_an_error_and_nothing_more(line: Line, client: AsyncModbusTcpClient) -> None:
    port = client.comm_params.port
    with pytest.raises(OSError, match="listen"):
        await ModbusRegisters(ModbusServing(port=port), line.desk).start()
