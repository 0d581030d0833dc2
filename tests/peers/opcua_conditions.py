"""The edge's OPC UA conditions against node-opcua, an independent client: `python -m tests.peers.opcua_conditions`.

Needs node and npm; node-opcua-client is installed into a folder of its own for the run. Prints what the client saw; exit code 1 when that is
not as it should be.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from edge_agent.local.opcua import OpcUaServer, OpcUaServing
from tests.local.line import PASSWORD, PEOPLE, Line, listed

NODE_OPCUA: Final = "2.186.4"
LEVEL: Final = "press1/hopper_level.low"
EXPECTED: Final[dict[str, Any]] = {
    "acknowledge": "Good",
    "again": "BadConditionBranchAlreadyAcked",
    "acked": {"user": "wang"},
    "comment": "Good",
    "shelve": "Good",
    "shelved": "TimedShelved",
    "unshelve": "Good",
    "refresh": "Good",
    "refreshed": ["ns=0;i=2787", LEVEL, "ns=0;i=2788"],
}


def installed(folder: Path) -> None:
    """Put the client into a folder."""
    (folder / "package.json").write_text("{}")
    shutil.copy(Path(__file__).with_name("conditions.js"), folder)
    npm = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--silent", f"node-opcua-client@{NODE_OPCUA}"]
    subprocess.run(npm, cwd=folder, check=True, timeout=300)


async def seen(folder: Path) -> dict[str, Any]:
    """What the client saw of a line with one alarm."""
    line = Line()
    line.people.take("gw1", listed(*PEOPLE))
    line.committed([])
    server = OpcUaServer(OpcUaServing(port=0, policy="basic256sha256"), folder / "pki", line.desk, line.sessions)
    port = await server.start()
    line.heard.append(server.committed)
    client = await asyncio.create_subprocess_exec(
        "node", "conditions.js", f"opc.tcp://127.0.0.1:{port}/", "wang", PASSWORD, cwd=folder, stdout=asyncio.subprocess.PIPE
    )
    assert client.stdout is not None
    try:
        async with asyncio.timeout(90):
            while (said := (await client.stdout.readline()).decode()) and said != "ready\n":
                pass
            line.turn(LEVEL, True, 8.0)
            while (said := (await client.stdout.readline()).decode()) and not said.startswith("{"):
                pass
            await client.wait()
    finally:
        if client.returncode is None:
            client.kill()
            await client.wait()
        await server.stop()
    found: dict[str, Any] = json.loads(said or "{}")
    return found


def main() -> int:
    """Run it."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        print("needs node and npm (Debian: apt install nodejs npm)", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as name:
        installed(Path(name))
        found = asyncio.run(seen(Path(name)))
    print(json.dumps(found, indent=2))
    wrong = {key: (value, found.get(key)) for key, value in EXPECTED.items() if found.get(key) != value}
    for key, (value, got) in wrong.items():
        print(f"{key}: expected {value}, found {got}", file=sys.stderr)
    return 1 if wrong or found.get("write") == "Good" else 0


if __name__ == "__main__":
    sys.exit(main())
