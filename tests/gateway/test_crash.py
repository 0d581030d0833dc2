"""Killed at any step, a gateway comes back with every record exactly once."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from gateway.backup import verify
from gateway.export import Kind, Wanted, export
from gateway.store import Store
from tests.gateway.dying import LATE, SETTINGS, live
from tests.gateway.edge import SECOND, START

STEPS = (
    *(("committed", n) for n in (1, 3)),
    *(("applied", n) for n in (1, 3)),
    *(("written", n) for n in (1, 3, 9)),
    *(("named", n) for n in (1, 3)),
    *(("sealed", n) for n in (1, 2)),
    *(("anchored", n) for n in (2, 3)),
    *(("trimmed", n) for n in (2, 3)),
    *(("merging", n) for n in (1, 2)),
    *(("merged", n) for n in (1, 2)),
    *(("removed", 1),),
    *(("unlinked", n) for n in (1, 5)),
)


def _rows(folder: Path, kind: Kind, want: Wanted | None = None) -> list[dict[str, object]]:
    out = io.BytesIO()
    export(folder, kind, "parquet", out, want or Wanted())
    out.seek(0)
    found: list[dict[str, object]] = pq.read_table(out).to_pylist()
    return found


@pytest.mark.parametrize(("step", "count"), STEPS)
def test_killed_at_a_step_nothing_is_lost_or_doubled(tmp_path: Path, step: str, count: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.gateway.dying", str(tmp_path), step, str(count)], capture_output=True, check=False, timeout=60
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert verify(tmp_path) == []
    live(tmp_path, "none", 1)
    assert verify(tmp_path) == []
    times = [r["time_ns"] for r in _rows(tmp_path, "sample", Wanted(tag="press1/main_force"))]
    assert sorted(times) == [START + i * SECOND for i in range(180)]  # type: ignore[type-var]
    windows = _rows(tmp_path, "summary", Wanted(tag="press1/main_force"))
    assert len(windows) == 18
    assert sum(r["n_good"] for r in windows) == 180  # type: ignore[misc]
    assert len(_rows(tmp_path, "gap")) == 1
    assert len(_rows(tmp_path, "alarm")) == 1
    store = Store(tmp_path, gateway="gw1", production=False, settings=SETTINGS, clock=lambda: LATE)
    ledger = {r["tag"]: r for r in store.ask.ledger()}
    assert (ledger["press1/main_force"]["n_good"], ledger["press1/main_force"]["n_missing"]) == (180, 7)
    assert ledger["press1/speed"]["n_good"] == 180
    assert len(store.ask.series("press-edge-1:press1/main_force", START, START + 180 * SECOND)["n"]) == 180
    assert store.sealer.strangers() == []
    assert [t["last"]["time_ns"] for t in store.ask.tags()[:2] if t["last"]] == [START + 179 * SECOND] * 2
    store.close()


@pytest.mark.parametrize("step", ["sealed", "anchored", "trimmed"])
def test_killed_around_sealing_the_newest_values_are_known_at_once(tmp_path: Path, step: str) -> None:
    subprocess.run([sys.executable, "-m", "tests.gateway.dying", str(tmp_path), step, "2"], capture_output=True, check=False, timeout=60)
    store = Store(tmp_path, gateway="gw1", production=False, settings=SETTINGS, clock=lambda: LATE)
    held = store.ask.series("press-edge-1:press1/main_force", START, START + 200 * SECOND)
    last = store.ask.tags()[0]["last"]
    assert last is not None
    assert last["time_ns"] == held["time_ns"][-1]
    store.close()


def test_without_a_kill_the_other_class_has_expired(tmp_path: Path) -> None:
    live(tmp_path, "none", 1)
    assert _rows(tmp_path, "sample", Wanted(tag="press1/speed")) == []
    assert len(_rows(tmp_path, "sample", Wanted(tag="press1/main_force"))) == 180
