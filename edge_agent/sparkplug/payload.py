"""Sparkplug B payloads, both directions: messages are made and read by protobuf; this module is imported when a connection is opened."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from google.protobuf.message import DecodeError

from edge_agent.core import WireError
from edge_agent.sparkplug.sparkplug_b_pb2 import Payload
from edge_agent.sparkplug.values import ARRAY_TYPES, QUALITY, UA_STATUS, DataType, packed, signed, texts_of, unpacked, unsigned

Metric = Payload.Metric
BD_SEQ: Final = "bdSeq"
REBIRTH: Final = "Node Control/Rebirth"

_INT: Final = frozenset({DataType.INT8, DataType.INT16, DataType.INT32, DataType.UINT8, DataType.UINT16, DataType.UINT32})
_LONG: Final = frozenset({DataType.INT64, DataType.UINT64, DataType.DATETIME})
_TEXT: Final = frozenset({DataType.STRING, DataType.TEXT, DataType.UUID})


def decode(data: bytes) -> Payload:
    """The payload in a message; WireError when it is none."""
    payload = Payload()
    try:
        payload.ParseFromString(data)
    except DecodeError as error:
        raise WireError(f"Sparkplug payload: {error}") from error
    return payload


def encode(payload: Payload) -> bytes:
    """The message; the same payload gives the same bytes."""
    return payload.SerializeToString(deterministic=True)


def put(metric: Payload.Metric, datatype: int, value: Any, *, typed: bool = True) -> None:
    """Set the value of a metric, and its data type when `typed`; None makes it null."""
    if typed:
        metric.datatype = datatype
    if value is None:
        metric.is_null = True
    elif datatype in _INT:
        metric.int_value = unsigned(int(value), datatype)
    elif datatype in _LONG:
        metric.long_value = unsigned(int(value), datatype)
    elif datatype == DataType.FLOAT:
        metric.float_value = value
    elif datatype == DataType.DOUBLE:
        metric.double_value = value
    elif datatype == DataType.BOOLEAN:
        metric.boolean_value = value
    elif datatype in _TEXT:
        metric.string_value = value
    elif datatype in ARRAY_TYPES:
        metric.bytes_value = packed(np.asarray(value), datatype)
    elif datatype == DataType.STRINGARRAY:
        metric.bytes_value = b"".join(text.encode() + b"\0" for text in value)
    else:
        raise WireError(f"Sparkplug: expected a data type that can be sent, found {datatype}")


def value_of(metric: Payload.Metric, datatype: int) -> Any:
    """A metric's value: int, float, bool, str, list of str, or (k,) float64 for arrays; None when it is null or has none.

    WireError when the value is of another kind than its data type, or of one that is not read (data sets, templates, files).
    """
    kind = metric.WhichOneof("value")
    if kind is None or metric.is_null:
        return None
    value: Any = getattr(metric, kind)
    if datatype in _INT | _LONG and kind in ("int_value", "long_value"):
        return signed(value, datatype)
    if datatype in (DataType.FLOAT, DataType.DOUBLE) and kind in ("float_value", "double_value"):
        return value
    if datatype == DataType.BOOLEAN and kind == "boolean_value":
        return value
    if datatype in _TEXT and kind == "string_value":
        return value
    if datatype in ARRAY_TYPES and kind == "bytes_value":
        return unpacked(value, datatype)
    if datatype == DataType.STRINGARRAY and kind == "bytes_value":
        return texts_of(value)
    raise WireError(f"Sparkplug: expected a value of data type {datatype}, found {kind}")


def put_quality(metric: Payload.Metric, quality: int, ua_status: int | None) -> None:
    """Set the property Quality (Int32), and UaStatus (UInt32) where there is one."""
    properties = metric.properties
    properties.keys.append(QUALITY)
    properties.values.add(type=DataType.INT32, int_value=quality)
    if ua_status is not None:
        properties.keys.append(UA_STATUS)
        properties.values.add(type=DataType.UINT32, int_value=ua_status)


def put_property(metric: Payload.Metric, key: str, value: str | float) -> None:
    """Set another property: a text or a number."""
    metric.properties.keys.append(key)
    if isinstance(value, str):
        metric.properties.values.add(type=DataType.STRING, string_value=value)
    else:
        metric.properties.values.add(type=DataType.DOUBLE, double_value=value)


def qualities_of(metric: Payload.Metric) -> tuple[int | None, int | None]:
    """Quality and UaStatus of a metric, None where it does not say so."""
    if not metric.HasField("properties"):
        return None, None
    found: dict[str, int] = {}
    for key, prop in zip(metric.properties.keys, metric.properties.values, strict=False):
        kind = prop.WhichOneof("value")
        if key in (QUALITY, UA_STATUS) and kind in ("int_value", "long_value") and not prop.is_null:
            found[key] = int(getattr(prop, kind))
    return found.get(QUALITY), found.get(UA_STATUS)


def rebirth(now_ms: int) -> bytes:
    """The command that asks a node for its births."""
    payload = Payload(timestamp=now_ms)
    put(payload.metrics.add(name=REBIRTH, timestamp=now_ms), DataType.BOOLEAN, True)
    return encode(payload)


def number(value: float) -> float | None:
    """A number, or None where there is none: a metric without a value is null.

    >>> number(1.5), number(math.nan)
    (1.5, None)
    """
    return None if math.isnan(value) else value
