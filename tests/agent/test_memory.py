"""What was used for a moment is given back to the system."""

from __future__ import annotations

import gc
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.agent.memory import OBJECTS, be_frugal, give_back, settle


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")
def test_freed_memory_goes_back_to_the_system():
    be_frugal()
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
    settle()


UNUSED = """
import sys
import numpy as np
from edge_agent.agent.memory import be_frugal
if len(sys.argv) > 1:
    be_frugal()
large = np.ones(2_000_000)
del large
resident = lambda: int(open("/proc/self/statm").read().split()[1]) * 4096
before = resident()
kept = [np.zeros(250_000) for _ in range(8)]
print(resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")
def test_zeros_that_nobody_has_written_take_no_memory_also_after_a_large_piece_was_freed():
    grown = [int(subprocess.run([sys.executable, "-c", UNUSED, *more], capture_output=True, check=True).stdout) for more in ([], ["frugal"])]
    assert grown[1] < 1_000_000 < grown[0]


def test_cycles_are_looked_for_rarely_while_the_agent_starts_and_as_usual_behind_it():
    settle()
    usual = gc.get_threshold()
    be_frugal()
    assert gc.get_threshold() == (OBJECTS, *usual[1:])
    settle()
    assert gc.get_threshold() == usual


PICTURES = """
import sys
import edge_agent.agent.process
loaded = {name.partition(".")[0] for name in sys.modules}
unused = {"rich", "numba", "pyarrow", "asyncua", "river", "scipy", "pandas", "fastapi", "cryptography", "numpy.polynomial"}
print(*sorted(unused & {*loaded, *sys.modules}))
import rich
"""


def test_an_edge_loads_no_library_before_something_needs_it():
    done = subprocess.run([sys.executable, "-c", PICTURES], capture_output=True, check=True, text=True)
    found = done.stdout.split()
    assert not found or "numba" in found  # which is there where kernels are compiled at start, and loads others
