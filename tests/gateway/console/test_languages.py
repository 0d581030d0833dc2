"""Both dictionaries are complete, and the pages use only words that are in them."""

from __future__ import annotations

import json
import re

from gateway.audit import EXCEPTIONS
from gateway.console.app import STATIC
from models import BANKS, GROUPS
from models.drift import Drift
from tests.gateway.console.refusals import refusals

LANGUAGES = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted((STATIC / "lang").glob("*.json"))}
SOURCES = "\n".join(path.read_text("utf-8") for path in sorted((STATIC / "js").glob("*.js")))


def test_every_module_is_asked_for_with_the_page_and_not_one_after_the_other() -> None:
    asked = re.findall(r'modulepreload" href="js/(\w+)\.js"', (STATIC / "index.html").read_text("utf-8"))
    assert sorted([*asked, "main"]) == sorted(path.stem for path in (STATIC / "js").glob("*.js"))


def test_there_are_two_languages_with_the_same_keys() -> None:
    assert sorted(LANGUAGES) == ["en", "zh"]
    assert set(LANGUAGES["en"]) == set(LANGUAGES["zh"])


def test_the_same_values_are_put_into_both() -> None:
    for key, words in LANGUAGES["en"].items():
        assert words.strip(), key
        assert LANGUAGES["zh"][key].strip(), key
        assert sorted(re.findall(r"\{(\w+)\}", words)) == sorted(re.findall(r"\{(\w+)\}", LANGUAGES["zh"][key])), key


def test_every_word_that_a_page_asks_for_is_there() -> None:
    known = set(LANGUAGES["en"])
    fixed = set(re.findall(r"""\bt\(\s*["']([^"']+)["']""", SOURCES))
    assert fixed
    assert fixed <= known, fixed - known
    for prefix in set(re.findall(r"""\b(?:t|has)\(\s*`([\w.]+\.)\$\{""", SOURCES)):
        assert any(key.startswith(prefix) for key in known), prefix


def test_no_word_is_left_over() -> None:
    prefixes = tuple(set(re.findall(r"""\b(?:t|has)\(\s*`([\w.]+\.)\$\{""", SOURCES)))
    unused = [key for key in LANGUAGES["en"] if f'"{key}"' not in SOURCES and not key.startswith(prefixes)]
    assert unused == []


def said() -> dict[str, str]:
    """The forms that the console can say in another language, each with its key."""
    return {
        json.loads(f'"{form}"'): key
        for form, key in re.findall(r'^  \["(.*)", "(\w+)"\],$', (STATIC / "js" / "refusals.js").read_text("utf-8"), re.M)
    }


def test_every_refusal_and_every_reason_of_edge_and_gateway_can_be_said_in_both_languages() -> None:
    forms = [re.compile("(.+)".join(map(re.escape, re.split(r"\{\w\}", form)))) for form in said()]
    told = re.findall(r"^  \[/\^(.+)\$/", (STATIC / "js" / "said.js").read_text("utf-8"), re.M)
    forms += [re.compile(form) for form in told]
    missing = {one: place for one, place in refusals().items() if not any(form.fullmatch(one.replace("{}", "7")) for form in forms)}
    assert missing == {}
    assert len(refusals()) > 100


def test_each_of_these_forms_has_its_words_with_the_same_values() -> None:
    for form, key in said().items():
        for words in LANGUAGES.values():
            assert sorted(re.findall(r"\{\w\}", words[f"said.{key}"])) == sorted(re.findall(r"\{\w\}", form)), form


def test_chinese_uses_the_terms_of_the_plant() -> None:
    zh = LANGUAGES["zh"]
    assert (zh["page.alarms"], zh["ack.do"], zh["state.SHLVD"], zh["state.DSUPR"]) == ("报警", "确认", "已搁置", "已抑制")
    assert (zh["alarm.first_out"], zh["tag"], zh["role.batch"], zh["role.phase"]) == ("首出", "测点", "批次", "工序")


def test_nothing_is_loaded_from_elsewhere_and_no_text_becomes_markup() -> None:
    for path in STATIC.rglob("*"):
        if path.suffix in (".js", ".css", ".html") and "vendor" not in path.parts:
            source = path.read_text("utf-8")
            assert not re.search(r"""https?://(?!www\.w3\.org/)""", source), path
            assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", source), path


def test_the_vendored_chart_keeps_its_licence_and_version() -> None:
    folder = STATIC / "vendor" / "uplot"
    assert "MIT" in (folder / "LICENSE").read_text("utf-8")
    assert "1.6.32" in (folder / "VERSION").read_text("utf-8")


def test_every_action_that_the_audit_trail_can_be_asked_for_has_its_word() -> None:
    audit = (STATIC / "js" / "audit.js").read_text("utf-8")
    listed = re.search(r"const actions = \[(.*?)\]", audit, re.S)
    assert listed
    asked = set(re.findall(r'"(\w+)"', listed[1]))
    assert {"set_mode", "unit_mode_refused", "people_refused", "model_refused", "clock_step"} <= asked
    assert {f"audit.is.{action}" for action in (*asked, *EXCEPTIONS)} <= set(LANGUAGES["zh"])


# Their pages have words of their own for what they put out.
RECORDS = {"cold_chain", "sterilisation", "energy", "oee", "wear", "remaining"}


def test_every_model_and_every_number_that_it_gives_for_a_reason_has_its_word() -> None:
    models = {**BANKS, **GROUPS, "drift": Drift}
    wanted = {f"reason.{reason}" for model in models.values() for reason in model.reasons}
    wanted |= {f"output.{output}" for kind, model in models.items() if kind not in RECORDS for output in model.outputs}
    assert wanted | {f"kind.{kind}" for kind in models if kind not in RECORDS} <= set(LANGUAGES["zh"])
