"""Ranges against the obvious: a set of integers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from edge_agent.core import Ranges

CLOSED = st.tuples(st.integers(1, 60), st.integers(0, 12)).map(lambda pair: (pair[0], pair[0] + pair[1]))


class AgainstASet(RuleBasedStateMachine):
    """Every way of adding, compared after each step."""

    def __init__(self) -> None:
        super().__init__()
        self.ranges = Ranges()
        self.naive: set[int] = set()

    @rule(closed=CLOSED)
    def add(self, closed: tuple[int, int]) -> None:
        self.ranges.add(*closed)
        self.naive |= set(range(closed[0], closed[1] + 1))

    @rule(closed=CLOSED)
    def add_twice(self, closed: tuple[int, int]) -> None:
        self.add(closed)
        self.add(closed)

    @rule()
    def rebuild_backwards(self) -> None:
        self.ranges = Ranges(reversed(self.ranges.ranges))

    @invariant()
    def holds_the_same(self) -> None:
        assert {i for i in range(80) if i in self.ranges} == self.naive
        assert sum(b - a + 1 for a, b in self.ranges.ranges) == len(self.naive)

    @invariant()
    def is_sorted_disjoint_and_joined(self) -> None:
        flat = [x for pair in self.ranges.ranges for x in pair]
        assert flat == sorted(flat)
        assert all(b + 1 < a for (_, b), (a, _) in zip(self.ranges.ranges, self.ranges.ranges[1:], strict=False))

    @invariant()
    def ends_agree(self) -> None:
        assert self.ranges.highest == max(self.naive, default=0)
        assert self.ranges.contiguous == next(i for i in range(1, 90) if i not in self.naive) - 1


TestAgainstASet = AgainstASet.TestCase


@given(st.lists(CLOSED), st.randoms())
def test_the_order_of_adding_does_not_matter(pairs: list[tuple[int, int]], random: st.random_module) -> None:
    shuffled = list(pairs)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert Ranges(pairs) == Ranges(shuffled)


@pytest.mark.parametrize("pair", [(0, 1), (-3, -1), (2, 1)])
def test_impossible_ranges_are_refused(pair: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="expected 1 <= a <= b"):
        Ranges([pair])


def test_membership_is_of_integers_only() -> None:
    assert "1" not in Ranges([(1, 2)])
    assert Ranges() != 3
    assert repr(Ranges([(1, 2)])) == "Ranges([(1, 2)])"
