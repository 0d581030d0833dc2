"""Obvious forms of residence times and tracking."""

from __future__ import annotations

import numpy as np
from scipy.special import gammainc


def tanks_left(t, tau, n, dead=0.0):
    return gammainc(n, np.maximum(0.0, n * (np.asarray(t, float) - dead) / tau))


def mixed(entered, shares, before):
    """What leaves a section with each parcel of `entered`; all that came before was `before`."""
    history = np.concatenate([np.full(len(shares), before), entered])
    return np.array([(shares * history[i : i - len(shares) : -1]).sum() for i in range(len(shares), len(history))])


def tracked(entered, sections, before, seen):
    """Bounds (2, n) of what leaves the last of the sections; `entered` (2, n); `sections` shares; `seen` (sections, 2, n) with NaN."""
    now = np.asarray(entered, float)
    for shares, told in zip(sections, seen, strict=True):
        now = np.stack([np.fmin(mixed(now[0], shares, before[0]), told[0]), np.fmax(mixed(now[1], shares, before[1]), told[1])])
    return now
