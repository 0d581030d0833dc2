"""The watermark: no dead tag holds it, no future stamp drives it, silence does not stop it."""

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.pipeline.ticks import Watermark


def test_it_is_the_newest_source_time_bounded_by_the_tick():
    w = Watermark(idle_ns=100)
    w.heard(50, 50)
    assert w.base_ns(60) == 50
    w.heard(1000, 61)
    assert w.base_ns(70) == 70


def test_it_follows_the_ticks_after_silence():
    w = Watermark(idle_ns=100)
    w.heard(50, 50)
    assert w.base_ns(149) == 50
    assert w.base_ns(150) == 50
    assert w.base_ns(300) == 200


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)), max_size=20))
def test_it_never_goes_back_and_is_reached_when_it_says(heard):
    w, now, low = Watermark(idle_ns=50), 0, 0
    for source, step in heard:
        now += step
        w.heard(source, now)
        target = low + 30
        reached = w.reaches_ns(target)
        assert w.base_ns(now) >= low
        low = w.base_ns(now)
        probe = Watermark(50)
        probe.restore(w.state())
        assert probe.base_ns(max(now, reached)) >= target
        if reached > now:
            probe.restore(w.state())
            assert probe.base_ns(max(now, reached - 1)) < target or low >= target
