"""The ledger takes any float an edge can send."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edge_agent.core import SUMMARY_DTYPE, Gap, Summaries
from gateway.store import Store
from tests.gateway.conftest import feed
from tests.gateway.edge import SECOND, START, Edge

HUGE = 1.7e308


def _window(edge: Edge, index: int, total: float) -> None:
    row = np.zeros(1, SUMMARY_DTYPE)
    row["tag"], row["start_ns"], row["length_ns"], row["part"] = 0, START + 10 * index * SECOND, 10 * SECOND, 1
    row["count"] = row["n_good"] = 2
    row["sum"] = total
    edge.add(Summaries(row, START))


@pytest.mark.parametrize("sums", [(np.inf, -np.inf), (HUGE, HUGE, -HUGE, -HUGE), (np.nan,), (1.0, np.nan, 1.0), (-np.inf,)])
@pytest.mark.parametrize("together", [True, False])
def test_a_sum_that_is_no_number_stops_nothing(opened: Callable[..., Store], sums: tuple[float, ...], together: bool) -> None:
    edge = Edge()
    edge.define()
    for index, total in enumerate(sums):
        _window(edge, index, total)
    store = opened()
    for part in [edge.records] if together else [[r] for r in edge.records]:
        feed(store, edge.deliver(part))
    rows = store.ask.ledger()
    assert (rows[0]["sum"], rows[0]["n_good"]) == (None, 2 * len(sums))
    store.close()
    store = opened()
    assert store.ask.ledger() == rows
    _window(edge, len(sums), 5.0)
    feed(store, edge.deliver())
    assert (store.ask.ledger()[0]["sum"], store.ask.ledger()[0]["n_good"]) == (None, 2 * len(sums) + 2)


def test_what_came_for_a_gap_is_no_gap_more(opened: Callable[..., Store]) -> None:
    edge = Edge()
    edge.define()
    for missing, cause in ((5, "source away"), (-3, "filled from history: 3 values"), (0, "source away"), (0, "filled from history: 9 values")):
        edge.add(Gap(tag=0, from_ns=START, to_ns=START + 6 * SECOND, missing=missing, cause=cause))
    store = opened()
    feed(store, edge.deliver())
    row = store.ask.ledger()[0]
    assert (row["gaps"], row["n_missing"]) == (2, 2)
