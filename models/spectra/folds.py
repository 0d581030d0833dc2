"""Which samples are left out together: cross-validation that does not flatter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Int64 = NDArray[np.int64]


def folds(y: NDArray[Any], k: int, *, groups: Sequence[Any] | None = None, seed: int = 0) -> Int64:
    """(n,) fold of each sample, 0..k-1.

    Stratified: samples neighbouring in y go to different folds. Samples of one group (replicates, a batch) stay together, for a replicate in the
    training half tells the answer. Fewer than k folds when there are fewer groups.
    """
    y = np.asarray(y, np.float64)
    _, group = np.unique(np.arange(len(y)) if groups is None else np.asarray(groups).astype(str), return_inverse=True)
    count = np.bincount(group)
    level = np.bincount(group, weights=y) / count
    order = np.argsort(level, kind="stable")
    rng = np.random.default_rng(seed)
    of_group = np.empty(len(count), np.int64)
    k = min(k, len(count))
    for i in range(0, len(order), k):
        part = order[i : i + k]
        of_group[part] = rng.permutation(k)[: len(part)]
    return of_group[group]
