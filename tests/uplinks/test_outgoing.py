"""What is sent next: order, window, what is sent again; against a simple model of gateway and network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.core import Log, Ranges
from edge_agent.core.delivery import MAX_MESSAGE
from edge_agent.uplinks.outgoing import BACKLOG_BYTES, STREAM, Message, Outgoing, common
from tests.uplinks.acting import fill, outbox

SECOND = 1_000_000_000


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    log = outbox(tmp_path)
    yield log
    log.close()


def outgoing(log: Log, window: int = 1 << 20) -> Outgoing:
    return Outgoing(log, window_bytes=window, again_ns=5 * SECOND)


def drain(out: Outgoing, now_ns: int = 0) -> list[int]:
    """Numbers of everything that would be sent now, in order."""
    found: list[int] = []
    while (message := out.next(now_ns)) is not None:
        found += message.seqs.tolist()
    return found


def test_alarms_go_first_then_what_is_new_then_the_backlog(log: Log) -> None:
    fill(log, [100, 100])
    fill(log, [100], lane=0)
    out = outgoing(log)
    fill(log, [100])
    fill(log, [100], lane=0)
    assert drain(out) == [3, 5, 4, 1, 2]
    assert drain(out) == []


def test_live_data_waits_for_more_of_it_and_alarms_and_what_was_missed_do_not(log: Log) -> None:
    fill(log, [10])
    out = Outgoing(log, window_bytes=1 << 20, again_ns=5 * SECOND, gather_ns=2 * SECOND)
    assert drain(out, 0) == [1]
    fill(log, [10])
    assert drain(out, SECOND) == [2]
    fill(log, [10])
    fill(log, [10], lane=0)
    assert drain(out, 2 * SECOND) == [4]
    fill(log, [200_000, 100_000])
    assert drain(out, 3 * SECOND - 1) == []
    assert drain(out, 3 * SECOND) == [3, 5, 6]  # as many messages as it takes
    fill(log, [10])
    assert drain(out, 5 * SECOND - 1) == []
    assert drain(out, 5 * SECOND) == [7]


def test_the_window_bounds_what_is_unconfirmed_and_alarms_may_pass(log: Log) -> None:
    out = outgoing(log, 10_000)
    fill(log, [1000] * 50)
    sent = []
    while (message := out.next(0)) is not None:
        sent += message.seqs.tolist()
    assert out.in_flight_bytes == 50 * 1024  # one message carries them all: a message is never cut for the window
    fill(log, [1000])
    fill(log, [10], lane=0)
    assert drain(out) == []
    out.confirm(Ranges([(1, 50)]), 0)
    assert drain(out) == [52, 51]
    assert out.position == 50


def test_live_data_waits_for_little_of_a_backlog_that_is_on_its_way(log: Log) -> None:
    fill(log, [200_000] * 20)
    out = outgoing(log, 8 << 20)
    sent = drain(out)
    assert out.in_flight_bytes < BACKLOG_BYTES + MAX_MESSAGE
    fill(log, [100])
    assert drain(out) == [21]
    out.confirm(Ranges([(1, 2)]), 0)
    assert drain(out) == [sent[-1] + 1, sent[-1] + 2]
    out.everything_again()
    assert drain(out)[0] == 3
    out.confirm(Ranges([(1, 21)]), 0)
    assert (out.position, out.in_flight_bytes) == (21, 0)


def test_live_data_finds_room_in_the_smallest_window(log: Log) -> None:
    fill(log, [100_000] * 20)
    out = outgoing(log, 262_144)
    sent = drain(out)
    assert out.in_flight_bytes < 262_144
    fill(log, [100])
    assert drain(out) == [21]
    out.confirm(Ranges([(1, sent[-1])]), 0)
    assert drain(out)[0] == sent[-1] + 1


def test_backlog_that_is_never_confirmed_holds_up_nothing_behind_it(log: Log) -> None:
    fill(log, [200_000] * 10)
    fill(log, [10], lane=0)
    out = outgoing(log, 8 << 20)
    assert drain(out) == [11, 1, 2, 3, 4, 5, 6]
    fill(log, [100])
    assert drain(out) == [12]
    out.confirm(Ranges([(12, 12)]), SECOND)
    assert out.again(6 * SECOND)
    assert drain(out, 6 * SECOND) == [11, 7, 8, 9, 10, 1, 2]
    out.confirm(Ranges([(7, 10), (12, 12)]), 7 * SECOND)
    assert drain(out, 7 * SECOND) == [3, 4, 5, 6]
    out.confirm(Ranges([(1, 12)]), 8 * SECOND)
    assert (out.position, out.in_flight_bytes) == (12, 0)


@pytest.mark.parametrize("live", [True, False])
def test_everything_but_what_is_never_confirmed_arrives_from_behind_it(log: Log, live: bool) -> None:
    never = {*range(1, 13), 20}
    fill(log, [200_000] * 30)
    out = outgoing(log, 8 << 20)
    held, lost = Ranges(), {15, 16, 17, 25, 30}
    for turn in range(1, 41):
        now = turn * 6 * SECOND
        if live:
            fill(log, [10])
        for seq in drain(out, now):
            if seq in lost:
                lost.remove(seq)
            elif seq not in never:
                held.add(seq, seq)
        out.confirm(Ranges(held.ranges), now + 1)
        out.again(now + 6 * SECOND - 1)
    assert set(range(1, log.head(STREAM).seq + 1)) - {n for a, b in held.ranges for n in range(a, b + 1)} == never


def test_messages_stay_below_their_bound_and_large_records_go_in_pieces(log: Log) -> None:
    fill(log, [200_000, 100_000, 900_000, 10] + [50] * 3000)
    out = outgoing(log, 8 << 20)
    messages: list[Message] = []
    while (message := out.next(0)) is not None:
        messages.append(message)
        out.confirm(Ranges([(1, int(message.seqs[-1]))]), 0)
    assert [m.seqs.tolist() for m in messages[:3]] == [[1], [2], [3]]
    assert [len(m.parts) for m in messages[:3]] == [1, 1, 4]
    assert all(sum(len(r.data) + 24 for r in part) < MAX_MESSAGE - 1024 for m in messages for part in m.parts)
    assert sorted(np.concatenate([m.seqs for m in messages]).tolist()) == list(range(1, 3005))


def test_shed_numbers_are_waited_for_by_nobody(log: Log) -> None:
    fill(log, [10])
    fill(log, [1000] * 3, shed=2)
    fill(log, [10])
    log.shed(STREAM, 2, 3000)
    out = outgoing(log)
    assert drain(out) == [1, 5]
    out.confirm(Ranges([(1, 1)]), 0)
    assert out.position == 4
    out.confirm(Ranges([(1, 1), (5, 5)]), 0)
    assert out.position == 5


def test_a_forgotten_outbox_begins_where_it_begins(log: Log) -> None:
    fill(log, [10] * 5)
    log.forget(STREAM, 3)
    out = outgoing(log)
    out.confirm(Ranges(), 0)
    assert out.position == 3
    assert drain(out) == [4, 5]


def test_without_any_answer_one_message_asks_ever_more_rarely(log: Log) -> None:
    out = outgoing(log)
    fill(log, [200_000] * 4)
    assert drain(out) == [1, 2, 3, 4]
    asked = []
    for second in range(1, 121):
        if out.again(second * SECOND):
            asked.append(second)
            assert drain(out, second * SECOND) == [1]
    assert asked == [5, 15, 35, 75]
    out.confirm(Ranges([(1, 1)]), 121 * SECOND)
    assert drain(out, 121 * SECOND) == [2, 3, 4]


def test_a_message_that_was_overtaken_is_sent_again_alone(log: Log) -> None:
    out = outgoing(log)
    fill(log, [200_000] * 3)
    drain(out)
    out.confirm(Ranges([(1, 1), (3, 3)]), SECOND)
    assert not out.again(2 * SECOND)
    fill(log, [10])
    assert drain(out, 4 * SECOND) == [4]
    assert out.again(6 * SECOND)
    assert drain(out, 6 * SECOND) == [2]
    assert out.resent == 1


def test_a_new_session_asks_for_everything_that_is_not_confirmed(log: Log) -> None:
    out = outgoing(log)
    fill(log, [200_000] * 3)
    drain(out)
    out.confirm(Ranges([(2, 2)]), 0)
    out.everything_again()
    assert drain(out) == [1, 3]


def test_a_gateway_that_lost_something_gets_it_again(log: Log) -> None:
    out = outgoing(log)
    fill(log, [200_000] * 3)
    drain(out)
    out.confirm(Ranges([(1, 3)]), 0)
    assert out.position == 3
    out.confirm(Ranges([(1, 1)]), 0)
    out.everything_again()
    assert out.position == 3  # what was safe has been told; it is not taken back


def test_a_rotten_record_holds_up_nothing_behind_it(log: Log) -> None:
    fill(log, [10] * 5)
    log._db.execute(f"UPDATE {STREAM} SET data=zeroblob(10) WHERE seq=3")
    out = outgoing(log)
    assert drain(out) == [1, 2, 4, 5]
    assert out.damaged == {3}
    out.confirm(Ranges([(1, 2), (4, 5)]), 0)
    assert out.position == 2


RANGES = st.lists(st.tuples(st.integers(1, 30), st.integers(0, 5)).map(lambda p: (p[0], p[0] + p[1])), max_size=5)


@given(st.lists(RANGES, min_size=1, max_size=4), st.integers(1, 4))
def test_common_is_what_enough_gateways_hold(held: list[list[tuple[int, int]]], copies: int) -> None:
    sets = [{n for a, b in ranges for n in range(a, b + 1)} for ranges in held]
    expected = {n for n in range(1, 40) if sum(n in s for s in sets) >= copies}
    found = common([Ranges(r) for r in held], copies)
    assert {n for a, b in found.ranges for n in range(a, b + 1)} == expected


@settings(max_examples=80)
@given(seed=st.integers(0, 2**32), window=st.sampled_from([20_000, 300_000, 2_000_000]), loss=st.sampled_from([0.0, 0.2, 0.6]))
def test_in_the_end_everything_arrives_whatever_is_lost(tmp_path_factory: pytest.TempPathFactory, seed: int, window: int, loss: float) -> None:
    random = Random(seed)
    log = outbox(tmp_path_factory.mktemp("outbox"))
    out = outgoing(log, window)
    held, told, made, now = Ranges(), Ranges(), 0, 0
    for turn in range(400):
        now += random.randrange(2 * SECOND)
        if turn < 30 and random.random() < 0.5:
            for _ in range(random.randrange(4)):
                made += 1
                fill(log, [random.choice([10, 1000, 60_000, 300_000])], lane=random.choice([0, 1, 1]))
        while (message := out.next(now)) is not None:
            assert not set(message.seqs.tolist()) & {n for a, b in told.ranges for n in range(a, b + 1)}
            largest = max(len(r.data) for part in message.parts for r in part)
            assert out.in_flight_bytes <= 1.25 * window + MAX_MESSAGE + 4 * largest
            if random.random() >= loss:
                for seq in message.seqs.tolist():
                    held.add(seq, seq)
        if random.random() < 0.5:
            told = Ranges(held.ranges)
            out.confirm(told, now)
        if random.random() < 0.05:
            out.everything_again()
        out.again(now)
        if turn > 30 and out.position == made:
            break
    assert out.position == made
    assert held.contiguous == made
    assert out.in_flight_bytes >= 0
    log.close()
