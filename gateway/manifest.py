"""The manifest: what segments there are and were, hash-chained and signed.

One JSON line per step, never changed and never deleted: `sealed` (an inbox range became files), `superseded` (files were merged into others),
`removed` (retention). A line is in force when it is complete; a torn last line is what a crash left of a step that never was.
hash = SHA-256(hash of the line before || canonical JSON without hash and sig), canonical = UTF-8, sorted keys, separators "," and ":";
the first line follows 32 zero bytes. Each hash is signed with Ed25519. A chain shows truncation only against an anchor, which the journal keeps.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge_agent.core import LogError
from edge_agent.core.signing import key_id, signing_key

GENESIS: Final = bytes(32)
FILE: Final = "manifest.jsonl"

Kind = Literal["sample", "text", "block", "summary"]


class SegmentFile(msgspec.Struct, frozen=True, kw_only=True):
    """One immutable Parquet file, named from the segments folder."""

    name: str
    sha256: str
    bytes: int
    rows: int
    kind: Kind
    edge: str
    retention: str
    """gmp or other."""
    day: str
    """UTC date of the source times in it, YYYY-MM-DD."""
    min_ns: int
    max_ns: int


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One step."""

    n: int
    time_ns: int
    what: Literal["sealed", "superseded", "removed"]
    first: int = 0
    """Inbox range that was sealed, both included; 0 for other steps."""
    last: int = 0
    files: tuple[SegmentFile, ...] = ()
    """Files that are new."""
    gone: tuple[str, ...] = ()
    """Names of files that are no longer in force."""
    reason: str = ""
    key: str
    """First 16 hex digits of the SHA-256 of the public key."""
    prev: str
    hash: str = ""
    sig: str = ""


@dataclass(frozen=True, slots=True)
class Head:
    """The end of the chain."""

    n: int
    hash: str


def canonical(line: Line) -> bytes:
    """What is hashed of a line."""
    body = msgspec.to_builtins(line)
    del body["hash"], body["sig"]
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def read(path: Path) -> tuple[list[Line], int]:
    """All complete lines and the bytes they take; LogError names a line that is not JSON."""
    if not path.exists():
        return [], 0
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    lines = []
    for i, text in enumerate(data[:whole].splitlines(), 1):
        try:
            lines.append(msgspec.json.decode(text, type=Line))
        except msgspec.DecodeError as error:
            raise LogError(f"{path.name}:{i}: expected a manifest line, found {error}") from error
    return lines, whole


def faults(lines: Sequence[Line], keys: dict[str, Ed25519PublicKey], anchor: Head | None) -> list[str]:
    """Everything that is wrong with a chain, each naming its line."""
    found = []
    previous = GENESIS.hex()
    for n, line in enumerate(lines, 1):
        where = f"{FILE} line {n}"
        if line.n != n or line.prev != previous:
            found.append(f"{where}: expected number {n} behind {previous[:12]}, found number {line.n} behind {line.prev[:12]}")
        expected = hashlib.sha256(bytes.fromhex(line.prev) + canonical(line)).hexdigest()
        if expected != line.hash:
            found.append(f"{where}: expected hash {expected[:12]}, found {line.hash[:12]}")
        key = keys.get(line.key)
        try:
            if key is None:
                found.append(f"{where}: signed with an unknown key {line.key}")
            else:
                key.verify(bytes.fromhex(line.sig), bytes.fromhex(line.hash))
        except (InvalidSignature, ValueError):
            found.append(f"{where}: its signature does not match")
        previous = line.hash
    if anchor is not None and (len(lines) < anchor.n or (anchor.n > 0 and lines[anchor.n - 1].hash != anchor.hash)):
        found.append(f"{FILE}: expected line {anchor.n} with hash {anchor.hash[:12]} as the journal remembers it, found {len(lines)} lines")
    return found


class GivenHead(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A head as edges keep it: the number, hash and signature of a line."""

    seq: int
    hash: str
    key: str
    sig: str


def against(lines: Sequence[Line], heads: Iterable[GivenHead], keys: dict[str, Ed25519PublicKey]) -> list[str]:
    """What heads that were kept elsewhere say of a chain: lines that were cut off, or written anew although every hash and signature fits."""
    found, good = [], 0
    for head in sorted(set(heads), key=lambda h: h.seq):
        key = keys.get(head.key)
        try:
            if key is None:
                found.append(f"{FILE}: a head of line {head.seq} kept by an edge is signed with an unknown key {head.key}")
            else:
                key.verify(bytes.fromhex(head.sig), bytes.fromhex(head.hash))
        except (InvalidSignature, ValueError):
            found.append(f"{FILE}: a head of line {head.seq} kept by an edge has a signature that does not match")
            continue
        if not 1 <= head.seq <= len(lines):
            found.append(f"{FILE}: lines {len(lines) + 1} to {head.seq} were cut off; a head kept by an edge tells of them")
        elif lines[head.seq - 1].hash != head.hash:
            found.append(f"{FILE} lines {good + 1} to {head.seq}: were written anew; a head kept by an edge has another hash")
        else:
            good = head.seq
    return found


class Manifest:
    """The open manifest; one thread appends."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._key = signing_key(folder / "keys")
        self._key_id = key_id(self._key.public_key())
        folder.mkdir(parents=True, exist_ok=True)
        lines, whole = read(self._path)
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o640)
        if os.fstat(self._file).st_size > whole:
            os.ftruncate(self._file, whole)  # a torn last line: its step never happened
            os.fsync(self._file)
        sync_folder(folder)
        self.live: dict[str, SegmentFile] = {}
        self.sealed = 0
        """Last inbox number that is in segments."""
        self.head = Head(0, GENESIS.hex())
        self.lines = lines
        for line in lines:
            self._take(line)

    def _take(self, line: Line) -> None:
        for name in line.gone:
            self.live.pop(name, None)
        self.live |= {file.name: file for file in line.files}
        self.sealed = max(self.sealed, line.last)
        self.head = Head(line.n, line.hash)

    def append(self, what: Literal["sealed", "superseded", "removed"], now_ns: int, **fields: Any) -> Line:
        """Write one step; in force and durable when this returns."""
        line = Line(n=self.head.n + 1, time_ns=now_ns, what=what, key=self._key_id, prev=self.head.hash, **fields)
        digest = hashlib.sha256(bytes.fromhex(line.prev) + canonical(line)).digest()
        line = msgspec.structs.replace(line, hash=digest.hex(), sig=self._key.sign(digest).hex())
        data = msgspec.json.encode(line) + b"\n"
        size = os.fstat(self._file).st_size
        try:
            if os.write(self._file, data) != len(data):
                raise OSError(f"{self._path}: the disk took only part of a line")
            os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, size)
            raise
        self.lines.append(line)
        self._take(line)
        return line

    def given(self) -> GivenHead | None:
        """The head for edges to keep; None while there is no line."""
        if not self.lines:
            return None
        last = self.lines[-1]
        return GivenHead(seq=last.n, hash=last.hash, key=last.key, sig=last.sig)

    def close(self) -> None:
        """Release the file; once is enough."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
