"""Exports have fixed columns, whole contents and filters, from segments and inbox alike."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from edge_agent.core import Audit, Context, LogError, Texts
from gateway.export import COLUMNS, Format, Kind, Wanted, export
from gateway.store import Store
from tests.gateway.conftest import Clock, feed, seal
from tests.gateway.edge import SECOND, START, Edge

UNIT = "demo/solids/press-line/press1"
CONTRACT = {
    "summary": "edge,tag,version,start_ns,length_ns,part,n_good,n_uncertain,n_bad,n_late,n_rejected,n_duplicate,sum,m2,min,max,first,last,first_ns,"
    "last_ns,worst_status,mode,batch,phase",
    "sample": "edge,tag,version,time_ns,received_ns,value,status",
    "alarm": "edge,alarm,tag,occurrence,raised_ns,time_ns,event,state_from,state_to,priority,value,limit,status,user,reason,action_id",
    "gap": "edge,tag,from_ns,to_ns,missing,cause",
    "audit": "edge,time_ns,user,role,station,action,object,old,new,reason",
}


def _export(folder: Path, kind: Kind, want: Wanted | None = None, form: Format = "csv") -> bytes:
    out = io.BytesIO()
    export(folder, kind, form, out, want or Wanted())
    return out.getvalue()


def _rows(folder: Path, kind: Kind, **want: object) -> list[dict[str, str]]:
    return list(csv.DictReader(_export(folder, kind, Wanted(**want)).decode().splitlines()))  # type: ignore[arg-type]


@pytest.fixture
def folder(opened: Callable[..., Store], clock: Clock) -> Path:
    """Half sealed, half in the inbox, one tag bad for a while, two batches; the store stays open."""
    store = opened()
    edge = Edge()
    edge.define()
    for at, batch in ((0, "B1"), (60, "B2")):
        edge.add(Context(unit=UNIT, role="batch", value=batch, time_ns=START + at * SECOND, received_ns=START))
    edge.summary(edge.samples(0, 60))
    edge.gap(3)
    feed(store, edge.deliver())
    seal(store, clock)
    edge.summary(edge.samples(60, 30))
    edge.summary(edge.samples(90, 10, value=float("nan"), status=0x808C0000))
    edge.add(Texts((START + 5,), (2,), ("B,1",), (0,), START))
    edge.event("raise", "NORM", "UNACK", raised=70, at=70)
    edge.add(Audit(time_ns=START, user="li", action="change", object="limit", old="15", new="16", reason="=trial"))
    feed(store, edge.deliver())
    return store.data_dir


@pytest.mark.parametrize("kind", list(COLUMNS))
def test_columns_are_those_of_the_contract(folder: Path, kind: Kind) -> None:
    assert _export(folder, kind).decode().splitlines()[0] == CONTRACT[kind]
    lines = _export(folder, kind, form="jsonl").decode().splitlines()
    assert ",".join(json.loads(lines[0])) == CONTRACT[kind]
    assert ",".join(pq.read_table(io.BytesIO(_export(folder, kind, form="parquet"))).column_names) == CONTRACT[kind]


def test_summaries_have_batch_and_mode_and_empty_cells_for_no_value(folder: Path) -> None:
    rows = _rows(folder, "summary")
    assert [r["batch"] for r in rows] == ["B1"] * 6 + ["B2"] * 4
    assert {r["mode"] for r in rows} == {"production"}
    assert sum(int(r["n_good"]) for r in rows) == 90
    assert (rows[-1]["n_bad"], rows[-1]["min"], rows[-1]["sum"]) == ("10", "", "0")
    assert rows[0]["tag"] == "press1/main_force"
    assert len(_rows(folder, "summary", batch="B1")) == 6
    assert len(_rows(folder, "summary", from_ns=START + 20 * SECOND, to_ns=START + 40 * SECOND)) == 2


def test_samples_have_numbers_and_texts(folder: Path) -> None:
    rows = _rows(folder, "sample")
    assert len(rows) == 101
    assert rows[0]["value"] == "10"
    assert rows[-1]["value"] == "B,1"
    assert [r["value"] for r in rows if r["status"] == str(0x808C0000)] == [""] * 10
    assert len(_rows(folder, "sample", tag="press-edge-1:press1/main_force", batch="B2")) == 40
    table = pq.read_table(io.BytesIO(_export(folder, "sample", Wanted(tag="press1/batch"), "parquet")))
    assert table.column("value").to_pylist() == ["B,1"]


def test_alarms_gaps_and_audit(folder: Path) -> None:
    (alarm,) = _rows(folder, "alarm", batch="B2")
    assert (alarm["occurrence"], alarm["value"], alarm["limit"]) == (f"press-edge-1~press1/main_force.high~{START + 70 * SECOND}", "16.5", "16")
    assert _rows(folder, "alarm", tag="press1/speed") == []
    (gap,) = _rows(folder, "gap")
    assert (gap["tag"], gap["missing"], gap["cause"]) == ("press1/main_force", "3", "disconnected")
    (audit,) = _rows(folder, "audit")
    assert audit["reason"] == "=trial"
    safe = io.BytesIO()
    export(folder, "audit", "csv", safe, Wanted(), safe=True)
    assert next(csv.DictReader(safe.getvalue().decode().splitlines()))["reason"] == "'=trial"
    assert (audit["user"], audit["old"], audit["new"]) == ("li", "15", "16")


def test_what_is_committed_and_not_yet_applied_is_exported_too(opened: Callable[..., Store], clock: Clock) -> None:
    """A gateway killed between commit and journal leaves files that an export must read whole."""
    store = opened()
    edge = Edge()
    edge.define()
    edge.summary(edge.samples(0, 60))
    edge.gap(3)
    edge.event("raise", "NORM", "UNACK")
    store.take([(edge.deliver(), clock())])
    assert store.journal.applied == 0
    assert len(_rows(store.data_dir, "summary")) == 6
    assert [r["tag"] for r in _rows(store.data_dir, "gap")] == ["press1/main_force"]
    assert len(_rows(store.data_dir, "alarm")) == 1


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_json_lines_have_null_for_what_is_no_number(opened: Callable[..., Store], value: float) -> None:
    store = opened()
    edge = Edge()
    edge.define()
    edge.samples(0, 1, value=value)
    edge.samples(1, 1, value=2.0)
    feed(store, edge.deliver())
    rows = [json.loads(line) for line in _export(store.data_dir, "sample", form="jsonl").splitlines()]
    assert [r["value"] for r in rows] == [None, 2.0]


def test_no_data_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LogError, match=r"found no inbox\.sqlite"):
        _export(tmp_path, "gap")
