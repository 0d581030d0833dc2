"""The seasonal profile: what the contract suite cannot know of it."""

from __future__ import annotations

import numpy as np
import pytest

from models.seasonal import HOUR_NS, Seasonal, SeasonalConfig


def test_every_part_of_the_period_has_to_be_trained() -> None:
    config = SeasonalConfig(tags=("a",), period_h=24, parts=4, least=20)
    time_ns = np.arange(0, 24 * HOUR_NS, HOUR_NS // 10)
    value = np.random.default_rng(1).normal(20.0, 0.1, len(time_ns))
    assert (Seasonal.train(config, time_ns, value)["count"] == 60).all()
    worked = (time_ns >= 6 * HOUR_NS) & (time_ns < 19 * HOUR_NS)
    said = "expected at least 20 usable rows in each part of the period, found 0 h to 6 h: 0, 18 h to 24 h: 10"
    with pytest.raises(ValueError, match=said):
        Seasonal.train(config, time_ns[worked], value[worked])
