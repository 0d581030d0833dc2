"""Settling the accounts of a run: what was sent against what is stored, faults against alarms.

Everything is judged from files anybody can read: sent.csv and truth.jsonl of the simulator, and the CSV exports of the
gateway (`summary`, `gap`, `alarm`).

Per tag (nothing is lost in silence):

    sent = good + uncertain + bad + late + rejected + missing          (declared gaps)

Duplicates that were removed are redeliveries of the protocols, since the simulator sends no sample twice: they are
reported, and stand outside the balance. A positive difference is loss, a negative one duplication.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

COUNTED = ("n_good", "n_uncertain", "n_bad", "n_late", "n_rejected")
SUM_TOLERANCE = 1e-9
"""Relative difference of sums that rounding in another order may leave."""


class AccountError(ValueError):
    """A file of the run cannot be read: `FILE:LINE: column: expected X, found Y`."""


@dataclass(frozen=True)
class Sent:
    """What the simulator handed over of one tag."""

    tag: str
    n: int
    sum: float
    last_s: float = 0.0
    """Source time of the last sample in seconds UTC epoch."""


@dataclass
class TagAccount:
    """The balance of one tag."""

    tag: str
    sent: int = 0
    sent_sum: float = 0.0
    stored: int = 0
    stored_sum: float = 0.0
    missing: int = 0
    duplicates: int = 0
    late: int = 0
    rejected: int = 0
    bad: int = 0

    @property
    def balance(self) -> int:
        """Samples sent that are neither stored nor declared missing; negative when more came out than went in."""
        return self.sent - self.stored - self.missing

    @property
    def sum_differs(self) -> bool:
        """Whether the stored values are not the sent ones; cannot be told where samples are missing or rejected."""
        if self.missing or self.rejected or self.balance:
            return False
        return abs(self.sent_sum - self.stored_sum) > SUM_TOLERANCE * max(1.0, abs(self.sent_sum))


@dataclass(frozen=True)
class Raised:
    """One alarm occurrence; times in seconds UTC epoch as the agent says them."""

    alarm: str
    tag: str
    raised_s: float
    cleared_s: float = math.inf
    """When its condition had gone; inf while it stands."""

    @property
    def about_silence(self) -> bool:
        """Whether it tells that a tag or a source has fallen silent, not that a value is wrong."""
        return self.alarm.endswith(".stale") or (self.alarm.startswith("source/") and self.alarm.endswith(".disconnected"))


@dataclass(frozen=True)
class Injected:
    """One line of truth.jsonl; times in seconds UTC epoch."""

    fault: str
    t_start: float
    t_end: float
    tags: tuple[str, ...]
    detect_within_s: float


@dataclass
class Accounts:
    """The result of a run."""

    tags: list[TagAccount] = field(default_factory=list)
    alarms: list[Raised] = field(default_factory=list)
    false_alarms: list[Raised] = field(default_factory=list)
    faults: list[Injected] = field(default_factory=list)
    detected: list[Injected] = field(default_factory=list)

    @property
    def closed(self) -> bool:
        """Whether every account closes: nothing lost, nothing doubled, no value other than it was sent."""
        return not (self.lost or self.duplicated or any(t.sum_differs for t in self.tags))

    @property
    def lost(self) -> int:
        """Samples lost in silence, over all tags."""
        return sum(max(0, t.balance) for t in self.tags)

    @property
    def duplicated(self) -> int:
        """Samples stored twice, over all tags."""
        return sum(max(0, -t.balance) for t in self.tags)

    def summary(self) -> dict[str, int]:
        """The counts of the run's last line."""
        return {
            "samples_sent": sum(t.sent for t in self.tags),
            "samples_stored": sum(t.stored for t in self.tags),
            "lost": self.lost,
            "duplicated": self.duplicated,
            "declared_missing": sum(t.missing for t in self.tags),
            "duplicates_removed": sum(t.duplicates for t in self.tags),
            "late": sum(t.late for t in self.tags),
            "sums_differ": sum(t.sum_differs for t in self.tags),
            "alarms_raised": len(self.alarms),
            "false_alarms": len(self.false_alarms),
            "faults_injected": len(self.faults),
            "faults_detected": len(self.detected),
        }

    def text(self) -> str:
        """All details as JSON."""
        return json.dumps({
            "summary": self.summary(),
            "tags": [{**asdict(t), "balance": t.balance, "sum_differs": t.sum_differs} for t in self.tags],
            "alarms": [_told(a) for a in self.alarms],
            "false_alarms": [_told(a) for a in self.false_alarms],
            "faults": [{**asdict(f), "detected": f in self.detected} for f in self.faults],
        }, indent=1, ensure_ascii=False)


def _told(alarm: Raised) -> dict[str, object]:
    return {**asdict(alarm), "cleared_s": alarm.cleared_s if math.isfinite(alarm.cleared_s) else None}


def _rows(path: Path, needed: Sequence[str]) -> Iterable[tuple[int, Mapping[str, str]]]:
    with path.open(encoding="utf-8", newline="") as source:
        reader = csv.DictReader(source)
        lacking = [c for c in needed if c not in (reader.fieldnames or ())]
        if lacking:
            raise AccountError(f"{path}:1: columns: expected {', '.join(lacking)}, found {', '.join(reader.fieldnames or ())}")
        for row in reader:
            yield reader.line_num, row


def _int(path: Path, line: int, row: Mapping[str, str], key: str) -> int:
    try:
        return int(row[key])
    except (TypeError, ValueError):
        raise AccountError(f"{path}:{line}: {key}: expected an integer, found {row[key]!r}") from None


def _float(path: Path, line: int, row: Mapping[str, str], key: str) -> float:
    text = row[key]
    if text in ("", None):
        return 0.0  # a window without any value has no sum
    try:
        return float(text)
    except ValueError:
        raise AccountError(f"{path}:{line}: {key}: expected a number, found {text!r}") from None


def read_sent(path: Path) -> list[Sent]:
    """Rows of sent.csv."""
    return [Sent(row["tag"], _int(path, line, row, "n"), _float(path, line, row, "sum"),
                 _int(path, line, row, "last_ns") / 1e9)
            for line, row in _rows(path, ("tag", "n", "first_ns", "last_ns", "sum"))]


def read_truth(path: Path) -> list[Injected]:
    """Lines of truth.jsonl."""
    found: list[Injected] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
            found.append(Injected(str(row["fault"]), float(row["t_start"]), float(row["t_end"]), tuple(row["tags"]),
                                  float(row["detect_within_s"])))
        except (ValueError, KeyError, TypeError) as exc:
            raise AccountError(f"{path}:{number}: expected fault, t_start, t_end, tags and detect_within_s, found {exc}") from None
    return found


def balance(sent: Sequence[Sent], summary_csv: Path, gap_csv: Path) -> list[TagAccount]:
    """The balance of every tag that was sent; other tags of the export (derived ones, texts) are not counted."""
    accounts = {s.tag: TagAccount(s.tag, s.n, s.sum) for s in sent}
    for line, row in _rows(summary_csv, ("tag", *COUNTED, "n_duplicate", "sum")):
        account = accounts.get(row["tag"])
        if account is None:
            continue
        account.stored += sum(_int(summary_csv, line, row, key) for key in COUNTED)
        account.duplicates += _int(summary_csv, line, row, "n_duplicate")
        account.late += _int(summary_csv, line, row, "n_late")
        account.rejected += _int(summary_csv, line, row, "n_rejected")
        account.bad += _int(summary_csv, line, row, "n_bad")
        value = _float(summary_csv, line, row, "sum")
        account.stored_sum += 0.0 if math.isnan(value) else value
    for line, row in _rows(gap_csv, ("tag", "missing")):
        account = accounts.get(row["tag"])
        if account is not None:
            account.missing += _int(gap_csv, line, row, "missing")
    return list(accounts.values())


FLOOD = "edge/flood"


def read_raised(alarm_csv: Path) -> list[Raised]:
    """Every occurrence in the export, once, by raise time; not the flood advisory, which only says that there were many."""
    found: dict[str, Raised] = {}
    for line, row in _rows(alarm_csv, ("alarm", "tag", "occurrence", "raised_ns", "time_ns", "event")):
        if row["alarm"] == FLOOD:
            continue
        which = row["occurrence"]
        if row["event"] == "raise":
            found.setdefault(which, Raised(row["alarm"], row["tag"], _int(alarm_csv, line, row, "raised_ns") / 1e9))
        elif row["event"] == "clear" and which in found:
            found[which] = replace(found[which], cleared_s=_int(alarm_csv, line, row, "time_ns") / 1e9)
    return sorted(found.values(), key=lambda a: a.raised_s)


def while_running(alarms: Sequence[Raised], sent: Sequence[Sent]) -> list[Raised]:
    """Alarms that are not about the plant having fallen silent at the end of the run.

    A stale tag or a silent source raised later than the last sample of the tag (of all tags, for a source) tells that end.
    """
    last = {s.tag: s.last_s for s in sent}
    end = max(last.values(), default=math.inf)
    return [a for a in alarms if not a.about_silence or a.raised_s <= last.get(a.tag, end)]


@dataclass(frozen=True)
class Outage:
    """A program of the run that was killed; times in seconds UTC epoch."""

    victim: str
    t_down: float
    t_up: float

    def explains(self, alarm: Raised) -> bool:
        """Whether the alarm is about a broken link or a silent tag while the program was down or coming back."""
        return alarm.about_silence and self.t_down - STALE_BEFORE_S <= alarm.raised_s <= self.t_up + RECOVERY_S


STALE_BEFORE_S = 30.0
"""A stale alarm carries the time of the last value, which lies before the outage by up to the longest period's share."""
RECOVERY_S = 30.0
"""Seconds in which a restarted program has all its links again."""


def read_outages(path: Path) -> list[Outage]:
    """Lines of outages.jsonl; none when the file is absent, as in a run without kills."""
    if not path.exists():
        return []
    found: list[Outage] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
            found.append(Outage(str(row["victim"]), float(row["t_down"]), float(row["t_up"])))
        except (ValueError, KeyError, TypeError) as exc:
            raise AccountError(f"{path}:{number}: expected victim, t_down and t_up, found {exc}") from None
    return found


def judge_alarms(alarms: Sequence[Raised], faults: Sequence[Injected],
                 outages: Sequence[Outage] = ()) -> tuple[list[Raised], list[Injected]]:
    """Alarms that nothing explains, and faults that an alarm found.

    An alarm is explained by a fault that moves its tag and lasts at its raise time, or by an outage that breaks its link.
    A fault is detected when an alarm naming one of its tags is raised within `detect_within_s` of its start and was not
    standing before: an alarm that still stood at the start of the fault from an earlier cause detects nothing.
    """
    unexplained = [a for a in alarms
                   if not any(f.t_start <= a.raised_s <= f.t_end and a.tag in f.tags for f in faults)
                   and not any(o.explains(a) for o in outages)]
    detected: list[Injected] = []
    for f in faults:
        standing = {a.alarm for a in alarms if a.raised_s < f.t_start < a.cleared_s}
        if any(f.t_start <= a.raised_s <= f.t_start + f.detect_within_s and a.tag in f.tags and a.alarm not in standing
               for a in alarms):
            detected.append(f)
    return unexplained, detected


def settle_accounts(sent_csv: Path, truth_jsonl: Path, summary_csv: Path, gap_csv: Path, alarm_csv: Path,
                    outages: Sequence[Outage] = ()) -> Accounts:
    """All accounts of a run from its files. Raises AccountError naming file and line, OSError when one is absent."""
    faults = read_truth(truth_jsonl)
    sent = read_sent(sent_csv)
    alarms = while_running(read_raised(alarm_csv), sent)
    unexplained, detected = judge_alarms(alarms, faults, outages)
    return Accounts(balance(sent, summary_csv, gap_csv), alarms, unexplained, faults, detected)


def ledger_covers(sent: Sequence[Sent], ledger: Sequence[Mapping[str, object]]) -> bool:
    """Whether the gateway's ledger accounts for at least every sample sent, tag by tag; the sign that a run has settled."""
    known: dict[str, int] = {}
    for row in ledger:
        tag = str(row["tag"])
        known[tag] = known.get(tag, 0) + sum(int(str(row[key])) for key in (*COUNTED, "n_missing"))
    return all(known.get(s.tag, 0) >= s.n for s in sent)
