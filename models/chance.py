"""Random numbers of the models that draw some: the same on every computer, from a seed that stands in the configuration."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.compiled import kernel


@kernel("float64(int64[::1])")
def drawn(state: NDArray[np.int64]) -> float:
    """The next number in 0 .. 1, both excluded; state (1,) is 1 to 2147483646 (Lehmer's generator with factor 48271, Park and Miller 1993).

    >>> state = np.array([1])
    >>> round(drawn(state), 7), round(drawn(state), 7), int(state[0])
    (2.25e-05, 0.0850324, 182605794)
    """
    state[0] = state[0] * 48271 % 2147483647
    return float(state[0]) / 2147483647.0
