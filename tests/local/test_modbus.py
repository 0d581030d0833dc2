"""A real Modbus client reads the registers and can write none."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator

import pytest
from pymodbus.client import AsyncModbusTcpClient

from edge_agent.core.divert import DivertNow
from edge_agent.local.modbus import DIVERTERS, EACH, REGISTERS, ModbusRegisters, ModbusServing
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


async def test_what_a_diverter_has_to_do_is_read_and_old_words_mean_divert(line: Line) -> None:
    line.desk.facts = dataclasses.replace(line.desk.facts, diverters=2)
    server = ModbusRegisters(ModbusServing(port=0), line.desk)
    client = AsyncModbusTcpClient("127.0.0.1", port=await server.start())
    try:
        assert await client.connect()

        async def read() -> list[int]:
            return list((await client.read_input_registers(DIVERTERS, count=2 * EACH)).registers)

        assert await read() == [0] * 2 * EACH  # nothing decided yet: no "accept"
        seconds = T0 // S + 5
        calm = DivertNow("cm1", False, 0, 1, 41, T0 + 5 * S, starts_s=61.5, ends_s=99.0, low=99.0, high=101.256)
        old = DivertNow("cm2", False, 0, 0, 65535, T0 - 1, low=0.0, high=1000.0)
        line.desk.committed([], [], diverts=[calm, old])
        told = await read()
        assert told[:EACH] == [2, 41, seconds >> 16, seconds & 0xFFFF, 0, 1, 61, 99, 9900, 10125, *[0] * 6]
        assert told[EACH : EACH + 10] == [1, 65535, *told[EACH + 2 : EACH + 4], 128, 0, 65535, 65535, 0, 65535]
        assert (await client.read_input_registers(0, count=REGISTERS)).registers[0] == 1
        assert (await client.write_register(DIVERTERS, 2)).isError()
    finally:
        client.close()
        await server.stop()


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
