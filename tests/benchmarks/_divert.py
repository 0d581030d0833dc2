"""The continuous line, the pipeline of its configuration and the rule of its PLC in one loop, in the line's own time."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any

import numpy as np

from edge_agent.config import load_agent
from edge_agent.config.start import start_of
from edge_agent.core import Connection, Samples
from edge_agent.pipeline.chain import Pipeline
from simulators.continuous import Continuous
from simulators.continuous_faults import LINE_FAULTS, LineFault
from simulators.plc import Watch

CONFIG = Path(__file__).parents[2] / "configs" / "continuous" / "agent.yaml"
S = 1_000_000_000
T0 = 1_760_000_000 * S


def closed_loop(seed: int, fault: str = "", *, seconds: int = 3600, onset_s: float = 1500.0, delay_s: int = 1) -> dict[str, Any]:
    """Masses and what was said of them after `seconds` of the line; decisions reach the PLC `delay_s` late."""
    settings = load_agent(CONFIG)
    start = start_of(settings, T0)
    names = {t.name: t.id for t in start.tags}
    pipeline = Pipeline()
    pipeline.step(start)
    for source in settings.sources:
        pipeline.step(Connection(received_ns=T0, source=source.name, state="connected"))
    line = Continuous(seed, faults=[LineFault(LINE_FAULTS[fault], onset_s)] if fault else [])
    ids = np.array([names[s.name] for s in line.signals], np.int32)
    watch, on_the_way = Watch(settings.diverters[0].valid_s), deque([(0, 0)] * delay_s)
    reasons, episodes, before = 0, 0, True
    for second in range(1, seconds + 1):
        out = line.step(second * S - 1)
        if len(out):
            # Values of the last second come 200 ms behind their time, as over a subscription.
            pipeline.step(Samples(T0 + out.time_ns, ids[out.signal], out.value, out.status, T0 + second * S + S // 5))
        now = pipeline.diverts[0].at(T0 + second * S + S // 5)
        if second > onset_s and fault:
            reasons |= now.reason if now.request else 0
        if second > onset_s and now.request and not before:
            episodes += 1
        before = now.request
        on_the_way.append((1 if now.request else 2, now.watchdog))
        word, watchdog = on_the_way.popleft()
        line.command(watch.accepts(word, watchdog, float(second)), second * S + 5 * S)
    accounts = pipeline.state()["diverters"]["lines"]["cm1/divert"]["accounts"]
    return {"fault": fault or "none", "seed": seed, "line": line.account(), "edge": accounts, "reasons": reasons, "episodes": episodes}
