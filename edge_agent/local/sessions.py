"""Who stands at the panel: login against the kept list, sessions that fall back to looking, and a note in the journal for each."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from edge_agent.core import PharmedgeError
from edge_agent.core.people import Person
from edge_agent.core.throttle import Throttle
from edge_agent.local.people import KnownPeople

STATION: Final = "panel"
LONGEST_S: Final = 43_200.0
MOST: Final = 64
PASSWORD_MAX: Final = 1024


class NotLoggedIn(PharmedgeError):
    """A person must log in first, or gave the wrong password."""


class NotAllowed(PharmedgeError):
    """The request does not carry the session's token, or the person only agrees with others."""


class TooSoon(PharmedgeError):
    """Too many wrong passwords."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"too many wrong passwords for this name; try again in {max(1, round(wait_s))} s")
        self.wait_s = wait_s


@dataclass(slots=True)
class Session:
    """One login; it ends `idle_s` after its last use."""

    person: Person
    csrf: str
    begun_ns: int
    used_ns: int


Told = Callable[[str, Person, str], None]
"""Puts what happened into the journal: action, person, reason."""


class PanelSessions:
    """Logins; they live in memory: behind a restart the panel looks only."""

    def __init__(self, people: KnownPeople, idle_s: float, *, clock: Callable[[], int], tell: Told) -> None:
        self.people, self._idle_ns, self._clock, self._tell = people, int(idle_s * 1e9), clock, tell
        self._throttle = Throttle()
        self._sessions: dict[str, Session] = {}
        self._turns = threading.BoundedSemaphore(2)
        self._nobody = ""

    def login(self, name: str, password: str) -> tuple[str, Session]:
        """A new session and its token; NotLoggedIn, TooSoon or NotAllowed. Takes as long as argon2 does: not on the event loop."""
        person = self.verified(name, password, "login")
        if not person.acts:
            self._tell("login_failed", person, "may only agree here")
            raise NotAllowed(f"the role {person.role} agrees here with what another does and does not act")
        now, token = self._clock(), secrets.token_urlsafe(32)
        self._tell("login", person, "")
        self._sessions = {t: s for t, s in self._sessions.items() if self._lives(s, now)}
        while len(self._sessions) >= MOST:
            del self._sessions[next(iter(self._sessions))]
        self._sessions[token] = Session(person, secrets.token_urlsafe(24), now, now)
        return token, self._sessions[token]

    def verified(self, name: str, password: str, what: str) -> Person:
        """The person whose password it is; NotLoggedIn or TooSoon."""
        name = name.strip().lower()
        wait = self._throttle.attempt(name, STATION, self._clock())
        if wait > 0:
            raise TooSoon(wait)
        person = self.people.find(name)
        if not self._right(person, password):
            # What was typed as a name may be a password: only names that exist are written down.
            if person is not None:
                self._tell("login_failed", person, f"wrong password for {what}")
            raise NotLoggedIn("the name or the password is wrong")
        assert person is not None
        self._throttle.right(name, STATION)
        if person.must_change:  # whoever set it could act and agree in their name
            self._tell("login_failed", person, f"password set by another person, for {what}")
            raise NotAllowed("the password was set by another person; change it at the console first")
        return person

    def _right(self, person: Person | None, password: str) -> bool:
        import argon2

        hasher = argon2.PasswordHasher()
        with self._turns:
            if person is None:
                # As slow for names that do not exist.
                self._nobody = self._nobody or hasher.hash("nobody has this password")
            try:
                hasher.verify(person.hash if person is not None else self._nobody, password[:PASSWORD_MAX])
            except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
                return False
        return person is not None

    def _lives(self, session: Session, now: int) -> bool:
        known = self.people.find(session.person.name)
        return (
            known == session.person
            and session.used_ns <= now < session.used_ns + self._idle_ns
            and now < session.begun_ns + int(LONGEST_S * 1e9)
        )  # fmt: skip

    def find(self, token: str | None) -> Session | None:
        """The session of a cookie; None when it is over, or the person's role or password changed since."""
        session = self._sessions.get(token or "")
        return session if session is not None and self._lives(session, self._clock()) else None

    def acting(self, token: str | None, csrf: str) -> Session:
        """The session of a request that changes something, and its use; NotLoggedIn without one, NotAllowed without its token."""
        session = self.find(token)
        if session is None:
            raise NotLoggedIn("log in first; looking needs no login")
        if not secrets.compare_digest(csrf.encode(), session.csrf.encode()):
            raise NotAllowed("X-CSRF-Token: expected the token of this session, found another or none; reload the page")
        session.used_ns = self._clock()
        return session

    def ends_ns(self, session: Session) -> int:
        """When it ends if nobody uses it."""
        return min(session.used_ns + self._idle_ns, session.begun_ns + int(LONGEST_S * 1e9))

    def logout(self, token: str, session: Session) -> None:
        """End a session."""
        self._tell("logout", session.person, "")
        self._sessions.pop(token, None)
