"""Spectra with references for a calibration: one table, or a table or a folder of an instrument's files beside the table of the laboratory.

A row per sample, columns named by wavelength or wavenumber. What is doubtful but no mistake (samples without a reference, a hole in the axis, values
that never change) is left out or used, and remarked: a calibration must not hide what it was made of.
"""

from __future__ import annotations

import csv
import hashlib
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_agent.core import Tag
from edge_agent.core.errors import PharmedgeError
from edge_agent.sources.spectra_files import ENDINGS, block_of
from edge_agent.sources.spectra_text import SEPARATORS, decoded, number
from edge_agent.training.made_of import Files

Float64 = NDArray[np.float64]
LEAST: Final = 12
"""Samples with a reference that a calibration needs: 10 to learn from while others are left out."""
SAMPLE: Final = "sample"
"""Column of sample names where spectra and references come apart."""
_HOLE: Final = 2.5
"""Steps of an axis that are so many times those beside them are a hole: points were cut out."""
_ABSENT: Final = frozenset({"", "na", "n/a", "nan", "none", "null", "-"})
_POINT: Final = re.compile(r"([+-]?\d+(?:[.,]\d+)?(?:[eE][+-]?\d+)?)\s*(?:nm|cm-1|cm\^-1|cm⁻¹|1/cm|um|µm)?")


@dataclass(frozen=True, slots=True)
class Table:
    """Spectra (n, k) on an axis (k,) with references (n,); `group` names samples that belong together, each its own where there is no such column.

    files    what it was read from
    sample   what each row is called: its name, or its line in the file
    left     rows that were not used, by cause
    remarks  what whoever approves the calibration should know of its data
    """

    axis: Float64
    X: Float64
    y: Float64
    group: tuple[str, ...]
    files: Files
    sample: tuple[str, ...] = ()
    left: tuple[tuple[str, int], ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Rows:
    """Cells of a table: names, columns, and what separated them."""

    path: Path
    names: list[str]
    columns: list[Sequence[Any]]
    between: str

    def column(self, name: str, what: str) -> Sequence[Any]:
        """A column by its name."""
        if self.names.count(name) != 1:
            found = ", ".join(self.names[:8]) + (" ..." if len(self.names) > 8 else "")
            wrong = "more than one" if name in self.names else f"the columns {found}"
            raise PharmedgeError(f"{self.path}: expected one column {name!r} of {what}, found {wrong}")
        return self.columns[self.names.index(name)]

    def value(self, name: str, row: int, cell: Any) -> float:
        """The number of a cell; NaN where it is empty or says that there is none."""
        if cell is None or str(cell).strip().lower() in _ABSENT:
            return math.nan
        try:
            return float(cell) if not isinstance(cell, str) else number(cell.strip(), self.between)
        except (ValueError, TypeError) as error:
            raise PharmedgeError(f"{self.path}: column {name}, row {row + 2}: expected a number, found {cell!r}") from error

    def numbers(self, name: str) -> Float64:
        """A column of numbers, NaN where there is none."""
        return np.array([self.value(name, i, c) for i, c in enumerate(self.columns[self.names.index(name)])], np.float64)


def read_table(
    path: Path | Sequence[Path], reference: str, group: str | None = None, *, references: Path | None = None, sample: str | None = None,
    named: bool = False,
) -> Table:  # fmt: skip
    """Spectra of CSV or Parquet tables, or of folders of .jdx, .spc and .csv files, with their references; PharmedgeError names what is wrong.

    reference   column of the references, in the spectra's tables or in `references`
    references  the laboratory's table: spectra and references are then brought together by the names of samples
    sample      column of these names, `sample` when absent; of a folder it is the sample that a file names, or the file's name without its ending
    named       names of samples are needed beside the references too
    """
    paths = [path] if isinstance(path, Path) else list(path)
    key = sample or SAMPLE
    apart = references is not None
    named = named or apart or sample is not None
    parts = [_folder(p) if p.is_dir() else _spectra(p, reference, group, key, named=named, apart=apart) for p in paths]
    first = parts[0]
    for other in parts[1:]:
        if other.axis.shape != first.axis.shape or not np.allclose(other.axis, first.axis, rtol=1e-6, atol=0.0):
            raise PharmedgeError(f"{other.path}: expected {_told(first.axis)} as in {first.path}, found {_told(other.axis)}")
    X, names = np.vstack([p.X for p in parts]), [n for p in parts for n in p.names]
    groups = [g for p in parts for g in p.groups]
    files = [(p.path, p.sha256) for p in parts]
    left: dict[str, int] = {}
    if references is not None:
        y, own = _from_laboratory(_rows(references), reference, key, group, names, left)
        files.append((references, hashlib.sha256(references.read_bytes()).hexdigest()))
        groups = own if group is not None else names
    else:
        for p in parts:
            if p.y is None:
                raise PharmedgeError(f"{p.path}: expected --references, the laboratory's table, beside a folder of spectra, found none")
        y = np.concatenate([p.y for p in parts if p.y is not None])
    return _judged(first.axis, X, y, names, groups, files, left, first.path if references is None else references, reference)


@dataclass(frozen=True, slots=True)
class Pairs:
    """The same samples on two instruments: spectra first and second (n, k) on the axis (k,); y (n,) where the laboratory knows all of them."""

    axis: Float64
    first: Float64
    second: Float64
    sample: tuple[str, ...]
    y: Float64 | None
    files: Files
    remarks: tuple[str, ...]


def read_pairs(first: Path, second: Path, reference: str, sample: str | None = None) -> Pairs:
    """Samples measured on both instruments, replicates averaged; PharmedgeError when the two have no sample or no axis in common."""
    key = sample or SAMPLE
    one, two = (_folder(p) if p.is_dir() else _spectra(p, reference, None, key, named=True, apart=True) for p in (first, second))
    if one.axis.shape != two.axis.shape or not np.allclose(one.axis, two.axis, rtol=1e-6, atol=0.0):
        raise PharmedgeError(f"{second}: expected {_told(one.axis)} as in {first}, found {_told(two.axis)}")
    both = [n for n in dict.fromkeys(one.names) if n in set(two.names)]
    if not both:
        here, there = (", ".join(p.names[:4]) for p in (one, two))
        raise PharmedgeError(f"{second}: expected the names of samples of {first} ({here} ...), found {there} ...")

    def mean(part: _Part, values: Float64) -> Float64:
        return np.array([values[[i for i, n in enumerate(part.names) if n == name]].mean(axis=0) for name in both])

    y = next((mean(p, p.y) for p in (one, two) if p.y is not None), None)
    alone = len(set(one.names) ^ set(two.names))
    return Pairs(
        one.axis, mean(one, one.X), mean(two, two.X), tuple(both), y if y is not None and np.isfinite(y).all() else None,
        tuple((p.path, p.sha256) for p in (one, two)), (f"samples on one instrument only: {alone}, left out",) if alone else (),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Part:
    path: Path
    axis: Float64
    X: Float64
    y: Float64 | None
    names: list[str]
    groups: list[str]
    sha256: str


def _told(axis: Float64) -> str:
    return f"{len(axis)} points from {axis[0]:g} to {axis[-1]:g}"


def _spectra(path: Path, reference: str, group: str | None, sample: str, *, named: bool, apart: bool) -> _Part:
    """A table of spectra; its references too where it has them.

    named  its samples must have names
    apart  references and groups may stand in another table
    """
    rows = _rows(path)
    y = rows.numbers(reference) if rows.names.count(reference) == 1 else None
    if not apart:
        rows.column(reference, "references")
    groups = rows.column(group, "groups") if group is not None and (not apart or group in rows.names) else None
    key = sample if named or rows.names.count(sample) == 1 else None
    names = rows.column(key, "sample names") if key is not None else None
    points = [(p, i) for i, n in enumerate(rows.names) if n not in (reference, group, sample) for p in _axis_point(n, rows.between)]
    if len(points) < 2:
        found = ", ".join(rows.names[:8])
        raise PharmedgeError(f"{path}: expected columns named by wavelength or wavenumber and a row per sample, found the columns {found}")
    points.sort()
    axis = np.array([p for p, _ in points])
    twice = np.flatnonzero(np.diff(axis) == 0.0)
    if len(twice):
        raise PharmedgeError(f"{path}: expected each point of the axis once, found {axis[twice[0]]:g} twice")
    X = np.ascontiguousarray(np.array([rows.numbers(rows.names[i]) if rows.names.count(rows.names[i]) == 1 else _at(rows, i) for _, i in points]).T)
    wrong = np.argwhere(~np.isfinite(X))
    if len(wrong):
        row, column = (int(v) for v in wrong[0])
        raise PharmedgeError(
            f"{path}: column {rows.names[points[column][1]]}, row {row + 2}: expected a finite number, found none ({len(wrong)} such cells); "
            "leave the sample or the points out"
        )
    n = len(X)
    told = [str(v).strip() for v in names] if names is not None else [f"row {i + 2}" for i in range(n)]
    # Spectra of one sample are replicates of it, where it is named.
    together = [str(g) for g in groups] if groups is not None else told if names is not None else [f"{path.name} {i + 2}" for i in range(n)]
    return _Part(path, axis, X, y, told, together, hashlib.sha256(path.read_bytes()).hexdigest())


def _at(rows: _Rows, place: int) -> Float64:
    return np.array([rows.value(rows.names[place], i, c) for i, c in enumerate(rows.columns[place])], np.float64)


def _folder(path: Path) -> _Part:
    """Files of an instrument, one spectrum in each, in the order of their names."""
    files = sorted(p for p in path.iterdir() if p.is_file() and p.suffix.lower().lstrip(".") in ENDINGS)
    if not files:
        raise PharmedgeError(f"{path}: expected files with an ending out of {', '.join(ENDINGS)}, found none")
    tag = Tag(id=0, name="spectrum", kind="block")
    axis: Float64 | None = None
    rows: list[Float64] = []
    names: list[str] = []
    digest = hashlib.sha256()
    for file in files:
        data = file.read_bytes()
        digest.update(hashlib.sha256(data).digest())
        found = block_of(str(file), data, tag, 0)
        turned = found.axis[-1] < found.axis[0]
        points, values = (found.axis[::-1], found.values[0, ::-1]) if turned else (found.axis, found.values[0])
        if axis is None:
            axis = points
        if points.shape != axis.shape or not np.allclose(points, axis, rtol=1e-6, atol=0.0):
            raise PharmedgeError(f"{file}: expected {_told(axis)} as in {files[0].name}, found {_told(points)}")
        if not np.isfinite(values).all():
            raise PharmedgeError(f"{file}: expected finite values, found none at {points[~np.isfinite(values)][0]:g}")
        rows.append(values)
        names.append((found.acquisition.sample if found.acquisition is not None else "") or file.stem)
    assert axis is not None
    return _Part(path, np.ascontiguousarray(axis), np.ascontiguousarray(np.array(rows)), None, names, names, digest.hexdigest())


def _from_laboratory(
    rows: _Rows, reference: str, sample: str, group: str | None, names: Sequence[str], left: dict[str, int]
) -> tuple[Float64, list[str]]:
    """The reference of each spectrum by its sample's name, NaN where the laboratory has none, and its group."""
    told = [str(c).strip() for c in rows.column(sample, "sample names")]
    rows.column(reference, "references")
    values = rows.numbers(reference)
    groups = [str(c) for c in rows.column(group, "groups")] if group is not None else told
    of: dict[str, tuple[float, str]] = {}
    for name, value, together in zip(told, values.tolist(), groups, strict=True):
        if name in of and not (of[name][0] == value or math.isnan(value) or math.isnan(of[name][0])):
            raise PharmedgeError(f"{rows.path}: expected one reference of sample {name!r}, found {of[name][0]:g} and {value:g}")
        if name not in of or not math.isnan(value):
            of[name] = (value, together)
    common = set(names) & set(of)
    if not common:
        here, there = (", ".join(map(repr, sorted(set(some))[:4])) for some in (names, of))
        raise PharmedgeError(f"{rows.path}: expected the names of samples of the spectra ({here} ...), found others ({there} ...)")
    alone = len(set(of) - common)
    if alone:
        left["references without a spectrum"] = alone
    missing = sum(n not in of for n in names)
    if missing:
        left["spectra whose sample the laboratory does not name"] = missing
    return np.array([of.get(n, (math.nan, ""))[0] for n in names]), [of.get(n, (math.nan, n))[1] for n in names]


def _judged(
    axis: Float64, X: Float64, y: Float64, names: Sequence[str], groups: Sequence[str], files: Files, left: dict[str, int],
    path: Path, reference: str,
) -> Table:  # fmt: skip
    """The rows that have a reference, and what is to be said of them."""
    known = np.isfinite(y)
    without = int((~known).sum()) - left.get("spectra whose sample the laboratory does not name", 0)
    if without:
        left["samples without a reference"] = without
    if known.sum() < LEAST:
        gone = "".join(f", {n} {cause}" for cause, n in left.items())
        raise PharmedgeError(f"{path}: expected {LEAST} or more samples with a reference, found {int(known.sum())}{gone}")
    if not np.ptp(y[known]) > 0.0:
        raise PharmedgeError(f"{path}: column {reference}: expected references that differ from each other, found {y[known][0]:g} everywhere")
    X, y = np.ascontiguousarray(X[known]), np.ascontiguousarray(y[known])
    sample = tuple(n for n, k in zip(names, known, strict=True) if k)
    group = tuple(g for g, k in zip(groups, known, strict=True) if k)
    return Table(axis, X, y, group, tuple(files), sample, tuple(left.items()), tuple(_remarks(axis, X, y, group)))


def _remarks(axis: Float64, X: Float64, y: Float64, group: Sequence[str]) -> Iterator[str]:
    steps = np.diff(axis)
    for i in range(len(steps)):
        beside = max(steps[max(i - 1, 0)] if i else steps[min(1, len(steps) - 1)], steps[min(i + 1, len(steps) - 1)] if i + 1 < len(steps) else 0.0)
        if len(steps) > 2 and steps[i] > _HOLE * beside:
            yield f"the axis has a hole from {axis[i]:g} to {axis[i + 1]:g}: derivatives reach across it; the instrument must have the same hole"
    flat = int((np.ptp(X, axis=0) == 0.0).sum())
    if flat:
        yield f"{flat} of {len(axis)} points are the same in all spectra"
    twice = len(X) - len({row.tobytes() for row in X})
    if twice:
        yield f"{twice} spectra are copies of others: left-out errors flatter where copies are not in one group"
    few = len(set(group))
    if few < 30:
        yield f"only {few} independent samples: the error and its interval are themselves uncertain"
    lonely = np.sort(y)[[0, 1, -2, -1]]
    spread = float(np.ptp(y))
    if lonely[1] - lonely[0] > 0.4 * spread or lonely[3] - lonely[2] > 0.4 * spread:
        yield "one reference lies far from all others: it alone decides the slope"


def _rows(path: Path) -> _Rows:
    """Names and columns of a CSV (separated by `;`, tab or comma, with decimal commas where it is not the comma) or of a Parquet file."""
    if path.suffix.lower() == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(path)
        except pa.ArrowInvalid as error:
            raise PharmedgeError(f"{path}: expected a Parquet file, found {error}") from error
        return _Rows(path, [str(n) for n in table.column_names], [c.to_pylist() for c in table.columns], ".")
    lines = [line for line in decoded(path.read_bytes()).splitlines() if line.strip() and not line.startswith("#")]
    between = next((s for s in SEPARATORS if lines and s in lines[0]), ",")
    rows = list(csv.reader(lines, delimiter=between))
    while rows and len(rows[0]) > 1 and all(len(r) == len(rows[0]) and not r[-1].strip() for r in rows):
        rows = [r[:-1] for r in rows]  # a separator behind the last cell of each line
    if len(rows) < 2 or any(len(r) != len(rows[0]) for r in rows):
        wrong = next((i for i, r in enumerate(rows) if len(r) != len(rows[0])), 0)
        expected = f"rows of {len(rows[0])} cells as in the line of names" if wrong else "a line of names and rows below it"
        found = f"{len(rows[wrong])} cells" if rows else "nothing"
        raise PharmedgeError(f"{path}:{wrong + 1}: expected {expected}, found {found}")
    return _Rows(path, [n.strip() for n in rows[0]], list(zip(*rows[1:], strict=True)), between)


def _axis_point(name: str, between: str) -> Iterator[float]:
    """The point of the axis that a column is named by, nothing where it is another column.

    >>> list(_axis_point("1100,5 nm", ";")), list(_axis_point("batch 7", ";"))
    ([1100.5], [])
    """
    found = _POINT.fullmatch(name.strip())
    if found is not None:
        try:
            yield number(found[1], between)
        except ValueError:
            return
