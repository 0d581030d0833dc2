"""One simulated spectrum as a file, in each of the formats that instruments write: CSV, JCAMP-DX and SPC; all of it marked simulated.

What the formats have no place for travels as CSV comments, as private labels of JCAMP-DX and in the log of SPC, under the same names.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np

from simulators.sent import write_atomically
from simulators.servers.opcua import utc
from simulators.signals import SIMULATED
from simulators.spectrometer import AXIS, INTEGRATION_S, SCANS, UNIT, Spectrum

WORDS: Final = {1: "good", 2: "bad", 4: "partial"}
PROBE: Final = "feed frame window"
INSTRUMENT: Final = "NIR 1"
_A_LINE: Final = 8
"""Values of one line of JCAMP-DX: no line is longer than 80 characters."""


def facts(spectrum: Spectrum) -> dict[str, str]:
    """How an acquisition was taken, in words."""
    return {
        "status": WORDS[spectrum.status], "counter": str(spectrum.counter), "integration_s": f"{INTEGRATION_S:g}", "scans": str(SCANS),
        "probe": PROBE, "cycle": "16", "status_code": str(SIMULATED),
    }  # fmt: skip


def csv_file(spectrum: Spectrum, time_ns: int) -> bytes:
    """Comments, a line of names, then wavelength and absorbance."""
    head = {"time": utc(time_ns).isoformat(), "axis_unit": "nm", "unit": "AU", "instrument": INSTRUMENT, **facts(spectrum)}
    lines = [f"# {key}: {value}" for key, value in head.items()] + ["nm,AU"]
    return ("\n".join([*lines, *(f"{x:.6f},{a:.9f}" for x, a in zip(AXIS, spectrum.values, strict=True))]) + "\n").encode()


def jcamp_file(spectrum: Spectrum, time_ns: int) -> bytes:
    """JCAMP-DX 4.24, form AFFN: whole numbers times YFACTOR, and the wavelength that each line begins with."""
    when: datetime = utc(time_ns)
    largest = float(np.max(np.abs(spectrum.values)))
    factor = largest / (2**31 - 1)
    whole = np.rint(spectrum.values / factor).astype(np.int64)
    labels = {
        "TITLE": f"{UNIT} {spectrum.counter}", "JCAMP-DX": "4.24", "DATA TYPE": "NEAR INFRARED SPECTRUM", "ORIGIN": "simulated",
        "OWNER": "simulated", "LONGDATE": f"{when:%Y/%m/%d %H:%M:%S}.{when.microsecond:06d} +0000", "SPECTROMETER/DATA SYSTEM": INSTRUMENT,
        **{f"$ACQUISITION_{key.upper()}": value for key, value in facts(spectrum).items()},
        "XUNITS": "NANOMETERS", "YUNITS": "ABSORBANCE", "XFACTOR": "1.0", "YFACTOR": f"{factor:.17g}", "FIRSTX": f"{AXIS[0]:.9g}",
        "LASTX": f"{AXIS[-1]:.9g}", "DELTAX": f"{AXIS[1] - AXIS[0]:.9g}", "FIRSTY": f"{spectrum.values[0]:.9g}", "NPOINTS": str(len(AXIS)),
        "XYDATA": "(X++(Y..Y))",
    }  # fmt: skip
    rows = [f"{AXIS[i]:.3f} " + " ".join(map(str, whole[i : i + _A_LINE].tolist())) for i in range(0, len(whole), _A_LINE)]
    return ("\r\n".join([*(f"##{key}={value}" for key, value in labels.items()), *rows, "##END=", ""])).encode()


def spc_file(spectrum: Spectrum, time_ns: int) -> bytes:
    """SPC of the new form (0x4B): a head of 512 bytes, one spectrum of float32 on an even axis, and the log. Its own time has minutes only."""
    when: datetime = utc(time_ns)
    minute = when.minute | when.hour << 6 | when.day << 11 | when.month << 16 | when.year << 20
    n = len(AXIS)
    log_at = 512 + 32 + 4 * n
    # Float values (exponent 0x80), x in nanometres (3), y absorbance (2).
    head = struct.pack("<BBBBIddIBBBB", 0, 0x4B, 0, 0x80, n, float(AXIS[0]), float(AXIS[-1]), 1, 3, 2, 0, 0)
    head += struct.pack("<I9s9sH32x130s30xI", minute, b"", INSTRUMENT.encode(), 0, f"{UNIT} {spectrum.counter}".encode(), log_at)
    below = struct.pack("<BBHfffIIf4x", 0, 0x80, 0, 0.0, 0.0, 0.0, n, SCANS, 0.0)
    told = {"time": when.isoformat(), **facts(spectrum)}
    text = "\r\n".join(f"ACQUISITION_{key.upper()}={value}" for key, value in told.items()).encode() + b"\0"
    log = struct.pack("<IIIII44x", 64 + len(text), 4096, 64, 0, 0) + text
    return head.ljust(512, b"\0") + below + spectrum.values.astype("<f4").tobytes() + log


FORMATS: Final[dict[str, Callable[[Spectrum, int], bytes]]] = {"csv": csv_file, "jdx": jcamp_file, "spc": spc_file}
"""Ending of a file, and what is in it."""


def drop(folder: Path, spectrum: Spectrum, time_ns: int, form: str = "csv") -> None:
    """One acquisition as a new file, whole from the first moment; `form` is an ending out of FORMATS."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / f"{UNIT}_{spectrum.counter:06d}.{form}", FORMATS[form](spectrum, time_ns))
