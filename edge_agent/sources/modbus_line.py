"""The wire to Modbus units: a TCP connection, or a line that all units share and on which one speaks at a time."""

from __future__ import annotations

import asyncio
import termios
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from edge_agent.core.settings import Section

_SHORTEST_PAUSE_S: Final = 0.00175
_PAUSE_CHARACTERS: Final = 3.5
_CHARACTER_BITS: Final = 11
_FAST: Final = 19200


class SerialSection(Section):
    """A serial line, RS-485 or RS-232, with Modbus RTU; needs the extra `serial` (pyserial)."""

    device: Annotated[str, Field(min_length=1)]
    """Its device, e.g. /dev/ttyUSB0."""
    baud: Annotated[int, Field(ge=300, le=4_000_000)] = 19200
    """Bits a second."""
    parity: Literal["even", "odd", "none"] = "even"
    """As the devices on the line are set."""
    stop_bits: Literal[1, 2] = 1
    """2 where parity is none, says the standard; many devices take 1."""

    @property
    def pause_s(self) -> float:
        """The silence between two frames: 3.5 characters, fixed at 1.75 ms above 19,200 Bd (Modbus over serial line 1.02, 2.5.1.1).

        >>> round(SerialSection(device="/dev/ttyS0", baud=9600).pause_s, 5), SerialSection(device="/dev/ttyS0", baud=115200).pause_s
        (0.00401, 0.00175)
        """
        return _SHORTEST_PAUSE_S if self.baud > _FAST else _PAUSE_CHARACTERS * _CHARACTER_BITS / self.baud


class Wire:
    """One connection, made and lost; whoever asks holds `turn`.

    host, port  a server; rtu: frames of a serial line inside the TCP connection, as simple gateways want them
    serial      a line of our own
    """

    def __init__(self, host: str, port: int, serial: SerialSection | None, *, rtu: bool, timeout_s: float) -> None:
        self._host, self._port, self._serial, self._rtu, self._timeout_s = host, port, serial, rtu, timeout_s
        self.client: Any = None
        self.turn = asyncio.Lock()
        self.pause_s = serial.pause_s if serial is not None else 0.0
        """Seconds of silence that the line needs behind an answer."""

    def __str__(self) -> str:
        return self._serial.device if self._serial is not None else f"{self._host}:{self._port}"

    @property
    def connected(self) -> bool:
        """Whether there is a connection."""
        return self.client is not None and bool(self.client.connected)

    async def connect(self) -> bool:
        """Make the connection unless there is one; whether it went."""
        async with self.turn:
            if not self.connected:
                self.disconnect()
                self.client = self._make()
                try:
                    await self.client.connect()
                except (OSError, ValueError, termios.error):
                    self.disconnect()  # a device that is not there, is none, or cannot be set as asked
            return self.connected

    def _make(self) -> Any:
        from pymodbus import FramerType
        from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient

        how: dict[str, Any] = {"timeout": self._timeout_s, "retries": 0, "reconnect_delay": 0}
        serial = self._serial
        if serial is None:
            return AsyncModbusTcpClient(self._host, port=self._port, framer=FramerType.RTU if self._rtu else FramerType.SOCKET, **how)
        parity = {"even": "E", "odd": "O", "none": "N"}[serial.parity]
        return AsyncModbusSerialClient(
            serial.device, framer=FramerType.RTU, baudrate=serial.baud, bytesize=8, parity=parity, stopbits=serial.stop_bits, **how
        )

    def disconnect(self) -> None:
        """Let go of the connection."""
        client, self.client = self.client, None
        if client is not None:
            client.close()
