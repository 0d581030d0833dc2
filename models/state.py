"""State kept as arrays by name: what most banks and several groups share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


class ArrayState:
    """Keeps its state in `_state`: arrays by name, in the order in which its kernel takes them."""

    _state: dict[str, NDArray[Any]]

    def state(self) -> dict[str, Any]:
        """Everything that `restore` needs, as independent copies."""
        return {name: array.copy() for name, array in self._state.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state of `state`; ValueError when it is of another shape."""
        take_up(self._state, state)


def take_up(own: Mapping[str, NDArray[Any]], state: Mapping[str, Any]) -> None:
    """Copy the arrays of a state over `own`; ValueError, with nothing changed, when a name, shape or type differs."""
    if set(state) != set(own):
        raise ValueError(f"state: expected the arrays {sorted(own)}, found {sorted(state)}")
    for name, array in own.items():
        found = state[name]
        if not isinstance(found, np.ndarray) or found.shape != array.shape or found.dtype != array.dtype:
            what = f"{found.shape} {found.dtype}" if isinstance(found, np.ndarray) else type(found).__name__
            raise ValueError(f"state {name}: expected {array.shape} {array.dtype}, found {what}")
    for name, array in own.items():
        array[...] = state[name]
