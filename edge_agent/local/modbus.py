"""Registers for a DCS or SCADA that supervises the edge over Modbus TCP: read with function 3 or 4, everything else is refused.

| register | holds |
|---|---|
| 0 | version of this table, 1 |
| 1 | heartbeat: counts up once a second while what is judged becomes durable, 0 behind 65535 |
| 2 | worst standing priority, 1 to 4; 0 none |
| 3 | worst unacknowledged priority |
| 4 to 7 | unacknowledged alarms of priority 1 to 4 |
| 8 to 11 | standing alarms of priority 1 to 4 |
| 12 | suppressed alarms: shelved, by design, out of service |
| 13 | advisories standing |
| 14 | 1: the edge is ready |
| 15 | 1: the line is simulated |
| 16, 17 | time of the newest durable commit, s since 1970, high word first |

Every unit identifier is answered. Counts stop at 65535. The heartbeat has to be supervised: when it stands still for 5 s, nothing else in
the table can be believed.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import Field

from edge_agent.core.settings import Section
from edge_agent.local.desk import Desk, Supervision

VERSION: Final = 1
REGISTERS: Final = 18
_READ: Final = (3, 4)
_MOST: Final = 65_535


class ModbusServing(Section):
    """Registers for a supervising system, Modbus TCP, read only."""

    host: str = "127.0.0.1"
    """Address to listen on; one that other computers reach needs `exposed: true`."""
    exposed: bool = False
    """Let the control network read, although Modbus asks nobody who they are."""
    port: Annotated[int, Field(ge=0, le=65535)] = 5020
    """TCP port; 0 chooses a free one."""


def table(figures: Supervision) -> list[int]:
    """The registers of one moment.

    >>> table(Supervision(7, 65_537_000_000_000, 2, 0, (0, 1, 0, 0), (0, 0, 0, 0), 3, 0, True, False))
    [1, 7, 2, 0, 0, 0, 0, 0, 0, 1, 0, 0, 3, 0, 1, 0, 1, 1]
    """
    seconds = figures.last_commit_ns // 1_000_000_000
    counts = (*figures.unacknowledged, *figures.standing, figures.suppressed, figures.advisory)
    return [
        VERSION, figures.beat, figures.worst_standing, figures.worst_unacknowledged, *(min(n, _MOST) for n in counts),
        int(figures.ready), int(figures.simulated), seconds >> 16 & _MOST, seconds & _MOST,
    ]  # fmt: skip


class ModbusRegisters:
    """The server; on the event loop."""

    def __init__(self, config: ModbusServing, desk: Desk) -> None:
        self._config, self._desk = config, desk
        self._server: Any = None

    async def start(self) -> int:
        """Listen; the port. OSError when it is taken."""
        from pymodbus.constants import ExcCodes
        from pymodbus.server import ModbusTcpServer
        from pymodbus.simulator import DataType, SimData, SimDevice

        async def look(function: int, start: int, _address: int, _count: int, registers: list[int], written: object) -> ExcCodes | None:
            if function not in _READ or written is not None:
                return ExcCodes.ILLEGAL_FUNCTION
            now = table(self._desk.supervision())
            registers[:] = now[start : start + len(registers)]
            return None

        block = SimData(0, count=REGISTERS, values=0, datatype=DataType.REGISTERS, readonly=True)
        device = SimDevice(0, [block], action=look)  # 0: whatever unit is asked for
        self._server = ModbusTcpServer(device, address=(self._config.host, self._config.port))
        if not await self._server.listen():
            raise OSError(f"Modbus: cannot listen on {self._config.host}:{self._config.port}")
        return int(self._server.transport.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Close every connection."""
        if self._server is not None:
            await self._server.shutdown()
