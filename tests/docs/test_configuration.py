"""Every option is described, every example loads."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import yaml

from edge_agent.config import load_agent
from gateway.config import load_config
from tests.docs import options

ROOT = Path(__file__).parents[2]
CONFIGS = sorted(path for path in ROOT.joinpath("configs").rglob("*.y*ml") if not path.name.startswith(".") and path.parent.name != "observability")
"""Those of the product's own programs; what Prometheus reads is checked in tests/deploy/test_observability.py."""


@pytest.mark.parametrize("program", ["agent", "gateway"])
def test_every_option_has_a_text(program: str) -> None:
    missing = [f"{place}.{key}" for place, rows in options.tables("", options.settings_of(program)) for key, _, _, text in rows if not text]
    assert missing == [], "write a text under the field"


def test_the_page_says_what_the_classes_say() -> None:
    text = options.FILE.read_text("utf-8")
    assert options.renewed(text) == text, "run `python -m tests.docs.options`"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_config_loads(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in __import__("os").environ if name.startswith("PHARMEDGE_")]:
        monkeypatch.delenv(name)
    keys = yaml.safe_load(path.read_text("utf-8"))
    if "gateway" in keys:
        load_config(path)
    else:
        load_agent(path)


def test_there_are_examples_of_both() -> None:
    keys = {key for path in CONFIGS for key in yaml.safe_load(path.read_text("utf-8"))}
    assert {"edge", "gateway"} <= keys


@pytest.mark.parametrize("path", [*CONFIGS, ROOT / "edge_agent" / "config" / "agent.example.yaml"], ids=lambda path: str(path.relative_to(ROOT)))
def test_every_config_is_commented(path: Path) -> None:
    text = path.read_text("utf-8")
    assert text.startswith("#"), "the first line says what the file is"


def test_tag_files_have_the_columns_that_the_configuration_reads() -> None:
    from edge_agent.config.tag_csv import COLUMNS

    for path in ROOT.joinpath("configs").rglob("*tags*.csv"):
        with path.open(encoding="utf-8", newline="") as stream:
            assert set(next(csv.reader(stream))) <= set(COLUMNS), path
