"""A place of our own in the outbox: live first, each record once, nothing left out."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.core import Log
from edge_agent.uplinks.following import Following
from edge_agent.uplinks.outgoing import STREAM
from tests.uplinks.acting import fill, outbox


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    made = outbox(tmp_path)
    yield made
    made.close()


def seqs(following: Following, portion: object) -> list[int]:
    return [row.seq for row in portion.rows]  # type: ignore[attr-defined]


def test_what_was_there_is_history_and_what_comes_is_live(log: Log) -> None:
    fill(log, [10] * 5)
    following = Following(log, 2, portion_bytes=1000)
    assert following.live() is None
    fill(log, [10] * 2)
    live = following.live()
    assert live is not None
    assert (live.live, seqs(following, live)) == (True, [6, 7])
    missed = following.missed()
    assert missed is not None
    assert (missed.live, seqs(following, missed)) == (False, [3, 4, 5])
    following.done(live)
    assert (following.position, following.behind) == (2, 3)
    following.done(missed)
    assert (following.position, following.behind) == (7, 0)
    assert following.missed() is None
    assert following.live() is None


def test_after_a_loss_only_what_is_not_done_comes_again(log: Log) -> None:
    fill(log, [10] * 3)
    following = Following(log, 0, portion_bytes=1000)
    fill(log, [10] * 3)
    live = following.live()
    assert live is not None
    following.done(live)
    fill(log, [10])
    assert following.live() is not None  # sent, and then the connection went
    following.begin()
    first = following.missed()
    assert first is not None
    assert seqs(following, first) == [1, 2, 3]
    assert following.missed() == first
    following.done(first)
    second = following.missed()
    assert second is not None
    assert seqs(following, second) == [7]


def test_what_is_no_longer_there_is_passed_and_counted(log: Log) -> None:
    fill(log, [10] * 6)
    log.forget(STREAM, 4)
    following = Following(log, 1, portion_bytes=1000)
    portion = following.missed()
    assert portion is not None
    assert (portion.first, portion.last, portion.gone, seqs(following, portion)) == (2, 6, 3, [5, 6])
    log.forget(STREAM, 6)
    assert following.missed() is not None
    following.done(portion)
    assert following.position == 6


def test_a_rotten_record_holds_nothing_up(log: Log) -> None:
    fill(log, [10] * 4)
    with sqlite3.connect(log.path) as other:
        other.execute(f"UPDATE {STREAM} SET data=x'00' WHERE seq=2")
    other.close()
    following = Following(log, 0, portion_bytes=1000)
    found, damaged = [], 0
    while (portion := following.missed()) is not None:
        found += seqs(following, portion)
        damaged += portion.damaged
        following.done(portion)
    assert (found, damaged) == ([1, 3, 4], 1)


@given(st.lists(st.sampled_from(["fill", "live", "missed", "lost"]), max_size=40), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_whatever_happens_everything_is_done_in_the_end_and_nothing_is_live_twice(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str], place: int
) -> None:
    log = outbox(tmp_path_factory.mktemp("log"))
    try:
        fill(log, [10] * 5)
        following = Following(log, place, portion_bytes=25)
        done: list[int] = []
        live: list[int] = []
        for step in [*steps, "lost", *["missed"] * 200]:
            if step == "fill":
                fill(log, [10] * 3)
            elif step == "lost":
                following.live()  # sent and never answered
                following.begin()
            else:
                portion = following.live() if step == "live" else following.missed()
                if portion is not None:
                    following.done(portion)
                    done += seqs(following, portion)
                    live += seqs(following, portion) if portion.live else []
        assert sorted(done) == list(range(place + 1, log.head(STREAM).seq + 1))
        assert len(live) == len(set(live))
        assert (following.position, following.behind) == (log.head(STREAM).seq, 0)
    finally:
        log.close()
