"""`edge-agent run` with a clock that can be set and a disk that can be slowed: `python -m tests.faults.agent_under FOLDER run -c FILE`.

FOLDER/clock_ns is added to the wall clock (nanoseconds, read at each look), FOLDER/commit_ms is slept in each commit of the log.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any


def _number(path: Path) -> float:
    try:
        return float(path.read_text("ascii"))
    except (FileNotFoundError, ValueError):
        return 0.0  # not set, or being written at this very moment


def main() -> None:
    """Put the shims in place before anything of ours is imported."""
    folder = Path(sys.argv[1])
    wall_ns, wall = time.time_ns, time.time
    time.time_ns = lambda: wall_ns() + int(_number(folder / "clock_ns"))
    time.time = lambda: wall() + _number(folder / "clock_ns") / 1e9

    from edge_agent.core import Log

    commit = Log.commit

    def slow(self: Log, *args: Any, **kwargs: Any) -> Any:
        time.sleep(_number(folder / "commit_ms") / 1000)
        return commit(self, *args, **kwargs)

    Log.commit = slow  # type: ignore[method-assign]
    sys.argv = ["edge-agent", *sys.argv[2:]]

    from edge_agent.__main__ import main as agent

    agent()


if __name__ == "__main__":
    main()
