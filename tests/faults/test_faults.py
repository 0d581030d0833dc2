"""The small forms of the faults: what every change has to survive. `make faults` takes the long ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import storage
from tests.faults.__main__ import BEGIN, END, PAGE, asked, row, updated
from tests.faults.agent_routes import fuzz_agent
from tests.faults.fuzz import fuzz
from tests.faults.http_routes import gateway_app, tried
from tests.faults.outcome import FAULTS, NotHere, Outcome, suffer
from tests.faults.register import ALL


@pytest.mark.system
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", [name for name in ALL if FAULTS[name].quick])
def test_what_was_promised_happens(tmp_path: Path, name: str) -> None:
    outcome = suffer(FAULTS[name], 7, tmp_path, long=False)
    if outcome.lost is None:
        pytest.skip(outcome.happened)
    assert (outcome.lost, outcome.duplicated) == (0, 0)


def test_the_page_has_every_fault_with_nothing_lost_or_doubled() -> None:
    rows = [line.split(" | ") for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| ") and " | " in line]
    told = {row[0].removeprefix("| "): row for row in rows}
    for name in ALL:
        assert name in told, name
        assert told[name][1] == FAULTS[name].promised
        assert told[name][3:5] in (["0", "0"], ["not tested", "not tested"])


def test_the_table_tells_what_could_not_be_tested_and_keeps_other_rows() -> None:
    first, second = ALL[:2]
    untested = row(Outcome("d", "e", "not tested here: needs strace", None, None), "r")
    assert untested == "| d | e | not tested here: needs strace | not tested | not tested | 0 | r |"
    page = updated(f"a\n{BEGIN}{END}b\n", [Outcome(first, "p", "h", 0, 0, 1.2), Outcome(second, "p", "h", 0, 0, 2.6)], "seed 1, long")
    page = updated(page, [Outcome(second, "p", "again", 0, 0, 7.0)], "seed 2, small")
    table = page.removeprefix(f"a\n{BEGIN}").removesuffix(f"{END}b\n").splitlines()
    assert table[2:] == [f"| {first} | p | h | 0 | 0 | 1 | seed 1, long |", f"| {second} | p | again | 0 | 0 | 7 | seed 2, small |"]


def test_asked_for_help_no_fault_is_made(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        asked(["--help"])
    assert all(name in capsys.readouterr().out for name in ALL[:1])
    assert vars(asked(["--seed", "7", "--small", "--faults", "clock,torn"])) == {"seed": 7, "small": True, "faults": "clock,torn"}


def test_a_moment_of_fuzzing_finds_nothing() -> None:
    found = fuzz(7, 2.0)
    assert {name: one.first for name, one in found.items() if one.findings} == {}
    assert all(one.tries >= 20 for one in found.values())


def test_some_requests_to_some_routes_fail_nowhere_inside(tmp_path: Path) -> None:
    with gateway_app(tmp_path, accounts=True) as served:
        made = tried(served, examples=2, number=7, routes=5)
    assert sum(made.values()) >= len(made) >= 4


def test_some_requests_to_agent_and_panel_fail_nowhere_inside(tmp_path: Path) -> None:
    made, wrong = fuzz_agent(tmp_path, 7, 0.5)
    assert wrong == ""
    assert made >= 50


@pytest.mark.system
def test_a_log_that_does_not_sync_every_commit_would_be_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "COMMITS", storage.COMMITS.replace('("journal", "outbox"))', '("journal", "outbox"), synchronous="NORMAL")'))
    try:
        with pytest.raises(AssertionError, match="durable"):
            storage.power_cut(7, tmp_path, False)
    except NotHere as missing:
        pytest.skip(str(missing))
