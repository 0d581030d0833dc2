"""The simulated hall over its real protocols, and what a power dip leaves an operator with, also when the gateway is away meanwhile."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from edge_agent.agent.commit import JOURNAL, OUTBOX, STREAMS
from edge_agent.agent.recovery import rows as log_rows
from edge_agent.core import AlarmEvent, Log, decode, occurrence_id
from edge_agent.pipeline.chain import Pipeline
from simulators.children import Child, answers, free_port, http_json, nats_server, wait_for
from simulators.demo import waiting
from simulators.demo_files import Ports, write_configs
from simulators.hall import KINDS, SECTIONS
from tests.faults.outcome import Happened, NotHere, fault

ORIGIN: Final = Path(__file__).resolve().parents[2] / "configs" / "hall"
MACHINES: Final = sum(len(machines) for machines in SECTIONS.values())
CALLED: Final = len(SECTIONS) + MACHINES * sum(k.called for k in KINDS)
"""Alarms of a dip that call somebody, counted by hand from the configuration: 5 voltages, and 5 of each of 20 machines."""
COVERED: Final = MACHINES * sum(not k.called for k in KINDS)
"""Those that only follow from it: 10 of each of 20 machines."""
EDGE: Final = "hall-edge-1"
EVENT: Final = ("occurrence", "event", "state_from", "state_to", "time_ns", "user")


@dataclass
class Hall:
    """Broker, gateway, simulated hall and agent in a folder; `dips` are the seconds of the line at which the mains dip."""

    folder: Path
    seed: int
    speed: float
    dips: tuple[float, ...]
    children: dict[str, Child] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            broker = nats_server()
        except FileNotFoundError as missing:
            raise NotHere(str(missing)) from missing
        self.ports = Ports(*(free_port() for _ in range(5)))
        write_configs(self.folder, self.ports, ORIGIN)
        python, ports = sys.executable, self.ports
        faults = [word for at in self.dips for word in ("--fault", f"power_dip@{at:g}")]
        commands = {
            "broker": [str(broker), "-c", "nats.conf"],
            "gateway": [python, "-m", "gateway", "run", "-c", str(self.folder / "gateway.yaml")],
            "hall": [
                *(python, "-m", "simulators", "run", "hall", "--seed", str(self.seed), "--speed", f"{self.speed:g}"),
                *("--opcua-port", str(ports.opcua), "--mqtt", f"127.0.0.1:{ports.mqtt}", "--keep", str(self.folder)),
                *("--start-when", str(self.folder / "start"), *faults),
            ],
            "agent": [python, "-m", "edge_agent", "run", "-c", str(self.folder / "agent.yaml")],
        }  # fmt: skip
        self.children = {name: Child(name, command, self.folder / f"{name}.log", self.folder) for name, command in commands.items()}

    @property
    def console(self) -> str:
        """Address of the gateway."""
        return f"http://127.0.0.1:{self.ports.console}"

    @property
    def status(self) -> dict[str, Any]:
        """What the agent says of itself; empty when it does not answer."""
        found = http_json(f"http://127.0.0.1:{self.ports.agent}/status", 2.0)
        return found if isinstance(found, dict) else {}

    def until(self, what: str, check: Callable[[], Any], timeout_s: float = 60.0) -> None:
        """Wait for something. Raises AssertionError."""
        assert wait_for(lambda: bool(check()), timeout_s), f"expected {what} within {timeout_s} s; agent: {json.dumps(self.status)[:1500]}"

    def start(self) -> Self:
        """Start everything; the line runs once both sources are connected."""
        self.children["broker"].start()
        self.until("the broker", lambda: answers(self.ports.mqtt))
        for name in ("gateway", "hall"):
            self.children[name].start()
        self.until("the hall", lambda: answers(self.ports.opcua))
        self.children["agent"].start()
        self.until("both sources", lambda: [s["state"] for s in self.status.get("sources", [])] == ["connected", "connected"])
        self.until("every variable to be subscribed", self._subscribed)
        (self.folder / "start").write_text("start\n", "utf-8")
        return self

    def _subscribed(self) -> bool:
        try:
            state = json.loads((self.folder / "sim.json").read_text("utf-8"))
        except (OSError, ValueError):
            return False
        return bool(state["mqtt_connected"]) and 0 < state["opcua_variables"] <= state["opcua_subscribed"]

    def raised_at_edge(self) -> int:
        """Low alarms of the hall that the agent has told in its log, suppressed ones too."""
        lines = (self.folder / "agent.log").read_text("utf-8", errors="replace").splitlines()
        return sum(" change=raise " in line and ".low " in line for line in lines)

    def asked(self, path: str, body: Any = None) -> Any:
        """JSON of the gateway."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.console}/api/v1/{path}", data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def history(self) -> list[dict[str, Any]]:
        """The history of the console; without the gateway's own alarm that nothing is heard of an edge that has ended."""
        return [row for row in self.asked("alarms?state=history&limit=10000")["alarms"] if row["edge"] == EDGE]

    def settle(self) -> None:
        """End the line and wait until the gateway has everything that the edge has said."""
        self.children["hall"].terminate()
        self.until("an empty outbox", lambda: bool(self.status) and waiting({**self.status, "open_windows": 0}) == 0)

    def exported(self) -> list[dict[str, str]]:
        """Every alarm event of the edge that the gateway keeps."""
        out = self.folder / "alarm.csv"
        with out.open("wb") as to:
            command = [sys.executable, "-m", "gateway", "export", "-c", str(self.folder / "gateway.yaml"), "--kind", "alarm"]
            subprocess.run(command, stdout=to, check=True, timeout=120)
        with out.open(encoding="utf-8", newline="") as source:
            return [row for row in csv.DictReader(source) if row["edge"] == EDGE]

    def judged(self) -> tuple[list[AlarmEvent], list[AlarmEvent]]:
        """Every alarm event of the edge by stepping its own journal from the first entry, and those its outbox still holds; it has to have ended."""
        log = Log(self.folder / "data" / "agent" / "edge.sqlite", STREAMS)
        try:
            assert log.first(JOURNAL) == 1
            pipeline = Pipeline()
            made = [record for row in log_rows(log, JOURNAL, 0) for record in pipeline.step(decode(row.data))]  # type: ignore[arg-type]
            held = [decode(row.data) for row in log_rows(log, OUTBOX, log.first(OUTBOX) - 1)]
            return [r for r in made if isinstance(r, AlarmEvent)], [r for r in held if isinstance(r, AlarmEvent)]
        finally:
            log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for name in ("hall", "agent", "gateway", "broker"):
            if name in self.children:
                self.children[name].stop(15.0)


def _key(event: AlarmEvent) -> tuple[str, ...]:
    return (occurrence_id(EDGE, event.alarm, event.raised_ns), event.event, event.state_from, event.state_to, str(event.time_ns), event.user)


def _compared(hall: Hall) -> tuple[list[dict[str, str]], list[dict[str, Any]], int, int]:
    """What the gateway keeps beside what the edge's own journal gives: (events, occurrences of the history, events lost, events doubled)."""
    hall.settle()
    hall.children["agent"].stop(15.0)
    edge, held = hall.judged()
    hall.until("every event in the history", lambda: sum(len(row["events"]) for row in hall.history()) >= len(edge) - len(held))
    history, kept = hall.history(), hall.exported()
    before, after = Counter(map(_key, edge)), Counter(tuple(row[key] for key in EVENT) for row in kept)
    told = {row["occurrence"]: len(row["events"]) for row in history}
    assert told == Counter(row["occurrence"] for row in kept), set(told.items()) ^ set(Counter(row["occurrence"] for row in kept).items())
    return kept, history, sum((before - after - Counter(map(_key, held))).values()), sum((after - before).values())


def _raised(kept: list[dict[str, str]]) -> list[dict[str, str]]:
    """Raises of the alarms of the dip, those about sources and tags left out."""
    return [r for r in kept if r["event"] == "raise" and r["alarm"].endswith(".low")]


def _entries(standing: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """What the console shows as one entry each while there is a flood: alarms that call somebody, by trip."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in standing:
        if not row["suppressions"]:
            found.setdefault(row["group"] or row["edge"], []).append(row)
    return found


@fault(
    "power dip: 305 alarms within a minute",
    "no event lost, few entries by trip with the first-out marked, key figures as counted by hand",
    quick=False,
)
def power_dip(seed: int, folder: Path, long: bool) -> Happened:
    """The hall at its own pace (long) or four times as fast; three alarms are acknowledged."""
    with Hall(folder, seed, 1.0 if long else 4.0, (10.0,)).start() as hall:
        hall.until("305 alarms at the edge", lambda: hall.raised_at_edge() >= CALLED + COVERED, 150.0)
        hall.until("all of them at the gateway", lambda: len(hall.asked("alarms?limit=1000")["alarms"]) >= 1 + CALLED + COVERED)
        standing = hall.asked("alarms?limit=1000")["alarms"]
        entries = _entries(standing)
        first = {name: [r["alarm"] for r in members if r["first_out"]] for name, members in entries.items() if name != EDGE}
        assert first == {f"{section} supply": [f"{section}/voltage.low"] for section in SECTIONS}
        assert [r["alarm"] for r in entries[EDGE]] == ["edge/flood"]
        three = [r["occurrence"] for r in standing if r["first_out"]][:3]
        hall.asked("alarms/ack", {"occurrences": three, "user": "wang"})
        hall.until("three acknowledgements", lambda: sum(r["state"] == "ACKED" for r in hall.asked("alarms?limit=1000")["alarms"]) == 3)
        kept, _, lost, doubled = _compared(hall)
        figures = hall.asked("alarms/kpis")
    raised = _raised(kept)
    assert (len(raised), sum(r["state_to"] == "UNACK" for r in raised)) == (CALLED + COVERED, CALLED)
    at = sorted(int(r["time_ns"]) for r in raised)
    within_s = (at[-1] - at[0]) / 1e9
    assert within_s <= 60.0
    # By hand: every machine calls for five of its fifteen signals, every section for its voltage; all of it in one flood.
    assert (figures["calls"], figures["max_10min"], len(figures["floods"]), figures["floods"][0]["calls"]) == (CALLED, CALLED, 1, CALLED)
    assert figures["priorities"] == {"1": 5, "2": 2 * MACHINES, "3": 3 * MACHINES, "4": 0}
    assert (figures["suppressions"]["designed"], figures["chattering"], figures["fleeting"]) == (COVERED, [], 0)
    assert (figures["acknowledged"], figures["unacknowledged"]) == (3, CALLED - 3)
    return Happened(f"{len(raised)} alarms in {within_s:.0f} s, {CALLED} called and {COVERED} suppressed by design: {len(entries)} entries, "
                    f"each trip with its section's voltage first-out; {len(kept)} events", lost, doubled)  # fmt: skip


@fault("gateway stopped for 10 minutes while alarms come", "alarms go on at the edge; on return the history is exact, each event once")
def gateway_away(seed: int, folder: Path, long: bool) -> Happened:
    """Two dips while the gateway is dead for 10 minutes (long), or one, eight times as fast, of which it sees nothing until it is over."""
    dips = (30.0, 330.0) if long else (3.0,)
    expected = len(dips) * (CALLED + COVERED)
    with Hall(folder, seed, 1.0 if long else 8.0, dips).start() as hall:
        hall.children["gateway"].kill()
        died = time.monotonic()
        hall.until(f"{expected} alarms at the edge", lambda: hall.raised_at_edge() >= expected, 500.0 if long else 60.0)
        if long:
            time.sleep(max(0.0, 600.0 - (time.monotonic() - died)))
        alone, away_s = hall.raised_at_edge(), time.monotonic() - died
        hall.children["gateway"].start()
        hall.until("the console", lambda: answers(hall.ports.console))
        kept, history, lost, doubled = _compared(hall)
    assert len(_raised(kept)) == alone == expected
    shown = Counter(row["occurrence"] for row in history)
    assert set(shown.values()) == {1}
    assert set(shown) == {r["occurrence"] for r in kept}
    return Happened(f"away for {away_s:.0f} s, {alone} alarms raised at the edge alone; then {len(shown)} occurrences with {len(kept)} events, "
                    "each once and as the edge's journal gives them", lost, doubled)  # fmt: skip
