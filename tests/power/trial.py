"""What is tried of a monitor: a fault of three sizes in streams of its kind, judged with its default configuration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pydantic
from numpy.typing import NDArray

from models import BANKS, GROUPS, AnyModel

S = 1_000_000_000
T0 = 1_760_000_400 * S
"""A full hour."""
APART = 10
"""Rows without the condition behind which it is another finding."""
MODEL = pydantic.TypeAdapter(AnyModel)

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
Columns = dict[str, Array]


@dataclass(frozen=True)
class Trial:
    """One fault of one monitor.

    stream(rng, phi, size) gives what the monitor sees and the row from which on the fault of that size is there; size 0 is the clean twin: all else
    is equal. phi is the correlation of the noise from row to row. calls(stream) says for each row whether the condition of an alarm is met.
    """

    fault: str
    """The fault in words, with the unit of its size."""
    sizes: tuple[float, float, float]
    stream: Callable[[np.random.Generator, float, float], tuple[Any, int]]
    calls: Callable[[Any], Flags]
    ready: int
    """Rows before the monitor can speak."""
    within: int
    """Rows within which the fault must be found."""
    promised: float
    """Most findings in 1,000 clean rows that the small test allows."""
    phi: float = 0.0
    """Correlation that the monitor is made for: that of the small test."""
    phis: tuple[float, ...] = (0.0, 0.9)
    """Correlations of the table."""
    peer: Callable[[Any], Flags] | None = None
    """What stands beside it in the table; three sigma of single values when absent and the stream is an array."""
    options: dict[str, Any] = field(default_factory=dict)
    """What the configuration must be given because it has no default."""
    cost: int = 1
    """The table takes so many times fewer streams of it."""
    blind: bool = False
    """A fault that looks like the monitor's own and that it does not see: docs/power.md says so, and the small test leaves it out."""


def begun(calls: Flags) -> Flags:
    """Rows on which a finding begins: the condition is met, and was not within the rows before.

    >>> np.flatnonzero(begun(np.array([0, 1, 1, 0, 1, *[0] * 10, 1], bool))).tolist()
    [1, 15]
    """
    last, out = -APART - 1, np.zeros(len(calls), np.bool_)
    for i in np.flatnonzero(calls).tolist():
        out[i] = i - last > APART
        last = i
    return out


def found(calls: Flags, at: int, within: int) -> int | None:
    """Rows from the beginning of the fault to the row in which the condition begins to be met; None where it does not in time.

    >>> found(np.array([1, 1, 0, 1], bool), 1, 2), found(np.array([1, 1, 1, 1], bool), 1, 2)
    (2, None)
    """
    fresh = calls[at : at + within + 1] & ~calls[at - 1 : at + within][: len(calls) - at]
    return int(np.argmax(fresh)) if fresh.any() else None


def three_sigma(ready: int) -> Callable[[Array], Flags]:
    """Single values beyond three sigma of the first rows, any tag of several."""

    def calls(x: Array) -> Flags:
        first = x[:ready]
        flags: Flags = np.abs(x - first.mean(axis=0)) > 3 * first.std(axis=0, ddof=1)
        flags = flags.any(axis=1) if x.ndim == 2 else flags
        flags[:ready] = False
        return flags

    return calls


def times(n: int, every_s: float) -> NDArray[np.int64]:
    return T0 + (np.arange(n) * every_s * S).astype(np.int64)


def bank(kind: str, when: Callable[[Columns], Any], every_s: float = 1.0, **options: Any) -> Callable[[Array], Flags]:
    """The condition `when` over outputs and reasons of a model of single tags."""
    config = MODEL.validate_python({"kind": kind, "tags": ["a"], **options})
    made: Any = BANKS[kind]
    names = (*made.outputs, *made.reasons)

    def calls(x: Array) -> Flags:
        out = np.empty((len(x), len(names)))
        made([config]).step(np.zeros(len(x), np.int32), times(len(x), every_s), x, np.ones(len(x), np.uint8), out)
        return np.asarray(when(dict(zip(names, out.T, strict=True))), np.bool_)

    return calls


def group(kind: str, when: Callable[[Columns], Any], every_s: float = 1.0, batch_rows: int = 0, **options: Any) -> Callable[[Array], Flags]:
    """The same of a model of several tags; `batch_rows`: a batch begins each so many rows."""
    made: Any = GROUPS[kind]
    names = (*made.outputs, *made.reasons)

    def calls(x: Array) -> Flags:
        tags = [f"t{j}" for j in range(x.shape[1])]
        model = made(MODEL.validate_python({"kind": kind, "name": "u", "tags": tags, **options}), x.shape[1])
        t, out = times(len(x), every_s), np.empty((len(x), len(names) + x.shape[1]))
        step = batch_rows or len(x)
        for begin in range(0, len(x), step):
            part = slice(begin, begin + step)
            if batch_rows:
                model.begin(int(t[begin]), True)
            model.step(t[part], np.ascontiguousarray(x[part]), np.ones(x[part].shape, np.uint8), out[part])
        return np.asarray(when(dict(zip(names, out.T, strict=False))), np.bool_)

    return calls
