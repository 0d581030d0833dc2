"""The divert decision: which material that will soon reach the diverter cannot be shown to be within its limits.

Everything is conservative: a feed is a pair of bounds, what is not known has the bounds of everything a feeder could do, and residence times
count with their tolerance. A request is made as long as a bound lies outside the limits now or within the lead, and for a while afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.material.tracking import Train

Float64 = NDArray[np.float64]

NORMAL, PENDING, DIVERTING, CLEARING = range(4)
"""Nothing is coming; material outside its limits is on its way; it is there; it has passed and the margin runs."""

FEED: Final = 1
"""Reason: the feeders did not give what the recipe asks."""
MEASURED: Final = 2
"""Reason: an instrument found it outside."""
FEED_UNKNOWN: Final = 4
"""Reason: a feeder's flow was missing or bad."""
INSTRUMENT_UNKNOWN: Final = 8
"""Reason: a required instrument was missing or bad."""
UNSEEN: Final = 16
"""Reason: the edge was not running."""
START: Final = 32
"""Reason: nothing is known yet of what is in the line."""
REASONS: Final = (FEED, MEASURED, FEED_UNKNOWN, INSTRUMENT_UNKNOWN, UNSEEN, START)

APART: Final = 1
SILENT: Final = 2
ACCOUNTS: Final = ("accepted_kg", "diverted_kg", "unconfirmed_kg", "against_kg", "unseen_s")
"""accepted and diverted: by the diverter's feedback; unconfirmed: it gave none; against: accepted although a divert had long been asked for;
unseen: how long the edge did not run, or the flow was not known."""

LOOK_EVERY: Final = 5
"""Steps between two looks at the whole window of what is coming."""
_SMOOTH: Final = 0.1


@dataclass(frozen=True, slots=True)
class Rules:
    """What the decision rests on; concentrations in % of label claim, masses in kg, flows in kg/h."""

    low: float
    high: float
    parcel_kg: float
    step_s: float
    nominal_kg_h: float
    lead_s: float
    after_s: float
    actuator_s: float


@dataclass(frozen=True, slots=True)
class Feed:
    """What enters in one step: bounds of the concentration and the flow."""

    low: float
    high: float
    kg_h: float


@dataclass(slots=True)
class Decided:
    """What holds behind a step."""

    request: bool = True
    reason: int = START
    state: int = DIVERTING
    low: float = 0.0
    high: float = 0.0
    starts_s: float = math.nan
    """Seconds until the first material outside its limits reaches the diverter, if the feed is right from now on; NaN when there is none."""
    ends_s: float = math.nan
    """Seconds until the last of it has passed."""
    mismatch: int = 0
    """For longer than the diverter takes it has not been where it was asked to be: APART, or its feedback has said nothing: SILENT."""
    accounts: dict[str, float] = field(default_factory=lambda: dict.fromkeys(ACCOUNTS, 0.0))


def blend(flows: Sequence[tuple[float, float]], contents: Sequence[float]) -> tuple[float, float]:
    """Lowest and highest share of a component in a blend of flows that are known within bounds; `contents` is its share in each flow.

    >>> [round(x, 5) for x in blend([(1.98, 2.02), (17.82, 18.18)], [1.0, 0.0])]
    [0.09821, 0.10181]
    """
    order = sorted(range(len(contents)), key=lambda j: -contents[j])
    found = []
    for rich, poor in ((1, 0), (0, 1)):
        at = []
        # At an extreme the k richest flows are at one bound and the others at the other.
        for k in range(len(order) + 1):
            used = [flows[j][rich if place < k else poor] for place, j in enumerate(order)]
            whole = sum(used)
            if whole > 0.0:
                at.append(sum(f * contents[j] for f, j in zip(used, order, strict=True)) / whole)
        found.append((max if rich else min)(at, default=0.0))
    return found[1], found[0]


class Divert:
    """The decision of one diverter at the end of a train; stepped once in `rules.step_s`."""

    def __init__(self, rules: Rules, train: Train) -> None:
        self.rules, self._train = rules, train
        self.now = Decided(low=train.unknown[0], high=train.unknown[1])
        self._pending = np.zeros(3)  # kg that is no whole parcel yet, and kg x low, kg x high
        self._smooth = np.full(2, np.nan)
        self._clear = 0.0
        self._apart_s = 0.0
        self._asked_s = 0.0
        self._steps = self._before = 0

    def unseen(self, seconds: float) -> None:
        """Time passed in which nothing was known: whatever was fed in it is unknown."""
        self._train.forget()  # how far material moved meanwhile is not known: whatever was bad may be anywhere
        self.now.accounts["unseen_s"] += seconds
        self.now.reason |= UNSEEN
        self._smooth[:] = np.nan

    def step(self, feed: Feed | None, seen: Float64, unknown: NDArray[np.bool_], diverted: bool | None, *, feedback: bool) -> Decided:
        """One step.

        feed      what enters; None when that is not known
        seen      (sections, 2) bounds by the instrument behind each section, NaN where it has none or says nothing
        unknown   (sections,) a required instrument says nothing
        diverted  where the diverter is; None when its feedback says nothing. `feedback` False: there is none, the request is taken for it
        """
        r, train, now = self.rules, self._train, self.now
        causes = self._causes(feed, seen, unknown)
        now.reason |= causes
        told = seen.copy()
        told[unknown] = train.unknown
        low, high, kg_h = (feed.low, feed.high, feed.kg_h) if feed is not None else (*train.unknown, r.nominal_kg_h)
        parcels = self._enter(low, high, kg_h, told)
        if feed is None:
            now.accounts["unseen_s"] += r.step_s  # how much moved is not known
        else:
            self._account(parcels, now.request if not feedback else diverted)
        now.low, now.high = train.bounds()
        lead = 1 + math.ceil(r.lead_s * max(kg_h, r.nominal_kg_h) / 3600.0 / r.parcel_kg)
        # Behind what is in the train now comes the feed alone, parcel after parcel the same.
        soon = train.ahead(min(lead, train.longest), low, high, told)
        # How fast material moves is known of a known feed only.
        outside = feed is None or min(now.low, soon[0].min()) < r.low or max(now.high, soon[1].max()) > r.high
        self._decide(outside, kg_h)
        if self._steps % LOOK_EVERY == 0 or causes & ~self._before:
            self._look(max(kg_h, 0.1 * r.nominal_kg_h))
        self._steps, self._before = self._steps + 1, causes
        if not outside and self._clear <= 0.0:
            now.state = PENDING if not math.isnan(now.starts_s) else NORMAL
            if now.state == NORMAL:
                now.reason = 0
        if feed is None:
            train.forget()  # the line may have stood, or run at twice its rate: nobody knows where its material is
        self._watch_diverter(diverted, feedback=feedback)
        return now

    def _causes(self, feed: Feed | None, seen: Float64, unknown: NDArray[np.bool_]) -> int:
        r, found = self.rules, 0
        if feed is None:
            found |= FEED_UNKNOWN
        elif feed.kg_h > 0.0:
            # Noise of single seconds is no cause; what it does to the blend is tracked all the same.
            fresh = np.array([feed.low, feed.high])
            self._smooth = fresh if np.isnan(self._smooth[0]) else self._smooth + _SMOOTH * (fresh - self._smooth)
            if self._smooth[0] < r.low or self._smooth[1] > r.high:
                found |= FEED
        if unknown.any():
            found |= INSTRUMENT_UNKNOWN
        if (seen[:, 0] < r.low).any() or (seen[:, 1] > r.high).any():
            found |= MEASURED
        return found

    def _enter(self, low: float, high: float, kg_h: float, seen: Float64) -> int:
        """Material of one step enters; the whole parcels of it move the train."""
        r, pending = self.rules, self._pending
        kg = kg_h * r.step_s / 3600.0
        pending += (kg, kg * low, kg * high)
        parcels = 0
        while pending[0] >= r.parcel_kg and parcels < self._train.longest:
            self._train.push(pending[1] / pending[0], pending[2] / pending[0], seen)
            pending *= (pending[0] - r.parcel_kg) / pending[0]
            parcels += 1
        if pending[0] >= r.parcel_kg:
            # The train holds nothing but this material already: what else of it enters changes nothing there.
            parcels += int(pending[0] // r.parcel_kg)
            pending *= math.fmod(pending[0], r.parcel_kg) / pending[0]
        return parcels

    def _account(self, parcels: int, diverted: bool | None) -> None:
        kg, accounts = parcels * self.rules.parcel_kg, self.now.accounts
        accounts["unconfirmed_kg" if diverted is None else "diverted_kg" if diverted else "accepted_kg"] += kg
        if diverted is False and self.now.request and self._asked_s > self.rules.actuator_s:
            accounts["against_kg"] += kg

    def _decide(self, outside: bool, kg_h: float) -> None:
        r, now = self.rules, self.now
        if outside:
            # The margin is counted in mass: while the line stands still nothing passes.
            now.state, self._clear = DIVERTING, r.after_s * r.nominal_kg_h
        elif self._clear > 0.0:
            now.state = CLEARING
            self._clear -= kg_h * r.step_s
        request = bool(outside) or self._clear > 0.0
        self._asked_s = self._asked_s + r.step_s if request == now.request else 0.0
        now.request = request

    def _look(self, kg_h: float) -> None:
        r, now, train = self.rules, self.now, self._train
        now.starts_s = now.ends_s = math.nan
        if train.within(r.low, r.high):
            return
        middle = 0.5 * (r.low + r.high)
        coming = train.ahead(train.longest, middle, middle, np.full((train.sections, 2), np.nan))
        outside = np.flatnonzero((coming[0] < r.low) | (coming[1] > r.high))
        if len(outside):
            parcel_s = r.parcel_kg * 3600.0 / kg_h
            now.starts_s, now.ends_s = float(outside[0]) * parcel_s, float(outside[-1] + 1) * parcel_s

    def _watch_diverter(self, diverted: bool | None, *, feedback: bool) -> None:
        apart = feedback and diverted != self.now.request
        self._apart_s = self._apart_s + self.rules.step_s if apart else 0.0
        self.now.mismatch = 0 if not self._apart_s > self.rules.actuator_s else SILENT if diverted is None else APART

    def state(self) -> dict[str, Any]:
        """All of it."""
        now = self.now
        told = np.array([now.request, now.reason, now.state, now.low, now.high, now.starts_s, now.ends_s, now.mismatch], np.float64)
        runs = np.array([self._clear, self._apart_s, self._asked_s], np.float64)
        return {
            "train": self._train.state(), "told": told, "pending": self._pending.copy(), "smooth": self._smooth.copy(), "runs": runs,
            "steps": self._steps, "before": self._before,
        }  # fmt: skip

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state of the same rules and train; the accounts are kept apart."""
        self._train.restore(state["train"])
        t = state["told"].tolist()
        self.now = Decided(bool(t[0]), int(t[1]), int(t[2]), t[3], t[4], t[5], t[6], int(t[7]), self.now.accounts)
        self._pending[:], self._smooth[:] = state["pending"], state["smooth"]
        self._clear, self._apart_s, self._asked_s = state["runs"].tolist()
        self._steps, self._before = int(state["steps"]), int(state["before"])
