"""`edge-agent audit verify`: entries that were changed or taken out are named; what was forgotten by right is no fault."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edge_agent.agent import audit
from edge_agent.agent.commit import AUDIT_LINK, CHECKPOINTS, OUTBOX, STREAMS, Commit, write
from edge_agent.agent.opening import FILE
from edge_agent.config import load_agent
from edge_agent.core import Append, Audit, Log, Note, audit_link, decode, encode, kind_of
from edge_agent.pipeline.chain import Pipeline
from tests.pipeline.line import T0, S, reborn, start

HEAD = {"ts": "2026-01-05T08:00:00.000Z", "key": "k", "sig": "s"}


def head(second: int, seq: int, digest: str) -> Note:
    return Note(received_ns=T0 + second * S, action="audit_head", object="uplink plant", new=json.dumps({"seq": seq, "hash": digest, **HEAD}))


def entries() -> list[Any]:
    notes = [Note(received_ns=T0 + i * S, action="new_epoch", object="outbox", new=str(i)) for i in range(1, 6)]
    return [start(), *notes, head(7, 4, "aa"), head(8, 9, "bb")]


def records(story: list[Any]) -> list[Any]:
    pipeline = Pipeline()
    found = []
    for entry in story:
        pipeline = reborn(pipeline) if pipeline.started else pipeline
        found += [r for r in pipeline.step(entry) if isinstance(r, Audit)]
    return found


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "agent.yaml"
    path.write_text("edge: {site: demo, id: e1, data_dir: data}\n")
    (tmp_path / "data").mkdir()
    return path


def kept(config: Path, story: list[Any]) -> Log:
    log = Log(config.parent / "data" / FILE, STREAMS, synchronous="OFF")
    pipeline, commit = Pipeline(), Commit()
    for entry in story:
        commit.add(entry, pipeline.step(entry))
    write(log, commit, np.ones(100, np.bool_), CHECKPOINTS[0], {})
    return log


def verified(config: Path) -> dict[str, Any]:
    return audit.verify(load_agent(config), config.parent)


def test_each_entry_carries_the_link_of_the_one_before_also_after_a_restart_at_every_entry() -> None:
    found = records(entries())
    assert [r.chain for r in found[1:]] == [audit_link(r) for r in found[:-1]]
    assert found[0].chain == ""


def test_what_is_as_it_was_is_right_and_what_was_delivered_may_be_gone(config: Path) -> None:
    log = kept(config, entries())
    found = verified(config)
    assert (found["faults"], found["entries"], found["heads"]) == ([], 8, 2)
    log.forget(OUTBOX, found["first"] + 2)
    again = verified(config)
    assert again["faults"] == []
    assert again["entries"] < 8
    log.forget(OUTBOX, log.head(OUTBOX).seq)
    assert (verified(config)["faults"], verified(config)["entries"]) == ([], 0)
    log.close()


class Writing:
    """An agent that goes on with its log while somebody looks into it."""

    def __init__(self, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log = Log(config.parent / "data" / FILE, STREAMS, synchronous="OFF")
        self.link = (self.log.value(AUDIT_LINK) or b"").decode()
        self._monkeypatch = monkeypatch

    def write(self) -> None:
        entry = Audit(time_ns=T0, user="pharmedge", role="system", action="note", object="outbox", old="", new="", chain=self.link)
        self.link = audit_link(entry)
        self.log.commit([Append(OUTBOX, kind_of(entry), encode(entry), 0, 0)], values={AUDIT_LINK: self.link.encode()})

    def between(self, name: str, what: Any) -> None:
        """Do something once behind the first call of a method of the log of whoever looks."""
        real, calls = getattr(Log, name), iter([what])

        def then(log: Log, *args: Any, **more: Any) -> Any:
            found = real(log, *args, **more)
            if log is not self.log:
                next(calls, lambda: None)()
            return found

        self._monkeypatch.setattr(Log, name, then)


def test_an_entry_that_a_running_agent_writes_meanwhile_is_no_fault(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept(config, entries()).close()
    agent = Writing(config, monkeypatch)
    agent.between("read", agent.write)
    found = verified(config)
    assert (found["faults"], found["entries"], found["link"]) == ([], 9, agent.link)
    agent.log.close()


def test_entries_that_a_running_agent_forgets_meanwhile_are_no_fault(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept(config, entries()).close()
    agent = Writing(config, monkeypatch)
    for _ in range(1500):
        agent.write()
    agent.between("read", lambda: agent.log.forget(OUTBOX, 1200))
    found = verified(config)
    assert found["faults"] == []
    assert found["first"] == 1201
    agent.log.close()


def rewritten(config: Path, change: Any) -> dict[str, Any]:
    """The same log whose outbox was written anew, so that its CRCs and running CRC all fit."""
    log = kept(config, entries())
    link = log.value(AUDIT_LINK)
    rows = log.read(OUTBOX, 0, max_bytes=1 << 20, max_rows=1000)
    log.close()
    path = config.parent / "data" / FILE
    for file in path.parent.glob(f"{FILE}*"):
        file.unlink()
    log = Log(path, STREAMS, synchronous="OFF")
    items = change([decode(row.data) for row in rows])
    log.commit([Append(OUTBOX, kind_of(item), encode(item), 0, 0) for item in items], values={AUDIT_LINK: link})
    log.close()
    return verified(config)


def test_a_changed_entry_is_named(config: Path) -> None:
    def change(items: list[Any]) -> list[Any]:
        return [msgspec.structs.replace(i, new="99") if isinstance(i, Audit) and i.new == "3" else i for i in items]

    (fault,) = rewritten(config, change)["faults"]
    assert "(new_epoch outbox): was changed" in fault


def test_a_removed_and_a_cut_entry_are_named(config: Path) -> None:
    (fault,) = rewritten(config, lambda items: [i for i in items if not (isinstance(i, Audit) and i.new == "3")])["faults"]
    assert "are gone" in fault


def test_a_cut_end_is_named(config: Path) -> None:
    (fault,) = rewritten(config, lambda items: items[:-1])["faults"]
    assert "cut off" in fault


def test_heads_of_a_gateway_that_went_back_or_changed_are_named(config: Path) -> None:
    kept(config, [*entries(), head(9, 9, "cc"), head(10, 5, "dd")]).close()
    changed, back = verified(config)["faults"]
    assert "has another hash" in changed
    assert "its end was cut off" in back


def test_the_command_says_ok_fault_and_wrong_use(config: Path) -> None:
    def said(*arguments: str) -> tuple[int, str, str]:
        command = [sys.executable, "-m", "edge_agent", "audit", "verify", "-c", str(config), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env={**os.environ, "NUMBA_DISABLE_JIT": "1"})
        return done.returncode, done.stdout, done.stderr

    code, _, error = said()
    assert code == 2
    assert "expected a folder with edge.sqlite" in error
    kept(config, entries()).close()
    assert said()[:2] == (0, "ok: 8 audit entries, 2 heads of gateways\n")
    log = Log(config.parent / "data" / FILE, STREAMS, synchronous="OFF")
    log.forget(OUTBOX, log.head(OUTBOX).seq)
    log.close()
    assert said()[:2] == (0, "nothing there to check: 0 audit entries, 2 heads of gateways\n")
    for file in (config.parent / "data").glob(f"{FILE}*"):
        file.unlink()
    kept_again = rewritten(config, lambda items: items[:-1])
    code, out, _ = said("--json")
    assert (code, json.loads(out)) == (1, kept_again)
    (config.parent / "data" / FILE).write_text("no database at all")
    code, _, error = said()
    assert code == 1
    assert "edge.sqlite: expected a log, found file is not a database" in error
    assert "Traceback" not in error
