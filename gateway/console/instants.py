"""Instants in query parameters: ns UTC as an integer, or RFC 3339 text."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import BeforeValidator, WithJsonSchema

MAX_NS: Final = 2**63 - 1
_INTEGER: Final = re.compile(r"[0-9]{1,19}", re.ASCII)
_RFC3339: Final = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_SECOND_NS: Final = 1_000_000_000


def instant_ns(text: object) -> int:
    """The instant in ns UTC; ValueError when the text is neither an integer of ns nor RFC 3339 with a zone.

    >>> instant_ns("1767225600000000000"), instant_ns("2026-01-01T08:00:00.5+08:00")
    (1767225600000000000, 1767225600500000000)
    """
    shown = str(text)
    if _INTEGER.fullmatch(shown) and int(shown) <= MAX_NS:
        return int(shown)
    # A '+' that was not percent-encoded arrives as a space.
    parts = _RFC3339.fullmatch(re.sub(r" (\d\d:\d\d)$", r"+\1", shown))
    if parts is None:
        raise ValueError(f"expected ns UTC as an integer or RFC 3339 with a zone, found {shown[:64]!r}")
    day, clock, fraction, zone = parts.groups()
    moment = datetime.fromisoformat(f"{day}T{clock}{'+00:00' if zone in 'Zz' else zone}")
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    ns = (since.days * 86400 + since.seconds) * _SECOND_NS + int((fraction or "").ljust(9, "0"))
    if not 0 <= ns <= MAX_NS:
        raise ValueError(f"expected an instant between 1970 and 2262, found {shown!r}")
    return ns


def rfc3339(ns: int) -> str:
    """The instant as RFC 3339 text in UTC with all nine digits.

    >>> rfc3339(1767225600500000000)
    '2026-01-01T00:00:00.500000000Z'
    """
    seconds, rest = divmod(ns, _SECOND_NS)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


Instant = Annotated[
    int,
    BeforeValidator(instant_ns),
    WithJsonSchema({"type": "string", "description": "ns UTC as an integer, or RFC 3339", "examples": ["2026-01-01T08:00:00+08:00"]}),
]
"""A query parameter that names an instant."""
