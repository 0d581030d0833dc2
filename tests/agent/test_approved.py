"""GMP mode: only what one person proposed and another approved runs; otherwise the last approved configuration goes on."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import msgspec
import pytest
from typer.testing import CliRunner

from edge_agent.__main__ import app
from edge_agent.agent import approving
from edge_agent.agent.agent import Agent
from edge_agent.agent.commit import OUTBOX, STREAMS
from edge_agent.config.approved import Approvals, choose, choose_of, document_of
from edge_agent.core import AlarmEvent, Audit, ConfigError, Log, Refused, decode
from edge_agent.core.change import ChangeApproval, check_change, config_sha256, encode_changes, sign_change
from edge_agent.core.signing import public_keys, signing_key
from tests.agent.line import CONFIG, settings

GMP = CONFIG.replace("id: e1,", "id: e1, gmp: true,")
OTHER = GMP.replace("limit: 16,", "limit: 18,")
NOW = 1_767_600_000 * 10**9


def approve(folder: Path, config: str, *, at: int = NOW, effective: int = NOW, **fields: Any) -> ChangeApproval:
    """What a gateway sends for a configuration; its key is trusted by the edge of the folder."""
    key = signing_key(folder / "gateway-keys")
    keys = folder / "data" / "keys"
    keys.mkdir(parents=True, exist_ok=True)
    for public in (folder / "gateway-keys").glob("*.pub"):
        (keys / public.name).write_bytes(public.read_bytes())
    given = {
        "site": "demo", "edge": "e1", "proposal": 7, "sha256": config_sha256(document_of(settings(folder, config))), "proposed_by": "chen",
        "proposed_name": "Chen", "approved_by": "zhao", "approved_name": "Zhao", "approved_role": "quality", "meaning": "approved for use",
        "reason": "CR-12", "effective_ns": effective, "approved_ns": at, "gateway": "gw1",
    }  # fmt: skip
    return sign_change(ChangeApproval(**(given | fields)), key)


def kept(folder: Path, *approvals: ChangeApproval) -> list[str]:
    return Approvals(folder / "data", site="demo", edge="e1").take(approvals)[1]


def in_force(folder: Path, config: str, now: int = NOW) -> Any:
    """What runs of a configuration, put in force as the agent does."""
    choice = choose(settings(folder, config), folder / "data", now)
    if choice.applied and choice.approval is not None:
        Approvals(folder / "data", site="demo", edge="e1").keep(choice.settings, choice.approval)
    return choice


def limit(choice: Any) -> float:
    return float(choice.settings.alarms[0].limit)


def test_outside_gmp_mode_the_file_runs(tmp_path: Path) -> None:
    choice = in_force(tmp_path, CONFIG)
    assert (choice.problem, limit(choice)) == ("", 16.0)


def test_before_anything_is_approved_nothing_is_read_and_nothing_judged(tmp_path: Path) -> None:
    choice = in_force(tmp_path, GMP)
    assert (choice.settings.sources, choice.settings.alarms, choice.settings.edge.id) == ((), (), "e1")
    assert "no configuration is approved yet" in choice.told


def test_an_edited_limit_is_refused_with_its_difference_until_it_is_approved(tmp_path: Path) -> None:
    assert kept(tmp_path, approve(tmp_path, GMP)) == []
    assert in_force(tmp_path, GMP).applied
    assert not in_force(tmp_path, GMP).applied  # the second start finds it in force
    choice = in_force(tmp_path, OTHER)
    assert limit(choice) == 16.0
    assert [(d.key, d.old, d.new) for d in choice.refused] == [("alarms[press1/force.high].limit", "16.0", "18.0")]
    assert "alarms[press1/force.high].limit: 16.0 -> 18.0" in choice.told
    kept(tmp_path, approve(tmp_path, OTHER, at=NOW + 1, effective=NOW + 60))
    early = in_force(tmp_path, OTHER, NOW + 59)
    assert limit(early) == 16.0
    assert "approved for later" in early.problem
    late = in_force(tmp_path, OTHER, NOW + 60)
    assert (limit(late), late.problem, late.applied) == (18.0, "", True)
    # The approval of what ran before is older than what runs: it does not bring the old limit back.
    assert limit(in_force(tmp_path, GMP, NOW + 100)) == 18.0


def test_an_editor_cannot_leave_gmp_mode_nor_stop_the_edge_with_a_mistake(tmp_path: Path) -> None:
    kept(tmp_path, approve(tmp_path, GMP))
    in_force(tmp_path, GMP)
    left = in_force(tmp_path, OTHER.replace("gmp: true", "gmp: false"))
    assert (limit(left), left.settings.edge.gmp) == (16.0, True)
    assert {d.key for d in left.refused} == {"edge.gmp", "alarms[press1/force.high].limit"}
    for broken in (GMP.replace("kN", "[kN"), GMP.replace("priority: 2", "priority: two"), "edge: {"):
        (tmp_path / "agent.yaml").write_text(broken, "utf-8")
        choice = choose_of(tmp_path / "agent.yaml", NOW)
        assert limit(choice) == 16.0
        assert "has mistakes" in choice.problem
    for other in (OTHER.replace("gmp: true", "gmp: false"), OTHER, CONFIG):
        for named in (other.replace("id: e1", "id: e2"), other.replace("site: demo", "site: elsewhere")):
            renamed = in_force(tmp_path, named)
            assert (limit(renamed), renamed.settings.edge.gmp, renamed.settings.edge.id, renamed.settings.edge.site) == (16.0, True, "e1", "demo")
            assert renamed.problem
            # Signed for this edge all the same: it is the configuration of another one.
            kept(tmp_path, approve(tmp_path, named, at=NOW + 1))
            assert in_force(tmp_path, named).settings.edge.id == "e1"
            assert in_force(tmp_path, named).settings.edge.site == "demo"
    (tmp_path / "agent.yaml").write_text("edge: {", "utf-8")
    (tmp_path / "data" / "approved" / "running.json").unlink()
    with pytest.raises(ConfigError):
        choose_of(tmp_path / "agent.yaml", NOW)


def test_wrong_approvals_are_not_kept(tmp_path: Path) -> None:
    good = approve(tmp_path, GMP)
    own = approve(tmp_path, GMP, approved_by="Chen")
    other_edge = approve(tmp_path, GMP, edge="e2")
    edited = msgspec.structs.replace(good, effective_ns=0)
    stranger = sign_change(good, signing_key(tmp_path / "elsewhere"))
    for wrong, words in ((own, "another person"), (other_edge, "for e1"), (edited, "signature"), (stranger, "trusted")):
        assert words in kept(tmp_path, wrong)[0]
    assert in_force(tmp_path, GMP).approval is None
    check_change(good, public_keys(tmp_path / "data" / "keys"), site="demo", edge="e1")
    with pytest.raises(Refused):
        check_change(good, {}, site="demo", edge="e1")


def test_an_edited_copy_is_not_in_force(tmp_path: Path) -> None:
    kept(tmp_path, approve(tmp_path, GMP))
    in_force(tmp_path, GMP)
    file = tmp_path / "data" / "approved" / "running.json"
    copy = json.loads(file.read_text("utf-8"))
    copy["config"]["alarms"][0]["limit"] = 99.0
    file.write_text(json.dumps(copy), "utf-8")
    assert Approvals(tmp_path / "data", site="demo", edge="e1").running() is None


async def test_a_running_edge_tells_refuses_and_takes_up_an_approval(tmp_path: Path) -> None:
    (tmp_path / "values.csv").write_text("time,press1/force\n" + "".join(f"2026-01-01T00:00:{i:02}Z,12\n" for i in range(40)))
    kept(tmp_path, approve(tmp_path, GMP))
    in_force(tmp_path, GMP)
    path = tmp_path / "agent.yaml"
    choice = choose(settings(tmp_path, OTHER), tmp_path / "data", NOW)
    one = Agent(choice.settings, tmp_path, choice=choice, file=path)
    change = approve(tmp_path, OTHER, at=NOW + 1)
    running = asyncio.create_task(one.run())
    while getattr(one, "_engine", None) is None:
        await asyncio.sleep(0.01)
    one._approving.take((change,))
    await asyncio.wait_for(running, 20)
    assert one.again
    after = choose_of(path, NOW + 5)
    assert (limit(after), after.applied) == (18.0, True)
    log = Log(tmp_path / "data" / "edge.sqlite", STREAMS)
    records: list[Any] = [decode(row.data) for row in log.read(OUTBOX, 0, max_bytes=1 << 30, max_rows=10_000)]
    log.close()
    audit = {r.action: r for r in records if isinstance(r, Audit)}
    assert "limit: 16.0 -> 18.0" in audit["config_refused"].reason
    assert "proposed by chen, approved by zhao (approved for use): CR-12" in audit["approval_kept"].reason
    [alarm] = [r for r in records if isinstance(r, AlarmEvent) and r.alarm == "edge/not_approved"]
    assert (alarm.event, alarm.priority) == ("raise", 2)
    assert "16.0 -> 18.0" in alarm.explanation


def test_the_configuration_is_read_again_only_when_it_or_the_approvals_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    monkeypatch.setattr(approving, "choose_of", lambda file, now: reads.append(file) or choose_of(file, now))
    csv = GMP.replace("models:", "  - csv: tags.csv\nmodels:")
    other = csv.replace("limit: 16,", "limit: 18,")
    tags = tmp_path / "tags.csv"
    tags.write_text("name,source\npress1/torque,history\n", "utf-8")
    kept(tmp_path, approve(tmp_path, csv))
    in_force(tmp_path, csv)
    kept(tmp_path, approve(tmp_path, other, at=NOW + 1))
    one = approving.Approving(in_force(tmp_path, other, NOW + 2), tmp_path / "data", Mock(), tmp_path / "agent.yaml")

    def looks() -> tuple[bool, int]:
        """Whether another configuration took effect within three looks, and how often the files were read."""
        del reads[:]
        return sum(one._took_effect(tmp_path / "agent.yaml") for _ in range(3)) > 0, len(reads)

    assert looks() == (False, 0)  # the approval of what ran before waits for nothing
    tags.write_text("name,source\npress1/power,history\n", "utf-8")
    third = approve(tmp_path, other, at=NOW + 3)
    tags.write_text("name,source\npress1/torque,history\n", "utf-8")
    kept(tmp_path, third)
    assert looks() == (False, 1)
    (tmp_path / "agent.yaml").write_text("edge: {", "utf-8")
    assert looks() == (False, 1)  # somebody is writing it
    settings(tmp_path, other)
    assert looks() == (False, 1)
    tags.write_text("name,source\npress1/power,history\n", "utf-8")
    assert looks() == (True, 1)


def test_the_commands(tmp_path: Path) -> None:
    settings(tmp_path, GMP)
    config = str(tmp_path / "agent.yaml")
    run = CliRunner().invoke
    assert run(app, ["propose", "-c", config, "--reason", "x"]).exit_code == 2
    made = run(app, ["propose", "-c", config, "--reason", "first", "--out", str(tmp_path / "p.json")])
    assert made.exit_code == 0
    proposal = json.loads((tmp_path / "p.json").read_text("utf-8"))
    assert (proposal["edge"], proposal["sha256"]) == ("e1", config_sha256(proposal["config"]))
    assert run(app, ["approved", "-c", config]).exit_code == 1
    (tmp_path / "a.json").write_bytes(encode_changes([approve(tmp_path, GMP)]))
    taken = run(app, ["approved", "-c", config, "--take", str(tmp_path / "a.json")])
    assert taken.exit_code == 0, taken.output
    assert "approved by zhao" in taken.output
    settings(tmp_path, OTHER)
    other = run(app, ["approved", "-c", config])
    assert (other.exit_code, "no configuration is approved yet" in other.output) == (1, True)  # what was approved never ran


def test_a_damaged_key_file_is_told_and_stops_nothing(tmp_path: Path) -> None:
    kept(tmp_path, approve(tmp_path, GMP))
    (tmp_path / "data" / "keys" / "damaged.pub").write_text("not hex\n")
    (tmp_path / "data" / "keys" / "other.pub").write_bytes(b"\xff\xfe")
    assert in_force(tmp_path, GMP).problem == ""
    wrong = Approvals(tmp_path / "data", site="demo", edge="e1").wrong_keys()
    assert [line.partition(": ")[0].rpartition("/")[2] for line in wrong] == ["damaged.pub", "other.pub"]
