"""Reading back from where the InfluxDB target writes: InfluxQL, which InfluxDB 1, 2 and 3 answer, and the export of VictoriaMetrics.

A reader has connections of its own: any thread may ask while the target writes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from edge_agent.core import NotConnected, Samples, Texts
from gateway.targets.target import TooMany

MOST: Final = 200_000
"""Values that one question may bring."""
_LARGEST: Final = 64 << 20
_MS: Final = 1_000_000


def influxql(text: str) -> str:
    r"""A text in a question.

    >>> influxql("it's")
    "'it\\'s'"
    """
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


class Asking:
    """GET with a bound on what comes back."""

    def __init__(self, name: str, url: str, headers: Mapping[str, str], timeout_s: float) -> None:
        from urllib3 import PoolManager, Timeout

        self._name, self._url = name, url.rstrip("/")
        self._pool = PoolManager(headers=dict(headers), timeout=Timeout(timeout_s), retries=False, maxsize=4)

    def get(self, path: str, fields: Mapping[str, str]) -> bytes:
        """The body of an answer; NotConnected when there is none or it is an error, TooMany when it is too long."""
        from urllib3.exceptions import HTTPError

        try:
            answer = self._pool.request("GET", self._url + path, fields=dict(fields), preload_content=False)
            try:
                body = answer.read(_LARGEST + 1)
            finally:
                answer.release_conn()
        except (HTTPError, OSError) as error:
            raise NotConnected(f"{self._name}: {error}") from error
        if answer.status != 200:
            raise NotConnected(f"{self._name}: {answer.status}: {body[:200].decode('utf-8', 'replace')}")
        if len(body) > _LARGEST:
            raise TooMany(f"{self._name}: expected an answer of at most {_LARGEST} bytes; ask for a shorter span")
        return body


class InfluxQlReader:
    """InfluxDB 1, or 2 and 3 through their InfluxQL interface; times to the nanosecond."""

    def __init__(self, asking: Asking, database: str) -> None:
        self._asking, self._database = asking, database

    def read(self, edge: str, tag: str, from_ns: int, to_ns: int) -> tuple[Samples, Texts]:
        """What one tag had in [from_ns, to_ns), oldest first."""
        where = f'"edge"={influxql(edge)} AND "tag"={influxql(tag)} AND time >= {from_ns} AND time < {to_ns}'
        question = f'SELECT "value","status","text" FROM "samples" WHERE {where} ORDER BY time ASC LIMIT {MOST + 1}'
        body = self._asking.get("/query", {"db": self._database, "epoch": "ns", "q": question})
        try:
            (result,) = msgspec.json.decode(body)["results"]
            if "error" in result:
                raise NotConnected(f"InfluxQL: {result['error']}")
            rows: Sequence[Sequence[Any]] = result["series"][0]["values"] if result.get("series") else []
        except (msgspec.DecodeError, KeyError, ValueError, TypeError) as error:
            raise NotConnected(f"InfluxQL: expected rows, found {body[:200]!r}") from error
        if len(rows) > MOST:
            raise TooMany(f"expected at most {MOST} values; ask for a shorter span")
        numbers = [row for row in rows if row[3] is None]
        return _samples((row[0] for row in numbers), (row[1] for row in numbers), (row[2] for row in numbers)), _texts(rows)


class VictoriaReader:
    """VictoriaMetrics: numbers and their status, times to the millisecond; it keeps no texts."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    def read(self, edge: str, tag: str, from_ns: int, to_ns: int) -> tuple[Samples, Texts]:
        """What one tag had in [from_ns, to_ns), oldest first; of values within one millisecond the last."""
        match = f'{{__name__=~"samples_(value|status)",edge={json.dumps(edge)},tag={json.dumps(tag)}}}'
        # Seconds with three decimals: both ends are included there.
        first_ms, last_ms = -(-from_ns // _MS), -(-to_ns // _MS) - 1
        if last_ms < first_ms:
            return _samples([], [], []), _texts([])
        span = {"start": f"{first_ms // 1000}.{first_ms % 1000:03}", "end": f"{last_ms // 1000}.{last_ms % 1000:03}"}
        columns: dict[str, dict[int, float]] = {"samples_value": {}, "samples_status": {}}
        body = self._asking.get("/api/v1/export", {"match[]": match, **span})
        try:
            for line in body.splitlines():
                series = msgspec.json.decode(line)
                columns[series["metric"]["__name__"]].update(zip(series["timestamps"], series["values"], strict=True))
        except (msgspec.DecodeError, KeyError, ValueError, TypeError) as error:
            raise NotConnected(f"export: expected lines of values, found {body[:200]!r}") from error
        status, value = columns["samples_status"], columns["samples_value"]
        if len(status) > MOST:
            raise TooMany(f"expected at most {MOST} values; ask for a shorter span")
        times = sorted(status)
        return _samples((t * _MS for t in times), (value.get(t) for t in times), (status[t] for t in times)), _texts([])


def _samples(times: Iterable[int], values: Iterable[float | None], statuses: Iterable[float]) -> Samples:
    time_ns = np.array(list(times), np.int64)
    numbers = np.array([math.nan if v is None else v for v in values], np.float64)
    return Samples(time_ns, np.zeros(len(time_ns), np.int32), numbers, np.array([int(s) for s in statuses], np.uint32))


def _texts(rows: Sequence[Sequence[Any]]) -> Texts:
    found = [(int(t), str(text), int(status)) for t, _, status, text in rows if text is not None]
    return Texts(tuple(t for t, *_ in found), (0,) * len(found), tuple(text for _, text, _ in found), tuple(s for *_, s in found))
