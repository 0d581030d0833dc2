"""What was used for a moment is given back to the system."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from edge_agent.agent.memory import give_back, share_arenas


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")
def test_freed_memory_goes_back_to_the_system():
    share_arenas()
    kept = []
    pieces = []
    for _ in range(4000):  # pieces below the size that is mapped of its own, with something kept between them
        pieces.append(bytearray(32_000))
        kept.append(bytearray(600))
    used = resident()
    pieces.clear()
    give_back()
    assert resident() < used - 64_000_000
    assert len(kept) == 4000
