"""OPC UA for a DCS or SCADA: figures to supervise the edge by, and its alarms as conditions (OPC 10000-9), which known people may act on.

The server has a thread and an event loop of its own, so that no client can hold up the edge. Nothing can be written.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import socket
import threading
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import structlog
from pydantic import Field

from edge_agent.core import AlarmEvent
from edge_agent.core.divert import DivertNow, reason_words
from edge_agent.core.settings import Section
from edge_agent.local.desk import Actor, Desk, Supervision
from edge_agent.local.sessions import NotLoggedIn, PanelSessions, TooSoon

log = structlog.get_logger()

NAMESPACE: Final = "urn:pharmedge:edge"
STATION: Final = "opcua"
LOOK_S: Final = 0.5
REFRESH_SEVERITY: Final = 1
START_S: Final = 60.0
Policy = Literal["none", "basic256sha256", "aes256_sha256_rsapss"]
_POLICIES: Final[dict[str, str]] = {
    "none": "NoSecurity", "basic256sha256": "Basic256Sha256_SignAndEncrypt", "aes256_sha256_rsapss": "Aes256Sha256RsaPss_SignAndEncrypt",
}  # fmt: skip

ACTING: ContextVar[Actor | None] = ContextVar("acting", default=None)
"""Who calls a method."""


class OpcUaServing(Section):
    """Alarms and figures for supervising systems, OPC UA."""

    host: str = "127.0.0.1"
    """Address to listen on; one that other computers reach needs `exposed: true`."""
    exposed: bool = False
    """Let the control network look; whoever connects sees alarms and figures, also without a name."""
    port: Annotated[int, Field(ge=0, le=65535)] = 4850
    """TCP port; 0 chooses a free one."""
    policy: Policy = "none"
    """none: everybody looks and nobody acts, because no password may travel in the clear. Else sign and encrypt, and people may log in."""
    trusted: tuple[Path, ...] = ()
    """Client certificates (DER) that may connect where a policy is set; empty: any."""


def figures(now: Supervision) -> dict[str, tuple[Any, str]]:
    """Value and type of every figure, by name.

    >>> names = figures(Supervision(7, 0, 2, 0, (0, 1, 0, 0), (0, 0, 0, 0), 3, 0, True, False))
    >>> names["WorstStandingPriority"], names["Standing2"], names["Heartbeat"]
    ((2, 'Byte'), (1, 'UInt32'), (7, 'UInt16'))
    """
    found: dict[str, tuple[Any, str]] = {
        "Heartbeat": (now.beat, "UInt16"),
        "WorstStandingPriority": (now.worst_standing, "Byte"),
        "WorstUnacknowledgedPriority": (now.worst_unacknowledged, "Byte"),
    }
    for name, counts in (("Unacknowledged", now.unacknowledged), ("Standing", now.standing)):
        found |= {f"{name}{priority}": (n, "UInt32") for priority, n in enumerate(counts, 1)}
    found |= {"Suppressed": (now.suppressed, "UInt32"), "Advisory": (now.advisory, "UInt32")}
    found |= {"Ready": (now.ready, "Boolean"), "Simulated": (now.simulated, "Boolean")}
    return found | {"LastCommit": (_utc(now.last_commit_ns), "DateTime")}


def diverter_figures(now: DivertNow) -> dict[str, tuple[Any, str]]:
    """Value and type of what is told of a diverter, by name.

    >>> told = diverter_figures(DivertNow("cm1/divert", True, 4, 2, 7, 0))
    >>> told["DivertRequest"], told["ReasonText"]
    ((True, 'Boolean'), ('flow of a feeder not known', 'String'))
    """
    return {
        "DivertRequest": (now.request, "Boolean"), "Watchdog": (now.watchdog, "UInt16"), "ValidUntil": (_utc(now.valid_until_ns), "DateTime"),
        "Reason": (now.reason, "UInt16"), "ReasonText": (reason_words(now.reason), "String"), "State": (now.state, "Byte"),
        "StartsIn": (now.starts_s, "Double"), "EndsIn": (now.ends_s, "Double"), "Lowest": (now.low, "Double"), "Highest": (now.high, "Double"),
    }  # fmt: skip


def _utc(time_ns: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(time_ns // 10**6 / 1000, datetime.UTC)


class OpcUaServer:
    """The server in its thread; `start`, `committed` and `stop` from the edge's event loop."""

    def __init__(self, config: OpcUaServing, folder: Path, desk: Desk, sessions: PanelSessions) -> None:
        self._config, self._folder, self._desk, self._sessions = config, folder, desk, sessions
        self._thread = threading.Thread(target=self._run, name="opcua server", daemon=True)
        self._started = threading.Event()
        self._ended: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._error: BaseException | None = None
        self._conditions: Any = None
        self.port = 0

    async def start(self) -> int:
        """Listen; the port. OSError when it cannot."""
        self._thread.start()
        if not await asyncio.to_thread(self._started.wait, START_S):
            raise OSError("OPC UA: the server did not start within a minute")
        if self._error is not None:
            raise OSError(f"OPC UA: {self._error}") from self._error
        return self.port

    def committed(self, events: list[AlarmEvent]) -> None:
        """Alarm events are durable; `desk` knows what stands behind them."""
        if events and self._loop is not None and self._conditions is not None:
            standing = dict(self._desk.standing)
            with contextlib.suppress(RuntimeError):  # its loop is closing
                self._loop.call_soon_threadsafe(lambda: self._conditions.changed(events, standing))

    async def stop(self) -> None:
        """Close every session."""
        if self._loop is not None and self._ended is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._ended.set)
        await asyncio.to_thread(self._thread.join, 10)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:  # noqa: BLE001 - told to whoever waits, or to the log
            self._error = error
            if self._started.is_set():
                log.error("the OPC UA server stopped", error=str(error))
        finally:
            self._started.set()

    async def _serve(self) -> None:
        from edge_agent.local.opcua_conditions import Conditions

        server = await self._made()
        space = await server.register_namespace(NAMESPACE)
        variables, edge = await self._figures(server, space)
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        async with server:
            self._conditions = Conditions(server, space, edge, self._desk)
            await self._conditions.begin(dict(self._desk.standing))
            self.port = server.bserver._server.sockets[0].getsockname()[1]
            self._started.set()
            shown: dict[str, Any] = {}
            failing = ""
            while not self._ended.is_set():
                try:
                    await self._tell(server, space, edge, variables, shown)
                    failing = ""
                except Exception as error:  # noqa: BLE001 - the next telling is tried; meanwhile the heartbeat stands still
                    if str(error) != failing:
                        log.warning("the figures of the OPC UA server were not told", error=str(error))
                    failing = str(error)
                self._conditions.check()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._ended.wait(), LOOK_S)
            await self._conditions.end()

    async def _made(self) -> Any:
        from asyncua import Server, ua
        from asyncua.server.internal_session import InternalSession

        class Named(InternalSession):  # type: ignore[misc]
            """A session whose method calls know their person."""

            async def call(self, params: list[Any]) -> Any:
                """Call methods as the person of this session."""
                token = ACTING.set(getattr(self.user, "actor", None))
                try:
                    return await super().call(params)
                finally:
                    ACTING.reset(token)

        config = self._config
        server = Server(user_manager=_People(self._sessions))
        inner = server.iserver
        inner.bind_condition_methods = REFRESH_SEVERITY  # asyncua then serves ConditionRefresh from the newest retained events
        await server.init()
        inner.create_session = lambda name, user=None, external=False: Named(
            inner, inner.aspace, inner.subscription_service, name, **({} if user is None else {"user": user}), external=external
        )
        uri = f"urn:{socket.gethostname()}:pharmedge:edge:{self._desk.facts.edge}"
        server.set_endpoint(f"opc.tcp://{config.host}:{config.port}/")
        server.set_server_name(f"Pharmedge edge {self._desk.facts.edge}")
        await server.set_application_uri(uri)
        tokens = [ua.AnonymousIdentityToken]
        if config.policy != "none":
            await self._certified(server, uri)
            tokens.append(ua.UserNameIdentityToken)
        server.set_security_policy([getattr(ua.SecurityPolicyType, _POLICIES[config.policy])])
        server.set_identity_tokens(tokens)
        return server

    async def _certified(self, server: Any, uri: str) -> None:
        from asyncua.crypto.cert_gen import setup_self_signed_certificate
        from cryptography.hazmat.primitives.serialization import Encoding
        from cryptography.x509.oid import ExtendedKeyUsageOID

        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        key, certificate = self._folder / "server.key.pem", self._folder / "server.der"
        names = {"commonName": f"Pharmedge {self._desk.facts.edge}"[:64], "organizationName": "Pharmedge"}
        await setup_self_signed_certificate(key, certificate, uri, socket.gethostname(), [ExtendedKeyUsageOID.SERVER_AUTH], names)
        key.chmod(0o600)
        await server.load_certificate(str(certificate))
        await server.load_private_key(str(key))
        trusted = {path.read_bytes() for path in self._config.trusted}

        async def known(shown: Any, _: Any) -> None:
            from asyncua import ua

            if shown.public_bytes(Encoding.DER) not in trusted:
                raise ua.uaerrors.BadCertificateUntrusted

        if trusted:
            server.set_certificate_validator(known)

    async def _figures(self, server: Any, space: int) -> tuple[dict[str, Any], Any]:
        from asyncua import ua

        facts = self._desk.facts
        edge = await server.nodes.objects.add_object(ua.NodeId(facts.edge, space), ua.QualifiedName(facts.edge, space))
        texts = {"Edge": (facts.edge, "String"), "Site": (facts.site, "String"), "Version": (facts.version, "String")}
        found = {}
        for name, (value, kind) in {**texts, **figures(self._desk.supervision())}.items():
            node = ua.NodeId(f"{facts.edge}/{name}", space)
            found[name] = (await edge.add_variable(node, ua.QualifiedName(name, space), value, getattr(ua.VariantType, kind))).nodeid
        return found, edge.nodeid

    async def _diverter(
        self, server: Any, space: int, edge: Any, name: str, told: dict[str, tuple[Any, str]], variables: dict[str, Any]
    ) -> None:
        from asyncua import ua

        node = ua.NodeId(f"{self._desk.facts.edge}/{name}", space)
        folder = await server.get_node(edge).add_object(node, ua.QualifiedName(name, space))
        for path, (value, kind) in told.items():
            place = ua.NodeId(f"{self._desk.facts.edge}/{path}", space)
            made = await folder.add_variable(place, ua.QualifiedName(path.rpartition("/")[2], space), value, getattr(ua.VariantType, kind))
            variables[path] = made.nodeid

    async def _tell(self, server: Any, space: int, edge: Any, variables: dict[str, Any], shown: dict[str, Any]) -> None:
        from asyncua import ua

        told = figures(self._desk.supervision())
        for divert in self._desk.diverts():
            found = {f"{divert.name}/{name}": figure for name, figure in diverter_figures(divert).items()}
            if next(iter(found)) not in variables:
                await self._diverter(server, space, edge, divert.name, found, variables)
            told |= found
        for name, (value, kind) in told.items():
            if shown.get(name) != value:
                await server.write_attribute_value(variables[name], ua.DataValue(ua.Variant(value, getattr(ua.VariantType, kind))))
                shown[name] = value


class _People:
    """Who a session is: nobody, who may look, or a person that the edge knows."""

    def __init__(self, sessions: PanelSessions) -> None:
        self._sessions = sessions

    def get_user(self, _server: Any, username: str | None = None, password: str | None = None, certificate: Any = None) -> Any:
        """The user of a session; None refuses it."""
        from asyncua.crypto.permission_rules import User, UserRole

        if username is None:
            # To asyncua "anonymous" may not even read, and only "admin" may change anything: there is none here.
            return User(role=UserRole.User, name="")
        if certificate is None or password is None:
            return None
        try:
            person = self._sessions.verified(username, password, "opcua")
        except (NotLoggedIn, TooSoon):
            return None
        if not person.acts:
            return None
        user = User(role=UserRole.User, name=person.name)
        object.__setattr__(user, "actor", Actor(person.name, person.role, STATION))
        return user


