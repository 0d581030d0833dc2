"""Our Sparkplug B payloads against the npm package sparkplug-payload, both directions: `python -m tests.peers.sparkplug`.

Needs node and npm; the package is installed into a folder of its own for the run. Prints what it read; exit code 1 when that is not what was said.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from edge_agent.core import Samples, Tag, Texts
from edge_agent.sparkplug.payload import decode, qualities_of, value_of
from edge_agent.sparkplug.values import DataType
from edge_agent.uplinks.sparkplug_node import EdgeNode
from edge_agent.uplinks.telling import Newest

SPARKPLUG_PAYLOAD: Final = "1.0.3"
T0: Final = 1_767_225_600_000_000_000
TAGS: Final = (Tag(id=0, name="press1/force", unit="kN", range=(0, 40)), Tag(id=1, name="press1/batch", kind="text"))


def installed(folder: Path) -> None:
    """Put the package into a folder."""
    (folder / "package.json").write_text("{}")
    shutil.copy(Path(__file__).with_name("sparkplug.js"), folder)
    npm = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--silent", f"sparkplug-payload@{SPARKPLUG_PAYLOAD}"]
    subprocess.run(npm, cwd=folder, check=True, timeout=300)


def asked(folder: Path, lines: Iterable[str]) -> list[str]:
    """What the package answers to lines."""
    done = subprocess.run(["node", "sparkplug.js"], cwd=folder, input="\n".join(lines), capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.splitlines()


def ours() -> list[bytes]:
    """Births, data of every quality, the death of a device and its next birth, the death of the node."""
    node = EdgeNode("g", "n", TAGS, 3, Newest(len(TAGS)), simulated=False)
    times = T0 + 1_000_000 * 1
    samples = Samples.of([times, times + 10**6], [0, 0], [21.5, float("nan")], [0x408F0000, 0x808C0000])
    data = node.data([samples, Texts((T0,), (1,), ("片-7",), (0,))], 9, historical=True)
    told = [*node.births(8), *data]
    told += [*node.heard(frozenset({0, 1}), 9), *node.deaths(9), *node.heard(frozenset({1}), 9)]
    return [payload for _, payload in [*told, node.death(10)]]


def _long(found: dict[str, Any]) -> Any:
    """An integer of 64 bits as it prints them."""
    return (found["high"] << 32) + (found["low"] & 0xFFFFFFFF) if found.keys() == {"low", "high", "unsigned"} else found


def said(payload: dict[str, Any], metric: int) -> tuple[Any, ...]:
    """Name, type and value of a metric."""
    found = payload["metrics"][metric]
    return found["name"], found["type"], found.get("value")


def read_by_it(folder: Path) -> list[str]:
    """What it read otherwise than it was said."""
    answers = asked(folder, [f"decode {payload.hex()}" for payload in ours()])
    nbirth, dbirth, data, texts, ddeath, again, death = (json.loads(line, object_hook=_long) for line in answers)
    ms = T0 // 10**6
    expected: list[tuple[str, Any, Any]] = [
        ("seq of NBIRTH", nbirth["seq"], 0),
        ("bdSeq", said(nbirth, 0), ("bdSeq", "Int64", 3)),
        ("rebirth", said(nbirth, 1), ("Node Control/Rebirth", "Boolean", False)),
        ("seq of DBIRTH", dbirth["seq"], 1),
        ("force in DBIRTH", said(dbirth, 0), ("press1/force", "Double", None)),
        ("batch in DBIRTH", said(dbirth, 1), ("press1/batch", "String", None)),
        ("aliases", [m["alias"] for m in dbirth["metrics"]], [1, 2]),
        ("unit", dbirth["metrics"][0]["properties"]["engUnit"]["value"], "kN"),
        ("stale", dbirth["metrics"][0]["properties"]["Quality"]["value"], 500),
        ("values", [(m["alias"], m.get("value"), m["isHistorical"]) for m in data["metrics"]], [(1, 21.5, True), (1, None, True)]),
        ("times", [m["timestamp"] for m in data["metrics"]], [ms + 1, ms + 2]),
        ("qualities", [m["properties"]["Quality"]["value"] for m in data["metrics"]], [500, 0]),
        ("text", texts["metrics"][0]["value"], "片-7"),
        ("death of a device", (ddeath["seq"], ddeath["timestamp"], ddeath.get("metrics", [])), (4, 9, [])),
        ("born again", (again["seq"], [m["properties"]["Quality"]["value"] for m in again["metrics"]]), (5, [0, 500])),
        ("death", [(m["name"], m["value"]) for m in death["metrics"]], [("bdSeq", 3)]),
    ]  # fmt: skip
    return [f"{what}: expected {wanted}, found {found}" for what, found, wanted in expected if found != wanted]


def made_by_it(folder: Path) -> list[str]:
    """What we read otherwise than it said."""
    metrics = [
        {"name": "a", "type": "Int32", "value": -1, "timestamp": 5}, {"name": "b", "type": "Float", "value": 21.5, "timestamp": 5},
        {"name": "c", "type": "Boolean", "value": True, "timestamp": 5}, {"name": "d", "type": "String", "value": "片", "timestamp": 5},
        {"name": "e", "type": "Double", "value": 0.1, "timestamp": 5, "properties": {"Quality": {"type": "Int32", "value": 500}}},
        {"name": "f", "type": "Int64", "value": 12, "timestamp": 5},
    ]  # fmt: skip
    message = json.dumps({"timestamp": 5, "seq": 255, "metrics": metrics}).encode()
    (answer,) = asked(folder, [f"encode {message.hex()}"])
    payload = decode(bytes.fromhex(answer))
    found = [(m.name, DataType(m.datatype), value_of(m, m.datatype), m.timestamp) for m in payload.metrics]
    wanted = [("a", 3, -1, 5), ("b", 9, 21.5, 5), ("c", 11, True, 5), ("d", 12, "片", 5), ("e", 10, 0.1, 5), ("f", 4, 12, 5)]
    wrong = [] if found == wanted and payload.seq == 255 else [f"metrics: expected {wanted}, found {found}"]
    quality = qualities_of(payload.metrics[4])
    return wrong + ([] if quality == (500, None) else [f"quality: expected 500, found {quality}"])


def main() -> int:
    """Run it."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        print("needs node and npm (Debian: apt install nodejs npm)", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as name:
        installed(Path(name))
        wrong = read_by_it(Path(name)) + made_by_it(Path(name))
    print("\n".join(wrong) or "sparkplug-payload reads what we say, and we read what it says")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
