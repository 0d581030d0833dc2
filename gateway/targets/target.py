"""What a target is: somewhere else that gets what the inbox gets, with a place of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from edge_agent.core import AlarmEvent, PharmedgeError, Samples, Tag, Texts


@dataclass(frozen=True, slots=True)
class Page:
    """Some records of one edge, in the order of the inbox, under the gateway's tag numbers.

    samples  numeric values whose `tag` is an index into `tags`
    texts    text values, the same
    """

    edge: str
    site: str
    tags: Sequence[Tag]
    samples: Sequence[Samples] = ()
    texts: Sequence[Texts] = ()
    alarms: Sequence[AlarmEvent] = ()

    def __len__(self) -> int:
        return sum(map(len, self.samples)) + sum(map(len, self.texts)) + len(self.alarms)


@dataclass(slots=True)
class Outcome:
    """What became of a page: points written, and lines that the target refused for good, each with its reason."""

    written: int = 0
    rejected: list[tuple[str, bytes]] = field(default_factory=list)


Told = Sequence[Mapping[str, Any]]
"""Entries of the audit trail, each with its hash, the oldest first."""


class Auditor(Protocol):
    """Carries entries of the audit trail to one place; opened, closed and tried again like a target, with a place of its own in the trail."""

    def open(self) -> None:
        """Connect; raises NotConnected."""

    def tell(self, gateway: str, entries: Told) -> Outcome:
        """Hand entries over. Raises NotConnected."""

    def close(self) -> None:
        """Let go of everything; also when `open` failed."""


class Target(Protocol):
    """Carries pages to one place.

    The runner calls `open`, then `write` again and again, and `close` at the end and after every failure, in a thread of its own.
    A page may be written twice (after a crash between `write` and the cursor): points must be idempotent. A target never retries or sleeps: it raises
    NotConnected, and the runner backs off and writes the same page again. What can never be written comes back as rejected.
    """

    def open(self) -> None:
        """Connect; raises NotConnected."""

    def write(self, page: Page) -> Outcome:
        """Write a page; everything not rejected is there when this returns. Raises NotConnected."""

    def close(self) -> None:
        """Let go of everything; also when `open` failed."""


class TooMany(PharmedgeError):
    """The answer would be too long: ask for a shorter span."""


class Reader(Protocol):
    """Reads back what a target holds; any thread may ask."""

    def read(self, edge: str, tag: str, from_ns: int, to_ns: int) -> tuple[Samples, Texts]:
        """What one tag had in [from_ns, to_ns), oldest first, under the tag number 0; NotConnected, or TooMany when it is too much."""


class TargetConfig(Protocol):
    """The section of a target."""

    @property
    def name(self) -> str:
        """Its name, which is that of its durable place too."""

    @property
    def kind(self) -> str:
        """What it speaks to."""

    @property
    def hold_bytes(self) -> int:
        """Bytes of inbox kept for it while it is away."""

    def make(self) -> Target:
        """The target."""

    def reader(self) -> Reader | None:
        """What reads it back; None where nothing can be."""
