"""Which libraries a running product needs, without what only tests and builds need."""

from __future__ import annotations

import importlib.metadata
import re
from typing import Final

from packaging.requirements import Requirement

EXTRAS: Final = ("demo", "serial", "spectra")
PACKAGE: Final = "pharmedge"


def canonical(name: str) -> str:
    """A distribution's name as lock files write it.

    >>> canonical("Argon2_CFFI")
    'argon2-cffi'
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def needed(name: str = PACKAGE, extras: tuple[str, ...] = EXTRAS, seen: frozenset[str] = frozenset()) -> frozenset[str]:
    """Names of the distributions that a running product needs, without what only tests and builds need."""
    seen |= {canonical(name)}
    for text in importlib.metadata.distribution(name).requires or []:
        requirement = Requirement(text)
        wanted = requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in (*extras, ""))
        if wanted and canonical(requirement.name) not in seen:
            seen = needed(requirement.name, tuple(requirement.extras), seen)
    return seen


def locked(names: frozenset[str], lock: str) -> str:
    """The part of a lock file about these distributions, hashes included.

    >>> print(locked(frozenset({"b"}), "a==1 \\\\\\n    --hash=sha256:0\\nb==2 ; x \\\\\\n    --hash=sha256:1\\n"), end="")
    b==2 ; x \\
        --hash=sha256:1
    """
    parts = re.split(r"^(?=[A-Za-z0-9])", lock, flags=re.MULTILINE)
    return "".join(part for part in parts if canonical(re.split(r"[=\[ ;]", part, maxsplit=1)[0]) in names)
