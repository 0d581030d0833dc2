"""Rows of spectra and waveforms that came before: a broker delivers again what was not acknowledged, and an instrument may send twice."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from edge_agent.core import Block

REMEMBERED: Final = 512
"""Rows of each stream whose repetition is recognised: more than a broker has under way."""
_BYTES: Final = 12


class Streams:
    """The newest rows of each stream, by the hash of their time, values and status."""

    def __init__(self) -> None:
        self._seen: dict[int, dict[bytes, None]] = {}

    def fresh(self, block: Block) -> Block:
        """The rows that are new; the same values at another time are."""
        seen = self._seen.setdefault(block.tag, {})
        rows = []
        for i in range(len(block)):
            digest = hashlib.blake2b(block.time_ns[i].tobytes(), digest_size=_BYTES)
            digest.update(block.values[i].tobytes())
            digest.update(block.status[i].tobytes())
            key = digest.digest()
            if key not in seen:
                rows.append(i)
                seen[key] = None
                if len(seen) > REMEMBERED:
                    del seen[next(iter(seen))]
        if len(rows) == len(block):
            return block
        at = np.array(rows, np.intp)
        return replace(block, time_ns=block.time_ns[at], values=np.ascontiguousarray(block.values[at]), status=np.ascontiguousarray(block.status[at]))

    def state(self) -> dict[str, Any]:
        """Hashes by stream, oldest first."""
        return {str(tag): np.frombuffer(b"".join(seen), np.uint8) for tag, seen in self._seen.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state."""
        self._seen = {}
        for tag, hashes in state.items():
            whole = bytes(hashes)
            self._seen[int(tag)] = {whole[i : i + _BYTES]: None for i in range(0, len(whole), _BYTES)}
