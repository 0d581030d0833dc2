"""However a demo ends it says why, ends in time and leaves no process behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from simulators.children import Child, Deadline, wait_for
from simulators.demo import Demo, DemoConfig
from simulators.demo_files import Ports

pytestmark = [pytest.mark.system, pytest.mark.timeout(100)]


def alive(folder: Path) -> list[str]:
    """Command lines of processes that work in a folder or name it."""
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        try:
            words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            where = str((process / "cwd").readlink())
        except OSError:
            continue  # gone, or somebody else's
        if str(folder) in words or where.startswith(str(folder)):
            found.append(words)
    return found


class Launcher:
    """A running `edge-sim demo` whose output is gathered."""

    def __init__(self, folder: Path, *words: str, **env: str) -> None:
        self.folder = folder
        self.began = time.monotonic()
        command = [sys.executable, "-m", "simulators", "demo", "--port", "0", "--keep", str(folder), *words]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **env})
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.lines.extend(self.process.stdout)
        self.process.stdout.close()

    def until(self, text: str) -> None:
        assert wait_for(lambda: any(text in line for line in self.lines) or self.process.poll() is not None, 60.0)
        assert any(text in line for line in self.lines), self.lines

    def ended(self, within_s: float) -> tuple[int, str]:
        code = self.process.wait(within_s)
        self._reader.join(10)
        return code, "".join(self.lines)


@contextmanager
def launched(folder: Path, *words: str, **env: str) -> Iterator[Launcher]:
    demo = Launcher(folder, *words, **env)
    try:
        yield demo
    finally:
        demo.process.kill()
        demo.ended(10)
        assert wait_for(lambda: not alive(folder), 15.0), alive(folder)


def test_a_port_in_use_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run([sys.executable, "-m", "simulators", "demo", "--port", str(port), "--keep", str(tmp_path / "keep")],
                              capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"--port: expected a free port, found {port} in use" in done.stderr
    assert not (tmp_path / "keep").exists()


def test_a_program_that_dies_at_the_start_is_named_with_its_last_words(tmp_path: Path) -> None:
    with launched(tmp_path, "--duration", "30", "--json", PHARMEDGE_EDGE__ID=" no / name ") as demo:
        code, said = demo.ended(60.0)
        assert code == 1, said
        assert "edge-sim demo: agent ended with exit code 2; its log ends:" in said
        assert "expected" in said.partition("its log ends:")[2]
        assert not alive(tmp_path)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_demo_stopped_before_it_is_ready_says_so(tmp_path: Path, how: signal.Signals) -> None:
    with launched(tmp_path, "--duration", "30") as demo:
        assert wait_for((tmp_path / "logs" / "gateway.log").exists, 30.0)
        demo.process.send_signal(how)
        code, said = demo.ended(30.0)
        assert (code, "stopped before it was ready" in said) == (1, True), said
        assert not alive(tmp_path)


def test_a_running_demo_ends_on_ctrl_c_and_a_second_one_does_not_wait_for_the_accounts(tmp_path: Path) -> None:
    with launched(tmp_path, "--duration", "300", "--json") as demo:
        demo.until("running for 300 s")
        demo.process.send_signal(signal.SIGINT)
        assert wait_for((tmp_path / "stop").exists, 20.0)
        wait_for(lambda: demo.process.poll() is not None, 0.5)
        demo.process.send_signal(signal.SIGINT)
        code, said = demo.ended(40.0)
        assert (code, "left without accounts" in said) == (1, True), said
        assert not alive(tmp_path)


def test_programs_that_hang_cannot_hold_the_demo_beyond_its_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    demo = Demo(DemoConfig(), tmp_path, Ports(1, 2, 3, 4, 5), threading.Event(), deadline=Deadline(None))
    for name in ("agent", "gateway", "broker"):
        demo.children[name] = Child(name, [sys.executable, "-c", deaf], tmp_path / f"{name}.log", tmp_path)
        demo.children[name].start()
    for child in demo.children.values():
        assert wait_for(lambda c=child: "up" in c.tail(), 20.0)  # type: ignore[misc]
    demo.deadline = Deadline(2.0)
    began = time.monotonic()
    demo.stop()
    assert time.monotonic() - began < 20.0  # without a deadline it would be 30 s or more
    assert "did not end in time and was killed: agent, gateway, broker" in capsys.readouterr().err
    assert not alive(tmp_path)
