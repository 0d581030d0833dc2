"""What the doctor sees, each in a healthy and in a sick form."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest

from edge_agent.core import diagnosis
from tests.certificates import certificates


def test_room_and_the_length_of_a_durable_write(tmp_path):
    room, sync = diagnosis.disk(tmp_path / "not yet", 1)
    assert (room.state, sync.what) == ("ok", "durable writes")
    assert sync.said.split()[1] == "ms"
    assert diagnosis.disk(tmp_path, 1 << 62)[0].state == "look"


@pytest.mark.parametrize(
    ("now", "newest", "sync", "state", "word"),
    [
        (1_800_000_000, 0, True, "ok", "synchronised"),
        (1_800_000_000, 0, None, "ok", "does not tell"),
        (1_800_000_000, 0, False, "look", "nothing synchronises"),
        (1_800_000_000, 1_800_000_100 * 10**9, True, "look", "100 s before the newest entry"),
        (3600, 0, True, "wrong", "1970-01-01"),
    ],
)
def test_clocks(now, newest, sync, state, word):
    found = diagnosis.clock(now, newest, lambda: sync)
    assert found.state == state
    assert word in found.said


def test_certificates_are_told_before_and_after_they_expire(tmp_path):
    path = certificates(tmp_path, "127.0.0.1").cert
    days, _ = diagnosis.expiry(path, time.time())
    assert days is not None
    now = time.time()
    assert diagnosis.certificate("x", path, now + (days + 1) * 86400).state == "wrong"
    assert diagnosis.certificate("x", path, now).state == "look"
    assert diagnosis.certificate("x", path, now - 40 * 365 * 86400).state == "wrong"
    assert diagnosis.certificate("x", tmp_path / "none.pem", now).state == "wrong"
    wrong = tmp_path / "wrong.der"
    wrong.write_bytes(b"nothing")
    assert "something else" in diagnosis.certificate("x", wrong, now).said


def test_who_answers_and_which_port_is_free():
    with socket.create_server(("127.0.0.1", 0)) as server:
        number = server.getsockname()[1]
        assert diagnosis.reach("broker", "127.0.0.1", number).state == "ok"
        assert diagnosis.port("http", "127.0.0.1", number, ours=False).state == "wrong"
        assert diagnosis.port("http", "127.0.0.1", number, ours=True).state == "ok"
    assert "nobody listens" in diagnosis.reach("broker", "127.0.0.1", number).said
    assert diagnosis.reach("broker", "no-such-host.invalid", 1).state == "wrong"
    assert diagnosis.port("http", "127.0.0.1", 0, ours=False).state == "ok"


def test_secrets_that_everyone_can_read_and_folders_that_everyone_can_write(tmp_path):
    path = tmp_path / "password"
    path.write_text("x")
    path.chmod(0o600)
    assert diagnosis.private("p", path).state == "ok"
    path.chmod(0o644)
    assert diagnosis.private("p", path).state == "look"
    assert diagnosis.private("p", tmp_path / "none").state == "wrong"
    assert diagnosis.own_folder("d", tmp_path).state == "ok"
    assert diagnosis.own_folder("d", tmp_path / "later").said.endswith("will be made")
    tmp_path.chmod(0o777)
    assert diagnosis.own_folder("d", tmp_path).state == "look"
    tmp_path.chmod(0o700)


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_folder_of_somebody_else():
    assert diagnosis.own_folder("d", Path("/")).state == "wrong"
