"""The command line as a process: what it prints, what it leaves, how it ends."""

from __future__ import annotations

import asyncio
import csv
import gzip
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from asyncua import Client

from simulators.children import answers, free_port, wait_for


def sim(*words: str, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "simulators", *words], capture_output=True, text=True, timeout=timeout,
                          check=False)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as source:
        return list(csv.DictReader(source))


def test_list_names_lines_and_faults() -> None:
    out = sim("list", "--signals")
    assert out.returncode == 0
    for word in ("press:", "punch_sticking", "feeder_starvation", "low_lubricant", "load_cell_drift", "blend_segregation",
                 "press1/main_force [kN] 1 s over opcua", "replay FILE"):
        assert word in out.stdout


@pytest.mark.parametrize(("words", "message"), [
    (("run", "coater"), "LINE: expected one of press, hall, pump, nir, continuous, found 'coater'"),
    (("run", "press", "--fault", "x@1"), "--fault: expected one of"),
    (("run", "nir", "--fault", "air_bubble"), "--fault air_bubble@: expected seconds since the start"),
    (("run", "press", "--folder", "x"), "expected with the lines nir and pump only"),
    (("run", "press", "--speed", "0"), "--speed: expected a number > 0"),
    (("run", "press", "--mqtt", "nowhere"), "--mqtt: expected HOST:PORT, found 'nowhere'"),
    (("replay", "/nowhere.csv"), "No such file"),
    (("demo", "--chaos", "--port", "0"), "--chaos: expected --duration"),
    (("demo", "--chaos", "--duration", "10", "--port", "0"), "--chaos: expected a duration of at least 30 s"),
    (("run", "press", "--nonsense"), "No such option"),
])
def test_wrong_usage_is_exit_code_2(words: tuple[str, ...], message: str) -> None:
    out = sim(*words)
    assert out.returncode == 2, out.stderr
    assert message in out.stderr


def test_a_broken_recording_is_exit_code_2_with_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text("time,a\n1,2\nx,3\n", encoding="utf-8")
    out = sim("replay", str(path))
    assert out.returncode == 2
    assert f"{path}:3: time: expected ISO 8601" in out.stderr


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_run_leaves_its_books_when_it_is_stopped(tmp_path: Path, how: signal.Signals) -> None:
    port = free_port()
    keep = tmp_path / "keep"
    process = subprocess.Popen([sys.executable, "-m", "simulators", "run", "press", "--opcua-port", str(port), "--seed", "3",
                                "--keep", str(keep), "--fault", "punch_sticking@0.5", "--tags", str(tmp_path / "tags.csv")],
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert wait_for(lambda: answers(port), 60)
        assert wait_for(lambda: (keep / "sim.json").exists() and json.loads((keep / "sim.json").read_text())["started"], 30)
        wait_for(lambda: False, 1.5)
        process.send_signal(how)
        out, _ = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 0
    rows = rows_of(keep / "sent.csv")
    sent = sum(int(r["n"]) for r in rows)
    assert f"{sent} samples sent" in out
    assert {r["tag"] for r in rows} >= {"press1/main_force", "press1/nir_api"}
    (truth,) = [json.loads(line) for line in (keep / "truth.jsonl").read_text().splitlines()]
    assert truth["fault"] == "punch_sticking"
    assert truth["t_start"] < truth["t_end"] <= json.loads((keep / "sim.json").read_text())["start_ns"] / 1e9 + 10
    tags = rows_of(tmp_path / "tags.csv")
    assert [t["name"] for t in tags][:2] == ["press1/turret_speed", "press1/main_force"]


def test_a_line_that_has_ended_stays_readable_when_asked_to(tmp_path: Path) -> None:
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "simulators", "run", "press", "--opcua-port", str(port), "--keep", str(tmp_path),
                                "--stop-when", str(tmp_path / "stop"), "--stay"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def state(key: str) -> bool:
        return (tmp_path / "sim.json").exists() and bool(json.loads((tmp_path / "sim.json").read_text())[key])

    try:
        assert wait_for(lambda: state("started"), 60)
        (tmp_path / "stop").touch()
        assert wait_for(lambda: state("ended"), 60)
        assert answers(port)
        assert process.poll() is None
        process.terminate()
        assert process.wait(15) == 0
    finally:
        process.kill()
        process.wait()


RECORDING = "timestamp;main_comp;batch\n" + "".join(f"2018-11-18 22:28:{s:02d};{s / 2};{19 + s // 30}\n" for s in range(60))


def test_replay_serves_a_recording_and_writes_tags(tmp_path: Path) -> None:
    recording = tmp_path / "Process_3.csv.gz"
    recording.write_bytes(gzip.compress(RECORDING.encode()))
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "simulators", "replay", str(recording), "--opcua-port", str(port), "--speed", "20",
                                "--text", "batch", "--keep", str(tmp_path), "--tags", str(tmp_path / "tags.csv"),
                                "--start-when", str(tmp_path / "go")],
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    async def read() -> tuple[float, str]:
        async with Client(f"opc.tcp://127.0.0.1:{port}/") as client:
            space = await client.get_namespace_index("urn:pharmedge:sim")
            (tmp_path / "go").touch()
            force = client.get_node(f"ns={space};s=process_3/main_comp")
            batch = client.get_node(f"ns={space};s=process_3/batch")
            async with asyncio.timeout(15):
                while True:
                    value = await force.read_data_value(raise_on_bad_status=False)
                    text = await batch.read_data_value(raise_on_bad_status=False)
                    if value.Value and value.Value.Value and value.Value.Value >= 15.0:
                        return value.Value.Value, text.Value.Value
                    await asyncio.sleep(0.05)

    try:
        assert wait_for(lambda: answers(port), 60)
        value, batch = asyncio.run(read())
        assert value >= 15.0
        assert batch == "20"
        out, _ = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 0
    assert "60 samples sent" in out
    tags = {t["name"]: t for t in rows_of(tmp_path / "tags.csv")}
    assert float(tags["process_3/main_comp"]["expected_s"]) == pytest.approx(0.05)
    assert tags["process_3/batch"]["role"] == "batch"
    (row,) = rows_of(tmp_path / "sent.csv")
    assert (row["tag"], row["n"], float(row["sum"])) == ("process_3/main_comp", "60", sum(s / 2 for s in range(60)))


def test_the_demo_refuses_a_folder_of_an_earlier_run(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    out = sim("demo", "--keep", str(tmp_path), "--port", "0")
    assert out.returncode == 2
    assert "expected a folder without an earlier run" in out.stderr


def test_help_is_there_for_every_command() -> None:
    for command in ("list", "run", "replay", "demo"):
        assert sim(command, "--help").returncode == 0
    assert os.name == "posix"
