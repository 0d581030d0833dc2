"""A TCP proxy that can stop carrying without closing anything: a half-open connection."""

from __future__ import annotations

import contextlib
import select
import socket
import threading


class Proxy:
    """Carries connections to a port; `freeze` makes those that are open carry nothing any more, new ones work."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.connections = 0
        self._frozen_through = 0
        self._closing = threading.Event()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def freeze(self) -> None:
        """No byte more on the connections there are; nobody is told."""
        self._frozen_through = self.connections

    def close(self) -> None:
        """End everything."""
        self._closing.set()
        self._listener.close()
        for thread in self._threads:
            thread.join(5.0)

    def _accept(self) -> None:
        self._listener.settimeout(0.2)
        while not self._closing.is_set():
            try:
                near, _ = self._listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            self.connections += 1
            thread = threading.Thread(target=self._carry, args=(near, self.connections), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _carry(self, near: socket.socket, number: int) -> None:
        with near, contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._target), timeout=5.0) as far:
            while not self._closing.is_set():
                if number <= self._frozen_through:
                    self._closing.wait(0.2)
                    continue
                ready, _, _ = select.select([near, far], [], [], 0.1)
                for one in ready:
                    data = one.recv(65536)
                    if not data:
                        return
                    if number > self._frozen_through:
                        (far if one is near else near).sendall(data)
