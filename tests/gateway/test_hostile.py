"""Records that are well formed and yet cannot be applied: kept, alarmed, and in nobody's way."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable

import numpy as np
import pytest
from msgspec.structs import replace

from edge_agent.core import SUMMARY_DTYPE, AlarmEvent, Audit, Block, Context, Definitions, Gap, Record, Samples, Summaries, Tag, Texts
from gateway.export import Kind, Wanted, export
from gateway.journal import UNREADABLE
from gateway.store import Store
from tests.gateway.conftest import Clock, feed, seal
from tests.gateway.edge import START, Edge

BEYOND = 2**63


def _defines(tag: Tag) -> Definitions:
    return Definitions(received_ns=START, edge="press-edge-1", site="demo", simulated=False, config_hash="h", software="x", tags=(tag,), alarms=())


def _window(tag: int) -> Summaries:
    row = np.zeros(1, SUMMARY_DTYPE)
    row["tag"], row["start_ns"], row["length_ns"] = tag, START, 10
    return Summaries(row, START)


def _block(tag: int) -> Block:
    return Block(tag, np.array([START]), np.ones((1, 2)), np.zeros(1, np.uint32), np.arange(2.0))


GAP = Gap(tag=0, from_ns=START, to_ns=START + 1, missing=1, cause="disconnected", received_ns=START)
EVENT = AlarmEvent(
    alarm="a", tag="x", raised_ns=START, time_ns=START, received_ns=START, event="raise", state_from="NORM", state_to="UNACK", priority=2
)
CASES: dict[str, Record] = {
    **{f"definitions of {n}": _defines(Tag(id=n, name="q")) for n in (-3, 1_000_000, 2**31, 2**40)},
    "definitions of a version": _defines(Tag(id=0, name="q", version=2**31)),
    **{f"gap of {n}": replace(GAP, tag=n) for n in (1_000_000, 2**31, 2**40)},
    **{f"gap of {n} values": replace(GAP, missing=n) for n in (-1, 2**62)},
    "gap beyond time": replace(GAP, from_ns=BEYOND),
    "alarm beyond time": replace(EVENT, time_ns=BEYOND),
    "alarm raised beyond time": replace(EVENT, raised_ns=BEYOND),
    "context beyond time": Context(unit="u", role="batch", value="b", time_ns=BEYOND, received_ns=START),
    "audit beyond time": Audit(time_ns=BEYOND, user="u", role="r", action="a", object="o"),
    **{f"sample of {n}": Samples.of(np.array([START]), np.array([n], np.int32), np.ones(1), 0, START) for n in (-1, 2**31 - 1)},
    **{f"text of {n}": Texts((START,), (n,), ("a",), (0,), START) for n in (-1, 2**31 - 1)},
    **{f"block of {n}": _block(n) for n in (-1, 2**31 - 1)},
    **{f"window of {n}": _window(n) for n in (-1, 2**31 - 1)},
}


def _exported(store: Store, kind: Kind) -> list[str]:
    out = io.BytesIO()
    export(store.data_dir, kind, "csv", out, Wanted())
    return out.getvalue().decode().splitlines()


@pytest.mark.parametrize("name", CASES)
def test_it_is_kept_and_alarmed_and_the_next_are_taken(opened: Callable[..., Store], clock: Clock, name: str) -> None:
    edge = Edge()
    edge.define()
    bad = edge.add(CASES[name])
    edge.samples(0, 5)
    store = opened()
    feed(store, edge.deliver())
    assert [e.frame for e in store.journal.entries(UNREADABLE)] == [bad.data]
    assert [r["alarm"] for r in store.ask.alarms()] == ["gateway/press-edge-1.unreadable_record"]
    store.close()
    store = opened()
    assert len(store.ask.series("press-edge-1:press1/main_force", START, START + 10**10)["n"]) == 5
    assert len(list(csv.DictReader(_exported(store, "gap")))) == 0
    assert len(list(csv.DictReader(_exported(store, "sample")))) == 5
    seal(store, clock)
    store.close()
    store = opened()
    assert [t["name"] for t in store.ask.tags()] == ["press1/main_force", "press1/speed", "press1/batch"]
    assert store.journal.faults() == []
