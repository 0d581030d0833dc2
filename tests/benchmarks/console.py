"""A cold page of the console: until it is usable, over a real store with 5,000 live tags and 1,000 standing alarms, in Chromium on loopback.

Printed: the longest steps of the first load, and medians over loads with a fresh browser profile each: processor time, which others on the
machine change little, and time from the navigation until the first frame drawn with live values. The server and Chromium share the machine.
Needs /usr/bin/chromium; COLD=N sets how many loads.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
from playwright.sync_api import sync_playwright

from edge_agent.core import AlarmDefinition, AlarmEvent, Samples, Tag
from gateway.config import StoreSection
from gateway.query import ALL, AlarmFilter
from gateway.rows import AlarmRow, Change, EdgeRow, TagRow
from gateway.store import Store
from tests.gateway.conftest import feed
from tests.gateway.console.plant import Plant
from tests.gateway.console.serve import Served
from tests.gateway.edge import Edge

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update"]
TAGS, ALARMS = 5000, 1000
S = 1_000_000_000
STEPS = """performance.getEntriesByType('resource').map((e) =>
  [e.name.replace(location.origin, ''), e.startTime, e.responseEnd, e.transferSize])"""


def hall(folder: Path) -> Store:
    """A store that was given the tags with a value each, and the alarms, all of them raised."""
    now = time.time_ns()
    store = Store(folder, gateway="gw1", production=False, settings=StoreSection(), clock=time.time_ns)
    tags = [
        Tag(id=i, name=f"hall{i // 50:02d}/point{i % 50:02d}", unit="Cel", range=(0.0, 50.0), class_="gmp", expected_s=1.0,
            path=f"demo/solids/hall/hall{i // 50:02d}", description={"en": f"Point {i}", "zh": f"测点 {i}"})
        for i in range(TAGS)
    ]  # fmt: skip
    texts = {"cause": {"en": "Cooling failed", "zh": "冷却失效"}, "response": {"en": "Look at the chiller", "zh": "检查冷水机组"}}
    limit: dict[str, Any] = {"kind": "limit", "limit": 45.0, **texts}
    alarms = [AlarmDefinition(name=f"{t.name}.high", tag=t.name, priority=1 + i % 4, **limit) for i, t in enumerate(tags[:ALARMS])]
    edge = Edge()
    edge.define(tags, alarms, now)
    for i, a in enumerate(alarms):
        at = now - (10 + i) * S
        edge.add(AlarmEvent(alarm=a.name, tag=a.tag, raised_ns=at, time_ns=at, received_ns=at, event="raise", state_from="NORM", state_to="UNACK",
                            priority=a.priority, value=46.0, limit=45.0, explanation="46 Cel above 45 Cel for 2 s"))  # fmt: skip
    values = np.random.default_rng(1).uniform(10, 40, TAGS)
    edge.add(Samples(np.full(TAGS, now, np.int64), np.arange(TAGS, dtype=np.int32), values, np.zeros(TAGS, np.uint32), now))
    feed(store, edge.deliver())
    return store


class Live(Plant):
    """The store behind the console, and a thread that gives every tag a new value each second."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.store = store
        self.keys = [row["key"] for row in store.ask.tags()]

    def start(self) -> None:
        def tell() -> None:
            while not self._stop.wait(1.0):
                now = time.time_ns()
                change: Change = {"values": dict.fromkeys(self.keys, (now, now % 40000 / 1000, 0)), "alarms": {}, "edges": {}, "tags": False}
                for subscription in list(self.subscriptions):
                    subscription.offer_from_thread(change)

        self._thread = threading.Thread(target=tell, daemon=True)
        self._thread.start()

    def tags(self) -> list[TagRow]:
        return self.store.ask.tags()

    def alarms(self, state: Literal["standing", "history"] = "standing", limit: int = 1000, wanted: AlarmFilter = ALL) -> list[AlarmRow]:
        return self.store.ask.alarms(state, limit, wanted)

    def edges(self) -> list[EdgeRow]:
        return self.store.ask.edges()


def main() -> None:
    """Load the overview cold, several times."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        store = hall(Path(folder))
        plant = Live(store)
        plant.start()
        served = Served(plant).start()
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        taken, page_ms, server_ms = [], [], []
        for turn in range(int(os.environ.get("COLD") or 7)):
            context = browser.new_context(viewport={"width": 1280, "height": 720})
            page = context.new_page()
            inside = context.new_cdp_session(page)
            inside.send("Performance.enable", {"timeDomain": "threadTicks"})
            server = time.process_time()
            page.goto(served.url)
            while (usable := page.evaluate("performance.getEntriesByName('usable')[0]?.startTime ?? null")) is None:
                time.sleep(0.02)
            taken.append(usable)
            server_ms.append(1000 * (time.process_time() - server))
            page_ms.append(1000 * next(m["value"] for m in inside.send("Performance.getMetrics")["metrics"] if m["name"] == "TaskDuration"))
            if turn == 0:
                steps: list[list[Any]] = page.evaluate(STEPS)
                for name, start, end, size in sorted(steps, key=lambda s: s[1] - s[2])[:6]:
                    print(f"{end - start:7.0f} ms  from {start:6.0f}  {size / 1000:6.0f} kB  {name}")
            context.close()
        browser.close()
        served.stop()
        plant.stop()
        store.close()
    load = os.getloadavg()[0]
    median = statistics.median
    print(f"processor time of a load: page {median(page_ms):.0f} ms, server and this program {median(server_ms):.0f} ms")
    spread = f"median of {len(taken)}, {min(taken):.0f} to {max(taken):.0f}"
    print(f"{TAGS} live tags, {ALARMS} standing alarms: usable after {median(taken):.0f} ms ({spread}), load average {load:.1f}")


if __name__ == "__main__":
    main()
