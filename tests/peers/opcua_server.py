"""The OPC UA source against node-opcua, an independent server: `python -m tests.peers.opcua_server`.

Limits of operations, a node that is not there, a restart with another order of namespaces, the history behind it, a certificate that the server does
not trust. Needs node and npm; node-opcua-server is installed into a folder of its own for the run. Exit code 1 when anything is not as it should be.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from edge_agent.core import Connection, Filled, NotConnected, Samples, Tag
from edge_agent.sources.opcua import OpcUaConfig, OpcUaSource
from edge_agent.sources.source import Plug
from tests.peers.opcua_conditions import NODE_OPCUA
from tests.sources.opcua_plant import START_NS, STEP_NS, Reader, free_port

URI: Final = "urn:peer:plant"
OTHER: Final = "urn:peer:other"
NAMES: Final = ("a", "b", "c", "d", "e", "gone")


def installed(folder: Path) -> None:
    """Put the server into a folder."""
    (folder / "package.json").write_text("{}")
    shutil.copy(Path(__file__).with_name("plant.js"), folder)
    npm = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--silent", f"node-opcua-server@{NODE_OPCUA}"]
    subprocess.run(npm, cwd=folder, check=True, timeout=300)


class Server:
    """The server as a process; `uris` in the order of their indexes."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder, self._port = folder, port
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, *uris: str) -> None:
        """Begin, and wait until it listens."""
        command = ["node", "plant.js", str(self._port), str(self._folder / "pki"), *uris]
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(*command, cwd=self._folder, stdin=pipe, stdout=pipe)
        await self._until("ready")

    async def _until(self, word: str) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async with asyncio.timeout(120):
            while (line := (await self._process.stdout.readline()).decode().strip()) != word:
                if not line and self._process.returncode is not None:
                    raise RuntimeError(f"plant.js ended with {self._process.returncode}")

    async def run(self, name: str, first: int, last: int) -> None:
        """Steps of one variable: value k at START_NS + k steps."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(f"run {name} {first} {last} {START_NS // 1_000_000}\n".encode())
        await self._process.stdin.drain()
        await self._until("done")

    async def kill(self) -> None:
        """Pull the plug."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


class Edge(Reader):
    """Reads the tags, knows what it has, and fills holes."""

    def __init__(self, url: str, folder: Path, **config: Any) -> None:
        self.newest: dict[int, int] = {}
        section = {"kind": "opcua", "name": "plc", "url": url, "publishing_ms": 50, "history": {"fill": True, "page": 7, "oldest_s": 1e9}} | config
        chosen = tuple(Tag(id=i, name=name, expected_s=0.1) for i, name in enumerate(NAMES))
        address = {tag.id: f"nsu={URI};s={tag.name}" for tag in chosen}
        found = OpcUaConfig.model_validate(section).source(Plug("plc", chosen, address, lambda: START_NS, folder, newest_ns=self.newest.get))
        assert isinstance(found, OpcUaSource)
        super().__init__(found)

    def commit(self) -> None:
        """With what a pipeline then knows."""
        for received in self.waiting:
            for samples in (item for item in received.items if isinstance(item, Samples)):
                for tag, time_ns in zip(samples.tag.tolist(), samples.time_ns.tolist(), strict=True):
                    self.newest[tag] = max(self.newest.get(tag, 0), time_ns)
        super().commit()

    async def back(self) -> None:
        """Open again and again until the server is there."""
        async with asyncio.timeout(120):
            while True:
                try:
                    await self.open()
                except NotConnected:
                    await self.plc.close()
                    await asyncio.sleep(0.2)
                else:
                    return


async def seen(folder: Path) -> list[str]:
    """What was found, a line each; AssertionError or TimeoutError where it is not as it should be."""
    port, told = free_port(), []
    url = f"opc.tcp://127.0.0.1:{port}/"
    server = Server(folder, port)
    try:
        await server.start(URI, OTHER)
        edge = Edge(url, folder / "edge")
        await edge.back()
        for name in NAMES[:5]:
            await server.run(name, 1, 3)
        async with asyncio.timeout(60):
            for tag in range(5):
                await edge.until(tag, 3.0)
        failed = [item for item in edge.of(Connection) if item.state == "tag_failed"]
        assert [(item.tags, item.status) for item in failed] == [((5,), 0x80340000)], failed
        told.append("6 items where the server takes 3 a call: 5 read, the node that is not there failed alone (BadNodeIdUnknown)")
        await server.kill()
        try:
            async with asyncio.timeout(60):
                await edge.lost()
        except NotConnected:
            await edge.plc.close()
        await server.start(OTHER, URI)
        await server.run("a", 4, 60)
        await edge.back()
        async with asyncio.timeout(60):
            await edge.until(0, 60.0)
            await server.run("b", 60, 60)
            await edge.until(1, 60.0)
        told.append("restarted with its namespaces in another order: the same tags, found by URI")
        async with asyncio.timeout(60):
            while not edge.of(Filled):
                await edge.read()
        (filled,) = edge.of(Filled)
        assert (filled.tag, filled.values) == (0, 56), filled
        rows = sorted((time, value) for time, value, _ in edge.rows(0) if value >= 3)
        assert rows == [(START_NS + k * STEP_NS, float(k)) for k in range(3, 61)], rows
        told.append("56 values of the absence came from its history in pages of 7, none twice")
        await edge.plc.close()
        secure = {"policy": "basic256sha256", "mode": "sign_and_encrypt", "trusted": [str(folder / "pki" / "own" / "certs" / "certificate.pem")]}
        refused = Edge(url, folder / "stranger", security=secure)
        try:
            await refused.open()
        except NotConnected as error:
            told.append(f"a certificate it does not trust: {error}")
        else:
            raise AssertionError("a server that trusts nobody let us in")
        finally:
            await refused.plc.close()
    finally:
        await server.kill()
    return told


def main() -> int:
    """Run it."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        print("needs node and npm (Debian: apt install nodejs npm)", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as name:
        installed(Path(name))
        for line in asyncio.run(seen(Path(name))):
            print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
