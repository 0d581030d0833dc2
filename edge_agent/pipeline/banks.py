"""Running the models: columns of values in, columns of derived values out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_agent.core import Samples
from edge_agent.core.samples import Float64, Int32, Int64
from models.compiled import kernel
from models.model import Bank, ModelConfig

UNFIT: Final = (ValueError, KeyError, IndexError, TypeError)
"""What taking up a state of another release fails with: it has other names, shapes and types."""


@kernel("int64(Array(int32, 1, 'C', readonly=True), int32[::1], int32[::1], int64[::1])")
def _seated(tag: Int32, seats: Int32, slot: Int32, mine: Int64) -> int:
    """Slots and rows of the tags that have a seat (`seats` (tags,), -1 for none); returns how many."""
    n = 0
    for i in range(len(tag)):
        s = seats[tag[i]]
        if s >= 0:
            slot[n] = s
            mine[n] = i
            n += 1
    return n


@kernel("int64(int32[::1], int32[:, ::1], float64[:, ::1], int64[::1], int32[::1], float64[::1])")
def _told(slot: Int32, outputs: Int32, out: Float64, row: Int64, tag: Int32, value: Float64) -> int:
    """Row, derived tag and value of every output that says something, row by row; returns how many.

    outputs (slots, k) derived tags; out (n, k or more)
    """
    n = 0
    for i in range(len(slot)):
        for c in range(outputs.shape[1]):
            if not np.isnan(out[i, c]):
                row[n] = i
                tag[n] = outputs[slot[i], c]
                value[n] = out[i, c]
                n += 1
    return n


@dataclass(frozen=True, slots=True)
class Judgement:
    """One tag judged by one model.

    tag      id of the judged tag
    outputs  ids of its derived tags, in the order of the bank's outputs
    key      name and configuration, by which its state is found again after a change of configuration
    learned  arrays of a static model
    """

    tag: int
    config: ModelConfig
    outputs: tuple[int, ...]
    key: str
    learned: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Derived:
    """Rows that one bank computed, in the order of the rows they came from.

    origin  (n,) row of the entry that each row came from
    fate    (n,) and usable (n,) of that row: quality travels
    stage   number of the bank: rows of one origin are told in the order of the banks
    """

    samples: Samples
    fate: NDArray[np.uint8]
    usable: NDArray[np.uint8]
    origin: NDArray[np.intp]
    stage: int
    _reasons: tuple[str, ...]
    _numbers: NDArray[np.float64]

    def why(self, row: int) -> dict[str, float]:
        """The explaining numbers of one row, by name."""
        return {name: float(x) for name, x in zip(self._reasons, self._numbers[row], strict=True) if np.isfinite(x)}


class _Seat:
    """One bank and the tags it judges."""

    def __init__(self, bank_class: Callable[[Sequence[ModelConfig]], Bank], judgements: Sequence[Judgement], tags: int, stage: int) -> None:
        self._bank_class, self._judgements = bank_class, judgements
        self.keys = [j.key for j in judgements]
        self.stage = stage
        self.slot = np.full(tags, -1, np.int32)
        self.outputs = np.array([j.outputs for j in judgements], np.int32).reshape(len(judgements), -1)
        for slot, judgement in enumerate(judgements):
            self.slot[judgement.tag] = slot
        self.bank = self._untaught()

    def _untaught(self) -> Bank:
        bank = self._bank_class([j.config for j in self._judgements])
        for slot, judgement in enumerate(self._judgements):
            if judgement.learned is not None:
                bank.settle(slot, judgement.learned)
        return bank

    def step(self, rows: Samples, fate: NDArray[np.uint8], usable: NDArray[np.uint8], origin: NDArray[np.intp] | None) -> Derived | None:
        """Judge the rows that are ours; None when nothing follows from them."""
        slot, mine = np.empty(len(rows), np.int32), np.empty(len(rows), np.int64)
        n = _seated(rows.tag, self.slot, slot, mine)
        if n == 0:
            return None
        if n < len(rows):
            slot, mine = slot[:n], mine[:n]
            rows, fate, usable = rows.take(mine), fate[mine], usable[mine]
            origin = mine if origin is None else origin[mine]
        columns = self.outputs.shape[1]
        out = np.empty((n, columns + len(self.bank.reasons)))
        self.bank.step(slot, rows.time_ns, rows.value, usable, out)
        row, tag, value = np.empty(n * columns, np.int64), np.empty(n * columns, np.int32), np.empty(n * columns)
        m = _told(slot, self.outputs, out, row, tag, value)
        if m == 0:
            return None
        row, tag, value = row[:m], tag[:m], value[:m]
        reasons = out[:, columns:]
        if columns == 1 and m == n:
            samples = Samples(rows.time_ns, tag, value, rows.status, rows.received_ns)
        else:
            samples = Samples(rows.time_ns[row], tag, value, rows.status[row], rows.received_ns)
            fate, usable, reasons = fate[row], usable[row], reasons[row]
        return Derived(samples, fate, usable, row if origin is None else origin[row], self.stage, self.bank.reasons, reasons)

    def restart(self, tags: Iterable[int], role: str) -> None:
        begin: Callable[[int, str], None] | None = getattr(self.bank, "restart", None)
        if begin is None:
            return
        for tag in tags:
            if self.slot[tag] >= 0:
                begin(int(self.slot[tag]), role)

    def renew(self, outputs: Collection[int]) -> None:
        begin: Callable[[int], None] | None = getattr(self.bank, "renew", None)
        if begin is None:
            return
        for slot, mine in enumerate(self.outputs.tolist()):
            if any(tag in outputs for tag in mine):
                begin(slot)

    def state(self) -> dict[str, Any]:
        return {"keys": self.keys, "sizes": np.array(self.bank.sizes), "bank": self.bank.state()}

    def restore(self, state: Mapping[str, Any]) -> str:
        """Take up a state; where that of another release cannot be, start untaught and say why."""
        try:
            self._restore(state)
        except UNFIT as error:
            self.bank = self._untaught()
            return f"{type(error).__name__}: {error}"
        return ""

    def _restore(self, state: Mapping[str, Any]) -> None:
        if state["keys"] == self.keys:
            self.bank.restore(state["bank"])
            return
        # A changed configuration: slots that are the same in both take their state along, the others start anew.
        fresh, old = self.bank.state(), {key: slot for slot, key in enumerate(state["keys"])}
        common = [(slot, old[key]) for slot, key in enumerate(self.keys) if key in old]
        mine_at, theirs_at = (np.concatenate([[0], np.cumsum(sizes)]) for sizes in (self.bank.sizes, state["sizes"]))
        of_now: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = getattr(self.bank, "of_now", None)
        kept = state["bank"] if of_now is None else of_now(state["bank"])
        for name, mine in fresh.items():
            theirs = kept[name]
            for slot, was in common:
                if name in self.bank.ragged:
                    mine[mine_at[slot] : mine_at[slot + 1]] = theirs[theirs_at[was] : theirs_at[was + 1]]
                else:
                    mine[slot] = theirs[was]
        self.bank.restore(fresh)


class Banks:
    """All models of the edge, in levels: models of measured tags first, models of derived tags behind them.

    `levels` holds per level a list of (kind, bank class, judgements); at most one judgement per tag and kind.
    """

    def __init__(self, levels: Sequence[Sequence[tuple[str, Callable[[Sequence[ModelConfig]], Bank], Sequence[Judgement]]]], tags: int) -> None:
        self._levels: list[list[tuple[str, _Seat]]] = []
        self.untaught: list[str] = []
        """Kinds of models that could not take up their state at the last `restore`, with the reason."""
        stage = 0
        for level in levels:
            self._levels.append([(kind, _Seat(bank, judgements, tags, stage + i)) for i, (kind, bank, judgements) in enumerate(level)])
            stage += len(level)

    def step(self, rows: Samples, fate: NDArray[np.uint8], usable: NDArray[np.uint8]) -> list[Derived]:
        """What every bank derives from the rows; `origin` always counts in `rows`."""
        found: list[Derived] = []
        inputs: list[tuple[Samples, NDArray[np.uint8], NDArray[np.uint8], NDArray[np.intp] | None]] = [(rows, fate, usable, None)]
        for level in self._levels:
            derived = [d for _, seat in level for one in inputs if (d := seat.step(*one)) is not None]
            found += derived
            inputs = [(d.samples, d.fate, d.usable, d.origin) for d in derived]
        return found

    def restart(self, tags: Sequence[int], role: str) -> None:
        """A batch or phase (`role`) has begun on the unit of these tags: rules that run over rows begin anew."""
        for level in self._levels:
            for _, seat in level:
                seat.restart(tags, role)

    def renew(self, outputs: Collection[int]) -> None:
        """What these derived tags are about was made as new: what their models saw of it before counts no more."""
        for level in self._levels:
            for _, seat in level:
                seat.renew(outputs)

    def state(self) -> dict[str, Any]:
        """States by level and kind."""
        return {f"{i}.{kind}": seat.state() for i, level in enumerate(self._levels) for kind, seat in level}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state; models that are new start untaught, models that are gone are dropped."""
        self.untaught = []
        for i, level in enumerate(self._levels):
            for kind, seat in level:
                if f"{i}.{kind}" in state and (why := seat.restore(state[f"{i}.{kind}"])):
                    self.untaught.append(f"{kind}: {why}")
