"""The demo: broker, simulated press, agent and gateway as processes, judged by their public API and files only."""

from __future__ import annotations

import json
import math
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from simulators.accounting import AccountError, Accounts, ledger_covers, read_outages, read_sent, settle_accounts
from simulators.chaos import Cut, cuts
from simulators.children import Child, Deadline, answers, free_port, http_json, http_status, nats_server, port_taken, wait_for
from simulators.demo_files import Ports, write_configs

SPARE_S = 58.0
"""Seconds beyond its duration in which a run has started, settled, judged and stopped, whatever happens."""
READY_S = 40.0
"""Seconds in which everything must be connected and samples flow."""
LINE_S = 5.0
"""Seconds that the line may end late."""
SETTLE_S = 38.0
"""Seconds in which windows must close and everything must be committed."""
JUDGE_S = 10.0
"""Seconds kept for the exports and the accounts."""
STOP_S = 8.0
"""Seconds kept for stopping everything."""
QUIET_S = 8.0
"""With windows closed, an empty outbox and a ledger that did not move for this long nothing more will come."""
LATENCIES_NEEDED = 500
ANSWER_S = 2.0
"""Seconds a program has for an answer before it is asked again."""
STOP_ORDER = (("agent", "simulator"), ("gateway",), ("broker",))
CONNECTED = frozenset({"connected", "ok", "running"})


@dataclass(frozen=True)
class DemoConfig:
    """One run of the demo."""

    duration_s: float | None = None
    seed: int = 1
    port: int = 8080
    keep: Path | None = None
    chaos: bool = False
    faults: bool = True
    json_line: bool = False

    def __post_init__(self) -> None:
        if self.duration_s is not None and not 0.0 < self.duration_s < math.inf:
            raise ValueError(f"--duration: expected seconds > 0, found {self.duration_s}")
        if self.chaos and self.duration_s is None:
            raise ValueError("--chaos: expected --duration with it, found none")
        if self.keep is not None:
            if self.keep.exists() and not self.keep.is_dir():
                raise ValueError(f"--keep: expected a folder, found a file {self.keep}")
            for name in ("data", "start", "stop", "sent.csv", "outages.jsonl"):
                if (self.keep / name).exists():
                    raise ValueError(f"--keep: expected a folder without an earlier run, found {self.keep / name}")


class DemoError(Exception):
    """The demo could not start or a program of it died."""


@dataclass
class Demo:
    """The processes of one run in one folder."""

    config: DemoConfig
    folder: Path
    ports: Ports
    stopping: threading.Event
    children: dict[str, Child] = field(default_factory=dict)
    deadline: Deadline = field(default_factory=lambda: Deadline(None))
    latencies_ms: list[float] = field(default_factory=list)
    """Of the agent's earlier lives, then of its present one."""
    lives: int = 0
    """How many of `latencies_ms` are of earlier lives."""
    down_s: dict[str, float] = field(default_factory=dict)
    """When each killed program was killed last, seconds UTC epoch."""
    _ready: Deadline = field(default_factory=lambda: Deadline(None))

    # --- start -------------------------------------------------------------------------------------------------
    def prepare(self) -> None:
        """Write the configurations and name the programs."""
        (self.folder / "data").mkdir(parents=True, exist_ok=True)
        (self.folder / "logs").mkdir(exist_ok=True)
        write_configs(self.folder, self.ports)
        python = sys.executable
        press = [python, "-m", "simulators", "run", "press", "--seed", str(self.config.seed), "--opcua-port",
                 str(self.ports.opcua), "--mqtt", f"127.0.0.1:{self.ports.mqtt}", "--keep", str(self.folder),
                 "--start-when", str(self.folder / "start"), "--stop-when", str(self.folder / "stop"), "--stay"]
        if self.config.duration_s is not None:
            press += ["--duration", str(self.config.duration_s)]
        if self.config.faults:
            press += ["--fault", "random" if self.config.duration_s is not None else "endless"]
        self._add("broker", [str(nats_server()), "-c", "nats.conf"])
        self._add("simulator", press)
        self._add("gateway", [python, "-m", "gateway", "run", "-c", str(self.folder / "gateway.yaml")])
        self._add("agent", [python, "-m", "edge_agent", "run", "-c", str(self.folder / "agent.yaml")])

    def _add(self, name: str, command: Sequence[str]) -> None:
        self.children[name] = Child(name, command, self.folder / "logs" / f"{name}.log", self.folder)

    def start(self) -> None:
        """Start everything and wait until samples flow. Raises DemoError."""
        self._ready = Deadline(READY_S)
        self.children["broker"].start()
        self._await("the broker listens", lambda: answers(self.ports.mqtt))
        for name in ("gateway", "simulator", "agent"):
            self.children[name].start()
        self._await("the console answers", lambda: http_status(self.console + "/healthz") == 200)
        say(f"console  {self.console}")
        say(f"agent    http://127.0.0.1:{self.ports.agent}/status")
        say(f"folder   {self.folder}")
        self._await("every source is connected", self._sources_connected)
        # No sample may be sent before somebody listens: an agent cannot know of values older than its first connection.
        (self.folder / "start").write_text("start\n", encoding="utf-8")
        self._await("samples flow", lambda: bool(self._simulator_state().get("samples")))

    def _await(self, what: str, check: Callable[[], bool]) -> None:
        def done() -> bool:
            if self.stopping.is_set():
                raise DemoError("stopped before it was ready")
            self._nobody_died()
            return check()

        if not wait_for(done, self._ready.left(READY_S)):
            raise DemoError(f"expected within {READY_S:g} s of the start that {what}, found {self._situation()}")

    def _situation(self) -> str:
        status = http_json(self.agent + "/status", ANSWER_S)
        return json.dumps({"simulator": self._simulator_state(), "agent": status}, ensure_ascii=False)[:2000]

    def _nobody_died(self, down: Collection[str] = ()) -> None:
        for child in self.children.values():
            if child.process is not None and not child.running and child.name not in down:
                raise DemoError(f"{child.name} ended with exit code {child.returncode}; its log ends:\n{child.tail()}")

    @property
    def console(self) -> str:
        """Address of console and gateway API."""
        return f"http://127.0.0.1:{self.ports.console}"

    @property
    def agent(self) -> str:
        """Address of the agent's status."""
        return f"http://127.0.0.1:{self.ports.agent}"

    def _simulator_state(self) -> dict[str, Any]:
        try:
            state = json.loads((self.folder / "sim.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return state if isinstance(state, dict) else {}

    def _sources_connected(self) -> bool:
        state = self._simulator_state()
        status = http_json(self.agent + "/status", ANSWER_S)
        if not isinstance(status, dict) or not status.get("sources"):
            return False
        return (all(s.get("state") in CONNECTED for s in status["sources"])
                and bool(state.get("mqtt_connected"))
                and 0 < int(state.get("opcua_variables", 0)) <= int(state.get("opcua_subscribed", 0)))

    # --- run ---------------------------------------------------------------------------------------------------
    def run(self) -> None:
        """Until the line has ended, or until stopped; kills on the way when asked. Raises DemoError."""
        begin = time.monotonic()
        end = Deadline(None if self.config.duration_s is None else self.config.duration_s + LINE_S)
        left: list[Cut] = list(cuts(self.config.seed, self.config.duration_s or 0.0)) if self.config.chaos else []
        restarts: list[tuple[float, str]] = []
        asked = begin
        while not self._simulator_state().get("ended") and end.left(1.0):
            now = time.monotonic() - begin
            for due in [r for r in restarts if r[0] <= now]:
                restarts.remove(due)
                self._restart(due[1])
            while left and left[0].at_s <= now:
                cut = left.pop(0)
                if any(name == cut.victim for _, name in restarts):
                    left.insert(0, cut._replace(at_s=now + 0.5))  # still down: kill it when it is back
                    break
                if cut.victim == "agent":
                    self._ask_latency()
                    self.lives = len(self.latencies_ms)  # what it has not told by now dies with it
                self.down_s[cut.victim] = time.time()
                self.children[cut.victim].kill()
                say(f"{now:6.1f} s  killed {cut.victim}")
                restarts.append((now + cut.down_s, cut.victim))
            if self.stopping.wait(0.05):
                break
            self._nobody_died({name for _, name in restarts})
            if time.monotonic() - asked > 2.0:
                asked = time.monotonic()
                self._ask_latency()
        for _, name in restarts:
            self._restart(name)
        # The line ends, its servers stay: an agent that was away may still fetch what they hold.
        (self.folder / "stop").write_text("stop\n", encoding="utf-8")
        if not wait_for(lambda: bool(self._simulator_state().get("ended")), self.deadline.left(20.0, JUDGE_S + STOP_S)):
            raise DemoError(f"expected the line to end within {LINE_S:g} s of its duration, found {self._simulator_state()}")

    def _restart(self, name: str) -> None:
        self.children[name].start()
        outage = {"victim": name, "t_down": round(self.down_s[name], 3), "t_up": round(time.time(), 3)}
        with (self.folder / "outages.jsonl").open("a", encoding="utf-8") as out:
            out.write(json.dumps(outage) + "\n")

    def _ask_latency(self) -> None:
        status = http_json(self.agent + "/status", 1.0)
        if isinstance(status, dict) and isinstance(status.get("latencies_ms"), list):
            self.latencies_ms[self.lives:] = [float(ms) for ms in status["latencies_ms"]]

    # --- settle ------------------------------------------------------------------------------------------------
    def settle(self) -> tuple[bool, float]:
        """Wait until windows are closed, the outbox is empty and the gateway has committed all: (settled, seconds). Raises DemoError."""
        begin = time.monotonic()
        patience = Deadline(self.deadline.left(SETTLE_S, JUDGE_S + STOP_S))
        sent = read_sent(self.folder / "sent.csv")
        last: Any = None
        moved = calm = begin
        while patience.left(1.0) and not self.stopping.is_set():
            self._nobody_died()
            ledger = _rows_of(http_json(self.console + "/api/v1/ledger", ANSWER_S), "ledger")
            empty = self._outbox_empty()
            if ledger != last:
                last, moved = ledger, time.monotonic()
            if not empty:
                calm = time.monotonic()
            if empty and ledger is not None:
                if ledger_covers(sent, ledger):
                    self._ask_latency()
                    return True, time.monotonic() - begin
                if time.monotonic() - max(moved, calm) > QUIET_S:
                    return True, time.monotonic() - begin  # settled, with a loss that the accounts will show
            time.sleep(0.25)
        return False, time.monotonic() - begin

    def _outbox_empty(self) -> bool:
        edges = _rows_of(http_json(self.console + "/api/v1/edges", ANSWER_S), "edges")
        status = http_json(self.agent + "/status", ANSWER_S)
        if not edges or not isinstance(status, dict):
            return False
        return all(int(e.get("backlog") or 0) == 0 for e in edges) and waiting(status) == 0

    def unsettled(self) -> str:
        """What is still on its way, for the person who has to find out why."""
        status = http_json(self.agent + "/status", ANSWER_S)
        agent = {key: status.get(key) for key in ("outbox", "uplinks", "open_windows")} if isinstance(status, dict) else "no answer"
        edges = _rows_of(http_json(self.console + "/api/v1/edges", ANSWER_S), "edges")
        backlog = "no answer" if edges is None else {e.get("edge"): e.get("backlog") for e in edges}
        return json.dumps({"agent": agent, "gateway_backlog": backlog}, ensure_ascii=False)

    def export(self, kind: str) -> Path:
        """One export of the gateway as a CSV in the folder. Raises DemoError."""
        out = self.folder / f"{kind}.csv"
        limit_s = self.deadline.left(60.0, STOP_S)
        try:
            with out.open("wb") as to:
                done = subprocess.run([sys.executable, "-m", "gateway", "export", "-c", str(self.folder / "gateway.yaml"), "--kind", kind,
                                       "--format", "csv"], stdout=to, stderr=subprocess.PIPE, check=False, timeout=limit_s)
        except subprocess.TimeoutExpired:
            raise DemoError(f"edge-gateway export --kind {kind}: expected an end within {limit_s:.0f} s, found none") from None
        if done.returncode != 0:
            raise DemoError(f"edge-gateway export --kind {kind}: expected exit code 0, found {done.returncode}: "
                            f"{done.stderr.decode(errors='replace').strip()[-500:]}")
        return out

    def accounts(self) -> Accounts:
        """Settle the accounts from files. Raises DemoError."""
        try:
            found = settle_accounts(self.folder / "sent.csv", self.folder / "truth.jsonl", self.export("summary"),
                                    self.export("gap"), self.export("alarm"), read_outages(self.folder / "outages.jsonl"))
        except AccountError as exc:
            raise DemoError(str(exc)) from exc
        (self.folder / "accounts.json").write_text(found.text() + "\n", encoding="utf-8")
        return found

    def records_committed(self) -> int:
        """Records the gateway has committed."""
        status = http_json(self.console + "/api/v1/status", ANSWER_S)
        return int(status.get("records", 0)) if isinstance(status, dict) else 0

    def stop(self) -> None:
        """Stop everything: who reads before who is read, the broker last; whoever does not end in time is killed."""
        late: list[str] = []
        for place, names in enumerate(STOP_ORDER):
            together = [self.children[name] for name in names if name in self.children]
            for child in together:
                child.terminate()
            kept_s = 0.5 * (len(STOP_ORDER) - 1 - place)
            late += [child.name for child in together if not child.stop(self.deadline.left(10.0, kept_s))]
        if late:
            print(f"edge-sim demo: did not end in time and was killed: {', '.join(late)}", file=sys.stderr, flush=True)


def _rows_of(answer: Any, key: str) -> list[Any] | None:
    if isinstance(answer, dict):
        answer = answer.get(key)
    return answer if isinstance(answer, list) else None


def waiting(status: Mapping[str, Any]) -> int:
    """Records of the agent's outbox that its uplinks have not delivered, and windows still open, by its /status.

    >>> waiting({"outbox": {"seq": 12}, "uplinks": [{"committed_seq": 10}], "open_windows": 1})
    3
    """
    outbox = status.get("outbox")
    seq = int(outbox.get("seq") or 0) if isinstance(outbox, Mapping) else 0
    committed = [int(u.get("committed_seq") or 0) for u in status.get("uplinks") or () if isinstance(u, Mapping)]
    return max(0, seq - min(committed, default=seq)) + int(status.get("open_windows") or 0)


def last_line(accounts: Accounts, records: int, latencies_ms: Sequence[float], settle_s: float) -> dict[str, Any]:
    """The object of the last line; a p99 of fewer than 500 latencies is none."""
    n = len(latencies_ms)
    p99 = float(np.percentile(latencies_ms, 99)) if n >= LATENCIES_NEEDED else None
    counts = accounts.summary()
    return {
        "samples_sent": counts["samples_sent"],
        "samples_stored": counts["samples_stored"],
        "records_committed": records,
        **{k: v for k, v in counts.items() if k not in ("samples_sent", "samples_stored")},
        "sensor_to_alarm_p99_ms": None if p99 is None else round(p99, 3),
        "alarm_latency_n": n,
        "settle_s": round(settle_s, 3),
    }


def say(text: str) -> None:
    """One line to the person who started the demo."""
    print(text, flush=True)


def launch(config: DemoConfig) -> int:
    """Run the demo; exit code 0 ok, 1 when a program died, the run did not settle, or its accounts do not close.

    Raises ValueError when the settings cannot hold, a port that is taken among them, before anything is started.
    """
    if config.port and port_taken(config.port):
        raise ValueError(f"--port: expected a free port, found {config.port} in use")
    if config.chaos:
        cuts(config.seed, config.duration_s or 0.0)  # refuse too short a run before anything starts
    folder = Path(tempfile.mkdtemp(prefix="pharmedge-demo-")) if config.keep is None else config.keep.resolve()
    stopping = threading.Event()
    before = {s: signal.signal(s, lambda *_: stopping.set()) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    ports = Ports(config.port or free_port(), free_port(), free_port(), free_port(), free_port())
    deadline = Deadline(None if config.duration_s is None else config.duration_s + SPARE_S)
    demo = Demo(config, folder, ports, stopping, deadline=deadline)
    try:
        demo.prepare()
        demo.start()
        say("running until Ctrl-C" if config.duration_s is None else f"running for {config.duration_s:g} s")
        demo.run()
        if config.duration_s is None and not config.json_line and config.keep is None:
            return 0
        stopping.clear()  # a second Ctrl-C leaves without settling
        settled, settle_s = demo.settle()
        if stopping.is_set() and not settled:
            raise DemoError("stopped a second time: left without accounts")
        if not settled:
            print(f"edge-sim demo: expected to settle, found after {settle_s:.0f} s {demo.unsettled()}", file=sys.stderr, flush=True)
        accounts = demo.accounts()
        line = last_line(accounts, demo.records_committed(), demo.latencies_ms, settle_s)
    except DemoError as exc:
        print(f"edge-sim demo: {exc}", file=sys.stderr, flush=True)
        return 1
    finally:
        demo.stop()
        for sig, handler in before.items():
            signal.signal(sig, handler)
        if config.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    say(json.dumps(line) if config.json_line else "\n".join(f"{k:24s} {v}" for k, v in line.items()))
    return 0 if settled and accounts.closed else 1
