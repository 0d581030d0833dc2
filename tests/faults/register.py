"""Every fault, in the order of the table."""

from __future__ import annotations

from tests.faults import backlog, clocks, cluster, copies, filling, hall, kills, network, storage
from tests.faults.outcome import FAULTS

ALL = tuple(FAULTS)
"""Names, in the order in which the modules registered them."""

__all__ = ["ALL", "FAULTS", "backlog", "clocks", "cluster", "copies", "filling", "hall", "kills", "network", "storage"]
