"""Every mistake of a configuration at once, each with its line."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from edge_agent.core import ConfigError, Mistake, settings
from edge_agent.core.settings import Place, Section, Settings, key_text, load, read_yaml, secret


class Edge(Section):
    id: str = Field(min_length=1)
    data_dir: Path = Path("data")
    simulated: bool = False
    period_s: float = Field(default=1.0, gt=0)


class Serial(Section):
    kind: Literal["serial"]
    name: str
    baud: int = 9600


class Network(Section):
    kind: Literal["network"]
    name: str
    host: str = "127.0.0.1"
    port: int = Field(default=1883, ge=1, le=65535)


class Plant(Settings):
    edge: Edge
    sources: tuple[Annotated[Serial | Network, Field(discriminator="kind")], ...] = ()
    cause: dict[str, str] = {}

    def mistakes(self) -> Iterable[tuple[Place, str, str]]:
        names = [s.name for s in self.sources]
        for i, name in enumerate(names):
            if name in names[:i]:
                yield ("sources", i, "name"), "a name of its own", repr(name)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "agent.yaml"


def said(file: Path, text: str, **more: Any) -> list[str]:
    """Each mistake in the file of that text, without the folder."""
    file.write_text(text, "utf-8")
    with pytest.raises(ConfigError) as caught:
        load(Plant, file, **more)
    assert str(caught.value).splitlines() == [str(m) for m in caught.value.mistakes]
    return [str(m).replace(str(file), file.name) for m in caught.value.mistakes]


def test_six_mistakes_are_named_at_once_each_on_its_line(file: Path) -> None:
    text = """\
edge:
  id: ""
  simulated: perhaps
  periods_s: 2
sources:
  - kind: serial
    name: a
    baud: fast
  - {kind: network, name: b, port: 70000}
  - kind: carrier_pigeon
    name: c
"""
    assert said(file, text) == [
        "agent.yaml:2: edge.id: expected a text of at least 1 character, found ''",
        "agent.yaml:3: edge.simulated: expected true or false, found 'perhaps'",
        "agent.yaml:4: edge.periods_s: expected no such key, found 'periods_s'",
        "agent.yaml:8: sources[0].baud: expected a whole number, found 'fast'",
        "agent.yaml:9: sources[1].port: expected a number at most 65535, found 70000",
        "agent.yaml:10: sources[2]: expected `kind` to be one of 'serial', 'network', found {'kind': 'carrier_pigeon', 'name': 'c'}",
    ]


def test_what_is_missing_is_named_where_it_should_be(file: Path) -> None:
    assert said(file, "edge:\n  simulated: true\nsources:\n  - kind: serial\n") == [
        "agent.yaml:1: edge.id: expected a value, found nothing",
        "agent.yaml:4: sources[0].name: expected a value, found nothing",
    ]
    assert said(file, "") == ["agent.yaml:1: edge: expected a value, found nothing"]


def test_mistakes_between_sections_come_when_each_section_is_right(file: Path) -> None:
    text = "edge: {id: e}\nsources:\n  - {kind: serial, name: a}\n  - kind: network\n    name: a\n"
    assert said(file, text) == ["agent.yaml:5: sources[1].name: expected a name of its own, found 'a'"]


def test_a_key_given_twice_is_refused_on_its_second_line(file: Path) -> None:
    assert said(file, "edge:\n  id: a\n  period_s: x\n  id: b\n") == [
        "agent.yaml:3: edge.period_s: expected a number, found 'x'",
        "agent.yaml:4: edge.id: expected each key once, found it twice",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- 1\n", "agent.yaml:1: (file): expected a mapping of sections, found list"),
        ("just text\n", "agent.yaml:1: (file): expected a mapping of sections, found str"),
        ("edge: [x\n", "agent.yaml:2: (file): expected valid YAML, found expected ',' or ']', but got '<stream end>'"),
        ("edge:\n\tid: x\n", "agent.yaml:2: (file): expected valid YAML, found character '\\t' that cannot start any token"),
        ("edge: {id: e}\n---\nedge: {id: f}\n", "agent.yaml:2: (file): expected valid YAML, found another document"),
        ("edge: {id: e}\n1: x\n", "agent.yaml:2: (file): expected a text as key, in quotes if need be, found 1"),
        ("edge:\n  id: e\n  on: x\n", "agent.yaml:3: edge: expected a text as key, in quotes if need be, found on"),
        ("edge: &e\n  id: e\n  more: *e\n", "agent.yaml:3: edge.more: expected an anchor that does not contain itself, found one that does"),
        ("edge: {id: e, period_s: .nan}\n", "agent.yaml:1: edge.period_s: expected a finite number, found nan"),
        ("edge: {id: e, period_s: 0}\n", "agent.yaml:1: edge.period_s: expected a number greater than 0.0, found 0"),
        ("edge: {id: 5}\n", "agent.yaml:1: edge.id: expected a text, found 5"),
        ("edge: 2026-01-01\n", "agent.yaml:1: edge: expected a mapping, found '2026-01-01'"),
        ("edge: {id: e}\nsources: 3\n", "agent.yaml:2: sources: expected a list, found 3"),
        ("edge: {id: e}\nsources:\n  - text\n", "agent.yaml:3: sources[0]: expected a mapping, found 'text'"),
    ],
)
def test_one_mistake(file: Path, text: str, expected: str) -> None:
    assert said(file, text) == [expected]


def test_nothing_but_plain_data_is_built(file: Path) -> None:
    (mistake,) = said(file, "edge: !!python/object/apply:os.getcwd []\n")
    assert "could not determine a constructor" in mistake


def test_a_file_that_cannot_be_read_is_named(file: Path) -> None:
    file.write_bytes(b"edge: \xff\xfe")
    with pytest.raises(ConfigError, match="expected a readable UTF-8 file"):
        read_yaml(file)
    with pytest.raises(ConfigError, match="expected a readable UTF-8 file"):
        load(Plant, file.with_name("none.yaml"))


def test_dates_stay_text_and_anchors_work(file: Path) -> None:
    file.write_text("edge: {id: 2026-01-01}\ncause: &c {en: 2026-01-01T00:00:00Z, zh: 停机}\n", "utf-8")
    plant = load(Plant, file)
    assert (plant.edge.id, plant.cause) == ("2026-01-01", {"en": "2026-01-01T00:00:00Z", "zh": "停机"})


def test_command_line_over_environment_over_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("edge: {id: of-file, period_s: 1, data_dir: f}\n")
    monkeypatch.setenv("PHARMEDGE_EDGE__ID", "of-environment")
    monkeypatch.setenv("PHARMEDGE_EDGE__PERIOD_S", "2.5")
    monkeypatch.setenv("PHARMEDGE_UNRELATED", "1")
    plant = load(Plant, file, overrides={"edge": {"period_s": 4, "data_dir": None}})
    assert (plant.edge.id, plant.edge.period_s, plant.edge.data_dir) == ("of-environment", 4, Path("f"))


def test_the_environment_may_set_what_the_file_leaves_out(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("")
    monkeypatch.setenv("PHARMEDGE_EDGE__ID", "e")
    monkeypatch.setenv("PHARMEDGE_EDGE__SIMULATED", "true")
    assert load(Plant, file).edge.simulated


def test_mistakes_in_variables_and_on_the_command_line_say_so(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHARMEDGE_EDGE__PERIOD_S", "soon")
    monkeypatch.setenv("PHARMEDGE_EDGE__COLOUR", "red")
    assert said(file, "edge:\n  id: 7\n", overrides={"edge": {"simulated": "maybe"}}) == [
        "agent.yaml:2: edge.id: expected a text, found 7",
        "command line:1: edge.simulated: expected true or false, found 'maybe'",
        "environment:1: PHARMEDGE_EDGE__PERIOD_S: expected a number, found 'soon'",
        "environment:1: PHARMEDGE_EDGE__COLOUR: expected no such key, found 'colour'",
    ]


def test_a_variable_that_is_no_json_is_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHARMEDGE_EDGE", "{id")
    assert said(file, "edge: {id: e}\n") == ["environment:1: PHARMEDGE_EDGE: expected JSON, or one variable for each key, found '{id'"]


def test_places_from_another_file_are_named_there(file: Path) -> None:
    def expand(data: dict[str, Any], path: Path) -> tuple[dict[str, Any], dict[Place, tuple[str, int]], list[Mistake]]:
        assert path == file
        rows = [{"kind": "serial", "name": "ok"}, {"kind": "serial", "name": "bad", "baud": "x"}]
        return {**data, "sources": rows}, {("sources", 0): ("sources.csv", 2), ("sources", 1): ("sources.csv", 3)}, []

    assert said(file, "edge: {id: 1}\n", expand=expand) == [
        "agent.yaml:1: edge.id: expected a text, found 1",
        "sources.csv:3: sources[1].baud: expected a whole number, found 'x'",
    ]


def test_mistakes_found_while_expanding_join_those_of_the_file(file: Path) -> None:
    def expand(data: dict[str, Any], path: Path) -> tuple[dict[str, Any], dict[Place, tuple[str, int]], list[Mistake]]:
        return data, {}, [Mistake("tags.csv", 9, "unit", "a text", "nothing")]

    assert said(file, "edge: {id: a}\nedge: {id: b}\n", expand=expand) == [
        "agent.yaml:2: edge: expected each key once, found it twice",
        "tags.csv:9: unit: expected a text, found nothing",
    ]


def test_a_long_value_is_shortened(file: Path) -> None:
    (mistake,) = said(file, "edge: {id: e, period_s: " + "x" * 500 + "}\n")
    assert len(mistake) < 160
    assert mistake.endswith("...")


def test_settings_are_frozen(file: Path) -> None:
    file.write_text("edge: {id: e}\n")
    plant = load(Plant, file)
    with pytest.raises(ValueError, match="frozen"):
        plant.edge.id = "other"


def test_places_as_people_write_them() -> None:
    assert [key_text(p) for p in ((), ("a",), ("a", 1, "b"), ("a", 0, 1))] == ["(file)", "a", "a[1].b", "a[0][1]"]


def test_secrets_are_read_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text("s3cret \r\n")
    assert secret(None) is None
    assert secret(tmp_path / "token") == "s3cret "
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert secret(Path("token")) == "s3cret "
    with pytest.raises(ConfigError, match=r"nowhere:1: \(file\): expected a readable secret file"):
        secret(Path("nowhere"))
    (tmp_path / "binary").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="bytes that are not UTF-8"):
        secret(tmp_path / "binary")


MERGED = "base: &base {on_delay_s: 5, note: 2026-01-02}\nalarms:\n  - <<: *base\n    name: a\n  - {<<: *base, note: 'x: y'}\n"


@pytest.mark.parametrize("file", ["merged", *sorted((Path(__file__).parents[2] / "configs").rglob("*.yaml"))], ids=lambda f: getattr(f, "stem", f))
def test_both_readers_of_yaml_find_the_same_in_the_same_lines(file):
    text = MERGED if file == "merged" else file.read_text("utf-8")
    fast, slow = (settings._read(text, loader) for loader in (settings._Fast, settings._Loader))
    assert fast[0] == slow[0]
    assert fast[1]._lines == slow[1]._lines


@pytest.mark.parametrize("text", ["[" * 100_000, "{a: " * 100_000, "- " * 100_000])
def test_sections_inside_sections_without_end_are_a_mistake_and_no_crash(tmp_path, text):
    (tmp_path / "f.yaml").write_text(text, "utf-8")
    with pytest.raises(ConfigError, match="without end"):
        read_yaml(tmp_path / "f.yaml")
