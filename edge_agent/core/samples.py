"""Asynchronous values as columns: the type that travels from the decoder to the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

Int64 = NDArray[np.int64]
Int32 = NDArray[np.int32]
Float64 = NDArray[np.float64]
UInt32 = NDArray[np.uint32]
UInt64 = NDArray[np.uint64]
UInt8 = NDArray[np.uint8]

UNACKNOWLEDGED: Final = 65_536
"""Values that a connector whose peer delivers again has handed over and not acknowledged, at most: the pipeline remembers twice as many."""


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Numeric values in long form, one row per value, in the order they were received.

    time_ns      (n,) int64   source time, ns UTC since 1970
    tag          (n,) int32   tag id of the edge's catalogue
    value        (n,) float64 in the tag's unit; bool, enumeration and integer values too
    status       (n,) uint32  OPC UA StatusCode
    received_ns  time of receipt of the whole batch, ns UTC; never decreases from entry to entry
    """

    time_ns: Int64
    tag: Int32
    value: Float64
    status: UInt32
    received_ns: int = 0

    def __post_init__(self) -> None:
        n = len(self.time_ns)
        for name, column, dtype in (
            ("time_ns", self.time_ns, np.int64),
            ("tag", self.tag, np.int32),
            ("value", self.value, np.float64),
            ("status", self.status, np.uint32),
        ):
            if column.dtype != dtype or column.shape != (n,):
                raise ValueError(f"Samples.{name}: expected ({n},) {np.dtype(dtype)}, found {column.shape} {column.dtype}")

    def __len__(self) -> int:
        return len(self.time_ns)

    def __eq__(self, other: object) -> bool:
        """Bitwise equality: NaN equals NaN, -0.0 differs from 0.0."""
        return (
            isinstance(other, Samples)
            and self.received_ns == other.received_ns
            and len(self) == len(other)
            and self.time_ns.tobytes() == other.time_ns.tobytes()
            and self.tag.tobytes() == other.tag.tobytes()
            and self.value.tobytes() == other.value.tobytes()
            and self.status.tobytes() == other.status.tobytes()
        )

    __hash__ = None  # type: ignore[assignment]

    @property
    def nbytes(self) -> int:
        """Bytes of the four columns: 24 per row."""
        return 24 * len(self)

    def received(self, received_ns: int) -> Samples:
        """The same rows with the time of receipt set."""
        return replace(self, received_ns=received_ns)

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_] | slice) -> Self:
        """The chosen rows, in order."""
        return type(self)(self.time_ns[rows], self.tag[rows], self.value[rows], self.status[rows], self.received_ns)

    @classmethod
    def of(
        cls,
        time_ns: Sequence[int] | Int64,
        tag: Sequence[int] | Int32,
        value: Sequence[float] | Float64,
        status: Sequence[int] | UInt32 | int = 0,
        received_ns: int = 0,
    ) -> Samples:
        """Columns from any sequences; one status may stand for all rows.

        >>> len(Samples.of([1, 2], [0, 0], [3.5, 4.0]))
        2
        """
        t = np.ascontiguousarray(time_ns, np.int64)
        s = np.full(t.shape, status, np.uint32) if isinstance(status, int) else np.ascontiguousarray(status, np.uint32)
        return cls(t, np.ascontiguousarray(tag, np.int32), np.ascontiguousarray(value, np.float64), s, received_ns)

    @classmethod
    def empty(cls, received_ns: int = 0) -> Samples:
        """No rows."""
        return cls.of([], [], [], [], received_ns)

    @classmethod
    def joined(cls, parts: Sequence[Samples], received_ns: int | None = None) -> Samples:
        """All rows of the parts, in order; the time of receipt is the last part's unless given."""
        if not parts:
            return cls.empty(received_ns or 0)
        if len(parts) == 1 and received_ns is None:
            return parts[0]
        return cls(
            np.concatenate([p.time_ns for p in parts]),
            np.concatenate([p.tag for p in parts]),
            np.concatenate([p.value for p in parts]),
            np.concatenate([p.status for p in parts]),
            parts[-1].received_ns if received_ns is None else received_ns,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Recalled(Samples):
    """Values that a server's history brought: they say nothing of what is now, neither that a tag still reports nor that its source does."""

    @property
    def samples(self) -> Samples:
        """The rows alone."""
        return Samples(self.time_ns, self.tag, self.value, self.status, self.received_ns)


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """Entries of values one behind the other, as recorded data has them: entry i is rows ends[i - 1] to ends[i], received at received_ns[i].

    samples      all rows, in the order in which they were received; its own time of receipt is not used
    ends         (m,) int64, rising: no entry is empty
    received_ns  (m,) int64, never decreasing
    """

    samples: Samples
    ends: Int64
    received_ns: Int64

    def __post_init__(self) -> None:
        if len(self.ends) != len(self.received_ns) or (len(self.ends) and int(self.ends[-1]) != len(self.samples)):
            raise ValueError(f"Run: expected ends of {len(self.received_ns)} entries, the last at {len(self.samples)}, found {self.ends[-3:]}")

    def __len__(self) -> int:
        return len(self.ends)

    def entry(self, i: int) -> Samples:
        """Entry i alone."""
        return self.samples.take(slice(int(self.ends[i - 1]) if i else 0, int(self.ends[i]))).received(int(self.received_ns[i]))

    def part(self, first: int, behind: int) -> Run:
        """Entries first to behind, without the last."""
        a, b = int(self.ends[first - 1]) if first else 0, int(self.ends[behind - 1]) if behind else 0
        return Run(self.samples.take(slice(a, b)), self.ends[first:behind] - a, self.received_ns[first:behind])


@dataclass(frozen=True, slots=True)
class Texts:
    """Text values in long form: batch id, recipe, phase, state names, operator.

    The columns are tuples because text is rare; `time_ns`, `tag`, `value` and `status` have one item per row.
    """

    time_ns: tuple[int, ...]
    tag: tuple[int, ...]
    value: tuple[str, ...]
    status: tuple[int, ...]
    received_ns: int = 0

    def __post_init__(self) -> None:
        if not len(self.time_ns) == len(self.tag) == len(self.value) == len(self.status):
            raise ValueError(
                f"Texts: expected columns of one length, found {len(self.time_ns)}, {len(self.tag)}, {len(self.value)}, {len(self.status)}"
            )

    def __len__(self) -> int:
        return len(self.time_ns)

    @property
    def nbytes(self) -> int:
        """About the bytes of the columns."""
        return 16 * len(self) + sum(len(v) for v in self.value)

    def received(self, received_ns: int) -> Texts:
        """The same rows with the time of receipt set."""
        return replace(self, received_ns=received_ns)

    def take(self, rows: Sequence[int]) -> Self:
        """The chosen rows, in order."""
        time_ns, tag, status = (tuple(column[i] for i in rows) for column in (self.time_ns, self.tag, self.status))
        return type(self)(time_ns, tag, tuple(self.value[i] for i in rows), status, self.received_ns)


@dataclass(frozen=True, slots=True)
class RecalledTexts(Texts):
    """Texts that a server's history brought: as with `Recalled`, they say nothing of what is now."""

    @property
    def texts(self) -> Texts:
        """The rows alone."""
        return Texts(self.time_ns, self.tag, self.value, self.status, self.received_ns)
