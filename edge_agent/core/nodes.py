"""Addresses of the other nodes of a broker cluster, as agent and gateway write them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

Node = Annotated[str, Field(pattern=r"^(\[[0-9A-Fa-f:]+\]|[^\s:/]+):[0-9]{1,5}$")]
"""HOST:PORT; an IPv6 address stands in brackets."""


def nodes(host: str, port: int, others: Sequence[str]) -> tuple[tuple[str, int], ...]:
    """Host and port of every node, the first first.

    >>> nodes("mq1", 1883, ["mq2:1884", "[fd00::3]:1883"])
    (('mq1', 1883), ('mq2', 1884), ('fd00::3', 1883))
    """
    parted = (other.rpartition(":") for other in others)
    return ((host, port), *((name.strip("[]"), int(number)) for name, _, number in parted))
