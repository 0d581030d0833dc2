"""GMP mode of a running agent: says what runs and why the file does not, keeps approvals, and notices when one takes effect (docs/changes.md)."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Final

import structlog

from edge_agent.agent.intake import Intake
from edge_agent.config.agent import files_of
from edge_agent.config.approved import Approvals, Choice, choose_of
from edge_agent.core import ConfigError, Diagnostic, Note
from edge_agent.core.change import ChangeApproval

log = structlog.get_logger()

CHECK_S: Final = 1.0
ALARM: Final = "edge/not_approved"


class Approving:
    """What an agent does about approvals; nothing outside GMP mode."""

    def __init__(self, choice: Choice, data_dir: Path, intake: Intake, file: Path | None) -> None:
        """Without the configuration file nothing takes effect before the next start."""
        edge = choice.settings.edge
        self._choice: Choice | None = choice
        self._runs_by, self._sha256 = choice.approval, choice.sha256
        self._intake, self._file, self._on = intake, file, edge.gmp
        self._folder = Approvals(data_dir, site=edge.site, edge=edge.id)
        self._untrusted: set[str] = set()
        self._came: tuple[ChangeApproval, ...] = ()
        self._files = [file] if file is not None else []
        self._seen: object = None
        """What was waiting, and how the files were, when the configuration was last read."""

    def say(self) -> None:
        """Put what runs in force, and tell the audit trail and the operator: once."""
        choice, self._choice = self._choice, None  # its settings hold every tag as an object
        if not self._on or choice is None:
            return
        for wrong in self._folder.wrong_keys():
            log.error("a key file is passed over", why=wrong)
            self._note("key_refused", wrong)
        words = choice.told or "the configuration in the file is the approved one"
        if choice.problem:
            log.error("the configuration in the file does not run", why=words)
            self._note("config_refused", words, old=choice.sha256)
        elif choice.applied and choice.approval is not None:
            self._folder.keep(choice.settings, choice.approval)
            self._note("config_applied", choice.approval.words(), new=choice.sha256)
        active = bool(choice.problem)
        self._intake.put(lambda now: Diagnostic(received_ns=now, alarm=ALARM, active=active, explanation=words))

    def take(self, approvals: tuple[ChangeApproval, ...]) -> None:
        """A gateway says what was approved: it is verified and kept beside the event loop."""
        self._came = approvals

    def _keep(self, approvals: tuple[ChangeApproval, ...]) -> None:
        new, wrong = self._folder.take(approvals)
        for approval in new:
            log.info("approval", sha256=approval.sha256[:16], words=approval.words())
            self._note("approval_kept", approval.words(), new=approval.sha256)
        for why in sorted(set(wrong) - self._untrusted):  # a retained message comes again at every connect
            self._untrusted.add(why)
            log.error("approval refused", why=why)
            self._note("approval_refused", why)

    def _note(self, action: str, reason: str, *, old: str = "", new: str = "") -> None:
        self._intake.put(lambda now: Note(received_ns=now, action=action, object="configuration", old=old, new=new, reason=reason))

    async def until_another_takes_effect(self) -> None:
        """Returns once the configuration in the file is another than what runs, approved and in effect; outside GMP mode never."""
        if not self._on:
            await asyncio.Event().wait()
        while True:
            came, self._came = self._came, ()
            if came:
                await asyncio.to_thread(self._keep, came)
            if self._file is not None and await asyncio.to_thread(self._took_effect, self._file):
                return
            await asyncio.sleep(CHECK_S)

    def _took_effect(self, file: Path) -> bool:
        """Reading a large configuration takes seconds: only when an approval waits for it, and it or the approvals changed since."""
        now, runs_by = time.time_ns(), self._runs_by
        oldest = runs_by.approved_ns if runs_by is not None else 0
        waiting = {a.sha256 for a in self._folder.known() if oldest <= a.approved_ns and a.effective_ns <= now} - {self._sha256}
        seen = waiting, [_stamp(path) for path in self._files]
        if not waiting or seen == self._seen:
            return False
        self._files = files_of(file)
        self._seen = waiting, [_stamp(path) for path in self._files]  # before it is read: what is written meanwhile is read again
        try:
            choice = choose_of(file, now)
        except ConfigError:
            return False  # somebody is writing the file; what runs goes on
        return choice.approval is not None and not choice.problem and choice.sha256 in waiting


def _stamp(path: Path) -> tuple[int, ...] | None:
    """What changes when a file is written or replaced; None while it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
