import numpy as np
import pytest

from edge_agent.core import pack, unpack
from models.material.residence import Tanks, train
from models.material.tracking import Train
from tests.naive.material import tracked

CURVES = [[train((Tanks(tau_s=20 * x, tanks=2.5),), 1.0) for x in (1.0, 0.9)], [train((Tanks(tau_s=6 * x, dead_s=3 * x),), 1.0) for x in (1.0, 0.9)]]
NOTHING = np.full((2, 2), np.nan)


def fed(n=300, seed=3):
    rng = np.random.default_rng(seed)
    middle = 100 + rng.normal(0, 1.5, n)
    middle[80:110] += 25
    middle[200:203] = 0
    seen = np.full((2, 2, n), np.nan)
    seen[0, 0, 150:], seen[0, 1, 150:] = 97 + rng.normal(0, 1, n - 150), 103 + rng.normal(0, 1, n - 150)
    return np.stack([middle - 1, middle + 1]), seen


def test_bounds_are_those_of_plain_convolution():
    entered, seen = fed()
    made = Train(CURVES, (0.0, 200.0))
    found = []
    for i in range(entered.shape[1]):
        made.push(*entered[:, i], np.ascontiguousarray(seen[:, :, i]))
        found.append(made.bounds())
    each = [tracked(entered, [CURVES[0][v], CURVES[1][v]], (0.0, 200.0), seen) for v in range(2)]
    assert np.array(found)[:, 0] == pytest.approx(np.minimum(each[0][0], each[1][0]), abs=1e-10)
    assert np.array(found)[:, 1] == pytest.approx(np.maximum(each[0][1], each[1][1]), abs=1e-10)


def test_what_will_come_is_what_comes():
    entered, seen = fed()
    made, other = Train(CURVES, (0.0, 200.0)), Train(CURVES, (0.0, 200.0))
    for i in range(120):
        made.push(*entered[:, i], np.ascontiguousarray(seen[:, :, i]))
    other.restore(unpack(pack(made.state())))
    told = np.ascontiguousarray([[96.0, 104.0], [np.nan, np.nan]])
    foretold = made.ahead(90, 99.0, 101.0, told)
    came = []
    for _ in range(90):
        other.push(99.0, 101.0, told)
        came.append(other.bounds())
    assert pytest.approx(np.array(came), abs=1e-10) == foretold.T


def test_nothing_is_known_at_first_and_all_after_it_has_left():
    made = Train(CURVES, (0.0, 200.0))
    assert made.bounds() == (0.0, 200.0)
    pushed = 0
    while not made.within(95, 105):
        made.push(99.0, 101.0, NOTHING)
        pushed += 1
    assert 60 < pushed <= made.longest
    for _ in range(made.longest):
        made.push(99.0, 101.0, NOTHING)
    assert made.bounds() == pytest.approx((99.0, 101.0))
    made.forget()
    assert made.bounds() == (0.0, 200.0)
    assert not made.within(95, 105)
