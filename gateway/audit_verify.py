"""Verification of the audit trail: every entry that was changed, removed, swapped, cut off or written anew is named."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge_agent.core import Audit, decode
from edge_agent.core.signing import public_keys
from gateway.audit import FILE, SignedHead, canonical, chained, read_heads
from gateway.journal import AUDIT, Journal
from gateway.journal import FILE as JOURNAL
from gateway.manifest import GENESIS, GivenHead

GIVER: Final = "gateway "
ANCHOR: Final = "audit_head"
"""Action of the journal entries with which an edge hands back the heads that it keeps."""


def faults(data_dir: Path, elsewhere: Iterable[SignedHead] = (), gateway: str = "") -> list[str]:
    """Everything that is wrong with the audit trail of a data folder, each naming its entry.

    elsewhere  heads that were kept away from this computer (edges, paper): only they show a trail that its owner wrote anew with the right key
    gateway    whose folder it is: edges hand back the heads of all their gateways; where it is not said, those whose keys are in the folder count
    """
    path = data_dir / FILE
    if not path.exists():
        copies = [*elsewhere, *returned(data_dir, ANCHOR, SignedHead, gateway)[0]]
        return [f"{FILE}: expected at least {max(h.seq for h in copies)} entries as edges remember, found no file"] if copies else []
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as db:
            db.execute("BEGIN")
            found = [f"{FILE}: {r[0]}" for r in db.execute("PRAGMA integrity_check") if r[0] != "ok"]
            hashes, wrong = _chain(db)
            heads = read_heads(db)
    except (sqlite3.DatabaseError, msgspec.MsgspecError) as error:
        return [f"{FILE}: expected a readable SQLite file, found {error}"]
    keys = public_keys(data_dir / "keys")
    found += wrong
    copies, unreadable = returned(data_dir, ANCHOR, SignedHead, gateway)
    found += unreadable
    found += _against("a signed head", heads, hashes, keys)
    found += _against("a head kept by an edge", [*copies, *elsewhere], hashes, keys)
    return list(dict.fromkeys(found))


def _chain(db: sqlite3.Connection) -> tuple[dict[int, str], list[str]]:
    """The stored hashes by number, and what is wrong between the entries."""
    hashes: dict[int, str] = {}
    found: list[str] = []
    previous, expected = GENESIS, 1
    for seq, text, stored in db.execute("SELECT seq, body, hash FROM entry ORDER BY seq"):
        if seq != expected:
            gone = f"entry {expected} was" if seq == expected + 1 else f"entries {expected} to {seq - 1} were"
            found.append(f"{FILE} entry {seq}: {gone} removed before it")
        digest = bytes(stored)
        try:
            body = json.loads(text)
            number = body["seq"]
            if number != seq:
                found.append(f"{FILE} entry {seq}: expected number {seq} in it, found {number}: entries were swapped or moved")
            elif seq == expected and chained(previous, canonical(body)) != digest:
                found.append(f"{FILE} entry {seq}: was changed, or the one before it; its hash does not follow")
            elif canonical(body).decode() != text:
                found.append(f"{FILE} entry {seq}: is not in canonical form")
        except (ValueError, TypeError, KeyError) as error:
            found.append(f"{FILE} entry {seq}: expected a JSON object, found {error}")
        hashes[seq] = digest.hex()
        previous, expected = digest, seq + 1
    return hashes, found


def _against(what: str, heads: Iterable[SignedHead], hashes: Mapping[int, str], keys: Mapping[str, Ed25519PublicKey]) -> list[str]:
    found: list[str] = []
    last = max(hashes, default=0)
    good = 0
    for head in sorted(heads, key=lambda h: h.seq):
        key = keys.get(head.key)
        try:
            if key is None:
                found.append(f"{FILE}: {what} of entry {head.seq} is signed with an unknown key {head.key}")
            else:
                key.verify(bytes.fromhex(head.sig), head.signed())
        except (InvalidSignature, ValueError):
            found.append(f"{FILE}: {what} of entry {head.seq} has a signature that does not match")
            continue
        if head.seq > last:
            found.append(f"{FILE}: entries {last + 1} to {head.seq} were cut off; {what} of {head.ts} tells of them")
        elif hashes.get(head.seq) not in (None, head.hash):
            found.append(f"{FILE} entries {good + 1} to {head.seq}: were written anew; {what} of {head.ts} has another hash")
        else:
            good = head.seq
    return found


H = TypeVar("H", SignedHead, GivenHead)


def returned(data_dir: Path, action: str, kind: type[H], gateway: str = "") -> tuple[list[H], list[str]]:
    """Heads of one kind that this gateway gave to edges and that they sent back with their records, and what could not be read of them."""
    path = data_dir / JOURNAL
    if not path.exists():
        return [], []
    heads: list[tuple[str, H]] = []
    wrong: list[str] = []
    with closing(Journal(path, read_only=True)) as journal:
        for entry in journal.entries(AUDIT):
            item = decode(entry.frame)
            if isinstance(item, Audit) and item.action == action:
                try:
                    heads.append((item.object, msgspec.json.decode(item.new, type=kind)))
                except msgspec.DecodeError as error:
                    wrong.append(f"{JOURNAL} {entry.edge} {entry.seq}: expected a signed head, found {error}")
    return _own(heads, set(public_keys(data_dir / "keys")), gateway), wrong


def _own(heads: list[tuple[str, H]], keys: set[str], gateway: str) -> list[H]:
    """The heads that this gateway gave: another gateway's are signed with its own key, and its own folder is where they are judged."""
    named = {about for about, _ in heads if about.startswith(GIVER)}
    # By name and by whose keys are here: a gateway that was given another name is judged by what it gave before. When nobody's are, all are judged,
    # and a folder with foreign keys is not taken for a clean one.
    ours = {about for about, head in heads if head.key in keys} & named | ({GIVER + gateway} if gateway else set()) or named
    return [head for about, head in heads if about not in named or about in ours]


def heads_in(path: Path, kind: type[H] = SignedHead) -> list[H]:  # type: ignore[assignment]
    """Heads in a file of JSON lines; ValueError names the line that is none."""
    heads: list[H] = []
    for n, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if line.strip():
            try:
                heads.append(msgspec.json.decode(line, type=kind))
            except msgspec.DecodeError as error:
                raise ValueError(f"{path}:{n}: expected a signed head, found {error}") from error
    return heads


def csv_cell(value: Any) -> str:
    """A cell that a spreadsheet does not take for a formula.

    >>> csv_cell("=1+1"), csv_cell(7)
    ("'=1+1", '7')
    """
    text = str(value)
    return "'" + text if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
