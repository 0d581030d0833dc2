"""Networks: connections that are open at one end only, and messages that come often and in any order."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import paho.mqtt.client as mqtt

from simulators.accounting import Sent, balance
from simulators.children import free_port
from simulators.demo import waiting
from tests.faults.outcome import Happened, fault
from tests.faults.proxy import Proxy
from tests.faults.road import Books, Recording, Road


@fault("half-open TCP between edge and broker", "noticed, connected anew, every value stored once", quick=False)
def half_open(seed: int, folder: Path, long: bool) -> Happened:
    """Nothing is closed and nothing is carried any more, as behind a firewall that forgot the connection."""
    proxies: list[Proxy] = []

    def through(port: int) -> int:
        proxies.append(Proxy(port))
        return proxies[0].port

    times = 3 if long else 1
    slowest = 0.0
    with Road(folder, Recording(rows=2000, speed=100.0), seed, through=through).start() as road:
        for _ in range(times):
            road.until("values at the gateway", lambda: road.stored() > 0)
            before = proxies[0].connections
            proxies[0].freeze()
            began = time.monotonic()
            road.until("a new connection", lambda n=before: proxies[0].connections > n, 120.0)  # type: ignore[misc]
            slowest = max(slowest, time.monotonic() - began)
        books = road.settle(180.0)
        books.closed()
    proxies[0].close()
    return Happened(f"{times} times; connected anew after at most {slowest:.0f} s", books.lost, books.duplicated)


@fault("flood of repeated and disordered messages", "repetitions are removed and counted, late values counted, every value stored once")
def flood(seed: int, folder: Path, long: bool) -> Happened:
    """Each value is sent one to four times, shuffled among its neighbours, as fast as the broker takes them."""
    rng = random.Random(seed)
    n, tags = (40_000 if long else 2_000), 4
    names = [f"m/t{i}" for i in range(tags)]
    with Road(folder, Recording(rows=20, speed=0.0), seed) as road:
        config = (folder / "agent.yaml").read_text()
        source = f"  - {{name: wire, kind: mqtt, host: 127.0.0.1, port: {road.ports.mqtt}, client_id: c{free_port()}, topics: ['plant/#']}}"
        config = config.replace("sources: [", "sources:\n  - ").replace("speed: 0.0}]", "speed: 0.0}\n" + source)
        extra = "".join(f"\n  - {{name: {name}, source: wire, address: plant/{name}, class: gmp}}" for name in names)
        config = config.replace("\nmodels:", extra + "\nmodels:")
        (folder / "agent.yaml").write_text(config)
        road.start()
        road.until("the wire", lambda: [s["state"] for s in road.status.get("sources", [])].count("connected") + _ended(road) == 2)
        start_ns = time.time_ns() - 2_000_000_000
        values = [(names[i % tags], start_ns + i // tags * 1_000_000, round(rng.gauss(10, 1), 3)) for i in range(n)]
        sends = [(i + rng.uniform(0, 40), value) for i, value in enumerate(values) for _ in range(rng.choice((1, 1, 2, 4)))]
        sends.sort()
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        client.max_queued_messages_set(0)
        client.connect("127.0.0.1", road.ports.mqtt)
        client.loop_start()
        for _, (name, t, v) in sends:
            client.publish(f"plant/{name}", json.dumps({"t": t, "v": v}), qos=1)
            while len(client._out_messages) > 10_000:  # numbers of messages begin anew at 65,536: fewer must wait, or one takes another's place
                time.sleep(0.005)
        deadline = time.monotonic() + (900 if long else 120)
        while (client._out_messages or client._out_packet) and time.monotonic() < deadline:
            time.sleep(0.05)
        client.loop_stop()
        client.disconnect()
        road.until("all of it", lambda: road.taken() >= len(sends) + 20 * 5, 60.0)
        road.until("all of it at the gateway", lambda: waiting(road.status) == 0 and road.stored() >= 20 * 5)
        sent = [Sent(name, n // tags, sum(v for m, _, v in values if m == name)) for name in names]
        books = Books(balance(sent, road.export("summary"), road.export("gap")), 0, settled=True)
        removed = sum(t.duplicates for t in books.tags)
        assert removed >= len(sends) - n, (removed, len(sends) - n)  # a broker, too, may send what was not confirmed in time once more
        books.closed()
    late = sum(t.late for t in books.tags)
    return Happened(f"{len(sends)} messages of {n} values; {removed} repetitions removed, {late} late", books.lost, books.duplicated)


def _ended(road: Road) -> int:
    return [s["state"] for s in road.status.get("sources", [])].count("ended")
