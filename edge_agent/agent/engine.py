"""The two threads behind the event loop: one judges, one writes."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import shutil
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

import numpy as np
import structlog

from edge_agent.agent.clock import Clock, ClockWatch
from edge_agent.agent.commit import ABANDONED, CHECKPOINTS, JOURNAL, OUTBOX, Commit, abandonment, checkpoint_position, declared, write
from edge_agent.agent.filling import Filling
from edge_agent.agent.growth import Growth
from edge_agent.agent.intake import Intake, Offered
from edge_agent.agent.memory import give_back
from edge_agent.alarms.standing import Standing
from edge_agent.config.sections import OutboxSection
from edge_agent.core import AlarmEvent, Diagnostic, Gap, Log, Start
from edge_agent.core.divert import DivertNow
from edge_agent.core.log import SHED_SAMPLES, SHED_SUMMARY, Held
from edge_agent.pipeline.chain import Pipeline

log = structlog.get_logger()

HEARTBEAT_S: Final = 1.0
"""An idle edge journals at least one entry in this time: it says that the edge was alive."""

STILL_S: Final = 20.0
"""A judging thread that has not come round for so long stands still, unless it waits for a disk that takes nothing."""

HOUSEKEEPING_S: Final = 5.0
LATENCIES: Final = 4096
GIVEN_UP: Final = "given_up/{}"
"""Cursors: up to which number an uplink has lost what was held for it."""


class Engine:
    """Steps entries through the pipeline and makes them durable with what follows from them.

    on_commit is called on the event loop after each commit, with the alarm events in it.
    safe_through says up to which number every required uplink has delivered, cursors where each uplink is: kept with the next commit. held says what
    is kept longer for single readers. count is called on the writer's thread now and then: what takes reading to know.
    """

    def __init__(
        self,
        log_file: Log,
        pipeline: Pipeline,
        intake: Intake,
        clock: Clock,
        settings: OutboxSection,
        *,
        loop: asyncio.AbstractEventLoop,
        safe_through: Callable[[], int],
        cursors: Callable[[], dict[str, int]],
        on_commit: Callable[[list[AlarmEvent]], None],
        follow: Callable[[], None] | None = None,
        held: Callable[[], Sequence[Held]] = tuple,
        count: Callable[[], None] | None = None,
    ) -> None:
        self.log, self.pipeline, self._intake, self._clock, self._settings = log_file, pipeline, intake, clock, settings
        self._held, self._count_now = held, count
        self._durable_held: Sequence[Held] = ()
        self._unsent: bool | None = None
        self.given_up: dict[str, int] = {}
        """By reader how many records that were held for it have been given up since the start."""
        self._loop, self._safe_through, self._cursors, self._on_commit, self._follow = loop, safe_through, cursors, on_commit, follow
        self._never_shed = np.array([t.never_shed for t in pipeline.catalogue], np.bool_) if pipeline.started else np.zeros(0, np.bool_)
        self._delays = {}  # type: dict[str, int]
        self._commits: queue.Queue[Commit | None] = queue.Queue(maxsize=4)
        self._stopping = threading.Event()
        self._judge = threading.Thread(target=self._guarded, args=(self._judging,), name="pipeline", daemon=True)
        self._writer = threading.Thread(target=self._guarded, args=(self._writing,), name="writer", daemon=True)
        self._checkpoint_at = time.monotonic() + settings.checkpoint_s
        self._next_checkpoint = self._oldest_checkpoint()
        self.latencies_ms: deque[float] = deque(maxlen=LATENCIES)
        self.latency_count = 0
        self.full = False
        self._full_before = False
        self.write_error = ""
        self.failed: BaseException | None = None
        self.commits = 0
        self.gaps = self.gap_values = self.filled_values = self.alarms_raised = 0
        """Since the start: gaps declared, values missing in them, alarms raised."""
        self._growth, self._filling = Growth(settings.max_bytes), Filling(settings.max_bytes)
        self._beat = time.monotonic()
        self._durable_through = 0
        self._kept_cursors: dict[str, int] = {}
        self._clock_watch = ClockWatch(clock)
        self._declared: set[str] = set()
        self.standing: list[Standing] = []
        """Every alarm that is not normal, as of the newest commit that is durable; on the event loop."""
        self.diverts: list[DivertNow] = []
        """What diverters are asked to do, likewise."""

    def _oldest_checkpoint(self) -> int:
        positions = [checkpoint_position(d) if (d := self.log.value(n)) else (-1, -1) for n in CHECKPOINTS]
        return positions.index(min(positions))

    def start(self, start: Start) -> None:
        """Plan the pipeline and begin; the first commit holds the Start entry and a checkpoint."""
        self.revise(start)
        commit = Commit()
        commit.add(start, self.pipeline.step(start))
        commit.state = self.pipeline.state()
        commit.standing = self.pipeline.alarms.standing()
        commit.diverts = self.pipeline.diverts
        before = {alarm.alarm for alarm in commit.standing if alarm.met}
        self._full_before = "edge/outbox_full" in before
        self._filling = Filling(self._settings.max_bytes, before)
        self._commits.put(commit)
        self._judge.start()
        self._writer.start()

    def revise(self, start: Start) -> None:
        """Another plan is about to be stepped."""
        self._never_shed = np.array([t.never_shed for t in start.tags], np.bool_)
        self._delays = {a.name: round(a.on_delay_s * 1e9) for a in start.alarms if a.kind in ("limit", "deviation", "rate")}

    def stop(self) -> None:
        """Judge and write what is queued, take a checkpoint, end both threads."""
        self._stopping.set()
        self._intake.stop()
        self._judge.join(timeout=30)
        self._writer.join(timeout=30)

    def _guarded(self, work: Callable[[], None]) -> None:
        # A thread that dies silently would leave an agent that looks alive: keep the reason, the agent ends with it.
        try:
            work()
        except BaseException as error:
            self.failed = error
            self._stopping.set()
            self._intake.stop()
            raise

    @property
    def alive(self) -> bool:
        """Whether values are judged; a disk that refuses is told otherwise, and a restart would not mend it."""
        return self.failed is None and (time.monotonic() - self._beat < STILL_S or self._commits.full())

    # -- the pipeline thread ---------------------------------------------------------------------------------------------------

    def _judging(self) -> None:
        pending = Commit()
        since = 0.0
        beat_at = time.monotonic() + HEARTBEAT_S
        limit_s = self._settings.commit_ms / 1000
        while True:
            stopping = self._stopping.is_set()
            now = self._beat = time.monotonic()
            wait = limit_s - (now - since) if pending.entries else 0.1
            taken = self._intake.take(0 if stopping else max(0.0, min(wait, 0.1)))
            if not taken and (self.pipeline.due_ns <= self._clock() or time.monotonic() >= beat_at):
                taken = [self._intake.heartbeat()]
            if taken:
                beat_at = time.monotonic() + HEARTBEAT_S
                if not pending.entries:
                    since = time.monotonic()
            urgent = False
            for offered in taken:
                urgent |= self._step(offered, pending)
                if pending.nbytes >= self._settings.commit_bytes:
                    pending = self._hand_over(pending)
                    since = time.monotonic()
            if pending.entries and (urgent or stopping or time.monotonic() - since >= limit_s):
                pending = self._hand_over(pending)
            if stopping and not taken:
                final = Commit(state=self.pipeline.state())
                self._commits.put(final)
                self._commits.put(None)
                return

    def _step(self, offered: Offered, pending: Commit) -> bool:
        urgent = False
        for entry in offered.entries:
            records = self.pipeline.step(entry)
            pending.add(entry, records)
            if isinstance(entry, Start):
                self._checkpoint_at = 0.0  # another plan: what stands behind it is worth a checkpoint
                urgent = True
            urgent = urgent or any(isinstance(r, AlarmEvent) for r in records)
        pending.nbytes += offered.nbytes
        if offered.ack is not None:
            pending.acks.append(offered.ack)
        if offered.resume is not None:
            pending.resumes[offered.source] = offered.resume
        return urgent

    def _hand_over(self, commit: Commit) -> Commit:
        if time.monotonic() >= self._checkpoint_at:
            commit.state = self.pipeline.state()
            self._checkpoint_at = time.monotonic() + self._settings.checkpoint_s
        if any(isinstance(r, AlarmEvent) for r, _ in commit.records):
            # Taken here, where nothing moves: what is shown is what is durable, and whole.
            commit.standing = self.pipeline.alarms.standing()
        commit.diverts = self.pipeline.diverts
        self._commits.put(commit)
        return Commit()

    # -- the writer thread -----------------------------------------------------------------------------------------------------

    def _writing(self) -> None:
        housekeeping_at = time.monotonic() + HOUSEKEEPING_S
        while True:
            try:
                commit = self._commits.get(timeout=0.5)
            except queue.Empty:
                commit = Commit()
            if commit is None:
                return
            if commit.entries or commit.state is not None:
                if not self._write(commit):
                    return
                events = [r for r, _ in commit.records if isinstance(r, AlarmEvent)]
                self._measure(events)
                self._count(commit)
                self._loop.call_soon_threadsafe(self._durable, commit, events)
                if commit.state is not None:
                    # A checkpoint is packed in memory: tens of megabytes for thousands of tags, and nobody needs them until the next one.
                    commit.state = None
                    give_back()
            try:
                if self._follow is not None:
                    self._follow()
                if time.monotonic() >= housekeeping_at:
                    housekeeping_at = time.monotonic() + HOUSEKEEPING_S
                    self._keep_house()
            except sqlite3.OperationalError as error:
                # A disk that refuses must not end the agent here either: /readyz says so, and it is tried again.
                log.error("housekeeping failed, it is tried again", error=str(error))
                self.write_error = str(error)

    def _write(self, commit: Commit) -> bool:
        """Try until it succeeds: a full or failing disk stops the sources, never the record. False when the agent stops meanwhile."""
        pause = 0.1
        while True:
            try:
                cursors = self._cursors()
                write(self.log, commit, self._never_shed, CHECKPOINTS[self._next_checkpoint], cursors)
            except sqlite3.OperationalError as error:  # disk full, read-only, locked
                if not self.write_error:
                    log.error("commit failed, sources wait", error=str(error), path=str(self.log.path))
                self.write_error = str(error)
                with contextlib.suppress(sqlite3.OperationalError):
                    # What has been delivered since may be forgotten, and leaves room.
                    self.log.forget(OUTBOX, min(self._durable_through, self._safe_through()), self._durable_held)
                if self._stopping.wait(pause):
                    return False
                pause = min(5.0, pause * 2)
                continue
            self._kept_cursors |= cursors
            if self.write_error:
                log.info("commits succeed again")
                self.write_error = ""
            if commit.state is not None:
                self._next_checkpoint = 1 - self._next_checkpoint
            self.commits += 1
            return True

    def _measure(self, events: list[AlarmEvent]) -> None:
        now = self._clock()
        for event in events:
            if event.event == "raise" and event.alarm in self._delays:
                self.latencies_ms.append((now - event.raised_ns - self._delays[event.alarm]) / 1e6)
                self.latency_count += 1

    def _count(self, commit: Commit) -> None:
        for record, _ in commit.records:
            if isinstance(record, Gap):
                if record.filled:
                    self.filled_values -= record.missing
                else:
                    self.gaps += 1
                    self.gap_values += record.missing
            elif isinstance(record, AlarmEvent) and record.event == "raise":
                self.alarms_raised += 1

    def _durable(self, commit: Commit, events: list[AlarmEvent]) -> None:
        for ack in commit.acks:
            self._loop.call_soon(ack)  # each on its own: one that fails keeps none of the others from being told
        self._intake.release(commit.nbytes)
        if commit.standing is not None:
            self.standing = commit.standing
        if commit.diverts is not None:
            self.diverts = commit.diverts
        self._on_commit(events)

    def _keep_house(self) -> None:
        """Forget what is delivered, keep the journal to its ring, shed when the budget is used up, notice clock steps."""
        self._growth.take(time.monotonic(), self.held_bytes)
        with contextlib.suppress(OSError):  # a disk that is gone is told by the commits that fail
            free = shutil.disk_usage(self.log.path.parent).free + self.log.reusable_bytes
            for said in self._filling.look(self.held_bytes, free, self.to_full_s):
                self._intake.put(said)
        through = min(self._safe_through(), self.log.head(OUTBOX).seq)
        held, given_up = self._bounded(self._held(), through)
        cursors = self._cursors() | given_up
        if not cursors.items() <= self._kept_cursors.items():
            # What is forgotten must never lie beyond a durable cursor; where none moved, nothing is written: flash wears.
            self.log.commit(cursors=cursors)
            self._kept_cursors |= cursors
        self._durable_through, self._durable_held = through, held
        self.log.forget(OUTBOX, through, held)
        checkpoint = min((checkpoint_position(d)[0] for n in CHECKPOINTS if (d := self.log.value(n))), default=0)
        self.log.trim(JOURNAL, self._settings.journal_bytes, checkpoint)
        if self.log.head(JOURNAL).bytes > self._settings.journal_bytes:
            self._checkpoint_at = 0.0  # only what lies behind a checkpoint can be forgotten: take one with the next commit
        excess = self.held_bytes - self._settings.max_bytes
        for level in (SHED_SAMPLES, SHED_SUMMARY):
            if excess <= 0:
                break
            self.log.shed(OUTBOX, level, excess, abandonment)
            self.log.trim(JOURNAL, self._settings.journal_bytes, checkpoint)
            excess = self.held_bytes - self._settings.max_bytes
        self._declare_abandoned()
        self._say_full(excess > 0)
        if self._count_now is not None:
            self._count_now()
        for entry_at in self._clock_watch.look():
            self._intake.put(entry_at)

    def _bounded(self, held: Sequence[Held], through: int) -> tuple[list[Held], dict[str, int]]:
        """What is held within its bounds, and up to which numbers readers have given up what they had not got: kept like their places."""
        bounded: list[Held] = []
        given_up: dict[str, int] = {}
        behind: list[str] = []
        for one in held:
            name = GIVEN_UP.format(one.reader)
            last = self._kept_cursors.get(name) or self.log.cursor(name)
            floor, count = self.log.floor(OUTBOX, replace(one, after=max(one.after, last)), through)
            if count:
                last = floor
                self.given_up = {**self.given_up, one.reader: self.given_up.get(one.reader, 0) + count}
            if last:
                given_up[name] = last
            if one.after < last:
                behind.append(one.reader)
            bounded.append(replace(one, after=floor))
        if not held:
            self._unsent = None
        elif bool(behind) != self._unsent:
            self._unsent = bool(behind)
            why = f"entries were given up before {', '.join(behind)} had them" if behind else "log servers go on without a loss"
            self._intake.put(lambda now: Diagnostic(received_ns=now, alarm="edge/audit_unsent", active=bool(behind), explanation=why))
        return bounded, given_up

    def _declare_abandoned(self) -> None:
        """Journal what was shed; its note stays until the entry is durable, so that a death between the two loses no declaration."""
        for key, data in self.log.values(ABANDONED).items():
            if key not in self._declared:
                self._declared.add(key)
                self._intake.put(partial(declared, data))

    @property
    def held_bytes(self) -> int:
        """Bytes that wait for delivery: the outbox's own and what it pins in the journal beyond its ring."""
        pinned = max(0, self.log.head(JOURNAL).bytes - self._settings.journal_bytes)
        return self.log.head(OUTBOX).bytes + pinned

    @property
    def limit_bytes(self) -> int:
        """Bytes that may wait for delivery."""
        return self._settings.max_bytes

    @property
    def to_full_s(self) -> float:
        """Seconds until they do at the rate of the last minutes; infinite while it does not grow."""
        return self._growth.seconds_to_full()

    def _say_full(self, full: bool) -> None:
        # One of the life before stands and ends at the first look that finds room; one that goes on holds the sources back like a new one.
        over, self._full_before = self._full_before and not full, False
        if full != self.full or over:
            self.full = full
            text = f"{self.held_bytes} bytes wait for delivery, budget {self._settings.max_bytes}"
            self._intake.put(lambda now: Diagnostic(received_ns=now, alarm="edge/outbox_full", active=full, explanation=text))
            self._loop.call_soon_threadsafe(self._intake.shut, full)
