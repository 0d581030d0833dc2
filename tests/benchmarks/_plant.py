"""A plant of many tags for the benchmarks: its configuration, its values as journal entries, and what a process takes."""

from __future__ import annotations

import json
import os
import statistics
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from edge_agent.core import Samples

SECOND = 1_000_000_000
START_NS = 1_767_225_600 * SECOND
ENTRY_ROWS = 4096
"""As the intake cuts them."""
MODELS = ("ewma", "cusum", "robust_z")


def names(tags: int) -> list[str]:
    """Tag names, 100 to a unit.

    >>> names(3)
    ['u00/t0000', 'u00/t0001', 'u00/t0002']
    """
    return [f"u{i // 100:02}/t{i:04}" for i in range(tags)]


def level(tags: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """The value around which each tag moves; sigma is 1 % of it."""
    return np.round(np.linspace(20, 400, tags), 3)


def agent_config(tags: int, *, models: Sequence[str] = MODELS, period_s: float = 0.1, folder: str = "data", **more: Any) -> dict[str, Any]:
    """A configuration with one limit alarm 4.75 sigma up and the chosen models on every tag; `more` are further top-level keys."""
    levels = level(tags)
    return {
        "edge": {"site": "bench", "id": "e1", "data_dir": folder},
        "tags": [
            {"name": name, "class": "gmp", "range": [0, 500], "decimals": 3, "report": {"kind": "periodic", "expected_s": period_s}}
            for name in names(tags)
        ],
        "models": [{"kind": kind, "tags": ["u??/t????"]} for kind in models],
        "alarms": [
            {"name": f"{name}.high", "kind": "limit", "tag": name, "limit": round(float(x) * 1.0475, 3), "deadband": round(float(x) * 0.01, 3)}
            for name, x in zip(names(tags), levels, strict=True)
        ],
        **more,
    }


def written(config: dict[str, Any], path: Path) -> Path:
    """The configuration as a file."""
    path.write_text(yaml.dump(config, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), sort_keys=False), "utf-8")
    return path


def entries(tags: int, rows: int, *, period_s: float = 0.1, seed: int = 1, first_round: int = 0) -> Iterator[Samples]:
    """Journal entries of 4,096 rows: all tags once per period, in the order of a server, with jitter, noise and 3 decimals; 1 in 100,000 is bad."""
    random = np.random.default_rng(seed)
    levels, period_ns = level(tags), round(period_s * SECOND)
    for begin in range(0, rows, ENTRY_ROWS):
        row = first_round * tags + begin + np.arange(min(ENTRY_ROWS, rows - begin))
        tag = (row % tags).astype(np.int32)
        time_ns = START_NS + row // tags * period_ns + random.integers(0, period_ns // 50, len(row)) // 100 * 100
        value = np.round(levels[tag] * (1 + 0.01 * random.standard_normal(len(row))), 3)
        status = np.where(random.random(len(row)) < 1e-5, np.uint32(0x808C0000), np.uint32(0)).astype(np.uint32)
        received_ns = START_NS + int(row[-1] // tags * period_ns + row[-1] % tags * period_ns // tags) + period_ns // 20
        yield Samples(time_ns, tag, value, status, received_ns)


def rss_mb(pid: int) -> float:
    """Resident memory of a process in MB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def cpu_s(pid: int) -> float:
    """CPU seconds a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def asked(url: str) -> Any:
    """JSON of a status page, its text when it is none; None when nobody answers yet."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            body = answer.read()
    except (OSError, urllib.error.HTTPError):
        return None
    try:
        return json.loads(body)
    except ValueError:
        return body.decode()


def until(what: Callable[[], Any], seconds: float = 120.0, every_s: float = 0.02) -> Any:
    """What `what()` gives once it is true; TimeoutError when it does not become so."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(every_s)
    raise TimeoutError(f"not within {seconds} s")


def fsync_ms(folder: Path, times: int = 200) -> dict[str, float]:
    """Median and 99th percentile in ms of appending 64 KiB and making it durable: the limit of every commit."""
    took, blob = [], os.urandom(65_536)
    with (folder / "fsync").open("wb", buffering=0) as file:
        for _ in range(times):
            begin = time.perf_counter()
            file.write(blob)
            os.fsync(file.fileno())
            took.append((time.perf_counter() - begin) * 1e3)
    cuts = statistics.quantiles(took, n=100)
    return {"fsync_p50_ms": cuts[49], "fsync_p99_ms": cuts[98]}


def told(benchmark: str, figures: dict[str, Any]) -> None:
    """The last line: one JSON object, numbers to four digits."""
    print(json.dumps({"benchmark": benchmark} | {k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in figures.items()}), flush=True)
