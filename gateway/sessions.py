"""Who is at the console: login with throttling, sessions that fall back to looking only, signatures, and an audit entry for each.

A session that nobody used for a while ends; alarms and values stay on the screen, only acting needs a new login. Wrong passwords slow the next
attempt for that name from that address and never lock an account: whoever has to acknowledge an alarm can.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace

from edge_agent.core import PharmedgeError
from edge_agent.core.throttle import Throttle
from gateway.accounts import Accounts
from gateway.audit import Act, Actor, Trail
from gateway.config import AccountsSection
from gateway.users import Account, Right, Users, WrongAccount, check_password


class NotLoggedIn(PharmedgeError):
    """A person must log in first, or gave the wrong password."""


class NotAllowed(PharmedgeError):
    """The role does not allow it, or the request does not carry the session's token."""


class SignatureNeeded(PharmedgeError):
    """The action is configured to be signed: password again, and a meaning."""


class TooSoon(PharmedgeError):
    """Too many wrong passwords; `wait_s` says when the next attempt counts."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"too many wrong passwords for this name from this place; try again in {max(1, round(wait_s))} s")
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True)
class Session:
    """One login."""

    account: Account
    csrf: str
    station: str
    begun_ns: int
    used_ns: int
    ends_ns: int

    def actor(self) -> Actor:
        """The person as the audit trail names them."""
        return Actor(self.account.name, self.account.role, self.account.full_name, self.station)


@dataclass(frozen=True, slots=True)
class Signature:
    """The second half of an electronic signature (21 CFR 11.200(a)): the password again, and what signing means."""

    password: str
    meaning: str


class Sessions:
    """Logins over the accounts of a gateway; every one, and every one that failed, is in the audit trail."""

    def __init__(self, users: Users, trail: Trail, settings: AccountsSection, *, clock: Callable[[], int]) -> None:
        self.users, self.trail, self.settings, self._clock = users, trail, settings, clock
        self.throttle = Throttle()
        self.accounts = Accounts(users, trail, clock=clock)

    def now(self) -> int:
        """ns UTC by the clock that sessions and their entries go by."""
        return self._clock()

    def open(self) -> bool:
        """Whether there are no accounts: everyone on this computer may act under the name they give."""
        return self.users.empty()

    def login(self, name: str, password: str, station: str, before: str | None = None) -> tuple[str, Session]:
        """A new session and the token for its cookie; NotLoggedIn, TooSoon, or AuditError when it cannot be written down.

        before  the token that the same browser had: its session ends, nobody would log out of it any more
        """
        account = self._verified(name.strip().lower(), password, station, "session")
        now = self._clock()
        token = secrets.token_urlsafe(32)
        self.trail.append(Actor(account.name, account.role, account.full_name, station), Act("login", "session"), now)
        oldest = now - int(self.settings.longest_s * 1e9)
        self.users.ask("DELETE FROM session WHERE begun_ns<? OR digest=?", oldest, _digest(before or ""))
        self.users.ask("INSERT INTO session VALUES (?,?,?,?,?,?)", _digest(token), account.name, secrets.token_urlsafe(24), station, now, now)
        found = self.find(token)
        assert found is not None
        return token, found

    def _verified(self, name: str, password: str, station: str, what: str) -> Account:
        now = self._clock()
        wait = self.throttle.attempt(name, station, now)
        if wait > 0:
            raise TooSoon(wait)
        account = self.users.verify(name, password)
        if account is None:
            # What was typed as a name may be a password: only names that exist are written down.
            known = self.users.get(name)
            actor = Actor(known.name, known.role, known.full_name, station) if known else Actor("", "", "", station)
            reason = "" if known is None else "account is disabled" if known.disabled else "wrong password"
            self.trail.append(actor, Act("login_failed", what, reason=reason or "unknown name"), now)
            raise NotLoggedIn("the name or the password is wrong")
        self.throttle.right(name, station)
        return account

    def find(self, token: str | None) -> Session | None:
        """The session of a cookie; None when there is none, it is over, or the person may no longer log in."""
        if not token:
            return None
        rows = self.users.ask("SELECT user, csrf, station, begun_ns, used_ns FROM session WHERE digest=?", _digest(token))
        if not rows:
            return None
        user, csrf, station, begun, used = rows[0]
        account = self.users.get(user)
        ends = min(used + int(self.settings.idle_s * 1e9), begun + int(self.settings.longest_s * 1e9))
        if account is None or account.disabled or not begun <= self._clock() < ends:
            return None
        return Session(account, csrf, station, begun, used, ends)

    def touch(self, token: str) -> None:
        """Somebody used the console."""
        self.users.ask("UPDATE session SET used_ns=? WHERE digest=?", self._clock(), _digest(token))

    def logout(self, token: str, session: Session) -> None:
        """End a session."""
        self.trail.append(session.actor(), Act("logout", "session"), self._clock())
        self.users.ask("DELETE FROM session WHERE digest=?", _digest(token))

    def own(self, actor: Actor, account: Account, what: str) -> None:
        """NotAllowed, with an audit entry, while the password is one that another person set."""
        if account.must_change:
            reason = "the password was set by another person; change it first, then log in again"
            self.trail.append(actor, Act("refused", what, reason=reason), self._clock())
            raise NotAllowed(reason)

    def allowed(self, session: Session, right: Right, what: str) -> None:
        """NotAllowed, with an audit entry, unless the role has the right and the password is the person's own."""
        self.own(session.actor(), session.account, what)
        if not session.account.may(right):
            reason = f"the role {session.account.role} may not {right.replace('_', ' ')}"
            self.trail.append(session.actor(), Act("refused", what, new=right, reason=reason), self._clock())
            raise NotAllowed(reason)

    def meaning(self, session: Session, right: Right, signature: Signature | None, *, always: bool = False) -> str:
        """The meaning to write into the entry of an action, after the password was checked again; empty where no signature is asked for."""
        if not always and right not in self.settings.sign:
            return ""
        if signature is None or not signature.meaning.strip():
            raise SignatureNeeded(f"to {right.replace('_', ' ')} needs a signature: the password again and a meaning")
        account = self._verified(session.account.name, signature.password, session.station, "signature")
        self.own(session.actor(), account, "signature")
        return signature.meaning.strip()

    def agreeing(self, session: Session, name: str, password: str) -> Account:
        """The account of a second person who agrees, at the same place; NotAllowed when it is the first."""
        account = self._verified(name.strip().lower(), password, session.station, "agreement")
        if account.name == session.account.name:
            raise NotAllowed(f"second: expected another person than {account.name}")
        self.own(Actor(account.name, account.role, account.full_name, session.station), account, "agreement")
        return account

    def change_password(self, session: Session, old: str, new: str) -> None:
        """Another password for oneself; all sessions of the person end."""
        account = self._verified(session.account.name, old, session.station, "password")
        check_password(new, account.name)
        if new == old:
            raise WrongAccount("password: expected another one than before, found the same")
        self.trail.append(session.actor(), Act("password", f"user {account.name}", reason="by the person"), self._clock())
        self.users.put(replace(account, must_change=False), new, self._clock())


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
