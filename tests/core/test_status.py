"""Status codes: one by one and by columns they mean the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core import status as s

CODES = st.integers(0, 2**32 - 1) | st.sampled_from([s.GOOD, s.UNCERTAIN, s.BAD, s.UNCERTAIN_SIMULATED, s.UNCERTAIN_SIMULATED | 0x480, 0xC0000000])


@given(st.lists(CODES), st.booleans())
def test_columns_agree_with_single_codes(codes: list[int], simulated: bool) -> None:
    column = s.qualities(np.array(codes, np.uint32), simulated=simulated)
    assert column.tolist() == [s.quality(code, simulated=simulated) for code in codes]
    assert column.dtype == np.uint8


@pytest.mark.parametrize(
    ("code", "real", "simulated"),
    [
        (0x00000000, "good", "good"),
        (0x00000480, "good", "good"),
        (0x40940000, "uncertain", "uncertain"),
        (0x42090000, "uncertain", "good"),
        (0x42090480, "uncertain", "good"),
        (0x80000000, "bad", "bad"),
        (0x808C0000, "bad", "bad"),
        (0xFFFFFFFF, "bad", "bad"),
    ],
)
def test_qualities_of_known_codes(code: int, real: str, simulated: str) -> None:
    assert s.QUALITY_NAMES[s.quality(code)] == real
    assert s.QUALITY_NAMES[s.quality(code, simulated=True)] == simulated


@given(CODES, CODES)
def test_the_worse_of_two(a: int, b: int) -> None:
    worst = s.worse(a, b)
    assert worst == s.worse(b, a)
    assert worst in (a, b)
    assert s.quality(worst) == max(s.quality(a), s.quality(b))
