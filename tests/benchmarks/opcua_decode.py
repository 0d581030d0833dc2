"""CPU per value from the socket to columns: our OPC UA source against asyncua's own subscription handler, same server, same run.

`python -m tests.benchmarks.opcua_decode [--values 1250] [--seconds 4]`: a server in a process of its own publishes `values` Doubles with status
and both times every 50 ms, encoded beforehand so that it does not hold the clients back. Each client subscribes to all of them in turn; what is
counted is this process's CPU time. Prints a table and one JSON line; never fails on time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from asyncua import Client, Server, ua
from asyncua.common.utils import Buffer
from asyncua.server.internal_subscription import InternalSubscription
from asyncua.ua.ua_binary import struct_from_binary

from edge_agent.core import Samples
from edge_agent.sources.opcua_decode import Decoder
from tests.sources.opcua_plant import Plant, free_port, source, tags

PUBLISH_MS = 50
AIM_US, AIM_RATIO = 1.0, 20.0
ITEM = np.dtype([("handle", "<u4"), ("mask", "u1"), ("kind", "u1"), ("value", "<f8"), ("status", "<u4"), ("source", "<i8"), ("server", "<i8")])


def body(handles: list[int], step: int) -> bytes:
    """A DataChangeNotification of one Double per handle."""
    items = np.zeros(len(handles), ITEM)
    items["handle"], items["mask"], items["kind"] = handles, 0x0F, 11
    items["value"] = np.arange(len(handles)) + step / 8
    items["source"] = items["server"] = 134_116_992_000_000_000 + step * 500_000 + np.arange(len(handles))
    return len(handles).to_bytes(4, "little") + items.tobytes() + b"\xff\xff\xff\xff"


async def serve(port: int, values: int) -> None:
    """Publish to every client, whatever it subscribed to, until killed."""
    step = 0

    def pop(self: Any, result: Any) -> None:
        nonlocal step
        handles = [item.client_handle for item in self.monitored_item_srv._monitored_items.values()]
        self._triggered_datachanges = {}
        if len(handles) == values:
            step += 1
            result.NotificationMessage.NotificationData.append(ua.ExtensionObject(ua.FourByteNodeId(811), body(handles, step)))

    InternalSubscription._pop_triggered_datachanges = pop
    InternalSubscription.has_published_results = lambda _: True
    server = Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}/")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    index = await server.register_namespace("urn:pharmedge:test")
    for i in range(values):
        await server.nodes.objects.add_variable(ua.NodeId(f"v{i}", index), ua.QualifiedName(f"v{i}", index), 0.0)
    await server.start()
    print("ready", flush=True)
    await asyncio.sleep(600)


async def ours(port: int, values: int, seconds: float) -> float:
    """CPU microseconds per value of the source, decoding, copying into columns and acknowledging."""
    with tempfile.TemporaryDirectory() as folder:
        plc = source(Plant(port), Path(folder), tuple(f"v{i}" for i in range(values)), publishing_ms=PUBLISH_MS)
        await plc.open(None)
        n, cpu, until = -1, 0.0, 0.0
        while n < 0 or time.monotonic() < until:
            received = await plc.read()
            received.ack()
            rows = sum(len(item) for item in received.items if isinstance(item, Samples))
            if n < 0 and rows:
                n, cpu, until = 0, time.process_time(), time.monotonic() + seconds
            elif n >= 0:
                n += rows
        cpu = time.process_time() - cpu
        await plc.close()
    return cpu / n * 1e6


class Handler:
    """The least a handler can do: keep the value."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def datachange_notification(self, _node: Any, val: float, _data: Any) -> None:
        """One value."""
        self.seen.append(val)


async def theirs(port: int, values: int, seconds: float) -> float:
    """CPU microseconds per value of asyncua's subscription with a handler."""
    async with Client(f"opc.tcp://127.0.0.1:{port}/") as client:
        index = await client.get_namespace_index("urn:pharmedge:test")
        handler = Handler()
        subscription = await client.create_subscription(PUBLISH_MS, handler, queue_maxsize=10 * values)
        await subscription.subscribe_data_change([client.get_node(ua.NodeId(f"v{i}", index)) for i in range(values)])
        while not handler.seen:
            await asyncio.sleep(0.05)
        handler.seen.clear()
        cpu = time.process_time()
        await asyncio.sleep(seconds)
        cpu, n = time.process_time() - cpu, len(handler.seen)
        await subscription.delete()
    return cpu / n * 1e6


def offline(values: int) -> tuple[float, float]:
    """Values per second of decoding one body again and again: ours to columns, asyncua's to objects."""
    data = body(list(range(values)), 1)
    decoder = Decoder("plc", tags(*(f"v{i}" for i in range(values))))
    decoder.data_change(data, 0, len(data), 0)
    rates = []
    for decode, seconds in ((lambda: decoder.data_change(data, 0, len(data), 0), 0.5), (lambda: _objects(data), 1.0)):
        n, start = 0, time.process_time()
        while time.process_time() - start < seconds:
            decode()
            n += values
        rates.append(n / (time.process_time() - start))
    return rates[0], rates[1]


def _objects(data: bytes) -> Any:
    return struct_from_binary(ua.DataChangeNotification, Buffer(data))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--values", type=int, default=1250)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--serve", type=int, default=0)
    args = parser.parse_args()
    logging.disable(logging.CRITICAL)
    if args.serve:
        asyncio.run(serve(args.serve, args.values))
        return
    port = free_port()
    command = [sys.executable, "-m", "tests.benchmarks.opcua_decode", "--serve", str(port), "--values", str(args.values)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stdout is not None
            server.stdout.readline()
            mine = asyncio.run(ours(port, args.values, args.seconds))
            peer = asyncio.run(theirs(port, args.values, args.seconds))
        finally:
            server.kill()
    fast, slow = offline(args.values)
    print(f"{args.values} values every {PUBLISH_MS} ms; CPU of the whole client path")
    print(f"  asyncua subscription handler  {peer:8.2f} us per value")
    print(f"  this source                   {mine:8.2f} us per value   {peer / mine:.0f} times cheaper (aims: {AIM_US} us, {AIM_RATIO:.0f} times)")
    print(f"  decoding alone                {fast / 1e6:8.1f} M values/s against {slow / 1e3:.0f} k values/s")
    found = {"us_per_value": mine, "asyncua_us_per_value": peer, "ratio": peer / mine, "decode_per_s": fast, "asyncua_decode_per_s": slow}
    print(json.dumps({"benchmark": "opcua_decode"} | {k: float(f"{v:.4g}") for k, v in found.items()} | {"aim_us": AIM_US, "aim_ratio": AIM_RATIO}))


if __name__ == "__main__":
    main()
