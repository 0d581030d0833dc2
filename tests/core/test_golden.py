"""Frames written once are read for ever, and the same item is written as the same bytes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from edge_agent.core import Committed, Delivery, decode, unpack
from edge_agent.core.wire import KIND_NAMES, unframe
from tests.core.golden import FILE, ITEMS, MESSAGES, frames
from tests.core.items import same

FROZEN: dict[str, str] = json.loads(FILE.read_text())


def test_every_kind_has_a_frozen_frame() -> None:
    assert set(KIND_NAMES.values()) <= set(FROZEN), "add an item to golden.py and run `python -m tests.core.golden` once"
    assert set(frames()) == set(FROZEN)


@pytest.mark.parametrize("name", ITEMS)
def test_a_frozen_frame_is_read_as_the_item_it_was(name: str) -> None:
    back = decode(bytes.fromhex(FROZEN[name]))
    assert same(back, ITEMS[name]) or back == ITEMS[name]


@pytest.mark.parametrize("name", frames())
def test_an_item_is_written_as_the_frozen_frame(name: str) -> None:
    written, frozen = bytes.fromhex(frames()[name]), bytes.fromhex(FROZEN[name])
    # Compressed bytes may differ between versions of zstd; the bodies may not.
    assert unframe(written) == unframe(frozen)
    assert written == frozen or frozen[4] == 1


def test_frozen_messages_are_read() -> None:
    delivery, committed = Delivery.decode(bytes.fromhex(FROZEN["delivery"])), Committed.decode(bytes.fromhex(FROZEN["committed"]))
    assert (delivery.encode(), committed.encode()) == (MESSAGES["delivery"], MESSAGES["committed"])
    assert [(r.seq, r.part, r.parts) for r in delivery.records] == [(41, 0, 1), (42, 0, 2), (42, 1, 2)]
    assert committed.epochs[2].ranges == ((1, 40), (42, 43))


def test_a_frozen_state_is_read() -> None:
    state: dict[str, Any] = unpack(bytes.fromhex(FROZEN["state"]))
    assert state["mu"].view(np.uint64).tolist() == np.array([1.5, np.nan, -0.0]).view(np.uint64).tolist()
    assert (state["n"].tolist(), state["n"].dtype, state["warm"], state["limit"], state["names"]) == (
        [[1, 2]],
        np.int32,
        True,
        float("-inf"),
        ["a", None],
    )
