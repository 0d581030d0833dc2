"""Addresses of Sparkplug metrics."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Address:
    """`GROUP/NODE#METRIC` or `GROUP/NODE/DEVICE#METRIC`."""

    group: str
    node: str
    device: str
    metric: str

    @classmethod
    def of(cls, text: str) -> Address:
        """The parts of an address; ValueError when it is none.

        >>> Address.of("plant/edge1/press1#Compression/Main force").metric
        'Compression/Main force'
        """
        path, _, metric = text.partition("#")
        parts = path.split("/")
        if len(parts) not in (2, 3) or not all(parts) or not metric or "+" in path:
            raise ValueError(f"expected GROUP/NODE#METRIC or GROUP/NODE/DEVICE#METRIC, found {text!r}")
        return cls(parts[0], parts[1], parts[2] if len(parts) == 3 else "", metric)
