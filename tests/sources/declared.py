"""What the pipeline declares missing of what an OPC UA source told it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from edge_agent.core import Connection, Gap, Overflow, Samples
from edge_agent.pipeline.silence import Silence
from edge_agent.sources.source import Item
from tests.sources.opcua_plant import START_NS, STEP_NS


def declared(items: Iterable[Item], tags: int, tag: int) -> list[tuple[int, int]]:
    """Grid steps between which values of a tag are declared missing; a source is away before its first word, and before each that it is back."""
    silence = Silence(np.full(tags, STEP_NS, np.int64), np.zeros(tags, np.int32), np.ones(tags, np.uint8), 1)
    last = np.full(tags, np.iinfo(np.int64).min, np.int64)
    gaps: list[Gap] = []
    for item in items:
        if isinstance(item, Connection) and item.state in ("connected", "resumed"):
            silence.left(0, last)  # what the agent says of every source at its start, and of one whose connection broke
            silence.came(0, 1, resumed=item.state == "resumed")
        elif isinstance(item, Overflow):
            gaps.append(silence.overflow(item.tag, item.after_ns, item.before_ns, START_NS + 10**15))
        elif isinstance(item, Samples):
            gaps += silence.heard(item.tag, item.time_ns, 1)[1]
            np.maximum.at(last, item.tag, item.time_ns)
    return [((g.from_ns - START_NS) // STEP_NS, (g.to_ns - START_NS) // STEP_NS) for g in gaps if g.tag == tag and g.missing]
