"""Checking the audit entries of an edge from outside, also while its agent runs, and the heads of gateways' chains that it keeps."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import msgspec

from edge_agent.agent.commit import AUDIT_LINK, JOURNAL, OUTBOX
from edge_agent.agent.inspect import opened
from edge_agent.config import AgentSettings
from edge_agent.core import Audit, Log, LogError, Note, WireError, audit_link, decode
from edge_agent.core.wire import KINDS

HEADS: Final = ("audit_head", "manifest_head")
_TRIES: Final = 20
_ALL: Final = 1 << 62
"""A log that is only looked into does not hear how far its agent has come: everything there is is read."""


def verify(settings: AgentSettings, base: Path) -> dict[str, Any]:
    """What was checked and everything that is wrong.

    entries, first, last  audit entries that the outbox still holds, and their numbers
    link                  what the next entry will carry
    heads                 heads of gateways that the journal still holds
    faults                texts, each naming its row
    """
    log = opened(settings, base)
    try:
        for _ in range(_TRIES):
            link = (log.value(AUDIT_LINK) or b"").decode()
            entries, faults = _entries(log)
            if (log.value(AUDIT_LINK) or b"").decode() == link:  # a running agent may have written one meanwhile
                break
        faults += _chain(entries, link)
        heads, wrong = _heads(log)
        damage = [str(fault) for stream in (JOURNAL, OUTBOX) for fault in log.verify(stream)]
        return {
            "entries": len(entries),
            "first": entries[0][0] if entries else None,
            "last": entries[-1][0] if entries else None,
            "link": link,
            "heads": heads,
            "faults": [*faults, *wrong, *damage],
        }
    finally:
        log.close()


def _entries(log: Log) -> tuple[list[tuple[int, Audit]], list[str]]:
    found: list[tuple[int, Audit]] = []
    faults: list[str] = []
    after = log.first(OUTBOX) - 1
    try:
        while rows := log.read(OUTBOX, after, through=_ALL, max_bytes=4 << 20):
            if log.first(OUTBOX) > after + 1:
                found.clear()  # a running agent has forgotten some meanwhile: what was read before does not go on into what is there
            for row in rows:
                if row.kind == KINDS[Audit]:
                    try:
                        item = decode(row.data)
                    except WireError as error:
                        faults.append(f"outbox {row.seq}: {error}")
                        continue
                    if isinstance(item, Audit):
                        found.append((row.seq, item))
            after = rows[-1].seq
    except LogError as error:
        faults.append(str(error))
    return found, faults


def _chain(entries: list[tuple[int, Audit]], link: str) -> list[str]:
    faults: list[str] = []
    for (seq, entry), (then, behind) in pairwise(entries):
        if behind.chain and behind.chain != audit_link(entry):
            what = f"{entry.action} {entry.object}".strip()
            faults.append(f"outbox {seq} ({what}): was changed, or entries between it and {then} are gone; {then} carries another link")
    if entries and link and audit_link(entries[-1][1]) != link:
        faults.append(f"outbox {entries[-1][0]}: was changed, or entries behind it were cut off; the log carries another link")
    return faults


def _heads(log: Log) -> tuple[int, list[str]]:
    """Heads of one gateway's chain only ever grow, and none has two hashes."""
    count, faults = 0, []
    last: dict[tuple[str, str, str], tuple[int, int, str]] = {}
    after = log.first(JOURNAL) - 1
    try:
        while rows := log.read(JOURNAL, after, through=_ALL, max_bytes=4 << 20):
            for row in rows:
                note = decode(row.data) if row.kind == KINDS[Note] else None
                if not isinstance(note, Note) or note.action not in HEADS:
                    continue
                count += 1
                head = msgspec.json.decode(note.new, type=dict[str, int | str])
                key = note.object, note.action, str(head.get("key", ""))
                seq, digest = int(head["seq"]), str(head["hash"])
                what = f"{note.object} {note.action.replace('_', ' ')} of entry {seq}"
                before = last.get(key)
                if before is not None and seq < before[1]:
                    faults.append(f"journal {row.seq}: {what}: the gateway had {before[1]} entries at row {before[0]}: its end was cut off")
                elif before is not None and seq == before[1] and digest != before[2]:
                    faults.append(f"journal {row.seq}: {what}: has another hash than at row {before[0]}: it was written anew")
                last[key] = row.seq, seq, digest
            after = rows[-1].seq
    except (LogError, WireError, msgspec.DecodeError, KeyError, ValueError) as error:
        faults.append(f"journal: {error}")
    return count, faults
