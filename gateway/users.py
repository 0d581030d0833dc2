"""Accounts: names, roles and password hashes (argon2id) in a file of their own.

Roles and what they may do are in one table. A name is never removed or given again, so that the audit trail keeps meaning one person
(21 CFR 11.100(a)); an account is disabled instead.
"""

from __future__ import annotations

import re
import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

import argon2

from edge_agent.core import PharmedgeError

FILE: Final = "users.sqlite"

Role = Literal[
    "viewer",
    "operator",
    "shift_lead",
    "maintenance",
    "engineer",
    "quality",
    "system_admin",
    "security_admin",
    "audit_admin",
]
Right = Literal[
    "acknowledge",
    "shelve",
    "out_of_service",
    "set_mode",
    "hand_over",
    "decide_advice",
    "propose",
    "approve",
    "read_audit",
    "review_audit",
    "manage_users",
    "manage_system",
]

RIGHTS: Final[dict[Role, frozenset[Right]]] = {
    "viewer": frozenset(),
    "operator": frozenset({"acknowledge", "shelve", "hand_over"}),
    "shift_lead": frozenset({"acknowledge", "shelve", "set_mode", "hand_over", "decide_advice", "read_audit"}),
    "maintenance": frozenset({"acknowledge", "out_of_service", "set_mode", "decide_advice"}),
    "engineer": frozenset({"acknowledge", "shelve", "out_of_service", "set_mode", "hand_over", "decide_advice", "propose"}),
    "quality": frozenset({"read_audit", "review_audit", "approve"}),
    "system_admin": frozenset({"propose", "manage_system"}),
    "security_admin": frozenset({"manage_users"}),
    "audit_admin": frozenset({"read_audit"}),
}
"""What each role may do beside looking. Whoever proposes does not approve, and who administers has no part in production (Annex 11, separation of
duties). Administration is three roles, system, security and audit, and nobody who changes accounts or configurations reads the trail of it
(GB/T 22239-2019, 8.1.5)."""
ADMINISTERS: Final[frozenset[Right]] = frozenset({"manage_users", "manage_system", "propose"})
"""Rights to change accounts or how system and edges are set up."""
AUDITS: Final[frozenset[Right]] = frozenset({"read_audit", "review_audit"})
"""Rights over the audit trail: read, export, verify; review."""
ADMINISTRATORS: Final[frozenset[str]] = frozenset({"system_admin", "security_admin", "audit_admin"})
EARLIER: Final[dict[str, Role]] = {"admin": "security_admin"}
"""Roles of earlier versions, and what they have become: the one administrator kept accounts, and no longer reads what is written of that."""

ROLES: Final[tuple[Role, ...]] = get_args(Role)
NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")
PASSWORD_MIN: Final = 10
PASSWORD_MAX: Final = 1024

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS user (name TEXT PRIMARY KEY, full_name TEXT NOT NULL, role TEXT NOT NULL, hash TEXT NOT NULL,
  disabled INTEGER NOT NULL, made_ns INTEGER NOT NULL, changed_ns INTEGER NOT NULL, must_change INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS session (digest TEXT PRIMARY KEY, user TEXT NOT NULL, csrf TEXT NOT NULL, station TEXT NOT NULL,
  begun_ns INTEGER NOT NULL, used_ns INTEGER NOT NULL) WITHOUT ROWID;
"""
_COLUMNS: Final = "name, full_name, role, disabled, changed_ns, must_change"


class WrongAccount(PharmedgeError):
    """An account that cannot be made or changed as asked."""


@dataclass(frozen=True, slots=True)
class Account:
    """One person."""

    name: str
    full_name: str
    """As it is printed beside a signature (21 CFR 11.50(a)(1))."""
    role: Role
    disabled: bool = False
    changed_ns: int = 0
    must_change: bool = False
    """Another person knows the password: it was set by them, and the account does nothing until its own person has changed it."""

    def may(self, right: Right) -> bool:
        """Whether the role allows it.

        >>> Account("wang", "Wang Li", "operator").may("acknowledge"), Account("root", "Li Na", "security_admin").may("acknowledge")
        (True, False)
        """
        return not self.disabled and right in RIGHTS[self.role]


class Users:
    """users.sqlite; any thread, and the command line beside a running gateway."""

    def __init__(self, data_dir: Path, hasher: argon2.PasswordHasher | None = None) -> None:
        data_dir.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self.db = sqlite3.connect(data_dir / FILE, check_same_thread=False, isolation_level=None, timeout=10)
        (data_dir / FILE).chmod(0o600)
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.execute("PRAGMA synchronous=FULL")
        self.db.executescript(_SCHEMA)
        if "must_change" not in {row[1] for row in self.db.execute("PRAGMA table_info(user)")}:  # made by an older version
            self.db.execute("ALTER TABLE user ADD COLUMN must_change INTEGER NOT NULL DEFAULT 0")
        self._hasher = hasher or argon2.PasswordHasher()
        self._nobody = self._hasher.hash("nobody has this password")
        # Each verification takes tens of MiB and milliseconds: a burst of attempts must not take the gateway's memory.
        self._turns = threading.BoundedSemaphore(2)

    def close(self) -> None:
        """Release the file."""
        with self._lock:
            self.db.close()

    def ask(self, sql: str, *args: object) -> list[tuple[Any, ...]]:
        """Rows of a statement, one at a time between threads."""
        with self._lock:
            return self.db.execute(sql, args).fetchall()

    def empty(self) -> bool:
        """Whether there is no account at all: then nobody has to log in."""
        return not self.ask("SELECT 1 FROM user LIMIT 1")

    def all(self) -> list[Account]:
        """Every account by name."""
        return [_account(row) for row in self.ask(f"SELECT {_COLUMNS} FROM user ORDER BY name")]

    def get(self, name: str) -> Account | None:
        """The account of a name; None when there never was one."""
        rows = self.ask(f"SELECT {_COLUMNS} FROM user WHERE name=?", name)
        return _account(rows[0]) if rows else None

    def known(self, name: str) -> Account:
        """The account of a name; WrongAccount when there is none."""
        found = self.get(name)
        if found is None:
            raise WrongAccount(f"user: expected the name of an account, found {name!r}")
        return found

    def check_new(self, name: str, full_name: str, role: str) -> Account:
        """The account that `put` would make; WrongAccount says what is wrong."""
        if not NAME.fullmatch(name):
            raise WrongAccount(f"name: expected up to 32 of a-z, 0-9, '.', '_' and '-', found {name!r}")
        if self.get(name) is not None:
            raise WrongAccount(f"name: expected one that was never used, found {name!r}")
        if not full_name.strip():
            raise WrongAccount("full name: expected the name as it is printed beside a signature, found none")
        return Account(name, full_name.strip(), check_role(role))

    def put(self, account: Account, password: str | None, now_ns: int) -> None:
        """Write an account; the password stays when None is given. Sessions of a person whose rights or password change end."""
        hashed = None if password is None else self._hasher.hash(check_password(password, account.name))
        with self._lock:
            self.db.execute("BEGIN IMMEDIATE")
            try:
                kept = self.db.execute("SELECT role FROM user WHERE name=?", (account.name,)).fetchone()
                role = kept[0] if kept and EARLIER.get(kept[0]) == account.role else account.role
                if hashed is None:
                    self.db.execute(
                        "UPDATE user SET full_name=?, role=?, disabled=?, changed_ns=? WHERE name=?",
                        (account.full_name, role, account.disabled, now_ns, account.name),
                    )
                else:
                    self.db.execute(
                        f"INSERT INTO user ({_COLUMNS}, hash, made_ns) VALUES (?,?,?,?,?,?,?,?) ON CONFLICT (name)"
                        " DO UPDATE SET full_name=excluded.full_name, role=excluded.role,"
                        " hash=excluded.hash, disabled=excluded.disabled, changed_ns=excluded.changed_ns, must_change=excluded.must_change",
                        (account.name, account.full_name, role, account.disabled, now_ns, account.must_change, hashed, now_ns),
                    )
                self.db.execute("DELETE FROM session WHERE user=?", (account.name,))
                self.db.execute("COMMIT")
            except BaseException:
                if self.db.in_transaction:
                    self.db.execute("ROLLBACK")
                raise

    def of_earlier_roles(self) -> list[tuple[Account, str]]:
        """Accounts whose role no longer exists, each as it counts now and with the role that is in the file.

        It stays in the file, so that the older version finds its administrator after a rollback.
        """
        rows = self.ask(f"SELECT {_COLUMNS} FROM user ORDER BY name")
        return [(_account(row), row[2]) for row in rows if row[2] in EARLIER]

    def handed(self, *rights: Right) -> list[tuple[Account, str]]:
        """Accounts that are not disabled and have one of these rights, by name, each with its password hash: for panels beside the line."""
        rows = self.ask(f"SELECT {_COLUMNS}, hash FROM user ORDER BY name")
        return [(account, row[6]) for row in rows if any(map((account := _account(row)).may, rights))]

    def verify(self, name: str, password: str) -> Account | None:
        """The account when the password is its own and it is not disabled; as slow for names that do not exist."""
        rows = self.ask("SELECT hash FROM user WHERE name=?", name)
        with self._turns:
            try:
                self._hasher.verify(rows[0][0] if rows else self._nobody, password[:PASSWORD_MAX])
            except argon2.exceptions.VerifyMismatchError:
                return None
        found = self.get(name) if rows else None
        return None if found is None or found.disabled else found


def check_role(role: str) -> Role:
    """The role; WrongAccount when there is none of that name."""
    for known in ROLES:
        if role == known:
            return known
    if role in EARLIER:
        raise WrongAccount(f"role: expected one of {', '.join(sorted(ADMINISTRATORS))}, found {role!r}, which was divided into these")
    raise WrongAccount(f"role: expected one of {', '.join(ROLES)}, found {role!r}")


def check_password(password: str, name: str) -> str:
    """The password; WrongAccount when it is too short, too long or the name itself. Length is what counts (NIST SP 800-63B 5.1.1.2)."""
    if not PASSWORD_MIN <= len(password) <= PASSWORD_MAX:
        raise WrongAccount(f"password: expected {PASSWORD_MIN} to {PASSWORD_MAX} characters, found {len(password)}")
    if len(set(password)) < 4 or name in password.lower():
        raise WrongAccount("password: expected one that is not the name and not one character again and again")
    return password


def _account(row: tuple[Any, ...]) -> Account:
    return Account(row[0], row[1], EARLIER.get(row[2], row[2]), bool(row[3]), row[4], bool(row[5]))
