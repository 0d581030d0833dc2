"""A source that writes local time as UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core import Overflow, Samples, Texts
from edge_agent.sources.modbus import ModbusConfig
from edge_agent.sources.opcua_settings import OpcUaTime
from edge_agent.sources.source import Received
from edge_agent.sources.zone import SourceTime, ZonedSource, utc_ns

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def ns(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1) * 1000


def written(moment: datetime, zone: ZoneInfo) -> int:
    """What a PLC stores that keeps the hands of the wall clock for UTC."""
    return ns(moment.astimezone(zone).replace(tzinfo=UTC))


@given(
    st.lists(st.integers(631_152_000, 2_051_222_400).map(lambda s: datetime.fromtimestamp(s, UTC)), min_size=1, max_size=20),
    st.sampled_from(["Asia/Shanghai", "Europe/Berlin", "America/St_Johns", "Asia/Kathmandu", "UTC", "Australia/Lord_Howe"]),
)
def test_every_stamp_comes_back_when_it_is_received_at_once(moments: list[datetime], name: str) -> None:
    zone = ZoneInfo(name)
    for moment in moments:
        stamp = np.array([written(moment, zone)], np.int64)
        assert utc_ns(stamp, zone, ns(moment)).tolist() == [ns(moment)]


@pytest.mark.parametrize("hour", [0, 1])
def test_the_hour_that_comes_twice_is_told_by_the_time_of_receipt(hour: int) -> None:
    berlin = ZoneInfo("Europe/Berlin")
    moment = datetime(2026, 10, 25, hour, 30, tzinfo=UTC)
    assert written(moment, berlin) == written(datetime(2026, 10, 25, 0, 30, tzinfo=UTC), berlin)
    assert utc_ns(np.array([written(moment, berlin)]), berlin, ns(moment) + 10**9).tolist() == [ns(moment)]


class Bringing:
    def __init__(self, received: Received) -> None:
        self._received = received

    async def open(self, resume: bytes | None) -> None:
        """Nothing to open."""

    async def read(self) -> Received:
        return self._received

    async def close(self) -> None:
        """Nothing to close."""


async def test_all_that_a_source_brings_is_set_right_and_its_own_bookkeeping_is_left_alone() -> None:
    zone, moment = "Asia/Shanghai", datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
    local, true = written(moment, ZoneInfo(zone)), ns(moment)
    assert local - true == 8 * 3600 * 10**9
    brought = Received(
        (
            Samples(np.array([local]), np.array([0], np.int32), np.array([1.0]), np.array([0], np.uint32)),
            Texts((local,), (1,), ("B1",), (0,)),
            Overflow(received_ns=0, source="plc", tag=0, after_ns=local, before_ns=local + 5),
        ),
        resume=b"place",
    )
    got = await ZonedSource(Bringing(brought), zone, lambda: true).read()
    samples, texts, overflow = got.items
    assert isinstance(samples, Samples)
    assert isinstance(texts, Texts)
    assert isinstance(overflow, Overflow)
    assert samples.time_ns.tolist() == [true]
    assert texts.time_ns == (true,)
    assert (overflow.after_ns, overflow.before_ns) == (true, true + 5)
    assert got.resume == b"place"


def test_a_source_that_is_stamped_by_receipt_says_nothing_of_its_clock() -> None:
    modbus = ModbusConfig.model_validate({"kind": "modbus", "name": "plc", "host": "127.0.0.1"})
    stamped = OpcUaTime.model_validate({"basis": "received"})
    assert [modbus.time.by_receipt, stamped.by_receipt, OpcUaTime().by_receipt, SourceTime().by_receipt] == [True, True, False, False]
