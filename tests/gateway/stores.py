"""Real time series servers on free ports of this machine."""

from __future__ import annotations

import contextlib
import http.client
import shutil
import subprocess
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.brokers import free_port

_INFLUX = """
reporting-disabled = true
bind-address = "127.0.0.1:0"
[meta]
  dir = "{folder}/meta"
[data]
  dir = "{folder}/data"
  wal-dir = "{folder}/wal"
[http]
  bind-address = "127.0.0.1:{port}"
  log-enabled = false
[monitor]
  store-enabled = false
"""


def ask(port: int, method: str, path: str, **query: str) -> tuple[int, bytes]:
    """Status and body of one request; 0 when nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, f"{path}?{urllib.parse.urlencode(query)}")
        answer = connection.getresponse()
        return answer.status, answer.read()
    except OSError:
        return 0, b""
    finally:
        connection.close()


@contextmanager
def _process(folder: Path, command: list[str], port: int, path: str) -> Iterator[None]:
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        until = time.monotonic() + 60
        while ask(port, "GET", path)[0] not in (200, 204):
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{command[0]}: expected it to answer, found\n{(folder / 'log.txt').read_text('utf-8', 'replace')}")
            time.sleep(0.05)
        yield
    finally:
        process.kill()
        process.wait()


def _program(*names: str) -> str:
    found = next((where for name in names if (where := shutil.which(name)) is not None), None)
    if found is None:
        pytest.skip(f"{names[0]} is not installed here")
    return found


@contextmanager
def victoria_metrics(folder: Path) -> Iterator[dict[str, Any]]:
    """The section of a VictoriaMetrics target."""
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    command = [_program("victoria-metrics"), f"-httpListenAddr=127.0.0.1:{port}", f"-storageDataPath={folder}", "-retentionPeriod=100y"]
    with _process(folder, command, port, "/health"):
        yield {"url": f"http://127.0.0.1:{port}", "bucket": "plant", "reads": "victoriametrics"}


@contextmanager
def influxdb_1(folder: Path) -> Iterator[dict[str, Any]]:
    """The section of an InfluxDB 1 target."""
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "influx.conf").write_text(_INFLUX.format(folder=folder, port=port))
    with _process(folder, [_program("influxd"), "-config", str(folder / "influx.conf")], port, "/ping"):
        assert ask(port, "POST", "/query", q="CREATE DATABASE plant")[0] == 200
        yield {"url": f"http://127.0.0.1:{port}", "bucket": "plant", "api": "v1", "reads": "influxql"}


def settle(section: dict[str, Any]) -> None:
    """Make all that was written readable now."""
    port = int(section["url"].rpartition(":")[2])
    with contextlib.suppress(AssertionError):
        assert section["reads"] == "victoriametrics"
        ask(port, "GET", "/internal/force_flush")
