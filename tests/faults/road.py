"""The whole road as processes over values that are known beforehand: a recorded file, the agent, a broker, the gateway, and the books of it."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from simulators.accounting import Sent, TagAccount, balance, read_raised
from simulators.children import Child, Deadline, answers, free_port, http_json, nats_server, wait_for
from simulators.demo import waiting
from simulators.demo_files import Ports, nats_config
from tests.faults.outcome import NotHere

START_S: Final = 1_767_225_600
"""Recorded time of the first row: 2026-01-01T00:00:00Z."""
QUIET_S: Final = 8.0
EXPORT_S: Final = 300.0
"""Patience with one export, on a computer that has much else to do."""


@dataclass(frozen=True)
class Recording:
    """`rows` instants of `tags` values, one a second, played `speed` times as fast; 0 is as fast as it goes."""

    rows: int
    tags: int = 5
    speed: float = 100.0

    def write(self, path: Path, seed: int) -> list[Sent]:
        """The file, and what it holds by tag."""
        rng = random.Random(seed)
        names = [f"u/t{i}" for i in range(self.tags)]
        totals = [0.0] * self.tags
        with path.open("w", encoding="utf-8") as out:
            out.write("time," + ",".join(names) + "\n")
            for row in range(self.rows):
                values = [round(rng.gauss(12.0 + (4.0 if row % 300 > 270 else 0.0), 0.2), 3) for _ in names]
                totals = [a + b for a, b in zip(totals, values, strict=True)]
                out.write(f"{START_S + row}," + ",".join(map(str, values)) + "\n")
        return [Sent(name, self.rows, total, START_S + self.rows) for name, total in zip(names, totals, strict=True)]


@dataclass(frozen=True)
class Books:
    """The accounts of a road that has come to rest."""

    tags: list[TagAccount]
    alarms: int
    settled: bool

    @property
    def lost(self) -> int:
        """Values that are neither stored nor declared missing."""
        return sum(max(0, t.balance) for t in self.tags)

    @property
    def duplicated(self) -> int:
        """Values stored more than once."""
        return sum(max(0, -t.balance) for t in self.tags)

    @property
    def declared(self) -> int:
        """Values declared missing."""
        return sum(t.missing for t in self.tags)

    def closed(self, *, missing: int = 0) -> None:
        """Everything sent is stored once, with its sum, but for `missing` declared values."""
        assert self.settled, "the road did not come to rest"
        assert (self.lost, self.duplicated, self.declared) == (0, 0, missing)
        assert not any(t.sum_differs for t in self.tags)


@dataclass
class Road:
    """One edge, one broker, one gateway in a folder."""

    folder: Path
    recording: Recording
    seed: int = 1
    outbox: str = "{max_bytes: 2000000000}"
    data_dir: str = "agent"
    through: Callable[[int], int] | None = None
    """Given the broker's port: the port that the agent connects to, for a proxy in between."""
    children: dict[str, Child] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            broker = nats_server()
        except FileNotFoundError as missing:
            raise NotHere(str(missing)) from missing
        self.ports = Ports(free_port(), free_port(), 0, free_port(), free_port())
        self.folder.mkdir(parents=True, exist_ok=True)
        self.sent = self.recording.write(self.folder / "values.csv", self.seed)
        port = self.through(self.ports.mqtt) if self.through else self.ports.mqtt
        tags = "\n".join(f"  - {{name: u/t{i}, source: file, class: gmp}}" for i in range(self.recording.tags))
        (self.folder / "agent.yaml").write_text(f"""
edge: {{site: demo, id: e1, data_dir: {self.data_dir}, simulated: true}}
sources: [{{name: file, kind: csv, files: [values.csv], speed: {self.recording.speed}}}]
tags:
{tags}
models: [{{kind: robust_z, tags: ["u/*"], window: 20}}]
alarms: [{{name: u/t0.high, kind: limit, tag: u/t0, limit: 14.5, deadband: 0.5, on_delay_s: 3, priority: 2}}]
windows: {{length_s: 10, lateness_s: 2, idle_s: 2}}
outbox: {self.outbox}
uplinks: [{{name: plant, kind: gateway, host: 127.0.0.1, port: {port}, gateways: [gw1]}}]
http: {{port: {self.ports.agent}}}
""", "utf-8")
        (self.folder / "gateway.yaml").write_text(f"""
gateway: {{id: gw1, site: demo, data_dir: gateway, mode: simulation}}
broker: {{host: 127.0.0.1, port: {self.ports.mqtt}}}
http: {{port: {self.ports.console}}}
""", "utf-8")
        (self.folder / "nats.conf").write_text(nats_config(self.folder / "broker", self.ports), "utf-8")
        root = str(Path(__file__).resolve().parents[2])
        inside = f"import sys; sys.path.insert(0, {root!r}); from tests.faults.agent_under import main; main()"
        self._add("broker", [str(broker), "-c", "nats.conf"])
        self._add("gateway", [sys.executable, "-m", "gateway", "run", "-c", str(self.folder / "gateway.yaml")])
        self._add("agent", [sys.executable, "-c", inside, str(self.folder), "run", "-c", str(self.folder / "agent.yaml")])

    def _add(self, name: str, command: list[str]) -> None:
        self.children[name] = Child(name, command, self.folder / f"{name}.log", self.folder)

    def start(self, *names: str) -> Self:
        """Start programs, all of them when none is named, the broker first."""
        for name in names or ("broker", "gateway", "agent"):
            self.children[name].start()
            if name == "broker":
                assert wait_for(lambda: answers(self.ports.mqtt), 15.0), self.children[name].tail()
        return self

    def kill(self, name: str) -> None:
        """SIGKILL."""
        self.children[name].kill()

    @property
    def status(self) -> dict[str, Any]:
        """What the agent says of itself; empty when it does not answer."""
        found = http_json(f"http://127.0.0.1:{self.ports.agent}/status", 2.0)
        return found if isinstance(found, dict) else {}

    def until(self, what: str, check: Callable[[], Any], timeout_s: float = 40.0) -> None:
        """Wait for something. Raises AssertionError."""
        assert wait_for(lambda: bool(check()), timeout_s), f"expected {what} within {timeout_s} s; agent: {json.dumps(self.status)[:1500]}"

    def taken(self) -> int:
        """Values that the agent has taken in its whole life, late ones too; 0 while it does not answer."""
        return sum(int(count) for count in self.status.get("samples", {}).values())

    def stored(self, console: int | None = None, sent: Sequence[Sent] | None = None) -> int:
        """Values that the gateway accounts for, or the one with another console."""
        ledger = http_json(f"http://127.0.0.1:{console or self.ports.console}/api/v1/ledger", 2.0)
        rows = ledger.get("ledger", []) if isinstance(ledger, dict) else ledger or []
        names = {s.tag for s in sent or self.sent}
        counted = ("n_good", "n_uncertain", "n_bad", "n_late", "n_rejected", "n_missing")
        return sum(int(row[key]) for row in rows if row["tag"] in names for key in counted)

    def settle(self, timeout_s: float = 60.0, *, expected: int | None = None) -> Books:
        """Wait until the file has ended and everything is at the gateway, then close the books."""
        total = sum(s.n for s in self.sent) if expected is None else expected
        patience, moved, last, settled = Deadline(timeout_s), time.monotonic(), -1, False
        while patience.left(1.0):
            stored, status = self.stored(), self.status
            if stored != last:
                last, moved = stored, time.monotonic()
            over = [s.get("state") for s in status.get("sources", [])][:1] == ["ended"] and waiting(status) == 0
            if over and (stored >= total or time.monotonic() - moved > QUIET_S):
                settled = True
                break
            time.sleep(0.1)
        return self.books(self.sent, settled)

    def books(self, sent: Sequence[Sent], settled: bool = True, gateway: str = "gateway") -> Books:
        """The accounts of these values as a gateway exports them."""
        exports = {kind: self.export(kind, gateway) for kind in ("summary", "gap", "alarm")}
        return Books(balance(sent, exports["summary"], exports["gap"]), len(read_raised(exports["alarm"])), settled)

    def export(self, kind: str, gateway: str = "gateway") -> Path:
        """One export of a gateway."""
        out = self.folder / f"{gateway}-{kind}.csv"
        with out.open("wb") as to:
            subprocess.run([sys.executable, "-m", "gateway", "export", "-c", str(self.folder / f"{gateway}.yaml"), "--kind", kind, "--format", "csv"],
                           stdout=to, check=True, timeout=EXPORT_S)  # fmt: skip
        return out

    def said(self, text: str, name: str = "agent") -> bool:
        """Whether a program's log holds a text."""
        log = self.folder / f"{name}.log"
        return log.exists() and text in log.read_text("utf-8", errors="replace")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for child in reversed(self.children.values()):
            child.terminate()
        for child in self.children.values():
            child.stop(10.0)
