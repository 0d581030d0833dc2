"""CSV: recorded data as a source, and as the input of a replay.

Wide: a time column and one column per tag, an empty cell is no sample. Long: `time,tag,value[,status[,received]]`. Plain or gzip; the separator is
sniffed; times are ISO 8601 (without an offset: UTC) or s, ms, us or ns since 1970, told apart by magnitude.
Duplicates and times that step back are kept as they are: judging them is the pipeline's task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal

import msgspec
from pydantic import Field

from edge_agent.core import Catalogue, EndOfInput, NotConnected, Run, Samples, Tag, Texts
from edge_agent.core.settings import Section
from edge_agent.sources.csv_layout import CHUNK_BYTES, chunks, layout_of
from edge_agent.sources.source import Item, Plug, Received, Source
from edge_agent.sources.zone import SourceTime

if TYPE_CHECKING:
    from edge_agent.sources.csv_columns import Batch

TICK_NS: Final = 100_000_000
_LIVE_CHUNK: Final = 1 << 20
_LIVE_VALUES: Final = 20_000

Unknown = Literal["refuse", "skip"]


def read_csv(
    paths: Sequence[Path], catalogue: Catalogue, *, unknown: Unknown = "refuse", tick_ns: int = TICK_NS, chunk_bytes: int = CHUNK_BYTES
) -> Iterator[Samples | Texts]:
    """Everything in the files, one after the other, with received = the received column or the running maximum of time.

    Rows received within one tick come as one batch, received with its last row: decisions fall at ticks, so none of them changes. A received
    column is kept exactly. `tick_ns` 0 gives one batch per time. CsvError names file, line and column; so does a tag that is not in `catalogue`
    unless `unknown` is "skip".
    """
    tags = {tag.name: tag for tag in catalogue}
    newest = -(2**63)
    for path in paths:
        for part in _read(path, tags, unknown, newest, tick_ns, chunk_bytes, 0):
            newest = part.received_ns
            yield from part.items


def read_runs(paths: Sequence[Path], catalogue: Catalogue, *, told: Callable[[Path, int], None] | None = None) -> Iterator[Run | Texts]:
    """The same as `read_csv`, values between two texts together; `told` hears of every piece of a file, and how many bytes of it are read."""
    from edge_agent.sources.csv_columns import parse, runs

    tags = {tag.name: tag for tag in catalogue}
    newest = -(2**63)
    for path in paths:
        layout, read = layout_of(path), 0
        for chunk in chunks(path, after_line=layout.header_line):
            for items, newest_ns in runs(parse(layout, chunk, tags, refuse=True), newest, TICK_NS):
                newest = newest_ns
                yield from items
            read += len(chunk.data)
            if told is not None:
                told(path, read)


def tags_of(paths: Sequence[Path]) -> list[Tag]:
    """Definitions for the tags of files that no configuration knows: named as in the file, numeric when every value is a number, by exception."""
    from edge_agent.sources.csv_columns import kinds

    numeric: dict[str, bool] = {}
    for path in paths:
        layout = layout_of(path)
        for chunk in chunks(path, after_line=layout.header_line):
            for name, number in kinds(layout, chunk).items():
                numeric[name] = numeric.get(name, True) and number
    return [Tag(id=i, name=name, kind="numeric" if number else "text") for i, (name, number) in enumerate(numeric.items())]


def _read(path: Path, tags: Mapping[str, Tag], unknown: Unknown, newest_ns: int, tick_ns: int, size: int, after_line: int) -> Iterator[Batch]:
    from edge_agent.sources.csv_columns import batches, parse

    layout = layout_of(path)
    for chunk in chunks(path, size, max(after_line, layout.header_line)):
        for batch in batches(parse(layout, chunk, tags, refuse=unknown == "refuse"), newest_ns, tick_ns):
            newest_ns = batch.received_ns
            yield batch


class CsvConfig(Section):
    """Tags that files bring."""

    lossy: ClassVar[bool] = False
    """A file keeps what it holds."""

    kind: Literal["csv"]
    name: Annotated[str, Field(min_length=1)]
    files: Annotated[tuple[Path, ...], Field(min_length=1)]
    """Read one after the other. A tag's address is the name of its column, its own name when it has none."""
    time: SourceTime = SourceTime()
    speed: Annotated[float, Field(ge=0)] = 0.0
    """Seconds of recorded time per second; 0 is as fast as the intake takes them."""
    unknown: Unknown = "refuse"
    """What to do with a column that is no tag of this source: refuse the file, or skip the column."""
    watchdog_s: Annotated[float, Field(gt=0)] = 3600.0
    """Seconds without any value, while periodic tags are configured, after which the files are opened anew."""

    def source(self, plug: Plug) -> Source:
        """The connector of this configuration."""
        return CsvSource(self, plug)


class _Place(msgspec.Struct):
    file: int
    path: str
    line: int


class CsvSource:
    """Plays files once, from where an earlier run had got to."""

    def __init__(self, config: CsvConfig, plug: Plug, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._config = config
        self._plug = plug
        self._sleep = sleep
        self._tags = {plug.address.get(tag.id) or tag.name: tag for tag in plug.tags}
        self._parts: Iterator[tuple[int, Batch]] = iter(())
        self._next: tuple[int, Batch] | None = None
        self._origin: tuple[int, int] | None = None

    async def open(self, resume: bytes | None) -> None:
        """Find the place; NotConnected when a file is not there."""
        place = msgspec.json.decode(resume, type=_Place) if resume else _Place(0, "", 0)
        files = self._config.files
        if place.path and (place.file >= len(files) or str(files[place.file]) != place.path):
            place = _Place(0, "", 0)  # other files than those of the earlier run
        for path in files:
            if not path.is_file():
                raise NotConnected(f"{path}: no such file")
        self._parts = self._play(place)
        self._next, self._origin = None, None

    async def read(self) -> Received:
        """The next rows that are due."""
        items: list[Item] = []
        values, place = 0, None
        while values < _LIVE_VALUES:
            self._next = self._next or await asyncio.to_thread(next, self._parts, None)
            if self._next is None:
                break
            file, part = self._next
            wait_s = self._due_in_s(part.received_ns)
            if wait_s > 0:
                if items:
                    break
                await self._sleep(wait_s)
            self._next = None
            items.extend(part.items)
            values += sum(len(item) for item in part.items)
            place = _Place(file, str(self._config.files[file]), part.line)
        if place is None:
            raise EndOfInput
        self._plug.counters["values"] = self._plug.counters.get("values", 0) + values
        return Received(tuple(items), resume=msgspec.json.encode(place))

    async def close(self) -> None:
        """Let go of the files."""
        self._parts, self._next = iter(()), None

    def _play(self, place: _Place) -> Iterator[tuple[int, Batch]]:
        newest = -(2**63)
        for i, path in enumerate(self._config.files[place.file :], place.file):
            after = place.line if i == place.file else 0
            for part in _read(path, self._tags, self._config.unknown, newest, TICK_NS, _LIVE_CHUNK, after):
                newest = part.received_ns
                yield i, part

    def _due_in_s(self, recorded_ns: int) -> float:
        if not self._config.speed:
            return 0.0
        now_ns = self._plug.clock()
        self._origin = self._origin or (recorded_ns, now_ns)
        return (recorded_ns - self._origin[0]) / self._config.speed / 1e9 - (now_ns - self._origin[1]) / 1e9
