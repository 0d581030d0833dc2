"""kill -9 while the holes of an absence are filled from a server's history."""

from __future__ import annotations

import contextlib
import csv
import json
import random
import sqlite3
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from edge_agent.agent.commit import OUTBOX, STREAMS
from edge_agent.agent.recovery import rows as held
from edge_agent.core import Definitions, Gap, Log, Samples, Texts, decode
from simulators.accounting import Sent
from simulators.children import Child, Deadline, answers, free_port, wait_for
from tests.faults.historian import URI, WORD_EVERY
from tests.faults.outcome import Happened, fault
from tests.faults.road import Recording, Road

TAGS: Final = 3
ROOT: Final = Path(__file__).resolve().parents[2]


def with_historian(road: Road, port: int) -> Child:
    """Add the server's tags to the agent of a road; returns the server, not yet started."""
    path = road.folder / "agent.yaml"
    config: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))
    # Pages are small and slow enough that a death finds the filling half done.
    history = {"fill": True, "page": 50, "values_per_s": 1500}
    url = f"opc.tcp://127.0.0.1:{port}/"
    config["sources"].append({"name": "plc", "kind": "opcua", "url": url, "namespace": URI, "publishing_ms": 100, "history": history})
    report = {"kind": "periodic", "expected_s": 0.1}
    config["tags"] += [{"name": f"h/t{i}", "source": "plc", "address": f"s=t{i}", "class": "gmp", "report": report} for i in range(TAGS)]
    config["tags"].append({"name": "h/word", "source": "plc", "address": "s=word", "kind": "text", "class": "gmp"})
    config["windows"] = {"length_s": 1, "lateness_s": 0.2, "idle_s": 0.3}
    path.write_text(yaml.safe_dump(config), "utf-8")
    return Child("historian", [sys.executable, "-m", "tests.faults.historian", str(road.folder), str(port), str(TAGS)],
                 road.folder / "historian.log", ROOT)  # fmt: skip


def counted(road: Road) -> dict[str, int]:
    """What the connector has counted since the agent was started."""
    found = [s["counters"] for s in road.status.get("sources", []) if s["name"] == "plc"]
    return dict(found[0]) if found else {}


def state(road: Road) -> str:
    """The state of the connector."""
    return next((str(s["state"]) for s in road.status.get("sources", []) if s["name"] == "plc"), "")


def arrived(road: Road) -> int:
    """Values that the agent has taken in its whole life, each once: a new subscription shows the last one again."""
    return sum(int(count) for fate, count in road.status.get("samples", {}).items() if fate != "duplicate")


def all_asked(road: Road) -> bool:
    """Whether no hole is left to be filled, as the agent's disk has it."""
    holes = road.folder / "agent" / "sources" / "plc" / "holes"
    with contextlib.closing(sqlite3.connect(f"file:{road.folder / 'agent' / 'edge.sqlite'}?mode=ro", uri=True)) as db:
        ((resume,),) = db.execute("SELECT data FROM value WHERE key='resume/plc'")
    settled = json.loads(resume)["history"]["hole"]
    return bool(holes.exists() and settled >= msgspec.msgpack.decode(holes.read_bytes())["following"])


def kept_by_edge(road: Road) -> tuple[Counter[tuple[str, str]], int, int]:
    """Of the agent's outbox, which nobody has emptied: values and texts by tag, values declared missing, values taken back from gaps."""
    log = Log(road.folder / "agent" / "edge.sqlite", STREAMS)
    try:
        records = [decode(row.data) for row in held(log, OUTBOX, 0)]
    finally:
        log.close()
    (names,) = [{t.id: t.name for t in r.tags} for r in records if isinstance(r, Definitions)][-1:]
    found: Counter[tuple[str, str]] = Counter()
    for record in records:
        if isinstance(record, Samples | Texts):
            found.update((names[int(tag)], str(value)) for tag, value in zip(record.tag, record.value, strict=True))
    gaps = [r.missing for r in records if isinstance(r, Gap)]
    return found, sum(gaps), -sum(n for n in gaps if n < 0)


def kept_by_gateway(road: Road) -> tuple[Counter[tuple[str, str]], int, int]:
    """The same as the gateway exports it, its accounts closed."""
    books = road.settle(300.0)
    books.closed()
    rows = [row for row in _rows(road.export("sample")) if row["tag"].startswith("h/")]
    found = Counter((row["tag"], row["value"] if row["tag"] == "h/word" else str(float(row["value"]))) for row in rows)
    gaps = [int(row["missing"]) for row in _rows(road.export("gap"))]
    return found, sum(gaps), -sum(n for n in gaps if n < 0)


@fault("kill -9 while holes are filled from a server's history", "every value stored once, live or from the history, and taken back from its gap")
def filling(seed: int, folder: Path, long: bool) -> Happened:
    """The server forgets the agent when it dies, and hundreds of steps go by that only the history has; the next death finds it filling the holes.

    In the small form there is neither broker nor gateway: what the agent keeps for them is looked at.
    """
    rng, port, amid = random.Random(seed), free_port(), 0
    kills, steps = (24, 400) if long else (2, 60)
    with Road(folder, Recording(rows=10, speed=0.0), seed) as road:
        historian = with_historian(road, port)
        historian.start()
        try:
            road.until("the server", lambda: answers(port), 60.0)
            road.start() if long else road.start("agent")
            road.until("the subscription", lambda: state(road) == "connected", 60.0)
            (folder / "begin").touch()
            # Of a tag that never had a value nobody knows since when any are missing.
            road.until("values and a text", lambda: road.taken() > 10 * 5 + TAGS * (WORD_EVERY + 5))
            for kill in range(kills):
                # Anywhere from the first page to the last, and now and then before any or behind all.
                until, patience = rng.randrange(1, steps * TAGS) if kill else 0, Deadline(rng.uniform(6.0, 15.0))
                while counted(road).get("history_values", 0) < until and patience.left(1.0):
                    time.sleep(0.02)
                amid += not all_asked(road) and counted(road).get("history_values", 0) > 0
                road.kill("agent")
                (folder / "jump").write_text(str(steps))
                assert wait_for(lambda: not (folder / "jump").exists(), 60.0)
                road.start("agent")
            # The next text ends the last hole of texts.
            last = int((folder / "step").read_text()) + 2 * WORD_EVERY
            road.until("the values behind the last hole", lambda: int((folder / "step").read_text()) >= last and counted(road).get("values", 0), 60.0)
            (folder / "hush").touch()
            road.until("the server to be done", (folder / "hushed").exists, 60.0)
            last = int((folder / "step").read_text())
            road.sent += [Sent(f"h/t{i}", last, last * (last + 1) / 2) for i in range(TAGS)]
            road.until("everything from the history", lambda: all_asked(road) and arrived(road) >= 50 + last * TAGS, 900.0 if long else 120.0)
            if not long:
                road.children["agent"].stop()
            found, missing, back = kept_by_gateway(road) if long else kept_by_edge(road)
        finally:
            historian.stop(10.0)
    expected = Counter((f"h/t{i}", str(float(k))) for i in range(TAGS) for k in range(1, last + 1))
    expected.update(("h/word", f"B-{k}") for k in range(WORD_EVERY, last + 1, WORD_EVERY))
    found = Counter({key: n for key, n in found.items() if key[0].startswith("h/") and "." not in key[0]})
    lost, doubled = sum((expected - found).values()), sum((found - expected).values())
    assert (missing, back >= kills * (steps - 1) * TAGS) == (0, True), (missing, back)
    return Happened(f"{kills} kills, {amid} of them amid a fill; of {last * TAGS} values and {last // WORD_EVERY} texts "
                    f"{back} values had been declared missing and were taken back", lost, doubled)  # fmt: skip


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as source:
        return list(csv.DictReader(source))
