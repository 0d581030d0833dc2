"""The few errors of the edge, each named by what its reader must do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class PharmedgeError(Exception):
    """Base of every error that Pharmedge raises on purpose."""


class WireError(PharmedgeError):
    """A frame is damaged, of an unknown version, or not what was announced: refuse it, quarantine it, count it."""


class LogError(PharmedgeError):
    """A log file cannot be used as asked: wrong stream, position behind the end, identity reused."""


class LogFull(LogError):
    """The byte budget holds only records that must never be shed: stop acknowledging sources."""


class NotConnected(PharmedgeError):
    """A connector has no connection; the caller waits, backs off and opens it again."""


class EndOfInput(PharmedgeError):
    """A finite source has delivered everything; it is not opened again."""


class Refused(PharmedgeError):
    """An operator action cannot be carried out; the message is the reason shown to the operator."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake in a configuration file, printed on one line.

    >>> str(Mistake("agent.yaml", 7, "edge.id", "a non-empty text", "''"))
    "agent.yaml:7: edge.id: expected a non-empty text, found ''"
    """

    file: str
    line: int
    key: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.key}: expected {self.expected}, found {self.found}"


class ConfigError(PharmedgeError):
    """A configuration has mistakes; all of them are in `mistakes`, in the order of the file."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join(str(m) for m in self.mistakes))
