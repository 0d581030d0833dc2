"""States come back bit for bit, or the bytes are refused."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core import SUMMARY_DTYPE, Heartbeat, WireError, encode, pack, unpack
from edge_agent.core.state import STATE_KIND
from edge_agent.core.wire import frame
from tests.core.items import FLOAT, TEXT, column, same

ARRAY = st.sampled_from(["<f8", "<f4", "<i8", "<i4", "<i2", "<u4", "<u8", "|u1", "|i1", ">f8"]).flatmap(
    lambda dtype: st.sampled_from([(), (0,), (3,), (2, 3), (2, 0, 4)]).flatmap(lambda shape: column(dtype, shape))
)
KEY = TEXT.filter(lambda key: not key.startswith("\0"))
TREE = st.recursive(
    ARRAY
    | st.none()
    | st.booleans()
    | st.integers()
    | FLOAT.filter(lambda f: f == f or struct.pack("<d", f) == struct.pack("<d", float("nan")))
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEY, inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(KEY, TREE, max_size=5))
def test_a_state_comes_back_bit_for_bit(state: dict[str, Any]) -> None:
    data = pack(state)
    assert same(unpack(data), state)
    assert pack(unpack(data)) == data


def test_structured_and_boolean_arrays_and_scalars() -> None:
    nested = np.zeros(2, [("a", "<f8", (2,)), ("b", [("c", "<i4")])])
    nested["a"] = [[1.0, np.nan], [-0.0, 2.0]]
    state = {
        "rows": np.zeros(3, SUMMARY_DTYPE),
        "nested": nested,
        "ready": np.array([True, False]),
        "n": np.int64(3),
        "x": np.float64("inf"),
        "t": (1, 2),
    }
    back = unpack(pack(state))
    assert same(back["rows"], state["rows"])
    assert same(back["nested"], nested)
    assert (back["ready"].tolist(), back["n"], back["x"], back["t"]) == ([True, False], 3, float("inf"), [1, 2])


def test_arrays_come_back_writable_and_contiguous() -> None:
    back = unpack(pack({"strided": np.arange(10.0)[::2], "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3))}))
    back["strided"][0] = 7
    assert back["strided"].tolist() == [7, 2, 4, 6, 8]
    assert back["fortran"].flags.c_contiguous
    assert back["fortran"].tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    ("state", "where"),
    [
        ({"a": {"b": [1, object()]}}, r"state\.a\.b\[1\]"),
        ({"a": np.array([object()])}, r"state\.a: expected a numeric array"),
        ({"a": np.zeros(1, [("o", object)])}, r"state\.a: expected a numeric array"),
        ({"a": np.array(["text"])}, r"state\.a: expected a numeric array"),
        ({"a": {1: 2}}, r"state\.a: expected text keys"),
        ({"\0array": 1}, "state: expected text keys"),
        ({"a": b"bytes"}, r"state\.a: expected arrays"),
    ],
)
def test_what_cannot_be_packed_is_named(state: dict[str, Any], where: str) -> None:
    with pytest.raises(TypeError, match=where):
        pack(state)


def test_every_damaged_byte_and_truncation_is_refused() -> None:
    data = pack({"mu": np.arange(5.0), "n": 3, "deep": {"limit": float("nan")}})
    for at in range(len(data)):
        for bad in (data[:at], data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]):
            with pytest.raises(WireError):
                unpack(bad)


@given(st.binary(max_size=200))
def test_any_body_is_a_state_or_refused(body: bytes) -> None:
    try:
        assert isinstance(unpack(frame(STATE_KIND, body)), dict)
    except WireError:
        return


@pytest.mark.parametrize(
    "tree",
    [
        b"[]",
        b'{"a":{"\\u0000array":["<f8",[1000000],0]}}',
        b'{"a":{"\\u0000array":["<f8",[-1],0]}}',
        b'{"a":{"\\u0000array":["|O",[1],0]}}',
        b'{"a":{"\\u0000array":["nonsense",[1],0]}}',
        b'{"a":{"\\u0000array":["<f8",[1],-9]}}',
        b'{"a":{"\\u0000array":["<f8",[1e30],0]}}',
        b'{"a":{"\\u0000array":[["x"],[1],0]}}',
        b'{"a":{"\\u0000array":7}}',
        b'{"a":{"\\u0000float":"one"}}',
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"",
    ],
)
def test_impossible_trees_are_refused(tree: bytes) -> None:
    with pytest.raises(WireError):
        unpack(frame(STATE_KIND, struct.pack("<I", len(tree)) + tree + b"12345678"))


def test_another_kind_of_frame_is_refused() -> None:
    with pytest.raises(WireError, match="expected kind 70, found 20"):
        unpack(encode(Heartbeat(received_ns=1)))
