"""What may teach a model: recorded values through the pipeline, without those that it would not have learned from, or that people have ruled out."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_agent.agent.replay import Stepped, csv_runs, stepped
from edge_agent.config import AgentSettings
from edge_agent.config.trained import inputs
from edge_agent.core import AlarmEvent, Catalogue, Context, Record
from edge_agent.core.errors import PharmedgeError
from edge_agent.pipeline.chain import Pipeline
from edge_agent.pipeline.quality import FATES, Screened
from edge_agent.training.made_of import by_name

FOREVER: Final = 2**63 - 1

Interval = tuple[int, int]
"""Source times from and to, both included."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """Values of k tags in the order in which they arrived, all (n,): source time, place of the tag, value, whether it may teach, status.

    left_out  values that may not, by cause
    told      what the units of the tags said of batches and phases, in order: role, value, source time
    """

    names: tuple[str, ...]
    time_ns: NDArray[np.int64]
    place: NDArray[np.int32]
    value: NDArray[np.float64]
    usable: NDArray[np.uint8]
    status: NDArray[np.uint32]
    left_out: dict[str, int]
    told: tuple[tuple[str, str, int], ...] = ()

    def of(self, place: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Times and values of one tag that may teach."""
        mine = (self.place == place) & (self.usable == 1)
        return self.time_ns[mine], self.value[mine]

    def sha256(self) -> str:
        """Hash of what was used: names, then times, places and values of the usable rows."""
        used = self.usable == 1
        digest = hashlib.sha256("\n".join(self.names).encode())
        for column in (self.time_ns[used], self.place[used], self.value[used]):
            digest.update(np.ascontiguousarray(column).tobytes())
        return digest.hexdigest()


class _Seen:
    """Collects the values of some tags, the alarms that stood on them and the batches of their units."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._places: NDArray[np.int32] | None = None
        self.columns: list[list[NDArray[Any]]] = [[], [], [], [], [], []]
        self.raised: dict[tuple[str, int], str] = {}
        self.standing: dict[str, list[Interval]] = {}
        self.contexts: list[Context] = []

    def plan(self, catalogue: Catalogue) -> None:
        self._places = np.full(len(catalogue), -1, np.int32)
        for place, name in enumerate(self.names):
            self._places[catalogue.id(name)] = place

    def rows(self, seen: Screened) -> None:
        assert self._places is not None
        s = seen.samples
        place = self._places[s.tag]
        mine = place >= 0
        if mine.any():
            arrays: tuple[NDArray[Any], ...] = (s.time_ns, place, s.value, seen.usable, s.status, seen.fate)
            for column, a in zip(self.columns, arrays, strict=True):
                column.append(a if mine.all() else a[mine])

    def records(self, records: Sequence[Record]) -> None:
        for record in records:
            if isinstance(record, Context):
                self.contexts.append(record)
            elif isinstance(record, AlarmEvent) and record.tag in self.names:
                key = (record.alarm, record.raised_ns)
                if record.event == "raise":
                    self.raised[key] = record.tag
                elif record.event == "clear" and key in self.raised:
                    self.standing.setdefault(self.raised.pop(key), []).append((record.raised_ns, record.time_ns))

    def alarms(self) -> dict[str, list[Interval]]:
        for (_, raised_ns), tag in self.raised.items():
            self.standing.setdefault(tag, []).append((raised_ns, FOREVER))
        self.raised = {}
        return self.standing

    def batches(self, rejected: frozenset[str]) -> list[tuple[str, Interval]]:
        """Units and times of the batches in a list."""
        found: list[tuple[str, Interval]] = []
        begun: dict[str, tuple[str, int]] = {}
        for change in self.contexts:
            if change.role != "batch":
                continue
            value, since = begun.pop(change.unit, ("", 0))
            if value in rejected:
                found.append((change.unit, (since, change.time_ns - 1)))
            begun[change.unit] = (change.value, change.time_ns)
        return found + [(unit, (since, FOREVER)) for unit, (value, since) in begun.items() if value in rejected]


def gathered(
    settings: AgentSettings,
    place: int,
    files: Sequence[Path],
    *,
    from_ns: int = -FOREVER,
    to_ns: int = FOREVER,
    rejected: frozenset[str] = frozenset(),
) -> Gathered:
    """The inputs of a model in recorded files.

    Left out, by cause: outside (before `from_ns`, behind `to_ns`), bad, uncertain, late, rejected, duplicate, mode (its unit was neither in
    production nor simulation), alarm (one stood on the value itself), batch (its unit worked on one of `rejected`).
    """
    names = inputs(settings, place)
    settings = _without(settings, place)
    seen = _Seen(names)
    pipeline = Pipeline(seen.rows)
    for part in stepped(pipeline, csv_runs(settings, list(files), scores=False)):
        if pipeline.started and seen._places is None:
            seen.plan(pipeline.catalogue)
        seen.records(part.made if isinstance(part, Stepped) else list(part.events))
    if not seen.columns[0]:
        raise PharmedgeError(f"{', '.join(str(f) for f in files)}: expected values of {', '.join(names[:5])}, found none")
    time_ns, at, value, usable, status, fate = (np.concatenate(c) for c in seen.columns)
    cause = np.full(len(time_ns), "", dtype="U9")

    def out(which: NDArray[np.bool_], why: str | NDArray[np.str_]) -> None:
        fresh = which & (cause == "")
        cause[fresh] = why if isinstance(why, str) else why[fresh]

    out((time_ns < from_ns) | (time_ns > to_ns), "outside")
    out((usable == 0) & (fate > 0), np.array(FATES)[fate])
    out(usable == 0, "mode")
    for tag, intervals in seen.alarms().items():
        out((at == names.index(tag)) & _within(time_ns, intervals), "alarm")
    units = [pipeline.catalogue[pipeline.catalogue.id(name)].unit_path for name in names]
    for unit, interval in seen.batches(rejected):
        mine = [i for i, path in enumerate(units) if path == unit or path.startswith(unit + "/")]
        out(np.isin(at, mine) & _within(time_ns, [interval]), "batch")
    counts = Counter(cause[cause != ""].tolist())
    told = tuple((c.role, c.value, c.time_ns) for c in seen.contexts if any(u == c.unit or u.startswith(c.unit + "/") for u in units))
    return Gathered(tuple(names), time_ns, at, value, (cause == "").astype(np.uint8), status, dict(sorted(counts.items())), told)


def _within(time_ns: NDArray[np.int64], intervals: Sequence[Interval]) -> NDArray[np.bool_]:
    found = np.zeros(len(time_ns), np.bool_)
    for a, b in intervals:
        found |= (time_ns >= a) & (time_ns <= b)
    return found


def _without(settings: AgentSettings, place: int) -> AgentSettings:
    """The configuration with only the models whose outputs the model judges, and the alarms on measured tags: no finding chooses what teaches it."""
    measured = {t.name for t in settings.tags}
    needed = settings.models[:place] if any(n not in measured for n in inputs(settings, place)) else ()
    alarms = tuple(a for a in settings.alarms if a.tag in measured)
    return settings.model_copy(update={"models": needed, "alarms": alarms})


def rejected_batches(file: Path | None) -> frozenset[str]:
    """Batch ids of a CSV file with a column `batch`, or of a text file with one id a line; empty without a file."""
    if file is None:
        return frozenset()
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            rows = [row for row in csv.reader(stream) if any(cell.strip() for cell in row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PharmedgeError(f"{file}: expected a readable UTF-8 list of batches, found {error}") from error
    header = [cell.strip().lower() for cell in rows[0]] if rows else []
    if "batch" in header:
        column = header.index("batch")
        if any(len(row) <= column for row in rows):
            raise PharmedgeError(f"{file}: expected a batch in every row, found a shorter one")
        return frozenset(row[column].strip() for row in rows[1:])
    if any(len(row) > 1 for row in rows):
        raise PharmedgeError(f"{file}:1: expected a column batch, found {', '.join(header)}")
    return frozenset(row[0].strip() for row in rows)


def file_hashes(files: Sequence[Path]) -> dict[str, str]:
    """SHA-256 of each input file by its name."""
    found = []
    for file in files:
        with file.open("rb") as stream:
            found.append((file, hashlib.file_digest(stream, "sha256").hexdigest()))
    return by_name(found)
