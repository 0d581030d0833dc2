"""Sealing, compaction and retention: the only steps that make or end segments.

Every step is: write temporary files, make them durable, name them, append one line to the manifest (from here it has happened), then let go of
what it replaces. A crash before the line leaves files that the manifest does not know; they are removed at the next start, when their content is
still where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from urllib.parse import quote

import msgspec
import numpy as np
import pyarrow as pa

from gateway import __version__
from gateway.catalog import EdgeTags, PlantCatalogue, retention_class
from gateway.manifest import Kind, Manifest, SegmentFile
from gateway.rollup import DAY, SAMPLE_DTYPE, WINDOW_DTYPE, Rows, ordered
from gateway.segments import (
    OpenSegments,
    Tables,
    block_tables,
    digest,
    put_in_place,
    rows_of,
    sample_tables,
    summary_tables,
    text_tables,
    write,
)
from gateway.tail import BlockRow, EdgeTail, Generation, TextRow

Step = Callable[[str], None]
RETENTIONS: Final = ("gmp", "other")


def day_of(time_ns: int) -> str:
    """The UTC date of a time; the farthest representable one for what is out of range.

    >>> day_of(0), day_of(2**62)
    ('1970-01-01', '2116-02-20')
    """
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=time_ns // DAY)).strftime("%Y-%m-%d")


@dataclass(frozen=True, slots=True)
class _Cut:
    """One file to be."""

    edge: str
    retention: str
    kind: Kind
    day: str
    tables: Tables
    rows: int
    min_ns: int
    max_ns: int
    tags: tuple[int, ...]


def _columns(kind: Kind, edge: str, rows: Rows, classes: np.ndarray[tuple[int], np.dtype[np.int8]]) -> Iterator[_Cut]:
    time = "time_ns" if kind == "sample" else "start_ns"
    days = rows[time] // DAY
    of_class = classes[rows["tag"]]
    for index, retention in enumerate(RETENTIONS):
        for day in np.unique(days[of_class == index]).tolist():
            mask = (of_class == index) & (days == day)
            part = rows if mask.all() else rows[mask]
            tables = sample_tables(part) if kind == "sample" else summary_tables(part)
            tags = tuple(np.unique(part["tag"]).tolist())
            yield _Cut(edge, retention, kind, day_of(day * DAY), tables, len(part), int(part[time].min()), int(part[time].max()), tags)


def _rare(kind: Kind, edge: str, rows: Sequence[TextRow] | Sequence[BlockRow], known: EdgeTags) -> Iterator[_Cut]:
    keys = sorted({(retention_class(known.tags[r.tag]), r.time_ns // DAY) for r in rows})
    for retention, day in keys:
        part = [r for r in rows if (retention_class(known.tags[r.tag]), r.time_ns // DAY) == (retention, day)]
        texts, blocks = [r for r in part if isinstance(r, TextRow)], [r for r in part if isinstance(r, BlockRow)]
        tables = text_tables(texts) if kind == "text" else block_tables(blocks)
        last = max((b.last_ns for b in blocks), default=0) if kind == "block" else max(r.time_ns for r in part)
        tags = tuple(sorted({r.tag for r in part}))
        yield _Cut(edge, retention, kind, day_of(day * DAY), tables, len(part), min(r.time_ns for r in part), last, tags)


def _cuts(edge: str, tail: EdgeTail, known: EdgeTags) -> Iterator[_Cut]:
    classes = np.array([RETENTIONS.index(retention_class(t)) for t in known.tags], np.int8)
    yield from _columns("sample", edge, tail.samples.all(), classes)
    yield from _columns("summary", edge, tail.windows.all(), classes)
    yield from _rare("text", edge, tail.texts, known)
    yield from _rare("block", edge, tail.blocks, known)


class Sealer:
    """Turns generations into segments, merges small ones, removes old ones; one thread."""

    def __init__(self, data_dir: Path, manifest: Manifest, segments: OpenSegments, catalogue: PlantCatalogue, gateway: str, step: Step) -> None:
        self._folder = segments.folder
        self._folder.mkdir(parents=True, exist_ok=True)
        self._manifest, self._segments, self._catalogue, self._gateway, self._step = manifest, segments, catalogue, gateway, step
        self._data_dir = data_dir

    def strangers(self) -> list[Path]:
        """Files in the folder that the manifest does not have in force: left by a crash, or not yet unlinked."""
        found = [p for p in self._folder.rglob("*.parquet") if p.relative_to(self._folder).as_posix() not in self._manifest.live]
        return sorted(found)

    def clean(self) -> int:
        """Remove what a crash left; the manifest must have been checked against its anchor before. Returns how many files."""
        strangers = self.strangers()
        for path in strangers:
            path.unlink()
        return len(strangers)

    def seal(self, generation: Generation, now_ns: int) -> None:
        """Make a generation permanent; in force when this returns."""
        cuts = (cut for edge, tail in sorted(generation.edges.items()) for cut in _cuts(edge, tail, self._catalogue.edge(edge)))
        stem = f"{generation.first}-{generation.last}"
        files = self._put((cut, stem) for cut in cuts)
        self._manifest.append("sealed", now_ns, first=generation.first, last=generation.last, files=files)
        self._step("sealed")

    def _put(self, cuts: Iterable[tuple[_Cut, str]]) -> tuple[SegmentFile, ...]:
        files, pairs = [], []
        for cut, stem in cuts:
            name = f"{cut.day}/{quote(cut.edge, safe='')}.{cut.retention}.{cut.kind}.{stem}.parquet"
            temporary, final = write(self._folder, name, cut.kind, cut.tables, self._metadata(cut, stem))
            pairs.append((temporary, final))
            files.append(
                SegmentFile(
                    name=name,
                    sha256=digest(temporary),
                    bytes=temporary.stat().st_size,
                    rows=cut.rows,
                    kind=cut.kind,
                    edge=cut.edge,
                    retention=cut.retention,
                    day=cut.day,
                    min_ns=cut.min_ns,
                    max_ns=cut.max_ns,
                )
            )
            self._step("written")
        put_in_place(pairs)
        self._step("named")
        return tuple(files)

    def _metadata(self, cut: _Cut, stem: str) -> dict[str, str]:
        known = self._catalogue.edge(cut.edge)
        return {
            "pharmedge.edge": cut.edge,
            "pharmedge.site": known.site,
            "pharmedge.simulated": str(known.simulated).lower(),
            "pharmedge.software": known.software,
            "pharmedge.config_hash": known.config_hash,
            "pharmedge.gateway": self._gateway,
            "pharmedge.version": __version__,
            "pharmedge.kind": cut.kind,
            "pharmedge.retention": cut.retention,
            "pharmedge.source": stem,
            "pharmedge.tags": msgspec.json.encode([known.tags[t] for t in cut.tags]).decode(),
        }

    def due(self, files: int, rows: int, today: str) -> list[list[SegmentFile]]:
        """Groups of small segments worth merging."""
        groups: dict[tuple[str, str, str, str], list[SegmentFile]] = {}
        for file in self._manifest.live.values():
            if file.rows <= rows // 2:
                groups.setdefault((file.edge, file.retention, file.kind, file.day), []).append(file)
        found = []
        for (_, _, kind, day), members in sorted(groups.items()):
            if kind == "block" or len(members) < (files if day >= today else 2):
                continue
            chosen: list[SegmentFile] = []
            for file in sorted(members, key=lambda f: f.rows):
                if sum(c.rows for c in chosen) + file.rows <= rows:
                    chosen.append(file)
            if len(chosen) >= 2:
                found.append(chosen)
        return found

    def merge(self, group: Sequence[SegmentFile], now_ns: int) -> tuple[str, ...]:
        """Put one file in the place of several; returns the names that are no longer in force, to be unlinked by `unlink`."""
        first = group[0]
        opened = [self._segments.get(file) for file in group]
        tables: Tables
        if first.kind == "text":
            whole = pa.concat_tables([s.whole() for s in opened]).sort_by([("tag", "ascending"), ("time_ns", "ascending")])
            tables, tags = [(whole.replace_schema_metadata(None), 32_768)], whole.column("tag").unique().to_pylist()
            count = whole.num_rows
        else:
            level, dtype, time = (-1, SAMPLE_DTYPE, "time_ns") if first.kind == "sample" else (0, WINDOW_DTYPE, "start_ns")
            rows = ordered(np.concatenate([rows_of(s.whole(level), dtype) for s in opened]), time)
            tables = sample_tables(rows) if first.kind == "sample" else summary_tables(rows)
            count, tags = len(rows), np.unique(rows["tag"]).tolist()
        if count != sum(f.rows for f in group):
            raise ValueError(f"compaction of {first.name}: expected {sum(f.rows for f in group)} rows, found {count}")
        cut = _Cut(
            first.edge, first.retention, first.kind, first.day, tables, count, min(f.min_ns for f in group), max(f.max_ns for f in group), tuple(tags)
        )
        self._step("merging")
        files = self._put([(cut, f"m{self._manifest.head.n + 1}")])
        names = tuple(f.name for f in group)
        self._manifest.append("superseded", now_ns, files=files, gone=names, reason="compaction")
        self._step("merged")
        return names

    def expired(self, days: int, now_ns: int) -> list[SegmentFile]:
        """Files of class other that were put in force more than so many days ago.

        By the time of the manifest's line, never by that of the values: a device clock that fell back to 1970, or history read in, is new here.
        A merged file counts from its merging. Class gmp is removed only with an approved disposition, and there is none.
        """
        made = {f.name: line.time_ns for line in self._manifest.lines for f in line.files}
        return [f for f in self._manifest.live.values() if f.retention == "other" and made[f.name] < now_ns - days * DAY]

    def remove(self, files: Sequence[SegmentFile], now_ns: int) -> tuple[str, ...]:
        """Write down that files are given up; returns their names for `unlink`."""
        names = tuple(f.name for f in files)
        self._manifest.append("removed", now_ns, gone=names, reason="retention")
        self._step("removed")
        return names

    def unlink(self, names: Iterable[str]) -> None:
        """Let go of files that the manifest no longer has in force."""
        for name in names:
            self._segments.forget(name)
            (self._folder / name).unlink(missing_ok=True)
            self._step("unlinked")
