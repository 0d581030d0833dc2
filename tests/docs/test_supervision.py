"""The page on supervision has the tables of the servers."""

from __future__ import annotations

import re
from pathlib import Path

from edge_agent.local import modbus
from edge_agent.local.desk import Supervision
from edge_agent.local.opcua import figures

PAGE = (Path(__file__).parents[2] / "docs" / "supervision.md").read_text("utf-8")


def between(name: str) -> str:
    found = re.search(rf"<!-- {name}: begin -->(.*?)<!-- {name}: end -->", PAGE, re.DOTALL)
    assert found is not None
    return found.group(1)


def test_the_registers_are_those_of_the_server() -> None:
    assert modbus.__doc__ is not None
    assert between("registers").strip() in modbus.__doc__


def test_the_figures_are_those_of_the_server() -> None:
    now = Supervision(0, 0, 0, 0, (0, 0, 0, 0), (0, 0, 0, 0), 0, 0, True, False)
    assert re.findall(r"`(\w+)`", between("figures")) == list(figures(now))
