"""What a supervisor such as systemd is told: ready, alive, reloading, stopping (sd_notify(3): datagrams to the socket in NOTIFY_SOCKET)."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable
from typing import Final

_MICRO: Final = 1_000_000


def tell(*lines: str) -> bool:
    """Send `KEY=value` lines to the supervisor; False when there is none, or it does not listen: an edge works without one.

    >>> os.environ.get("NOTIFY_SOCKET") is None and tell("READY=1")
    False
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
            out.settimeout(1.0)
            out.sendto("\n".join(lines).encode(), "\0" + address[1:] if address.startswith("@") else address)
    except OSError:
        return False
    return True


def ready(status: str) -> bool:
    """Everything runs; `status` is the line that `systemctl status` shows."""
    return tell("READY=1", f"STATUS={status}")


def reloading() -> bool:
    """Another configuration is being taken up; `ready` follows."""
    return tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")


def stopping() -> bool:
    """The end has begun."""
    return tell("STOPPING=1")


def watchdog_s() -> float | None:
    """Seconds within which the supervisor wants to hear from us (sd_watchdog_enabled(3)); None when it does not watch this process."""
    microseconds, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not microseconds.isdigit() or int(microseconds) == 0 or (pid and pid != str(os.getpid())):
        return None
    return int(microseconds) / _MICRO


async def keep_alive(alive: Callable[[], bool]) -> None:
    """Tell the supervisor that we live, thrice within its patience, for as long as `alive` says so; returns at once when nobody watches."""
    patience = watchdog_s()
    while patience is not None:
        if alive():
            tell("WATCHDOG=1")
        await asyncio.sleep(patience / 3)
