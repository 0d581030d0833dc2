"""Model files: what a trained model knows, as JSON and arrays in one file that any changed byte makes invalid.

    line 1    "pharmedge model 1 <SHA-256 of all that follows, hex> <bytes of the head>"
    head      JSON, indented, UTF-8: kind, name, tags, configuration, calibration, training, by whom and when; of each array its type and shape
    arrays    their bytes in the order of the head: little-endian, C order, nothing between them

`head -60 FILE` shows where a model comes from. A model is known by the SHA-256 of its whole file (`sha256sum FILE`); approvals and the journal cite
that. No pickle is read or written. Approvals stand beside the file: `edge_agent.core.approval`.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_agent.core.errors import PharmedgeError

VERSION: Final = 1
MOST_BYTES: Final = 256 << 20
"""A larger file is refused before it is read."""
_FIRST: Final = re.compile(rb"pharmedge model (\d{1,6}) ([0-9a-f]{64}) ([1-9]\d{0,8})\n")
_TYPES: Final = frozenset({"|b1", "|u1", "|i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8", "<f4", "<f8"})


class ModelFileError(PharmedgeError):
    """A model file cannot be used: `FILE: key: expected X, found Y`."""

    def __init__(self, path: Path | str, key: str, expected: str, found: str) -> None:
        self.path, self.key, self.expected, self.found = str(path), key, expected, found
        super().__init__(f"{path}: {key}: expected {expected}, found {found}")


class Training(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a model was trained on."""

    windows: tuple[tuple[int, int], ...] = ()
    """Source times from and to, ns UTC, both included."""
    files: dict[str, str] = {}
    """Name of each input file to its SHA-256."""
    data_sha256: str = ""
    """SHA-256 over times and values of the rows that were used."""
    rows_used: int = 0
    rows_left_out: dict[str, int] = {}
    """Rows not used by cause: bad, late, rejected, duplicate, mode, alarm, batch, outside, incomplete."""


class _About(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    kind: str
    """Which model it is for: the `kind` of its configuration."""
    name: str
    tags: tuple[str, ...]
    """Names of its inputs, in the order of the arrays."""
    units: dict[str, str] = {}
    """Engineering units of the inputs, where they matter: a model of °C is none of K."""
    config: dict[str, Any]
    """The configuration it was trained with."""
    calibration: dict[str, Any] = {}
    """What its outputs were like on data without faults, against which drift is watched."""
    training: Training = Training()
    trained_by: str
    trained_ns: int
    reason: str = ""
    software: str = ""
    fingerprint: dict[str, str] = {}


class ModelFile(_About, frozen=True, kw_only=True):
    """A trained model: numbers by name in `arrays` (bool, integer, float32, float64), everything else JSON.

    `sha256` is that of the whole file, set by `read` and `write`; it is not part of what is written.
    """

    arrays: dict[str, NDArray[Any]]
    sha256: str = ""


class _Array(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    type: str
    shape: tuple[int, ...]


class _Head(_About, frozen=True, kw_only=True):
    arrays: dict[str, _Array]


_head: Final = msgspec.json.Decoder(_Head)


def encode_model(model: ModelFile) -> bytes:
    """The bytes of a model's file; ValueError names a number or array that no file can hold."""
    arrays = {name: np.ascontiguousarray(a, a.dtype.newbyteorder("<")).reshape(a.shape) for name, a in model.arrays.items()}
    for name, a in arrays.items():
        if a.dtype.str not in _TYPES:
            raise ValueError(f"arrays.{name}: expected bool, integers or floats, found {a.dtype}")
    for key in ("config", "calibration"):
        _plain(getattr(model, key), key)
    fields = {name: getattr(model, name) for name in _About.__struct_fields__}
    head = msgspec.json.format(msgspec.json.encode(_Head(**fields, arrays={n: _Array(a.dtype.str, a.shape) for n, a in arrays.items()})), indent=1)
    body = b"".join([head, b"\n", *(a.tobytes() for a in arrays.values())])
    return b"pharmedge model %d %s %d\n" % (VERSION, hashlib.sha256(body).hexdigest().encode(), len(head) + 1) + body


def _plain(value: Any, key: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{key}: expected a finite number, found {value!r}")
    if isinstance(value, Mapping):
        for k, v in value.items():
            _plain(v, f"{key}.{k}")
    elif isinstance(value, list | tuple):
        for i, v in enumerate(value):
            _plain(v, f"{key}[{i}]")
    elif value is not None and not isinstance(value, bool | int | float | str):
        raise ValueError(f"{key}: expected plain JSON, found {type(value).__name__}")


def decode_model(data: bytes, path: Path | str = "model") -> ModelFile:
    """The model in a file's bytes, with arrays that may be written; ModelFileError unless every byte is as it was written."""
    first = _FIRST.match(data)
    if first is None:
        raise ModelFileError(path, "line 1", "a Pharmedge model", repr(bytes(data[:24])) if data else "an empty file")
    if int(first[1]) != VERSION:
        raise ModelFileError(path, "line 1", f"version {VERSION}", f"version {int(first[1])}")
    body = data[first.end() :]
    if hashlib.sha256(body).hexdigest().encode() != first[2]:
        raise ModelFileError(path, "sha256", first[2].decode(), f"{hashlib.sha256(body).hexdigest()}: damaged or changed since it was written")
    at = int(first[3])
    try:
        head = _head.decode(body[:at])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelFileError(path, "head", "the fields of a model", str(error)) from error
    arrays: dict[str, NDArray[Any]] = {}
    for name, a in head.arrays.items():
        if a.type not in _TYPES or min(a.shape, default=0) < 0:
            raise ModelFileError(path, f"arrays.{name}", "a numeric type and sizes of 0 or more", f"{a.type} {list(a.shape)}")
        dtype, count = np.dtype(a.type), math.prod(a.shape)
        if count * dtype.itemsize > len(body) - at:
            raise ModelFileError(path, f"arrays.{name}", f"{count * dtype.itemsize} bytes", f"{max(len(body) - at, 0)}")
        arrays[name] = np.frombuffer(body, dtype, count, at).reshape(a.shape).copy()
        at += count * dtype.itemsize
    if at != len(body):
        raise ModelFileError(path, "arrays", f"{at} bytes in all", f"{len(body)}")
    fields = {name: getattr(head, name) for name in _About.__struct_fields__}
    return ModelFile(**fields, arrays=arrays, sha256=hashlib.sha256(data).hexdigest())


def write(path: Path, model: ModelFile) -> ModelFile:
    """Write a new file, durably and all at once, and return the model with its hash; a file that exists is never overwritten (FileExistsError)."""
    data = encode_model(model)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("xb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        os.link(draft, path)  # unlike a rename it fails where a file stands already
    finally:
        draft.unlink(missing_ok=True)
    return msgspec.structs.replace(model, sha256=hashlib.sha256(data).hexdigest())


def read(path: Path) -> ModelFile:
    """The model in a file; ModelFileError names the file and the key at which it is not what it should be."""
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise ModelFileError(path, "(file)", f"at most {MOST_BYTES} bytes", str(size))
        data = path.read_bytes()
    except OSError as error:
        raise ModelFileError(path, "(file)", "a readable model file", error.strerror or str(error)) from error
    return decode_model(data, path)
