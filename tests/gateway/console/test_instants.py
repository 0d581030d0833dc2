"""Instants in query parameters."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.console.instants import MAX_NS, instant_ns, rfc3339


@given(st.integers(0, MAX_NS))
def test_every_instant_survives_both_spellings(ns: int) -> None:
    assert instant_ns(str(ns)) == ns
    assert instant_ns(rfc3339(ns)) == ns


@given(st.datetimes(datetime(1971, 1, 1), datetime(2260, 1, 1)), st.integers(-14 * 60, 14 * 60))  # noqa: DTZ001 - the zone is added
def test_a_zone_is_an_offset_from_utc(moment: datetime, minutes: int) -> None:
    here = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    since = here - datetime(1970, 1, 1, tzinfo=UTC)
    assert instant_ns(here.isoformat()) == (since.days * 86_400_000_000 + since.seconds * 1_000_000 + since.microseconds) * 1000


def test_an_unescaped_plus_still_names_a_zone() -> None:
    assert instant_ns("2026-01-01T08:00:00 08:00") == instant_ns("2026-01-01T08:00:00+08:00")


@pytest.mark.parametrize(
    "text", ["", "now", "-1", "1e9", "2026-01-01", "2026-01-01T08:00:00", "2026-13-01T00:00:00Z", "9" * 20, "1969-01-01T00:00:00Z", "١٢٣"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        instant_ns(text)
