"""`edge-agent replay`: what it leaves when it succeeds and when it fails, the forms of its input, and what a difference says."""

from __future__ import annotations

import gzip
import json
import stat
from pathlib import Path

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

from edge_agent.__main__ import app
from edge_agent.agent.differences import Comparison, Difference
from edge_agent.agent.replay import Stepped
from edge_agent.agent.replaying import teller
from edge_agent.core import AlarmEvent, Catalogue, Heartbeat, Record, Samples, Tag, encode
from tests.agent.line import CONFIG

START = 1_767_225_600
SECOND = 1_000_000_000


def wide(n: int = 120) -> str:
    rng = np.random.default_rng(4)
    force = np.where(np.arange(n) % 60 > 45, 18.0, 12.0) + rng.normal(0, 0.2, n)
    rows = [f"{START + i},{force[i]:.4f},{'' if i % 3 else 40 + i % 5}" for i in range(n)]
    return "time,press1/force,press1/speed\n" + "\n".join(rows) + "\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "agent.yaml").write_text(CONFIG, "utf-8")
    (tmp_path / "values.csv").write_text(wide(), "utf-8")
    return tmp_path


def replay(folder: Path, *words: str, config: bool = True) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["replay", *(["-c", str(folder / "agent.yaml")] if config else []), *words], catch_exceptions=False)
    return done.exit_code, done.stdout, done.stderr


def outputs(folder: Path, source: Path, name: str) -> tuple[str, list[dict[str, object]]]:
    scores, records = folder / f"{name}.scores.csv", folder / f"{name}.jsonl"
    code, _, told = replay(folder, "--input", str(source), "--scores", str(scores), "--records", str(records))
    assert code == 0, told
    return scores.read_text(), [json.loads(line) for line in records.read_text().splitlines()]


def test_scores_have_one_row_for_each_time_and_records_tell_alarms_and_summaries(folder: Path) -> None:
    scores, records = outputs(folder, folder / "values.csv", "out")
    lines = scores.splitlines()
    assert lines[0] == "timestamp,press1/force.robust_z.z,press1/speed.robust_z.z"
    assert len(lines) == 121
    assert lines[1].startswith("2026-01-01T00:00:00.000000000,")
    assert {r["kind"] for r in records} >= {"sample", "summary", "alarm", "definitions"}
    mine = [r for r in records if r["kind"] == "alarm" and r["alarm"] == "press1/force.high"]
    assert [r["raised_ns"] for r in mine if r["event"] == "raise"] == [(START + 46) * SECOND, (START + 106) * SECOND]


def iso(seconds: int, zone: str) -> str:
    hours = {"": 0, "Z": 0, "+08:00": 8}[zone]
    return str(np.datetime64(seconds + hours * 3600, "s")) + zone


def _times(text: str, written: object) -> bytes:
    head, *rows = text.splitlines()
    cells = [row.split(",", 1) for row in rows]
    return "\n".join([head, *(f"{written(int(t))},{rest}" for t, rest in cells), ""]).encode()  # type: ignore[operator]


def _long(text: str) -> bytes:
    _, *rows = text.splitlines()
    lines = ["time,tag,value,status,received"]
    for row in rows:
        t, force, speed = row.split(",")
        lines += [f"{t},press1/force,{force},0,{t}"] + ([f"{t},press1/speed,{speed},0,{t}"] if speed else [])
    return "\n".join([*lines, ""]).encode()


FORMS = {
    "bom and crlf": lambda text: ("\ufeff" + text.replace("\n", "\r\n")).encode(),
    "no newline at the end": lambda text: text.rstrip("\n").encode(),
    "gzip": lambda text: gzip.compress(text.encode()),
    "semicolons": lambda text: text.replace(",", ";").encode(),
    "ns": lambda text: _times(text, lambda s: f"{s}000000000"),
    "ms": lambda text: _times(text, lambda s: f"{s}000"),
    "iso": lambda text: _times(text, lambda s: iso(s, "")),
    "iso utc": lambda text: _times(text, lambda s: iso(s, "Z")),
    "iso shanghai": lambda text: _times(text, lambda s: iso(s, "+08:00")),
    "long": _long,
}


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[dict[str, object]]]:
    folder = tmp_path_factory.mktemp("expected")
    (folder / "agent.yaml").write_text(CONFIG, "utf-8")
    (folder / "values.csv").write_text(wide(), "utf-8")
    return outputs(folder, folder / "values.csv", "plain")


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_file_gives_the_same_scores_and_records(folder: Path, form: str, expected: tuple[str, list[dict[str, object]]]) -> None:
    source = folder / "other.csv"
    source.write_bytes(FORMS[form](wide()))  # type: ignore[no-untyped-call]
    assert outputs(folder, source, "other") == expected


def test_a_failing_replay_leaves_the_files_of_before(folder: Path) -> None:
    scores, records = folder / "scores.csv", folder / "records.jsonl"
    scores.write_text("kept\n")
    records.write_text("kept\n")
    broken = folder / "broken.csv"
    broken.write_text(wide() + f"{START + 999},oops,1\n")
    code, said, told = replay(folder, "--input", str(broken), "--scores", str(scores), "--records", str(records))
    assert (code, said) == (2, "")
    assert told.strip() == f"{broken}:122: press1/force: expected a number, found 'oops'"
    assert (scores.read_text(), records.read_text()) == ("kept\n", "kept\n")
    assert {p.name for p in folder.iterdir()} == {"agent.yaml", "values.csv", "broken.csv", "scores.csv", "records.jsonl"}


def test_outputs_may_be_pipes(folder: Path) -> None:
    code, said, _ = replay(folder, "--input", str(folder / "values.csv"), "--scores", "/dev/null")
    assert (code, said) == (0, "")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--input", "none.csv"), "none.csv:1: --input: expected a readable file, found none"),
        (("--input", "."), ".:1: --input: expected a readable file, found a folder"),
        (("--input", "empty.csv"), "empty.csv:1: (file): expected a header and at least one row, found 0 lines"),
        (("--input", "garbled.csv"), "garbled.csv:1: (line): expected UTF-8, found"),
        (("--input", "values.csv", "--scores", "no/where.csv"), "no/where.csv:1: --scores: expected a path in a folder that exists"),
        (("--recording", "nothing"), "nothing:1: recording: expected a folder that `run --record` has written"),
        (("--input", "values.csv", "--recording", "nothing"), "expected either --input CSV files or --recording DIR"),
        ((), "expected either --input CSV files or --recording DIR"),
    ],
)
def test_an_input_that_cannot_be_used_is_named_and_exit_code_2(
    folder: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(folder)
    (folder / "empty.csv").touch()
    (folder / "garbled.csv").write_bytes(bytes(range(128, 256)))
    code, said, told = replay(folder, *words)
    assert (code, said) == (2, ""), told
    assert message in told
    assert "Traceback" not in told


def test_progress_says_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    tell = teller(lambda: None, lambda: now)
    for i in range(5):
        now = float(i)
        tell(Stepped(Samples.of([START * SECOND], [0], [1.0], 0, START * SECOND), []))
    assert capsys.readouterr().err == "3 values, at 2026-01-01T00:00:00.000Z, 2 values/s\n5 values, at 2026-01-01T00:00:00.000Z, 1 values/s\n"


# -- differences ---------------------------------------------------------------------------------------------------------------

TAGS = Catalogue([Tag(id=0, name="press1/force"), Tag(id=1, name="press1/speed")])


def told(i: int, value: float = 1.0) -> Record:
    return Samples.of([START * SECOND + i] * 2, [0, 1], [float(i), value], 0, START * SECOND + i)


def raised(limit: float) -> Record:
    return AlarmEvent(alarm="press1/force.high", tag="press1/force", raised_ns=START * SECOND, time_ns=START * SECOND, received_ns=START * SECOND,
                      event="raise", state_from="NORM", state_to="UNACK", priority=2, limit=limit)  # fmt: skip


def compared(found: list[Record], kept: list[Record], *, same_cpu: bool = True, most: int = 20) -> Comparison:
    comparison = Comparison(same_cpu=same_cpu, most=most)
    comparison.run(iter(found), (encode(r) for r in kept), TAGS)
    return comparison


def test_a_changed_cell_is_named_with_its_tag_and_column() -> None:
    kept = [told(i) for i in range(5)]
    found = [*kept[:2], told(2, 1.5), *kept[3:]]
    comparison = compared(found, kept)
    assert (comparison.compared, comparison.count) == (5, 1)
    assert str(comparison.differences[0]) == (
        "record 3: Samples press1/force ... received 2026-01-01T00:00:00.000000002Z: press1/speed row 2 value: expected 1.0, found 1.5"
    )


def test_a_changed_field_of_an_alarm_is_named() -> None:
    (difference,) = compared([raised(16.0)], [raised(15.0)]).differences
    assert difference == Difference(1, "AlarmEvent press1/force.high raise at 2026-01-01T00:00:00.000000000Z: limit", "15.0", "16.0")


def test_a_record_too_few_or_too_many_is_one_difference() -> None:
    records = [told(i) for i in range(200)]
    fewer = compared([*records[:50], *records[51:]], records)
    assert (fewer.count, fewer.differences[0].index, fewer.differences[0].found) == (1, 51, "nothing")
    more = compared([*records[:50], raised(1.0), *records[50:]], records)
    assert (more.count, more.differences[0].kept) == (1, "nothing")
    assert compared(records[:-3], records).count == 3
    assert compared(records, []).count == 200


def test_all_differences_are_counted_and_the_first_ones_told() -> None:
    comparison = compared([told(i, 2.0) for i in range(100)], [told(i) for i in range(100)], most=5)
    assert (comparison.compared, comparison.count, len(comparison.differences)) == (100, 100, 5)


def test_on_another_cpu_scores_may_differ_in_their_last_digits_and_alarms_may_not() -> None:
    a, b = told(1, 1.0), told(1, 1.0 + 1e-12)
    assert compared([b], [a], same_cpu=False).count == 0
    assert compared([b], [a], same_cpu=True).count == 1
    later = msgspec.structs.replace(raised(1.0), time_ns=1)  # type: ignore[type-var]
    assert compared([later], [raised(1.0)], same_cpu=False).count == 1
    assert compared([Heartbeat(received_ns=1)], [raised(1.0)], same_cpu=False).count == 1  # type: ignore[list-item]
