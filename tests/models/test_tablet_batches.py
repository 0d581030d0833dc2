"""Tables of tablet batches as a plant exports them: short last lines, batches without a laboratory value, missing columns."""

import json
import sys

import numpy as np
import pytest

from tests.benchmarks import _tablets, pharma_tablets

LABORATORY = (
    "batch;code;strength;start;api_code;api_water;tbl_min_thickness;tbl_max_thickness;tbl_min_weight;tbl_max_weight;tbl_av_hardness;fct_av_hardness;"
    "tbl_max_diameter;dissolution_av;impurities_total"
)


def laboratory(folder, n, impurities="0.3"):
    rows = [f"{b};25;5MG;nov.18;5;1.5;3.3;3.4;111;116;46;56;6.1;9{b % 7};{impurities}" for b in range(1, n + 1)]
    (folder / "Laboratory.csv").write_text("\n".join([LABORATORY, *rows, ";" * 4]) + "\n")


def test_lines_without_a_batch_are_left_out_and_results_go_by_their_names(tmp_path):
    laboratory(tmp_path, 3)
    head = "batch;code;speed;weekend;Total impurities;waste;hours;fill;force;stiffness"
    (tmp_path / "Process.csv").write_text(head + "\n1;25;99;no;0.3;5;6;7;8;9\n;;;\n")
    found = _tablets.batches(tmp_path)
    pressed = {k: v for k, v in found[1]["x"].items() if k.startswith("press ")}
    assert list(found) == [1, 2, 3]
    told = {"speed": 99, "weekend": 0, "waste": 5, "hours": 6, "fill": 7, "force": 8, "stiffness": 9}
    assert pressed == {f"press {name}": value for name, value in told.items()}
    (tmp_path / "Process.csv").write_text("batch;code;speed;Drug release average (%);Impurity L\n1;25;99;93;0.1\n")
    assert [k for k in _tablets.batches(tmp_path)[1]["x"] if k.startswith("press ")] == ["press speed"]


@pytest.mark.parametrize(("n", "later", "told"), [(4, 9, "found 4 and 5"), (12, 12, "found 6 and 6")])
def test_too_few_batches_are_told_and_the_line_is_still_printed(tmp_path, monkeypatch, capsys, n, later, told):
    for folder, batches in (("train", n), ("data", later)):
        (tmp_path / folder).mkdir()
        laboratory(tmp_path / folder, batches, impurities="")
    monkeypatch.setattr(sys, "argv", ["pharma_tablets", "--train", str(tmp_path / "train"), "--data", str(tmp_path / "data")])
    pharma_tablets.main()
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told in found["dissolution_av"]["error"]
    assert "found 0 and 0" in found["impurities_total"]["error"]


def test_a_target_without_a_laboratory_value_to_predict_is_named():
    rows = [{"batch": b, "x": {"a": 1.0}, "codes": ["1", "2"], "y": {"dissolution_av": float(b)}} for b in range(12)]
    with pytest.raises(ValueError, match="found 12 and 0"):
        pharma_tablets.quality(rows, [rows[0] | {"y": {"dissolution_av": np.nan}}], "dissolution_av")
