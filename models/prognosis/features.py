"""What the trees see of a unit besides the library: levels, slopes and the beginning of each slow score."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.compiled import kernel

Float64 = NDArray[np.float64]

PER_SCORE: Final = 12
NAMES: Final = (
    *(f"mean of the last {w}" for w in (5, 10, 20, 40, 80)), *(f"slope of the last {w}" for w in (20, 40, 80)),
    "smoothed, fast", "smoothed, slow", "mean of the first 15", "mean so far",
)  # fmt: skip


@kernel("void(float64[:, ::1], float64[::1])")
def history(scores: Any, out: Any) -> None:
    """Features of the scores so far (n, k), newest last: PER_SCORE for each direction, then the age n; out (12 k + 1,)."""
    n, k = scores.shape
    for j in range(k):
        at = PER_SCORE * j
        total, head, fast, slow = 0.0, 0.0, scores[0, j], scores[0, j]
        for i in range(n):
            v = scores[i, j]
            total += v
            if i < 15:
                head += v
            fast += 0.2 * (v - fast)
            slow += 0.07 * (v - slow)
        w = 5
        for m in range(5):
            c = min(w, n)
            s = 0.0
            for i in range(n - c, n):
                s += scores[i, j]
            out[at + m] = s / c
            w *= 2
        w = 20
        for m in range(3):
            c = min(w, n)
            st, stt, sy, sty = 0.0, 0.0, 0.0, 0.0
            for i in range(c):
                y = scores[n - c + i, j]
                st += i
                stt += float(i) * i
                sy += y
                sty += i * y
            out[at + 5 + m] = (c * sty - st * sy) / (c * stt - st * st + 3000.0 * c)
            w *= 2
        out[at + 8] = fast
        out[at + 9] = slow
        out[at + 10] = head / min(n, 15)
        out[at + 11] = total / n
    out[PER_SCORE * k] = n


def of(scores: NDArray[Any]) -> Float64:
    """(12 k + 1,) features of scores so far (n, k)."""
    out = np.empty(PER_SCORE * scores.shape[1] + 1)
    history(np.ascontiguousarray(scores, np.float64), out)
    return out
