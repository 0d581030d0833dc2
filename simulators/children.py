"""Child processes of the demo: start, kill, restart, stop, each with its own log file."""

from __future__ import annotations

import ctypes
import http.client
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

PR_SET_PDEATHSIG = 1


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def port_taken(port: int, host: str = "127.0.0.1") -> bool:
    """Whether somebody listens on a port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False


def answers(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a TCP connection to a port is accepted."""
    try:
        with socket.create_connection((host, port), timeout=0.5):
            return True
    except OSError:
        return False


def http_get(url: str, timeout_s: float) -> tuple[int, bytes] | None:
    """Status and body of a GET on this machine, past any proxy; None when nobody answers."""
    where = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname or "127.0.0.1", where.port, timeout=timeout_s)
    try:
        connection.request("GET", where.path or "/")
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


class Deadline:
    """A moment by which something must be over.

    >>> Deadline(None).left(7.0), Deadline(-1.0).left(7.0)
    (7.0, 0.0)
    """

    def __init__(self, after_s: float | None) -> None:
        self._at = math.inf if after_s is None else time.monotonic() + after_s

    def left(self, most_s: float, keep_s: float = 0.0) -> float:
        """Seconds until `keep_s` before the deadline, at most `most_s`, never less than 0."""
        return max(0.0, min(most_s, self._at - keep_s - time.monotonic()))


def http_status(url: str, timeout_s: float = 2.0) -> int | None:
    """HTTP status of a GET; None when nobody answers."""
    answer = http_get(url, timeout_s)
    return None if answer is None else answer[0]


def http_json(url: str, timeout_s: float = 5.0) -> Any | None:
    """JSON body of a GET; None when nobody answers, or with an error, or not with JSON."""
    answer = http_get(url, timeout_s)
    if answer is None or answer[0] != 200:
        return None
    try:
        return msgspec.json.decode(answer[1])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def nats_server() -> Path:
    """The broker's program. Raises FileNotFoundError with what to install."""
    beside = Path(sys.executable).parent / "nats-server"
    found = beside if beside.exists() else shutil.which("nats-server")
    if found is None:
        raise FileNotFoundError("nats-server: expected in the environment or on PATH, found neither; "
                                "install pharmedge[demo]")
    return Path(found)


def wait_for(check: Callable[[], bool], timeout_s: float, every_s: float = 0.1) -> bool:
    """Ask again and again until true; False when the time is over."""
    until = time.monotonic() + timeout_s
    while not check():
        if time.monotonic() > until:
            return False
        time.sleep(every_s)
    return True


def _child_of_this_process() -> None:
    # The children must not outlive a launcher that was killed. A session of their own keeps Ctrl-C for the launcher.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@dataclass
class Child:
    """One program of the demo."""

    name: str
    command: Sequence[str]
    log: Path
    folder: Path
    process: subprocess.Popen[bytes] | None = None
    kills: int = 0

    def start(self) -> None:
        """Start the program, appending to its log."""
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                list(self.command), stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=self.folder,
                start_new_session=True,
                preexec_fn=_child_of_this_process if sys.platform == "linux" else None,  # noqa: PLW1509 - one prctl call, no lock
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )

    @property
    def running(self) -> bool:
        """Whether the program runs."""
        return self.process is not None and self.process.poll() is None

    @property
    def returncode(self) -> int | None:
        """Exit code; None while it runs."""
        return None if self.process is None else self.process.poll()

    def kill(self) -> None:
        """SIGKILL, as a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.kills += 1

    def terminate(self) -> None:
        """SIGTERM, without waiting."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

    def stop(self, timeout_s: float = 10.0) -> bool:
        """SIGTERM and wait; False, after SIGKILL, when it did not end in time."""
        if self.process is None or self.process.poll() is not None:
            return True
        self.process.terminate()
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return False
        return True

    def tail(self, lines: int = 15) -> str:
        """Last lines of the log."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
