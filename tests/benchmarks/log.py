"""Commits to the log against raw fsynced writes of the same bytes, and frames against memory copies.

`python -m tests.benchmarks.log`; the last line is one JSON object. Never fails on time.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edge_agent.core import Append, Log, Samples, decode, encode

SECONDS = 2.0
BLOB = 64 * 1024


def repeated(step: Callable[[], None]) -> tuple[float, list[float]]:
    """Steps per second over about SECONDS, and the milliseconds of each."""
    took = []
    start = time.perf_counter()
    while (now := time.perf_counter()) - start < SECONDS:
        step()
        took.append((time.perf_counter() - now) * 1000)
    return len(took) / (time.perf_counter() - start), took


def raw(folder: Path, blob: bytes) -> tuple[float, list[float]]:
    with (folder / "raw").open("wb", buffering=0) as file:

        def step() -> None:
            file.write(blob)
            os.fsync(file.fileno())

        return repeated(step)


def committed(folder: Path, blob: bytes, *, shared: bool) -> tuple[float, list[float]]:
    log = Log(folder / f"log-{shared}.sqlite", ("journal", "outbox"))
    appends = [Append("journal", 1, blob), *([Append("outbox", 1, blob, same_as=("journal", 0))] if shared else [])]
    count = 0

    def step() -> None:
        nonlocal count
        count += 1
        log.commit(appends, cursors={"pipeline": count})
        if count % 500 == 0:
            for stream in ("outbox", "journal"):
                log.forget(stream, log.head(stream).seq)

    try:
        return repeated(step)
    finally:
        log.close()


def main() -> None:
    random = np.random.default_rng(7)
    blob = random.bytes(BLOB)
    n = 5000
    t = 1_767_225_600_000_000_000 + np.arange(n) // 500 * 100_000_000
    samples = Samples.of(t, np.arange(n, dtype=np.int32) % 500, np.round(20 + random.normal(size=n), 3))
    frame = encode(samples)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures = {
            "raw fsynced writes": raw(folder, blob),
            "log": committed(folder, blob, shared=False),
            "log with references": committed(folder, blob, shared=True),
        }
    print(f"{'64 KiB blobs':24}{'per second':>12}{'MB/s':>10}{'p50 ms':>10}{'p99 ms':>10}")
    for what, (rate, took) in figures.items():
        cuts = statistics.quantiles(took, n=100)
        print(f"{what:24}{rate:12.0f}{rate * BLOB / 1e6:10.1f}{cuts[49]:10.2f}{cuts[98]:10.2f}")
    encoding, _ = repeated(lambda: encode(samples) and None)
    decoding, _ = repeated(lambda: decode(frame) and None)
    print(
        f"frames of {n} samples: {encoding * n / 1e6:.1f} M samples/s written, {decoding * n / 1e6:.1f} read, {len(frame) / n:.2f} bytes each of 24"
    )
    print(
        json.dumps(
            {
                "log_mb_s": round(figures["log"][0] * BLOB / 1e6, 1),
                "raw_mb_s": round(figures["raw fsynced writes"][0] * BLOB / 1e6, 1),
                "of_raw": round(figures["log"][0] / figures["raw fsynced writes"][0], 3),
                "encode_m_s": round(encoding * n / 1e6, 1),
                "decode_m_s": round(decoding * n / 1e6, 1),
                "bytes_per_sample": round(len(frame) / n, 2),
            }
        )
    )


if __name__ == "__main__":
    main()
