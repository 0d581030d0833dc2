"""The tools around the code do what they say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SKIPS = """
import pytest

def test_browser():
    pytest.skip("needs a browser")

@pytest.mark.skipif(True, reason="needs mosquitto on the PATH")
def test_broker():
    pass

def test_capability():
    pytest.skip("this source has no timestamps")

def test_fine():
    pass
"""


@pytest.mark.system
@pytest.mark.parametrize(("ci", "summary"), [("", "1 passed, 3 skipped"), ("true", "1 failed, 1 passed, 1 skipped, 1 error")])
def test_a_skip_for_want_of_something_fails_where_ci_is_set(tmp_path: Path, ci: str, summary: str) -> None:
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    (tmp_path / "test_skips.py").write_text(SKIPS)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", str(tmp_path / "pytest.ini"), str(tmp_path)]
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    done = subprocess.run(command, cwd=tmp_path, env={**os.environ, "CI": ci}, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip().splitlines()[-1].startswith(summary), done.stdout + done.stderr


@pytest.mark.system
def test_a_module_that_is_skipped_whole_fails_too(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    (tmp_path / "test_whole.py").write_text('import pytest\npytest.skip("needs chromium", allow_module_level=True)\n')
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", str(tmp_path / "pytest.ini"), str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, env={**os.environ, "CI": "1"}, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "skipped although CI is set: needs chromium" in done.stdout


def test_what_a_test_is_skipped_without_is_installed_before_the_tests() -> None:
    text = "".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    wanted = set(re.findall(r'skipif\(shutil\.which\("([\w-]+)"\) is None, reason="needs', text)) - {"sha256sum"}  # it is part of every base system
    assert {"openssl", "systemd-analyze"} <= wanted
    assert wanted <= set(re.findall(r"command -v ([\w-]+)", (ROOT / ".ci" / "run").read_text("utf-8")))


def test_make_says_what_it_would_do() -> None:
    command = ["make", "--no-print-directory", "--dry-run", "--always-make", "test"]
    alone = {name: value for name, value in os.environ.items() if not name.startswith("MAKE") and name != "ARGS"}
    said = subprocess.run(command, cwd=ROOT, env=alone, capture_output=True, text=True, timeout=20, check=True).stdout
    assert said.rstrip().endswith("-m pytest --numprocesses 3 --dist loadfile")
    for step in ("--require-hashes", "ruff check", "bin/mypy", "lint-imports"):
        assert step in said


@pytest.mark.system
def test_make_refuses_an_old_python_by_name(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2 && exit 0\nexit 1\n')
    old.chmod(0o755)
    for name in ("python3.11", "python"):
        (tmp_path / name).symlink_to(old)
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text())
    for name in ("requirements.lock", "pyproject.toml"):
        (tmp_path / name).touch()
    environment = {**os.environ, "PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(["make", "venv"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode != 0
    assert "expected Python 3.11 or newer" in done.stderr
    assert "found Python 3.9.2" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_the_ci_entry_is_sound_bash_and_says_that_it_is_ci() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", str(script)], check=True, timeout=20)
    text = script.read_text()
    assert "export CI=true" in text
    assert text.rstrip().splitlines()[-1].startswith("make test ")


def test_the_lock_has_hashes_and_no_hosts() -> None:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pinned = [line for line in lines if line and not line.startswith((" ", "#"))]
    assert pinned
    assert all("==" in line and line.endswith("\\") for line in pinned)
    assert not [line for line in lines if "://" in line or line.startswith("-")]


def test_the_licence_is_whole() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert len(text) > 11_000
