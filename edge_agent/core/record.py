"""Everything that is journaled or delivered, beside the columns of samples.py and block.py."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec
import numpy as np

from edge_agent.core.alarm import AlarmDefinition, AlarmEvent, OperatorAction, ShelveRule, written
from edge_agent.core.block import Block
from edge_agent.core.samples import Samples, Texts
from edge_agent.core.tag import Tag

SUMMARY_COLUMNS: Final[tuple[tuple[str, str], ...]] = (
    ("tag", "<i4"),
    ("version", "<i4"),
    ("start_ns", "<i8"),
    ("length_ns", "<i8"),
    ("part", "<i4"),
    ("n_good", "<i4"),
    ("n_uncertain", "<i4"),
    ("n_bad", "<i4"),
    ("n_late", "<i4"),
    ("n_rejected", "<i4"),
    ("n_duplicate", "<i4"),
    ("count", "<i4"),
    ("sum", "<f8"),
    ("m2", "<f8"),
    ("min", "<f8"),
    ("max", "<f8"),
    ("first", "<f8"),
    ("last", "<f8"),
    ("first_ns", "<i8"),
    ("last_ns", "<i8"),
    ("worst_status", "<u4"),
    ("mode", "|u1"),
)
"""Columns of a summary and their little-endian types; the order is the order on the wire."""

SUMMARY_DTYPE: Final = np.dtype([(name, dtype) for name, dtype in SUMMARY_COLUMNS])

MODES: Final = ("production", "cleaning", "maintenance", "calibration", "simulation")
"""Unit modes; a summary's `mode` is the index."""


@dataclass(frozen=True, slots=True, eq=False)
class Summaries:
    """Summaries of many tags over windows, one structured row each (`SUMMARY_DTYPE`).

    A window is [start_ns, start_ns + length_ns) of source time. Part 1 is written when the window closes, parts 2, 3 ... are
    supplements from late data; parts of one (tag, start_ns) merge by count, sum, m2, min, max, first and last. n_good, n_uncertain, n_bad,
    n_late, n_rejected and n_duplicate are disjoint. count says how many values are behind sum, m2 (sum of squared deviations from the mean),
    min, max, first and last: every value that is not bad, rejected or a duplicate, so n_good + n_uncertain of part 1 and the not-bad late
    values of a supplement. They are 0, 0, NaN, NaN, NaN, NaN when count is 0.
    """

    rows: np.ndarray[tuple[int], np.dtype[np.void]]
    received_ns: int = 0

    def __post_init__(self) -> None:
        if self.rows.dtype != SUMMARY_DTYPE or self.rows.ndim != 1:
            raise ValueError(f"Summaries.rows: expected (n,) of SUMMARY_DTYPE, found {self.rows.shape} {self.rows.dtype}")

    def __len__(self) -> int:
        return len(self.rows)

    def __eq__(self, other: object) -> bool:
        """Bitwise equality."""
        return isinstance(other, Summaries) and self.received_ns == other.received_ns and self.rows.tobytes() == other.rows.tobytes()

    __hash__ = None  # type: ignore[assignment]


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Time went on and nothing else happened."""

    received_ns: int


class Connection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A source changed its state, or reports one tag it cannot read."""

    received_ns: int
    source: str
    state: Literal["connected", "disconnected", "no_data", "tag_failed", "tag_recovered", "resumed", "ended"]
    tags: tuple[int, ...] = ()
    """Tag ids meant; empty means all tags of the source."""
    detail: str = ""
    status: int = 0
    """OPC UA StatusCode of the failure, 0 when there is none."""


class KeepAlive(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A subscription said it is alive although no value changed: its by-exception tags stay good."""

    received_ns: int
    source: str


class Overflow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A server's queue overflowed: values between two source times are lost."""

    received_ns: int
    source: str
    tag: int
    after_ns: int
    before_ns: int


class Filled(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A server's history was read for a hole of one tag: `values` values between two source times came late but came."""

    received_ns: int
    source: str
    tag: int
    after_ns: int
    before_ns: int
    values: int


class Start(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The agent started, with everything that decides what the pipeline will do from here on."""

    received_ns: int
    edge: str
    config: dict[str, Any]
    config_hash: str
    tags: tuple[Tag, ...]
    alarms: tuple[AlarmDefinition, ...] = ()
    models: dict[str, str] = {}
    """Model name to hash."""
    fingerprint: dict[str, str] = {}
    """Build, libm and CPU."""


class ClockStep(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Wall clock and monotonic clock went apart; received times go on from the monotonic clock."""

    received_ns: int
    step_ns: int


class Diagnostic(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The agent found something about itself that is or is no longer an alarm: a full outbox, a damaged log."""

    received_ns: int
    alarm: str
    active: bool
    explanation: str = ""


class Abandoned(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Records of the outbox were shed because its budget was used up: first..last, both included."""

    received_ns: int
    first: int
    last: int
    lost: tuple[tuple[int, int, int, int], ...] = ()
    """What their summaries had counted: tag, from and to in source time (ns), values."""


class Note(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Something that belongs into the audit trail: what the agent did (a new epoch, a damaged log set aside), or a person at its panel."""

    received_ns: int
    action: str
    object: str
    old: str = written("")
    new: str = written("")
    reason: str = written("")
    user: str = ""
    """Who did it; empty: the agent itself."""
    role: str = ""
    station: str = ""


class Action(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An operator action arrived at the edge."""

    received_ns: int
    action: OperatorAction


class Context(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Batch, phase, lot, operator or mode of a unit changed (ISA-88): valid from `time_ns` until the next of the same unit and role."""

    unit: str
    role: str
    value: str
    time_ns: int
    received_ns: int
    tag: int = written(-1)
    previous: str = written("")
    user: str = written("")
    reason: str = written("")
    until_ns: int | None = None
    """Of a mode that a person set: when it ends by itself."""


FILLED: Final = "filled from history"
"""How the cause of a gap begins that says what a server's history brought for an earlier one."""


class Gap(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Values of one tag that are known to be missing, or a range of records given up.

    tag -1 with cause "abandoned a..b" closes a range of shed records.
    """

    tag: int
    from_ns: int
    to_ns: int
    missing: int
    """Values missing, estimated from the tag's period; 0 when it cannot be known. Negative takes back so many that an earlier gap declared missing
    and that came after all; the earlier one stands, for alarms were blind meanwhile."""
    cause: str
    received_ns: int = 0

    @property
    def filled(self) -> bool:
        """Whether it says what came after all for a gap that was counted when it was declared; of a tag without a period it takes nothing back."""
        return self.cause.startswith(FILLED)


class Audit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One entry of the audit trail (domain: 21 CFR 11.10(e), Annex 11 clause 9)."""

    time_ns: int
    user: str
    role: str = written("")
    station: str = written("")
    action: str
    object: str
    old: str = written("")
    new: str = written("")
    reason: str = written("")
    action_id: str = ""
    """The operator action that it answers, done or refused."""
    chain: str = ""
    """`audit_link` of the entry before it on this edge; empty in the first one."""


def audit_link(entry: Audit) -> str:
    """SHA-256 of an audit entry with its own link in it: what the next entry carries.

    So every entry that is still there can be checked against the one behind it, whatever of the beginning has been forgotten.

    >>> first = Audit(time_ns=1, user="li", action="comment", object="x")
    >>> audit_link(first) == audit_link(msgspec.structs.replace(first, user="wu"))
    False
    """
    return hashlib.sha256(msgspec.msgpack.encode(entry)).hexdigest()


class Definitions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The definitions that the records behind this one cite."""

    received_ns: int
    edge: str
    site: str
    simulated: bool
    config_hash: str
    software: str
    tags: tuple[Tag, ...]
    alarms: tuple[AlarmDefinition, ...] = msgspec.field(default_factory=lambda: ())  # written also when empty, as the first version did
    shelve: tuple[ShelveRule, ...] = ()
    """Who may shelve which alarm; the edge decides, a console asks for what will be needed."""
    out_of_service: tuple[str, ...] = ()
    """Roles that may take an alarm out of service."""


Entry = Samples | Texts | Block | Heartbeat | Connection | KeepAlive | Overflow | Filled | Start | ClockStep | Action | Diagnostic | Abandoned | Note
"""What the journal holds: everything that the pipeline is a function of."""

Record = Samples | Texts | Block | Summaries | AlarmEvent | Context | Gap | Audit | Definitions
"""What the outbox holds: everything that the edge has to say."""

LANE_ALARM: Final = 0
LANE_DATA: Final = 1


def lane(record: Record) -> int:
    """Sending order of a record: alarms, audit, context, gaps and definitions go before data."""
    return LANE_DATA if isinstance(record, Samples | Texts | Block | Summaries) else LANE_ALARM
