"""Serves an application in a thread on a port of its own, and can stop it as a crash would."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from typing import Any

import uvicorn

from gateway.console.app import create_app
from gateway.console.guard import LOOPBACK
from gateway.office import Office
from gateway.sessions import Sessions


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class Served:
    """A console over a store; `stop` and `start` again keep the port."""

    def __init__(self, query: Any, *, timezone: str = "Asia/Shanghai", sessions: Sessions | None = None, office: Office | None = None) -> None:
        self.query = query
        self.sessions = sessions
        self.office = office
        self.timezone = timezone
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> Served:
        app = create_app(self.query, timezone=self.timezone, hosts=LOOPBACK, sessions=self.sessions, office=self.office)
        config = uvicorn.Config(app, host="127.0.0.1", port=self.port, log_level="critical", timeout_graceful_shutdown=1, lifespan="on")
        self._server = uvicorn.Server(config)
        self.app = app
        self._thread = threading.Thread(target=lambda: asyncio.run(self._server.serve()), name="served", daemon=True)  # type: ignore[union-attr]
        self._thread.start()
        deadline = time.monotonic() + 10
        while not self._server.started:
            if time.monotonic() > deadline or not self._thread.is_alive():
                raise RuntimeError("the console did not start within 10 s")
            time.sleep(0.01)
        return self

    def stop(self) -> None:
        """Drops every connection at once."""
        assert self._server is not None
        assert self._thread is not None
        self._server.force_exit = True
        self._server.should_exit = True
        self._thread.join(10)
