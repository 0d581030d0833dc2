"""What to ask one Modbus unit for, and how its answer becomes columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_agent.core.samples import Float64, Int32
from edge_agent.sources.modbus_address import Address, Table

MOST: Final[dict[Table, int]] = {"coil": 2000, "discrete": 2000, "holding": 125, "input": 125}
"""Of one request (Modbus Application Protocol 1.1b3, 6.1 to 6.4)."""
_TYPES: Final = {
    "int16": ">i2", "uint16": ">u2", "int32": ">i4", "uint32": ">u4", "int64": ">i8", "uint64": ">u8", "float32": ">f4", "float64": ">f8",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Request:
    """One read: `count` coils or registers of a table from `start`, for `rows` of the unit's addresses."""

    table: Table
    start: int
    count: int
    rows: tuple[int, ...]


def requests_for(addresses: Sequence[Address], max_gap: int, rows: Sequence[int] | None = None) -> list[Request]:
    """As few reads as possible: neighbours are read together, over gaps of at most `max_gap`, and no value is cut.

    >>> from edge_agent.sources.modbus_address import parse
    >>> [(r.start, r.count) for r in requests_for([parse("holding 0 int32"), parse("holding 4"), parse("holding 90")], 2)]
    [(0, 5), (90, 1)]
    """
    made: list[Request] = []
    for k in sorted(range(len(addresses)) if rows is None else rows, key=lambda k: (addresses[k].table, addresses[k].number, k)):
        a = addresses[k]
        last = made[-1] if made else None
        if last is not None and last.table == a.table and a.number <= last.start + last.count + max_gap:
            end = max(last.start + last.count, a.end)
            if end - last.start <= MOST[a.table]:
                made[-1] = Request(a.table, last.start, end - last.start, (*last.rows, k))
                continue
        made.append(Request(a.table, a.number, a.words, (k,)))
    return made


class Decoder:
    """Values of one request from its registers (n,) uint16 or bits (n,) uint8."""

    def __init__(self, request: Request, addresses: Sequence[Address], tags: Sequence[int]) -> None:
        mine = [(addresses[k], tags[k]) for k in request.rows]
        self._texts = [(a.number - request.start, a, tag) for a, tag in mine if a.type == "string"]
        self._groups: list[tuple[Address, NDArray[np.intp], NDArray[np.float64], NDArray[np.float64], NDArray[np.uint16]]] = []
        numeric = [(a, tag) for a, tag in mine if a.type != "string"]
        order: list[int] = []
        keys = sorted({(a.type, a.order, a.table) for a, _ in numeric})
        for key in keys:
            group = [(a, tag) for a, tag in numeric if (a.type, a.order, a.table) == key]
            words = np.arange(group[0][0].words)
            if key[1] in ("cdab", "dcba"):
                words = words[::-1]
            at = np.array([a.number - request.start for a, _ in group], np.intp)[:, None] + words
            scale, offset = (np.array([getattr(a, name) for a, _ in group], np.float64) for name in ("scale", "offset"))
            self._groups.append((group[0][0], at, scale, offset, np.array([a.bit for a, _ in group], np.uint16)))
            order += [tag for _, tag in group]
        self.tags: Int32 = np.array(order, np.int32)
        self.text_tags = tuple(tag for _, _, tag in self._texts)

    def values(self, registers: NDArray[np.uint16]) -> Float64:
        """One value per numeric tag, in the order of `tags`."""
        parts = []
        for a, at, scale, offset, bit in self._groups:
            words = registers[at]
            if a.order in ("badc", "dcba"):
                words = words.byteswap()
            if a.type == "bool":
                parts.append(((words[:, 0] >> bit) & 1).astype(np.float64))
                continue
            read = np.ascontiguousarray(words.astype(">u2")).view(_TYPES[a.type])[:, 0].astype(np.float64)
            parts.append(read * scale + offset)
        return np.concatenate(parts) if parts else np.empty(0)

    def texts(self, registers: NDArray[np.uint16]) -> list[str]:
        """One text per text tag: bytes up to the first 0, read as UTF-8; what is none is shown as U+FFFD."""
        found = []
        for at, a, _ in self._texts:
            words = registers[at : at + a.words]
            if a.order in ("cdab", "dcba"):
                words = words[::-1]
            raw = (words.byteswap() if a.order in ("badc", "dcba") else words).astype(">u2").tobytes()
            found.append(raw.partition(b"\0")[0].decode("utf-8", "replace").strip())
        return found
