"""The gateway's store: rows committed and sealed per second, bytes per row, and a day of one tag out of 20 million rows.

`python -m tests.benchmarks.store [--rows N]`; the last line is one JSON object. Peers in the same run, over the same rows: a plain Parquet file
written with pyarrow (zstd), and SQLite inserts of one row each in transactions of the same size. The figures of the store include decoding, newest
values, journal and ledger.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from edge_agent.core import SUMMARY_DTYPE, Definitions, Delivered, Delivery, Samples, Summaries, Tag, chain_crc, encode
from gateway.config import StoreSection
from gateway.store import Store

SECOND = 1_000_000_000
START = 1_767_225_600 * SECOND
TAGS = 232
PERIOD_S = 1
RECORD_ROWS = 2_320
"""Rows of one record of samples: ten seconds of all tags, as an edge that was cut off sends its backlog."""


class _Edge:
    """A line of 232 tags at 1 Hz with noise, jitter and decimals as a plant has them."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(1)
        self._chain, self._seq = 0, 0
        self._level = np.linspace(1, 400, TAGS)

    def _record(self, item: Definitions | Samples | Summaries) -> Delivered:
        data = encode(item)
        self._chain, self._seq = chain_crc(self._chain, data), self._seq + 1
        return Delivered(self._seq, self._chain, data)

    def define(self) -> Delivered:
        tags = tuple(Tag(id=i, name=f"line/tag{i}", class_="gmp", expected_s=1.0) for i in range(TAGS))
        return self._record(Definitions(received_ns=START, edge="e1", site="demo", simulated=False, config_hash="", software="", tags=tags))

    def ten_seconds(self, at: int) -> list[Delivered]:
        time_ns = START + (at + np.repeat(np.arange(10), TAGS)) * SECOND + self._random.integers(0, 20_000_000, RECORD_ROWS) // 100 * 100
        tag = np.tile(np.arange(TAGS, dtype=np.int32), 10)
        value = np.round(self._level[tag] * (1 + 0.01 * self._random.standard_normal(RECORD_ROWS)), 3)
        samples = Samples.of(time_ns, tag, value, 0, START + (at + 10) * SECOND)
        by_tag = value.reshape(10, TAGS)
        rows = np.zeros(TAGS, SUMMARY_DTYPE)
        rows["tag"], rows["version"], rows["part"], rows["n_good"], rows["count"] = np.arange(TAGS), 1, 1, 10, 10
        rows["start_ns"], rows["length_ns"] = START + at * SECOND, 10 * SECOND
        rows["sum"], rows["m2"] = by_tag.sum(0), ((by_tag - by_tag.mean(0)) ** 2).sum(0)
        rows["min"], rows["max"], rows["first"], rows["last"] = by_tag.min(0), by_tag.max(0), by_tag[0], by_tag[-1]
        rows["first_ns"], rows["last_ns"] = time_ns[:TAGS], time_ns[-TAGS:]
        return [self._record(samples), self._record(Summaries(rows, samples.received_ns))]


def _deliveries(rows: int) -> Iterator[bytes]:
    """Messages of up to 256 KiB."""
    edge = _Edge()
    held = [edge.define()]
    for at in range(0, rows // TAGS, 10):
        held += edge.ten_seconds(at)
        if sum(len(r.data) for r in held) > 180_000:
            yield Delivery("demo", "e1", 1, 1, False, tuple(held)).encode()
            held = []
    yield Delivery("demo", "e1", 1, 1, False, tuple(held)).encode()


def _store(folder: Path, rows: int) -> tuple[Store, dict[str, float]]:
    now = START
    store = Store(folder, gateway="gw1", production=False, settings=StoreSection(), clock=lambda: now)
    committing = sealing = applying = 0.0
    messages = 0
    batch: list[bytes] = []
    source = _deliveries(rows)
    while True:
        message = next(source, None)
        if message is not None:
            batch.append(message)
        if batch and (message is None or len(batch) == 16):
            t0 = time.perf_counter()
            taken = store.take([(Delivery.decode(m), now) for m in batch])
            t1 = time.perf_counter()
            store.apply(taken)
            t2 = time.perf_counter()
            committing, applying = committing + t1 - t0, applying + t2 - t1
            messages += len(batch)
            batch = []
            if len(store.view().generations) > 1:
                t0 = time.perf_counter()
                store.seal(now)
                store.trim(2**62)
                sealing += time.perf_counter() - t0
        if message is None:
            break
    store._roll()
    t0 = time.perf_counter()
    store.seal(now)
    store.trim(2**62)
    sealing += time.perf_counter() - t0
    t0 = time.perf_counter()
    store.tidy(now)
    tidying = time.perf_counter() - t0
    n = rows + rows // 10
    samples = [f for f in store.view().files if f.kind == "sample"]
    return store, {
        "rows": rows,
        "rows_with_summaries": n,
        "messages": messages,
        "commit_rows_s": n / committing,
        "commit_apply_rows_s": n / (committing + applying),
        "seal_rows_s": n / sealing,
        "commit_apply_seal_rows_s": n / (committing + applying + sealing),
        "compaction_s": tidying,
        "segments": len(store.view().files),
        "bytes_per_sample": sum(f.bytes for f in samples) / sum(f.rows for f in samples),
        "bytes_per_row_all": sum(f.bytes for f in store.view().files) / rows,
    }


def _queries(store: Store, rows: int) -> dict[str, float]:
    end = START + rows // TAGS * SECOND
    found = {}
    random = np.random.default_rng(2)
    for name, span, points in (("24h_500", 86_400, 500), ("1h_500", 3600, 500), ("10min_raw", 600, 1000)):
        times, shown = [], 0
        for _ in range(60):
            tag = int(random.integers(TAGS))
            t0 = time.perf_counter()
            row = store.ask.series(f"e1:line/tag{tag}", end - span * SECOND, end, points)
            times.append((time.perf_counter() - t0) * 1e3)
            shown = len(row["n"])
        times.sort()
        found |= {f"query_{name}_p50_ms": statistics.median(times), f"query_{name}_p95_ms": times[56], f"query_{name}_rows": shown}
    return found


def _peers(folder: Path, rows: int) -> dict[str, float]:
    rows = min(rows, 2_000_000)
    edge = _Edge()
    parts = [edge.ten_seconds(at)[0] for at in range(0, rows // TAGS, 10)]
    from edge_agent.core import decode

    samples = Samples.joined([decode(p.data) for p in parts])  # type: ignore[misc]
    columns = {"tag": samples.tag, "time_ns": samples.time_ns, "value": samples.value, "status": samples.status}
    path = folder / "peer.parquet"
    t0 = time.perf_counter()
    pq.write_table(pa.table(columns), path, compression="zstd")
    parquet = time.perf_counter() - t0
    few = min(len(samples), 300_000)
    listed = list(zip(*(c[:few].tolist() for c in columns.values()), strict=True))
    db = sqlite3.connect(folder / "peer.sqlite", isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("CREATE TABLE sample (tag INTEGER, time_ns INTEGER, value REAL, status INTEGER)")
    t0 = time.perf_counter()
    for begin in range(0, few, 30_000):
        db.execute("BEGIN")
        db.executemany("INSERT INTO sample VALUES (?,?,?,?)", listed[begin : begin + 30_000])
        db.execute("COMMIT")
    inserts = time.perf_counter() - t0
    size = sum(p.stat().st_size for p in folder.glob("peer.sqlite*"))
    db.close()
    return {
        "peer_pyarrow_rows_s": len(samples) / parquet,
        "peer_pyarrow_bytes_per_sample": path.stat().st_size / len(samples),
        "peer_sqlite_rows_s": few / inserts,
        "peer_sqlite_bytes_per_sample": size / few,
    }


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=20_044_800, help="samples stored; the default is a day of 232 tags at 1 Hz")
    rows = parser.parse_args().rows // (TAGS * 10) * TAGS * 10
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store, figures = _store(folder / "data", rows)
        figures |= _queries(store, rows)
        store.close()
        figures |= _peers(folder, rows)
    print(json.dumps({k: round(v, 3) for k, v in figures.items()}))


if __name__ == "__main__":
    main()
