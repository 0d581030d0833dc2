"""What a long-running process can do so that memory used for a moment is given back: glibc keeps it otherwise, in one arena per thread."""

from __future__ import annotations

import ctypes
import gc
from typing import Final

ARENAS: Final = 1
"""Threads share one arena of the allocator: what one has freed another uses. Numbers of the hot path stand in arrays that are kept anyway."""
MAPPED: Final = 131_072
"""Bytes from which a piece of memory is mapped on its own, for good: glibc raises this number with the first large piece that is freed, and arrays
of zeros, most of whose pages are never used, would from then on be written at once."""
OBJECTS: Final = 100_000
"""Objects made in a start before the collector looks for cycles among them: nearly all stay, and it would look at them again and again."""
_M_ARENA_MAX: Final = -8
_M_MMAP_THRESHOLD: Final = -3


def _libc() -> ctypes.CDLL | None:
    try:
        libc = ctypes.CDLL(None)
        return libc if hasattr(libc, "malloc_trim") else None
    except OSError:
        return None


_LIBC: Final = _libc()
_USUAL: Final = gc.get_threshold()


def be_frugal() -> None:
    """Before threads begin and anything large is made, until `settle`; for memory only where the allocator is that of glibc."""
    gc.set_threshold(OBJECTS, *_USUAL[1:])
    if _LIBC is not None and hasattr(_LIBC, "mallopt"):
        _LIBC.mallopt(_M_ARENA_MAX, ARENAS)
        _LIBC.mallopt(_M_MMAP_THRESHOLD, MAPPED)


def settle() -> None:
    """Once behind a start: what reading the configuration left behind, in cycles and in holes, goes back to the system."""
    gc.collect()
    gc.set_threshold(*_USUAL)
    give_back()


def give_back() -> bool:
    """Let the system have what is free, some milliseconds without the interpreter lock; False where the allocator cannot or nothing was free."""
    return _LIBC is not None and bool(_LIBC.malloc_trim(0))
