"""Spectra as files that an instrument drops into a folder: JCAMP-DX, SPC or CSV, each taken once, whole, and never touched.

A file is read when its size and time of change have stood still for `settle_s`; one that cannot be read is tried again until it is `patience_s` old
and then kept as a dead letter. The same content under another name is a duplicate and counted. Which files were taken is kept in the commit that
holds their spectra, so none is lost and none is taken twice across restarts.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal, Self
from zoneinfo import ZoneInfo

import msgspec
from pydantic import Field, model_validator

from edge_agent.core import Block, NotConnected, Tag
from edge_agent.core.settings import Section
from edge_agent.sources.blocks import StreamSection, wrong_streams
from edge_agent.sources.dead_letters import DeadLetter, DeadLetters
from edge_agent.sources.source import Plug, Received, Source
from edge_agent.sources.spectra_files import SpectrumError, block_of
from edge_agent.sources.zone import SourceTime, local_ns

_REMEMBERED: Final = 20_000
"""Contents remembered, the oldest forgotten first: about 3 MB in the journal at the most."""
_MOST: Final = 64
"""Files of one batch."""
_MOST_BYTES: Final = 64 << 20


class SpectraConfig(Section):
    """Spectra from files in a folder; tags are of kind block, and a tag's address is a pattern of file names (all files when it has none)."""

    lossy: ClassVar[bool] = False
    """A folder keeps what it holds."""
    blocks: ClassVar[bool] = True
    """It brings spectra, no single values."""

    kind: Literal["spectra"]
    name: Annotated[str, Field(min_length=1)]
    folder: Path
    """Where the files appear; folders below it are not looked into."""
    pattern: str = "*"
    """Names of files that are spectra; .jdx, .dx, .jcamp, .spc and .csv are read, other endings never."""
    poll_s: Annotated[float, Field(gt=0, le=3600)] = 1.0
    """Seconds between two looks into the folder."""
    settle_s: Annotated[float, Field(ge=0, le=3600)] = 1.0
    """Seconds for which a file must not have changed before it is read."""
    patience_s: Annotated[float, Field(ge=0, le=86400)] = 60.0
    """Age at which a file that cannot be read becomes a dead letter."""
    streams: tuple[StreamSection, ...] = ()
    """What is known of streams and does not stand in their files."""
    time: SourceTime = SourceTime()
    dead_letter_bytes: Annotated[int, Field(ge=8192)] = 10_000_000
    watchdog_s: Annotated[float, Field(gt=0)] = 3600.0
    """Seconds without any spectrum, while periodic tags are configured, after which the folder is opened anew."""

    @model_validator(mode="after")
    def _once(self) -> Self:
        wrong_streams(self.streams)
        return self

    def source(self, plug: Plug) -> Source:
        """The connector of this configuration."""
        return SpectraSource(self, plug)


class _Known(msgspec.Struct):
    """What was taken: content hashes in order, and name with size and time of change of each file that is done with."""

    contents: list[str] = []
    files: dict[str, tuple[int, int]] = {}


class SpectraSource:
    """One folder."""

    def __init__(self, config: SpectraConfig, plug: Plug, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._config, self._plug, self._sleep = config, plug, sleep
        self._streams = [(plug.address.get(tag.id) or "*", tag) for tag in plug.tags]
        self._dead = DeadLetters(plug.data_dir, config.dead_letter_bytes)
        self._known = _Known()
        self._known_of = {s.tag: s for s in config.streams}
        self._zone = ZoneInfo(config.time.assumed_zone) if config.time.assumed_zone is not None else None

    async def open(self, resume: bytes | None) -> None:
        """Find the folder; NotConnected when it is not there."""
        self._known = msgspec.json.decode(resume, type=_Known) if resume else _Known()
        if not await asyncio.to_thread(self._config.folder.is_dir):
            raise NotConnected(f"{self._config.folder}: no such folder")

    async def read(self) -> Received:
        """The spectra of the next files, oldest first, waiting for one."""
        while True:
            received = await asyncio.to_thread(self._look)
            if received is not None:
                return received
            await self._sleep(self._config.poll_s)

    async def close(self) -> None:
        """Nothing is held open."""

    def _look(self) -> Received | None:
        """What is new in the folder; None when nothing is."""
        now_ns = self._plug.clock()
        found = []
        try:
            for path in self._config.folder.iterdir():
                if fnmatchcase(path.name, self._config.pattern) and path.is_file():
                    stat = path.stat()
                    found.append((stat.st_mtime_ns, path.name, stat.st_size))
        except FileNotFoundError:
            if not self._config.folder.is_dir():
                raise NotConnected(f"{self._config.folder}: no such folder") from None
            return None  # a file was taken away while we looked: the next look will tell
        except OSError as error:
            raise NotConnected(f"{self._config.folder}: {error.strerror}") from error
        here = {name for _, name, _ in found}
        known = _Known(list(self._known.contents), {n: seen for n, seen in self._known.files.items() if n in here})
        blocks: list[Block] = []
        dead: list[DeadLetter] = []
        done = 0
        for mtime_ns, name, size in sorted(found):
            # Files are stamped in UTC; where the source is one of local time, all its times are, and so is its clock.
            changed_ns = mtime_ns if self._zone is None else local_ns(mtime_ns, self._zone)
            tag = next((tag for pattern, tag in self._streams if fnmatchcase(name, pattern)), None)
            if tag is None or known.files.get(name) == (mtime_ns, size) or now_ns - changed_ns < self._config.settle_s * 1e9:
                continue
            if self._taken(name, size, changed_ns, now_ns, tag, known, blocks, dead):
                known.files[name] = (mtime_ns, size)
                done += 1
            if done >= _MOST:
                break
        if not done:
            return None
        if dead:
            self._count("dead_letters", len(dead))
            self._count("dead_letters_lost", self._dead.write(dead))
        known.contents = known.contents[-_REMEMBERED:]
        self._known = known
        return Received(tuple(blocks), resume=msgspec.json.encode(known))

    def _taken(
        self, name: str, size: int, changed_ns: int, now_ns: int, tag: Tag, known: _Known, blocks: list[Block], dead: list[DeadLetter]
    ) -> bool:
        """Whether a file is done with: a spectrum, a duplicate or a dead letter."""
        reason, data = f"expected at most {_MOST_BYTES} bytes, found {size}", b""
        if size <= _MOST_BYTES:
            try:
                data = (self._config.folder / name).read_bytes()
                if len(data) != size:
                    return False  # it is still being written
                content = hashlib.sha256(data).hexdigest()[:32]
                if content in known.contents:
                    self._count("duplicates", 1)
                    return True
                blocks.append(block_of(name, data, tag, changed_ns, self._known_of.get(tag.name), self._zone))
            except SpectrumError as error:
                reason = str(error)
            except OSError as error:
                reason = error.strerror or str(error)
            else:
                known.contents.append(content)
                self._count("values", 1)
                return True
        if now_ns - changed_ns < self._config.patience_s * 1e9:
            return False
        dead.append(DeadLetter(now_ns, name, data, reason))
        return True

    def _count(self, what: str, n: int) -> None:
        self._plug.counters[what] = self._plug.counters.get(what, 0) + n
