"""What an uplink is: a reader of the outbox with a place of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from edge_agent.core import Epochs, Log, OperatorAction, Tag
from edge_agent.core.change import ChangeApproval


@dataclass(frozen=True, slots=True)
class Port:
    """What an uplink is given.

    outbox    the log that holds the stream "outbox"; an uplink only reads it
    epochs    identity of this outbox's numbers; a call, because a gateway that has others than ours makes the edge mint a new epoch
    moved     tell the agent that everything up to a number is safe at this uplink's target (the agent keeps the cursor and forgets)
    acted     hand over the outstanding operator actions a gateway, by its id, shows us (the agent drops those it knows)
    anchored  hand over the head of a gateway's audit trail or manifest (gateway, audit_head or manifest_head, head), to be kept where its owner
              cannot change it
    people    hand over the signed list of people that a gateway gives to panels; None: this edge has none and asks for none
    approved  hand over what the gateway says was approved for this edge; the agent verifies it
    part      tell the agent that numbers behind `through` belong to another life of this edge at one gateway: it mints an epoch later than
              `above` for ours and says why
    apart     by gateway the outbox's head when this edge was started without proof since that the gateway holds ours; None when there was
    settled   tell the agent that there is such proof from a gateway
    wake      waits until the outbox has grown, at most the given seconds
    place     what `moved` was last told, also before a restart: where an uplink whose target keeps no account goes on
    tags      all tags of this edge by id
    given_up  how many records that were held for this uplink have been given up since the start (see `Held`)
    away      ids of measured tags whose source is away or silent for long enough to be an alarm
    """

    site: str
    edge: str
    simulated: bool
    outbox: Log
    epochs: Callable[[], Epochs]
    moved: Callable[[int], None]
    acted: Callable[[str, tuple[OperatorAction, ...]], None]
    part: Callable[[int, int, str], None]
    wake: Callable[[float], Awaitable[None]]
    clock: Callable[[], int]
    data_dir: Path
    anchored: Callable[[str, str, str], None] = lambda *_: None
    apart: Callable[[str], int | None] = lambda _: None
    settled: Callable[[str], None] = lambda _: None
    people: Callable[[str, bytes], None] | None = None
    approved: Callable[[tuple[ChangeApproval, ...]], None] = lambda _: None
    place: Callable[[], int] = lambda: 0
    tags: tuple[Tag, ...] = ()
    given_up: Callable[[], int] = lambda: 0
    away: Callable[[], frozenset[int]] = frozenset
    status: dict[str, object] = field(default_factory=dict)
    """What /status and /metrics show, written by the uplink: connected, sent_records, sent_bytes, resent_records, committed_seq, error."""


class Uplink(Protocol):
    """Carries the outbox to one target.

    The runner calls `run` and, when it raises NotConnected, backs off and calls it again. An uplink never deletes; it may be cancelled at any await.
    """

    async def run(self) -> None:
        """Deliver for as long as it is connected; raises NotConnected."""
