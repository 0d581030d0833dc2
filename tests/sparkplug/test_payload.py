"""Sparkplug B payloads, byte for byte against vectors that were calculated from the schema, and against damaged input."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.core import WireError
from edge_agent.sparkplug.payload import BD_SEQ, decode, encode, put, put_quality, qualities_of, value_of
from edge_agent.sparkplug.sparkplug_b_pb2 import Payload
from edge_agent.sparkplug.topics import State, Topic
from edge_agent.sparkplug.values import DataType, quality_of, status_of

TIME_MS = 1486144502122
NDEATH = bytes.fromhex("08 ea f2 f5 a8 a0 2b 12 12 0a 05 62 64 53 65 71 18 ea f2 f5 a8 a0 2b 20 04 58 00")
DDATA = bytes.fromhex(
    "08 ea f2 f5 a8 a0 2b 12 22 10 07 18 ea f2 f5 a8 a0 2b 20 09 4a 10 0a 07 51 75 61 6c 69 74 79 12 05 08 03 18 f4 03 65 00 00 ac 41 18 05"
)


def test_a_death_is_these_bytes() -> None:
    payload = Payload(timestamp=TIME_MS)
    put(payload.metrics.add(name=BD_SEQ, timestamp=TIME_MS), DataType.INT64, 0)
    assert encode(payload) == NDEATH
    assert decode(NDEATH) == payload


def test_stale_data_are_these_bytes() -> None:
    payload = Payload(timestamp=TIME_MS, seq=5)
    metric = payload.metrics.add(alias=7, timestamp=TIME_MS)
    put(metric, DataType.FLOAT, 21.5)
    put_quality(metric, 500, None)
    assert encode(payload) == DDATA
    read = decode(DDATA).metrics[0]
    assert (read.alias, value_of(read, read.datatype), qualities_of(read)) == (7, 21.5, (500, None))


@pytest.mark.parametrize(
    ("datatype", "value"),
    [
        (DataType.INT8, -1), (DataType.INT16, -32768), (DataType.INT32, -1), (DataType.INT64, -(2**63)), (DataType.UINT8, 255),
        (DataType.UINT32, 2**32 - 1), (DataType.UINT64, 2**64 - 1), (DataType.FLOAT, 21.5), (DataType.DOUBLE, 0.1), (DataType.BOOLEAN, False),
        (DataType.STRING, "片"), (DataType.TEXT, ""), (DataType.DATETIME, TIME_MS), (DataType.STRINGARRAY, ["ABC", "片"]),
    ],
)  # fmt: skip
def test_each_type_comes_back(datatype: DataType, value: object) -> None:
    payload = Payload(timestamp=1)
    put(payload.metrics.add(alias=1), datatype, value)
    read = decode(encode(payload)).metrics[0]
    assert read.datatype == datatype
    assert value_of(read, datatype) == value


def test_minus_one_travels_wide_and_is_read_narrow_too() -> None:
    metric = Payload.Metric()
    put(metric, DataType.INT8, -1)
    assert metric.int_value == 4294967295
    assert value_of(Payload.Metric(int_value=255), DataType.INT8) == -1


@pytest.mark.parametrize("datatype", [DataType.INT8ARRAY, DataType.UINT64ARRAY, DataType.DOUBLEARRAY, DataType.BOOLEANARRAY, DataType.DATETIMEARRAY])
def test_arrays_come_back(datatype: DataType) -> None:
    metric = Payload.Metric()
    put(metric, datatype, np.array([1, 0, 1, 1, 0, 0, 1, 0, 1]))
    np.testing.assert_array_equal(value_of(metric, datatype), [1, 0, 1, 1, 0, 0, 1, 0, 1])


@pytest.mark.parametrize(
    ("metric", "datatype"),
    [
        (Payload.Metric(bytes_value=b"abc"), DataType.FLOATARRAY), (Payload.Metric(bytes_value=b"\x09\0\0\0\0"), DataType.BOOLEANARRAY),
        (Payload.Metric(bytes_value=b""), DataType.BOOLEANARRAY), (Payload.Metric(bytes_value=b"abc"), DataType.STRINGARRAY),
        (Payload.Metric(bytes_value=b"\xff\0"), DataType.STRINGARRAY), (Payload.Metric(string_value="1"), DataType.DOUBLE),
        (Payload.Metric(int_value=1), DataType.DATASET), (Payload.Metric(int_value=1), 99),
    ],
)  # fmt: skip
def test_a_value_that_is_not_what_its_type_promises_is_refused(metric: Payload.Metric, datatype: int) -> None:
    with pytest.raises(WireError):
        value_of(metric, datatype)


def test_null_is_no_value() -> None:
    assert value_of(Payload.Metric(is_null=True, datatype=10), DataType.DOUBLE) is None
    assert value_of(Payload.Metric(), DataType.DOUBLE) is None


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_whatever_arrives_is_a_payload_or_refused(data: bytes) -> None:
    try:
        payload = decode(data)
    except WireError:
        return
    for metric in payload.metrics:
        qualities_of(metric)
        try:
            value_of(metric, metric.datatype)
        except WireError:
            continue


@pytest.mark.parametrize("status", [0, 0x408F0000, 0x40900000, 0x42090000, 0x40940000, 0x80000000, 0x808C0000, 0x80310000])
def test_our_own_host_reads_the_very_status(status: int) -> None:
    assert status_of(*quality_of(status)) == status


def test_qualities_of_others() -> None:
    assert [status_of(q, None) >> 30 for q in (None, 192, 500, 0, 64)] == [0, 0, 1, 2, 1]


@pytest.mark.parametrize(
    "text", ["", "spBv1.0/g/NDATA/n/d", "spBv1.0/g/DDATA/n", "spAv1.0/g/NDATA/n", "spBv1.0/STATE/h", "spBv1.0//NDATA/n", "spBv1.0/g/X/n"]
)
def test_other_topics_are_refused(text: str) -> None:
    with pytest.raises(WireError):
        Topic.of(text)


@pytest.mark.parametrize("data", [b"", b"OFFLINE", b'{"online":1,"timestamp":1}', b'{"online":true}', b'{"online":true,"timestamp":-1}'])
def test_other_states_are_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        State.decode(data)
    assert State.decode(b'{"timestamp":5,"online":false}') == State(False, 5)


def test_nan_is_a_number_of_its_own() -> None:
    metric = Payload.Metric()
    put(metric, DataType.DOUBLE, math.nan)
    assert math.isnan(value_of(metric, DataType.DOUBLE))
