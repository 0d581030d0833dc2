"""What a receiver of notifications is: somewhere that gets messages, one at a time, with an id that stays the same however often it is sent."""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec
from pydantic import Field

from edge_agent.core import PharmedgeError
from edge_agent.core.settings import Section

Content = Literal["minimal", "names", "full"]
Language = Literal["en", "zh"]


class Rejected(PharmedgeError):
    """The receiver will never take this message: it is closed, counted, and an alarm of the gateway tells."""


class ReceiverConfig(Section):
    """What every receiver has: how it is written to, and how often at the most."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")
    language: Language = "en"
    """Language of the texts."""
    content: Content | None = None
    """minimal: counts, priorities and times alone; names: alarm and unit as well; full: value, limit, reason and response too. Absent: minimal for
    the styles wecom and dingtalk, names for the others."""
    label: str = ""
    """A text of your own before everything else, such as the name of the line; a robot that asks for a keyword finds it here."""
    group_s: float = Field(30.0, ge=0, le=3600)
    """Seconds for which alarms are gathered into one message after the first of them."""
    messages: int = Field(20, ge=1)
    """Messages within `per_s` at the most; what comes beyond is gathered into the next one, and nothing is left out."""
    per_s: float = Field(3600.0, gt=0)
    """Seconds over which `messages` is counted."""
    timeout_s: float = Field(20.0, gt=0, le=300)
    unreachable_after_s: float = Field(120.0, gt=0)
    """Age in seconds at which a message that could not be handed over raises an alarm of the gateway."""
    give_up_after_s: float = Field(86400.0, gt=0)
    """Age in seconds at which a message that could not be handed over is given up and counted."""

    @property
    def shown(self) -> Content:
        """How much a message tells."""
        return self.content or "names"


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One alarm in a message, as it stood when the message was made."""

    occurrence: str
    step: int
    """Step of the escalation, from 1."""
    edge: str
    alarm: str
    tag: str
    unit: str
    """Path of the equipment unit."""
    priority: int
    state: str
    raised_ns: int
    simulated: bool = False
    first_out: bool = False
    """Whether it was the first of its group of alarms."""
    value: float | None = None
    limit: float | None = None
    measure: str = ""
    """The unit of value and limit."""
    explanation: str = ""
    response: dict[str, str] = {}


class WorkRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Maintenance that a person asks for because of advice; texts by language. Urgency is act or plan."""

    id: str
    """That of the advice: a system that has a request of this id makes no second one."""
    edge: str
    unit: str
    urgency: str
    what: dict[str, str]
    why: dict[str, str]
    how_soon: dict[str, str]
    how_sure: dict[str, str]
    reason: str
    """What the person added."""
    requested_by: str
    requested_ns: int


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One message to one receiver."""

    id: str
    """The same at every attempt, and another for every other set of alarms: by it a receiver knows what it has already."""
    receiver: str
    made_ns: int
    total: int
    """Alarms it is about."""
    priorities: dict[int, int]
    """How many of each priority."""
    step: int
    """Highest escalation step among them."""
    first_ns: int
    """When the first of them was raised."""
    simulated: bool
    """Whether any comes from an edge that says it is simulated."""
    items: tuple[Item, ...]
    """The most urgent of them, at most ITEMS."""
    keys: tuple[str, ...]
    """occurrence and step of all of them."""
    test: bool = False
    """Whether it only tries the receiver."""
    left: tuple[str, ...] = ()
    """Addresses that did not take it yet, when others did; empty means all."""
    request: WorkRequest | None = None
    """A work request; the message is about no alarm then."""


class Receiver(Protocol):
    """Sends messages. One thread at a time calls it; it keeps no connection between two messages."""

    def send(self, message: Message, now_ns: int) -> tuple[str, ...]:
        """Hand over a message; what was taken is the receiver's from here on.

        Returns addresses that may take it later, empty when it is done. Raises NotConnected when it should be tried again, Rejected when never.
        """
        ...
