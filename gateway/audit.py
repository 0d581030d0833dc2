"""The audit trail: who did what to which object, when and why (21 CFR 11.10(e); EU GMP Annex 11 clause 9).

Entries are only ever appended. Each is canonical JSON (UTF-8, sorted keys, separators "," and ":", every value a text but `seq`: no floats) and
hash = SHA-256(hash of the entry before || canonical JSON); the first follows 32 zero bytes, as in the manifest. A chain alone shows neither a cut
tail nor one that was written anew from the start: heads are signed with the gateway's key, and copies go to the edges (see audit_verify.py).

An entry is durable before what it tells of is done; when it cannot be written, AuditError is raised and the change is refused.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.core import PharmedgeError
from edge_agent.core.signing import key_id
from gateway.manifest import GENESIS

FILE: Final = "audit.sqlite"
FIELDS: Final = (
    "ts",
    "local",
    "tz",
    "user",
    "name",
    "role",
    "station",
    "action",
    "object",
    "old",
    "new",
    "reason",
    "meaning",
    "batch",
    "version",
    "config",
)
"""Keys of an entry beside `seq`, in the order of exports."""

FORGOTTEN: Final = "forgotten/"
"""Places that keep which edges were forgotten, and when."""
EXCEPTIONS: Final = (
    "login_failed",
    "refused",
    "audit_broken",
    "acknowledge_refused",
    "shelve",
    "shelve_refused",
    "unshelve_refused",
    "out_of_service",
    "out_of_service_refused",
    "in_service_refused",
    "reset_refused",
    "comment_refused",
    "edge_forgotten",
    "set_mode",
    "set_mode_refused",
    "withdraw_mode_refused",
    "unit_mode",
    "unit_mode_refused",
    "renewed_refused",
    "no_fault_refused",
    "withdraw_no_fault_refused",
    "rejected_refused",
    "withdraw_rejected_refused",
    "action_refused",
    "model_refused",
    "model_file_changed",
    "people_refused",
    "proposal_refused",
    "config_refused",
    "approval_refused",
    "new_epoch",
    "log_set_aside",
    "restep_differs",
    "checkpoint_unusable",
    "clock_behind",
)
"""Actions that a reviewer looks at first."""
PERSONAL: Final = ("login", "logout", "login_failed", "refused", "password", "audit_export", "audit_verify", "review")
"""Actions of the person alone, which change nothing for others: they do not stand in the way of the review that the same person signs."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS entry (seq INTEGER PRIMARY KEY, body TEXT NOT NULL, hash BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS head (seq INTEGER NOT NULL, hash TEXT NOT NULL, ts TEXT NOT NULL, key TEXT NOT NULL, sig TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS place (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TRIGGER IF NOT EXISTS entry_kept BEFORE UPDATE ON entry BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
CREATE TRIGGER IF NOT EXISTS entry_stays BEFORE DELETE ON entry BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
"""


class AuditError(PharmedgeError):
    """The audit trail cannot be written, so the change it should tell of is refused."""


class SignedHead(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The end of the chain at some time, signed."""

    seq: int
    hash: str
    ts: str
    key: str
    """First 16 hex digits of the SHA-256 of the public key."""
    sig: str

    def signed(self) -> bytes:
        """What the signature is over."""
        return f"pharmedge audit head {self.seq} {self.hash} {self.ts}".encode()


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does something: a person with their role, or a service under its own name."""

    user: str
    role: str
    name: str = ""
    """Printed name; needed for signatures."""
    station: str = ""
    """Where they sit: the address they come from."""


@dataclass(frozen=True, slots=True)
class Act:
    """What is done."""

    action: str
    object: str
    old: str = ""
    new: str = ""
    reason: str = ""
    meaning: str = ""
    """Meaning of the electronic signature; empty when it is not signed."""
    batch: str = ""


def canonical(entry: Mapping[str, object]) -> bytes:
    """What is hashed of an entry; TypeError for a float, which has no one way to be written.

    >>> canonical({"b": "值", "a": 1}).decode()
    '{"a":1,"b":"值"}'
    """
    if any(not isinstance(value, str | int) or isinstance(value, bool) for value in entry.values()):
        raise TypeError(f"audit: expected texts and whole numbers, found {dict(entry)!r}")
    return json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def chained(previous: bytes, body: bytes) -> bytes:
    """The hash of an entry behind another."""
    return hashlib.sha256(previous + body).digest()


def instant(now_ns: int, zone: str) -> tuple[str, str, str]:
    """UTC time, local time and zone with its offset, as an entry has them.

    >>> instant(1_767_600_000_000_000_000, "Asia/Shanghai")
    ('2026-01-05T08:00:00.000Z', '2026-01-05 16:00:00.000', 'Asia/Shanghai +08:00')
    """
    utc = datetime.fromtimestamp(now_ns // 1_000_000_000, UTC)
    ms = f"{now_ns // 1_000_000 % 1000:03d}"
    local = utc.astimezone(ZoneInfo(zone))
    offset = local.strftime("%z")
    return f"{utc:%Y-%m-%dT%H:%M:%S}.{ms}Z", f"{local:%Y-%m-%d %H:%M:%S}.{ms}", f"{zone} {offset[:3]}:{offset[3:]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which entries to read; empty texts match all. `user`, `action` and `batch` match whole, `object` and `text` in part."""

    user: str = ""
    action: str = ""
    object: str = ""
    text: str = ""
    object_is: str = ""
    """The whole object."""
    batch: str = ""
    from_ts: str = ""
    to_ts: str = ""
    exceptions: bool = False
    limit: int = 1000


class Trail:
    """audit.sqlite; any thread and the command line may append, one at a time."""

    def __init__(self, data_dir: Path, *, zone: str, version: str, config: str = "") -> None:
        self.path = data_dir / FILE
        self._zone, self._version, self.config = zone, version, config
        self._lock = threading.RLock()
        data_dir.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None, timeout=10)
        self.path.chmod(0o600)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Release the file."""
        with self._lock:
            self._db.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield
                self._db.execute("COMMIT")
            except sqlite3.Error as error:
                self._undo()
                raise AuditError(f"the audit trail cannot be written, so nothing was changed: {error}") from error
            except BaseException:
                self._undo()
                raise

    def _undo(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def append(self, actor: Actor, acts: Act | Sequence[Act], now_ns: int, *, place: tuple[str, str] | None = None) -> list[int]:
        """Write entries in one transaction, durable when this returns; their numbers. AuditError when they cannot be written: then refuse the change.

        place  a name and a value kept with them, so that what was told of is not told of twice
        """
        with self._writing():
            seq, last = self._last()
            numbers = []
            ts, local, tz = instant(now_ns, self._zone)
            for act in [acts] if isinstance(acts, Act) else acts:
                seq += 1
                entry = {
                    "seq": seq,
                    "ts": ts,
                    "local": local,
                    "tz": tz,
                    "user": actor.user,
                    "name": actor.name,
                    "role": actor.role,
                    "station": actor.station,
                    "action": act.action,
                    "object": act.object,
                    "old": act.old,
                    "new": act.new,
                    "reason": act.reason,
                    "meaning": act.meaning,
                    "batch": act.batch,
                    "version": self._version,
                    "config": self.config,
                }
                body = canonical(entry)
                last = chained(last, body)
                self._db.execute("INSERT INTO entry VALUES (?,?,?)", (seq, body.decode(), last))
                numbers.append(seq)
            if place is not None:
                self._db.execute("INSERT OR REPLACE INTO place VALUES (?,?)", place)
        return numbers

    def _last(self) -> tuple[int, bytes]:
        row = self._db.execute("SELECT seq, hash FROM entry ORDER BY seq DESC LIMIT 1").fetchone()
        return (int(row[0]), bytes(row[1])) if row else (0, GENESIS)

    def head(self) -> tuple[int, str]:
        """Number and hash of the last entry; 0 and the genesis when there is none."""
        with self._lock:
            seq, last = self._last()
        return seq, last.hex()

    def forgotten(self) -> dict[str, int]:
        """Edges that somebody forgot, with the time, ns UTC."""
        with self._lock:
            rows = self._db.execute("SELECT name, value FROM place WHERE name >= ? AND name < ?", (FORGOTTEN, FORGOTTEN[:-1] + "0")).fetchall()
        return {str(name).removeprefix(FORGOTTEN): int(at) for name, at in rows}

    def place(self, name: str) -> str:
        """What was kept under a name; empty when nothing was."""
        with self._lock:
            row = self._db.execute("SELECT value FROM place WHERE name=?", (name,)).fetchone()
        return str(row[0]) if row else ""

    def sign(self, key: Ed25519PrivateKey, now_ns: int) -> SignedHead | None:
        """Sign the head and keep it; None when it is signed already or there is no entry."""
        with self._writing():
            seq, last = self._last()
            row = self._db.execute("SELECT max(seq) FROM head").fetchone()
            if seq == 0 or (row[0] or 0) >= seq:
                return None
            head = SignedHead(seq=seq, hash=last.hex(), ts=instant(now_ns, "UTC")[0], key=key_id(key.public_key()), sig="")
            head = msgspec.structs.replace(head, sig=key.sign(head.signed()).hex())
            self._db.execute("INSERT INTO head VALUES (?,?,?,?,?)", (head.seq, head.hash, head.ts, head.key, head.sig))
        return head

    def heads(self) -> list[SignedHead]:
        """All signed heads, oldest first."""
        with self._lock:
            return read_heads(self._db)

    def behind(self, seq: int, limit: int) -> list[dict[str, Any]]:
        """Entries after a number, the oldest first, each with its hash."""
        with self._lock:
            rows = self._db.execute("SELECT body, hash FROM entry WHERE seq>? ORDER BY seq LIMIT ?", (seq, limit)).fetchall()
        return [{**json.loads(body), "hash": bytes(digest).hex()} for body, digest in rows]

    def own_acts(self, user: str, after: int, through: int, batch: str = "") -> list[int]:
        """Entries behind `after` up to `through`, of one batch or all, that tell what this person did: the oldest 20; others have to review them."""
        marks, batch_sql = ",".join("?" * len(PERSONAL)), " AND json_extract(body, '$.batch')=?" if batch else ""
        sql = f"""SELECT seq FROM entry WHERE seq>? AND seq<=? AND json_extract(body, '$.user')=?
            AND json_extract(body, '$.action') NOT IN ({marks}){batch_sql} ORDER BY seq LIMIT 20"""
        with self._lock:
            rows = self._db.execute(sql, (after, through, user, *PERSONAL, *((batch,) if batch else ()))).fetchall()
        return [int(row[0]) for row in rows]

    def entries(self, want: Wanted | None = None) -> list[dict[str, Any]]:
        """Entries that match, the newest first; exceptions before all others when `want.exceptions`."""
        want = want or Wanted()
        where, args = ["1"], list[object]()
        for key, sql, value in (
            ("user", "=?", want.user),
            ("action", "=?", want.action),
            ("object", "=?", want.object_is),
            ("batch", "=?", want.batch),
            ("ts", ">=?", want.from_ts),
            ("ts", "<?", want.to_ts),
        ):
            if value:
                where.append(f"json_extract(body, '$.{key}'){sql}")
                args.append(value)
        if want.object:
            where.append("instr(lower(json_extract(body, '$.object')), lower(?))")
            args.append(want.object)
        if want.text:
            where.append("instr(lower(body), lower(?))")
            args.append(want.text)
        marks = ",".join("?" * len(EXCEPTIONS))
        order = f"json_extract(body, '$.action') IN ({marks}) DESC, " if want.exceptions else ""
        extra = EXCEPTIONS if want.exceptions else ()
        sql = f"SELECT body, hash FROM entry WHERE {' AND '.join(where)} ORDER BY {order}seq DESC LIMIT ?"
        with self._lock:
            rows = self._db.execute(sql, (*args, *extra, want.limit)).fetchall()
        return [{**json.loads(body), "hash": bytes(digest).hex()} for body, digest in rows]


def read_heads(db: sqlite3.Connection) -> list[SignedHead]:
    """The signed heads of an open audit.sqlite, in the order they were signed."""
    rows = db.execute("SELECT seq, hash, ts, key, sig FROM head ORDER BY rowid")
    return [SignedHead(seq=r[0], hash=r[1], ts=r[2], key=r[3], sig=r[4]) for r in rows]
