"""InfluxDB target: the v2 write API, which InfluxDB 2 and 3 and VictoriaMetrics speak, or the write path of InfluxDB 1.

Measurements: `samples` (tags edge, tag; fields value, status; text values as field text) and `alarms` (tags edge, alarm, event; fields state, value,
priority, user). A point is its series and its time, so that writing it twice changes nothing. Bad values without a number keep their status only.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlencode

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from edge_agent.core import AlarmEvent, ConfigError, NotConnected, Samples, Tag, Texts
from edge_agent.core.settings import Section, secret
from gateway.targets.target import Outcome, Page, Reader

REFUSED_ALONE: Final = 8
"""So many lines in a row are tried one by one; when all are refused, so is the rest of their batch."""


class InfluxConfig(Section):
    """Where to write and how much at once."""

    name: str = Field(min_length=1)
    kind: Literal["influx"] = "influx"
    url: str = Field(pattern="^https?://")
    org: str = ""
    bucket: str = Field(min_length=1)
    """Bucket; of InfluxDB 1 the database."""
    token_file: Path | None = None
    """File with the token; of InfluxDB 1 with the password of `username`."""
    api: Literal["v2", "v1"] = "v2"
    """How it is written to: v2 is spoken by InfluxDB 1.8, 2 and 3 and by VictoriaMetrics, v1 by InfluxDB 1."""
    username: str = ""
    """Who writes and reads at InfluxDB 1; nothing where it asks nobody."""
    reads: Literal["nothing", "influxql", "victoriametrics"] = "nothing"
    """How `/api/v1/series?store=NAME` reads it: InfluxDB by InfluxQL (2 needs a database mapped to the bucket), VictoriaMetrics by its export."""
    read_url: str = Field("", pattern="^(https?://.*)?$")
    """Where it is read, if not at `url`: a cluster has other nodes for it."""
    batch_lines: int = Field(5000, ge=1, le=100_000)
    """Lines of one request at the most."""
    timeout_s: float = Field(10.0, gt=0)
    hold_bytes: int = Field(2_000_000_000, ge=1 << 20)
    """Bytes of inbox kept for this target while it is away; beyond it, it skips the oldest and says how much."""

    def make(self) -> InfluxTarget:
        """The target of this configuration."""
        return InfluxTarget(self)

    def reader(self) -> Reader | None:
        """What reads it back; None when it is only written to. ConfigError when the token cannot be read."""
        if self.reads == "nothing":
            return None
        from gateway.targets.influx_read import Asking, InfluxQlReader, VictoriaReader

        asking = Asking(self.name, self.read_url or self.url, self.headers(), self.timeout_s)
        return VictoriaReader(asking) if self.reads == "victoriametrics" else InfluxQlReader(asking, self.bucket)

    def headers(self) -> dict[str, str]:
        """Who we are, to InfluxDB 1 and to all that is read."""
        token = secret(self.token_file)
        if token is None:
            return {}
        if self.api == "v2":
            return {"Authorization": f"Token {token}"}
        return {"Authorization": "Basic " + b64encode(f"{self.username}:{token}".encode()).decode()}


def escaped(text: str) -> str:
    r"""A tag value or measurement of line protocol.

    >>> escaped("press 1,a=b")
    'press\\ 1\\,a\\=b'
    """
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace(",", "\\,").replace("=", "\\=").replace(" ", "\\ ")


def quoted(text: str) -> str:
    r"""A string field of line protocol.

    >>> quoted('a "b"')
    '"a \\"b\\""'
    """
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def sample_lines(edge: str, tags: Sequence[Tag], samples: Samples) -> pa.Array:
    """One line per value, formatted by column.

    >>> tag = Tag(id=0, name="press1/main_force")
    >>> sample_lines("e1", [tag], Samples.of([5, 6], [0, 0], [1.5, float("nan")], [0, 0x808C0000])).to_pylist()
    ['samples,edge=e1,tag=press1/main_force value=1.5,status=0i 5', 'samples,edge=e1,tag=press1/main_force status=2156658688i 6']
    """
    used, place = np.unique(samples.tag, return_inverse=True)
    heads = pa.array([f"samples,edge={escaped(edge)},tag={escaped(tags[n].name)} " for n in used.tolist()], pa.string())
    finite = np.isfinite(samples.value)
    number = pc.cast(pa.array(np.where(finite, samples.value, 0.0)), pa.string())
    value = pc.binary_join_element_wise("value=", number, ",", "")
    fields = pc.if_else(pa.array(finite), value, "")
    status, time = (pc.cast(pa.array(column), pa.string()) for column in (samples.status.astype(np.int64), samples.time_ns))
    return pc.binary_join_element_wise(pc.take(heads, pa.array(place)), fields, "status=", status, "i ", time, "")


def text_lines(edge: str, tags: Sequence[Tag], texts: Texts) -> list[str]:
    """One line per text value."""
    rows = zip(texts.time_ns, texts.tag, texts.value, texts.status, strict=True)
    return [f"samples,edge={escaped(edge)},tag={escaped(tags[n].name)} text={quoted(v)},status={s}i {t}" for t, n, v, s in rows]


def alarm_line(edge: str, event: AlarmEvent) -> str:
    """The line of one transition."""
    head = f"alarms,edge={escaped(edge)},alarm={escaped(event.alarm)},event={escaped(event.event)}"
    value = f",value={event.value!r}" if event.value is not None and np.isfinite(event.value) else ""
    user = f",user={quoted(event.user)}" if event.user else ""
    return f"{head} state={quoted(event.state_to)},priority={event.priority}i,raised_ns={event.raised_ns}i{value}{user} {event.time_ns}"


class InfluxTarget:
    """Writes pages through the influxdb-client library, which is imported when the target is opened."""

    def __init__(self, config: InfluxConfig) -> None:
        self._config = config
        self._road: _V1 | _V2 | None = None

    def open(self) -> None:
        """Make the client; raises NotConnected when the token cannot be read."""
        try:
            headers = self._config.headers()
        except ConfigError as error:
            raise NotConnected(f"{self._config.name}: {error}") from error
        self._road = _V1(self._config, headers) if self._config.api == "v1" else _V2(self._config, headers)

    def close(self) -> None:
        """Close the client."""
        road, self._road = self._road, None
        if road is not None:
            road.close()

    def write(self, page: Page) -> Outcome:
        """Write a page in requests of `batch_lines`."""
        outcome = Outcome()
        parts = [sample_lines(page.edge, page.tags, s) for s in page.samples if len(s)]
        rare = [line for t in page.texts for line in text_lines(page.edge, page.tags, t)] + [alarm_line(page.edge, a) for a in page.alarms]
        if rare:
            parts.append(pa.array(rare, pa.string()))
        lines = pa.concat_arrays(parts) if parts else pa.array([], pa.string())
        for begin in range(0, len(lines), self._config.batch_lines):
            self._request(lines[begin : begin + self._config.batch_lines], outcome)
        return outcome

    def _request(self, lines: pa.Array, outcome: Outcome) -> None:
        refusal = self._post(lines)
        if refusal is None:
            outcome.written += len(lines)
        elif len(lines) == 1:
            outcome.rejected.append((refusal, lines[0].as_py().encode()))
        else:
            self._halves(lines, outcome)

    def _halves(self, lines: pa.Array, outcome: Outcome) -> None:
        before = outcome.written
        if len(lines) <= 2 * REFUSED_ALONE:
            for i in range(len(lines)):
                self._request(lines[i : i + 1], outcome)
            return
        middle = len(lines) // 2
        self._request(lines[:middle], outcome)
        refused = len(outcome.rejected)
        if outcome.written == before and refused >= REFUSED_ALONE:
            # Nothing of the first half was taken: the rest is of the same kind, and thousands of single requests would stop the target.
            reason = outcome.rejected[-1][0]
            outcome.rejected += [(reason, line.encode()) for line in lines[middle:].to_pylist()]
            return
        self._request(lines[middle:], outcome)

    def _post(self, lines: pa.Array) -> str | None:
        """Send lines; None when they were taken, the reason when the server will never take them. Raises NotConnected."""
        from urllib3.exceptions import HTTPError

        if self._road is None:
            raise NotConnected(f"{self._config.name}: not open")
        body = b"\n".join(line.encode() for line in lines.to_pylist())
        try:
            status, reason, said = self._road.post(body)
        except (HTTPError, OSError) as error:
            raise NotConnected(f"{self._config.name}: {error}") from error
        if status in (400, 413, 422):
            return f"{status} {reason}: {said[:200]}"
        if status >= 300:
            raise NotConnected(f"{self._config.name}: {status} {reason}")
        return None


class _V2:
    """The library's client of the v2 API."""

    def __init__(self, config: InfluxConfig, headers: dict[str, str]) -> None:
        from influxdb_client import InfluxDBClient
        from influxdb_client.client.write_api import SYNCHRONOUS

        self._config = config
        token = headers.get("Authorization", "").removeprefix("Token ")
        self._client = InfluxDBClient(config.url, token=token, org=config.org, timeout=int(config.timeout_s * 1000))
        self._api = self._client.write_api(write_options=SYNCHRONOUS)

    def post(self, body: bytes) -> tuple[int, str, str]:
        """Status, reason and answer of one request."""
        from influxdb_client.rest import ApiException

        try:
            self._api.write(self._config.bucket, self._config.org, body, write_precision="ns")
        except ApiException as error:
            return int(error.status or 503), str(error.reason), str(error.body)
        return 204, "", ""

    def close(self) -> None:
        """Let go."""
        self._api.close()
        self._client.close()


class _V1:
    """The write path of InfluxDB 1, over the library's own HTTP pool; the library speaks v2 only."""

    def __init__(self, config: InfluxConfig, headers: dict[str, str]) -> None:
        from urllib3 import PoolManager, Timeout

        self._config = config
        self._pool = PoolManager(headers=headers, timeout=Timeout(config.timeout_s), retries=False)

    def post(self, body: bytes) -> tuple[int, str, str]:
        """Status, reason and answer of one request."""
        query = urlencode({"db": self._config.bucket, "precision": "ns"})
        answer = self._pool.request("POST", f"{self._config.url.rstrip('/')}/write?{query}", body=body)
        return answer.status, answer.reason or "", answer.data.decode("utf-8", "replace")

    def close(self) -> None:
        """Let go."""
        self._pool.clear()
