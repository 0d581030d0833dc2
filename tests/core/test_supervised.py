"""The words to a supervisor, received on a real socket."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.core import supervised


@pytest.fixture(params=["file", "abstract"])
def supervisor(request, monkeypatch, tmp_path: Path) -> Iterator[socket.socket]:
    name = str(tmp_path / "notify") if request.param == "file" else f"@pharmedge-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(name if request.param == "file" else "\0" + name[1:])
        heard.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        yield heard


def test_ready_reloading_and_stopping_are_heard(supervisor):
    assert supervised.ready("line1, 5 tags")
    assert supervisor.recv(4096) == b"READY=1\nSTATUS=line1, 5 tags"
    assert supervised.reloading()
    assert supervisor.recv(4096).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
    assert supervised.stopping()
    assert supervisor.recv(4096) == b"STOPPING=1"


def test_a_supervisor_that_is_gone_stops_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    assert not supervised.ready("line1")
    monkeypatch.delenv("NOTIFY_SOCKET")
    assert not supervised.ready("line1")


@pytest.mark.parametrize(("microseconds", "pid", "expected"), [("", "", None), ("0", "", None), ("30000000", "", 30.0), ("30000000", "1", None)])
def test_the_watchdog_counts_only_for_the_process_it_was_set_for(monkeypatch, microseconds, pid, expected):
    monkeypatch.setenv("WATCHDOG_USEC", microseconds)
    monkeypatch.setenv("WATCHDOG_PID", pid)
    assert supervised.watchdog_s() == expected


async def test_only_a_living_process_is_told_as_alive(supervisor, monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", "30000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    alive = [True]
    asked = asyncio.Event()

    def said() -> bool:
        asked.set()
        return alive[0]

    task = asyncio.create_task(supervised.keep_alive(said))
    assert await asyncio.to_thread(supervisor.recv, 4096) == b"WATCHDOG=1"
    alive[0] = False
    await asyncio.sleep(0)
    asked.clear()
    await asked.wait()  # whatever was said before is in the socket now
    supervisor.setblocking(False)
    while True:
        try:
            supervisor.recv(4096)
        except BlockingIOError:
            break
    for _ in range(2):
        asked.clear()
        await asked.wait()
    with pytest.raises(BlockingIOError):
        supervisor.recv(4096)
    task.cancel()


async def test_nobody_watches_and_nothing_runs(monkeypatch):
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    await supervised.keep_alive(lambda: True)
