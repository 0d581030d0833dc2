"""Features of film-coated tablet batches, and the quality that the laboratory finds later."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
from numpy.typing import NDArray

Array = NDArray[np.float64]

_SLOVENE: Final = ("jan", "feb", "mar", "apr", "maj", "jun", "jul", "avg", "sep", "okt", "nov", "dec")
MONTHS: Final = {m: i for i, m in enumerate(_SLOVENE)} | {"may": 4, "aug": 7, "oct": 9}
TARGETS: Final = ("dissolution_av", "impurities_total")
_RESULTS: Final = ("dissolution_av", "dissolution_min", "resodual_solvent", "impurities_total", "impurity_o", "impurity_l")
_NOT_INPUT: Final = {*_RESULTS, "batch", "start", "strength", "code", "api_code", "api_batch", "smcc_batch", "lactose_batch", "starch_batch"}
_PRESS_RESULTS: Final = ("Drug release average (%)", "Drug release min (%)", "Residual solvent", "Total impurities", "Impurity O", "Impurity L")
_NOT_PRESS: Final = {*_RESULTS, *_PRESS_RESULTS, "batch", "code"}
_CODES: Final = ("code", "api_code")


def table(path: Path) -> list[dict[str, str]]:
    """Rows of a `;` table, plain or gzip; a line without a batch is none."""
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    lines = data.decode("utf-8-sig").splitlines()
    rows = [{k.strip(): v.strip() for k, v in row.items() if k} for row in csv.DictReader(lines, delimiter=";", restval="")]
    return [row for row in rows if np.isfinite(number(row["batch"]))]


def series(path: Path) -> pa.Table:
    """The same as columns, for files of a million rows and more."""
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return pacsv.read_csv(io.BytesIO(data.removeprefix(b"\xef\xbb\xbf")), parse_options=pacsv.ParseOptions(delimiter=";"))


def number(text: str) -> float:
    """A cell, NaN when there is no number in it."""
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return np.nan


def batches(folder: Path) -> dict[int, dict[str, Any]]:
    """Everything known of each batch before the laboratory answers, and its answers, in the order of the batches; {} without such files."""
    laboratory = next((p for p in (folder / "Laboratory.csv.gz", folder / "Laboratory.csv") if p.is_file()), None)
    press = next((p for p in (folder / "Process.csv.gz", folder / "Process.csv") if p.is_file()), None)
    if laboratory is None:
        return {}
    pressed = {int(number(r["batch"])): r for r in table(press)} if press is not None else {}
    found: dict[int, dict[str, Any]] = {}
    for row in table(laboratory):
        batch = int(number(row["batch"]))
        x = {k: number(v) for k, v in row.items() if k not in _NOT_INPUT}
        x |= {f"press {k}": float(v == "yes") if v in ("yes", "no") else number(v) for k, v in pressed.get(batch, {}).items() if k not in _NOT_PRESS}
        month, _, year = row["start"].partition(".")
        x["month"] = 12.0 * number(year) + MONTHS.get(month.lower(), np.nan)
        x["strength"] = number("".join(c for c in row["strength"] if c.isdigit() or c == "."))
        volume = x["tbl_max_diameter"] ** 2 * 0.5 * (x["tbl_min_thickness"] + x["tbl_max_thickness"])
        x["volume"] = volume
        x["density"] = 0.5 * (x["tbl_min_weight"] + x["tbl_max_weight"]) / volume if volume else np.nan
        x["hardness ratio"] = x["fct_av_hardness"] / x["tbl_av_hardness"] if x["tbl_av_hardness"] else np.nan
        found[batch] = {"batch": batch, "x": x, "codes": [row[c] for c in _CODES], "y": {t: number(row[t]) for t in TARGETS}}
    return dict(sorted(found.items()))


class Features:
    """Columns of training batches: numbers with medians for what is missing, and for each code the shrunken mean of the target."""

    def __init__(self, train: list[dict[str, Any]], y: Array) -> None:
        self.names = sorted({k for b in train for k in b["x"]})
        raw = self._raw(train)
        self._median = np.where(np.isnan(raw).all(axis=0), 0.0, np.nanmedian(np.where(np.isnan(raw).all(axis=0), 0.0, raw), axis=0))
        self._mean = float(y.mean())
        self._sums: list[dict[str, tuple[float, int]]] = []
        for c in range(len(_CODES)):
            sums: dict[str, tuple[float, int]] = {}
            for b, v in zip(train, y, strict=True):
                s, n = sums.get(b["codes"][c], (0.0, 0))
                sums[b["codes"][c]] = (s + float(v), n + 1)
            self._sums.append(sums)

    def _raw(self, rows: list[dict[str, Any]]) -> Array:
        return np.array([[b["x"].get(k, np.nan) for k in self.names] for b in rows], np.float64)

    def __call__(self, rows: list[dict[str, Any]], own: Array | None = None) -> Array:
        """(n, features); `own` are the targets of training rows, taken out of their codes' means."""
        raw = self._raw(rows)
        raw = np.where(np.isnan(raw), self._median, raw)
        coded = np.empty((len(rows), len(_CODES)))
        for i, b in enumerate(rows):
            for c, sums in enumerate(self._sums):
                s, n = sums.get(b["codes"][c], (0.0, 0))
                if own is not None:
                    s, n = s - float(own[i]), n - 1
                coded[i, c] = (s + 4.0 * self._mean) / (n + 4)
        return np.hstack([raw, coded])
