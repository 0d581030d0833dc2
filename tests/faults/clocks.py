"""Clocks: steps of hours both ways, and a machine that boots before it knows the time."""

from __future__ import annotations

import csv
import time
from pathlib import Path

import yaml

from simulators.children import Deadline
from tests.faults.live import Line
from tests.faults.outcome import Happened, fault
from tests.faults.road import Recording, Road

HOUR_NS = 3_600_000_000_000


@fault("clock steps of hours, both ways", "received time never decreases, every step is recorded, every value stored once", quick=False)
def stepped(seed: int, folder: Path, long: bool) -> Happened:
    """The wall clock of the running agent jumps by hours; it is also restarted with a clock that lies behind its journal."""
    steps = [6, -3, -9, 1, 30, -30] if long else [6, -3]
    # The file must not end before the last step, however long the word of each takes to reach the gateway.
    with Road(folder, Recording(rows=1500 * len(steps), speed=25.0 if long else 100.0), seed).start() as road:
        offset = 0
        for hours in steps:
            before = road.taken()
            road.until("values", lambda n=before: road.taken() > n + 100)  # type: ignore[misc]
            offset += hours * HOUR_NS
            (folder / "clock_ns").write_text(str(offset))
            patience = Deadline(20.0)
            while patience.left(1.0) and road.export("audit").read_text().count("clock_step") < steps.index(hours) + 1:
                time.sleep(0.5)
        road.children["agent"].stop()
        (folder / "clock_ns").write_text(str(offset - 48 * HOUR_NS))
        road.start("agent")
        road.until("a word about the clock", lambda: "clock_behind" in road.export("audit").read_text())
        books = road.settle(600.0 if long else 90.0)  # what is left of the file is still to be played
        books.closed()
        said = road.export("audit").read_text().count("clock_step")
        assert said >= len(steps), said
    return Happened(f"{len(steps)} steps and a start 48 h behind the journal, each told in the audit trail", books.lost, books.duplicated)


@fault("boot before NTP", "values ahead of the clock are counted as rejected, the step is told, received time follows by itself", quick=False)
def before_ntp(seed: int, folder: Path, long: bool) -> Happened:
    """The agent starts in 1970, later the time arrives. What a source stamps rightly lies in the future until received time has followed."""
    rows = 3000 if long else 1800
    with Road(folder, Recording(rows=rows, speed=60.0), seed) as road:
        (folder / "clock_ns").write_text(str(-time.time_ns() + HOUR_NS))
        road.start()
        road.until("values from the future", lambda: road.status.get("samples", {}).get("rejected", 0) > 200)
        (folder / "clock_ns").write_text("0")
        road.until("the step in the audit trail", lambda: "clock_step" in road.export("audit").read_text())
        road.until("received time that follows", lambda: "clock_followed" in road.export("audit").read_text())
        books = road.settle()
        books.closed()
        rejected = sum(t.rejected for t in books.tags)
        assert 200 < rejected < rows * 5
    said = f"{rejected} values counted as rejected until received time had followed, {rows * 5 - rejected} taken after it"
    return Happened(said, books.lost, books.duplicated)


@fault("a PLC that writes local time as UTC",
       "with its zone named its values are stored under their true time; without, each is rejected and counted; how well the edge keeps its own time "
       "is among its tags", quick=False)  # fmt: skip
def local_time(seed: int, folder: Path, long: bool) -> Happened:
    """A machine stamps eight hours ahead, as one in Shanghai; one source is told so, another reads the same and is not."""
    road = Road(folder, Recording(rows=10, speed=0.0), seed)
    path = folder / "agent.yaml"
    config = yaml.safe_load(path.read_text("utf-8"))
    config["sources"].append({"name": "clock", "kind": "clock", "period_s": 1})
    config["tags"].append({"name": "edge/clock/maximum_error", "source": "clock", "address": "maximum_error_s", "unit": "s"})
    path.write_text(yaml.safe_dump(config), "utf-8")
    readers = {"zoned": {"time": {"assumed_zone": "Asia/Shanghai"}}, "plain": {}}
    with Line(road, readers, 8 * HOUR_NS) as line, road:
        line.up()
        road.start()
        road.until("both sources", line.connected, 120.0)
        line.talk()
        time.sleep(60.0 if long else 3.0)
        sent = line.hush()
        road.sent += sent
        road.until("all of it", lambda: road.stored() >= sum(one.n for one in road.sent), 120.0)  # the clock goes on: nothing comes to rest
        books = road.books(road.sent)
        books.closed()
        zoned, plain = (next(t for t in books.tags if t.tag == s.tag) for s in sent)
        assert (zoned.rejected, plain.rejected) == (0, plain.sent), (zoned, plain)
        with road.export("sample").open(encoding="utf-8", newline="") as source:
            rows = list(csv.DictReader(source))
        behind_s = [(int(row["received_ns"]) - int(row["time_ns"])) / 1e9 for row in rows if row["tag"].endswith("zoned/t")]
        kept = sum(row["tag"].endswith("edge/clock/maximum_error") for row in rows)
        assert len(behind_s) == zoned.sent
        assert -5.0 < min(behind_s) <= max(behind_s) < 60.0
        assert kept > 0
    return Happened(f"{zoned.sent} values of each: with the zone all of them received {max(behind_s):.1f} s after their time at the most, without it "
                    f"{plain.rejected} rejected; {kept} readings of the own clock's error", books.lost, books.duplicated)  # fmt: skip
