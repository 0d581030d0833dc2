"""Which epoch each number of an outbox belongs to."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

import msgspec


@dataclass(frozen=True, slots=True)
class Epochs:
    """The epochs of one outbox: each goes from its first number to the one before the next epoch's.

    begins  (first number, epoch), both growing; the first entry, (0, epoch in which the log was made), stays for ever: it tells the log from others

    >>> e = Epochs(((0, 5),)).parted(8, 9); e.of(7), e.of(8), e.current, e.born
    (5, 9, 9, 5)
    >>> e.spans(3, 10)
    [(3, 7, 5), (8, 10, 9)]
    >>> e.parted(4, 12).spans(1, 10)
    [(1, 3, 5), (4, 10, 12)]
    """

    begins: tuple[tuple[int, int], ...]

    @property
    def born(self) -> int:
        """The epoch in which the log was made."""
        return self.begins[0][1]

    @property
    def current(self) -> int:
        """The epoch of what is made now."""
        return self.begins[-1][1]

    @property
    def since(self) -> int:
        """The first number of the current epoch."""
        return max(1, self.begins[-1][0])

    def of(self, seq: int) -> int:
        """The epoch of a number."""
        return self.begins[bisect_right(self.begins, seq, key=lambda b: b[0]) - 1][1]

    def spans(self, first: int, last: int) -> list[tuple[int, int, int]]:
        """The numbers first..last cut where an epoch begins: (first, last, epoch)."""
        ends = [*(seq - 1 for seq, _ in self.begins[1:]), last]
        cut = [(max(first, begin), min(last, end), epoch) for (begin, epoch), end in zip(self.begins, ends, strict=True)]
        return [span for span in cut if span[0] <= span[1]]

    def parted(self, seq: int, epoch: int) -> Epochs:
        """The same with all numbers from `seq` on in a new epoch."""
        return Epochs((*(b for b in self.begins if b[0] < seq), (seq, epoch)))

    def encode(self) -> bytes:
        """The small value in the log."""
        return msgspec.json.encode(self.begins)

    @classmethod
    def decode(cls, data: bytes) -> Epochs:
        """The epochs in a small value."""
        return cls(msgspec.json.decode(data, type=tuple[tuple[int, int], ...]))
