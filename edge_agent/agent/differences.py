"""Where the records of a replay differ from those that are kept, told so that a person can find the place."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import msgspec
import numpy as np

from edge_agent.core import AlarmEvent, Catalogue, Record, Samples, Summaries, Texts, decode
from edge_agent.core.record import SUMMARY_COLUMNS

SCORE_TOLERANCE: Final = 1e-9
"""Relative difference that scores may have on another CPU; alarm transitions must be identical (rule 4)."""
LOOK_AHEAD: Final = 64
"""Records that may be missing or more than expected in a row before the two are compared place by place again."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One place at which a replay differs from the recording: `index` counts kept records from 1."""

    index: int
    where: str
    kept: str
    found: str

    def __str__(self) -> str:
        return f"record {self.index}: {self.where}: expected {self.kept}, found {self.found}"


class Comparison:
    """Two streams of records beside each other; `differences` holds the first `most` places, `count` all of them.

    On another CPU numbers may differ by SCORE_TOLERANCE relative, everything else must be the same.
    """

    def __init__(self, *, same_cpu: bool, most: int = 20) -> None:
        self.compared = 0
        self.count = 0
        self.differences: list[Difference] = []
        self._same_cpu, self._most = same_cpu, most

    def run(self, found: Iterable[Record], kept: Iterable[bytes], catalogue: Catalogue) -> None:
        """Read both to their ends. A record that only one of them has is named as such and comparing goes on behind it."""
        new, old = iter(found), (decode(data) for data in kept)
        ahead: deque[Any] = deque()
        behind: deque[Any] = deque()
        while True:
            ahead.extend(islice(new, 1 if not ahead else 0))
            behind.extend(islice(old, 1 if not behind else 0))
            if not ahead and not behind:
                return
            if ahead and behind and self._same(ahead[0], behind[0]):
                ahead.popleft(), behind.popleft()
                self.compared += 1
                continue
            ahead.extend(islice(new, LOOK_AHEAD - len(ahead)))
            behind.extend(islice(old, LOOK_AHEAD - len(behind)))
            self._tell(ahead, behind, catalogue)

    def _tell(self, ahead: deque[Any], behind: deque[Any], catalogue: Catalogue) -> None:
        """Name what differs at the heads of both queues and take it away, up to the next pair of equal records."""
        more, fewer = self._next_pair(ahead, behind)
        for _ in range(min(more, fewer)):
            self._differ(behind.popleft(), ahead.popleft(), catalogue)
        for _ in range(fewer - more):
            self._differ(behind.popleft(), None, catalogue)
        for _ in range(more - fewer):
            self._differ(None, ahead.popleft(), catalogue)

    def _next_pair(self, ahead: deque[Any], behind: deque[Any]) -> tuple[int, int]:
        """How many records of each stand before the nearest pair of equal ones; one of each, as far as there are, when none is near."""
        for apart in range(1, len(ahead) + len(behind)):
            # Records that changed are likelier than missing ones: look along the diagonal first.
            for more in sorted(range(max(0, apart - len(behind) + 1), min(apart, len(ahead) - 1) + 1), key=lambda m: abs(2 * m - apart)):
                if self._same(ahead[more], behind[apart - more]):
                    return more, apart - more
        return min(1, len(ahead)), min(1, len(behind))

    def _same(self, found: Any, kept: Any) -> bool:
        return bool(found == kept) or (not self._same_cpu and _close(found, kept))

    def _differ(self, kept: Any, found: Any, catalogue: Catalogue) -> None:
        self.compared += 1
        self.count += 1
        if len(self.differences) < self._most:
            self.differences.append(Difference(self.compared, *describe(kept, found, catalogue)))


def describe(kept: Any, found: Any, catalogue: Catalogue) -> tuple[str, str, str]:
    """Where two records differ, what was kept there and what is found: the first field or cell that is not the same."""
    if kept is None or found is None or type(kept) is not type(found):
        return title(kept if kept is not None else found, catalogue), _short(kept), _short(found)
    for where, a, b in _cells(kept, found, catalogue):
        if not _equal(a, b):
            return f"{title(kept, catalogue)}: {where}", repr(a), repr(b)
    return title(kept, catalogue), _short(kept), _short(found)


def title(record: Any, catalogue: Catalogue) -> str:
    """A record in a few words: its kind, whom it is about, when."""
    kind = type(record).__name__
    match record:
        case AlarmEvent():
            return f"{kind} {record.alarm} {record.event} at {_time(record.time_ns)}"
        case Samples() | Texts() | Summaries():
            tags = record.rows["tag"] if isinstance(record, Summaries) else np.asarray(record.tag)
            names = f" {_name(int(tags[0]), catalogue)}{' ...' if len(set(tags.tolist())) > 1 else ''}" if len(tags) else ""
            return f"{kind}{names} received {_time(record.received_ns)}"
    when = getattr(record, "received_ns", None) or getattr(record, "time_ns", None)
    return f"{kind} at {_time(when)}" if isinstance(when, int) else kind


def _cells(kept: Any, found: Any, catalogue: Catalogue) -> Iterator[tuple[str, Any, Any]]:
    """Fields of two records of one kind, cell by cell, as (where, kept, found)."""
    if isinstance(kept, Samples | Summaries | Texts):
        yield "received_ns", kept.received_ns, found.received_ns
        yield "rows", len(kept), len(found)
        a, b = _columns(kept), _columns(found)
        for row in range(len(kept)):
            tag = _name(int(a["tag"][row]), catalogue)
            for column in a:
                yield f"{tag} row {row + 1} {column}", a[column][row], b[column][row]
    elif isinstance(kept, msgspec.Struct):
        for name in kept.__struct_fields__:
            yield name, getattr(kept, name), getattr(found, name)


def _columns(record: Samples | Summaries | Texts) -> dict[str, list[Any]]:
    if isinstance(record, Summaries):
        return {column: record.rows[column].tolist() for column, _ in SUMMARY_COLUMNS}
    return {column: np.asarray(getattr(record, column)).tolist() for column in ("tag", "time_ns", "value", "status")}


def _equal(a: Any, b: Any) -> bool:
    both_nan = isinstance(a, float) and isinstance(b, float) and np.isnan(a) and np.isnan(b)
    return bool(both_nan or np.array_equal(np.asarray(a), np.asarray(b)))


def _name(tag: int, catalogue: Catalogue) -> str:
    return catalogue[tag].name if 0 <= tag < len(catalogue) else f"tag {tag}"


def _time(time_ns: int) -> str:
    return f"{np.datetime64(time_ns, 'ns')}Z"


def _short(record: Any) -> str:
    if record is None:
        return "nothing"
    text = f"{len(record)} rows of {type(record).__name__}" if isinstance(record, Samples | Summaries | Texts) else repr(record)
    return text if len(text) < 300 else text[:297] + "..."


def _close(a: Any, b: Any) -> bool:
    if isinstance(a, Samples) and isinstance(b, Samples):
        return (
            np.array_equal(a.time_ns, b.time_ns) and np.array_equal(a.tag, b.tag) and np.array_equal(a.status, b.status) and _near(a.value, b.value)
        )
    if isinstance(a, Summaries) and isinstance(b, Summaries):
        exact = [c for c, d in SUMMARY_COLUMNS if d != "<f8"]
        return (
            len(a) == len(b)
            and all(np.array_equal(a.rows[c], b.rows[c]) for c in exact)
            and all(_near(a.rows[c], b.rows[c]) for c, d in SUMMARY_COLUMNS if d == "<f8")
        )
    if isinstance(a, AlarmEvent) and isinstance(b, AlarmEvent):
        blank: dict[str, Any] = {"value": None, "contributions": {}, "explanation": ""}
        return msgspec.structs.replace(a, **blank) == msgspec.structs.replace(b, **blank)
    return False


def _near(a: Any, b: Any) -> bool:
    return bool(np.allclose(a, b, rtol=SCORE_TOLERANCE, atol=0, equal_nan=True))
