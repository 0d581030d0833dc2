"""What a plant does to an edge, what was promised for it and what happened: the register of faults."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Outcome:
    """The result of one fault; `lost` and `duplicated` count values over all tags, None where the fault cannot be made on this machine."""

    fault: str
    promised: str
    happened: str
    lost: int | None
    duplicated: int | None
    seconds: float = 0.0


class NotHere(Exception):
    """This machine cannot make the fault; the text says what is missing."""


@dataclass(frozen=True)
class Happened:
    """What a fault's function found; a promise that was broken raises AssertionError instead."""

    text: str
    lost: int = 0
    duplicated: int = 0


Cause = Callable[[int, Path, bool], Happened]
"""(seed, an empty folder, whether to take the long form) -> what happened."""


@dataclass(frozen=True)
class Fault:
    """One registered fault."""

    name: str
    promised: str
    cause: Cause
    quick: bool
    """Whether its small form belongs to every test run; the others are seen by `make faults` alone."""


FAULTS: dict[str, Fault] = {}


def fault(name: str, promised: str, *, quick: bool = True) -> Callable[[Cause], Cause]:
    """Register a function as a fault."""

    def register(cause: Cause) -> Cause:
        assert name not in FAULTS
        FAULTS[name] = Fault(name, promised, cause, quick)
        return cause

    return register


def suffer(one: Fault, seed: int, folder: Path, *, long: bool) -> Outcome:
    """Make a fault happen in an empty folder."""
    begin = time.monotonic()
    try:
        happened = one.cause(seed, folder, long)
    except NotHere as missing:
        return Outcome(one.name, one.promised, f"not tested here: {missing}", None, None)
    return Outcome(one.name, one.promised, happened.text, happened.lost, happened.duplicated, round(time.monotonic() - begin, 1))


def needs(program: str) -> str:
    """The path of a program. Raises NotHere."""
    found = shutil.which(program)
    if found is None:
        raise NotHere(f"needs {program}")
    return found
