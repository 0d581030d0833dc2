"""The benchmark of many tags on files that end inside the rows that everything is learned from."""

import json
import sys

import numpy as np

from tests.benchmarks import skab


def test_a_file_of_no_more_rows_than_are_learned_from_is_not_scored(tmp_path, monkeypatch, capsys):
    (tmp_path / "in" / "valve1").mkdir(parents=True)
    for name, n in (("0.csv", 500), ("1.csv", 400)):
        rows = [f"2020-03-09 10:{i // 60:02d}:{i % 60:02d};{i};{int(i > 450)};{int(i == 451)}" for i in range(n)]
        (tmp_path / "in" / "valve1" / name).write_text("\n".join(["datetime;Current;anomaly;changepoint", *rows]) + "\n")
    monkeypatch.setattr(skab, "replay_all", lambda *_: 1.0)
    monkeypatch.setattr(skab, "column", lambda *_: (np.array([], "datetime64[ns]"), np.array([])))
    monkeypatch.setattr(sys, "argv", ["skab", "--data", str(tmp_path / "in"), "--out", str(tmp_path / "out")])
    skab.main()
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (found["files"], found["change"]["of"], found["change"]["missed"]) == (2, 1, 1)
    assert len((tmp_path / "out" / "valve1" / "1.csv").read_text().splitlines()) == 401
