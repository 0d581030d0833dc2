"""The wire format: one frame per entry or record, versioned, compressed and guarded by a CRC.

    offset 0   2 s   magic "Ph"
           2   u8    version, 1
           3   u8    kind
           4   u8    flags: 1 = body compressed with zstd
           5   3 x   zero
           8   u32   bytes of the body as stored
          12   u32   bytes of the body uncompressed
          16   u32   CRC-32 (ISO-HDLC) of bytes 0..16 and the stored body
          20         body of columns (kinds below 8): u32 length of the header JSON, the header, then the columns in order
                     body of one structure (all other kinds): MessagePack map of its fields

All numbers little-endian. Times and tags are stored as differences from row to row, which the compressor likes.
JSON has no NaN and no infinity, and an alarm raised by a reading of infinity must say so: structures are MessagePack, which keeps every float64.
A frame is accepted only when every byte of it is accounted for; anything else is a WireError.
"""

from __future__ import annotations

import struct
import threading
import zlib
from typing import Any, Final

import msgspec
import numpy as np
import zstandard

from edge_agent.core import record as r
from edge_agent.core.alarm import AlarmEvent
from edge_agent.core.block import Acquisition, Block
from edge_agent.core.errors import WireError
from edge_agent.core.samples import Recalled, RecalledTexts, Samples, Texts

VERSION: Final = 1
MAX_BODY: Final = 64 << 20
_MAGIC: Final = b"Ph"
_PREFIX: Final = struct.Struct("<2sBBB3xII")
_CRC: Final = struct.Struct("<I")
HEADER_BYTES: Final = _PREFIX.size + _CRC.size
_ZSTD: Final = 1
_COMPRESS_FROM: Final = 256

_STRUCTS: Final[dict[int, type[msgspec.Struct]]] = {
    8: AlarmEvent,
    9: r.Context,
    10: r.Gap,
    11: r.Audit,
    12: r.Definitions,
    20: r.Heartbeat,
    21: r.Connection,
    22: r.KeepAlive,
    23: r.Overflow,
    24: r.Start,
    25: r.ClockStep,
    26: r.Action,
    27: r.Diagnostic,
    28: r.Abandoned,
    29: r.Note,
    30: r.Filled,
}
KINDS: Final[dict[type[Any], int]] = {Samples: 1, Texts: 2, Block: 3, r.Summaries: 4, Recalled: 5, RecalledTexts: 6} | {
    cls: kind for kind, cls in _STRUCTS.items()
}
"""Kind number of each class; a number is never given to another class."""
KIND_NAMES: Final[dict[int, str]] = {kind: cls.__name__.lower() for cls, kind in KINDS.items()}

_encoder = msgspec.json.Encoder(decimal_format="string")
_struct_encoder = msgspec.msgpack.Encoder()
_decoders: Final = {kind: msgspec.msgpack.Decoder(cls) for kind, cls in _STRUCTS.items()}


class _SamplesHead(msgspec.Struct, forbid_unknown_fields=True):
    n: int
    received_ns: int


class _TextsHead(msgspec.Struct, forbid_unknown_fields=True):
    value: tuple[str, ...]
    received_ns: int


class _BlockHead(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    n: int
    k: int
    tag: int
    wide_status: bool
    axis_unit: str
    unit: str
    received_ns: int
    acquisition: Acquisition | None = None


_samples_head: Final = msgspec.json.Decoder(_SamplesHead)
_texts_head: Final = msgspec.json.Decoder(_TextsHead)
_block_head: Final = msgspec.json.Decoder(_BlockHead)


def kind_of(item: r.Entry | r.Record) -> int:
    """The kind number of an item."""
    return KINDS[type(item)]


class _Threads(threading.local):
    """One compressor and one decompressor for each thread: making one costs more than most bodies, and two threads must not share it."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(level=1, write_checksum=False)
        self.decompressor = zstandard.ZstdDecompressor()


_threads = _Threads()


def frame(kind: int, body: bytes) -> bytes:
    """A frame around any body; other rooms' messages (`delivery.py`) use it too."""
    if len(body) > MAX_BODY:
        raise WireError(f"frame: expected a body of at most {MAX_BODY} bytes, found {len(body)}")
    stored, flags = body, 0
    if len(body) >= _COMPRESS_FROM:
        packed = _threads.compressor.compress(body)
        if len(packed) < len(body):
            stored, flags = packed, _ZSTD
    prefix = _PREFIX.pack(_MAGIC, VERSION, kind, flags, len(stored), len(body))
    return prefix + _CRC.pack(zlib.crc32(stored, zlib.crc32(prefix))) + stored


def unframe(data: bytes | memoryview) -> tuple[int, bytes]:
    """Kind and body of one frame; WireError when any byte is not as it was written."""
    data = bytes(data)
    if len(data) < HEADER_BYTES:
        raise WireError(f"frame: expected at least {HEADER_BYTES} bytes, found {len(data)}")
    magic, version, kind, flags, stored_bytes, body_bytes = _PREFIX.unpack_from(data)
    if magic != _MAGIC or version != VERSION or flags not in (0, _ZSTD) or data[5:8] != b"\0\0\0":
        raise WireError(f"frame: expected magic {_MAGIC!r} version {VERSION}, found {magic!r} version {version} flags {flags}")
    if len(data) != HEADER_BYTES + stored_bytes or body_bytes > MAX_BODY:
        raise WireError(f"frame: expected {stored_bytes} bytes of body, found {len(data) - HEADER_BYTES}")
    stored = data[HEADER_BYTES:]
    (crc,) = _CRC.unpack_from(data, _PREFIX.size)
    if zlib.crc32(stored, zlib.crc32(data[: _PREFIX.size])) != crc:
        raise WireError("frame: expected its CRC to match, found a damaged byte")
    if flags == 0:
        body = stored
    else:
        try:
            # zstd allocates what its own frame promises: that promise is checked before it is believed.
            if zstandard.frame_content_size(stored) != body_bytes:
                raise WireError(f"frame: expected {body_bytes} bytes uncompressed, found {zstandard.frame_content_size(stored)}")
            body = _threads.decompressor.decompress(stored, max_output_size=body_bytes, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise WireError(f"frame: expected a zstd body, found {error}") from error
    if len(body) != body_bytes:
        raise WireError(f"frame: expected {body_bytes} bytes uncompressed, found {len(body)}")
    return kind, body


def _delta(column: np.ndarray[Any, np.dtype[Any]]) -> bytes:
    # Wrapping differences: exact for every int64 and int32, also across overflow.
    out = column.copy()
    out[1:] -= column[:-1]
    return out.tobytes()


def _undelta(body: memoryview, dtype: str) -> np.ndarray[Any, np.dtype[Any]]:
    column = np.frombuffer(body, dtype)
    return np.cumsum(column, dtype=column.dtype)


def _with_header(header: msgspec.Struct, *columns: bytes) -> bytes:
    head = _encoder.encode(header)
    # Columns start 8-aligned for readers that map the bytes.
    head += b" " * (-(len(head) + 4) % 8)
    return b"".join((_CRC.pack(len(head)), head, *columns))


class _Body:
    """Cuts a body into its header and columns and insists that nothing is left over."""

    def __init__(self, body: bytes) -> None:
        self._view = memoryview(body)
        if len(body) < 4:
            raise WireError("body: expected a header length, found fewer than 4 bytes")
        (head_bytes,) = _CRC.unpack_from(body)
        self.head = self._view[4 : 4 + head_bytes]
        if len(self.head) != head_bytes:
            raise WireError(f"body: expected a header of {head_bytes} bytes, found {len(self.head)}")
        self._at = 4 + head_bytes

    def take(self, n: int) -> memoryview:
        part = self._view[self._at : self._at + n]
        if n < 0 or len(part) != n:
            raise WireError(f"body: expected a column of {n} bytes, found {len(part)}")
        self._at += n
        return part

    def end(self) -> None:
        if self._at != len(self._view):
            raise WireError(f"body: expected its end, found {len(self._view) - self._at} bytes more")


def encode(item: r.Entry | r.Record) -> bytes:
    """The frame of one entry or record; the same item gives the same bytes."""
    if isinstance(item, Samples):
        body = _with_header(
            _SamplesHead(len(item), item.received_ns), _delta(item.time_ns), item.value.tobytes(), _delta(item.tag), item.status.tobytes()
        )
    elif isinstance(item, r.Summaries):
        columns = [
            _delta(np.ascontiguousarray(item.rows[name])) if name in ("start_ns", "first_ns", "last_ns", "tag") else item.rows[name].tobytes()
            for name, _ in r.SUMMARY_COLUMNS
        ]
        body = _with_header(_SamplesHead(len(item), item.received_ns), *columns)
    elif isinstance(item, Texts):
        columns = [np.array(c, d).tobytes() for c, d in ((item.time_ns, "<i8"), (item.tag, "<i4"), (item.status, "<u4"))]
        body = _with_header(_TextsHead(item.value, item.received_ns), *columns)
    elif isinstance(item, Block):
        n, k = item.values.shape
        head = _BlockHead(n, k, item.tag, item.status.ndim == 2, item.axis_unit, item.unit, item.received_ns, item.acquisition)
        body = _with_header(head, _delta(item.time_ns), item.values.tobytes(), item.axis.tobytes(), item.status.tobytes())
    else:
        body = _struct_encoder.encode(item)
    return frame(kind_of(item), body)


def decode(data: bytes | memoryview) -> r.Entry | r.Record:
    """The item of one frame; WireError when it is damaged, of another version, or not what its kind promises."""
    kind, body = unframe(data)
    try:
        if kind in _decoders:
            return _decoders[kind].decode(body)  # type: ignore[return-value]
        if kind not in KIND_NAMES:
            raise WireError(f"frame: expected a known kind, found {kind}")
        return _decode_columns(kind, _Body(body))
    except (msgspec.DecodeError, ValueError, OverflowError, RecursionError) as error:
        raise WireError(f"{KIND_NAMES.get(kind, kind)}: {error}") from error


def _decode_columns(kind: int, body: _Body) -> r.Entry | r.Record:
    item: r.Entry | r.Record
    if kind in (KINDS[Samples], KINDS[Recalled]):
        head = _samples_head.decode(body.head)
        n = head.n
        time_ns = _undelta(body.take(8 * n), "<i8")
        value = np.frombuffer(body.take(8 * n), "<f8")
        of = Samples if kind == KINDS[Samples] else Recalled
        item = of(time_ns, _undelta(body.take(4 * n), "<i4"), value, np.frombuffer(body.take(4 * n), "<u4"), head.received_ns)
    elif kind == KINDS[r.Summaries]:
        head = _samples_head.decode(body.head)
        parts = [(name, dtype, body.take(np.dtype(dtype).itemsize * head.n)) for name, dtype in r.SUMMARY_COLUMNS]
        rows = np.empty(head.n, r.SUMMARY_DTYPE)  # only now: n is known to be the number of rows that are there
        for name, dtype, part in parts:
            rows[name] = _undelta(part, dtype) if name in ("start_ns", "first_ns", "last_ns", "tag") else np.frombuffer(part, dtype)
        item = r.Summaries(rows, head.received_ns)
    elif kind in (KINDS[Texts], KINDS[RecalledTexts]):
        texts = _texts_head.decode(body.head)
        m = len(texts.value)
        times, tags, statuses = (np.frombuffer(body.take(w * m), d).tolist() for w, d in ((8, "<i8"), (4, "<i4"), (4, "<u4")))
        words = Texts if kind == KINDS[Texts] else RecalledTexts
        item = words(tuple(times), tuple(tags), texts.value, tuple(statuses), texts.received_ns)
    else:
        shape = _block_head.decode(body.head)
        n, k = shape.n, shape.k
        if n < 0 or k < 0:
            raise WireError(f"block: expected sizes of 0 or more, found {n} x {k}")
        time_ns = _undelta(body.take(8 * n), "<i8")
        values = np.frombuffer(body.take(8 * n * k), "<f8").reshape(n, k)
        axis = np.frombuffer(body.take(8 * k), "<f8")
        cells = n * k if shape.wide_status else n
        status = np.frombuffer(body.take(4 * cells), "<u4").reshape((n, k) if shape.wide_status else (n,))
        item = Block(shape.tag, time_ns, values, status, axis, shape.axis_unit, shape.unit, shape.received_ns, shape.acquisition)
    body.end()
    return item
