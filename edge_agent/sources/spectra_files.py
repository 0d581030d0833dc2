"""Formats of spectra in files: JCAMP-DX through jcamp, SPC through spc_io, and CSV with two columns."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np

from edge_agent.core import Acquisition, Block, PharmedgeError, Tag
from edge_agent.core.samples import Float64
from edge_agent.sources.blocks import STATUSES, BlockError, StreamSection, block


class SpectrumError(PharmedgeError):
    """A file is no spectrum: `FILE: expected X, found Y`."""


def block_of(name: str, data: bytes, tag: Tag, time_ns: int, stream: StreamSection | None = None) -> Block:
    """The spectrum in a file's bytes; `time_ns` is taken where the file does not say when it was measured. SpectrumError when it is none."""
    ending = name.rpartition(".")[2].lower()
    read = {"jdx": _jcamp, "dx": _jcamp, "jcamp": _jcamp, "spc": _spc, "csv": _csv}.get(ending)
    if read is None:
        raise SpectrumError(f"{name}: expected an ending jdx, dx, jcamp, spc or csv, found {ending!r}")
    told: dict[str, str] = {}
    try:
        axis, values, axis_unit, unit, measured_ns = read(data, told)
        if len(axis) < 2 or axis.shape != values.shape:
            raise SpectrumError(f"expected as many values as points of the axis, at least 2, found {len(values)} and {len(axis)}")
        acquisition, status = _acquisition(told)
        if stream is not None:
            acquisition = stream.acquisition(acquisition)
        when = time_ns if measured_ns is None else measured_ns
        return block(tag, [when], values, axis, axis_unit, unit, status=status, acquisition=acquisition)
    except (SpectrumError, BlockError) as error:
        raise SpectrumError(f"{name}: {error}") from error
    except (ValueError, IndexError, KeyError, TypeError, ArithmeticError, AttributeError, AssertionError, EOFError, OSError) as error:
        # What the format libraries raise on bytes that are not of their format is theirs to choose.
        raise SpectrumError(f"{name}: expected a {ending} file, found {type(error).__name__}: {error}") from error


def _acquisition(told: dict[str, str]) -> tuple[Acquisition | None, int]:
    """The facts that a file tells in words, and its StatusCode."""
    facts = {key: told[key] for key in Acquisition.__struct_fields__ if told.get(key)}
    try:
        found = msgspec.convert(facts, Acquisition, strict=False) if facts else None
    except msgspec.ValidationError as error:
        raise SpectrumError(f"expected facts of an acquisition: {error}") from error
    if found is not None and found.status not in ("", *STATUSES):
        raise SpectrumError(f"expected a status {', '.join(STATUSES)}, found {found.status!r}")
    code = told.get("status_code", "0")
    if not code.isdigit() or int(code) >= 1 << 32:
        raise SpectrumError(f"expected a status_code of 32 bits, found {code!r}")
    return found, int(code)


_Read = tuple[Float64, Float64, str, str, int | None]


def _ns(moment: datetime) -> int:
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(moment.timestamp()) * 1_000_000_000 + moment.microsecond * 1000


def _jcamp(data: bytes, _told: dict[str, str]) -> _Read:
    import jcamp

    if b"##END=" not in data.replace(b" ", b""):
        raise SpectrumError("expected ##END= at the end of a whole file, found none")
    found: dict[str, Any] = jcamp.read(io.BytesIO(data))
    x, y = np.asarray(found["x"], np.float64), np.asarray(found["y"], np.float64)
    points = found.get("npoints")
    if points is not None and int(points) != len(y):
        raise SpectrumError(f"expected NPOINTS={int(points)} values, found {len(y)}")
    moment = found.get("longdate")
    unit = {"1/CM": "1/cm", "NANOMETERS": "nm", "MICROMETERS": "um"}.get(str(found.get("xunits", "")).upper(), str(found.get("xunits", "")))
    return x, y, unit, str(found.get("yunits", "")).lower(), _ns(moment) if isinstance(moment, datetime) else None


def _spc(data: bytes, _told: dict[str, str]) -> _Read:
    import spc_io

    # The log book behind the values is not needed, and an empty one is more than the library reads: its place (flogoff, a u32 at 248) is blanked.
    found = spc_io.SPC.from_bytes_io(io.BytesIO(data[:248] + bytes(4) + data[252:]))
    if len(found) != 1:
        raise SpectrumError(f"expected one spectrum, found {len(found)}")
    part = found[0]
    unit = {"XWAVEN": "1/cm", "XNMETR": "nm", "XUMETR": "um", "XRAMANS": "1/cm", "XARB": ""}.get(str(found.xtype), str(found.xtype))
    value_unit = {"YABSRB": "absorbance", "YTRANS": "transmittance", "YREFLEC": "reflectance", "YARB": ""}.get(str(found.ytype), str(found.ytype))
    moment = found.date if found.date.year > 1970 else None
    return np.asarray(part.xarray, np.float64), np.asarray(part.yarray, np.float64), unit, value_unit, _ns(moment) if moment else None


def _csv(data: bytes, told: dict[str, str]) -> _Read:
    """Lines `# key: value` (time, axis_unit, unit, facts of the acquisition), an optional line of column names, then axis and value."""
    rows: list[tuple[float, float]] = []
    text = data.decode("utf-8-sig")
    if not text.endswith("\n"):
        raise SpectrumError("expected a line end behind the last value of a whole file, found none")
    lines = text.splitlines()
    for i, line in enumerate(lines, 1):
        if not line.strip():
            continue
        if line.startswith("#"):
            key, _, value = line[1:].partition(":")
            told[key.strip().lower()] = value.strip()
            continue
        cells = next(csv.reader([line], delimiter=";" if ";" in line else ","))
        try:
            rows.append((float(cells[0]), float(cells[1])))
        except (ValueError, IndexError):
            if rows:
                raise SpectrumError(f"line {i}: expected two numbers, found {line[:60]!r}") from None
    points = np.array(rows, np.float64).reshape(-1, 2)
    moment = _ns(datetime.fromisoformat(told["time"])) if "time" in told else None
    return points[:, 0].copy(), points[:, 1].copy(), told.get("axis_unit", ""), told.get("unit", ""), moment
