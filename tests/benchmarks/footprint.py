"""Memory and start of the agent with 5,000 tags, three models each and 500 alarms, fed at 5,000 values/s from a CSV file; and of the gateway.

`python -m tests.benchmarks.footprint [--tags 5000] [--repeats 3]`. Start is from the process being made to its first answer on /healthz, and to the
first value judged, with the seconds of CPU it took, which a machine that others use lengthens less; byte code stands beside the source, as pip
leaves it. Memory is resident, right then and after ten seconds of values. Once more in a copy without compiled kernels, as after an installation
from files. Beside it in the same run: Python that only imports numpy and numba, or asyncua. Prints a table and one JSON
line; never fails on time.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks import _plant
from tests.brokers import Broker, executable
from tests.system.processes import ROOT, Child, free_port

ALARMS, STEADY_S, ROUNDS = 500, 10, 60
FEW = 25
"""Tags of a single press."""
AGENT = "import sys; from edge_agent.__main__ import main; sys.argv = ['edge-agent', *sys.argv[1:]]; main()"
GATEWAY = "import sys; from gateway.__main__ import main; sys.argv = ['edge-gateway', *sys.argv[1:]]; main()"
COMPILED = {"PYTHONDONTWRITEBYTECODE": ""}
"""Environment of a process that keeps byte code, whatever that of this one says."""
PEERS = {"python": "pass", "numpy_numba": "import numpy, numba", "asyncua": "import asyncua"}
TOLD = "\nprint(int(open('/proc/self/statm').read().split()[1]) * 4096 / 1e6)"


def prepared(folder: Path, tags: int) -> None:
    """Values of a minute at one per second and tag, a tag list, a configuration without ports."""
    names, levels = _plant.names(tags), _plant.level(tags)
    random = np.random.default_rng(4)
    with (folder / "values.csv").open("w") as file:
        file.write("time,tag,value\n")
        for second in range(ROUNDS):
            stamp = np.datetime_as_string(np.datetime64(_plant.START_NS + second * _plant.SECOND, "ns"), unit="ms")
            values = np.round(levels * (1 + 0.01 * random.standard_normal(tags)), 3)
            file.writelines(f"{stamp}Z,{name},{value}\n" for name, value in zip(names, values.tolist(), strict=True))
    with (folder / "tags.csv").open("w") as file:
        file.write("name,source,class,decimals,expected_s\n")
        file.writelines(f"{name},history,gmp,3,1\n" for name in names)


def config(folder: Path, tags: int, http: int) -> Path:
    """The agent's file."""
    found = _plant.agent_config(tags, period_s=1.0, sources=[{"name": "history", "kind": "csv", "files": ["values.csv"], "speed": 1}])
    found |= {"tags": [{"csv": "tags.csv"}], "alarms": found["alarms"][:: max(1, tags // ALARMS)], "http": {"port": http}}
    return _plant.written(found, folder / "agent.yaml")


def _alive(child: Child) -> bool:
    if child.process.poll() is not None:
        raise RuntimeError(f"the program ended: {child.rest()}")
    return True


def agent(folder: Path, tags: int, source: Path, *, steady: bool) -> dict[str, float]:
    """One start on an empty data folder."""
    shutil.rmtree(folder / "data", ignore_errors=True)
    http = free_port()
    path = config(folder, tags, http)
    begin = time.monotonic()
    with Child.python(AGENT, "run", "-c", str(path), cwd=source, env={"PYTHONPATH": str(source), **COMPILED}) as child:
        _plant.until(lambda: _alive(child) and _plant.asked(f"http://127.0.0.1:{http}/healthz"))
        found = {"healthz_s": time.monotonic() - begin, "healthz_cpu_s": _plant.cpu_s(child.process.pid)}
        _plant.until(lambda: (_plant.asked(f"http://127.0.0.1:{http}/status") or {}).get("samples", {}).get("good"))
        found |= {"first_value_s": time.monotonic() - begin, "first_value_cpu_s": _plant.cpu_s(child.process.pid)}
        found |= {"rss_start_mb": _plant.rss_mb(child.process.pid)}
        if steady:
            cpu, t0 = _plant.cpu_s(child.process.pid), time.monotonic()
            time.sleep(STEADY_S)
            found |= {"rss_mb": _plant.rss_mb(child.process.pid), "cpu": (_plant.cpu_s(child.process.pid) - cpu) / (time.monotonic() - t0)}
        child.stop()
    return found


def gateway(folder: Path, broker_port: int) -> dict[str, float]:
    """One start on an empty data folder."""
    http = free_port()
    shutil.rmtree(folder / "gateway", ignore_errors=True)
    settings: dict[str, Any] = {
        "gateway": {"id": "gw1", "site": "bench", "data_dir": "gateway", "mode": "production"},
        "broker": {"host": "127.0.0.1", "port": broker_port},
        "http": {"host": "127.0.0.1", "port": http},
    }
    path = _plant.written(settings, folder / "gateway.yaml")
    begin = time.monotonic()
    with Child.python(GATEWAY, "run", "-c", str(path), env=COMPILED) as child:
        _plant.until(lambda: _alive(child) and _plant.asked(f"http://127.0.0.1:{http}/healthz"))
        found = {"healthz_s": time.monotonic() - begin}
        time.sleep(2)
        found["rss_mb"] = _plant.rss_mb(child.process.pid)
        child.stop()
    return found


def peer(code: str) -> dict[str, float]:
    """Seconds and memory of a Python that only imports."""
    begin = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code + TOLD], capture_output=True, text=True, check=True)
    return {"start_s": time.monotonic() - begin, "rss_mb": float(done.stdout)}


def medians(rows: list[dict[str, float]]) -> dict[str, float]:
    """Key by key."""
    return {key: statistics.median(row[key] for row in rows) for key in rows[0]}


def uncompiled(folder: Path) -> Path:
    """The program without anything that was compiled before."""
    for package in ("edge_agent", "models"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__", "_kernels*"))
    return folder


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tags", type=int, default=5000)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepared(folder, args.tags)
        agent(folder, args.tags, ROOT, steady=False)  # whatever is not compiled yet is compiled now
        warm = medians([agent(folder, args.tags, ROOT, steady=True) for _ in range(args.repeats)])
        (folder / "small").mkdir()
        prepared(folder / "small", FEW)
        small = medians([agent(folder / "small", FEW, ROOT, steady=False) for _ in range(args.repeats)])
        copy = uncompiled(folder / "copy")
        cold = agent(folder, args.tags, copy, steady=False)
        broker = Broker("nats", folder / "broker").start() if executable("nats") else None
        try:
            other = medians([gateway(folder, broker.port if broker else free_port()) for _ in range(args.repeats)])
        finally:
            if broker:
                broker.kill()
    peers = {what: medians([peer(code) for _ in range(args.repeats)]) for what, code in PEERS.items()}
    print(f"agent, {args.tags} tags x 3 models, {ALARMS} alarms, {args.tags} values/s from CSV ({args.repeats} starts, medians)")
    print(f"  answers on /healthz after {warm['healthz_s']:.2f} s, first value judged after {warm['first_value_s']:.2f} s")
    print(f"  CPU until then {warm['healthz_cpu_s']:.2f} s and {warm['first_value_cpu_s']:.2f} s")
    print(f"  resident {warm['rss_start_mb']:.0f} MB at the first value, {warm['rss_mb']:.0f} MB after {STEADY_S} s, {warm['cpu']:.0%} of one core")
    print(f"  in a copy without compiled kernels: /healthz after {cold['healthz_s']:.1f} s, first value after {cold['first_value_s']:.1f} s")
    print(f"agent, {FEW} tags: first value after {small['first_value_s']:.2f} s, resident {small['rss_start_mb']:.0f} MB")
    print(f"gateway, no data: /healthz after {other['healthz_s']:.2f} s, resident {other['rss_mb']:.0f} MB")
    print("Python that only imports")
    for what, row in peers.items():
        print(f"  {what:14}{row['start_s']:8.2f} s{row['rss_mb']:8.0f} MB")
    parts = {"agent": warm, "small": small, "cold": cold, "gateway": other} | {f"peer_{what}": row for what, row in peers.items()}
    _plant.told("footprint", {f"{part}_{k}": v for part, row in parts.items() for k, v in row.items()})


if __name__ == "__main__":
    main()
