"""What the edge says is said in both languages at its panel, in the words of the gateway's console."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.gateway.console.refusals import CONDITIONS, ROOT, refusals

PANEL = ROOT / "edge_agent" / "local" / "static"
CONSOLE = ROOT / "gateway" / "console" / "static"
EDGE = ("lives.py", "rules.py", "saved.py", "standing.py")
PLACES = (*(f"edge_agent/alarms/{name}" for name in EDGE), *(f"edge_agent/local/{name}.py" for name in ("panel", "sessions", "desk")), *CONDITIONS)


def listed(path: Path, pattern: str) -> list[tuple[str, str]]:
    return re.findall(pattern, path.read_text("utf-8"), re.M)


def test_every_refusal_and_reason_that_the_edge_gives_can_be_said_in_chinese() -> None:
    said = [json.loads(form) for form, _ in listed(PANEL / "said.js", r'^  \[("(?:.*)"), ("(?:.*)")\],$')]
    forms = [re.compile("(.+)".join(map(re.escape, re.split(r"\{\w\}", form)))) for form in said]
    forms += [re.compile(form) for form, _ in listed(PANEL / "said.js", r"^  \[/\^(.+)\$/, (.+)\],$")]
    found = refusals(PLACES)
    assert [one for one in found if not any(form.fullmatch(one.replace("{}", "7")) for form in forms)] == []
    assert len(found) > 30


def test_the_words_are_those_of_the_console() -> None:
    chinese = json.loads((CONSOLE / "lang" / "zh.json").read_text("utf-8"))
    console = {json.loads(f'"{form}"'): chinese[f"said.{key}"] for form, key in listed(CONSOLE / "js" / "refusals.js", r'^  \["(.*)", "(\w+)"\],$')}
    panel = {json.loads(form): json.loads(words) for form, words in listed(PANEL / "said.js", r'^  \[("(?:.*)"), ("(?:.*)")\],$')}
    assert {form: words for form, words in panel.items() if console.get(form, words) != words} == {}
    assert len(panel.keys() & console.keys()) > 30
    for form, words in panel.items():
        assert sorted(re.findall(r"\{\w\}", form)) == sorted(re.findall(r"\{\w\}", words)), form


def test_its_colours_are_those_of_the_console() -> None:
    def palette(path: Path) -> set[tuple[str, str, str]]:
        blocks = re.findall(r'^:root(\[data-theme="dark"\])? \{(.*?)\}', path.read_text("utf-8"), re.S | re.M)
        return {(theme, name, value) for theme, block in blocks for name, value in re.findall(r"--([\w-]+): ([^;]+);", block)}

    panel = palette(PANEL / "panel.css")
    assert panel <= palette(CONSOLE / "console.css")
    assert len(panel) > 50
