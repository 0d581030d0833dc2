"""Reading OPC UA structures one by one: the slow way, for what the kernel leaves."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Final

from edge_agent.sources import opcua_kernel as kernel

_EXACT: Final = 1 << 53
_MAX_DEPTH: Final = 16


class DamagedError(Exception):
    """Bytes that are not what OPC 10000-6 says they should be."""


@dataclass(frozen=True, slots=True)
class Row:
    """One DataValue: `kind` is the Variant type (plus kernel.ARRAY, kernel.INEXACT), `text` that of a string, times are ns UTC or ABSENT."""

    value: float
    text: str | None
    kind: int
    status: int
    source_ns: int
    server_ns: int


class Walker:
    """Reads one structure after the other from body[at:end]; DamagedError when they do not fit."""

    def __init__(self, body: bytes, at: int, end: int) -> None:
        self._body, self.at, self._end = body, at, end

    def take(self, n: int) -> bytes:
        """The next n bytes."""
        part = self._body[self.at : self.at + n]
        if n < 0 or self.at + n > self._end:
            raise DamagedError(f"expected {n} bytes, found {self._end - self.at}")
        self.at += n
        return part

    def unsigned(self, n: int) -> int:
        """An unsigned integer of n bytes."""
        return int.from_bytes(self.take(n), "little")

    def count(self, least: int) -> int:
        """The length of an array whose elements take `least` bytes or more; 0 for a null array."""
        n = int.from_bytes(self.take(4), "little", signed=True)
        if n * least > self._end - self.at:
            raise DamagedError(f"expected {n} elements, found {self._end - self.at} bytes")
        return max(n, 0)

    def string(self) -> str:
        """A String; "" when null."""
        return self.take(self.count(1)).decode("utf-8", "replace")

    def node_number(self) -> int:
        """The number of a NodeId of namespace 0, -1 for any other."""
        form = self.unsigned(1)
        if form == 0:
            return self.unsigned(1)
        if form == 1:
            namespace, number = self.unsigned(1), self.unsigned(2)
        elif form == 2:
            namespace, number = self.unsigned(2), self.unsigned(4)
        else:
            namespace, number = 1, 0
            self.unsigned(2)
            if form in (3, 5):
                self.string()
            elif form == 4:
                self.take(16)
            else:
                raise DamagedError(f"node id: form {form}")
        return -1 if namespace else number

    def _time(self) -> int:
        ticks = int.from_bytes(self.take(8), "little", signed=True)
        return (ticks - kernel.TICKS_1970) * 100 if kernel.TICKS_START < ticks < kernel.TICKS_END else kernel.ABSENT

    def data_value(self, depth: int = 0) -> Row:
        """A DataValue (OPC 10000-6, 5.2.2.17)."""
        mask = self.unsigned(1)
        if mask >= 64:
            raise DamagedError(f"data value: mask {mask:#x}")
        kind: int = 0
        value: Any = None
        if mask & 1:
            kind, value = self.variant(depth)
        status = self.unsigned(4) if mask & 2 else 0
        times = [kernel.ABSENT, kernel.ABSENT]
        for stamp in range(2):
            if mask & (4 << stamp):
                times[stamp] = self._time()
            if mask & (16 << stamp):
                self.take(2)
        text = value if isinstance(value, str) else None
        number = float("nan")
        if kind in range(1, 12):
            number = float(value)
            if kind in (8, 9) and not -_EXACT <= value <= _EXACT:
                kind += kernel.INEXACT
        return Row(number, text, kind, status, times[0], times[1])

    def variant(self, depth: int = 0) -> tuple[int, Any]:
        """Kind and value of a Variant (OPC 10000-6, 5.2.2.16); the value is None unless it is one number or text."""
        if depth > _MAX_DEPTH:
            raise DamagedError("variant: nested too deep")
        encoding = self.unsigned(1)
        kind = encoding & 63
        if not encoding & 128:
            if encoding & 64 or kind == 24:
                raise DamagedError(f"variant: encoding {encoding:#x}")
            return kind, self._one(kind, depth)
        if kind == 0:
            raise DamagedError("variant: an array of nulls")
        for _ in range(self.count(1)):
            self._one(kind, depth)
        if encoding & 64:
            self.take(4 * self.count(4))
        return kind + kernel.ARRAY, None

    def _one(self, kind: int, depth: int) -> Any:
        if kind == 24:
            self.variant(depth + 1)
        elif kind == 23:
            self.data_value(depth + 1)
        elif kind == 25:
            self.diagnostic_info(depth + 1)
        elif kind == 22:
            self.node_number()
            if self.unsigned(1):
                self.take(self.count(1))
        elif kind:
            return self._by_asyncua(kind)
        return None

    def _by_asyncua(self, kind: int) -> Any:
        from asyncua import ua
        from asyncua.common.utils import Buffer
        from asyncua.ua.ua_binary import unpack_uatype

        buffer = Buffer(self._body, self.at, self._end - self.at)
        try:
            value = unpack_uatype(ua.datatype_to_varianttype(kind), buffer)
        except (ua.UaError, ValueError, TypeError, struct.error, OverflowError) as error:
            raise DamagedError(f"variant of type {kind}: {error}") from error
        self.at = buffer.cur_pos
        if self.at > self._end:
            raise DamagedError(f"variant of type {kind}: {self.at - self._end} bytes too long")
        if kind == kernel.LOCALIZED_TEXT:
            value = value.Text or ""
        if isinstance(value, str):
            return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        return value if isinstance(value, int | float) else None

    def diagnostic_info(self, depth: int = 0) -> None:
        """Steps over a DiagnosticInfo (OPC 10000-6, 5.2.2.12)."""
        if depth > _MAX_DEPTH:
            raise DamagedError("diagnostic info: nested too deep")
        mask = self.unsigned(1)
        if mask >= 128:
            raise DamagedError(f"diagnostic info: mask {mask:#x}")
        self.take(4 * (mask & 15).bit_count())
        if mask & 16:
            self.string()
        if mask & 32:
            self.take(4)
        if mask & 64:
            self.diagnostic_info(depth + 1)
