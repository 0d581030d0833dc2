"""OPC UA StatusCodes as the edge uses them (OPC 10000-4 v1.05, 7.38 and 7.39)."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

GOOD: Final = 0x00000000
UNCERTAIN: Final = 0x40000000
BAD: Final = 0x80000000

CODE_MASK: Final = 0xFFFF0000
"""Severity and sub-code: two status codes are compared on these bits."""

OVERFLOW: Final = 0x00000480
"""InfoType DataValue with the overflow bit: the server's queue dropped a value beside this one."""

UNCERTAIN_NO_COMMUNICATION_LAST_USABLE: Final = 0x408F0000
UNCERTAIN_LAST_USABLE: Final = 0x40900000
UNCERTAIN_ENGINEERING_UNITS_EXCEEDED: Final = 0x40940000
UNCERTAIN_SIMULATED: Final = 0x42090000
BAD_NO_COMMUNICATION: Final = 0x80310000
BAD_WAITING_FOR_INITIAL_DATA: Final = 0x80320000
BAD_DECODING: Final = 0x80070000
BAD_TYPE_MISMATCH: Final = 0x80740000
BAD_SENSOR_FAILURE: Final = 0x808C0000
BAD_OUT_OF_SERVICE: Final = 0x808D0000

EXACT_INTEGER_LIMIT: Final = 2.0**53
"""Integers beyond this magnitude may have been rounded to a float64: they are flagged uncertain."""

QUALITY_GOOD: Final = 0
QUALITY_UNCERTAIN: Final = 1
QUALITY_BAD: Final = 2
QUALITY_NAMES: Final = ("good", "uncertain", "bad")


def quality(status: int, *, simulated: bool = False) -> int:
    """The quality class of one status code.

    `simulated` is true on an edge that declares itself simulated: there UncertainSimulatedValue is what good is on a
    real line, so that alarms and models can be tried out. Severity 11 is reserved and read as bad.

    >>> quality(0x40940000), quality(0x42090000), quality(0x42090000, simulated=True), quality(0xC0000000)
    (1, 1, 0, 2)
    """
    if simulated and status & CODE_MASK == UNCERTAIN_SIMULATED:
        return QUALITY_GOOD
    return min(status >> 30, QUALITY_BAD)


def qualities(status: NDArray[np.uint32], *, simulated: bool = False) -> NDArray[np.uint8]:
    """The quality class of each status code, shape (n,): 0 good, 1 uncertain, 2 bad."""
    severity: NDArray[np.uint8] = np.minimum(status >> np.uint32(30), np.uint32(QUALITY_BAD)).astype(np.uint8)
    if simulated:
        severity[(status & np.uint32(CODE_MASK)) == UNCERTAIN_SIMULATED] = QUALITY_GOOD
    return severity


def worse(a: int, b: int) -> int:
    """The worse of two status codes: higher severity, then higher code; bad 11 counts as bad.

    >>> hex(worse(0x40940000, 0x808C0000))
    '0x808c0000'
    """
    return max(a, b)
