"""What one gateway box carries: `edge-sim fleet` toward a real broker and a real gateway, with more and more edges and tags.

`python -m tests.benchmarks.capacity [--seconds 30] [--nodes 1] [--broker nats|mosquitto] [--sync] [--sizes 100x200,...]`. Prints a row for each
size: what was sent and not committed, seconds from publishing to the answer, CPU of gateway and broker for each message, memory. Where the broker
gives up, the row says so. Never fails on time.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from simulators.children import answers, nats_server, wait_for
from tests.benchmarks import _plant
from tests.brokers import Broker, free_port
from tests.system.processes import Child, script

SIZES = "100x200,300x200,600x200,1000x200,100x20,100x2000"
HEAD = ("edges x tags", "messages/s", "values/s", "committed/s", "p50 s", "p99 s", "generator late s", "missing", "gateway ms/message", "us/value",
        "MB", "broker ms/message", "MB")  # fmt: skip


def nodes(folder: Path, many: int, sync: bool) -> tuple[list[Child], list[int]]:
    """Started nodes of nats-server, and the ports of their MQTT."""
    routes, ports = [free_port() for _ in range(many)], [free_port() for _ in range(many)]
    started = []
    for i in range(many):
        others = ", ".join(f'"nats://127.0.0.1:{r}"' for r in routes)
        cluster = f'cluster {{ name: plant, listen: "127.0.0.1:{routes[i]}", routes: [{others}] }}' if many > 1 else ""
        (folder / f"mq{i}.conf").write_text(f"""
server_name: mq{i}
listen: "127.0.0.1:{free_port()}"
jetstream {{ store_dir: "{folder / f"mq{i}"}", max_memory_store: 67108864, max_file_store: 4294967296{", sync_interval: always" if sync else ""} }}
{cluster}
mqtt {{ listen: "127.0.0.1:{ports[i]}", ack_wait: "60s", max_ack_pending: 1000, stream_replicas: {many} }}
""")
        started.append(Child([str(nats_server()), "-c", str(folder / f"mq{i}.conf")], log=folder / f"mq{i}.log"))
    for child, port in zip(started, ports, strict=True):
        child.__enter__()
        assert wait_for(lambda port=port: answers(port), 30.0)  # type: ignore[misc]
    return started, ports


def carried(folder: Path, edges: int, tags: int, args: argparse.Namespace) -> dict[str, Any]:
    """One size, in an empty folder."""
    folder.mkdir()
    brokers: list[Any]
    if args.broker == "nats":
        brokers, ports = nodes(folder, args.nodes, args.sync)
        pids = [child.process.pid for child in brokers]
    else:
        one = Broker("mosquitto", folder / "mq", durable=False).start()
        assert one._process is not None
        brokers, ports, pids = [one], [one.port], [one._process.pid]
    http = free_port()
    settings = {
        "gateway": {"id": "gw1", "site": "demo", "data_dir": "gateway", "mode": "simulation"},
        "broker": {"host": "127.0.0.1", "port": ports[-1]},
        "http": {"host": "127.0.0.1", "port": http},
    }
    config = _plant.written(settings, folder / "gateway.yaml")
    try:
        with Child([script("edge-gateway"), "run", "-c", str(config)], log=folder / "gateway.log") as gateway:
            _plant.until(lambda: _plant.asked(f"http://127.0.0.1:{http}/readyz"), 90)
            everyone = [gateway.process.pid, *pids]
            before = [_plant.cpu_s(pid) for pid in everyone]
            command = [script("edge-sim"), "fleet", "--mqtt", f"127.0.0.1:{ports[0]}", "--edges", str(edges), "--tags", str(tags),
                       "--every", str(args.every), "--duration", str(args.seconds)]  # fmt: skip
            ran = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
            used = [_plant.cpu_s(pid) - b for pid, b in zip(everyone, before, strict=True)]
            rss = [_plant.rss_mb(pid) for pid in everyone]
    finally:
        for broker in brokers:
            if isinstance(broker, Broker):
                broker.kill()
            else:
                broker.__exit__(None, None, None)
    if not ran.stdout:
        return {"gave_up": ran.stderr.strip()}
    told: dict[str, Any] = json.loads(ran.stdout)
    done = told["messages"] - told["uncommitted"]
    return told | {"committed_s": done / (told["seconds"] + told["drained_s"]), "gateway_ms": 1000 * used[0] / told["messages"],
                   "gateway_us_value": 1e6 * used[0] / told["values"], "gateway_rss_mb": rss[0],
                   "broker_ms": 1000 * sum(used[1:]) / told["messages"], "broker_rss_mb": sum(rss[1:])}  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--every", type=float, default=1.0)
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--broker", choices=("nats", "mosquitto"), default="nats")
    parser.add_argument("--sync", action="store_true", help="nats-server writes every message through to the disk")
    parser.add_argument("--sizes", default=SIZES)
    args = parser.parse_args()
    print(f"{args.broker}, {args.nodes} nodes, a message of each edge every {args.every:g} s for {args.seconds:g} s")
    print("| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD), sep="\n")
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for size in args.sizes.split(","):
            edges, tags = (int(part) for part in size.split("x"))
            row = carried(Path(name) / size, edges, tags, args)
            rows.append(row)
            if "gave_up" in row:
                print(f"| {size} | {row['gave_up']} |", flush=True)
                continue
            cells = (size, f"{row['messages_s']:.0f}", f"{row['values_s']:.0f}", f"{row['committed_s']:.0f}", row["commit_p50_s"],
                     row["commit_p99_s"], row["behind_s"], row["uncommitted"], f"{row['gateway_ms']:.2f}", f"{row['gateway_us_value']:.2f}",
                     f"{row['gateway_rss_mb']:.0f}", f"{row['broker_ms']:.2f}", f"{row['broker_rss_mb']:.0f}")  # fmt: skip
            print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)
    _plant.told("capacity", {"broker": args.broker, "nodes": args.nodes, "sizes": rows})


if __name__ == "__main__":
    main()
