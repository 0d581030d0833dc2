"""Registers to one value, byte by byte."""

from __future__ import annotations

import struct

from edge_agent.sources.modbus_address import Address

FORMATS = {"int16": ">h", "uint16": ">H", "int32": ">i", "uint32": ">I", "int64": ">q", "uint64": ">Q", "float32": ">f", "float64": ">d"}


def value(address: Address, registers: list[int]) -> float:
    """The value in the registers of one address."""
    words = [struct.pack(">H", r) for r in registers]
    if address.order in ("cdab", "dcba"):
        words.reverse()
    if address.order in ("badc", "dcba"):
        words = [w[::-1] for w in words]
    raw = b"".join(words)
    if address.type == "bool":
        return float(int.from_bytes(raw, "big") >> address.bit & 1)
    return float(struct.unpack(FORMATS[address.type], raw)[0]) * address.scale + address.offset
