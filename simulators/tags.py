"""A tag CSV for the agent from the signals of a line."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from simulators.servers.opcua import NAMESPACE
from simulators.signals import Signal

COLUMNS = ("name", "source", "address", "kind", "unit", "range_low", "range_high", "decimals", "description_en",
           "description_zh", "path", "class", "report", "expected_s", "record", "record_reason", "role")


def address(signal: Signal) -> str:
    """Address of a signal in its own protocol.

    >>> address(Signal("u/a", "", 0, 1, 0, 1.0, "opcua", "", ""))
    'nsu=urn:pharmedge:sim;s=u/a'
    """
    return f"nsu={NAMESPACE};s={signal.name}" if signal.road == "opcua" else signal.topic


def tag_csv(signals: Sequence[Signal], *, opcua_source: str, mqtt_source: str, path: str, speed: float = 1.0) -> str:
    """Tag CSV of all signals; expected periods shrink with the speed; `path` is that of the line, above its units."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for s in signals:
        numeric = s.kind == "numeric"
        periodic = numeric and s.period_s > 0.0
        writer.writerow([
            s.name, opcua_source if s.road == "opcua" else mqtt_source, address(s), s.kind, s.unit,
            f"{s.low:g}" if numeric else "", f"{s.high:g}" if numeric else "", s.decimals if numeric else "",
            s.en, s.zh, f"{path}/{s.name.partition('/')[0]}", s.tag_class, "periodic" if periodic else "by_exception",
            f"{s.period_s / speed:g}" if periodic else "", "raw", "", s.role,
        ])
    return out.getvalue()
