"""Spectra and waveforms in MQTT messages: a JSON object, our binary form, or plain arrays in any other JSON.

The binary form, all numbers little-endian:

    offset 0  4 s   magic "PhBk"
           4  u32   bytes of the head
           8        head: JSON with the keys of the JSON form but `v`, and n, k, type (f8, f4, i4, i2), scale and offset
                    (value = offset + scale x stored; 0 and 1 when absent); axis true: k float64 follow the head
              f8    the axis, where `axis` is true
                    n x k values of the type, row by row
              u32   CRC-32 (ISO-HDLC) of everything before it
"""

from __future__ import annotations

import struct
import zlib
from typing import Annotated, Any, Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_agent.core import Acquisition, Block, Tag
from edge_agent.core.samples import Float64
from edge_agent.sources.blocks import MOST_POINTS, STATUSES, BlockError, StreamSection, block, spread

MAGIC: Final = b"PhBk"
_TYPES: Final = {"f8": "<f8", "f4": "<f4", "i4": "<i4", "i2": "<i2"}
_Time = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Status = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
_Number = float | None


class _Span(msgspec.Struct, forbid_unknown_fields=True):
    low: float
    high: float | None = None
    step: float | None = None


class _About(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    t: _Time | list[_Time] | None = None
    s: _Status | list[_Status] = 0
    axis_unit: str | None = None
    unit: str = ""
    acquisition: Acquisition | None = None


class _Json(_About, kw_only=True):
    v: list[_Number | list[_Number]]
    axis: list[float] | _Span | None = None


class _Head(_About, kw_only=True):
    n: Annotated[int, msgspec.Meta(ge=1)] = 1
    k: Annotated[int, msgspec.Meta(ge=2)]
    type: Literal["f8", "f4", "i4", "i2"]
    scale: float = 1.0
    offset: float = 0.0
    axis: bool | list[float] | _Span | None = None


_json: Final = msgspec.json.Decoder(_Json)
_head: Final = msgspec.json.Decoder(_Head)


def block_of(tag: Tag, stream: StreamSection | None, payload: bytes, received_ns: int, unstamped: int = 0) -> Block:
    """The block in a message; BlockError names what is wrong. `unstamped` is the status of one that carries no time of its own."""
    try:
        if payload[:4] == MAGIC:
            about, values, axis = _binary(payload)
        else:
            said = _json.decode(payload)
            about, values, axis = said, _matrix(said.v), said.axis
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BlockError(f'expected {{"t", "v", "axis", ...}} or the binary form: {error}') from error
    return _made(tag, stream, about, values, axis, received_ns, unstamped)


def plain(tag: Tag, stream: StreamSection | None, value: Any, time_ns: int, status: int) -> Block:
    """A block of a bare array of numbers in any other JSON; its axis must stand in the configuration."""
    try:
        values = _matrix(msgspec.convert(value, list[_Number | list[_Number]]))
    except msgspec.ValidationError as error:
        raise BlockError(f"expected an array of numbers: {error}") from error
    return _made(tag, stream, _About(t=time_ns, s=status), values, None, time_ns, status)


def _matrix(rows: list[float | list[float | None] | None]) -> Float64:
    if not rows:
        raise BlockError("expected values, found none")
    if (
        isinstance(rows[0], list) != any(isinstance(row, list) for row in rows)
        or len({len(row) if isinstance(row, list) else -1 for row in rows}) > 1
    ):
        raise BlockError("expected rows of one length, found others")
    return np.array(rows, np.float64)


def _binary(payload: bytes) -> tuple[_About, Float64, NDArray[Any] | list[float] | _Span | None]:
    if len(payload) < 12:
        raise BlockError(f"expected 12 or more bytes, found {len(payload)}")
    (size,) = struct.unpack_from("<I", payload, 4)
    (crc,) = struct.unpack_from("<I", payload, len(payload) - 4)
    body = payload[:-4]
    if zlib.crc32(body) != crc:
        raise BlockError("expected its CRC to match, found a damaged byte")
    head = _head.decode(body[8 : 8 + size])
    at, count = 8 + size, head.n * head.k
    if count > MOST_POINTS:
        raise BlockError(f"expected at most {MOST_POINTS} values, found {count}")
    dtype = np.dtype(_TYPES[head.type])
    expected = at + (8 * head.k if head.axis is True else 0) + count * dtype.itemsize
    if len(body) != expected:
        raise BlockError(f"expected {expected + 4} bytes for {head.n} x {head.k} of {head.type}, found {len(payload)}")
    axis: Any = head.axis
    if axis is True:
        axis, at = np.frombuffer(body, "<f8", head.k, at), at + 8 * head.k
    values = np.frombuffer(body, dtype, count, at).astype(np.float64).reshape(head.n, head.k)
    if (head.scale, head.offset) != (1.0, 0.0):
        values = head.offset + head.scale * values
    return head, values, axis if axis is not False else None


def _made(tag: Tag, stream: StreamSection | None, about: _About, values: Float64, axis: Any, received_ns: int, unstamped: int) -> Block:
    n, k = (1, len(values)) if values.ndim == 1 else values.shape
    told = about.acquisition
    if told is not None and told.status not in ("", *STATUSES):
        raise BlockError(f"expected an acquisition status {', '.join(STATUSES)}, found {told.status!r}")
    axis_unit = about.axis_unit
    if isinstance(axis, _Span):
        if (axis.high is None) == (axis.step is None):
            raise BlockError("expected an axis with either high or step")
        axis = spread(axis.low, axis.high, axis.step, k)
    elif axis is None:
        if stream is None or stream.axis is None:
            raise BlockError("expected an axis in the message, or one of the stream in the configuration, found neither")
        axis, axis_unit = stream.axis.points(k), axis_unit if axis_unit is not None else stream.axis.unit
    times = about.t if isinstance(about.t, list) else [received_ns if about.t is None else about.t] * n
    status = [max(s, unstamped) for s in (about.s if isinstance(about.s, list) else [about.s] * n)] if about.t is None else about.s
    acquisition = stream.acquisition(told) if stream is not None else told
    return block(tag, times, values, np.asarray(axis, np.float64), axis_unit or "", about.unit, status=status, acquisition=acquisition)


def binary(values: NDArray[Any], kind: Literal["f8", "f4", "i4", "i2"] = "f4", **head: Any) -> bytes:
    """A message in the binary form: values (n, k) or (k,) as stored, and the keys of the head.

    >>> message = binary(np.array([1, 2, 3]), "i2", t=5, axis={"low": 0.0, "step": 0.1}, axis_unit="s", scale=0.5)
    >>> block_of(Tag(id=0, name="a", kind="block"), None, message, 9).values.tolist()
    [[0.5, 1.0, 1.5]]
    """
    rows = np.atleast_2d(values)
    packed = msgspec.json.encode({"n": rows.shape[0], "k": rows.shape[1], "type": kind, **head})
    body = MAGIC + struct.pack("<I", len(packed)) + packed + np.ascontiguousarray(rows, _TYPES[kind]).tobytes()
    return body + struct.pack("<I", zlib.crc32(body))
