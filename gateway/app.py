"""The running gateway: composes broker, ingest, store, sealing, targets and console, and answers `Query` for all of them."""

from __future__ import annotations

import asyncio
import fcntl
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Final, Literal
from zoneinfo import ZoneInfo

import uvicorn

from edge_agent.core import LogError, PharmedgeError, supervised
from edge_agent.core.signing import signing_key
from gateway import __version__
from gateway.audit import Actor, Trail
from gateway.audit_watch import Watch
from gateway.backup import sealing_lock
from gateway.batches import BatchRow
from gateway.blocks import BlocksRow
from gateway.broker import Broker, Token
from gateway.config import GatewayConfig
from gateway.console.app import create_app
from gateway.console.guard import LOOPBACK
from gateway.ingest import Ingest
from gateway.kpis import LEAD, KpiRow, key_figures
from gateway.notify.runner import Notifier
from gateway.notify.trial import trial
from gateway.office import Office
from gateway.panels import Panels
from gateway.query import ALL, AlarmFilter, Asked, ModeAsked, NotFound, Subscription
from gateway.rows import ActionRow, AlarmRow, EdgeRow, LedgerRow, ModeRow, SeriesRow, StatusRow, TagRow
from gateway.sessions import Sessions
from gateway.store import Store
from gateway.targets import Reader, SyslogConfig
from gateway.targets.auditing import AuditRunner
from gateway.targets.runner import Runner
from gateway.users import Users

SEAL_CHECK_S: Final = 2.0
TIDY_S: Final = 60.0
AUDIT_CHECK_S: Final = 1.0
STOP_S: Final = 2


class Gateway:
    """Everything of one gateway process; implements `Query`."""

    def __init__(self, config: GatewayConfig, *, clock: Callable[[], int] = time.time_ns) -> None:
        self.config, self._clock = config, clock
        self._started = time.monotonic()
        self._stop = threading.Event()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="writer")
        self._sealer = ThreadPoolExecutor(1, thread_name_prefix="sealer")
        section = config.gateway
        self._alone = _alone(section.data_dir)
        self.store = Store(
            section.data_dir,
            gateway=section.id,
            production=section.mode == "production",
            settings=config.store,
            clock=clock,
            pause=self._stop.wait,
        )
        self.broker: Broker | None = None
        self._failure: asyncio.Future[None] | None = None
        self.ingest = Ingest(self.store, section.site, self._writer, self._line, clock=clock, failed=self._fail, edges=section.edges)
        self.targets = [Runner(self.store, target, in_writer=self._in_writer, clock=clock) for target in config.targets]
        self._readers: dict[str, Reader] = {}
        self.notifier = Notifier(
            section.data_dir,
            config.notifications,
            gateway=section.id,
            timezone=section.timezone,
            catalogue=self.store.applier.catalogue,
            clock=clock,
            find=lambda name, why: self._in_writer(lambda: self.store.find(name, why)),
        )
        self.seal_error = ""
        self.audit_error = ""
        self._people()

    def _people(self) -> None:
        """Accounts and audit trail; AuditError when the trail cannot be written: then the gateway does not start with a changed configuration."""
        section, accounts = self.config.gateway, self.config.accounts
        self.trail = Trail(section.data_dir, zone=section.timezone, version=__version__, config=self.config.fingerprint())
        self.auditors = [
            AuditRunner(self.store, self.trail, section.id, target, target.make(), in_writer=self._in_writer)
            for target in self.config.targets
            if isinstance(target, SyslogConfig) and target.audit
        ]
        self.users = Users(section.data_dir)
        self.sessions = Sessions(self.users, self.trail, accounts, clock=self._clock)
        self.watch = Watch(
            self.trail,
            section.data_dir,
            self.store.journal,
            signing_key(section.data_dir / "keys"),
            gateway=section.id,
            site=section.site,
            anchor_entries=accounts.anchor_entries,
            anchor_s=accounts.anchor_s,
            clock=self._clock,
            find=lambda name, why: self._writer.submit(self.store.find, name, why).result(),
            batch_at=self.store.ask.batch_at,
        )
        self.panels = Panels(
            self.users, signing_key(section.data_dir / "keys"), gateway=section.id, site=section.site, edges=accounts.panels, clock=self._clock
        )
        self.office = Office.open(
            section.data_dir,
            self.trail,
            signing_key(section.data_dir / "keys"),
            gateway=section.id,
            site=section.site,
            handover_s=self.config.operation.handover_s,
            clock=self._clock,
            journal=self.store.journal,
            request=self.notifier.request,
            tell=self._maintained,
        )
        self.watch.configured(self.config.model_dump(mode="json"))

    def _line(self) -> Broker:
        if self.broker is None:
            raise RuntimeError("the broker connection is made by run()")
        return self.broker

    def _fail(self, error: BaseException) -> None:
        if self._failure is not None and not self._failure.done():
            self._failure.set_exception(error)

    async def _in_writer(self, function: Callable[[], object]) -> object:
        return await asyncio.get_running_loop().run_in_executor(self._writer, function)

    async def _in_sealer(self, function: Callable[[], object]) -> object:
        return await asyncio.get_running_loop().run_in_executor(self._sealer, function)

    async def run(self, started: Callable[[str], None] = lambda _: None) -> None:
        """Run until told to stop (SIGINT, SIGTERM) or a part fails for good; the failure is raised. `started` is given the console's address."""
        loop = asyncio.get_running_loop()
        self._failure = loop.create_future()
        self.ingest.begin()
        section = self.config.gateway
        self.broker = Broker(
            self.config.broker,
            f"pharmedge-gateway-{section.id}",
            f"pharmedge/{section.site}/+/records",
            received=self._received,
            connected=self.ingest.connected,
        )
        http = self.config.http
        app = create_app(
            self, timezone=section.timezone, hosts=LOOPBACK, sessions=self.sessions, office=self.office, proxies=http.trusted_proxies
        )
        listener = _listen(http.host, http.port)
        server = _Server(
            # X-Forwarded-For is anybody's word: our own guard believes it of trusted proxies only, and all else of the address that connected.
            uvicorn.Config(app, log_level="warning", lifespan="on", timeout_graceful_shutdown=STOP_S, server_header=False, proxy_headers=False)
        )
        told = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, told.set)
        tasks = [
            asyncio.create_task(self.broker.run(), name="broker"),
            asyncio.create_task(self._sealing(), name="sealing"),
            asyncio.create_task(self.notifier.run(), name="notifications"),
            asyncio.create_task(self._auditing(), name="audit"),
            asyncio.create_task(server.serve([listener]), name="http"),
            *(asyncio.create_task(target.run(), name=f"target {target.config.name}") for target in self.targets),
            *(asyncio.create_task(auditor.run(), name=f"target {auditor.name}") for auditor in self.auditors),
        ]
        stopped = asyncio.create_task(told.wait())
        self.address = "http://{}:{}".format(*listener.getsockname()[:2])
        started(self.address)
        supervised.ready(f"{section.id} of {section.site}: console on {self.address}")
        watchdog = asyncio.create_task(supervised.keep_alive(lambda: True), name="watchdog")
        waited: list[asyncio.Future[Any]] = [*tasks, stopped, self._failure]
        try:
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
            if self._failure.done():
                self._failure.result()
        finally:
            supervised.stopping()
            self._stop.set()
            stopped.cancel()
            watchdog.cancel()
            await app.state.live.close()
            server.should_exit = True
            for task in tasks:
                if task.get_name() != "http":
                    task.cancel()
            await asyncio.gather(*tasks, stopped, watchdog, return_exceptions=True)
            await asyncio.to_thread(self.close)

    def close(self) -> None:
        """Let go of everything; called by `run` at its end."""
        for thread in (self._sealer, self._writer):
            thread.shutdown(wait=True)
        self.office.close()
        self.trail.close()
        self.users.close()
        self.store.close()
        self._alone.close()

    def _received(self, topic: str, payload: bytes, token: Token) -> None:
        self.ingest.receive(topic, payload, token)

    async def _sealing(self) -> None:
        """Seal, trim and tidy when it is time; what goes wrong is told by `ready` and tried again."""
        await self._in_writer(lambda: self.store.trim(self._held_from()))
        tidied = 0.0
        while True:
            try:
                await self._in_writer(lambda: self.store.watch(self._clock(), self.trail.forgotten()))
                await self._in_writer(lambda: self.store.roll(self._clock()))
                if len(self.store.view().generations) > 1 or any(t.release() for t in self.targets):
                    with sealing_lock(self.store.data_dir) as mine:
                        if mine:
                            await self._in_sealer(lambda: self.store.seal(self._clock()))
                            await self._in_writer(lambda: self.store.trim(self._held_from()))
                if time.monotonic() - tidied >= TIDY_S:
                    with sealing_lock(self.store.data_dir) as mine:
                        if mine:
                            await self._in_sealer(lambda: self.store.tidy(self._clock()))
                            await self._in_writer(lambda: self.store.trim(self._held_from()))
                    tidied = time.monotonic()
                self.seal_error = ""
            except (OSError, LogError) as error:
                # A full disk passes; a damaged segment is named here and by `verify`, and nothing else has to stop for it.
                self.seal_error = f"cannot seal: {error}"
            await asyncio.sleep(SEAL_CHECK_S)

    async def _auditing(self) -> None:
        """Write down changed configurations, sign heads and give them to the edges."""
        while True:
            try:
                head = await asyncio.to_thread(self.watch.turn)
                if self.broker is not None and self.broker.connected:
                    known = [edge for edge, fact in list(self.store.inbox.facts.items()) if not fact.refused]
                    self.watch.give(head, known, self.broker.publish)
                    self.watch.give_manifest(self.store.manifest.given(), known, self.broker.publish)
                    self.panels.give(known, self.broker.publish)
                    self.office.proposals.give(self.broker.publish)
                else:
                    self.watch.disconnected()
                    self.panels.disconnected()
                    self.office.proposals.disconnected()
                self.audit_error = ""
            except (OSError, PharmedgeError) as error:
                # A full disk passes; until then whatever needs an entry is refused, and `ready` says so.
                self.audit_error = f"audit trail: {error}"
            await asyncio.sleep(AUDIT_CHECK_S)

    def _held_from(self) -> int:
        return min((t.held_from for t in self.targets), default=2**62)

    # --- Query -------------------------------------------------------------------------------------------------------------------

    def tags(self) -> list[TagRow]:
        """See Query."""
        return self.store.ask.tags()

    def series(self, key: str, from_ns: int, to_ns: int, points: int = 500) -> SeriesRow:
        """See Query."""
        return self.store.ask.series(key, from_ns, to_ns, points)

    def series_in(self, store: str, key: str, from_ns: int, to_ns: int, points: int = 500) -> SeriesRow:
        """See Query."""
        if store not in self._readers:
            found = next((t.config.reader() for t in self.targets if t.config.name == store), None)
            if found is None:
                raise NotFound(f"store: expected the name of a target that is read, found {store!r}")
            self._readers[store] = found
        return self.store.ask.series_from(self._readers[store], key, from_ns, to_ns, points)

    def blocks(self, key: str, from_ns: int, to_ns: int, count: int = 60) -> BlocksRow:
        """See Query."""
        return self.store.ask.blocks(key, from_ns, to_ns, count)

    def alarms(self, state: Literal["standing", "history"] = "standing", limit: int = 1000, wanted: AlarmFilter = ALL) -> list[AlarmRow]:
        """See Query."""
        return self.store.ask.alarms(state, limit, wanted)

    def alarm(self, occurrence: str) -> AlarmRow:
        """See Query."""
        return self.store.ask.alarm(occurrence)

    def batches(self) -> list[BatchRow]:
        """See Query."""
        return self.store.ask.batches()

    def batch_of(self, occurrence: str) -> str:
        """See Query."""
        return self.store.ask.batch_of(occurrence)

    def kpis(self, from_ns: int, to_ns: int) -> KpiRow:
        """See Query."""
        offset = datetime.fromtimestamp(from_ns // 1_000_000_000, ZoneInfo(self.config.gateway.timezone)).utcoffset()
        return key_figures(
            self.store.ask.events(from_ns - LEAD, to_ns),
            from_ns,
            to_ns,
            positions=self.config.operation.positions,
            offset_s=round(offset.total_seconds()) if offset else 0,
        )

    def edges(self) -> list[EdgeRow]:
        """See Query."""
        return self.store.ask.edges()

    def ledger(self) -> list[LedgerRow]:
        """See Query."""
        return self.store.ask.ledger()

    def act(self, asked: Sequence[Asked]) -> list[str | PharmedgeError]:
        """See Query."""
        return self._writer.submit(self.store.act, [(one, uuid.uuid4().hex) for one in asked]).result()

    def set_mode(self, asked: ModeAsked) -> str:
        """See Query."""
        return self._writer.submit(self.store.set_mode, asked, uuid.uuid4().hex).result()

    def _maintained(self, edge: str, subject: str, kind: Literal["renewed", "no_fault"], by: Actor, remark: str) -> None:
        self._writer.submit(self.store.maintained, edge, subject, kind, by, remark, uuid.uuid4().hex).result()

    def modes(self, from_ns: int, to_ns: int) -> list[ModeRow]:
        """See Query."""
        return self.store.ask.modes(from_ns, to_ns)

    def action(self, action_id: str) -> ActionRow:
        """See Query."""
        return self.store.asked.row(action_id)

    def subscribe(self) -> Subscription:
        """See Query."""
        return self.store.subscribe()

    def status(self) -> StatusRow:
        """See Query."""
        section, broker = self.config.gateway, self.broker
        status: StatusRow = {
            "version": __version__,
            "gateway": section.id,
            "site": section.site,
            "mode": section.mode,
            "uptime_s": round(time.monotonic() - self._started, 3),
            "now_ns": self._clock(),
            **self.store.figures(),  # type: ignore[typeddict-item]
            "dead_letters": sum(t.rejected for t in self.targets),
            "queue_bytes": self.ingest.queue_bytes,
            "broker_connected": broker is not None and broker.connected,
            "broker_error": broker.error if broker is not None else "not started",
            "seal_error": self.seal_error,
            "targets": [*(t.row() for t in self.targets), *(a.row() for a in self.auditors)],
            "receivers": self.notifier.rows(),
            "notices": self._notices(),
        }
        return status

    def _notices(self) -> list[str]:
        refused = [f.edge for f in list(self.store.inbox.facts.values()) if f.refused]
        found = self.notifier.notices() + [f"edge {edge} says it is simulated; a gateway in production refuses it" for edge in refused]
        overdue = self.office.handovers.overdue_ns()
        if overdue is not None:
            found.append(f"the shift handover is overdue by {(self._clock() - overdue) / 60e9:.0f} min")
        if self.store.orphans:
            found.append(f"{self.store.orphans} unfinished files of an interrupted sealing were removed at the start")
        return found

    def try_receiver(self, name: str) -> None:
        """See Query."""
        section = self.config.gateway
        trial(self.config.notifications, name, gateway=section.id, timezone=section.timezone, now_ns=self._clock())

    def ready(self) -> list[str]:
        """See Query."""
        why = []
        if self.broker is None or not self.broker.connected:
            why.append(f"broker: {self.broker.error if self.broker is not None else 'not started'}")
        if self.store.write_error:
            why.append(self.store.write_error)
        if self.seal_error:
            why.append(self.seal_error)
        if self.audit_error:
            why.append(self.audit_error)
        if self.ingest.queue_bytes >= self.config.store.queue_bytes:
            why.append("more is coming in than can be committed")
        return why

    def counters(self) -> dict[str, float]:
        """See Query."""
        status = self.status()
        found = {
            "records_total": status["records"],
            "duplicates_total": status["duplicates"],
            "quarantined_total": status["quarantined"],
            "refused_total": status["refused"],
            "dead_letters_total": status["dead_letters"],
            "rows": status["rows"],
            "inbox_records": status["inbox_records"],
            "inbox_bytes": status["inbox_bytes"],
            "queue_bytes": status["queue_bytes"],
            "segments": status["segments"],
            "segment_bytes": status["segment_bytes"],
            "alarms_standing": status["alarms_standing"],
            "broker_connected": int(status["broker_connected"]),
            "uptime_seconds": status["uptime_s"],
        }
        return {name: float(value) for name, value in found.items()}


def _alone(data_dir: Path) -> IO[str]:
    """The lock of a data folder, held until the file is closed; LogError when another gateway has it."""
    data_dir.mkdir(parents=True, exist_ok=True)
    file = (data_dir / "gateway.lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise LogError(f"{data_dir}: expected no other gateway on this folder, found one running") from error
    return file


class _Server(uvicorn.Server):
    """uvicorn that leaves signals to the gateway."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise OSError(f"http {host}:{port}: {error.strerror}") from error
    listener.listen(128)
    return listener
