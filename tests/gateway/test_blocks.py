"""Spectra of a stream over a span, out of the hot tail, of segments and across a restart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_agent.core import Acquisition, Block, Tag
from gateway.config import StoreSection
from gateway.query import NotFound
from gateway.store import Store
from tests.gateway.edge import SECOND, START, Edge

KEY = "press-edge-1:nir"
TAGS = (Tag(id=0, name="nir", kind="block", unit="AU"), Tag(id=1, name="other", kind="block"), Tag(id=2, name="a"))


def opened(folder: Path) -> Store:
    return Store(folder, gateway="gw1", production=False, settings=StoreSection(compact_files=2), clock=lambda: START)


def spectrum(second: int, tag: int = 0) -> Block:
    values = np.array([[float(second), 1.0, 2.0]])
    facts = Acquisition(status="good", counter=second)
    return Block(tag, np.array([START + second * SECOND]), values, np.zeros(1, np.uint32), np.arange(3.0), "nm", "AU", START, facts)


def test_the_same_spectra_are_found_however_they_are_kept(tmp_path: Path) -> None:
    store, edge = opened(tmp_path), Edge()
    edge.define(TAGS, ())
    for second in range(100):
        edge.add(spectrum(second))
        edge.add(spectrum(second, tag=1))
    store.apply(store.take([(edge.deliver(), START)]))
    span = (START + 10 * SECOND, START + 90 * SECOND)
    hot = store.ask.blocks(KEY, *span, 9)
    store._roll()
    store.seal(START)
    store.trim(2**62)
    assert store.ask.blocks(KEY, *span, 9) == hot
    store.close()
    store = opened(tmp_path)
    assert store.ask.blocks(KEY, *span, 9) == hot
    seconds = [(t - START) // SECOND for t in hot["time_ns"]]
    assert (hot["found"], seconds[0], seconds[-1], len(seconds)) == (80, 10, 89, 9)
    assert [row[0] for row in hot["values"]] == [float(s) for s in seconds]
    assert [a["counter"] for a in hot["acquisition"]] == seconds
    assert hot["reference"] is not None
    assert hot["reference"]["median"][1:] == [1.0, 2.0]
    middle, spread = hot["reference"]["median"][0], 3 * 1.4826 * float(np.median(np.abs(np.array(seconds) - np.median(seconds))))
    assert (hot["reference"]["low"][0], hot["reference"]["high"][0]) == pytest.approx((middle - spread, middle + spread))
    with pytest.raises(NotFound):
        store.ask.blocks("press-edge-1:none", *span)
    with pytest.raises(ValueError, match="kind block"):
        store.ask.blocks("press-edge-1:a", *span)
    store.close()
