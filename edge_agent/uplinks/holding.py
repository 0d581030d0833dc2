"""What one gateway says it holds, held against the outbox: what of it is ours, and what another life of this edge has delivered.

An answer names the committed ranges of each epoch with the running CRC at the end of each. As that CRC runs over everything before it, and a gateway
takes nothing into a range that does not go on from its neighbours, an equal one proves that the whole range is ours, whatever its epoch is called;
another one proves that its end is not.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge_agent.core import Committed, Epochs, Log, Ranges

STREAM = "outbox"


@dataclass(frozen=True, slots=True)
class Contest:
    """Numbers behind `through` belong to another life of this edge at one gateway: ours need an epoch of their own, later than `above`."""

    through: int
    above: int
    why: str


class Holding:
    """One gateway, from its answers.

    apart  the outbox's head when this edge was started without having proof from this gateway since: a copied disk has it from its first start,
           and everything up to there is common to both lives; None when there has been proof
    """

    def __init__(self, gateway: str, outbox: Log, apart: int | None) -> None:
        self.gateway, self.apart = gateway, apart
        self._outbox = outbox
        self._said: Committed | None = None
        self._session: str | None = None
        self._ends: dict[tuple[int, int, int], bool] = {}
        self.proven = 0
        """Up to here the gateway's records and ours are the same, as far as it has any."""
        self._ours: list[tuple[int, int]] = []

    def reconnected(self) -> None:
        """What was said before is taken for nothing: a gateway may come back with less than it had."""
        self._said = self._session = None
        self._ours = []

    def learn(self, said: Committed) -> bool:
        """Take in an answer; returns whether the gateway began a new session."""
        before, self._session, self._said = self._session, said.session, said
        return before != said.session

    def look(self, epochs: Epochs) -> Contest | None:
        """Compare the last answer with the outbox; what contradicts it, or None."""
        said = self._said
        if said is None:
            return None
        head = self._outbox.head(STREAM).seq
        wrong: list[int] = []
        spans = epochs.spans(1, head)
        ends: dict[tuple[int, int, int], bool] = {}
        self._ours = []
        for epoch, ranges in said.epochs.items():
            for (first, last), chain in zip(ranges.ranges, said.chains.get(epoch, ()), strict=False):
                same = self._same(epoch, last, chain, head)
                if same is None:
                    continue
                ends[epoch, last, chain] = same
                if same:
                    self._ours.append((first, last))
                elif any(a <= last <= b and e == epoch for a, b, e in spans):
                    wrong.append(last)
        self._ends = ends
        for first, last in sorted(self._ours):
            if first <= max(self.apart or 0, self.proven) + 1:
                self.proven = max(self.proven, last)
        ours = Ranges(self._ours)
        for a, b, e in spans:
            # What is proven to be ours there has been disputed to somebody else.
            wrong += [seq for seq in said.disputed.get(e, ()) if a <= seq <= b and seq not in ours]
        return self._contest(said, epochs, head, wrong)

    def _contest(self, said: Committed, epochs: Epochs, head: int, wrong: list[int]) -> Contest | None:
        common = max(self.apart or 0, self.proven)
        newest, mine = max(said.epochs, default=0), said.epochs.get(epochs.current, Ranges())
        if wrong:
            first = min(wrong)
            return Contest(min(common, first - 1), newest, f"gateway {self.gateway} has another record {first} of epoch {epochs.of(first)}")
        if mine.highest > head:
            why = f"gateway {self.gateway} has record {mine.highest} of epoch {epochs.current}, this edge has made {head}"
            return Contest(min(common, head), newest, why)
        known = {epoch for _, epoch in epochs.begins}
        if newest > epochs.current and newest not in known and (self.apart == 0 or not mine.ranges):
            # Begun anew with a clock that was set back: gateways order an edge's records by epoch.
            return Contest(self.proven, newest, f"gateway {self.gateway} knows epoch {newest} of this edge, later than {epochs.current}")
        return None

    def _same(self, epoch: int, seq: int, chain: int, head: int) -> bool | None:
        if seq > head:
            return None
        known = self._ends.get((epoch, seq, chain))
        if known is not None:
            return known
        ours = self._outbox.chain(STREAM, seq)
        return None if ours is None else ours == chain

    def settled(self) -> bool:
        """Whether there is now proof of everything before we were `apart`: from here on the two cannot be taken for a copy."""
        if self.apart is None or self._said is None or self.proven < self.apart or not self.proven:
            return False
        self.apart = None
        return True

    def held(self, epochs: Epochs) -> Ranges:
        """The numbers of our outbox that the gateway holds: those of their epoch, and those that are proven to be the same.

        As long as this disk could be a copy, numbers behind the start are taken for ours only when proven.
        """
        found = Ranges()
        if self._said is None:
            return found
        head = self._outbox.head(STREAM).seq
        trusted = head if self.apart is None else max(self.apart, self.proven)
        for first, last, epoch in epochs.spans(1, head):
            if epoch in self._said.chains:
                last = min(last, trusted)
            for a, b in self._said.epochs.get(epoch, Ranges()).ranges:
                if max(a, first) <= min(b, last):
                    found.add(max(a, first), min(b, last))
        for a, b in self._ours:
            found.add(a, b)
        return found
