"""Who may change which account, and what is written down of it: one place for the command line and the console.

Every change is in the audit trail, with old and new, before it is made. Nobody changes their own role, disables themselves or resets their own
password here: an administrator needs another one for that (Annex 11, separation of duties). A password that somebody else set is known to two: the
account does nothing with it until its person has changed it, so that nobody acts or signs under another name (21 CFR 11.200(a)(2)).

System, security and audit are administered by three accounts (GB/T 22239-2019, 8.1.5): one that was any of them never becomes one that could judge,
or cover, what it did before, also not by way of a third role: every role that the trail knows of it counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from gateway.audit import Act, Actor, Trail, Wanted
from gateway.users import ADMINISTERS, ADMINISTRATORS, AUDITS, EARLIER, RIGHTS, ROLES, Account, Role, Users, WrongAccount, check_password, check_role

EARLIER_VERSION: Final = Actor("gateway", "service")


@dataclass(frozen=True, slots=True)
class Login:
    """One open session as an administrator sees it."""

    id: str
    """First 16 hex digits of what is kept of its token; of no use to whoever wants to log in."""
    user: str
    station: str
    begun_ns: int
    used_ns: int


class Accounts:
    """Changes of accounts; any thread."""

    def __init__(self, users: Users, trail: Trail, *, clock: Callable[[], int]) -> None:
        self._users, self._trail, self._clock = users, trail, clock
        for account, before in users.of_earlier_roles():
            told = self._moves(account.name)[:1]
            if [entry["new"] for entry in told] != [account.role]:
                act = Act("user_role", f"user {account.name}", before, account.role, "roles of an earlier version")
                self._trail.append(EARLIER_VERSION, act, self._clock())

    def add(self, by: Actor, name: str, full_name: str, role: str, password: str, reason: str = "") -> Account:
        """Make an account; WrongAccount when it cannot be."""
        account = replace(self._users.check_new(name, full_name, role), must_change=True)
        check_password(password, account.name)
        return self._make(by, account, password, Act("user_add", f"user {name}", "", f"{account.full_name}, {account.role}", reason))

    def role(self, by: Actor, name: str, role: str, reason: str) -> Account:
        """Give a person another role; their sessions end."""
        before = self._other(by, name, "role")
        after = replace(before, role=check_role(role))
        was = next((had for had in self._roles(before) if crosses(had, after.role)), None)
        if was is not None:
            reason = f"{was} and {after.role} are never one account; make another one"
            self._trail.append(by, Act("refused", f"user {name}", before.role, after.role, reason), self._clock())
            raise WrongAccount(reason)
        return self._make(by, after, None, Act("user_role", f"user {name}", before.role, after.role, _why(reason)))

    def disable(self, by: Actor, name: str, reason: str, *, undo: bool = False) -> Account:
        """Let a person no longer log in, or let them again; the name stays theirs."""
        before = self._other(by, name, "state")
        words = {True: "disabled", False: "active"}
        act = Act("user_disable", f"user {name}", words[before.disabled], words[not undo], _why(reason))
        return self._make(by, replace(before, disabled=not undo), None, act)

    def password(self, by: Actor, name: str, password: str, reason: str) -> Account:
        """Give a person another password; their sessions end."""
        account = replace(self._other(by, name, "password"), must_change=True)
        check_password(password, name)
        return self._make(by, account, password, Act("password", f"user {name}", reason=_why(reason)))

    def logins(self) -> list[Login]:
        """Sessions that are kept, the newest first; some may be over by age."""
        rows = self._users.ask("SELECT substr(digest, 1, 16), user, station, begun_ns, used_ns FROM session ORDER BY begun_ns DESC")
        return [Login(*row) for row in rows]

    def end(self, by: Actor, id_: str, reason: str = "") -> Login:
        """End a session; WrongAccount when there is none of that id."""
        found = next((login for login in self.logins() if login.id == id_), None)
        if found is None:
            raise WrongAccount(f"session: expected one that is open, found {id_!r}")
        self._trail.append(by, Act("session_end", f"user {found.user}", found.station, "", reason), self._clock())
        self._users.ask("DELETE FROM session WHERE substr(digest, 1, 16)=?", id_)
        return found

    def _moves(self, name: str) -> list[dict[str, Any]]:
        """What is written down of an account's changes of role, the newest first."""
        return self._trail.entries(Wanted(action="user_role", object_is=f"user {name}", limit=-1))

    def _roles(self, account: Account) -> list[Role]:
        """Every role that an account has or had, the present one first."""
        had = [str(entry[key]) for entry in self._moves(account.name) for key in ("new", "old")]
        return [account.role, *(role for name in dict.fromkeys(had) for role in ROLES if role == EARLIER.get(name, name))]

    def _other(self, by: Actor, name: str, what: str) -> Account:
        if by.user == name:
            self._trail.append(by, Act("refused", f"user {name}", new=what, reason="one's own account"), self._clock())
            raise WrongAccount(f"{what}: expected the account of another person, found one's own; another administrator has to do it")
        return self._users.known(name)

    def _make(self, by: Actor, account: Account, password: str | None, act: Act) -> Account:
        self._trail.append(by, act, self._clock())
        self._users.put(account, password, self._clock())
        return account


def crosses(before: Role, after: Role) -> bool:
    """Whether an account with one role would, with the other, judge or cover what it did: between administering and auditing, either way round.

    >>> crosses("security_admin", "audit_admin"), crosses("audit_admin", "system_admin"), crosses("security_admin", "quality")
    (True, True, True)
    >>> crosses("operator", "audit_admin"), crosses("security_admin", "viewer"), crosses("engineer", "quality")
    (False, False, False)
    """
    if not {before, after} & ADMINISTRATORS:
        return False
    one, other = RIGHTS[before], RIGHTS[after]
    return bool((one & ADMINISTERS and other & AUDITS) or (one & AUDITS and other & ADMINISTERS))


def _why(reason: str) -> str:
    if not reason.strip():
        raise WrongAccount("reason: expected why, found nothing")
    return reason.strip()
