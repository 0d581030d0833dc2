"""Packing of run-time state and models: nested dictionaries of numbers, texts and arrays, never pickles.

A packed state is a frame (see wire.py) whose body is a JSON tree in which each array is a reference to the bytes behind it,
so that arrays come back bit for bit, NaN payloads included.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import numpy as np

from edge_agent.core.errors import WireError
from edge_agent.core.wire import frame, unframe

STATE_KIND: Final = 70
_ARRAY: Final = "\u0000array"
_FLOAT: Final = "\u0000float"
_ALLOWED: Final = frozenset("biuf")


def pack(state: Mapping[str, Any]) -> bytes:
    """Bytes of a nested mapping of arrays (bool, integer, float), int, float, str, bool, None, lists and mappings.

    Raises TypeError for anything else, naming its place.

    >>> unpack(pack({"a": np.array([1.5, np.nan]), "n": 3}))["n"]
    3
    """
    arrays: list[bytes] = []
    size = 0

    def walk(value: Any, where: str) -> Any:
        nonlocal size
        if isinstance(value, np.ndarray):
            if value.dtype.hasobject or (value.dtype.kind not in _ALLOWED and value.dtype.names is None):
                raise TypeError(f"state {where}: expected a numeric array, found {value.dtype}")
            data = np.ascontiguousarray(value).tobytes()
            descr = value.dtype.descr if value.dtype.names else value.dtype.str
            reference = {_ARRAY: [descr, list(value.shape), size]}
            arrays.append(data)
            size += len(data)
            return reference
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, float) and not math.isfinite(value):
            return {_FLOAT: repr(value)}
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, Mapping):
            return {_key(k, where): walk(v, f"{where}.{k}") for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [walk(v, f"{where}[{i}]") for i, v in enumerate(value)]
        raise TypeError(f"state {where}: expected arrays, numbers, texts, lists or mappings, found {type(value).__name__}")

    head = msgspec.json.encode(walk(state, "state"))
    packed = frame(STATE_KIND, b"".join((len(head).to_bytes(4, "little"), head, *arrays)))
    arrays.clear()  # `walk` knows itself, so that what it knows would stay until somebody looks for cycles
    return packed


def _key(key: Any, where: str) -> str:
    if not isinstance(key, str) or key.startswith("\0"):
        raise TypeError(f"state {where}: expected text keys that do not begin with NUL, found {key!r}")
    return key


def _field(field: list[Any]) -> tuple[Any, ...]:
    # JSON made lists of the tuples in a dtype: (name, type) or (name, type, shape), types of nested structures again.
    name, kind, *shape = field
    return (name, kind if isinstance(kind, str) else [_field(inner) for inner in kind], *(tuple(s) for s in shape))


def _filled(value: Any, body: bytes, start: int) -> Any:
    """A JSON tree with the arrays of a body, which begin at `start`, in the place of their references."""
    if isinstance(value, dict):
        if _ARRAY in value:
            descr, shape, at = value[_ARRAY]
            dtype = np.dtype(descr if isinstance(descr, str) else [_field(field) for field in descr])
            count = math.prod(shape)
            if min([at, *shape]) < 0:
                raise WireError(f"state: expected a place and a shape of 0 or more, found {at} and {shape}")
            return np.frombuffer(body, dtype, count, start + at).reshape(shape).copy()
        if _FLOAT in value:
            return float(value[_FLOAT])
        return {k: _filled(v, body, start) for k, v in value.items()}
    if isinstance(value, list):
        return [_filled(v, body, start) for v in value]
    return value


def unpack(data: bytes) -> dict[str, Any]:
    """The state that `pack` wrote, with writable arrays; WireError when the bytes are damaged."""
    kind, body = unframe(data)
    if kind != STATE_KIND:
        raise WireError(f"state: expected kind {STATE_KIND}, found {kind}")
    start = 4 + int.from_bytes(body[:4], "little")

    try:
        tree = _filled(msgspec.json.decode(body[4:start]), body, start)
    except (msgspec.DecodeError, ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise WireError(f"state: {error}") from error
    if not isinstance(tree, dict):
        raise WireError(f"state: expected a mapping, found {type(tree).__name__}")
    return tree
