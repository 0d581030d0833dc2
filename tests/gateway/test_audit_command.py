"""`edge-gateway audit verify` names each of the five ways to change the past; `edge-gateway notify test` tries a receiver."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
import yaml
from typer.testing import CliRunner

from gateway.__main__ import app
from gateway.audit import Trail
from gateway.config import load_config
from gateway.journal import FILE as JOURNAL
from gateway.journal import Journal
from tests.contract.test_notifiers import HttpPeer
from tests.gateway.test_audit import edit, folder, rechain, rewrite

__all__ = ["folder"]


def swapped(folder: Path) -> None:
    def swap(db) -> None:  # type: ignore[no-untyped-def]
        rows = {r[0]: r[1:] for r in db.execute("SELECT seq, body, hash FROM entry WHERE seq IN (5, 8)")}
        db.execute("UPDATE entry SET body=?, hash=? WHERE seq=5", rows[8])
        db.execute("UPDATE entry SET body=?, hash=? WHERE seq=8", rows[5])

    edit(folder, swap)


def rewritten(folder: Path) -> None:
    (folder / "heads.jsonl").write_bytes(b"\n".join(msgspec.json.encode(h) for h in rewrite(folder)))


def anew(folder: Path) -> None:
    edit(folder, lambda db: rechain(db, lambda e: e.update(user="chen") if e["seq"] == 6 else None))


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (lambda f: edit(f, lambda db: db.execute("UPDATE entry SET body=replace(body, 'wang', 'chen') WHERE seq=6")), ["entry 6: was changed"]),
        (lambda f: edit(f, lambda db: db.execute("DELETE FROM entry WHERE seq=6")), ["entry 7: entry 6 was removed before it"]),
        (swapped, ["entry 5: expected number 5 in it, found 8", "entry 8: expected number 8 in it, found 5", "swapped or moved"]),
        (lambda f: edit(f, lambda db: db.execute("DELETE FROM entry WHERE seq > 7")), ["entries 8 to 10 were cut off"]),
        (anew, ["entries 5 to 10: were written anew"]),
        (rewritten, ["entries 1 to 4: were written anew"]),
    ],
    ids=["tampered", "removed", "swapped", "cut off", "chained anew", "rewritten and signed"],
)
def test_each_way_to_change_the_past_is_named_by_the_command(folder: Path, how: Callable[[Path], object], words: list[str]) -> None:
    config = folder / "gateway.yaml"
    config.write_text(yaml.safe_dump({"gateway": {"id": "gw1", "site": "demo", "data_dir": str(folder)}}))
    clean = CliRunner().invoke(app, ["audit", "verify", "-c", str(config)])
    assert clean.exit_code == 0, clean.output
    how(folder)
    heads = folder / "heads.jsonl"
    done = CliRunner().invoke(app, ["audit", "verify", "-c", str(config), *(["--heads", str(heads)] if heads.exists() else [])])
    assert done.exit_code == 1
    for one in words:
        assert one in done.output


def test_an_edge_is_forgotten_with_a_reason_and_by_a_known_name(folder: Path) -> None:
    config = folder / "gateway.yaml"
    config.write_text(yaml.safe_dump({"gateway": {"id": "gw1", "site": "demo", "data_dir": str(folder)}}))
    journal = Journal(folder / JOURNAL)
    journal.apply(tags=[("press-edge-1", 0, "press1/main_force")])
    journal.close()
    ask = lambda *words: CliRunner().invoke(app, ["forget", *words, "-c", str(config)])  # noqa: E731
    wrong = ask("press-edge-9", "--reason", "scrapped")
    assert (wrong.exit_code, "expected one of press-edge-1, found 'press-edge-9'" in wrong.output) == (1, True)
    assert ask("press-edge-1", "--reason", " ").exit_code == 1
    assert ask("press-edge-1", "--reason", "the line was taken down").exit_code == 0
    with closing(Trail(folder, zone="UTC", version="1")) as trail:
        (entry, *_) = trail.entries()
        assert (entry["action"], entry["object"], entry["reason"]) == ("edge_forgotten", "edge press-edge-1", "the line was taken down")
        assert entry["config"] == load_config(config).fingerprint()
        assert list(trail.forgotten()) == ["press-edge-1"]


def test_a_receiver_is_tried(tmp_path: Path) -> None:
    robot = HttpPeer(tmp_path)
    try:
        config = tmp_path / "gateway.yaml"
        receiver = {"name": "robot", "kind": "webhook", "style": "wecom", "url": f"http://127.0.0.1:{robot.port}/", "language": "zh", "label": "一线"}
        sections = {"gateway": {"id": "gw1", "site": "demo", "data_dir": "data"}, "notifications": {"receivers": [receiver]}}
        config.write_text(yaml.safe_dump(sections, allow_unicode=True), "utf-8")
        done = CliRunner().invoke(app, ["notify", "test", "robot", "-c", str(config)])
        assert done.exit_code == 0, done.output
        content = msgspec.json.decode(robot.requests[0][2])["text"]["content"]
        assert content.startswith("一线 测试：无报警。")
        robot.status = 503
        assert CliRunner().invoke(app, ["notify", "test", "robot", "-c", str(config)]).exit_code == 1
        missing = CliRunner().invoke(app, ["notify", "test", "other", "-c", str(config)])
        assert (missing.exit_code, "expected one of robot" in missing.output) == (1, True)
    finally:
        robot.kill()
