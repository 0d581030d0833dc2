"""What a connector is: three verbs, and a batch that travels with the means to acknowledge it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from edge_agent.core import Block, Connection, Filled, KeepAlive, Overflow, Samples, Tag, Texts

Item = Samples | Texts | Block | KeepAlive | Overflow | Filled | Connection


def _nothing() -> None:
    return


@dataclass(frozen=True, slots=True)
class Received:
    """What one `read` brought.

    items   in the order they arrived; their `received_ns` is set by the caller, who owns the clock
    ack     called once, on the event loop, after the items are durable: only then may the peer be told to let go of them.
            Never called when the commit failed; the peer will send again.
    resume  the connector's own bookkeeping, kept in the same commit and given to the next `open`; None leaves it as it was
    """

    items: tuple[Item, ...]
    ack: Callable[[], None] = _nothing
    resume: bytes | None = None


@dataclass(frozen=True, slots=True)
class Plug:
    """What a connector is given: the tags it feeds and the means around it.

    tags       its tags in order of the catalogue; `address` maps a tag id to the text of its `address` key, "" when there was none
    clock      received time now, ns UTC
    data_dir   a folder of its own for certificates and dead letters; may not exist yet
    """

    name: str
    tags: Sequence[Tag]
    address: dict[int, str]
    clock: Callable[[], int]
    data_dir: Path
    simulated: bool = False
    newest_ns: Callable[[int], int | None] = lambda _: None
    """Source time of the newest value of a tag that the pipeline has, None when it never had one."""
    max_skew_s: float = 86_400.0
    """Seconds that a source's stamp may be ahead: the pipeline rejects a value of a later one."""
    late_after_s: float = 0.0
    """Seconds after which the windows of whatever was received are closed: what comes later with an older time is late."""
    counters: dict[str, int] = field(default_factory=dict)
    """Counts that the connector keeps for /metrics, e.g. {"overflows": 2, "dead_letters": 1}; it only ever adds."""

    def count(self, counter: str, n: int = 1) -> None:
        """Add to a counter."""
        if n:
            self.counters[counter] = self.counters.get(counter, 0) + n


class Source(Protocol):
    """A connector to one server, broker or file.

    The runner (`sources/runner.py`) calls `open`, then `read` again and again, and `close` at the end and after every failure. It calls nothing
    concurrently. A connector never retries, sleeps or logs: it raises NotConnected, and the runner backs off (1, 2, 4 .. 60 s with 20 % jitter)
    and opens again.
    """

    async def open(self, resume: bytes | None) -> None:
        """Connect and subscribe; `resume` is what an earlier `Received.resume` said last. Raises NotConnected."""

    async def read(self) -> Received:
        """The next batch, waiting for it; cancelled by the runner when the agent stops. Raises NotConnected, or EndOfInput when finite and done."""

    async def close(self) -> None:
        """Let go of everything; called also when `open` failed halfway, and then a second time never."""
