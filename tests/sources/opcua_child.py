"""A process that reads an OPC UA source into a file, one fsynced line per commit: what the kill test kills."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from edge_agent.core import Connection, NotConnected, Overflow, Samples
from tests.sources.opcua_plant import Plant, source


def journal(folder: Path) -> list[dict[str, Any]]:
    """Whole lines of the journal; a line cut short by the kill was never committed."""
    file = folder / "journal"
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


async def run(port: int, folder: Path, queue_size: int, names: tuple[str, ...]) -> None:
    """Read for ever, coming back after every lost connection."""
    known = journal(folder)
    resume = next((str(line["resume"][0]).encode() for line in reversed(known) if line["resume"]), None)
    file = (folder / "journal").open("a")
    if known and (folder / "journal").read_bytes()[-1:] != b"\n":
        file.write("\n")
    plc = source(Plant(port), folder / "data", names, queue_size=queue_size)
    while True:
        try:
            await plc.open(resume)
            while True:
                received = await plc.read()
                samples = [item for item in received.items if isinstance(item, Samples)]
                rows = [row for s in samples for row in zip(s.tag.tolist(), s.time_ns.tolist(), s.value.tolist(), strict=True)]
                holes = [(o.tag, o.after_ns, o.before_ns) for o in received.items if isinstance(o, Overflow)]
                states = [c.state for c in received.items if isinstance(c, Connection)]
                resume = received.resume or resume
                line = {"rows": rows, "holes": holes, "states": states, "resume": [received.resume.decode()] if received.resume else []}
                file.write(json.dumps(line) + "\n")
                file.flush()
                os.fsync(file.fileno())
                received.ack()
        except NotConnected:
            await plc.close()
            await asyncio.sleep(0.1)


if __name__ == "__main__":
    asyncio.run(run(int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), tuple(sys.argv[4:])))
