"""Tracking: bounds of what is where in a train of units, parcel by parcel of equal mass.

Material is counted in parcels, not in seconds: with a constant hold-up a residence time distribution over passed mass holds at any flow,
and the clock stands while nothing flows. Each parcel carries a low and a high bound of its concentration; a unit mixes them with the shares of its
residence time, which are all above 0, so bounds stay bounds. Several stretches of the residence times run side by side; what is said is the widest
of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.compiled import kernel

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]


@kernel("int64(float64[:, :, ::1], int64[:, ::1], float64[:, :, :, ::1], int64, float64, float64, float64[:, ::1], float64[:, :, ::1])")
def push(shares: Float64, lengths: Int64, ring: Float64, head: int, low: float, high: float, seen: Float64, out: Float64) -> int:
    """One parcel enters the first section and one leaves each; returns the new head.

    shares  (sections, stretches, k); lengths (sections, stretches) how many of the k count
    ring    (sections, stretches, 2, k) low and high of what entered each section, the newest at `head`
    seen    (sections, 2) bounds an instrument behind each section gives, NaN where there is none
    out     (sections, stretches, 2) written: bounds of what leaves each section, widened by `seen`
    """
    size = ring.shape[3]
    head = head + 1 if head + 1 < size else 0
    for v in range(shares.shape[1]):
        a, b = low, high
        for s in range(shares.shape[0]):
            ring[s, v, 0, head] = a
            ring[s, v, 1, head] = b
            a, b = 0.0, 0.0
            at = head
            for k in range(lengths[s, v]):
                a += shares[s, v, k] * ring[s, v, 0, at]
                b += shares[s, v, k] * ring[s, v, 1, at]
                at = at - 1 if at > 0 else size - 1
            if seen[s, 0] < a:
                a = seen[s, 0]
            if seen[s, 1] > b:
                b = seen[s, 1]
            out[s, v, 0] = a
            out[s, v, 1] = b
    return head


@kernel(
    "void(float64[:, :, ::1], int64[:, ::1], float64[:, :, :, ::1], int64, float64, float64, float64[:, ::1], float64[:, :, ::1], float64[:, ::1])"
)
def ahead(shares: Float64, lengths: Int64, ring: Float64, head: int, low: float, high: float, seen: Float64, coming: Float64, out: Float64) -> None:
    """What will leave the last section with each of the next parcels if the feed and the instruments stay as given; nothing is moved.

    coming  (2, 2, parcels) room for what enters and leaves a section
    out     (2, parcels) written: the lowest and highest bound over the stretches
    """
    size, n = ring.shape[3], out.shape[1]
    out[0, :] = np.inf
    out[1, :] = -np.inf
    for v in range(shares.shape[1]):
        coming[0, 0, :] = low
        coming[0, 1, :] = high
        for s in range(shares.shape[0]):
            for p in range(n):
                a, b = 0.0, 0.0
                fresh = min(p + 1, lengths[s, v])
                for k in range(fresh):
                    a += shares[s, v, k] * coming[0, 0, p - k]
                    b += shares[s, v, k] * coming[0, 1, p - k]
                at = head
                for k in range(fresh, lengths[s, v]):
                    a += shares[s, v, k] * ring[s, v, 0, at]
                    b += shares[s, v, k] * ring[s, v, 1, at]
                    at = at - 1 if at > 0 else size - 1
                if seen[s, 0] < a:
                    a = seen[s, 0]
                if seen[s, 1] > b:
                    b = seen[s, 1]
                coming[1, 0, p] = a
                coming[1, 1, p] = b
            # One by one: numba's assignment of a part to another allocates a list, which kernels compiled ahead of time have no room for.
            for p in range(n):
                coming[0, 0, p] = coming[1, 0, p]
                coming[0, 1, p] = coming[1, 1, p]
        for p in range(n):
            if coming[0, 0, p] < out[0, p]:
                out[0, p] = coming[0, 0, p]
            if coming[0, 1, p] > out[1, p]:
                out[1, p] = coming[0, 1, p]


class Train:
    """Sections in a row, each with its curves (one per stretch) and perhaps an instrument behind it.

    curves   per section one (k,) of shares per stretch of the residence times, the nominal one first
    unknown  bounds of material of which nothing is known, as all of it is at the beginning
    """

    def __init__(self, curves: Sequence[Sequence[Float64]], unknown: tuple[float, float]) -> None:
        sections, stretches = len(curves), len(curves[0])
        size = max(len(c) for section in curves for c in section)
        self._shares = np.zeros((sections, stretches, size))
        self._lengths = np.array([[len(c) for c in section] for section in curves], np.int64)
        for s, section in enumerate(curves):
            for v, curve in enumerate(section):
                self._shares[s, v, : len(curve)] = curve
        self.sections = sections
        self.longest = int(self._lengths.max(axis=1).sum())
        """Parcels after which what is in the train now has left it."""
        self.unknown = unknown
        self._ring = np.empty((sections, stretches, 2, size))
        self._out = np.empty((sections, stretches, 2))
        self.forget()

    def forget(self) -> None:
        """Nothing is known of what is in the train."""
        self._ring[:, :, 0, :], self._ring[:, :, 1, :] = self.unknown
        self._out[:, :, 0], self._out[:, :, 1] = self.unknown
        self._head = 0

    def push(self, low: float, high: float, seen: Float64) -> None:
        """One parcel with these bounds enters; `seen` (sections, 2) is what instruments say, NaN where they say nothing."""
        self._head = push(self._shares, self._lengths, self._ring, self._head, low, high, seen, self._out)

    def bounds(self, section: int = -1) -> tuple[float, float]:
        """Bounds of what leaves a section now, over all stretches."""
        return float(self._out[section, :, 0].min()), float(self._out[section, :, 1].max())

    def within(self, low: float, high: float) -> bool:
        """Whether every parcel that is still in the train lies between two limits: then nothing outside can come out."""
        at = np.arange(self._ring.shape[3])
        age = (self._head - at) % self._ring.shape[3]
        counts = age[None, None, :] < self._lengths[:, :, None]
        return bool(((self._ring[:, :, 0] >= low) & (self._ring[:, :, 1] <= high) | ~counts).all())

    def ahead(self, parcels: int, low: float, high: float, seen: Float64) -> Float64:
        """(2, parcels) bounds of what will leave with each of the next parcels while the feed has these bounds."""
        out = np.empty((2, parcels))
        ahead(self._shares, self._lengths, self._ring, self._head, low, high, seen, np.empty((2, 2, parcels)), out)
        return out

    def state(self) -> dict[str, Any]:
        """What is in the train."""
        return {"ring": self._ring.copy(), "out": self._out.copy(), "head": self._head}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state of the same curves."""
        self._ring[:], self._out[:], self._head = state["ring"], state["out"], int(state["head"])
