"""What a model was made of: the names and hashes of its input files."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

Files = Sequence[tuple[Path, str]]
"""Input files with the SHA-256 of each, in the order in which they were read."""


def by_name(files: Files) -> dict[str, str]:
    """The hashes by name: the shortest end of each path that tells it from the others. A file read twice stands once.

    >>> by_name([(Path("a/lab.csv"), "1"), (Path("a/nir.csv"), "2"), (Path("b/nir.csv"), "3"), (Path("a/lab.csv"), "1")])
    {'lab.csv': '1', 'a/nir.csv': '2', 'b/nir.csv': '3'}
    """
    known = {path.absolute(): sha256 for path, sha256 in files}
    found = {}
    for path, sha256 in known.items():
        parts = next(n for n in range(1, len(path.parts) + 1) if sum(other.parts[-n:] == path.parts[-n:] for other in known) == 1)
        found[Path(*path.parts[-parts:]).as_posix()] = sha256
    return found


def sha256_of(files: Files) -> str:
    """The hash of the only file, or of the names and hashes of all."""
    named = by_name(files)
    return next(iter(named.values())) if len(named) == 1 else hashlib.sha256("".join(f"{n}\0{h}\0" for n, h in named.items()).encode()).hexdigest()
