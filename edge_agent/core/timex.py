"""What the kernel says of its own clock: whether something keeps it right, and how far it may be off (adjtimex(2), nothing is set).

chrony, ntpd, systemd-timesyncd and ptp4l with phc2sys all steer the clock through this call, so that it tells the same whichever of them runs.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Final

_TIME_ERROR: Final = 5
_STA_NANO: Final = 0x2000
_LONG: Final = ctypes.c_long


class _Timex(ctypes.Structure):
    _fields_ = [
        ("modes", ctypes.c_uint), ("offset", _LONG), ("freq", _LONG), ("maxerror", _LONG), ("esterror", _LONG), ("status", ctypes.c_int),
        ("constant", _LONG), ("precision", _LONG), ("tolerance", _LONG), ("seconds", _LONG), ("part", _LONG), ("tick", _LONG), ("rest", _LONG * 32),
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class KernelClock:
    """The kernel's word on its clock.

    synchronised       something keeps it right
    offset_s           correction that is still to be made, seconds
    estimated_error_s  how far off it is taken to be by what keeps it, seconds
    maximum_error_s    how far off it is at the most, seconds; grows while nothing corrects it
    frequency_ppm      correction of its rate, parts per million
    """

    synchronised: bool
    offset_s: float
    estimated_error_s: float
    maximum_error_s: float
    frequency_ppm: float


def kernel_clock() -> KernelClock | None:
    """What the kernel says now; None where it cannot be asked."""
    told = _Timex()
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(told))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else read(state, told)


def read(state: int, told: _Timex) -> KernelClock:
    """Numbers in SI units of what the call gave."""
    offset = told.offset / (1e9 if told.status & _STA_NANO else 1e6)
    return KernelClock(state != _TIME_ERROR, offset, told.esterror / 1e6, told.maxerror / 1e6, told.freq / 65536)
