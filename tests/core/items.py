"""Hypothesis strategies for every entry and record, drawn from their types, and bitwise comparison."""

from __future__ import annotations

import struct
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edge_agent.core import SUMMARY_DTYPE, Block, Recalled, RecalledTexts, Samples, Summaries, Texts
from edge_agent.core.wire import KINDS

INT64 = st.integers(-(2**63), 2**63 - 1)
INT32 = st.integers(-(2**31), 2**31 - 1)
UINT32 = st.integers(0, 2**32 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
FLOAT = st.one_of(st.floats(), st.integers(0, 2**64 - 1).map(lambda bits: struct.unpack("<d", struct.pack("<Q", bits))[0]))
JSON = st.recursive(
    st.none() | st.booleans() | INT64 | FLOAT | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


def of_type(hint: Any) -> st.SearchStrategy[Any]:
    """Values of a type as it stands in a structure."""
    origin, args = get_origin(hint), get_args(hint)
    plain: dict[Any, st.SearchStrategy[Any]] = {int: INT64, float: FLOAT, str: TEXT, bool: st.booleans(), Any: JSON, type(None): st.none()}
    if hint in plain:
        return plain[hint]
    if origin is Literal:
        return st.sampled_from(args)
    if origin is tuple:
        return st.lists(of_type(args[0]), max_size=3).map(tuple) if args[-1] is Ellipsis else st.tuples(*map(of_type, args))
    if origin is dict:
        return st.dictionaries(of_type(args[0]), of_type(args[1]), max_size=3)
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return st.builds(hint, **{name: of_type(inner) for name, inner in get_type_hints(hint).items() if not name.startswith("__")})
    if args and (origin is Union or "UnionType" in type(hint).__name__):
        return st.one_of(*map(of_type, args))
    raise TypeError(f"no strategy for {hint!r}: add one here")


def column(dtype: str, shape: int | tuple[int, ...]) -> st.SearchStrategy[Any]:
    """Columns with every bit pattern, NaN payloads and -0.0 included."""
    width = np.dtype(dtype).itemsize
    return hnp.arrays(f"<u{width}", shape).map(lambda bits: bits.view(dtype))


@st.composite
def samples(draw: st.DrawFn, max_size: int = 40) -> Samples:
    n = draw(st.integers(0, max_size))
    return Samples(draw(column("<i8", n)), draw(column("<i4", n)), draw(column("<f8", n)), draw(column("<u4", n)), draw(INT64))


@st.composite
def texts(draw: st.DrawFn) -> Texts:
    rows = draw(st.lists(st.tuples(INT64, INT32, TEXT, UINT32), max_size=10))
    return Texts(*(tuple(row[i] for row in rows) for i in range(4)), draw(INT64))  # type: ignore[arg-type]


@st.composite
def blocks(draw: st.DrawFn) -> Block:
    n, k = draw(st.integers(0, 5)), draw(st.integers(0, 5))
    status = draw(column("<u4", n) if draw(st.booleans()) else column("<u4", (n, k)))
    return Block(
        draw(INT32), draw(column("<i8", n)), draw(column("<f8", (n, k))), status, draw(column("<f8", k)), draw(TEXT), draw(TEXT), draw(INT64)
    )


@st.composite
def summaries(draw: st.DrawFn) -> Summaries:
    n = draw(st.integers(0, 8))
    data = draw(st.binary(min_size=n * SUMMARY_DTYPE.itemsize, max_size=n * SUMMARY_DTYPE.itemsize))
    return Summaries(np.frombuffer(data, SUMMARY_DTYPE), draw(INT64))


_COLUMNS: dict[type[Any], st.SearchStrategy[Any]] = {
    Samples: samples(),
    Texts: texts(),
    Block: blocks(),
    Summaries: summaries(),
    Recalled: samples().map(lambda s: Recalled(s.time_ns, s.tag, s.value, s.status, s.received_ns)),
    RecalledTexts: texts().map(lambda t: RecalledTexts(t.time_ns, t.tag, t.value, t.status, t.received_ns)),
}
STRATEGIES: dict[type[Any], st.SearchStrategy[Any]] = {cls: _COLUMNS[cls] if cls in _COLUMNS else of_type(cls) for cls in KINDS}
ANY_ITEM = st.one_of(*STRATEGIES.values())


def same(a: Any, b: Any) -> bool:
    """Equality bit for bit: NaN equals NaN of the same payload, -0.0 differs from 0.0, 1 differs from 1.0."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return struct.pack("<d", a) == struct.pack("<d", b)
    if isinstance(a, msgspec.Struct):
        return all(same(getattr(a, name), getattr(b, name)) for name in a.__struct_fields__)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return bool(a == b)
