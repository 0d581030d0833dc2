"""Accounts, throttling and sessions, with a clock that is passed in."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import argon2
import pytest
from typer.testing import CliRunner

from edge_agent.core.throttle import Throttle
from gateway.__main__ import app
from gateway.audit import Trail, Wanted
from gateway.config import AccountsSection
from gateway.sessions import NotAllowed, NotLoggedIn, Sessions, Signature, SignatureNeeded, TooSoon
from gateway.users import FILE, RIGHTS, Users, WrongAccount

S = 10**9
QUICK = argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
PASSWORD = "correct horse battery"


class Desk:
    """Accounts, trail and sessions over one folder."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.now = 1_767_600_000 * S
        self.users = Users(folder, QUICK)
        self.trail = Trail(folder, zone="Asia/Shanghai", version="0.1.0")
        self.sessions = Sessions(self.users, self.trail, AccountsSection.model_validate(settings), clock=lambda: self.now)

    def add(self, name: str, role: str) -> None:
        self.users.put(self.users.check_new(name, name.title(), role), PASSWORD, self.now)

    def actions(self) -> list[str]:
        return [e["action"] for e in self.trail.entries()][::-1]

    def close(self) -> None:
        self.trail.close()
        self.users.close()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path, idle_s=600, longest_s=3600, sign=["acknowledge"])
    made.add("wang", "operator")
    made.add("zhao", "quality")
    yield made
    made.close()


def test_hashes_are_argon2id_and_the_file_is_its_owners(desk: Desk, tmp_path: Path) -> None:
    [(stored,)] = desk.users.ask("SELECT hash FROM user WHERE name='wang'")
    assert stored.startswith("$argon2id$")
    assert PASSWORD not in (tmp_path / FILE).read_bytes().decode("latin-1")
    assert (tmp_path / FILE).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("name", "full", "role", "password", "words"),
    [
        ("Wang Li", "x", "operator", PASSWORD, "a-z"),
        ("wang", "x", "operator", PASSWORD, "never used"),
        ("li", " ", "operator", PASSWORD, "printed"),
        ("li", "Li Na", "boss", PASSWORD, "viewer, operator"),
        ("li", "Li Na", "viewer", "short", "10 to"),
        ("li", "Li Na", "viewer", "aaaaaaaaaaaa", "again and again"),
        ("lina", "Li Na", "viewer", "my-Lina-password", "not the name"),
    ],
)
def test_wrong_accounts_are_refused(desk: Desk, name: str, full: str, role: str, password: str, words: str) -> None:
    with pytest.raises(WrongAccount, match=words):
        desk.users.put(desk.users.check_new(name, full, role), password, desk.now)


def test_login_logout_and_what_is_written_down(desk: Desk) -> None:
    token, session = desk.sessions.login(" Wang ", PASSWORD, "127.0.0.1")
    assert session.account.name == "wang"
    assert token not in str(desk.users.ask("SELECT * FROM session"))
    found = desk.sessions.find(token)
    assert found is not None
    desk.sessions.logout(token, found)
    assert desk.sessions.find(token) is None
    assert desk.actions() == ["login", "logout"]


def test_accounts_of_an_older_version_are_taken_over(tmp_path: Path) -> None:
    users = Users(tmp_path, QUICK)
    users.put(users.check_new("wang", "Wang Li", "operator"), PASSWORD, 1)
    users.ask("ALTER TABLE user DROP COLUMN must_change")
    users.close()
    again = Users(tmp_path, QUICK)
    found = again.verify("wang", PASSWORD)
    assert found is not None
    assert not found.must_change
    again.close()


def test_a_name_that_does_not_exist_is_not_written_down(desk: Desk) -> None:
    with pytest.raises(NotLoggedIn):
        desk.sessions.login("my secret password", "x", "127.0.0.1")
    entry = desk.trail.entries()[0]
    assert (entry["action"], entry["user"], entry["reason"]) == ("login_failed", "", "unknown name")
    with pytest.raises(NotLoggedIn):
        desk.sessions.login("wang", "x", "127.0.0.1")
    assert desk.trail.entries()[0]["user"] == "wang"


def test_wrong_passwords_slow_down_and_never_lock_out(desk: Desk) -> None:
    for _ in range(5):
        with pytest.raises(NotLoggedIn):
            desk.sessions.login("wang", "wrong", "10.0.0.7")
    with pytest.raises(TooSoon) as error:
        desk.sessions.login("wang", PASSWORD, "10.0.0.7")
    assert error.value.wait_s == 2.0
    # From the panel beside the line the same person gets in at once, and from there too after the wait.
    desk.sessions.login("wang", PASSWORD, "127.0.0.1")
    desk.now += 2 * S
    desk.sessions.login("wang", PASSWORD, "10.0.0.7")


def test_the_wait_never_exceeds_ten_seconds_and_attempts_at_once_all_count() -> None:
    throttle, now = Throttle(), 10**18
    for _ in range(200):
        wait = throttle.attempt("wang", "a", now)
        now += int(wait * S)
    assert wait == 10.0
    throttle = Throttle()
    free = sum(throttle.attempt(f"user{i}", "b", 10**18) == 0.0 for i in range(1000))
    assert free == 21
    assert throttle.attempt("wang", "c", 10**18) == 0.0
    assert throttle.attempt("user1", "b", 10**18 + 5 * S) == 0.0


def test_a_session_ends_without_use_and_at_the_end_of_the_shift(desk: Desk) -> None:
    token, _ = desk.sessions.login("wang", PASSWORD, "a")
    desk.now += 599 * S
    assert desk.sessions.find(token) is not None
    desk.sessions.touch(token)
    desk.now += 599 * S
    assert desk.sessions.find(token) is not None
    desk.now += 1 * S
    assert desk.sessions.find(token) is None
    token, _ = desk.sessions.login("wang", PASSWORD, "a")
    for _ in range(7):
        desk.now += 500 * S
        desk.sessions.touch(token)
    assert desk.sessions.find(token) is not None
    desk.now += 101 * S
    assert desk.sessions.find(token) is None


def test_sessions_outlive_a_restart_and_end_with_the_rights(desk: Desk, tmp_path: Path) -> None:
    token, _ = desk.sessions.login("wang", PASSWORD, "a")
    again = Desk(tmp_path)
    again.now = desk.now
    assert again.sessions.find(token) is not None
    again.users.put(again.users.known("wang"), "another password", again.now)
    assert again.sessions.find(token) is None
    with pytest.raises(NotLoggedIn):
        again.sessions.login("wang", PASSWORD, "a")
    again.close()


def test_a_disabled_account_cannot_log_in_or_go_on(desk: Desk) -> None:
    token, _ = desk.sessions.login("wang", PASSWORD, "a")
    desk.users.ask("UPDATE user SET disabled=1 WHERE name='wang'")
    assert desk.sessions.find(token) is None
    with pytest.raises(NotLoggedIn):
        desk.sessions.login("wang", PASSWORD, "a")
    assert desk.trail.entries(Wanted(action="login_failed"))[0]["reason"] == "account is disabled"


def test_roles_and_refusals(desk: Desk) -> None:
    _, session = desk.sessions.login("wang", PASSWORD, "a")
    desk.sessions.allowed(session, "acknowledge", "x")
    with pytest.raises(NotAllowed, match="operator may not read audit"):
        desk.sessions.allowed(session, "read_audit", "audit trail")
    assert desk.actions() == ["login", "refused"]
    assert "acknowledge" not in RIGHTS["security_admin"] | RIGHTS["system_admin"] | RIGHTS["audit_admin"] | RIGHTS["quality"] | RIGHTS["viewer"]


def test_a_signature_needs_the_password_again_and_a_meaning(desk: Desk) -> None:
    _, session = desk.sessions.login("wang", PASSWORD, "a")
    for missing in (None, Signature(PASSWORD, " ")):
        with pytest.raises(SignatureNeeded):
            desk.sessions.meaning(session, "acknowledge", missing)
    with pytest.raises(NotLoggedIn):
        desk.sessions.meaning(session, "acknowledge", Signature("wrong", "seen"))
    assert desk.actions()[-1] == "login_failed"
    assert desk.sessions.meaning(session, "acknowledge", Signature(PASSWORD, "seen")) == "seen"
    assert desk.sessions.meaning(session, "shelve", None) == ""


def test_ones_own_password(desk: Desk) -> None:
    token, session = desk.sessions.login("wang", PASSWORD, "a")
    with pytest.raises(NotLoggedIn):
        desk.sessions.change_password(session, "wrong", "another password")
    desk.sessions.change_password(session, PASSWORD, "another password")
    assert desk.sessions.find(token) is None
    desk.sessions.login("wang", "another password", "a")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files for somebody else")
def test_what_root_makes_for_a_service_belongs_to_the_service() -> None:
    nobody = 65534
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        path.chmod(0o755)
        data = path / "data"
        data.mkdir(mode=0o700)
        os.chown(data, nobody, nobody)
        (path / "gateway.yaml").write_text("gateway: {id: gw1, site: s, data_dir: data}\n")
        (path / "word").write_text("a long word 1\n")
        word = str(path / "word")
        add = ["user", "add", "-c", str(path / "gateway.yaml"), "wang", "--role", "operator", "--full-name", "W", "--password-file", word]
        done = CliRunner().invoke(app, add)
        assert (done.exit_code, os.geteuid()) == (0, 0), done.output
        made = list(data.rglob("*"))
        assert made
        assert {found.stat().st_uid for found in made} == {nobody}
