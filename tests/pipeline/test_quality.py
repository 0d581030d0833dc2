"""Every received value has exactly one fate, and repetitions, futures and lateness are told apart."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.core import Samples, pack, unpack
from edge_agent.core.status import BAD_SENSOR_FAILURE, UNCERTAIN_SIMULATED
from edge_agent.pipeline.quality import FATES, REMEMBERED, RING, Screen
from tests.naive.pipeline import NaiveScreen

S = 1_000_000_000


def screen(tags: int = 2, low: float = -np.inf, high: float = np.inf, *, simulated: bool = False) -> Screen:
    return Screen(np.full(tags, low), np.full(tags, high), np.zeros(tags, np.int32), simulated=simulated, skew_ns=5 * S)


def fates(screen_: Screen, samples: Samples, closed_ns: int = 0) -> list[str]:
    return [FATES[f] for f in screen_.step(samples, np.array([closed_ns])).fate]


def test_a_repeated_value_is_a_duplicate_and_another_value_at_the_same_time_is_not():
    s = screen()
    assert fates(s, Samples.of([S, S, S, S], [0, 0, 0, 1], [1.0, 1.0, 2.0, 1.0], received_ns=S)) == ["good", "duplicate", "good", "good"]


def test_a_stamp_from_the_future_is_rejected_and_does_not_hide_what_follows():
    s = screen()
    assert fates(s, Samples.of([100 * S, 2 * S], [0, 0], [1.0, 1.0], received_ns=2 * S)) == ["rejected", "good"]
    assert s.step(Samples.of([3 * S], [0], [1.0], received_ns=3 * S), np.array([0])).newest_ns == 3 * S


def test_nothing_accepted_has_no_newest_time():
    assert screen().step(Samples.of([100 * S], [0], [1.0], received_ns=2 * S), np.array([0])).newest_ns is None


def test_not_a_number_is_bad_whatever_its_status_says():
    screened = screen().step(Samples.of([S, S], [0, 1], [np.nan, np.inf], received_ns=S), np.array([0]))
    assert screened.samples.status.tolist() == [BAD_SENSOR_FAILURE] * 2
    assert screened.usable.tolist() == [0, 0]


def test_beyond_the_range_is_uncertain_but_still_judged():
    screened = screen(low=0.0, high=10.0).step(Samples.of([S, 2 * S], [0, 0], [11.0, 10.0], received_ns=2 * S), np.array([0]))
    assert [FATES[f] for f in screened.fate] == ["uncertain", "good"]
    assert screened.usable.tolist() == [1, 1]


def test_simulated_values_are_good_only_on_an_edge_that_says_so():
    values = Samples.of([S], [0], [1.0], UNCERTAIN_SIMULATED, received_ns=S)
    assert fates(screen(simulated=True), values) == ["good"]
    assert fates(screen(simulated=False), values) == ["uncertain"]
    assert screen().step(values, np.array([0])).usable.tolist() == [0]


def test_a_simulated_value_out_of_range_keeps_its_mark():
    screened = screen(high=1.0, simulated=True).step(Samples.of([S], [0], [2.0], UNCERTAIN_SIMULATED, received_ns=S), np.array([0]))
    assert screened.samples.status[0] & 0xFFFF0000 == UNCERTAIN_SIMULATED
    assert FATES[screened.fate[0]] == "uncertain"


def test_unchanged_rows_are_the_same_object():
    values = Samples.of([S], [0], [1.0], received_ns=S)
    assert screen().step(values, np.array([0])).samples is values


row = st.tuples(
    st.integers(0, 40),
    st.integers(0, 2),
    st.sampled_from([0.0, 1.0, -3.0, 99.0, float("nan"), float("inf"), 2.0**54, -0.0]),
    st.sampled_from([0, 0x40000000, 0x40940000, 0x808C0000, 0xC0000000, UNCERTAIN_SIMULATED]),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(row, max_size=60), st.booleans(), st.integers(0, 20))
def test_equals_the_naive_twin(rows, simulated, closed):
    s = Screen(np.full(3, -5.0), np.full(3, 50.0), np.zeros(3, np.int32), simulated=simulated, skew_ns=np.array([10, 0, 15]))
    naive = NaiveScreen([-5.0] * 3, [50.0] * 3, simulated, [10, 0, 15])
    received = 20
    expected = [naive.step(t, k, v, x, received, closed, RING, REMEMBERED) for t, k, v, x in rows]
    columns = list(zip(*rows, strict=True)) or [[], [], [], []]
    samples = Samples.of(list(columns[0]), list(columns[1]), list(columns[2]), list(columns[3]), received)
    screened = s.step(samples, np.array([closed]))
    assert [(FATES[f], int(m)) for f, m in zip(screened.fate, screened.samples.status, strict=True)] == expected
    assert s.totals.sum() == len(rows)


def test_a_list_of_hundreds_of_values_that_comes_again_is_removed_whole():
    values = Samples.of(S + np.arange(5_000), np.zeros(5_000), np.arange(5_000) * 0.5, received_ns=2 * S)
    s = screen()
    assert set(fates(s, values)) == {"good"}
    assert set(fates(s, values)) == {"duplicate"}
    # Others of the same times are not taken for it, also when they come out of order.
    assert set(fates(s, Samples(values.time_ns, values.tag, values.value + 0.25, values.status, 2 * S))) == {"good"}
    assert set(fates(s, Samples(values.time_ns, values.tag + np.int32(1), values.value, values.status, 2 * S))) == {"good"}


def test_filling_a_hole_does_not_drive_out_the_newest_values():
    s = screen()
    assert fates(s, Samples.of([2 * S, 9 * S], [0, 0], [2.0, 9.0], received_ns=10 * S)) == ["good", "good"]
    n = 3 * RING
    fill = Samples.of(3 * S + np.arange(n), np.zeros(n), np.arange(n) * 0.5, received_ns=10 * S)
    assert set(fates(s, fill, 8 * S)) == {"late"}
    many = Samples.of(8 * S + np.arange(REMEMBERED), np.ones(REMEMBERED), np.arange(REMEMBERED) * 0.5, received_ns=10 * S)
    assert set(fates(s, many)) == {"good"}
    assert fates(s, Samples.of([9 * S], [0], [9.0], received_ns=10 * S)) == ["duplicate"]


def two_sources() -> Screen:
    group = np.zeros(2, np.int32)
    source = np.array([0, 1], np.int32)
    return Screen(np.full(2, -np.inf), np.full(2, np.inf), group, simulated=False, skew_ns=5 * S, source=source, sources=["a", "b"])


def test_a_source_remembers_its_own_newest_values_and_a_tag_its_last_ones_for_ever():
    s = two_sources()
    first = Samples.of(S + np.arange(RING + 2), np.zeros(RING + 2), np.arange(RING + 2.0), received_ns=3 * S)
    fates(s, first)
    n = REMEMBERED + 7
    many = Samples.of(2 * S + np.arange(n), np.ones(n), np.arange(n) * 0.5, received_ns=3 * S)
    assert set(fates(s, many)) == {"good"}
    assert set(fates(s, many.take(slice(7, None)))) == {"duplicate"}
    assert set(fates(s, many.take(slice(0, 7)))) == {"good"}, "older than what is remembered"
    assert set(fates(s, first)) == {"duplicate"}, "another source's values do not drive out these"


def test_what_is_remembered_survives_a_checkpoint_and_follows_the_name_of_its_source():
    values = Samples.of(S + np.arange(400), np.zeros(400), np.arange(400.0), received_ns=2 * S)
    s = two_sources()
    fates(s, values)
    group, limits = np.zeros(2, np.int32), np.full(2, np.inf)
    for names, source in ((["a", "b"], [0, 1]), (["new", "b", "a"], [2, 1])):
        again = Screen(-limits, limits, group, simulated=False, skew_ns=5 * S, source=np.array(source, np.int32), sources=names)
        again.restore(unpack(pack(s.state())))
        assert set(fates(again, values)) == {"duplicate"}
    assert pack(again.state()["seen"]) != pack(s.state()["seen"])
    same = two_sources()
    same.restore(unpack(pack(s.state())))
    assert pack(same.state()) == pack(s.state())


def test_a_state_of_an_earlier_version_is_taken_up_without_its_rings():
    s = two_sources()
    fates(s, Samples.of([S], [0], [1.0], received_ns=S))
    old = s.state()
    del old["seen"]
    old["ring_ns"], old["ring_bits"] = np.zeros((2, 128), np.int64), np.zeros((2, 128), np.int64)
    again = two_sources()
    again.restore(old)
    assert again.last_ns.tolist() == s.last_ns.tolist()
    assert fates(again, Samples.of([2 * S], [0], [1.0], received_ns=2 * S)) == ["good"]
