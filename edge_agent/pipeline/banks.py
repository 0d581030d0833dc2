"""Running the models: columns of values in, columns of derived values out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.core import Samples
from models.model import Bank, ModelConfig


@dataclass(frozen=True, slots=True)
class Judgement:
    """One tag judged by one model.

    tag      id of the judged tag
    outputs  ids of its derived tags, in the order of the bank's outputs
    key      name and configuration, by which its state is found again after a change of configuration
    """

    tag: int
    config: ModelConfig
    outputs: tuple[int, ...]
    key: str


@dataclass(frozen=True, slots=True)
class Derived:
    """Rows that models computed: `origin` (n,) is the row each came from, `why` its explaining numbers by name."""

    samples: Samples
    usable: NDArray[np.uint8]
    origin: NDArray[np.intp]
    why: Callable[[int], dict[str, float]]


class _Seat:
    """One bank and the tags it judges."""

    def __init__(self, bank_class: Callable[[Sequence[ModelConfig]], Bank], judgements: Sequence[Judgement], tags: int) -> None:
        self.bank = bank_class([j.config for j in judgements])
        self.keys = [j.key for j in judgements]
        self.slot = np.full(tags, -1, np.int32)
        self.outputs = np.array([j.outputs for j in judgements], np.int32).reshape(len(judgements), -1)
        for slot, judgement in enumerate(judgements):
            self.slot[judgement.tag] = slot

    def step(self, rows: Samples, usable: NDArray[np.uint8]) -> tuple[NDArray[np.intp], NDArray[np.int32], NDArray[np.float64]]:
        slot = self.slot[rows.tag]
        chosen = np.flatnonzero(slot >= 0)
        slots = slot[chosen]
        out = np.full((len(chosen), self.outputs.shape[1] + len(self.bank.reasons)), np.nan)
        if len(chosen) == len(rows):
            self.bank.step(slots, rows.time_ns, rows.value, usable, out)
        elif len(chosen):
            self.bank.step(slots, rows.time_ns[chosen], rows.value[chosen], usable[chosen], out)
        return chosen, slots, out

    def state(self) -> dict[str, Any]:
        return {"keys": self.keys, "sizes": np.array(self.bank.sizes), "bank": self.bank.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        if state["keys"] == self.keys:
            self.bank.restore(state["bank"])
            return
        # A changed configuration: slots that are the same in both take their state along, the others start anew.
        fresh, old = self.bank.state(), {key: slot for slot, key in enumerate(state["keys"])}
        common = [(slot, old[key]) for slot, key in enumerate(self.keys) if key in old]
        mine_at, theirs_at = (np.concatenate([[0], np.cumsum(sizes)]) for sizes in (self.bank.sizes, state["sizes"]))
        for name, mine in fresh.items():
            theirs = state["bank"][name]
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
        self._levels = [[(kind, _Seat(bank, judgements, tags)) for kind, bank, judgements in level] for level in levels]

    def step(self, rows: Samples, usable: NDArray[np.uint8]) -> list[Derived]:
        """Derived rows, one `Derived` per level; `origin` always counts in `rows`."""
        found: list[Derived] = []
        origin: NDArray[np.intp] | None = None
        for level in self._levels:
            derived = self._level(level, rows, usable, origin)
            if derived is None:
                break
            found.append(derived)
            rows, usable, origin = derived.samples, derived.usable, derived.origin
        return found

    def _level(self, level: list[tuple[str, _Seat]], rows: Samples, usable: NDArray[np.uint8], origin: NDArray[np.intp] | None) -> Derived | None:
        sources, tags, values = [], [], []
        reasons: list[tuple[tuple[str, ...], NDArray[np.float64], NDArray[np.intp]]] = []
        for _, seat in level:
            chosen, slots, out = seat.step(rows, usable)
            n_outputs = seat.outputs.shape[1]
            at, column = np.nonzero(~np.isnan(out[:, :n_outputs]))
            sources.append(chosen[at])
            tags.append(seat.outputs[slots[at], column])
            values.append(out[at, column])
            reasons.append((seat.bank.reasons, out[:, n_outputs:], at))
        source = np.concatenate(sources) if sources else np.empty(0, np.intp)
        if not len(source):
            return None
        # By row, then in the order of the banks: the same whether rows arrived alone or together.
        order = np.argsort(source, kind="stable")
        starts = np.cumsum([0, *(len(s) for s in sources)])

        def why(row: int) -> dict[str, float]:
            flat = int(order[row])
            bank = int(np.searchsorted(starts, flat, "right")) - 1
            names, numbers, at = reasons[bank]
            return {name: float(x) for name, x in zip(names, numbers[at[flat - starts[bank]]], strict=True) if np.isfinite(x)}

        source = source[order]
        samples = Samples(
            rows.time_ns[source],
            np.concatenate(tags)[order],
            np.concatenate(values)[order],
            rows.status[source],
            rows.received_ns,
        )
        return Derived(samples, usable[source], source if origin is None else origin[source], why)

    def state(self) -> dict[str, Any]:
        """States by level and kind."""
        return {f"{i}.{kind}": seat.state() for i, level in enumerate(self._levels) for kind, seat in level}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state; models that are new start untaught, models that are gone are dropped."""
        for i, level in enumerate(self._levels):
            for kind, seat in level:
                if f"{i}.{kind}" in state:
                    seat.restore(state[f"{i}.{kind}"])
