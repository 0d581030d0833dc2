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
| 100 + 16 k | 2: the k-th diverter (from 0, as configured) may accept; 1 and everything else: divert |
| + 1 | watchdog: counts up with every decision, 0 behind 65535 |
| + 2, + 3 | valid until, s since 1970, high word first |
| + 4 | reason, a sum: 1 feed, 2 measured, 4 feeder unknown, 8 instrument unknown, 16 edge did not run, 32 start, 128 not valid any more |
| + 5 | 0 normal, 1 pending, 2 diverting, 3 clearing |
| + 6 | s until material outside its limits arrives, 65535 when none is on its way |
| + 7 | s until it has passed, 65535 likewise |
| + 8, + 9 | lowest and highest possible content at the diverter, 0.01 % of label claim |

Every unit identifier is answered. Counts stop at 65535. The heartbeat has to be supervised: when it stands still for 5 s, nothing else in
the table can be believed.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Final

from pydantic import Field

from edge_agent.core.divert import DivertNow
from edge_agent.core.settings import Section
from edge_agent.local.desk import Desk, Supervision

VERSION: Final = 1
REGISTERS: Final = 18
DIVERTERS: Final = 100
"""First register of the first diverter."""
EACH: Final = 16
"""Registers of a diverter."""
DIVERT: Final = 1
ACCEPT: Final = 2
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


def diverter_table(now: DivertNow) -> list[int]:
    """The registers of one diverter.

    >>> diverter_table(DivertNow("a", False, 0, 0, 7, 65_537_000_000_000, low=99.0, high=101.256))
    [2, 7, 1, 1, 0, 0, 65535, 65535, 9900, 10125, 0, 0, 0, 0, 0, 0]
    """
    until = now.valid_until_ns // 1_000_000_000
    window = (_MOST if math.isnan(s) else min(_MOST - 1, max(0, int(s))) for s in (now.starts_s, now.ends_s))
    bounds = (min(_MOST, max(0, int(100.0 * x))) if math.isfinite(x) else 0 for x in (now.low, now.high))
    told = [
        DIVERT if now.request else ACCEPT, now.watchdog, until >> 16 & _MOST, until & _MOST, now.reason, now.state, *window, *bounds,
    ]  # fmt: skip
    return told + [0] * (EACH - len(told))


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

        diverters = self._desk.facts.diverters
        size = DIVERTERS + EACH * diverters if diverters else REGISTERS

        async def look(function: int, start: int, _address: int, _count: int, registers: list[int], written: object) -> ExcCodes | None:
            if function not in _READ or written is not None:
                return ExcCodes.ILLEGAL_FUNCTION
            now = table(self._desk.supervision())
            if size > REGISTERS:
                now += [0] * (DIVERTERS - REGISTERS)
                for divert in self._desk.diverts():
                    now += diverter_table(divert)
                # What is not told yet is 0, which no PLC may take for "accept".
                now += [0] * (size - len(now))
            registers[:] = now[start : start + len(registers)]
            return None

        block = SimData(0, count=size, values=0, datatype=DataType.REGISTERS, readonly=True)
        device = SimDevice(0, [block], action=look)  # 0: whatever unit is asked for
        self._server = ModbusTcpServer(device, address=(self._config.host, self._config.port))
        if not await self._server.listen():
            raise OSError(f"Modbus: cannot listen on {self._config.host}:{self._config.port}")
        return int(self._server.transport.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Close every connection."""
        if self._server is not None:
            await self._server.shutdown()
