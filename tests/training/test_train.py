"""Static models from recorded data to the running agent: what teaches them, what they are checked against, what happens when a file changes."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

from edge_agent.__main__ import app
from edge_agent.agent.model_watch import ModelWatch
from edge_agent.agent.replay import csv_entries
from edge_agent.config import load_agent, start_of
from edge_agent.config.trained import trained_models
from edge_agent.core import AlarmEvent, Audit, ConfigError, Note, Record, Start, encode, pack, unpack
from edge_agent.core.model_file import ModelFile, decode_model, encode_model, read
from edge_agent.core.signing import public_keys
from edge_agent.pipeline.chain import Pipeline
from edge_agent.training.gather import FOREVER, gathered
from tests.training.plant import T0, N, config, recorded

runner = CliRunner()
S = 1_000_000_000


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recording, and both models trained on it."""
    folder = tmp_path_factory.mktemp("plant")
    recorded(folder / "day.csv", 1)
    (folder / "bad.csv").write_text("batch,disposition\nB2,rejected\n")
    path = config(folder, advisory=True)
    for name in ("force", "press1"):
        done = cli("model", "train", "-c", path, "--model", name, "--input", folder / "day.csv", "--rejected", folder / "bad.csv",
                   "--out", folder / f"{name}.model", "--user", "Engineer", "--reason", "first campaign")  # fmt: skip
        assert done.exit_code == 0, done.output
    return folder


@pytest.fixture
def plant(made: Path, tmp_path: Path) -> Path:
    """The same folder, for one test alone."""
    return Path(shutil.copytree(made, tmp_path / "plant"))


def cli(*words: Any) -> Any:
    return runner.invoke(app, [str(w) for w in words])


def approve(plant: Path, name: str = "force", **changes: str) -> Any:
    said = {"user": "Quality", "role": "quality unit", "reason": "report 7", "meaning": "use"} | changes
    options = [word for key, value in said.items() for word in (f"--{key}", value)]
    return cli("model", "approve", plant / f"{name}.model", "-c", plant / "agent.yaml", *options)


def test_only_what_the_pipeline_would_have_learned_from_teaches(plant: Path) -> None:
    model = read(plant / "press1.model")
    assert model.training.rows_left_out["mode"] == 400
    assert model.training.rows_left_out["bad"] == 10
    assert model.training.rows_left_out["batch"] == 1000
    assert 20 <= model.training.rows_left_out["alarm"] <= 22
    assert model.training.rows_used + model.training.rows_left_out["incomplete"] == N
    assert model.training.windows == ((T0 * S, (T0 + N - 1) * S),)
    assert list(model.training.files) == ["day.csv"]
    assert (model.trained_by, model.reason, model.units) == ("Engineer", "first campaign", {"press1/force": "kN", "press1/speed": "r/min"})
    ewma = read(plant / "force.model")
    assert ewma.training.rows_used == N - 200 - 10 - 500 - ewma.training.rows_left_out["alarm"]
    assert float(ewma.arrays["learned.mu"][0]) == pytest.approx(10, abs=0.1)
    assert float(ewma.arrays["learned.sigma"][0]) == pytest.approx(1, abs=0.1)


def test_a_window_of_time_and_no_rejected_batches(plant: Path) -> None:
    settings = load_agent(plant / "agent.yaml")
    rows = gathered(settings, 0, [plant / "day.csv"], from_ns=(T0 + 1000) * S, to_ns=(T0 + 1499) * S)
    assert rows.left_out == {"outside": N - 500}
    assert len(rows.of(0)[0]) == 500
    assert gathered(settings, 0, [plant / "day.csv"], to_ns=FOREVER).left_out["mode"] == 200


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--model", "none"), 2, "--model: expected the name of one model (force, press1), found 0 called 'none'"),
        (("--model", "force", "--from", "yesterday"), 2, "--from: expected a time"),
        (("--model", "force", "--to", "2026-01-01T00:00:05Z"), 1, "press1/force: expected at least 10 usable rows, found 6"),
        (("--model", "force", "--out", "force.model"), 2, "expected a new file"),
        (("--model", "force", "--rejected", "day.csv"), 1, "day.csv:1: expected a column batch"),
    ],
)
def test_what_cannot_be_trained_is_told_in_a_line(plant: Path, words: tuple[str, ...], code: int, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(plant)
    done = cli("model", "train", "-c", "agent.yaml", "--input", "day.csv", *(("--out", "new.model") if "--out" not in words else ()), *words)
    assert done.exit_code == code, done.output
    assert said in done.output
    assert not (plant / "new.model").exists()


def test_a_critical_alarm_needs_an_approved_model(plant: Path) -> None:
    """Adaptive, unapproved, approved for advice, approved from tomorrow on: each is refused with the line; then it is accepted."""
    path = config(plant)
    said = "agent.yaml:15: alarms[1].tag: expected advisory: true, or a static model, on a gmp_critical tag, found an adaptive model"
    assert said in check(path, 2)
    path = config(plant, ewma="force.model", pca="press1.model")
    assert "agent.yaml:11: models[0].file: expected approval: one beside it" in check(path, 2)
    assert approve(plant, user="engineer").exit_code == 1
    assert approve(plant, meaning="advisory").exit_code == 0
    assert "expected approval.meaning: approved for use" in check(path, 2)
    assert approve(plant, effective="2999-01-01").exit_code == 0
    assert "expected approval.effective_ns: an approval in force, found one from 2999-01-01T00:00:00+00:00 on" in check(path, 2)
    assert approve(plant).exit_code == 0
    assert ": ok, " in check(path, 0)
    shutil.rmtree(plant / "data")
    assert "expected key: a trusted key (there is none)" in check(path, 2)


def check(path: Path, code: int) -> str:
    done = cli("check", "-c", path)
    assert done.exit_code == code, done.output
    return str(done.output)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: msgspec.structs.replace(m, kind="cusum"), "expected kind: ewma, found cusum"),
        (lambda m: msgspec.structs.replace(m, config=m.config | {"lambda": 0.5}), "expected config.lambda: 0.2 as configured, found 0.5"),
        (lambda m: msgspec.structs.replace(m, arrays=m.arrays | {"learned.mu": np.zeros((1, 2))}), "expected arrays.mu: [] float64, found [2]"),
        (lambda m: msgspec.structs.replace(m, arrays=m.arrays | {"learned.mu": np.zeros(0)}), "expected arrays: those of 1 tags"),
        (lambda m: msgspec.structs.replace(m, tags=("press2/force",)), "expected tags: also press1/force, found press2/force"),
        (lambda m: msgspec.structs.replace(m, units={"press1/force": "N"}), "expected units.press1/force: 'kN', found 'N'"),
    ],
)
def test_a_file_that_does_not_fit_the_configuration_is_refused(plant: Path, change: Any, said: str) -> None:
    path = config(plant, ewma="other.model", advisory=True)
    (plant / "other.model").write_bytes(encode_model(change(read(plant / "force.model"))))
    assert said in check(path, 2)
    with pytest.raises(ConfigError, match="expected"):
        start_of(load_agent(path), 0)


def test_a_file_of_a_version_with_another_warm_up_goes_on(plant: Path) -> None:
    path = config(plant, ewma="other.model", advisory=True)
    file = read(plant / "force.model")
    (plant / "other.model").write_bytes(encode_model(msgspec.structs.replace(file, config=file.config | {"warmup": 77})))
    assert "ok" in check(path, 0)


def test_a_damaged_and_a_missing_file_are_told_with_the_key(plant: Path) -> None:
    path = config(plant, ewma="force.model", pca="none.model", advisory=True)
    data = bytearray((plant / "force.model").read_bytes())
    data[-3] ^= 1
    (plant / "force.model").write_bytes(bytes(data))
    said = check(path, 2)
    assert "models[0].file: expected sha256: " in said
    assert "models[1].file: expected (file): a readable model file, found No such file or directory (none.model)" in said


def run(plant: Path, *, cut: int | None = None) -> tuple[Pipeline, list[Record]]:
    settings = load_agent(plant / "agent.yaml")
    pipeline, records = Pipeline(), []
    for i, entry in enumerate(csv_entries(settings, [plant / "next.csv"], scores=False)):
        records += pipeline.step(entry)
        if cut is not None and i % cut == cut - 1:
            saved = pack(pipeline.state())
            pipeline = Pipeline()
            pipeline.restore(unpack(saved))
    return pipeline, records


def test_a_static_model_judges_from_its_first_row_and_never_learns(plant: Path) -> None:
    """A shift of 1.5 sigma that begins with the recording: an adaptive chart would take it for normal."""
    config(plant, ewma="force.model", pca="press1.model", advisory=True)
    recorded(plant / "next.csv", 2, shift=1.5, t0=T0 + 86_400)
    pipeline, records = run(plant)
    raised = [r for r in records if isinstance(r, AlarmEvent) and r.event == "raise"]
    assert min(r.raised_ns for r in raised if r.alarm == "press1/force.shift") < (T0 + 86_400 + 60) * S
    drift = {r.alarm: r for r in raised if r.alarm.endswith(".drift.ratio.high")}
    assert set(drift) == {f"{tag}.drift.ratio.high" for tag in ("press1/force.ewma.z", "press1.pca.t2", "press1.pca.spe")}
    assert all(r.advisory for r in drift.values())
    assert drift["press1/force.ewma.z.drift.ratio.high"].contributions["index"] > 0.25
    assert not any(t.adaptive for t in pipeline.catalogue if t.derived_from)
    hashes = {read(plant / f"{n}.model").sha256 for n in ("force", "press1")}
    assert {t.model.partition(":")[2] for t in pipeline.catalogue if t.derived_from} == hashes


def test_without_a_change_no_drift_is_said(plant: Path) -> None:
    config(plant, ewma="force.model", pca="press1.model", advisory=True)
    for seed in range(3, 6):
        recorded(plant / "next.csv", seed, t0=T0 + 86_400)
        _, records = run(plant)
        assert not [r.alarm for r in records if isinstance(r, AlarmEvent) and "drift" in r.alarm]


def test_restarts_change_no_record_of_static_models(plant: Path) -> None:
    config(plant, ewma="force.model", pca="press1.model", advisory=True)
    recorded(plant / "next.csv", 7, shift=0.5, n=1200)
    _, whole = run(plant)
    _, again = run(plant, cut=97)
    assert any(isinstance(r, AlarmEvent) for r in whole)
    assert [encode(r) for r in again] == [encode(r) for r in whole]


def test_training_again_on_the_same_data_gives_the_same_arrays(plant: Path) -> None:
    path = config(plant, advisory=True)
    done = cli("model", "train", "-c", path, "--model", "force", "--input", plant / "day.csv", "--rejected", plant / "bad.csv",
               "--out", plant / "again.model")  # fmt: skip
    assert done.exit_code == 0, done.output
    a, b = read(plant / "force.model"), read(plant / "again.model")
    assert a.training == b.training
    assert pack(a.arrays) == pack(b.arrays)


def begun(plant: Path, previous: Start | None) -> tuple[Start, Any]:
    settings = load_agent(plant / "agent.yaml")
    found = trained_models(settings, keys=public_keys(plant / "data" / "model_keys"), now_ns=2**62, previous=previous)
    return start_of(settings, 0, previous, found), found


def audits(pipeline: Pipeline, start: Start) -> list[Audit]:
    return [r for r in pipeline.step(start) if isinstance(r, Audit) and r.action.startswith("model_")]


def test_an_approval_is_audited_and_a_changed_file_is_refused_in_favour_of_the_approved_model(plant: Path) -> None:
    path = config(plant, ewma="force.model")
    assert approve(plant, effective="2026-03-01T08:00:00+08:00").exit_code == 0
    good = read(plant / "force.model").sha256
    pipeline = Pipeline()
    first, _ = begun(plant, None)
    told = audits(pipeline, first)
    assert [(a.action, a.user, a.role, a.new) for a in told] == [
        ("model_approved", "Quality", "quality unit", good), ("model_in_force", "pharmedge", "system", good)
    ]  # fmt: skip
    assert told[0].reason.startswith("approved for use: report 7; from 2026-03-01T00:00:00Z on; signature ")
    assert audits(pipeline, begun(plant, first)[0]) == []
    # another model under the same name, which nobody approved
    file: ModelFile = read(plant / "force.model")
    (plant / "force.model").write_bytes(encode_model(msgspec.structs.replace(file, arrays=file.arrays | {"learned.mu": np.array([50.0])})))
    assert "models[0].file: expected model_sha256" in check(path, 2)
    second, found = begun(plant, first)
    assert found.by_place[0].sha256 == good
    told = audits(pipeline, second)
    assert [(a.action, a.new) for a in told] == [("model_refused", good)]
    assert second.config["judgements"] == first.config["judgements"]
    assert audits(pipeline, begun(plant, second)[0]) == []
    (plant / "force.model").unlink()
    assert begun(plant, second)[1].by_place[0].sha256 == good
    with pytest.raises(ConfigError, match=r"force\.model:1: \(file\): expected a readable model file"):
        begun(plant, None)


def test_an_unapproved_model_of_the_journal_never_goes_on_where_an_approval_is_asked_for(plant: Path) -> None:
    config(plant, ewma="force.model", advisory=True)
    first, _ = begun(plant, None)
    config(plant, ewma="force.model")
    with pytest.raises(ConfigError, match="approval: expected one beside it"):
        begun(plant, first)


def test_where_no_approval_is_asked_for_a_new_file_takes_over_and_is_audited(plant: Path) -> None:
    config(plant, ewma="force.model", advisory=True)
    pipeline = Pipeline()
    first, _ = begun(plant, None)
    old = read(plant / "force.model")
    audits(pipeline, first)
    (plant / "force.model").write_bytes(encode_model(msgspec.structs.replace(old, reason="second")))
    second, _ = begun(plant, first)
    new = read(plant / "force.model").sha256
    assert [(a.action, a.old, a.new) for a in audits(pipeline, second)] == [("model_in_force", old.sha256, new)]
    config(plant, advisory=True)
    assert [(a.action, a.old) for a in audits(pipeline, begun(plant, second)[0])] == [("model_gone", new)]


def test_a_running_agent_notices_that_a_file_changed_and_says_it_once(plant: Path) -> None:
    settings = load_agent(config(plant, ewma="force.model", advisory=True))
    watch = ModelWatch(settings, plant / "data" / "model_keys")
    watch.begin(settings, 0, None)
    assert watch.changes() == []
    old = read(plant / "force.model").sha256
    (plant / "force.model").write_bytes((plant / "press1.model").read_bytes())
    assert watch.changes() == [("model ewma force", old, read(plant / "press1.model").sha256)]
    assert watch.changes() == []
    (plant / "force.model").unlink()
    assert watch.changes()[0][2] == ""


def test_more_arrays_than_the_journal_should_hold_are_refused(plant: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = config(plant, ewma="force.model", pca="press1.model", advisory=True)
    monkeypatch.setattr("edge_agent.config.trained.MOST_BYTES", 1000)
    said = check(path, 2)
    assert "models[0].file" not in said
    assert "models[1].file: expected arrays: at most 1000 bytes in all model files of an edge, found" in said


def test_models_of_several_tags_go_on_from_the_journal_too(plant: Path) -> None:
    config(plant, ewma="force.model", pca="press1.model", advisory=True)
    first, found = begun(plant, None)
    (plant / "press1.model").unlink()
    (plant / "force.model").write_bytes(b"damaged")
    second, again = begun(plant, first)
    assert {place: str(error).split(": ")[1] for place, error in again.refused.items()} == {0: "line 1", 1: "(file)"}
    assert again.by_place == found.by_place
    assert (second.config["groups"], second.config["judgements"]) == (first.config["groups"], first.config["judgements"])
    config(plant, ewma="force.model", pca="press1.model", advisory=True, more="windows: {length_s: 5}\n")
    assert begun(plant, second)[1].by_place == found.by_place
    path = config(plant, ewma="force.model", pca="press1.model", advisory=True)
    path.write_text(path.read_text().replace("kind: pca", "kind: pca, quantile: 0.95"))
    with pytest.raises(ConfigError, match=r"press1\.model"):
        begun(plant, second)


async def test_a_change_becomes_a_note_in_the_journal(plant: Path) -> None:
    looks = 0

    async def sleep(seconds: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 2:
            (plant / "force.model").write_bytes((plant / "press1.model").read_bytes())
        if looks == 5:
            raise asyncio.CancelledError

    settings = load_agent(config(plant, ewma="force.model", advisory=True))
    watch = ModelWatch(settings, plant / "data" / "model_keys", sleep)
    watch.begin(settings, 0, None)
    notes: list[Note] = []
    with pytest.raises(asyncio.CancelledError):
        await watch.run(lambda entry_at: notes.append(entry_at(9)))
    assert [(n.received_ns, n.action, n.object, n.new) for n in notes] == [
        (9, "model_file_changed", "model ewma force", read(plant / "press1.model").sha256)
    ]  # fmt: skip


def test_list_and_verify(plant: Path) -> None:
    path = config(plant, ewma="force.model", pca="press1.model")
    done = cli("model", "list", plant)
    assert done.exit_code == 0
    assert "force.model: ewma force, 1 tags, " in done.output
    assert approve(plant).exit_code == 0
    done = cli("model", "verify", "-c", path, plant / "force.model")
    assert done.exit_code == 0
    assert "approved for use by Quality" in done.output
    (plant / "press1.model").write_bytes(b"pickle")
    done = cli("model", "verify", "-c", path, plant / "press1.model")
    assert done.exit_code == 1
    assert "press1.model: line 1: expected a Pharmedge model" in done.output
    assert cli("model", "list", plant).exit_code == 1
    assert cli("model", "verify").exit_code == 2


def test_the_file_is_what_the_page_says(plant: Path) -> None:
    data = (plant / "force.model").read_bytes()
    first, _, rest = data.partition(b"\n")
    assert first.startswith(b"pharmedge model 1 ")
    assert msgspec.json.decode(rest[: int(first.split()[-1])])["kind"] == "ewma"
    assert decode_model(data).sha256
