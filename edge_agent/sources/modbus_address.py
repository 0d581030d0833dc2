"""Modbus addresses of tags: which table, where, and how the registers are read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal, get_args

Table = Literal["coil", "discrete", "holding", "input"]
Order = Literal["abcd", "cdab", "badc", "dcba"]
TABLES: Final[tuple[Table, ...]] = get_args(Table)
ORDERS: Final[tuple[Order, ...]] = get_args(Order)
"""High word and byte first; low word first; bytes of each word exchanged; both."""
WORDS: Final[dict[str, int]] = {"int16": 1, "uint16": 1, "int32": 2, "uint32": 2, "int64": 4, "uint64": 4, "float32": 2, "float64": 4, "bool": 1}
EXPECTED: Final = (
    "TABLE NUMBER [TYPE] [unit=1] [order=abcd] [scale=1] [offset=0] [bit=0..15] [length=REGISTERS] with table coil, discrete, holding or input, "
    "such as 'holding 40 float32 order=cdab'"
)


class AddressError(ValueError):
    """An address that says nothing to a Modbus master."""


@dataclass(frozen=True, slots=True)
class Address:
    """One value in the memory of one unit; `number` counts from 0 as on the wire."""

    table: Table
    number: int
    type: str
    unit: int = 1
    order: Order = "abcd"
    scale: float = 1.0
    offset: float = 0.0
    bit: int = 0
    words: int = 1
    """Registers, or 1 for a coil or discrete input."""

    @property
    def end(self) -> int:
        """The number behind it."""
        return self.number + self.words


def parse(text: str) -> Address:
    """The address in a text; AddressError says what is wrong with it.

    >>> parse("holding 40 float32 order=cdab unit=3 scale=0.1")
    Address(table='holding', number=40, type='float32', unit=3, order='cdab', scale=0.1, offset=0.0, bit=0, words=2)
    >>> parse("coil 7").type, parse("input 2").type, parse("holding 9 bool bit=4").bit, parse("holding 100 string length=8").words
    ('bool', 'uint16', 4, 8)
    """
    plain = [part for part in text.split() if "=" not in part]
    options = dict(part.split("=", 1) for part in text.split() if "=" in part)
    table = next((t for t in TABLES if plain and plain[0] == t), None)
    if table is None or len(plain) not in (2, 3):
        raise AddressError(f"expected {EXPECTED}, found {text!r}")
    bits = table in ("coil", "discrete")
    kind = plain[2] if len(plain) == 3 else "bool" if bits else "uint16"
    if bits and kind != "bool":
        raise AddressError(f"type: expected bool in table {table}, found {kind!r}")
    if kind not in WORDS and kind != "string":
        raise AddressError(f"type: expected one of {', '.join(WORDS)} or string, found {kind!r}")
    known = {"unit", *(() if bits else ("order", "bit" if kind == "bool" else "length" if kind == "string" else "scale"))}
    known |= {"offset"} if "scale" in known else set()
    if unknown := sorted(options.keys() - known):
        raise AddressError(f"expected {', '.join(sorted(known))} for {kind} in table {table}, found {', '.join(unknown)}")
    order = next((o for o in ORDERS if o == options.get("order", "abcd")), None)
    if order is None:
        raise AddressError(f"order: expected one of {', '.join(ORDERS)}, found {options['order']!r}")
    words = WORDS.get(kind) or _whole(options, "length", 1, 125, None)
    found = Address(
        table, _whole({"number": plain[1]}, "number", 0, 65_535, None), kind, _whole(options, "unit", 0, 255, 1), order,
        _real(options, "scale", 1.0), _real(options, "offset", 0.0), _whole(options, "bit", 0, 15, 0), words,
    )  # fmt: skip
    if found.end > 65_536:
        raise AddressError(f"number: expected {words} registers up to 65535, found {found.number} to {found.end - 1}")
    return found


def _whole(options: dict[str, str], name: str, low: int, high: int, otherwise: int | None) -> int:
    text = options.get(name, "" if otherwise is None else str(otherwise))
    if not (text.isascii() and text.isdigit() and len(text) < 8 and low <= int(text) <= high):
        raise AddressError(f"{name}: expected a whole number from {low} to {high}, found {text!r}")
    return int(text)


def _real(options: dict[str, str], name: str, otherwise: float) -> float:
    text = options.get(name, str(otherwise))
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or (name == "scale" and value == 0):
        raise AddressError(f"{name}: expected a number{' other than 0' if name == 'scale' else ''}, found {text!r}")
    return value
