"""MQTT payloads to columns: our own point format, bare numbers, and any other JSON by pointer (RFC 6901); blocks in mqtt_blocks.py."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final, Literal

import msgspec
import numpy as np

from edge_agent.core import Block, PharmedgeError, Samples, Tag, Texts
from edge_agent.core.status import BAD, BAD_DECODING, EXACT_INTEGER_LIMIT, UNCERTAIN, UNCERTAIN_LAST_USABLE
from edge_agent.sources.blocks import BlockError, StreamSection
from edge_agent.sources.mqtt_blocks import block_of, plain

TimeUnit = Literal["ns", "us", "ms", "s", "iso"]

_UNIT_NS: Final[dict[str, int]] = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
_INT64: Final = 2**63
_FRACTION: Final = re.compile(r"([.,])(\d+)")


class PoisonError(PharmedgeError):
    """A message that can never become a sample; it goes to the dead letters."""


class _Point(msgspec.Struct):
    v: int | float | bool | str | None
    t: Annotated[int, msgspec.Meta(ge=-_INT64, le=_INT64 - 1)] | None = None
    s: Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)] = 0


_points: Final = msgspec.json.Decoder(_Point | list[_Point] | int | float | bool | str | None)
_anything: Final = msgspec.json.Decoder()
_ABSENT: Final = object()


def pointer_tokens(text: str) -> tuple[str, ...]:
    """The reference tokens of a JSON pointer; ValueError when it is none.

    >>> pointer_tokens("/a~1b/0"), pointer_tokens("")
    (('a/b', '0'), ())
    """
    if text and not text.startswith("/"):
        raise ValueError(f"JSON pointer: expected it to start with '/', found {text!r}")
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in text.split("/")[1:])


def at_pointer(tree: Any, tokens: Sequence[str]) -> Any:
    """What stands at a pointer, or the module's mark for nothing."""
    for token in tokens:
        if isinstance(tree, dict):
            tree = tree.get(token, _ABSENT)
        elif isinstance(tree, list) and token.isascii() and token.isdigit() and int(token) < len(tree):
            tree = tree[int(token)]
        else:
            return _ABSENT
    return tree


def time_ns_of(value: Any, unit: TimeUnit) -> int:
    """A time in a payload as ns UTC; ISO 8601 without an offset is read as UTC. PoisonError when it is no such time.

    >>> time_ns_of(1767225600.25, "s"), time_ns_of("2026-01-01T01:00:00.000000001+01:00", "iso")
    (1767225600250000000, 1767225600000000001)
    """
    found: int | None = None
    if unit == "iso" and isinstance(value, str):
        fraction = _FRACTION.search(value)
        try:
            whole = datetime.fromisoformat(_FRACTION.sub("", value))
        except ValueError as error:
            raise PoisonError(f"expected an ISO 8601 time, found {value!r}") from error
        offset = whole.utcoffset()
        seconds = (whole.replace(tzinfo=None) - datetime(1970, 1, 1)).total_seconds()  # noqa: DTZ001 both are UTC by now
        found = int(seconds - (offset.total_seconds() if offset else 0)) * _UNIT_NS["s"]
        found += int(fraction[2][:9].ljust(9, "0")) if fraction else 0
    elif unit != "iso" and isinstance(value, int) and not isinstance(value, bool):
        found = value * _UNIT_NS[unit]
    elif unit != "iso" and isinstance(value, float) and math.isfinite(value):
        # Whole part and fraction apart: their product with 1e9 is not exact in one float64.
        whole_part = math.floor(value)
        found = whole_part * _UNIT_NS[unit] + round((value - whole_part) * _UNIT_NS[unit])
    if found is None or not -_INT64 <= found < _INT64:
        raise PoisonError(f"expected a time in {unit}, found {value!r}")
    return found


@dataclass(frozen=True, slots=True)
class Route:
    """Where one tag's value stands in the messages of one topic; `pointer` None means our own point format."""

    tag: Tag
    pointer: tuple[str, ...] | None


def routes(tags: Sequence[Tag], address: Mapping[int, str], prefix: str = "") -> dict[str, tuple[Route, ...]]:
    """Topic to the tags it carries, from addresses `topic` or `topic#/json/pointer`; a tag without one has the topic `prefix` + its name.

    >>> routes([Tag(id=0, name="a/b")], {0: "plant/x#/v"})["plant/x"][0].pointer
    ('v',)
    """
    found: dict[str, tuple[Route, ...]] = {}
    for tag in tags:
        topic, mark, pointer = (address.get(tag.id) or prefix + tag.name).partition("#")
        if not topic or "+" in topic:
            raise ValueError(f"{tag.name}: address: expected TOPIC or TOPIC#/POINTER without wildcards, found {address.get(tag.id)!r}")
        try:
            route = Route(tag, pointer_tokens(pointer) if mark else None)
        except ValueError as error:
            raise ValueError(f"{tag.name}: address: {error}") from error
        found[topic] = (*found.get(topic, ()), route)
    return found


class Columns:
    """Collects points and blocks and hands them out as Samples, Texts and Blocks in the order they came."""

    def __init__(self) -> None:
        self._items: list[Samples | Texts | Block] = []
        self._text = False
        self._times: list[int] = []
        self._tags: list[int] = []
        self._values: list[Any] = []
        self._statuses: list[int] = []

    def add(self, tag: Tag, points: Sequence[tuple[int, Any, int]]) -> None:
        """Points (time, value, status) of one tag: all of them, or PoisonError and none."""
        text = tag.kind == "text"
        checked = [_text(v, s) if text else _number(v, s) for _, v, s in points]
        if text is not self._text:
            self._cut()
            self._text = text
        self._times.extend([t for t, _, _ in points])
        self._tags.extend([tag.id] * len(points))
        self._values.extend([v for v, _ in checked])
        self._statuses.extend([s for _, s in checked])

    def add_block(self, block: Block) -> None:
        """One block."""
        self._cut()
        self._items.append(block)

    def items(self) -> tuple[Samples | Texts | Block, ...]:
        """Everything collected."""
        self._cut()
        return tuple(self._items)

    def _cut(self) -> None:
        if self._times:
            if self._text:
                item: Samples | Texts = Texts(tuple(self._times), tuple(self._tags), tuple(self._values), tuple(self._statuses))
            else:
                statuses = np.array(self._statuses, np.uint32)
                item = Samples(np.array(self._times, np.int64), np.array(self._tags, np.int32), np.array(self._values, np.float64), statuses)
            self._items.append(item)
        self._times, self._tags, self._values, self._statuses = [], [], [], []


def _number(value: Any, status: int) -> tuple[float, int]:
    if type(value) is float:
        return value, status
    if isinstance(value, int):  # true and false are 1 and 0
        if abs(value) > EXACT_INTEGER_LIMIT:
            status = max(status, UNCERTAIN)
        try:
            return float(value), status
        except OverflowError as error:
            raise PoisonError(f"expected a number that fits float64, found an integer of {value.bit_length()} bits") from error
    if value is None:
        return math.nan, status if status >= BAD else BAD_DECODING
    raise PoisonError(f"expected a number, found {value!r:.80}")


def _text(value: Any, status: int) -> tuple[str, int]:
    if isinstance(value, str):
        return value, status
    if value is None:
        return "", status if status >= BAD else BAD_DECODING
    raise PoisonError(f"expected a text, found {value!r:.80}")


class Parser:
    """Turns messages of known topics into columns.

    time_path   pointer to the source time in payloads that are read by pointer; None when they carry none
    time_unit   what stands there
    streams     what is known of streams of blocks
    """

    def __init__(self, time_path: str | None = None, time_unit: TimeUnit = "ns", streams: Sequence[StreamSection] = ()) -> None:
        self._streams = {s.tag: s for s in streams}
        self._time_path = None if time_path is None else pointer_tokens(time_path)
        self._time_unit: TimeUnit = time_unit

    def parse(self, found: Sequence[Route], payload: bytes, received_ns: int, columns: Columns, *, retained: bool = False) -> None:
        """Add what a message says to `columns`; PoisonError when nothing, or not everything, in it could be read.

        Without a source time the received time stands for it; then a retained message, of unknown age, is uncertain.
        """
        unstamped = UNCERTAIN_LAST_USABLE if retained else 0
        troubles: list[str] = []
        for route in found:
            if route.pointer is None and route.tag.kind == "block":
                try:
                    columns.add_block(block_of(route.tag, self._streams.get(route.tag.name), payload, received_ns, unstamped))
                except BlockError as error:
                    troubles.append(f"{route.tag.name}: {error}")
        own = [r for r in found if r.pointer is None and r.tag.kind != "block"]
        if own:
            points = self._points(payload, received_ns, unstamped)
            for route in own:
                _try(columns, route, points, troubles)
        pointed = [r for r in found if r.pointer is not None]
        if pointed:
            try:
                tree = _anything.decode(payload)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise PoisonError(f"expected JSON: {error}") from error
            self._by_pointer(pointed, tree, received_ns, unstamped, columns, troubles)
        if troubles:
            raise PoisonError("; ".join(troubles))

    @staticmethod
    def _points(payload: bytes, received_ns: int, unstamped: int) -> list[tuple[int, Any, int]]:
        try:
            decoded = _points.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise PoisonError(f'expected {{"t", "v", "s"}}, a list of them or a bare value: {error}') from error
        if isinstance(decoded, _Point):
            decoded = [decoded]
        elif not isinstance(decoded, list):
            return [(received_ns, decoded, unstamped)]
        return [(received_ns, p.v, max(p.s, unstamped)) if p.t is None else (p.t, p.v, p.s) for p in decoded]

    def _by_pointer(self, found: Sequence[Route], tree: Any, received_ns: int, status: int, columns: Columns, troubles: list[str]) -> None:
        time_ns = received_ns
        if self._time_path is not None:
            stamp = at_pointer(tree, self._time_path)
            if stamp is _ABSENT:
                raise PoisonError(f"expected a time at /{'/'.join(self._time_path)}, found nothing")
            time_ns, status = time_ns_of(stamp, self._time_unit), 0
        present = 0
        for route in found:
            value = at_pointer(tree, route.pointer or ())
            if value is not _ABSENT:  # a message need not carry every tag of its topic
                present += 1
                if route.tag.kind == "block":
                    try:
                        columns.add_block(plain(route.tag, self._streams.get(route.tag.name), value, time_ns, status))
                    except BlockError as error:
                        troubles.append(f"{route.tag.name}: {error}")
                    continue
                _try(columns, route, [(time_ns, value, status)], troubles)
        if not present:
            raise PoisonError(f"expected a value at {', '.join('/' + '/'.join(r.pointer or ()) for r in found)}, found nothing")


def _try(columns: Columns, route: Route, points: Sequence[tuple[int, Any, int]], troubles: list[str]) -> None:
    # One tag of the wrong type must not cost the others of the same message.
    try:
        columns.add(route.tag, points)
    except PoisonError as poison:
        troubles.append(f"{route.tag.name}: {poison}")
