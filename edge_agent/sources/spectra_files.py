"""Formats of spectra in files: JCAMP-DX through jcamp, SPC through spc_io, and CSV with two columns."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec
import numpy as np

from edge_agent.core import Acquisition, Block, PharmedgeError, Tag
from edge_agent.core.samples import Float64
from edge_agent.sources.blocks import MOST_POINTS, STATUSES, BlockError, StreamSection, block
from edge_agent.sources.spectra_text import decoded, number, separator
from edge_agent.sources.zone import local_ns

ENDINGS: Final = ("jdx", "dx", "jcamp", "spc", "csv")
"""Endings of files that are read."""
FACT: Final = "acquisition_"
"""What the names of our facts begin with among the private labels of JCAMP-DX and in the log of SPC; `acquisition_time` is the time, ISO 8601."""
_MINUTE_NS: Final = 60 * 10**9


class SpectrumError(PharmedgeError):
    """A file is no spectrum: `FILE: expected X, found Y`."""


def block_of(name: str, data: bytes, tag: Tag, time_ns: int, stream: StreamSection | None = None, zone: ZoneInfo | None = None) -> Block:
    """The spectrum in a file's bytes; SpectrumError when it is none.

    time_ns  is taken where the file does not say when it was measured, and says the second where the file tells the minute only
    zone     the zone whose local time is meant where a file names no offset; all times, `time_ns` too, are then what its clocks show
    """
    ending = name.rpartition(".")[2].lower()
    read = {"jdx": _jcamp, "dx": _jcamp, "jcamp": _jcamp, "spc": _spc, "csv": _csv}.get(ending)
    if read is None:
        raise SpectrumError(f"{name}: expected an ending jdx, dx, jcamp, spc or csv, found {ending!r}")
    told: dict[str, str] = {}
    try:
        axis, values, axis_unit, unit, moment = read(data, told)
        if len(axis) < 2 or axis.shape != values.shape:
            raise SpectrumError(f"expected as many values as points of the axis, at least 2, found {len(values)} and {len(axis)}")
        acquisition, status = _acquisition(told)
        if stream is not None:
            acquisition = stream.acquisition(acquisition)
        when = time_ns if moment is None else _ns(moment, zone)
        if moment is not None and read is _spc and "time" not in told and when <= time_ns < when + 2 * _MINUTE_NS:
            # SPC counts minutes. A file written as its spectrum was taken knows the second; one that was copied later does not.
            when = min(time_ns, when + _MINUTE_NS - 1)
        return block(tag, [when], values, axis, axis_unit, unit, status=status, acquisition=acquisition)
    except (SpectrumError, BlockError) as error:
        raise SpectrumError(f"{name}: {error}") from error
    except Exception as error:  # what a format library left behind may fail in any way, and one bad file must not stop the folder
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


def _by_library(read: Callable[[io.BytesIO], Any], data: bytes) -> Any:
    """What a format library makes of bytes; SpectrumError with its own words where it makes nothing of them."""
    try:
        return read(io.BytesIO(data))
    except Exception as error:  # jcamp raises Exception itself, spc_io whatever its parts do: one bad file must not stop the folder
        raise SpectrumError(f"expected a file of its format, found {type(error).__name__}: {error}") from error


_Read = tuple[Float64, Float64, str, str, datetime | None]
"""Axis, values, unit of the axis, unit of the values, and when, as far as the file says."""


def _ns(moment: datetime, zone: ZoneInfo | None) -> int:
    utc = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    ns = int(utc.timestamp()) * 1_000_000_000 + utc.microsecond * 1000
    # A moment with its offset is known; one without is what the clocks of the zone show already.
    return local_ns(ns, zone) if zone is not None and moment.tzinfo else ns


def _facts(told: dict[str, str], key: str, value: str) -> None:
    if key.startswith(FACT) and value:
        told[key.removeprefix(FACT)] = value


_AXIS_UNITS: Final = {
    "1/CM": "1/cm", "CM-1": "1/cm", "CM^-1": "1/cm", "WAVENUMBER": "1/cm", "WAVENUMBERS": "1/cm", "WAVENUMBERS (CM-1)": "1/cm",
    "NANOMETERS": "nm", "NANOMETER": "nm", "NM": "nm", "WAVELENGTH (NM)": "nm", "MICROMETERS": "um", "UM": "um", "WAVELENGTH (UM)": "um",
    "SECONDS": "s",
}  # fmt: skip
_ABSORBANCE: Final = {"absorbance": "AU", "absorbance units": "AU", "abs": "AU", "arbitrary units": "", "arbitrary": ""}
_LONG: Final = re.compile(r"(\d{4})/(\d\d)/(\d\d)(?:[ T]+(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?)?\s*(Z|[+-]\d\d:?\d\d)?$")


def _longdate(text: str) -> datetime | None:
    """LONGDATE of JCAMP-DX 5 with its fraction and offset, which the library does not read; None where it is another text.

    >>> _longdate("2025/10/09 08:53:20.1234 +0800").isoformat()
    '2025-10-09T08:53:20.123400+08:00'
    """
    found = _LONG.match(text.strip())
    if found is None:
        return None
    year, month, day, hour, minute, second, fraction, offset = found.groups(default="")
    clock = f"{hour or '00'}:{minute or '00'}:{second or '00'}.{(fraction + '000000')[:6]}"
    return datetime.fromisoformat(f"{year}-{month}-{day}T{clock}{offset}")


def _jcamp(data: bytes, told: dict[str, str]) -> _Read:
    import jcamp

    bare = data.replace(b" ", b"").upper()
    if b"##END=" not in bare:
        raise SpectrumError("expected ##END= at the end of a whole file, found none")
    spectra = len(re.findall(rb"^##XY(?:DATA|POINTS)=", bare, re.MULTILINE))
    if spectra != 1:
        # The library keeps the last one: the others would be lost without a word.
        raise SpectrumError(f"expected one spectrum in a file, found {spectra}")
    said = re.search(rb"^##NPOINTS=(\d+)", bare, re.MULTILINE)
    if said is not None and int(said[1]) > MOST_POINTS:  # the library makes an axis of so many points, whatever follows
        raise SpectrumError(f"expected at most {MOST_POINTS} points, found NPOINTS={int(said[1])}")
    found: dict[str, Any] = _by_library(jcamp.read, data)
    if found.get("children"):
        blocks = found["children"]
        found = next((c for c in blocks if len(c["y"])), {})
        if not found:
            raise SpectrumError(f"expected a block with points in a LINK file, found none in {len(blocks)}")
    x, y = np.asarray(found["x"], np.float64), np.asarray(found["y"], np.float64)
    points = found.get("npoints")
    if points is not None and int(points) != len(y):
        raise SpectrumError(f"expected NPOINTS={int(points)} values, found {len(y)}")
    for key, fact in (("spectrometer/data system", "instrument"), ("sample description", "sample")):
        if isinstance(found.get(key), str) and found[key]:
            told[fact] = found[key]
    for key, value in found.items():
        if key.startswith("$"):
            _facts(told, key.removeprefix("$"), str(value))
    moment = found.get("longdate")
    if isinstance(moment, str):
        moment = _longdate(moment)
    units = str(found.get("xunits", ""))
    unit = _AXIS_UNITS.get(units.upper(), units)
    values = str(found.get("yunits", "")).lower()
    return x, y, unit, _ABSORBANCE.get(values, values), moment if isinstance(moment, datetime) else None


_SPC_LOG: Final = 248
"""Where the place of the log stands in the head of an SPC file, u32."""
_MOST_LOG: Final = 16 << 20


def _spc(data: bytes, told: dict[str, str]) -> _Read:
    import spc_io

    # An empty log is more than the library reads: log and place are taken away from it, and what it holds is read here.
    log, end = _spc_log(data)
    found = _by_library(spc_io.SPC.from_bytes_io, data[:_SPC_LOG] + bytes(4) + data[_SPC_LOG + 4 : end])
    if len(found) != 1:
        raise SpectrumError(f"expected one spectrum in a file, found {len(found)}")
    part = found[0]
    unit = {"XWAVEN": "1/cm", "XNMETR": "nm", "XUMETR": "um", "XRAMANS": "1/cm", "XSECS": "s", "XARB": ""}.get(str(found.xtype), str(found.xtype))
    words = {"YABSRB": "AU", "YTRANS": "transmittance", "YREFLEC": "reflectance", "YLOGDR": "log(1/R)", "YARB": ""}
    source = data[45:54].split(b"\0")[0].decode("latin-1").strip()
    if source:
        told["instrument"] = source
    for line in log.splitlines():
        key, _, value = line.partition("=")
        _facts(told, key.strip().lower(), value.strip())
    moment = datetime.fromisoformat(told["time"]) if "time" in told else found.date if found.date.year > 1970 else None
    return np.asarray(part.xarray, np.float64), np.asarray(part.yarray, np.float64), unit, words.get(str(found.ytype), str(found.ytype)), moment


def _spc_log(data: bytes) -> tuple[str, int]:
    """Text of the log of an SPC file (head of 64 bytes: size, memory, place of the text ...), empty without one, and where the spectrum ends."""
    (at,) = struct.unpack_from("<I", data, _SPC_LOG)
    if at in (0, len(data) + 1):  # one byte behind the end: an empty log as some writers leave it
        return "", len(data)
    size, text = 64, 64
    if at + 64 <= len(data):
        size, _, text = struct.unpack_from("<III", data, at)
        if not 64 <= text <= size <= _MOST_LOG:
            return "", len(data)  # what stands there is no log: some writers give a wrong place
    if at + size > len(data):
        raise SpectrumError(f"expected {at + size} bytes of a whole file with its log, found {len(data)}")
    return data[at + text : at + size].split(b"\0")[0].decode("utf-8", "replace"), at


def _csv(data: bytes, told: dict[str, str]) -> _Read:
    """Lines `# key: value` (time, axis_unit, unit, facts of the acquisition), an optional line of column names, then axis and value."""
    rows: list[tuple[float, float]] = []
    text = decoded(data)
    if not text.endswith("\n"):
        raise SpectrumError("expected a line end behind the last value of a whole file, found none")
    first = ""
    for i, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        if line.startswith("#"):
            key, _, value = line[1:].partition(":")
            told[key.strip().lower()] = value.strip()
            continue
        between = separator(line)
        cells = [cell.strip().strip('"') for cell in line.strip().split(None if between == " " else between)]
        first = first or line
        try:
            numbers = [number(cell, between) for cell in cells if cell]
        except ValueError:
            if rows:
                raise SpectrumError(f"line {i}: expected two numbers, found {line[:60]!r}") from None
            continue
        if len(numbers) != 2:
            raise SpectrumError(f"line {i}: expected axis and value of one spectrum, found {len(numbers)} numbers: {line[:60]!r}")
        rows.append((numbers[0], numbers[1]))
    if not rows:
        raise SpectrumError(f"expected lines with axis and value, at least 2, found none: {first[:60]!r}")
    points = np.array(rows, np.float64).reshape(-1, 2)
    moment = datetime.fromisoformat(told["time"]) if "time" in told else None
    return points[:, 0].copy(), points[:, 1].copy(), told.get("axis_unit", ""), told.get("unit", ""), moment
