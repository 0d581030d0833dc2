"""The rows with which the gateway answers: what a reader of `gateway/query.py` gets, JSON-ready.

All times are ns UTC. A number that is not there (NaN, infinity, no value) is None.
"""

from __future__ import annotations

from typing import Literal, TypedDict

from edge_agent.core.alarm import ActionKind

Quality = Literal["good", "uncertain", "bad", "stale"]


Level = Literal["raw", "window", "60", "3600"]


Value = float | str | None


class LastValue(TypedDict):
    """The newest value of a tag by source time."""

    time_ns: int
    value: Value
    status: int
    quality: Quality
    received_ns: int


class LimitRow(TypedDict):
    """One configured limit of a tag."""

    alarm: str
    side: str
    limit: float | None
    priority: int


class Report(TypedDict):
    """How a tag reports: periodically every `expected_s` seconds, or by exception (None)."""

    kind: Literal["periodic", "by_exception"]
    expected_s: float | None


TagRow = TypedDict(
    "TagRow",
    {
        "key": str,  # "<edge>:<tag name>", the tag's public key
        "edge": str,
        "name": str,
        "unit": str,
        "decimals": int,
        "range": tuple[float, float] | None,
        "kind": str,
        "class": str,
        "path": str,
        "description": dict[str, str],
        "role": str,
        "version": int,
        "record": str,
        "report": Report,
        "derived_from": list[str],
        "model": str,
        "limits": list[LimitRow],
        "last": LastValue | None,
    },
)


class SeriesRow(TypedDict):
    """One tag over [from_ns, to_ns) in at most `points` buckets, oldest first; empty buckets are left out.

    `time_ns` is the start of a bucket (the value's own time at level "raw"); `n` counts values that are not bad.
    `text` has one item per row for a text tag, and is empty for a numeric one.
    """

    tag: str
    from_ns: int
    to_ns: int
    level: Level
    time_ns: list[int]
    n: list[int]
    mean: list[float | None]
    min: list[float | None]
    max: list[float | None]
    first: list[float | None]
    last: list[float | None]
    n_bad: list[int]
    n_uncertain: list[int]
    worst_status: list[int]
    text: list[str]


class EventRow(TypedDict):
    """One transition of an occurrence."""

    time_ns: int
    received_ns: int
    event: str
    state_from: str
    state_to: str
    value: float | None
    status: int
    explanation: str
    user: str
    role: str
    station: str
    reason: str
    action_id: str
    overlay: str
    """Of suppress and unsuppress: shelved, designed or out_of_service."""
    until_ns: int | None
    permit: str
    second_user: str


class SuppressionRow(TypedDict):
    """One suppression that lies over an alarm now; `user` is empty for one by design."""

    overlay: str
    since_ns: int
    until_ns: int | None
    one_shot: bool
    permit: str
    user: str
    second_user: str
    reason: str


class PendingRow(TypedDict):
    """One action that was asked for and that no event of the edge has answered yet."""

    action_id: str
    kind: ActionKind
    user: str
    time_ns: int


class ActionRow(PendingRow):
    """One action and what became of it: done, or refused with the edge's reason."""

    occurrence: str
    state: Literal["pending", "done", "refused"]
    reason: str
    settled_ns: int | None


class ShelveTerms(TypedDict):
    """Who may shelve an alarm, who else has to agree (empty: nobody), and for how many seconds at the most."""

    roles: list[str]
    second_roles: list[str]
    max_s: float


class AlarmRow(TypedDict):
    """One alarm occurrence, folded from its events; `state` is its last `state_to`, "NORM" once it is over.

    SHLVD, DSUPR and OOSRV are shown instead of the state underneath while `suppressions` hold; `met` says whether the condition is met also then.
    """

    occurrence: str
    alarm: str
    edge: str
    tag: str
    state: str
    priority: int
    advisory: bool
    raised_ns: int
    last_ns: int
    value: float | None
    limit: float | None
    unit: str
    description: dict[str, str]
    """Of its tag."""
    acked_by: str
    acked_ns: int | None
    cause: dict[str, str]
    response: dict[str, str]
    consequence: dict[str, str]
    check: dict[str, str]
    explanation: str
    contributions: dict[str, float]
    plant_unit: str
    """The unit of the plant, the last part of the tag's path."""
    group: str
    """Alarms of one trip; empty for none."""
    first_out: bool
    """It was the first alarm of its group."""
    respond_within_s: float | None
    met: bool
    suppressions: list[SuppressionRow]
    pending: list[PendingRow]
    shelve: ShelveTerms | None
    """None when the edge has not told, or nobody may."""
    out_of_service: list[str]
    """Roles that may take it out of service, as far as the edge has told."""
    held: str
    """The mode of its unit in which its limit is not judged, so that it stands as it last was; empty while it is judged."""
    events: list[EventRow]


class UnitRow(TypedDict):
    """One unit and its mode; `user`, `reason` and `until_ns` when a person set it, `asked` while the edge has not answered ("": withdraw)."""

    unit: str
    mode: str
    since_ns: int | None
    until_ns: int | None
    user: str
    reason: str
    asked: str | None
    asked_by: str
    action_id: str


class ModeRow(TypedDict):
    """One span in which a unit was in a mode; `to_ns` is None while it lasts."""

    edge: str
    unit: str
    mode: str
    from_ns: int
    to_ns: int | None
    user: str
    reason: str


class SourceRow(TypedDict):
    """One source of an edge, as far as the edge has told."""

    name: str
    state: str
    last_data_ns: int | None
    error: str


class EdgeRow(TypedDict):
    """One edge and how far its records have been committed; `backlog` counts records that it announced and that are not committed."""

    edge: str
    site: str
    simulated: bool
    refused: bool
    epoch: int
    committed_through: int
    last_seen_ns: int | None
    connected: bool
    backlog: int
    oldest_seq: int
    software: str
    config_hash: str
    sources: list[SourceRow]
    units: list[UnitRow]


class TargetRow(TypedDict):
    """One forwarding target and its place in the inbox."""

    name: str
    kind: str
    connected: bool
    cursor: int
    behind: int
    written: int
    rejected: int
    error: str


class ReceiverRow(TypedDict):
    """One receiver of notifications; `reached` is false since the last message was not taken."""

    name: str
    kind: str
    reached: bool
    waiting: int
    oldest_ns: int | None
    error: str
    sent: int
    rejected: int
    given_up: int


class StatusRow(TypedDict):
    """The gateway at a glance."""

    version: str
    gateway: str
    site: str
    mode: str
    uptime_s: float
    now_ns: int
    rows: int
    rows_by_kind: dict[str, int]
    records: int
    duplicates: int
    quarantined: int
    refused: int
    dead_letters: int
    inbox_records: int
    inbox_bytes: int
    queue_bytes: int
    elsewhere: dict[str, int]
    """Messages of edges that are not among `gateway.edges`, by edge; `*` for those beyond the first thousand."""
    segments: int
    segment_bytes: int
    segment_rows: int
    manifest_rows: int
    manifest_head: str
    last_commit_ns: int | None
    last_seal_ns: int | None
    commit_ms: float | None
    broker_connected: bool
    broker_error: str
    seal_error: str
    targets: list[TargetRow]
    receivers: list[ReceiverRow]
    alarms_standing: int
    notices: list[str]


class LedgerRow(TypedDict):
    """The accounting of one tag (rule: sent = good + uncertain + bad + late + rejected + duplicate + missing)."""

    edge: str
    tag: str
    key: str
    n_good: int
    n_uncertain: int
    n_bad: int
    n_late: int
    n_rejected: int
    n_duplicate: int
    n_missing: int
    sum: float | None
    """None when the sum left the range of a double or took in a value that is no number."""
    first_ns: int | None
    last_ns: int | None
    gaps: int


class Change(TypedDict):
    """What has changed since the last look: newest value per tag key as (time_ns, value, status), changed occurrences, changed edges.

    `tags` is true when definitions changed: ask for `tags()` again.
    """

    values: dict[str, tuple[int, Value, int]]
    alarms: dict[str, AlarmRow]
    edges: dict[str, EdgeRow]
    tags: bool
