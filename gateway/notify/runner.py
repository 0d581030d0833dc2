"""The notifications of a running gateway: reads committed alarm events from the journal, plans, and hands messages to their receivers.

The journal is what the console's alarms are folded from, the gateway's own alarms included. One task reads and plans; each receiver has a task and
a thread of its own, so that a slow one holds up no other. Nothing here is awaited by the ingest.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from edge_agent.core import AlarmEvent, NotConnected, WireError, decode
from gateway.catalog import PlantCatalogue
from gateway.journal import ALARM
from gateway.journal import FILE as JOURNAL
from gateway.notify.plan import Facts, Plan
from gateway.notify.queue import FILE, Queue
from gateway.notify.receiver import Message, Receiver, Rejected, WorkRequest
from gateway.notify.rules import Calendar
from gateway.notify.section import Notifications
from gateway.notify.words import Writer
from gateway.rows import ReceiverRow

STEP_S: Final = 0.5
BATCH: Final = 2000
TIDY_NS: Final = 3_600_000_000_000
DEADLINE: Final = 6
"""So many times `timeout_s` a whole attempt may take: a peer that answers one byte at a time keeps every single time limit."""
BACKOFF_S: Final = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


def backoff_s(attempts: int) -> float:
    """Seconds to wait after so many attempts that failed.

    >>> [backoff_s(n) for n in (1, 2, 8, 100)]
    [1.0, 2.0, 300.0, 300.0]
    """
    return BACKOFF_S[min(attempts, len(BACKOFF_S)) - 1]


class Events:
    """Alarm events of the journal in the order in which they were committed, read on a connection of its own."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, check_same_thread=False, isolation_level=None, timeout=30)

    def close(self) -> None:
        """Release the file."""
        self._db.close()

    def begin(self, from_ns: int) -> int:
        """The row before the first event from some time on, or the last row when there is none."""
        row = self._db.execute("SELECT min(n) FROM record WHERE kind=? AND time_ns>=?", (ALARM, from_ns)).fetchone()
        return int(row[0]) - 1 if row[0] is not None else self.head

    @property
    def head(self) -> int:
        """The last row."""
        return int(self._db.execute("SELECT coalesce(max(n), 0) FROM record").fetchone()[0])

    def after(self, row: int) -> tuple[int, list[tuple[str, int, int, AlarmEvent]]]:
        """Up to BATCH rows behind one: the last of them, and (edge, epoch, seq, event) of those that are alarm events."""
        rows = self._db.execute("SELECT n, kind, edge, epoch, seq, frame FROM record WHERE n>? ORDER BY n LIMIT ?", (row, BATCH)).fetchall()
        found = []
        for _, kind, edge, epoch, seq, frame in rows:
            if kind == ALARM:
                try:
                    item = decode(bytes(frame))
                except WireError:
                    continue  # the journal's own check names it
                if isinstance(item, AlarmEvent):
                    found.append((str(edge), int(epoch), int(seq), item))
        return (int(rows[-1][0]) if rows else row), found


class Notifier:
    """Runs the plan and its receivers. `run` on the loop."""

    def __init__(
        self,
        data_dir: Path,
        section: Notifications,
        *,
        gateway: str,
        timezone: str,
        catalogue: PlantCatalogue,
        clock: Callable[[], int],
        find: Callable[[str, str], Awaitable[object]],
        receivers: Mapping[str, Receiver] | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """`find(name, why)` raises an alarm of the gateway unless it stands; `receivers` replaces those of the configuration by name."""
        zone = ZoneInfo(timezone)
        self._section, self._catalogue, self._clock, self._find, self._sleep = section, catalogue, clock, find, sleep
        self._calendar = Calendar(section.shifts, zone)
        self._receivers: dict[str, Receiver] = {r.name: r.make(Writer(r, zone, section.console_url), gateway) for r in section.receivers}
        self._receivers |= receivers or {}
        self._data_dir = data_dir
        self._told: set[str] = set()
        self._away: set[str] = set()
        self._stepping = threading.Lock()
        self._tidied_ns = 0
        self.error = ""

    def open(self) -> None:
        """Open the queue and take the plan up where it was."""
        self._queue, self._events = Queue(self._data_dir / FILE), Events(self._data_dir / JOURNAL)
        self._load()
        now = self._clock()
        self._settled_ns = now + int(self._section.settle_s * 1e9)
        for name in self._queue.waiting():
            while name not in self._receivers and (queued := self._queue.next(name, 2**62)) is not None:
                self._queue.end(queued.message.id, "no_receiver", now, "the receiver is no longer configured")

    def close(self) -> None:
        """Release the files."""
        with self._stepping:
            self._queue.close()
            self._events.close()

    def request(self, work: WorkRequest, now_ns: int) -> tuple[str, ...]:
        """Queue a work request for every receiver that gets them; their names. The same request again is queued once. Any thread."""
        names = self._section.work_requests
        if names:
            queue = Queue(self._data_dir / FILE)  # on a connection of its own: it is asked by people, whether `run` has begun or not
            try:
                for name in names:
                    queue.put(
                        Message(
                            id=f"work-{work.id}-{name}", receiver=name, made_ns=now_ns, total=0, priorities={}, step=1, first_ns=now_ns,
                            simulated=False, items=(), keys=(), request=work,
                        )
                    )  # fmt: skip
            finally:
                queue.close()
        return names

    def _load(self) -> None:
        self._plan = Plan(
            self._section.rules,
            self._section.receivers,
            self._calendar,
            self._facts,
            max_age_s=self._section.max_age_s,
            watched=self._queue.watched(),
            groups=self._queue.groups(),
        )
        cursor = self._queue.cursor
        if cursor is None or cursor > self._events.head:
            # Never run before, or the journal is an older one that was restored: what is too old to be told is not even read.
            cursor = self._events.begin(self._clock() - int(self._section.max_age_s * 1e9))
        self._cursor = cursor

    def _facts(self, edge: str, alarm: str, tag: str) -> Facts:
        known = self._catalogue.edges.get(edge)
        if known is None:
            return Facts()
        definition, number = known.alarms.get(alarm), known.numbers.get(tag)
        described = known.tags[number] if number is not None else None
        measure = definition.unit if definition is not None and definition.unit else described.unit if described is not None else ""
        return Facts(
            unit=described.unit_path if described is not None else tag.rpartition("/")[0],
            measure=measure,
            response=dict(definition.response) if definition is not None else {},
            routing=definition.routing if definition is not None else "",
            simulated=known.simulated,
        )

    def step(self) -> bool:
        """Read, plan and write down once; whether there is more to read at once. In any thread, one at a time."""
        with self._stepping:
            return self._step()

    def _step(self) -> bool:
        try:
            now, before = self._clock(), self._cursor
            cursor, events = self._events.after(before)
            for edge, epoch, seq, event in events:
                self._plan.take(edge, epoch, seq, event, now)
            # While a receiver is away, what is to be told gathers there instead of filling the queue.
            made = self._plan.due(now, frozenset(self._away)) if now >= self._settled_ns else []
            changed, self._plan.changed = self._plan.changed, set()
            if made or changed or cursor != before:
                names = {name for name in changed if "~" not in name}
                watched = {id_: self._plan.watched.get(id_) for id_ in changed - names}
                self._queue.planned(cursor, watched, {name: self._plan.groups.get(name) for name in names}, made)
            self._cursor = cursor
            if now - self._tidied_ns > TIDY_NS:
                self._queue.forget(now - self._section.keep_days * 86_400_000_000_000)
                self._tidied_ns = now
            self.error = ""
        except sqlite3.OperationalError as error:
            # What is in memory is ahead of what is written: begin again from there, as after a crash.
            self.error = f"notifications: cannot write: {error}"
            self._load()
            return False
        return len(events) > 0 and cursor < self._events.head

    async def run(self) -> None:
        """Plan and send until cancelled; nothing is done while no receiver is configured."""
        if not self._receivers:
            await asyncio.Event().wait()
        await asyncio.to_thread(self.open)
        tasks = [asyncio.create_task(self._sending(name), name=f"receiver {name}") for name in self._receivers]
        tasks.append(asyncio.create_task(self._planning(), name="notifications"))
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.shield(asyncio.to_thread(self.close))

    async def _planning(self) -> None:
        while True:
            if not await asyncio.to_thread(self.step):
                await self.watch()
                await self._sleep(STEP_S)

    async def watch(self) -> None:
        """Raise an alarm of the gateway for every receiver that a message has waited for too long, once for each time it is away."""
        now, waiting = self._clock(), await asyncio.to_thread(self._queue.waiting)
        for config in self._section.receivers:
            found = waiting.get(config.name)
            if found is None:
                self._told.discard(config.name)
            elif config.name not in self._told and now - found.oldest_ns > config.unreachable_after_s * 1e9:
                self._told.add(config.name)
                why = f"did not take a notification for {config.unreachable_after_s:g} s: {found.error or 'it does not answer'}"
                await self._find(f"notify.{config.name}.unreachable", f"receiver {config.name} {why}")

    async def _sending(self, name: str) -> None:
        failed = 0
        while True:
            try:
                outcome = await self.send(name)
            except sqlite3.OperationalError as error:
                # What became of the message is not written down: it is sent once more, under the same id.
                self.error, outcome = f"notifications: cannot write: {error}", False
            failed = failed + 1 if outcome is False else 0
            await self._sleep(backoff_s(failed) if failed else STEP_S if outcome is None else 0)

    async def send(self, name: str) -> bool | None:
        """Hand over the next message of a receiver: whether it was taken or closed; None when there is none."""
        now = self._clock()
        queued = await asyncio.to_thread(self._queue.next, name, now)
        if queued is None:
            return None
        message, config = queued.message, next(r for r in self._section.receivers if r.name == name)
        if now - message.made_ns > config.give_up_after_s * 1e9:
            await asyncio.to_thread(self._queue.end, message.id, "given_up", now, "older than give_up_after_s")
            return True
        try:
            async with asyncio.timeout(DEADLINE * config.timeout_s):
                left = await _in_thread(lambda: self._receivers[name].send(message, now), f"receiver {name}")
        except (NotConnected, TimeoutError) as error:
            self._away.add(name)
            await self._later(message, queued.attempts, str(error) or f"{name}: not done within {DEADLINE * config.timeout_s:g} s")
            return False
        except Rejected as error:
            self._away.discard(name)
            await asyncio.to_thread(self._queue.end, message.id, "rejected", self._clock(), str(error))
            await self._find(f"notify.{name}.rejected", str(error))
            return True
        self._away.discard(name)
        if left:
            await self._later(msgspec.structs.replace(message, left=left), queued.attempts, f"{len(left)} addresses did not take it yet")
        else:
            await asyncio.to_thread(self._queue.end, message.id, "sent", self._clock())
        return True

    async def _later(self, message: Message, attempts: int, why: str) -> None:
        next_ns = self._clock() + int(backoff_s(attempts + 1) * 1e9)
        await asyncio.to_thread(self._queue.later, message, next_ns, why)

    def rows(self) -> list[ReceiverRow]:
        """What became of the messages of each receiver, and what waits."""
        try:
            counts, waiting = self._queue.counts(), self._queue.waiting()
        except (AttributeError, sqlite3.Error):  # not opened yet, closed already, or a disk that refuses: what is configured is told all the same
            counts, waiting = {}, {}
        rows: list[ReceiverRow] = []
        for config in self._section.receivers:
            found, queued = counts.get(config.name, {}), waiting.get(config.name)
            rows.append(
                {
                    "name": config.name,
                    "kind": config.kind,
                    "reached": config.name not in self._away,
                    "waiting": queued.n if queued is not None else 0,
                    "oldest_ns": queued.oldest_ns if queued is not None else None,
                    "error": queued.error if queued is not None else "",
                    "sent": found.get("sent", 0),
                    "rejected": found.get("rejected", 0),
                    "given_up": found.get("given_up", 0),
                }
            )
        return rows

    def notices(self) -> list[str]:
        """What an operator should know of receivers now."""
        return [self.error] if self.error else []


async def _in_thread(function: Callable[[], tuple[str, ...]], name: str) -> tuple[str, ...]:
    """Run in a daemon thread of its own: a receiver that hangs takes no place in a pool and does not keep the process from ending."""
    done: Future[tuple[str, ...]] = Future()
    done.set_running_or_notify_cancel()  # nobody who stops waiting cancels it: the thread ends in its own time

    def work() -> None:
        try:
            done.set_result(function())
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits
            done.set_exception(error)

    threading.Thread(target=work, name=name, daemon=True).start()
    return await asyncio.wrap_future(done)
