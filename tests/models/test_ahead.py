"""Kernels compiled ahead of time: the same bits as those compiled at start, and arguments checked as strictly."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from models import BANKS, GROUPS, compiled
from models.baseline import sort

ROOT = Path(__file__).parents[2]
ahead = pytest.mark.skipif(compiled._AHEAD is None, reason="needs a C compiler and the headers of Python at make venv")


def configuration(folder: Path) -> Path:
    """Every model that learns by itself, alarms of several kinds, five tags."""
    tags = [f"t{i}" for i in range(5)]
    models: list[dict[str, Any]] = [{"kind": k, "tags": tags} for k in ("auto", "ewma", "cusum", "robust_z")]
    models += [{"kind": k, "name": "u", "tags": tags, "train_rows": 120} for k in ("unit", "change", "pca")]
    alarms: list[dict[str, Any]] = [
        {"name": "t0.high", "kind": "limit", "tag": "t0", "limit": 1.5, "priority": 2, "deadband": 0.2, "on_delay_s": 2},
        {"name": "t1.rate", "kind": "rate", "tag": "t1", "limit": 1.0, "priority": 3},
        {"name": "both", "kind": "expression", "tag": "t0", "expression": "t0 > 1 and t1 > 0.5", "priority": 3},
    ]  # fmt: skip
    file = folder / "agent.yaml"
    file.write_text(yaml.safe_dump({"edge": {"site": "s", "id": "e"}, "tags": [{"name": t} for t in tags], "models": models, "alarms": alarms}))
    return file


def values(folder: Path) -> Path:
    """Noise, a step, a stuck value and holes: what every branch of a loop is for."""
    rng = np.random.default_rng(11)
    x = rng.normal(0, 1, (600, 5)).round(4)
    x[300:, 0] += 3.0
    x[350:420, 1] = 0.25
    x[:, 2] = 1e9 + x[:, 2]
    x[:, 3] = 7.0
    file = folder / "values.csv"
    with file.open("w") as out:
        out.write("time," + ",".join(f"t{i}" for i in range(5)) + "\n")
        for k, row in enumerate(x):
            cells = ["" if rng.random() < 0.03 else repr(float(v)) for v in row]
            out.write(f"2026-01-01T00:{k // 60:02d}:{k % 60:02d}Z," + ",".join(cells) + "\n")
    return file


@ahead
@pytest.mark.system
@pytest.mark.timeout(300)
def test_both_ways_give_the_same_bytes(tmp_path: Path) -> None:
    config, csv = configuration(tmp_path), values(tmp_path)
    told = {}
    for way, jit in (("ahead", ""), ("at_start", "1")):
        records, scores = tmp_path / f"{way}.jsonl", tmp_path / f"{way}.csv"
        command = [sys.executable, "-m", "edge_agent", "replay", "-c", str(config), "--input", str(csv), "--records", str(records)]
        command += ["--scores", str(scores)]
        done = subprocess.run(command, cwd=ROOT, env={**os.environ, compiled.JIT: jit}, capture_output=True, text=True, timeout=280, check=False)
        assert done.returncode == 0, done.stderr
        told[way] = (records.read_text(), scores.read_text())
    assert told["ahead"][1] == told["at_start"][1]
    assert told["ahead"][0] == told["at_start"][0]
    assert told["ahead"][0].count("RAISE") + told["ahead"][0].count("raise") > 3


def test_every_kind_of_model_takes_part() -> None:
    assert set(BANKS) | set(GROUPS) >= {"auto", "ewma", "cusum", "robust_z", "unit", "change", "pca"}


@ahead
@pytest.mark.parametrize(
    "wrong",
    [np.zeros(3, np.float32), np.zeros(3, ">f8"), np.zeros(6)[::2], np.zeros((3, 1)), [0.0, 1.0, 2.0], np.frombuffer(bytes(24))],
    ids=["type", "byte order", "strides", "dimensions", "list", "read-only"],
)
def test_what_numba_would_refuse_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"expected argument 0 as writeable array of double"):
        sort(wrong, 0, 3)
    with pytest.raises(TypeError, match="expected 3 arguments, found 2"):
        sort(np.zeros(3), 0)  # type: ignore[call-arg]


@ahead
@pytest.mark.system
def test_an_agent_with_them_does_not_load_numba() -> None:
    code = "import sys, models, edge_agent.__main__, edge_agent.agent.agent, edge_agent.sources.opcua_decode; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, timeout=60).returncode == 0


@ahead
@pytest.mark.system
def test_beside_changed_sources_they_are_not_used(tmp_path: Path) -> None:
    spec = importlib.util.find_spec("models._kernels")
    assert spec is not None
    assert spec.origin is not None
    package = tmp_path / "models"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / Path(spec.origin).name).write_bytes(Path(spec.origin).read_bytes())
    code = "from models import compiled; print(compiled._AHEAD is not None)"
    found = []
    for change in ("", "# changed\n"):
        for name in compiled._AHEAD.SOURCES:  # type: ignore[union-attr]
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text((ROOT / name).read_text())
        (package / "ewma.py").write_text((ROOT / "models" / "ewma.py").read_text() + change)
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60)
        found.append(done.stdout.strip())
    assert found == ["True", "False"]


@ahead
@pytest.mark.system
def test_a_kernel_of_one_s_own_may_call_them(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "import numpy as np\nfrom models.baseline import sort\nfrom models.compiled import kernel\n"
        "@kernel('float64(float64[::1])')\ndef least(a):\n    sort(a, 0, len(a))\n    return a[0]\n"
        "assert least(np.array([3.0, 1.0, 2.0])) == 1.0\n"
    )
    done = subprocess.run([sys.executable, str(tmp_path / "own.py")], env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False, timeout=120)
    assert done.returncode == 0
