"""Recordings: wide and long, any separator, any time form; mistakes named with file and line."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.recording import Column, RecordingError, parse_time, read_recording
from simulators.replay import Replay
from simulators.signals import SECOND_NS, SIMULATED
from simulators.tags import tag_csv

WIDE = """timestamp;speed;batch;note
2018-11-18 22:28:52;0;19;
2018-11-18 22:29:02;1.5;19;ok
2018-11-18 22:29:12;;20;late
2018-11-19 22:29:12;2.5;20;ok
"""


def written(folder: Path, text: str, name: str = "rec.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_wide_recording_with_text_and_holes(tmp_path: Path) -> None:
    columns = {c.name: c for c in read_recording(written(tmp_path, WIDE))}
    assert columns["speed"].numbers == [0.0, 1.5, 2.5]
    assert columns["speed"].time_ns[0] == 1_542_580_132 * SECOND_NS
    assert columns["batch"].numbers == [19.0, 19.0, 20.0, 20.0]
    assert columns["note"].texts == ["ok", "late", "ok"]
    assert not columns["speed"].is_text


def test_gzip_and_long_form_and_other_separators_read_the_same(tmp_path: Path) -> None:
    packed = tmp_path / "rec.csv.gz"
    packed.write_bytes(gzip.compress(WIDE.replace(";", ",").encode()))
    plain = written(tmp_path, WIDE)
    assert read_recording(packed) == read_recording(plain)
    long_form = "time\ttag\tvalue\n10\ta\t1\n10\tb\tx\n11.5\ta\t2\n"
    a, b = read_recording(written(tmp_path, long_form, "long.tsv"))
    assert (a.time_ns, a.numbers) == ([10 * SECOND_NS, 11_500_000_000], [1.0, 2.0])
    assert b.texts == ["x"]


def test_a_column_that_turns_out_to_be_text_keeps_its_earlier_values(tmp_path: Path) -> None:
    (column,) = read_recording(written(tmp_path, "t,a\n1,5\n2,stop\n"))
    assert column.texts == ["5", "stop"]
    assert column.numbers == []


@given(st.integers(1_000_000_000, 2_000_000_000), st.integers(0, 999_999_999))
def test_epochs_of_every_size_mean_the_same_moment(seconds: int, rest: int) -> None:
    exact = seconds * SECOND_NS + rest
    assert parse_time(str(exact)) == exact
    assert parse_time(str(exact // 1000)) == exact // 1000 * 1000
    assert parse_time(str(exact // 1_000_000)) == exact // 1_000_000 * 1_000_000
    assert parse_time(str(seconds)) == seconds * SECOND_NS


def test_iso_times_carry_their_zone() -> None:
    assert parse_time("2026-01-01T08:00:00+08:00") == parse_time("2026-01-01T00:00:00Z") == parse_time("2026-01-01 00:00:00")


@pytest.mark.parametrize(("text", "message"), [
    ("", r":1: header: expected column names"),
    ("a,b\n1,2\n", r":1: time column: expected one of time, timestamp"),
    ("time,a,a\n1,2,3\n", r":1: column names: expected each once, found a again"),
    ("time,a\n1,2\nsoon,3\n", r":3: time: expected ISO 8601 or an epoch number, found 'soon'"),
    ("time,a\n1,2\n2,3,4\n", r":3: row: expected 2 columns, found 3"),
    ("time,a\n2,2\n1,3\n", r":3: a: expected a time later than the row before, found -1000000000 ns"),
    ("time,a\n2,2\n2,3\n", r":3: a: expected a time later than the row before, found 0 ns"),
    ("time,tag,value\n2,,3\n", r":2: tag: expected a tag name, found nothing"),
    ("time,a\n2,\n", r"rows: expected at least one value, found none"),
])
def test_mistakes_name_file_line_and_column(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RecordingError, match=message):
        read_recording(written(tmp_path, text))


def test_a_damaged_gzip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rec.csv.gz"
    path.write_bytes(gzip.compress(WIDE.encode())[:-20])
    with pytest.raises(RecordingError, match="expected CSV text or gzip"):
        read_recording(path)


def test_replay_plays_every_value_once_in_order(tmp_path: Path) -> None:
    replay = Replay(read_recording(written(tmp_path, WIDE)), "p3", text_columns=("batch",))
    names = [s.name for s in replay.signals]
    assert names == ["p3/speed", "p3/batch", "p3/note"]
    first = replay.step(10 * SECOND_NS)
    assert first.value.tolist() == [0.0, 1.5]
    assert [(replay.signals[t.signal].name, t.value) for t in first.texts] == [("p3/batch", "19"), ("p3/note", "ok")]
    assert first.status.tolist() == [SIMULATED] * 2
    rest = replay.step(2 * 86400 * SECOND_NS)
    assert rest.value.tolist() == [2.5]
    assert rest.time_ns.tolist() == [86420 * SECOND_NS]
    assert len(replay.step(3 * 86400 * SECOND_NS)) == 0
    assert replay.end_ns == 86420 * SECOND_NS


def test_pauses_can_be_shortened_and_the_start_chosen(tmp_path: Path) -> None:
    columns = read_recording(written(tmp_path, WIDE))
    replay = Replay(columns, "p3", max_pause_s=30.0)
    assert replay.end_ns == 50 * SECOND_NS
    later = Replay(columns, "p3", start_ns=parse_time("2018-11-18 22:29:12"))
    assert later.first_ns == parse_time("2018-11-18 22:29:12")
    assert later.step(later.end_ns or 0).value.tolist() == [20.0, 2.5, 20.0]
    with pytest.raises(ValueError, match="--start-at"):
        Replay(columns, "p3", start_ns=parse_time("2030-01-01"))
    with pytest.raises(ValueError, match="--text: expected one of"):
        Replay(columns, "p3", text_columns=("nothing",))


def test_tags_of_a_replay_carry_period_and_road(tmp_path: Path) -> None:
    replay = Replay(read_recording(written(tmp_path, WIDE)), "p3", mqtt_tags=("sp*",), text_columns=("batch",))
    rows = tag_csv(replay.signals, opcua_source="ua", mqtt_source="mq", path="s/a", speed=10.0).splitlines()
    speed, batch = rows[1].split(","), rows[2].split(",")
    header = rows[0].split(",")
    assert speed[header.index("source")] == "mq"
    assert speed[header.index("address")] == "plant/p3/speed"
    assert speed[header.index("report")] == "periodic"
    assert float(speed[header.index("expected_s")]) > 0
    assert batch[header.index("address")] == "nsu=urn:pharmedge:sim;s=p3/batch"
    assert (batch[header.index("kind")], batch[header.index("role")], batch[header.index("report")]) == (
        "text", "batch", "by_exception")


def test_a_recording_of_a_real_shape_keeps_its_grid() -> None:
    time_ns = [(1_542_580_132 + 10 * i) * SECOND_NS for i in range(100)]
    replay = Replay([Column("a", time_ns, [float(i) for i in range(100)])], "u")
    out = replay.step(10_000 * SECOND_NS)
    np.testing.assert_array_equal(np.diff(out.time_ns), 10 * SECOND_NS)
    assert replay.signals[0].period_s == 10.0
