"""The composition root: puts log, pipeline, sources, uplinks and status together and runs them until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog
import uvicorn

from edge_agent.agent.approving import Approving
from edge_agent.agent.beside import Beside
from edge_agent.agent.certificates import CertificateWatch
from edge_agent.agent.clock import Clock, Following, beginning
from edge_agent.agent.delivery import Delivery, away_of
from edge_agent.agent.engine import Engine
from edge_agent.agent.intake import Intake
from edge_agent.agent.memory import settle
from edge_agent.agent.model_watch import ModelWatch
from edge_agent.agent.opening import Opened, open_log, sole_owner
from edge_agent.agent.recording import Recording
from edge_agent.agent.running import Running
from edge_agent.agent.status import Status, create_app
from edge_agent.config import AgentSettings, start_of
from edge_agent.config.approved import Choice
from edge_agent.config.credentials import certificates_of
from edge_agent.config.reload import Changes, SetAside, changes_of
from edge_agent.config.trained import load_whole
from edge_agent.core import (
    Action,
    AlarmEvent,
    Catalogue,
    ConfigError,
    Connection,
    Mistake,
    Note,
    OperatorAction,
    Start,
    decode,
    encode,
    supervised,
)
from edge_agent.core.approval import KEY_FOLDER
from edge_agent.core.patience import BACKLOG, Patient
from edge_agent.sources.runner import SourceRunner
from edge_agent.sources.source import Plug
from edge_agent.uplinks.gateway import GatewayConfig
from edge_agent.uplinks.runner import UplinkRunner
from edge_agent.uplinks.sparkplug import SparkplugConfig

log = structlog.get_logger()

FOLLOW_LOOK_S: Final = 1.0
SETTLED_S: Final = 3.0


class Agent:
    """One running edge."""

    def __init__(
        self, settings: AgentSettings, base: Path, record: Path | None = None, *, choice: Choice | None = None,
        file: Path | None = None,
    ) -> None:  # fmt: skip
        """`choice` says by which approval `settings` run (GMP mode); `file` is read again when an approval takes effect."""
        self.settings = settings
        self.again = False
        """Whether another configuration took effect: run a new agent with it."""
        self.told = ""
        """What became of the newest reload."""
        self.frugal = False
        """Whether the process is its own: it then collects once what its start has left behind."""
        self._choice, self._file = choice, file
        self._base, self._data_dir = base, base / settings.edge.data_dir
        self._record = record
        self._started = time.monotonic()
        self._asked = asyncio.Event()
        self._reading, self._delivering = Running[SourceRunner]("source"), Running[UplinkRunner]("uplink")

    async def run(self) -> None:
        """Run until SIGINT or SIGTERM; everything accepted by then is durable when this returns."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        with sole_owner(self._data_dir):
            await self._run(loop, stop)

    async def _run(self, loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
        opened = open_log(self._data_dir)
        file, recovered = opened.file, opened.recovered
        self._log, self._identity = file, opened.identity
        clock = Clock(recovered.last_received_ns)
        self._clock = clock
        self._watch = ModelWatch(self.settings, self._data_dir / KEY_FOLDER)
        whole = self.settings
        # Its plan is asked for only where the model of a refused file goes on: unpacked beside the new one it takes tens of megabytes.
        previous = recovered.pipeline.start if self._watch.files else recovered.pipeline.defined
        start = self._planned(whole, self._watch, previous)
        del previous
        self._keep(whole, start)
        self._intake = Intake(clock, Catalogue(start.tags), self.settings.outbox.queue_bytes)
        self._delivery = Delivery(self.settings, file, self._identity, self._intake, self._data_dir / "uplinks", clock)
        recording = Recording.begin_or_resume(self._record, file, recovered.pipeline, self._identity.epochs.born) if self._record else None
        self._engine = Engine(
            file, recovered.pipeline, self._intake, clock, self.settings.outbox, loop=loop, safe_through=self._delivery.safe_through,
            cursors=self._delivery.cursors, on_commit=self._committed, follow=(lambda: recording.follow(file)) if recording else None,
            held=self._delivery.held, count=self._delivery.count,
        )  # fmt: skip
        beside = self._beside = Beside(self.settings, self._data_dir, self._start, self._engine, self._intake, file, clock, act=self._act_here)
        self._say_what_was_found(opened, clock)
        self._watch.say(self._intake.put)
        self._approving = Approving(self._choice or Choice(self.settings, ""), self._data_dir, self._intake, self._file)
        self._choice = None
        self._approving.say()
        runners = self._sources(whole)
        del whole  # this frame stays as long as the agent; what the pipeline makes of the plan takes the room of these settings
        self._engine.start(start)
        del start
        epoch = self._identity.epochs.current
        tags, alarms = len(self._start.tags), len(self._start.alarms)
        log.info("started", edge=self._start.edge, epoch=epoch, restepped=recovered.restepped, tags=tags, alarms=alarms)
        self._reading.begin(runners)
        del runners
        self._delivering.begin(self._uplinks())
        tasks = [
            asyncio.create_task(self._change(stop), name="approvals"),
            asyncio.create_task(self._watching(), name="model files"),
            asyncio.create_task(self._reloading(stop), name="reload"),
            asyncio.create_task(self._following(), name="clock"),
            asyncio.create_task(self._certified(), name="certificates"),
        ]
        status = Status(
            edge=self._start.edge, site=self.settings.edge.site, simulated=self.settings.edge.simulated, epoch=lambda: self._identity.epochs.current,
            engine=self._engine, intake=self._intake, sources=self._reading.status, uplinks=self._uplinks_now,
            listening=lambda: beside.listening,
            required=lambda: frozenset(u.name for u in self.settings.uplinks if u.required), started=self._started,
        )  # fmt: skip
        beside.problems = status.problems
        tasks += beside.tasks()
        server = uvicorn.Server(
            uvicorn.Config(
                create_app(status, beside.routes), host=self.settings.http.host, port=self.settings.http.port, log_config=None, access_log=False,
                lifespan="off", server_header=False, proxy_headers=False, http=Patient, backlog=BACKLOG,
            )
        )  # fmt: skip
        server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        serving = asyncio.create_task(self._serve(server), name="http")
        tasks.append(asyncio.create_task(supervised.keep_alive(lambda: self._engine.alive), name="watchdog"))
        supervised.ready(self._summary())
        if self.frugal:
            loop.call_later(SETTLED_S, settle)
        try:
            await self._until(stop, tasks, serving)
        finally:
            supervised.stopping()
            beside.stop()
            tasks += [*self._reading.tasks, *self._delivering.tasks]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            server.should_exit = True
            await asyncio.gather(serving, return_exceptions=True)
            await asyncio.to_thread(self._engine.stop)
            file.close()
        if self._engine.failed is not None:
            raise RuntimeError("the pipeline or the writer stopped") from self._engine.failed
        log.info("stopped")

    @staticmethod
    async def _serve(server: uvicorn.Server) -> None:
        with contextlib.suppress(SystemExit):
            # uvicorn ends the process when its port is taken; an edge goes on without its status page and says so.
            await server.serve()

    async def _change(self, stop: asyncio.Event) -> None:
        await self._approving.until_another_takes_effect()
        self.again = True
        stop.set()

    async def _until(self, stop: asyncio.Event, tasks: list[asyncio.Task[None]], serving: asyncio.Task[None]) -> None:
        waiting = asyncio.create_task(stop.wait())
        while not stop.is_set() and self._engine.failed is None:
            watched = [*tasks, *self._reading.tasks, *self._delivering.tasks, serving]
            done, _ = await asyncio.wait([waiting, *(t for t in watched if not t.done())], timeout=0.5, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {waiting}:
                if task.cancelled():
                    continue  # ended by a reload
                if task.exception() is not None:
                    waiting.cancel()
                    raise task.exception()  # type: ignore[misc]
                if task is serving:
                    log.error("status page is not served", host=self.settings.http.host, port=self.settings.http.port)
        waiting.cancel()

    def _summary(self) -> str:
        return f"{self._start.edge}: {len(self.settings.sources)} sources, {len(self._start.tags)} tags, {len(self._start.alarms)} alarms"

    # -- what changes while it runs -------------------------------------------------------------------------------------------------

    def reload(self) -> None:
        """Read the configuration again; on the event loop."""
        self._asked.set()

    async def _certified(self) -> None:
        def known() -> list[tuple[str, Path]]:
            return certificates_of(self.settings, self._base)

        await CertificateWatch(known, self._intake.put).run()

    async def _watching(self) -> None:
        await self._watch.run(self._intake.put)

    async def _reloading(self, stop: asyncio.Event) -> None:
        """Read the configuration again whenever that is asked for (SIGHUP)."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            supervised.reloading()
            self.told = await self._reload(stop)
            supervised.ready(f"{self._summary()}; {self.told}")

    async def _reload(self, stop: asyncio.Event) -> str:
        if self._file is None or self.settings.edge.gmp:
            log.warning("not reloaded: in GMP mode a configuration takes effect by its approval alone")
            return "not reloaded: GMP mode"
        try:
            settings = await asyncio.to_thread(load_whole, self._file)
            if settings.edge.gmp:
                raise ConfigError([Mistake(str(self._file), 1, "edge.gmp", "false, or a new start of the agent", "true")])
            changes = await asyncio.to_thread(lambda: changes_of(self._aside.whole(), settings))
            said = changes.words()
            if changes.anew:
                self.again = True
                stop.set()
            elif not changes.nothing:
                await self._take_up(settings, changes)
        except ConfigError as error:
            for mistake in error.mistakes:
                log.error("reload refused", mistake=str(mistake))
            first = f"{len(error.mistakes)} mistakes, first: {error.mistakes[0]}"
            self._intake.put(lambda now: Note(received_ns=now, action="reload_refused", object="configuration", reason=first))
            return f"reload refused, {len(error.mistakes)} mistakes"
        log.info("reloaded", changes=said)
        self._intake.put(lambda now: Note(received_ns=now, action="reloaded", object="configuration", new=self._start.config_hash, reason=said))
        return f"reloaded: {said}"

    async def _take_up(self, settings: AgentSettings, changes: Changes) -> None:
        """Run other settings; sources and uplinks that are not concerned go on. ConfigError before anything has changed."""
        watch = ModelWatch(settings, self._data_dir / KEY_FOLDER)
        start = await asyncio.to_thread(self._planned, settings, watch, self._queued())
        await self._reading.end(changes.sources_end)
        await self._delivering.end(changes.uplinks_end)
        self._delivery.forget({*changes.uplinks_end} - {*changes.uplinks_begin})
        self._keep(settings, start)
        self._delivery.settings = self.settings
        self._plan_anew(start)
        self._watch.become(watch, self._intake.put)
        self._reading.begin(self._sources(settings, changes.sources_begin))
        self._delivering.begin(self._uplinks(changes.uplinks_begin))

    def _plan_anew(self, start: Start, follow: Callable[[], None] | None = None) -> None:
        """Another plan holds from here on; sources that are connected stay so."""
        self._engine.revise(start)
        self._beside.desk.revise(start.tags, start.alarms)
        self._intake.plan_anew(start, follow)
        for source in self._reading.status():
            if source["state"] in ("connected", "no_data"):
                self._intake.put(
                    lambda now, name=source["name"]: Connection(received_ns=now, source=name, state="resumed", detail="the agent has another plan")  # type: ignore[misc]
                )

    async def _following(self) -> None:
        """Received time follows a wall clock that has gone ahead together with the sources (see `Following`)."""
        following = Following(round(self.settings.windows.max_skew_s * 1e9))
        while True:
            await asyncio.sleep(FOLLOW_LOOK_S)
            ahead, now = self._clock.ahead_ns(), self._clock()
            if following.look(now, ahead, *self._stamped(now - ahead)):
                said = f"received time follows the wall clock by {ahead / 1e9:+.3f} s"
                log.warning("clock", said=said)
                self._plan_anew(self._queued(), self._clock.follow)
                self._intake.put(lambda now, why=said: Note(received_ns=now, action="clock_followed", object="clock", reason=why))  # type: ignore[misc]

    def _stamped(self, since_ns: int) -> tuple[int, int]:
        """Values rejected and values taken so far, of the sources that stamp them themselves (see `Pipeline.testimony`)."""
        pipeline = self._engine.pipeline
        own = [s.name for s in self.settings.sources if not s.time.by_receipt]
        return pipeline.testimony(own, since_ns) if pipeline.started else (0, 0)

    # -- identity and what was found ----------------------------------------------------------------------------------------------

    def _queued(self) -> Start:
        """The plan that was queued last: the pipeline may still have one before it."""
        found = decode(self._packed)
        assert isinstance(found, Start)
        return found

    def _planned(self, settings: AgentSettings, watch: ModelWatch, previous: Start | None) -> Start:
        """The Start entry of settings behind another one. ConfigError for what nobody approved."""
        return start_of(settings, self._clock(), previous, watch.begin(settings, self._clock(), previous))

    def _keep(self, settings: AgentSettings, start: Start) -> None:
        """Run by these: the journal and the pipeline have the plan, and the sources their tags, so that neither is kept here as objects."""
        self._aside = SetAside(settings)
        self.settings = self._aside.kept
        self._start = msgspec.structs.replace(start, config={})
        self._packed = encode(start)
        self._measured: dict[str, frozenset[int]] = {}
        if any(isinstance(uplink, SparkplugConfig) for uplink in settings.uplinks):  # nobody else asks
            ids = {tag.name: tag.id for tag in start.tags}
            self._measured = {s.name: frozenset(ids[t.name] for t in settings.tags if t.source == s.name) for s in settings.sources}

    def _say_what_was_found(self, opened: Opened, clock: Clock) -> None:
        # Queued before the Start entry is stepped by Engine.start, judged behind it.
        put = self._intake.put
        opened.say_of_the_file(put)
        gateways = [(u.name, gateway) for u in self.settings.uplinks if isinstance(u, GatewayConfig) for gateway in u.gateways]
        self._identity.begin(gateways, [self._delivery.place(name) for name, _ in gateways], put)
        opened.say_of_the_journal(put)
        for entry in beginning(clock):
            put(entry)

    # -- sources and uplinks -------------------------------------------------------------------------------------------------------------------

    def _sources(self, settings: AgentSettings, names: Collection[str] | None = None) -> list[SourceRunner]:
        """Runners of the sources with these names, or of all."""
        tags = {t.name: t for t in self._start.tags}
        runners: list[SourceRunner] = []
        windows = settings.windows
        for config in settings.sources:
            if names is not None and config.name not in names:
                continue
            mine = [t for t in settings.tags if t.source == config.name]
            plug = Plug(
                name=config.name,
                tags=[tags[t.name] for t in mine],
                address={tags[t.name].id: t.address for t in mine},
                clock=self._clock,
                data_dir=self._data_dir / "sources" / config.name,
                simulated=settings.edge.simulated,
                newest_ns=self._engine.pipeline.newest_ns,
                max_skew_s=windows.max_skew_s if config.time.max_skew_s is None else config.time.max_skew_s,
                late_after_s=windows.length_s + windows.idle_s + max([windows.lateness_s, *(t.lateness_s or 0.0 for t in mine)]),
            )
            runners.append(SourceRunner(config, plug, self._intake.offer, self._log.value(f"resume/{config.name}")))
        return runners

    def _uplinks(self, names: Collection[str] | None = None) -> list[UplinkRunner]:
        """Runners of the uplinks with these names, or of all."""
        came, take = self._beside.people_came, self._approving.take
        engine = self._engine
        return self._delivery.runners(
            self._start.tags, people=came, approved=take, names=names, away=self._away, given_up=lambda name: engine.given_up.get(name, 0)
        )

    def _uplinks_now(self) -> list[dict[str, Any]]:
        return [{**uplink, "behind_records": self._delivery.behind(uplink["name"])} for uplink in self._delivering.status()]

    def _away(self) -> frozenset[int]:
        """Measured tags of the sources that the agent calls disconnected or silent."""
        return away_of(self._engine.standing, self._measured)

    # -- what was committed, and what people here do -----------------------------------------------------------------------------

    def _committed(self, events: list[AlarmEvent]) -> None:
        self._delivery.grown()
        self._beside.committed(events)
        for event in events:
            log.info("alarm", alarm=event.alarm, change=event.event, state=event.state_to, why=event.explanation)

    def _act_here(self, action: OperatorAction) -> None:
        """What a person beside the line asks for goes the way of all actions."""
        self._intake.put(lambda now: Action(received_ns=now, action=action))
