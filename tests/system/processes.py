"""Real processes in tests: started, listened to and ended, whatever the test does."""

from __future__ import annotations

import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    """A loopback port that nobody listened on a moment ago."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def script(name: str) -> str:
    """The path of a program that is installed beside this Python."""
    return str(Path(sys.executable).with_name(name))


class Child:
    """A child process whose standard output is read line by line; leaving the block kills it and its own children.

    Standard error goes to `log` when given, else to the test's own.
    """

    def __init__(self, args: Sequence[str], *, cwd: Path = ROOT, env: dict[str, str] | None = None, log: Path | None = None) -> None:
        self.lines: list[str] = []
        self._queue: queue.Queue[str | None] = queue.Queue()
        self._log = log.open("ab") if log is not None else None
        self.process = subprocess.Popen(
            list(args),
            cwd=cwd,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            start_new_session=True,
        )
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    @classmethod
    def python(cls, code: str, *args: str, cwd: Path = ROOT, env: dict[str, str] | None = None, log: Path | None = None) -> Child:
        """A child that runs Python code with the repository importable."""
        return cls([sys.executable, "-c", code, *args], cwd=cwd, env={"PYTHONPATH": str(ROOT), **(env or {})}, log=log)

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._queue.put(line.rstrip("\n"))
        self._queue.put(None)

    def line(self, timeout: float = 20.0) -> str:
        """The next line of output; AssertionError at the end of output or when none comes in time (seconds)."""
        try:
            line = self._queue.get(timeout=timeout)
        except queue.Empty:
            raise AssertionError(f"{self.process.args}: expected a line within {timeout} s, found none; before: {self.lines[-5:]}") from None
        if line is None:
            self._queue.put(None)
            raise AssertionError(f"{self.process.args}: expected a line, found the end of output; before: {self.lines[-5:]}")
        self.lines.append(line)
        return line

    def wait_for(self, text: str, timeout: float = 20.0) -> str:
        """The first further line that contains `text`."""
        end = time.monotonic() + timeout
        while text not in (line := self.line(max(0.01, end - time.monotonic()))):
            pass
        return line

    def rest(self, timeout: float = 20.0) -> list[str]:
        """The lines up to the end of output."""
        lines: list[str] = []
        end = time.monotonic() + timeout
        while (line := self._queue.get(timeout=max(0.01, end - time.monotonic()))) is not None:
            lines.append(line)
        self.lines += lines
        return lines

    def kill(self) -> None:
        """SIGKILL, as a power cut would have it; returns when the process is gone."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(20)

    def stop(self, timeout: float = 20.0) -> int:
        """SIGTERM; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.kill()
        self._thread.join(20)
        assert self.process.stdout is not None
        self.process.stdout.close()
        if self._log is not None:
            self._log.close()
