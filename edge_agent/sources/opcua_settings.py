"""Settings of the connector to one OPC UA server."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

import pydantic

from edge_agent.core.settings import Section
from edge_agent.sources.opcua_address import Address, parse
from edge_agent.sources.opcua_security import OpcUaSecurity
from edge_agent.sources.zone import SourceTime


class OpcUaTime(SourceTime):
    """Which time becomes the time of a value.

    `source` falls back to the server's time and then to the time of receipt, flagged uncertain; `received` numbers the values of one message
    in steps of 1 ns so that they stay apart.
    """

    basis: Literal["source", "server", "received"] = "source"

    @property
    def by_receipt(self) -> bool:
        """Where the basis says so."""
        return self.basis == "received"

    @pydantic.model_validator(mode="after")
    def _somebodys(self) -> Self:
        if self.assumed_zone is not None and self.basis == "received":
            raise ValueError("basis source or server where there is an assumed_zone: the time of receipt is UTC")
        return self


class OpcUaHistory(Section):
    """What is asked of the server's history (HistoryRead of raw values) for holes that an absence or an overflow left.

    What comes so is late: stored, counted and summarised, but no model and no alarm sees it, and no unit changes its batch or its mode by it.
    """

    fill: bool = False
    """Whether holes are filled at all."""
    page: int = pydantic.Field(1000, ge=1, le=100_000)
    """Values asked for at once."""
    values_per_s: float = pydantic.Field(20_000.0, gt=0)
    """Pages are asked for no faster; and never while live values wait, nor sooner after a page than it took."""
    values_per_hole: int = pydantic.Field(1_000_000, ge=1)
    """Of a longer hole only the beginning is filled; the rest stays declared."""
    oldest_s: float = pydantic.Field(604_800.0, gt=0)
    """Holes that ended longer ago are left."""


class OpcUaServer(Section):
    """What is set for one OPC UA server: read by every connector to one."""

    name: str = pydantic.Field(min_length=1)
    url: str = pydantic.Field(pattern=r"^opc\.tcp://[^/@]+(/[^@]*)?$")
    namespace: str = ""
    """Namespace URI of addresses that name none."""
    session_timeout_s: float = pydantic.Field(120.0, ge=10)
    timeout_s: float = pydantic.Field(10.0, gt=0)
    """For one answer of the server."""
    security: OpcUaSecurity = OpcUaSecurity()
    username: str | None = None
    password_file: Path | None = None

    @pydantic.model_validator(mode="after")
    def _someone(self) -> Self:
        if self.password_file is not None and self.username is None:
            raise ValueError("username where there is a password_file")
        return self

    def address(self, text: str) -> Address:
        """A tag's address under this server; ValueError saying what was expected."""
        return parse(text, self.namespace)


class OpcUaSettings(OpcUaServer):
    """What is set for a subscription at one OPC UA server."""

    kind: Literal["opcua"]
    publishing_ms: float = pydantic.Field(250.0, gt=0)
    sampling_ms: float | None = pydantic.Field(None, ge=0)
    """0 is as fast as the server can; by default twice per expected period of a tag, at most once per publishing interval by exception."""
    queue_size: int = pydantic.Field(100, ge=1)
    """Values per tag that the server should hold for us, at least."""
    keepalive_count: int = pydantic.Field(10, ge=1)
    """Publishing intervals without a value after which the server says that it is alive."""
    lifetime_count: int = pydantic.Field(400, ge=3)
    """Publishing intervals without a request of ours after which the server drops the subscription."""
    outstanding: int = pydantic.Field(3, ge=1, le=20)
    """PublishRequests that wait at the server."""
    watchdog_s: float | None = pydantic.Field(None, gt=0)
    """Seconds without a value of any periodic tag after which the connection is made anew. A link without any message, keep-alives included,
    counts as dead after 1.5 keep-alive intervals, at least 5 s, whatever is set here (OPC 10000-4, 5.14)."""
    retry_s: float = pydantic.Field(30.0, gt=0)
    """Between two attempts at tags that the server refused."""
    verify_s: float = pydantic.Field(60.0, gt=0)
    """Between two verifying reads of tags that report by exception: one that cannot be read is bad although its subscription is alive."""
    time: OpcUaTime = OpcUaTime()
    history: OpcUaHistory = OpcUaHistory()

    @pydantic.model_validator(mode="after")
    def _whole(self) -> Self:
        if self.history.fill and (self.time.basis != "source" or self.time.assumed_zone is not None):
            raise ValueError("history.fill only where time.basis is source and stamps are UTC: a history is asked for by source time")
        if self.lifetime_count < 3 * self.keepalive_count:
            raise ValueError(f"lifetime_count at least 3 x keepalive_count = {3 * self.keepalive_count}, found {self.lifetime_count}")
        return self
