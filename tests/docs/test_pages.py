"""The pages say what is there: commands, links, sections, kinds."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from edge_agent.core.wire import KINDS

ROOT = Path(__file__).parents[2]
READMES = ("README.md", "README.zh-CN.md")
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in [*ROOT.glob("*.md"), *ROOT.joinpath("docs").rglob("*.md")])
PROGRAMS = {"edge-agent": "edge_agent", "edge-gateway": "gateway", "edge-sim": "simulators"}


def read(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def blocks(text: str) -> list[str]:
    return re.findall(r"^```.*?^```$", text, re.DOTALL | re.MULTILINE)


@cache
def commands(program: str) -> dict[str, set[str]]:
    """Every command of a program, groups joined with a space, with its options."""
    app: typer.Typer = __import__(f"{PROGRAMS[program]}.__main__", fromlist=["app"]).app
    found: dict[str, set[str]] = {}

    def walk(command: object, name: str) -> None:
        inner = getattr(command, "commands", None)
        if inner is None:
            found[name] = {option for parameter in getattr(command, "params", ()) for option in parameter.opts + parameter.secondary_opts}
        else:
            for key, value in inner.items():
                walk(value, f"{name} {key}".strip())

    walk(get_command(app), "")
    return found


def used() -> list[tuple[str, str, str]]:
    """(page, program, line) of every command line on every page."""
    lines = []
    for page in PAGES:
        for block in blocks(read(page)):
            for line in block.splitlines():
                program = line.split(" ")[0]
                if program in PROGRAMS:
                    lines.append((page, program, line))
        for program, rest in re.findall(r"`(edge-agent|edge-gateway|edge-sim) ([^`]+)`", read(page)):
            lines.append((page, program, f"{program} {rest}"))
    return sorted(set(lines))


@pytest.mark.parametrize(("page", "program", "line"), used())
def test_a_command_on_a_page_exists_with_its_options(page: str, program: str, line: str) -> None:
    known = commands(program)
    words = line.split()[1:]
    name = next((" ".join(words[:n]) for n in (2, 1) if " ".join(words[:n]) in known), None)
    assert name is not None, f"{page}: expected a command of {program} ({', '.join(sorted(known))}), found {line!r}"
    for option in re.findall(r"(?<=\s)(--?[a-z][a-z-]*)", line):
        assert option in known[name], f"{page}: expected an option of {program} {name} ({', '.join(sorted(known[name]))}), found {option}"


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_command_and_option_has_a_help_text(program: str) -> None:
    app: typer.Typer = __import__(f"{PROGRAMS[program]}.__main__", fromlist=["app"]).app
    silent: list[str] = []

    def walk(command: object, name: str) -> None:
        parameters = [p for p in getattr(command, "params", ()) if p.name != "help" and not getattr(p, "help", None)]
        silent.extend(f"{name} {p.name}" for p in parameters)
        inner = getattr(command, "commands", None)
        if inner is None and not getattr(command, "help", None):
            silent.append(name)
        for key, value in (inner or {}).items():
            walk(value, f"{name} {key}")

    walk(get_command(app), program)
    assert silent == []


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_answers_to_help(program: str) -> None:
    done = subprocess.run([sys.executable, "-m", PROGRAMS[program], "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage" in done.stdout


def test_make_targets_on_the_pages_exist() -> None:
    targets = {name for line in re.findall(r"^([a-z ]+):", read("Makefile"), re.MULTILINE) for name in line.split()}
    for page in PAGES:
        named = set(re.findall(r"^make ([a-z]+)$", read(page), re.MULTILINE)) | set(re.findall(r"`make ([a-z]+)`", read(page)))
        assert named <= targets, page


def test_both_readmes_have_the_same_sections_commands_and_drawings() -> None:
    english, chinese = (read(name) for name in READMES)
    levels = [
        [line.split(" ")[0] for line in text.splitlines() if re.match(r"#+ ", line) and not re.match(r"# [a-z]", line)] for text in (english, chinese)
    ]
    assert levels[0] == levels[1]
    assert blocks(english) == blocks(chinese)
    links = [sorted(re.findall(r"\]\(((?!README)[^)]*)\)", text)) for text in (english, chinese)]
    assert [link.replace("-zh", "-en") for link in links[1]] == links[0]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    folder = (ROOT / page).parent
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", read(page)):
        assert link.startswith("https://") or (folder / link).exists(), f"{page}: {link}"


@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith("docs/decisions/")])
def test_a_decision_has_status_context_and_decision(page: str) -> None:
    text = read(page)
    number = Path(page).name[:4]
    assert re.match(rf"# {number} \S", text), "the title begins with the number of the file"
    assert re.findall(r"^## (.+)$", text, re.MULTILINE)[:3] == ["Status", "Context", "Decision"]
    assert text.partition("## Status")[2].strip().split()[0].strip(".") in {"Accepted", "Proposed", "Superseded"}
    assert len(text.splitlines()) <= 60, "one page"


def test_decisions_have_numbers_of_their_own() -> None:
    numbers = [Path(page).name[:4] for page in PAGES if page.startswith("docs/decisions/")]
    assert len(numbers) == len(set(numbers)) >= 8


def test_every_kind_of_frame_is_on_the_page() -> None:
    rows = {int(kind) for kind in re.findall(r"^\| (\d+) \| ", read("docs/wire-format.md").partition("## Kinds")[2], re.MULTILINE)}
    assert rows == {*KINDS.values(), 64, 65, 70}


def test_registered_kinds_are_described() -> None:
    text = read("docs/configuration.md")
    for place in ("sources", "models", "alarms", "uplinks"):
        assert re.search(rf"### agent: `{place}\[\] \(\w+\)`", text), place
    assert "### gateway: `targets[] (" in text
