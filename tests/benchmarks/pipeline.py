"""Values per second and core through the default chain: quality, windows, EWMA + CUSUM + robust z and one alarm per tag, records encoded.

`python -m tests.benchmarks.pipeline [--tags 5000] [--rows 21000000]`. The entries together (24 bytes a row) and the state of all tags are larger than
the cache; windows and models are warm before the clock starts; one thread. Beside it in the same run: the same chain with one model and with none, at
one value per second and tag, River's estimators fed one value at a time, and numpy over whole rows of tags. Prints a table and one JSON line; never
fails on time.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from edge_agent.alarms import Alarms, detect
from edge_agent.config import start_of
from edge_agent.config.agent import AgentSettings
from edge_agent.core import AlarmEvent, Samples, Summaries, encode
from edge_agent.pipeline import banks, quality, recorded, silence, windows
from edge_agent.pipeline.chain import Pipeline
from tests.benchmarks import _plant

AIM_M_S = 5.0
WARM_ROUNDS = 200
"""Values of each tag before the clock starts: models learn from 120, a window of robust z holds 60."""


def warmed(tags: int, models: Sequence[str], period_s: float) -> Pipeline:
    """A pipeline whose models have learned."""
    settings = AgentSettings.model_validate(_plant.agent_config(tags, models=models, period_s=period_s))
    pipeline = Pipeline()
    pipeline.step(start_of(settings, _plant.START_NS))
    for entry in _plant.entries(tags, WARM_ROUNDS * tags, period_s=period_s, seed=2):
        pipeline.step(entry)
    return pipeline


def through(pipeline: Pipeline, entries: Sequence[Samples]) -> tuple[float, dict[str, int]]:
    """Seconds for all entries, records encoded; what came out. The entry itself is encoded once, for journal and outbox."""
    counts = {"bytes": 0, "alarm_events": 0, "summary_rows": 0}
    begin = time.perf_counter()
    for entry in entries:
        frame = encode(entry)
        for record in pipeline.step(entry):
            data = frame if record is entry else encode(record)
            counts["bytes"] += len(data)
            if type(record) is AlarmEvent:
                counts["alarm_events"] += 1
            elif type(record) is Summaries:
                counts["summary_rows"] += len(record)
    return time.perf_counter() - begin, counts


STAGES: tuple[tuple[str, Any, str], ...] = (
    ("quality, duplicates", quality.Screen, "step"),
    ("silence and gaps", silence.Silence, "heard"),
    ("rows to record", recorded.Recorder, "step"),
    ("windows: adding", windows.Windows, "step"),
    ("windows: closing", windows.Windows, "close"),
    ("alarms: limits", detect.Detection, "step"),
    ("alarms: events", Alarms, "turned"),
)


@contextmanager
def timed(spent: dict[str, float]) -> Iterator[None]:
    """Seconds spent in each stage while the block runs."""

    def wrapped(call: Callable[..., Any], name: Callable[..., str]) -> Callable[..., Any]:
        def timing(*args: Any, **kwargs: Any) -> Any:
            begin = time.perf_counter()
            try:
                return call(*args, **kwargs)
            finally:
                spent[name(*args)] += time.perf_counter() - begin

        return timing

    before = [(cls, method, getattr(cls, method)) for _, cls, method in STAGES]
    seat = banks._Seat.step
    try:
        for (stage, _, _), (cls, method, call) in zip(STAGES, before, strict=True):
            setattr(cls, method, wrapped(call, lambda *_, stage=stage: stage))
        banks._Seat.step = wrapped(seat, lambda self, *_: f"model {type(self.bank).__name__}")  # type: ignore[method-assign]
        yield
    finally:
        for cls, method, call in before:
            setattr(cls, method, call)
        banks._Seat.step = seat  # type: ignore[method-assign]


def shares(tags: int, rows: int) -> dict[str, float]:
    """Share of each stage of the full chain, by name."""
    pipeline = warmed(tags, _plant.MODELS, 0.1)
    entries = list(_plant.entries(tags, rows, first_round=WARM_ROUNDS))
    spent: dict[str, float] = defaultdict(float)
    begin = time.perf_counter()
    with timed(spent):
        for entry in entries:
            t0 = time.perf_counter()
            frame = encode(entry)
            spent["encoding"] += time.perf_counter() - t0
            records = pipeline.step(entry)
            t0 = time.perf_counter()
            for record in records:
                if record is not entry:
                    frame = encode(record)
            spent["encoding"] += time.perf_counter() - t0
    del frame
    total = time.perf_counter() - begin
    spent["the rest"] = total - sum(spent.values())
    return {stage: seconds / total for stage, seconds in sorted(spent.items(), key=lambda item: -item[1])}


def rate(tags: int, rows: int, models: Sequence[str], period_s: float = 0.1, parts: int = 3) -> dict[str, float]:
    """Values per second in millions: the median of `parts` parts of the rows, each part other memory."""
    pipeline = warmed(tags, models, period_s)
    entries = list(_plant.entries(tags, rows, period_s=period_s, first_round=WARM_ROUNDS))
    gc.collect()
    gc.freeze()  # what was built to measure with is not part of what is measured
    rates, counts = [], {}
    size = -(-len(entries) // parts)
    for part in range(parts):
        mine = entries[part * size : (part + 1) * size]
        seconds, counts = through(pipeline, mine)
        n = sum(len(e) for e in mine)
        rates.append(n / seconds / 1e6)
    gc.unfreeze()
    return {"m_s": statistics.median(rates), "least_m_s": min(rates), "most_m_s": max(rates)} | {k: v / n for k, v in counts.items()}


def river(tags: int, rows: int) -> float:
    """Millions of values per second through River's nearest estimators, one at a time, one set per tag; no quality, windows, alarms or records."""
    from river import drift, stats, utils

    sets = [
        (
            stats.EWMean(0.2),
            utils.Rolling(stats.Mean, window_size=60),
            drift.PageHinkley(),
            stats.RollingQuantile(0.5, 60),
            stats.RollingQuantile(0.5, 60),
        )
        for _ in range(tags)
    ]
    samples = Samples.joined(list(_plant.entries(tags, rows)))
    listed = list(zip(samples.tag.tolist(), samples.value.tolist(), strict=True))
    found = []
    begin = time.perf_counter()
    for tag, x in listed:
        ewma, mean, shift, middle, spread = sets[tag]
        median = middle.get()
        if median is not None:
            wild = abs(x - median)
            spread.update(wild)
            found.append((ewma.get() - mean.get(), wild / (spread.get() or 1.0), shift.drift_detected))
        ewma.update(x)
        mean.update(x)
        shift.update(x)
        middle.update(x)
    return len(listed) / (time.perf_counter() - begin) / 1e6


def vectorised(tags: int, rounds: int) -> float:
    """Millions of values per second of the three models alone in numpy, over complete rows of all tags; no quality, windows, alarms or records."""
    random = np.random.default_rng(3)
    grid = np.round(_plant.level(tags) * (1 + 0.01 * random.standard_normal((rounds + 60, tags))), 3)
    mu, sigma = grid[:60].mean(0), grid[:60].std(0)
    mean, high, low = mu.copy(), np.zeros(tags), np.zeros(tags)
    window = grid[:60].copy()
    begin = time.perf_counter()
    for i in range(60, 60 + rounds):
        x = grid[i]
        mean += 0.2 * (x - mean)
        u = (x - mu) / sigma
        np.maximum(0.0, high + u - 0.5, out=high)
        np.maximum(0.0, low - u - 0.5, out=low)
        centre = np.median(window, 0)
        (x - centre) / (1.4826 * np.median(np.abs(window - centre), 0))
        window[i % 60] = x
    return rounds * tags / (time.perf_counter() - begin) / 1e6


def caches() -> str:
    """Sizes of the processor's caches as Linux tells them."""
    found = {}
    for index in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        found[(index / "level").read_text().strip()] = (index / "size").read_text().strip()
    return ", ".join(f"L{k} {v}" for k, v in sorted(found.items())) or "unknown"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tags", type=int, default=5000)
    parser.add_argument("--rows", type=int, default=21_000_000)
    args = parser.parse_args()
    tags, rows, fewer = args.tags, args.rows, args.rows // 4
    full = rate(tags, rows, _plant.MODELS)
    figures: dict[str, float] = {
        "rows_mb": rows * 24 / 1e6,
        "full_m_s": full["m_s"],
        "full_least_m_s": full["least_m_s"],
        "full_most_m_s": full["most_m_s"],
        "full_1hz_m_s": rate(tags, fewer, _plant.MODELS, 1.0)["m_s"],
    }
    for kind in _plant.MODELS:
        figures[f"{kind}_only_m_s"] = rate(tags, fewer, (kind,))["m_s"]
    figures["no_model_m_s"] = rate(tags, fewer, ())["m_s"]
    figures["river_m_s"] = river(tags, tags * 40)
    figures["numpy_m_s"] = vectorised(tags, 200)
    print(f"{tags} tags, {rows} values ({rows * 24 / 1e6:.0f} MB), caches: {caches()}; one core")
    lines = [
        ("full chain, 10 values/s and tag", "full_m_s", f"{full['least_m_s']:.2f} to {full['most_m_s']:.2f}; aim {AIM_M_S}"),
        ("full chain, 1 value/s and tag", "full_1hz_m_s", "ten values a window instead of a hundred"),
        *((f"chain with {kind} only", f"{kind}_only_m_s", "") for kind in _plant.MODELS),
        ("chain without models", "no_model_m_s", ""),
        ("River, nearest estimators only", "river_m_s", f"full chain is {full['m_s'] / figures['river_m_s']:.0f} times as fast"),
        ("numpy over rows, models only", "numpy_m_s", f"full chain is {full['m_s'] / figures['numpy_m_s']:.1f} times as fast"),
    ]
    for what, key, note in lines:
        print(f"  {what:34}{figures[key]:8.2f} M values/s   {note}")
    print(f"  per value: {full['bytes']:.2f} bytes of records, {full['summary_rows']:.3f} summary rows, {full['alarm_events']:.6f} alarm events")
    print("shares of the full chain")
    stages = shares(tags, fewer)
    for stage, share in stages.items():
        print(f"  {stage:34}{share:8.1%}{share * 1e3 / full['m_s']:9.1f} ns per value")
    _plant.told("pipeline", figures | {"aim_m_s": AIM_M_S, "shares": {k: round(v, 3) for k, v in stages.items()}})


if __name__ == "__main__":
    main()
