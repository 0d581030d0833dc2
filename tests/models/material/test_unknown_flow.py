"""While the flow is not known nobody knows where the material is: no gram that might be bad is accepted afterwards."""

from __future__ import annotations

import numpy as np
import pytest

from models.material.divert import Divert, Feed, Rules
from models.material.residence import Tanks, train
from models.material.tracking import Train

KG_H = 20.0
NOTHING, KNOWN = np.full((1, 2), np.nan), np.zeros(1, bool)


@pytest.mark.parametrize("outage", [False, True], ids=["flow lost", "edge away"])
@pytest.mark.parametrize(("rate", "bad", "gap"), [(0.0, (800, 840), (850, 910)), (0.0, (800, 840), (850, 970)), (2.0, (850, 970), (850, 970))])
def test_a_line_that_stood_or_ran_faster_meanwhile(rate: float, bad: tuple[int, int], gap: tuple[int, int], outage: bool) -> None:
    curves = [train([Tanks(tau_s=30, tanks=5, dead_s=200)], 1.0, stretch) for stretch in (1.0, 0.9, 1.1)]
    divert = Divert(Rules(95.5, 104.5, KG_H / 3600, 1.0, KG_H, 10.0, 10.0, 2.0), Train([curves], (0.0, 1000.0)))
    truth, moved = Train([[curves[0]]], (100.0, 100.0)), 0.0
    requests = 0
    for second in range(1500):
        content = 115.0 if bad[0] <= second < bad[1] else 100.0
        away = gap[0] <= second < gap[1]
        moved += rate if away else 1.0
        while moved >= 1.0:
            truth.push(content, content, NOTHING)
            moved -= 1.0
        if away and outage:
            continue  # nothing is told: a stale request means divert
        if outage and second == gap[1]:
            divert.unseen(gap[1] - gap[0])
        feed = None if away else Feed(content * 0.99, content * 1.01, KG_H)
        asked = divert.step(feed, NOTHING, KNOWN, None, feedback=False).request
        requests += asked
        assert asked or 95.0 <= truth.bounds()[0] <= 105.0, second
    assert requests < 1400


def fed(*flows: float) -> Divert:
    divert = Divert(Rules(95.5, 104.5, KG_H / 3600, 1.0, KG_H, 10.0, 10.0, 2.0), Train([[train([Tanks(tau_s=30, tanks=5)], 1.0)]], (0.0, 200.0)))
    for kg_h in flows:
        divert.step(Feed(99.0, 101.0, kg_h), NOTHING, KNOWN, True, feedback=True)
    return divert


def test_more_material_than_the_line_holds_is_accounted_for_without_moving_it_parcel_by_parcel(monkeypatch: pytest.MonkeyPatch) -> None:
    pushed = []
    push = Train.push
    monkeypatch.setattr(Train, "push", lambda self, *rest: pushed.append(rest) or push(self, *rest))
    divert = fed(KG_H * 1e6 + KG_H / 2)
    assert 0 < len(pushed) < 1000
    assert divert.now.accounts["diverted_kg"] == pytest.approx(1e6 * KG_H / 3600)
    assert divert.state()["pending"] == pytest.approx(KG_H / 7200 * np.array([1.0, 99.0, 101.0]), rel=1e-6)
    assert (divert.now.low, divert.now.high) == pytest.approx((99.0, 101.0))


def test_a_flow_of_any_size_ends() -> None:
    divert = fed(3.4e38)
    assert 0.0 <= divert.state()["pending"][0] < KG_H / 3600
