"""The one wrapper around every uplink: run, back off, run again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from edge_agent.backoff import Backoff
from edge_agent.core import NotConnected
from edge_agent.uplinks.uplink import Port, Uplink


class UplinkConfig(Protocol):
    """What the runner needs of an uplink's section."""

    @property
    def name(self) -> str:
        """Its name in the configuration."""

    @property
    def kind(self) -> str:
        """What it speaks to."""

    @property
    def required(self) -> bool:
        """Whether records are kept until it has delivered them."""

    def uplink(self, port: Port) -> Uplink:
        """The uplink."""


class UplinkRunner:
    """Runs one uplink until it is cancelled; its errors stop nothing but itself.

    sleep    seconds; random: numbers in [0, 1) for the jitter of the back-off; both passed in so that tests neither wait nor vary
    """

    def __init__(
        self,
        config: UplinkConfig,
        port: Port,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random: Callable[[], float] = random.random,
    ) -> None:
        self.name = config.name
        self._kind = config.kind
        self._required = config.required
        self._port = port
        self._uplink = config.uplink(port)
        self._sleep = sleep
        self._backoff = Backoff(random)
        self._failures = 0

    def status(self) -> dict[str, Any]:
        """What /status and /metrics show."""
        return {"name": self.name, "kind": self._kind, "required": self._required, "failures": self._failures, **self._port.status}

    async def run(self) -> None:
        """Deliver for ever."""
        while True:
            before = self._port.status.get("committed_seq", 0)
            try:
                await self._uplink.run()
                why = "ended"
            except (NotConnected, OSError) as error:
                why = str(error) or type(error).__name__
            except Exception as error:  # noqa: BLE001 a defect of one uplink is shown and retried; it must not stop the others
                why = f"{type(error).__name__}: {error}"
            self._failures += 1
            self._port.status.update(connected=False, error=why)
            if self._port.status.get("committed_seq", 0) != before:
                self._backoff.reset()
            await self._sleep(self._backoff.next_s())
