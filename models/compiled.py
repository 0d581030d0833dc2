"""`@kernel`: one declaration for every compiled loop of the product.

A kernel is a plain Python function over arrays and scalars with its signature in the decorator. Where the package carries kernels that were
compiled ahead of time (`models._kernels`), those are used and numba is not imported at all; otherwise numba compiles the function when it is
declared and caches the machine code beside the source. Both run without the interpreter lock. No kernel uses fastmath or parallel loops:
they change the last bits (see docs/decisions).
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NamedTuple, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


class Kernel(NamedTuple):
    """A declared kernel: what the ahead-of-time compiler needs."""

    name: str
    signature: str
    function: Callable[..., Any]


DECLARED: Final[dict[str, Kernel]] = {}
"""Every kernel declared so far, by its name `<module>.<function>`."""

JIT: Final = "PHARMEDGE_JIT"
"""Environment variable: set to anything, kernels are compiled at start although ahead-of-time ones are there."""


def _ahead() -> ModuleType | None:
    """The kernels compiled ahead of time, unless they were made of other sources than those that are here."""
    if os.environ.get(JIT) or importlib.util.find_spec("models._kernels") is None:
        return None
    try:
        found = importlib.import_module("models._kernels")
    except ImportError:  # made for another processor or library
        return None
    root = Path(__file__).resolve().parent.parent
    for name, known in found.SOURCES.items():
        path = root / name
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != known:
            return None
    return found


_AHEAD: Final = _ahead()


def kernel(signature: str) -> Callable[[F], F]:
    """Declare a kernel with its numba signature, e.g. ``"void(float64[::1], float64, float64[::1])"``.

    The pure Python function stays reachable as `.py_func`. Raises ValueError when a kernel of the same module and name was declared with
    another signature.

    >>> @kernel("float64(float64, float64)")
    ... def added(a, b):
    ...     return a + b
    >>> added(1.0, 2.0), added.py_func(1.0, 2.0)
    (3.0, 3.0)
    """

    def declare(function: F) -> F:
        name = f"{function.__module__}.{function.__name__}"
        known = DECLARED.get(name)
        if known is not None and known.signature != signature:
            raise ValueError(f"kernel {name}: expected signature {known.signature}, found {signature}")
        DECLARED[name] = Kernel(name, signature, function)
        ahead = getattr(_AHEAD, name.replace(".", "__"), None)
        if ahead is not None:
            return _Ahead(ahead, signature, function)  # type: ignore[return-value]
        return _compiled_now(signature, function)

    return declare


def _compiled_now(signature: str, function: F) -> F:
    import numba

    cache = "<" not in function.__code__.co_filename  # functions typed at a prompt have no file to cache beside
    compiled: F = numba.njit(signature, nogil=True, cache=cache, error_model="numpy")(function)
    return compiled


class _Ahead:
    """A kernel compiled ahead of time, with the interface of a numba dispatcher that callers use."""

    __slots__ = ("_at_start", "_compiled", "_signature", "py_func")

    def __init__(self, compiled: Callable[..., Any], signature: str, function: Callable[..., Any]) -> None:
        self._compiled, self._signature = compiled, signature
        self.py_func = function
        self._at_start: Any = None

    def __call__(self, *args: Any) -> Any:
        return self._compiled(*args)

    @property
    def _numba_type_(self) -> Any:
        # A kernel of a user's own model that calls this one is compiled at start and needs it as numba knows it; numba keeps no hold on it.
        if self._at_start is None:
            self._at_start = _compiled_now(self._signature, self.py_func)
        return self._at_start._numba_type_
