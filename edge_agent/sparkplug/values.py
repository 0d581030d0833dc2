"""Values of Sparkplug B metrics: data types, arrays, and what quality is in OPC UA."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_agent.core import WireError
from edge_agent.core.status import BAD, CODE_MASK, GOOD, UNCERTAIN, UNCERTAIN_LAST_USABLE, UNCERTAIN_NO_COMMUNICATION_LAST_USABLE

QUALITY: Final = "Quality"
UA_STATUS: Final = "UaStatus"
"""Our own property: the OPC UA StatusCode behind a quality that cannot say it."""
QUALITY_BAD: Final = 0
QUALITY_GOOD: Final = 192
QUALITY_STALE: Final = 500


class DataType(IntEnum):
    """Codes of clause 6.4.16."""

    INT8, INT16, INT32, INT64, UINT8, UINT16, UINT32, UINT64, FLOAT, DOUBLE, BOOLEAN, STRING, DATETIME, TEXT, UUID = range(1, 16)
    DATASET, BYTES, FILE, TEMPLATE, PROPERTYSET, PROPERTYSETLIST = range(16, 22)
    INT8ARRAY, INT16ARRAY, INT32ARRAY, INT64ARRAY, UINT8ARRAY, UINT16ARRAY, UINT32ARRAY, UINT64ARRAY = range(22, 30)
    FLOATARRAY, DOUBLEARRAY, BOOLEANARRAY, STRINGARRAY, DATETIMEARRAY = range(30, 35)


_BITS: Final = {DataType.INT8: 8, DataType.INT16: 16, DataType.INT32: 32, DataType.INT64: 64}
_ARRAYS: Final = {
    DataType.INT8ARRAY: "<i1", DataType.INT16ARRAY: "<i2", DataType.INT32ARRAY: "<i4", DataType.INT64ARRAY: "<i8",
    DataType.UINT8ARRAY: "<u1", DataType.UINT16ARRAY: "<u2", DataType.UINT32ARRAY: "<u4", DataType.UINT64ARRAY: "<u8",
    DataType.FLOATARRAY: "<f4", DataType.DOUBLEARRAY: "<f8", DataType.DATETIMEARRAY: "<i8",
}  # fmt: skip
ARRAY_TYPES: Final = frozenset(_ARRAYS) | {DataType.BOOLEANARRAY}
"""Arrays whose items are numbers."""


def signed(value: int, datatype: int) -> int:
    """An integer as it was meant: signed ones travel as two's complement, in the wide or the narrow form.

    >>> signed(4294967295, DataType.INT32), signed(255, DataType.INT8), signed(4294967295, DataType.INT8), signed(7, DataType.UINT8)
    (-1, -1, -1, 7)
    """
    bits = _BITS.get(datatype)  # type: ignore[call-overload]
    if bits is None:
        return value
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def unsigned(value: int, datatype: int) -> int:
    """The form in which a signed integer travels: two's complement in 32 bits, Int64 in 64.

    >>> unsigned(-1, DataType.INT32), unsigned(-1, DataType.INT8)
    (4294967295, 4294967295)
    """
    return value & (2**64 - 1 if datatype in (DataType.INT64, DataType.UINT64, DataType.DATETIME) else 2**32 - 1)


def packed(values: NDArray[Any], datatype: int) -> bytes:
    """An array of numbers as bytes_value, little-endian.

    >>> packed(np.array([1.23, 89.341]), DataType.FLOATARRAY).hex(" ")
    'a4 70 9d 3f 98 ae b2 42'
    >>> packed(np.array([True, False, True]), DataType.BOOLEANARRAY).hex(" ")
    '03 00 00 00 a0'
    """
    if datatype == DataType.BOOLEANARRAY:
        return struct.pack("<I", len(values)) + np.packbits(values.astype(np.bool_)).tobytes()
    return values.astype(_ARRAYS[DataType(datatype)]).tobytes()


def unpacked(data: bytes, datatype: int) -> NDArray[np.float64]:
    """The numbers of a bytes_value; WireError when its length does not fit.

    >>> unpacked(bytes.fromhex("a4709d3f98aeb242"), DataType.FLOATARRAY).round(3).tolist()
    [1.23, 89.341]
    >>> unpacked(bytes.fromhex("03000000a0"), DataType.BOOLEANARRAY).tolist()
    [1.0, 0.0, 1.0]
    """
    if datatype == DataType.BOOLEANARRAY:
        count = struct.unpack_from("<I", data)[0] if len(data) >= 4 else -1
        if len(data) != 4 + (count + 7) // 8:
            raise WireError(f"BooleanArray: expected a count and so many bits, found {len(data)} bytes")
        return np.unpackbits(np.frombuffer(data, np.uint8, offset=4), count=count).astype(np.float64)
    width = np.dtype(_ARRAYS[DataType(datatype)]).itemsize
    if len(data) % width:
        raise WireError(f"{DataType(datatype).name}: expected a multiple of {width} bytes, found {len(data)}")
    return np.frombuffer(data, _ARRAYS[DataType(datatype)]).astype(np.float64)


def texts_of(data: bytes) -> list[str]:
    r"""The texts of a StringArray, each ended by NUL; WireError when it is none.

    >>> texts_of(b"ABC\0hello\0")
    ['ABC', 'hello']
    """
    if data and not data.endswith(b"\0"):
        raise WireError("StringArray: expected NUL at its end")
    try:
        return [part.decode() for part in data.split(b"\0")[:-1]]
    except UnicodeDecodeError as error:
        raise WireError(f"StringArray: {error}") from error


def quality_of(status: int) -> tuple[int, int | None]:
    """Sparkplug quality of an OPC UA StatusCode, and the code itself where the quality does not say it.

    >>> quality_of(0), quality_of(0x408F0000), quality_of(0x42090000), quality_of(0x808C0000)
    ((192, None), (500, None), (192, 1107886080), (0, 2156658688))
    """
    if status == GOOD:
        return QUALITY_GOOD, None
    if status == UNCERTAIN_NO_COMMUNICATION_LAST_USABLE:
        return QUALITY_STALE, None
    if status >= BAD:
        return QUALITY_BAD, None if status == BAD else status
    if status & CODE_MASK in (UNCERTAIN_LAST_USABLE, UNCERTAIN_NO_COMMUNICATION_LAST_USABLE):
        return QUALITY_STALE, status
    return QUALITY_GOOD, status


def status_of(quality: int | None, ua_status: int | None) -> int:
    """The OPC UA StatusCode that a quality means; our own property says it exactly. An unknown quality is uncertain.

    >>> hex(status_of(500, None)), hex(status_of(192, 0x42090000)), status_of(None, None), hex(status_of(42, None))
    ('0x408f0000', '0x42090000', 0, '0x40000000')
    """
    if ua_status is not None and 0 <= ua_status < 2**32:
        return ua_status
    if quality is None or quality == QUALITY_GOOD:
        return GOOD
    return {QUALITY_BAD: BAD, QUALITY_STALE: UNCERTAIN_NO_COMMUNICATION_LAST_USABLE}.get(quality, UNCERTAIN)
