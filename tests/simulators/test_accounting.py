"""Accounts on files written by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from simulators.accounting import (
    AccountError,
    Injected,
    Raised,
    Sent,
    judge_alarms,
    ledger_covers,
    read_outages,
    read_raised,
    read_sent,
    read_truth,
    settle_accounts,
    while_running,
)

SUMMARY_HEADER = ("edge,tag,version,start_ns,length_ns,part,n_good,n_uncertain,n_bad,n_late,n_rejected,n_duplicate,sum,m2,min,max,first,"
                  "last,first_ns,last_ns,worst_status,mode,batch,phase")
GAP_HEADER = "edge,tag,from_ns,to_ns,missing,cause"
ALARM_HEADER = ("edge,alarm,tag,occurrence,raised_ns,time_ns,event,state_from,state_to,priority,value,limit,status,user,reason,"
                "action_id")


def window(tag: str, *, part: int = 1, good: int = 0, uncertain: int = 0, bad: int = 0, late: int = 0, rejected: int = 0,
           duplicate: int = 0, total: float | str = 0.0) -> str:
    return f"e,{tag},1,0,10,{part},{good},{uncertain},{bad},{late},{rejected},{duplicate},{total},0,0,0,0,0,0,0,0,production,B,p"


class Run:
    """The files of one run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sent = ["tag,n,first_ns,last_ns,sum"]
        self.summary = [SUMMARY_HEADER]
        self.gap = [GAP_HEADER]
        self.alarm = [ALARM_HEADER]
        self.truth: list[str] = []

    def files(self) -> tuple[Path, Path, Path, Path, Path]:
        paths = tuple(self.folder / n for n in ("sent.csv", "truth.jsonl", "summary.csv", "gap.csv", "alarm.csv"))
        for path, lines in zip(paths, (self.sent, self.truth, self.summary, self.gap, self.alarm), strict=True):
            path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        a, b, c, d, e = paths
        return a, b, c, d, e


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def test_a_balanced_run(run: Run) -> None:
    run.sent += ["a,10,1,9,45.0", "b,0,0,0,0.0"]
    run.summary += [window("a", good=6, bad=1, total=30.0), window("a", part=2, late=2, total=15.0), window("a", uncertain=1),
                    window("a.ewma.z", good=99)]
    found = settle_accounts(*run.files())
    assert found.summary() == {
        "samples_sent": 10, "samples_stored": 10, "lost": 0, "duplicated": 0, "declared_missing": 0, "duplicates_removed": 0,
        "late": 2, "sums_differ": 0, "alarms_raised": 0, "false_alarms": 0, "faults_injected": 0, "faults_detected": 0,
    }


def test_loss_and_duplication_of_different_tags_do_not_cancel(run: Run) -> None:
    run.sent += ["a,10,1,9,1.0", "b,10,1,9,1.0"]
    run.summary += [window("a", good=9), window("b", good=12)]
    found = settle_accounts(*run.files())
    assert (found.lost, found.duplicated) == (1, 2)


def test_declared_gaps_balance_and_removed_duplicates_stand_outside(run: Run) -> None:
    run.sent += ["a,10,1,9,1.0"]
    run.summary += [window("a", good=6, duplicate=3, total=0.5), window("a", rejected=1)]
    run.gap += ["e,a,5,8,2,disconnected", "e,a,8,9,1,disconnected", "e,other,8,9,7,disconnected"]
    found = settle_accounts(*run.files())
    assert (found.lost, found.duplicated) == (0, 0)
    assert found.summary()["declared_missing"] == 3
    assert found.summary()["duplicates_removed"] == 3
    assert found.summary()["sums_differ"] == 0  # cannot be told with samples missing


def test_a_changed_value_shows_in_the_sum(run: Run) -> None:
    run.sent += ["a,2,1,9,3.0"]
    run.summary += [window("a", good=2, total=3.001)]
    found = settle_accounts(*run.files())
    assert found.summary()["sums_differ"] == 1
    assert not found.closed


def test_a_window_without_values_has_no_sum(run: Run) -> None:
    run.sent += ["a,2,1,9,0.0"]
    run.summary += [window("a", bad=1, total=""), window("a", bad=1, total="nan")]
    assert settle_accounts(*run.files()).summary()["sums_differ"] == 0


FAULT = Injected("low_lubricant", 100.0, 110.0, ("a", "b"), 6.0)


def test_an_alarm_is_explained_by_tag_and_time() -> None:
    explained = [Raised("a.high", "a", 100.0), Raised("b.low", "b", 110.0)]
    false = [Raised("a.high", "a", 99.9, 99.95), Raised("a.high", "a", 110.1), Raised("c.high", "c", 105.0)]
    unexplained, detected = judge_alarms([*explained, *false], [FAULT])
    assert unexplained == false
    assert detected == [FAULT]


def test_silence_after_the_last_sample_is_no_alarm_of_the_run() -> None:
    sent = [Sent("a", 3, 1.0, 200.0), Sent("b", 3, 1.0, 198.0)]
    during = [Raised("a.high", "a", 200.0), Raised("a.ewma.z.high", "a.ewma.z", 199.9), Raised("source/x.disconnected", "", 150.0)]
    after = [Raised("a.stale", "a", 200.01), Raised("b.stale", "b", 198.01), Raised("source/x.disconnected", "", 202.0)]
    other = [Raised("a.high", "a", 200.5), Raised("edge/log_damaged", "", 203.0)]  # an end of the plant explains neither
    assert while_running([*during, *after, *other], sent) == [*during, *other]


def test_an_outage_explains_broken_links_and_silence_but_no_limit(tmp_path: Path) -> None:
    path = tmp_path / "outages.jsonl"
    assert read_outages(path) == []
    path.write_text('{"victim": "broker", "t_down": 300.0, "t_up": 301.0}\n', encoding="utf-8")
    outages = read_outages(path)
    links = [Raised("source/x.disconnected", "", 300.4), Raised("a.stale", "a", 298.0)]
    others = [Raised("a.high", "a", 300.4), Raised("source/x.disconnected", "", 400.0), Raised("edge/log_damaged", "", 300.4)]
    assert judge_alarms([*links, *others], [], outages)[0] == others
    path.write_text('{"victim": "broker"}\n', encoding="utf-8")
    with pytest.raises(AccountError, match=r"outages\.jsonl:1: expected victim, t_down and t_up"):
        read_outages(path)


def test_a_late_or_foreign_alarm_detects_nothing() -> None:
    assert judge_alarms([Raised("a.high", "a", 106.1)], [FAULT])[1] == []
    assert judge_alarms([Raised("a.high", "a", 90.0)], [FAULT])[1] == []  # stood before
    assert judge_alarms([Raised("c.high", "c", 101.0)], [FAULT])[1] == []


def test_an_occurrence_counts_once(run: Run) -> None:
    row = "e,a.high,a,e~a.high~5000000000,5000000000,{},{},NORM,UNACK,2,1,0.5,0,,,"
    run.alarm += [row.format(6, "raise"), row.format(7, "acknowledge"), row.format(8, "raise")]
    (only,) = read_raised(run.files()[4])
    assert only == Raised("a.high", "a", 5.0)


def test_an_alarm_that_still_stood_when_the_fault_began_detects_nothing(run: Run) -> None:
    row = "e,{0},a,e~{0}~{1},{1},{2},{3},NORM,UNACK,2,1,0.5,0,,,"
    second = 1_000_000_000
    run.alarm += [row.format("a.high", 95 * second, 95 * second, "raise"), row.format("a.high", 95 * second, 101 * second, "clear"),
                  row.format("a.high", 103 * second, 103 * second, "raise")]
    alarms = read_raised(run.files()[4])
    assert [(a.raised_s, a.cleared_s) for a in alarms] == [(95.0, 101.0), (103.0, float("inf"))]
    assert judge_alarms(alarms, [FAULT])[1] == []
    gone_before = [Raised("a.high", "a", 95.0, 99.9), Raised("a.high", "a", 103.0)]
    assert judge_alarms(gone_before, [FAULT])[1] == [FAULT]
    another = [Raised("a.high", "a", 95.0), Raised("a.rate", "a", 103.0)]
    assert judge_alarms(another, [FAULT])[1] == [FAULT]


def test_truth_is_read(run: Run) -> None:
    run.truth += [json.dumps({"fault": "x", "t_start": 1.5, "t_end": 2.5, "tags": ["a"], "detect_within_s": 3})]
    assert read_truth(run.files()[1]) == [Injected("x", 1.5, 2.5, ("a",), 3.0)]


@pytest.mark.parametrize(("place", "line", "message"), [
    ("sent", "a,ten,1,9,1.0", r"sent\.csv:2: n: expected an integer, found 'ten'"),
    ("summary", window("a", total="much"), r"summary\.csv:2: sum: expected a number, found 'much'"),
    ("gap", "e,a,1,2,,x", r"gap\.csv:2: missing: expected an integer, found ''"),
    ("truth", '{"fault": "x"}', r"truth\.jsonl:1: expected fault, t_start"),
])
def test_damaged_files_are_named_with_their_line(run: Run, place: str, line: str, message: str) -> None:
    run.sent += ["a,1,1,9,1.0"] if place != "sent" else []
    getattr(run, place).append(line)
    with pytest.raises(AccountError, match=message):
        settle_accounts(*run.files())


def test_a_missing_column_is_named(run: Run) -> None:
    run.gap[0] = "edge,tag"
    with pytest.raises(AccountError, match="expected missing, found edge, tag"):
        settle_accounts(*run.files())


def test_the_ledger_covers_a_run_tag_by_tag(run: Run) -> None:
    run.sent += ["a,3,1,9,1.0", "b,2,1,9,1.0", "c,0,0,0,0.0"]
    sent = read_sent(run.files()[0])
    assert sent[0] == Sent("a", 3, 1.0, 9e-9)
    row = {"n_good": 2, "n_uncertain": 0, "n_bad": 0, "n_late": 1, "n_rejected": 0, "n_duplicate": 5, "n_missing": 0}
    assert not ledger_covers(sent, [{"tag": "a", **row}])
    assert not ledger_covers(sent, [{"tag": "a", **row}, {"tag": "b", **row, "n_good": 0}])
    assert ledger_covers(sent, [{"tag": "a", **row}, {"tag": "b", **row, "n_good": 1}])
