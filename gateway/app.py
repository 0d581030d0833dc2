"""The running gateway: composes broker, ingest, store, sealing, targets and console."""

from __future__ import annotations

import asyncio
import fcntl
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

import uvicorn

from edge_agent.core import LogError, supervised
from edge_agent.core.patience import BACKLOG, Patient
from edge_agent.core.signing import signing_key
from gateway import __version__
from gateway.audit import Actor, Trail
from gateway.audit_watch import Watch
from gateway.broker import Broker, Token
from gateway.config import GatewayConfig
from gateway.console.app import create_app
from gateway.console.guard import LOOPBACK
from gateway.housekeeping import Auditing, Sealing
from gateway.ingest import Ingest
from gateway.notify.runner import Notifier
from gateway.office import Office
from gateway.panels import Panels
from gateway.query import Maintained
from gateway.questions import Questions, T
from gateway.sessions import Sessions
from gateway.store import Store
from gateway.targets import SyslogConfig
from gateway.targets.auditing import AuditRunner
from gateway.targets.runner import Runner
from gateway.users import Users

STOP_S: Final = 2


class Gateway:
    """Everything of one gateway process."""

    def __init__(self, config: GatewayConfig, *, clock: Callable[[], int] = time.time_ns) -> None:
        self.config, self._clock = config, clock
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
            edges=section.edges,
            clock=clock,
            pause=self._stop.wait,
        )
        self.broker: Broker | None = None
        self._failure: asyncio.Future[None] | None = None
        self.ingest = Ingest(self.store, section.site, self._writer, self._line, clock=clock, failed=self._fail, edges=section.edges)
        self.targets = [Runner(self.store, target, in_writer=self._in_writer, clock=clock) for target in config.targets]
        self.notifier = Notifier(
            section.data_dir,
            config.notifications,
            gateway=section.id,
            timezone=section.timezone,
            catalogue=self.store.applier.catalogue,
            clock=clock,
            find=lambda name, why: self._in_writer(lambda: self.store.own.find(name, why)),
        )
        self._people()
        self.sealing = Sealing(self.store, self.targets, self.trail, in_writer=self._in_writer, in_sealer=self._in_sealer, clock=clock)
        self.auditing = Auditing(self.store, self.watch, self.panels, self.office, lambda: self.broker)
        self.questions = Questions(
            config, self.store, self.ingest, self.sealing, self.auditing, self.targets, self.auditors, self.notifier, self.office,
            broker=lambda: self.broker, in_writer=self._through_writer, clock=clock,
        )  # fmt: skip

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
            find=lambda name, why: self._writer.submit(self.store.own.find, name, why).result(),
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

    def _through_writer(self, function: Callable[[], T]) -> T:
        return self._writer.submit(function).result()

    def _maintained(self, said: Maintained, by: Actor) -> None:
        self._through_writer(lambda: self.store.maintained(said, by))

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
            self.questions, timezone=section.timezone, hosts=LOOPBACK, sessions=self.sessions, office=self.office, proxies=http.trusted_proxies
        )
        listener = _listen(http.host, http.port)
        server = _Server(
            # X-Forwarded-For is anybody's word: our own guard believes it of trusted proxies only, and all else of the address that connected.
            uvicorn.Config(
                app, log_level="warning", lifespan="on", timeout_graceful_shutdown=STOP_S, server_header=False, proxy_headers=False, http=Patient,
                backlog=BACKLOG,
            )
        )
        told = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, told.set)
        tasks = [
            asyncio.create_task(self.broker.run(), name="broker"),
            asyncio.create_task(self.sealing.run(), name="sealing"),
            asyncio.create_task(self.notifier.run(), name="notifications"),
            asyncio.create_task(self.auditing.run(), name="audit"),
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

    def _received(self, topic: str, payload: bytes, token: Token | None) -> None:
        self.ingest.receive(topic, payload, token)


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
    listener.listen(BACKLOG)
    return listener
