"""The PLC of a continuous line: reads over Modbus TCP what to divert, and diverts whenever it cannot be sure.

It accepts only while the register says so, the watchdog moves and answers come; everything else means divert.
"""

from __future__ import annotations

import asyncio
import time

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException

from simulators.continuous import Continuous
from simulators.signals import SECOND_NS

FIRST = 100
"""Register of the first diverter; the watchdog stands behind it."""
ACCEPT = 2
VALID_S = 5.0
SMALL_VALID_S = 0.6


class Watch:
    """Whether a word may be acted on: its watchdog has moved within `valid_s`.

    >>> w = Watch(5.0)
    >>> [w.accepts(2, 7, 0.0), w.accepts(2, 8, 1.0), w.accepts(2, 8, 5.9), w.accepts(2, 8, 6.1), w.accepts(1, 9, 7.0), w.accepts(0, 10, 8.0)]
    [False, True, True, False, False, False]
    """

    def __init__(self, valid_s: float) -> None:
        self._valid_s = valid_s
        self._last: int | None = None
        self._moved_s = float("-inf")

    def accepts(self, word: int, watchdog: int, now_s: float) -> bool:
        """What to do with one answer."""
        if self._last is not None and watchdog != self._last:
            self._moved_s = now_s
        self._last = watchdog
        return word == ACCEPT and now_s - self._moved_s <= self._valid_s


class Plc:
    """Polls the agent and commands the diverter of a line; what it said last holds for `valid_s` of the clock in line time."""

    def __init__(self, line: Continuous, address: tuple[str, int], *, valid_s: float = VALID_S, speed: float = 1.0) -> None:
        self._line, self._address, self._valid_s, self._speed = line, address, valid_s, speed
        self._watch = Watch(valid_s)

    async def run(self) -> None:
        """Poll until cancelled."""
        client = AsyncModbusTcpClient(self._address[0], port=self._address[1], timeout=self._valid_s, retries=0)
        try:
            while True:
                accept = False
                asked_ns = self._line.now_ns
                try:
                    if client.connected or await client.connect():
                        answer = await client.read_input_registers(FIRST, count=2)
                        if not answer.isError():
                            accept = self._watch.accepts(answer.registers[0], answer.registers[1], time.monotonic())
                except (ModbusException, OSError, TimeoutError):
                    accept = False
                # Counted from the moment of the question: a simulation that was kept waiting accepts nothing on an old answer.
                self._line.command(accept, asked_ns + int(self._valid_s * self._speed * SECOND_NS))
                await asyncio.sleep(self._valid_s / 10.0)
        finally:
            client.close()
