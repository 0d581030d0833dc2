"""Watching the model files of a running agent: what changes on the disk is told at once and takes effect at the next start only."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import structlog

from edge_agent.config import AgentSettings
from edge_agent.config.trained import TrainedModels, adjusted_approvals, adjusted_mistakes, model_name, trained_models
from edge_agent.core import ConfigError, Mistake, Note, Start
from edge_agent.core.signing import public_keys

if TYPE_CHECKING:
    from edge_agent.core.approval import Approval

log = structlog.get_logger()

EVERY_S: Final = 10.0


class ModelWatch:
    """The model files of a configuration, as they are on the disk."""

    def __init__(self, settings: AgentSettings, keys: Path, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._keys, self._sleep = keys, sleep
        self.files = {Path(m.file): f"model {m.kind} {model_name(m)}" for m in settings.models if m.file is not None}
        self._stamps: dict[Path, tuple[int, int] | None] = {}
        self._hashes: dict[Path, str] = {}
        self.approvals: list[tuple[str, Approval]] = []
        """Adjusted soft sensors and the approvals under which they run."""

    def begin(self, settings: AgentSettings, now_ns: int, previous: Start | None) -> TrainedModels:
        """The models to start with; where a file is refused, the one of the plan in force goes on, and the log says so.

        ConfigError for a soft sensor whose adjustment nobody approved.
        """
        for path in self.files:
            self._stamps[path], self._hashes[path] = _stamp(path), _hash(path)
        keys = public_keys(self._keys)
        unapproved = adjusted_mistakes(settings, keys, now_ns)
        if unapproved:
            raise ConfigError([Mistake(e.path, 1, e.key, e.expected, e.found) for _, e in unapproved])
        self.approvals = adjusted_approvals(settings, keys, now_ns)
        found = trained_models(settings, keys=keys, now_ns=now_ns, previous=previous)
        for place, error in found.refused.items():
            log.error("a model file is refused", error=str(error), goes_on_with=found.by_place[place].sha256 if place in found.by_place else "none")
        return found

    def say(self, put: Callable[[Callable[[int], Any]], Any], before: Sequence[tuple[str, Approval]] = ()) -> None:
        """Whose word each adjusted soft sensor stands on that was not in force `before`, in the audit trail."""
        for sensor, approval in self.approvals:
            if (sensor, approval) not in before:
                put(lambda now, sensor=sensor, approval=approval: in_force(now, sensor, approval))  # type: ignore[misc]

    def become(self, other: ModelWatch, put: Callable[[Callable[[int], Any]], Any]) -> None:
        """Watch what another one watches: the configuration was read again."""
        other.say(put, self.approvals)
        self.files, self._stamps, self._hashes, self.approvals = other.files, other._stamps, other._hashes, other.approvals

    async def run(self, put: Callable[[Callable[[int], Any]], Any]) -> None:
        """Look every 10 s; a change becomes a note in the journal."""
        while True:
            await self._sleep(EVERY_S)
            for note in await asyncio.to_thread(self.changes):
                log.warning("a model file changed", object=note[0], old=note[1], new=note[2])
                put(lambda now, n=note: Note(received_ns=now, action="model_file_changed", object=n[0], old=n[1], new=n[2], reason=REASON))  # type: ignore[misc]

    def changes(self) -> list[tuple[str, str, str]]:
        """Model, old and new SHA-256 of every file that is not as it was at the last look."""
        found = []
        for path, name in self.files.items():
            stamp = _stamp(path)
            if stamp == self._stamps[path]:
                continue
            self._stamps[path] = stamp
            new, old = _hash(path), self._hashes[path]
            if new != old:
                self._hashes[path] = new
                found.append((name, old, new))
        return found


REASON: Final = "the agent goes on with the model it started with; the file is judged at the next start"


def in_force(now_ns: int, sensor: str, approval: Approval) -> Note:
    """The entry of an approval that is in force from now on. It is the system's: who approved did so earlier, which the reason says."""
    since = np.datetime64(approval.effective_ns, "ns").astype("datetime64[s]")
    reason = (
        f"approved by {approval.user} ({approval.role}), {approval.meaning}: {approval.reason}; from {since}Z on; signature {approval.signature}"
    )
    return Note(received_ns=now_ns, action="model_in_force", object=f"sensor {sensor}", new=approval.model_sha256, reason=reason)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def _hash(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""
