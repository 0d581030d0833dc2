"""`make walk`: a stranger's first hour, timed: what docs/first-hour.md says, word for word, on a computer that has nothing and no network.

    python -m tests.deploy.stranger [--root DIR] [--bundle TAR] [--key maker.pub] [--pictures DIR]

A Debian base system boots in systemd-nspawn, with loopback as its only network device; a simulated tablet press there stands for the PLC. The
commands are read from the page and typed in its order; the console is used with a real Chromium in the same network. Machine time is measured. A
person's time is computed by the rule in RULE, from the words of the page, the characters typed and the things done. Needs root.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.sign import sign
from tests.deploy.bare import base_system

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "first-hour.md"
WORDS_A_MINUTE, CHARACTERS_A_SECOND, LOOK_S, ACT_S = 150, 3, 5, 5
RULE: Final = f"{WORDS_A_MINUTE} words a minute, {CHARACTERS_A_SECOND} characters a second, {LOOK_S} s for each answer, {ACT_S} s for each click"
FIRST, OWN = "the-first-word-1", "a-word-of-my-own-2"
INCLUDE: Final = "python3,ca-certificates,systemd,dbus"


@dataclass
class Step:
    """One section of the page."""

    title: str
    words: int
    commands: list[str]
    clicks: int = 0
    characters: int = 0
    machine_s: float = 0.0

    @property
    def person_s(self) -> float:
        """Seconds of a person, by the rule; waiting for the machine is not in it."""
        looked = len(self.commands) * LOOK_S + self.clicks * ACT_S
        return self.words * 60 / WORDS_A_MINUTE + self.characters / CHARACTERS_A_SECOND + looked


def steps() -> list[Step]:
    """The sections of the page with their commands; what stands before the first belongs to the first."""
    found: list[Step] = []
    parts = re.split(r"^## (.*)$", PAGE.read_text("utf-8").split("\n## What it takes")[0], flags=re.MULTILINE)
    words = len(parts[0].split())
    for title, text in zip(parts[1::2], parts[2::2], strict=True):
        blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
        plain = re.sub(r"^```sh\n.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
        commands = [line for block in blocks for line in block.splitlines()]
        found.append(Step(title.split(". ", 1)[1], words + len(plain.split()), commands, characters=sum(len(line) + 1 for line in commands)))
        words = 0
    return found


def _its_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Computer:
    """The booted base system."""

    def __init__(self, leader: int) -> None:
        self._enter = ["nsenter", "-t", str(leader), "-m", "-u", "-i", "-n", "-p", "-C"]
        self.leader, self.folder = leader, "/root"

    def typed(self, line: str, answers: tuple[str, ...] = ()) -> str:
        """Run a line as it stands on the page at a terminal; returns what was said. AssertionError when it fails."""
        # The base system has no sudo: whoever walks is root there.
        text = re.sub(r"\bsudo ", "", line)
        script = f"cd {self.folder}; {text} && pwd > /tmp/.where"
        clean = ["env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin", "HOME=/root", "LANG=C.UTF-8", "TERM=dumb", "SUDO_USER=li"]
        master, slave = pty.openpty()
        command = [*self._enter, *clean, "bash", "-c", script]
        child = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True, preexec_fn=_its_terminal,  # noqa: PLW1509 - no threads here
        )
        os.close(slave)
        said, waiting = "", list(answers)
        while True:
            ready, _, _ = select.select([master], [], [], 0.2)
            if ready:
                try:
                    said += os.read(master, 65536).decode("utf-8", "replace")
                except OSError:
                    break
                if waiting and said.rpartition("\n")[2].rstrip().endswith(":"):
                    os.write(master, (waiting.pop(0) + "\n").encode())
                    said += "\n"
            elif child.poll() is not None:
                break
        os.close(master)
        print("$", line, "\n" + said.replace("\r", "").rstrip(), flush=True)
        assert child.wait() == 0, f"{line}: exit code {child.returncode}"
        self.folder = self.quiet("cat", "/tmp/.where").strip()
        return said

    def quiet(self, *command: str) -> str:
        """Something that is no part of the walk."""
        return subprocess.run([*self._enter, *command], check=True, capture_output=True, text=True).stdout

    def in_its_network(self, command: list[str]) -> str:
        """A program of this computer with the network of that one."""
        return subprocess.run(["nsenter", "-t", str(self.leader), "-n", *command], check=True, stdout=subprocess.PIPE, text=True).stdout


@contextmanager
def booted(tree: Path) -> Iterator[Computer]:
    """Boot a base system and wait until it is up; afterwards it is gone."""
    command = ["systemd-nspawn", "-q", "-D", str(tree), "--private-network", "--boot", "--register=no", "--keep-unit", "--console=pipe", "-M", "walk"]
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 120
        while True:
            inside = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
            if inside:
                computer = Computer(int(inside[0]))
                asked = [*computer._enter, "systemctl", "is-system-running"]
                state = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
                if state in ("running", "degraded"):
                    break
            assert time.monotonic() < until, "the base system did not boot"
            time.sleep(0.5)
        assert computer.quiet("ls", "/sys/class/net").split() == ["lo"], "expected no network"
        yield computer
    finally:
        child.kill()  # nothing of it is kept, and all of it ends with it
        child.wait()


def console(pictures: Path) -> int:
    """The steps in the browser, run in the network of that computer; returns how many things were done."""
    from playwright.sync_api import expect, sync_playwright

    arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path="/usr/bin/chromium", args=arguments)
        page = browser.new_page(viewport={"width": 1600, "height": 1000}, locale="en-GB")
        page.set_default_timeout(60_000)
        expect.set_options(timeout=60_000)
        page.goto("http://127.0.0.1:8080/#/overview")
        expect(page.locator(".banner .mark")).to_be_visible()
        page.screenshot(path=pictures / "1-overview.png")
        page.goto("http://127.0.0.1:8080/#/trends?tag=line1-edge1:press1/main_force&span=300")
        expect(page.locator("canvas").first).to_be_visible()
        page.screenshot(path=pictures / "2-trend.png")
        page.keyboard.press("a")
        page.locator("dialog input[name=user]").fill("wang")
        page.locator("dialog input[name=password]").fill(FIRST)
        page.locator("dialog button.primary").click()
        own = page.locator("dialog input[type=password]")
        expect(own).to_have_count(2)
        own.nth(0).fill(FIRST)
        own.nth(1).fill(OWN)
        page.locator("dialog button.primary").click()
        expect(page.locator("dialog")).to_have_count(0)
        # Another password ends every session, this one too.
        expect(page.locator(".who")).to_have_text("Log in")
        page.keyboard.press("a")
        page.locator("dialog input[name=user]").fill("wang")
        page.locator("dialog input[name=password]").fill(OWN)
        page.locator("dialog button.primary").click()
        expect(page.locator(".who")).to_have_text("Wang Wei")
        expect(page.locator(".banner .mark")).to_have_class("mark p2 steady")
        page.screenshot(path=pictures / "3-acknowledged.png")
        browser.close()
    return 10  # address, Trends, + Tag, the tag, a, log in, change the password, a, log in, a look at the banner


def walk(computer: Computer, pictures: Path) -> list[Step]:
    """All steps in turn."""
    done = steps()
    for step in done:
        began = time.monotonic()
        for line in step.commands:
            computer.typed(line, (FIRST, FIRST) if " user add " in line else ())
        if step.title == "Install":
            step.machine_s = time.monotonic() - began
            computer.quiet("systemd-run", "--unit=plc", "/opt/pharmedge/current/bin/edge-sim", "run", "press", "--opcua-port", "4840")
            time.sleep(10)
            continue
        if step.title == "Run":
            step.characters += 2 * len(FIRST) + 2
        if step.title == "Look":
            told = computer.in_its_network([sys.executable, "-m", "tests.deploy.stranger", "--console", "--pictures", str(pictures)])
            step.clicks = int(told.split()[-1])
            step.characters += len("http://127.0.0.1:8080press1/main_forceawangawang") + 2 * len(FIRST) + 2 * len(OWN) + 6
        if step.title == "The real limit":
            until = time.monotonic() + 60
            asks = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8080/api/v1/alarms').read().decode())"
            while "press1/main_force.high" in computer.in_its_network([sys.executable, "-c", asks]):
                assert time.monotonic() < until, "the alarm did not clear"
                time.sleep(0.5)
        step.machine_s = time.monotonic() - began
    return done


def table(done: list[Step]) -> str:
    """The account, as the page shows it."""
    lines = ["| step | commands | characters | clicks | words to read | machine | person |", "|---|---|---|---|---|---|---|"]
    lines += [
        f"| {s.title} | {len(s.commands)} | {s.characters} | {s.clicks} | {s.words} | {s.machine_s:.0f} s | {s.person_s:.0f} s |" for s in done
    ]
    machine, person = sum(s.machine_s for s in done), sum(s.person_s for s in done)
    total = [sum(getattr(s, name) for s in done) for name in ("characters", "clicks", "words")]
    lines.append(f"| all | {sum(len(s.commands) for s in done)} | {total[0]} | {total[1]} | {total[2]} | {machine:.0f} s | {person:.0f} s |")
    lines.append(f"\nOf both together {(machine + person) / 60:.1f} min. A person: {RULE}.")
    return "\n".join(lines)


def signed(bundle: Path, folder: Path) -> None:
    """Lay the bundle into a folder, signed with a key made for it, and `maker.pub` beside it."""
    with tempfile.TemporaryDirectory() as work:
        key = Path(work, "maker.pem")
        subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", key], check=True, capture_output=True)
        subprocess.run(["openssl", "pkey", "-in", key, "-pubout", "-out", folder / "maker.pub"], check=True)
        tree = Path(work, "tree")
        tree.mkdir()
        subprocess.run(["tar", "-xzf", bundle, "-C", tree], check=True)
        (release,) = tree.iterdir()
        sign(release, key)
        subprocess.run(["tar", "-czf", folder / bundle.name, "-C", tree, release.name], check=True)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="tests.deploy.stranger")
    parser.add_argument("--root", type=Path, default=Path("build/booting"))
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--key", type=Path, required=False, help="the maker's public key; without it the bundle is signed with a key of this walk")
    parser.add_argument("--pictures", type=Path, default=Path("build/walk"))
    parser.add_argument("--console", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    asked.pictures.mkdir(parents=True, exist_ok=True)
    if asked.console:
        print(console(asked.pictures))
        return
    bundle = asked.bundle or max(Path("dist").glob("pharmedge-*.tar.gz"), key=lambda p: p.stat().st_mtime)
    asked.root.parent.mkdir(parents=True, exist_ok=True)
    base_system(asked.root, INCLUDE)
    tree = asked.root.with_name(f"{asked.root.name}.{os.getpid()}")
    if tree.exists():
        shutil.rmtree(tree)
    subprocess.run(["cp", "-a", "--reflink=auto", asked.root, tree], check=True)
    if asked.key is None:
        signed(bundle, tree / "root")
    else:
        shutil.copy(bundle, tree / "root")
        shutil.copy(asked.key, tree / "root" / "maker.pub")
    (tree / "etc" / "hosts").write_text("127.0.0.1 localhost PLC\n")
    try:
        with booted(tree) as computer:
            print(table(walk(computer, asked.pictures.resolve())))
    finally:
        shutil.rmtree(tree, ignore_errors=True)


if __name__ == "__main__":
    main()
