"""OPC UA server of the simulated plant, on asyncua."""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asyncua import Server, ua
from asyncua.crypto.permission_rules import User, UserRole

from simulators.servers.certificate import kept_certificate
from simulators.signals import SIMULATED, Signal

NAMESPACE = "urn:pharmedge:sim"
"""Namespace URI of every node; its index is whatever the server gives it."""
BAD_WAITING_FOR_INITIAL_DATA = 0x80320000
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


@dataclass(frozen=True)
class OpcUaConfig:
    """How the server listens and whom it lets in."""

    port: int = 4841
    host: str = "127.0.0.1"
    security: str = "none"
    """`none`, `basic256sha256` (sign and encrypt only) or `both`."""
    pki_dir: Path | None = None
    """Folder of the server's certificate; needed unless security is `none`."""
    username: str | None = None
    password: str | None = None
    other_namespaces: tuple[str, ...] = ()
    """Namespaces registered before ours, so that its index moves."""

    def __post_init__(self) -> None:
        if self.security not in ("none", "basic256sha256", "both"):
            raise ValueError(f"security: expected none, basic256sha256 or both, found {self.security!r}")
        if self.security != "none" and self.pki_dir is None:
            raise ValueError("pki_dir: expected a folder for the server's certificate, found none")
        if (self.username is None) != (self.password is None):
            raise ValueError("username and password: expected both or none")


class _OneUser:
    def __init__(self, username: str, password: str) -> None:
        self._username = username
        self._password = password

    def get_user(self, iserver: Any, username: str | None = None, password: str | None = None,  # noqa: ARG002 - asyncua's call
                 certificate: Any = None) -> User | None:  # noqa: ARG002
        """The one user, or None, which refuses the session."""
        if username == self._username and password == self._password:
            return User(role=UserRole.User, name=username)
        return None


def utc(time_ns: int) -> datetime.datetime:
    """Time of an OPC UA value, exact to the microsecond.

    >>> utc(1_767_225_600_000_001_000).isoformat()
    '2026-01-01T00:00:00.000001+00:00'
    """
    return _EPOCH + datetime.timedelta(microseconds=time_ns // 1000)


class OpcUaPlant:
    """Serves the OPC UA signals of a line as variables with range, unit and description."""

    def __init__(self, signals: Sequence[Signal], config: OpcUaConfig) -> None:
        self._signals = signals
        self._config = config
        self._server: Server | None = None
        self._nodes: dict[int, ua.NodeId] = {}

    @property
    def url(self) -> str:
        """Endpoint address."""
        return f"opc.tcp://{self._config.host}:{self._config.port}/"

    async def start(self) -> None:
        """Build the address space and listen. Raises OSError when the port is taken."""
        cfg = self._config
        manager = _OneUser(cfg.username, cfg.password or "") if cfg.username is not None else None
        server = Server(user_manager=manager)
        await server.init()
        server.set_endpoint(self.url)
        server.set_server_name("Pharmedge simulated plant")
        await server.set_application_uri("urn:pharmedge:sim:server")
        policies: list[ua.SecurityPolicyType] = []
        if cfg.security != "basic256sha256":
            policies.append(ua.SecurityPolicyType.NoSecurity)
        if cfg.security != "none":
            assert cfg.pki_dir is not None  # checked by the config
            policies.append(ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt)
            certificate, key = kept_certificate(cfg.pki_dir, "urn:pharmedge:sim:server", cfg.host)
            await server.load_certificate(str(certificate))
            await server.load_private_key(str(key))
        server.set_security_policy(policies)
        if cfg.username is not None:
            server.set_identity_tokens([ua.UserNameIdentityToken])
        for uri in cfg.other_namespaces:
            await server.register_namespace(uri)
        space = await server.register_namespace(NAMESPACE)
        await self._build(server, space)
        await server.start()
        self._server = server

    async def _build(self, server: Server, space: int) -> None:
        folders: dict[str, Any] = {}
        for index, signal in enumerate(self._signals):
            if signal.road != "opcua":
                continue
            unit, _, short = signal.name.rpartition("/")
            if unit not in folders:
                folders[unit] = await server.nodes.objects.add_object(ua.NodeId(unit, space), ua.QualifiedName(unit, space))
            text = signal.kind == "text"
            variant = ua.VariantType.String if text else ua.VariantType.Double
            node_id = ua.NodeId(signal.name, space)
            node = await folders[unit].add_variable(node_id, ua.QualifiedName(short, space), "" if text else 0.0, variant)
            description = ua.LocalizedText(signal.en, "en")
            await node.write_attribute(ua.AttributeIds.Description,
                                       ua.DataValue(ua.Variant(description, ua.VariantType.LocalizedText)))
            await node.write_attribute(ua.AttributeIds.MinimumSamplingInterval,
                                       ua.DataValue(ua.Variant(signal.period_s * 1000.0, ua.VariantType.Double)))
            await node.add_property(ua.NodeId(f"{signal.name}.Description", space), ua.QualifiedName("Description", 0),
                                    ua.Variant(description, ua.VariantType.LocalizedText))
            if not text:
                await node.add_property(ua.NodeId(f"{signal.name}.EURange", space), ua.QualifiedName("EURange", 0),
                                        ua.Range(signal.low, signal.high))
                await node.add_property(
                    ua.NodeId(f"{signal.name}.EngineeringUnits", space), ua.QualifiedName("EngineeringUnits", 0),
                    ua.EUInformation(NamespaceUri="http://www.opcfoundation.org/UA/units/un/cefact",
                                     DisplayName=ua.LocalizedText(signal.unit), Description=ua.LocalizedText(signal.unit)))
            # Until the line starts there is no value: a client sees that, and counts no sample (OPC 10000-4, 7.39).
            await server.write_attribute_value(
                node.nodeid, ua.DataValue(None, ua.StatusCode(BAD_WAITING_FOR_INITIAL_DATA)))
            self._nodes[index] = node.nodeid

    def subscribed(self) -> int:
        """Number of our variables that at least one client monitors."""
        if self._server is None:
            return 0
        seen: set[ua.NodeId] = set()
        for subscription in self._server.iserver.subscription_service.subscriptions.values():
            for item in subscription.monitored_item_srv._monitored_items.values():
                if item.read_value_id is not None:
                    seen.add(item.read_value_id.NodeId)
        return sum(node in seen for node in self._nodes.values())

    @property
    def variables(self) -> int:
        """Number of variables served."""
        return len(self._nodes)

    async def write(self, signal: int, value: float | str, status: int, time_ns: int) -> None:
        """Set one variable; a NaN with a Bad status is sent as null."""
        assert self._server is not None, "start() first"
        if isinstance(value, str):
            variant = ua.Variant(value, ua.VariantType.String)
        elif math.isnan(value):
            variant = ua.Variant(None, ua.VariantType.Null)
        else:
            variant = ua.Variant(value, ua.VariantType.Double)
        data = ua.DataValue(variant, ua.StatusCode(status), SourceTimestamp=utc(time_ns),
                            ServerTimestamp=datetime.datetime.now(datetime.UTC))
        await self._server.write_attribute_value(self._nodes[signal], data)

    async def write_text(self, signal: int, value: str, time_ns: int) -> None:
        """Set one text variable, marked simulated."""
        await self.write(signal, value, SIMULATED, time_ns)

    async def stop(self) -> None:
        """Close all sessions and stop listening."""
        if self._server is not None:
            await self._server.stop()
            self._server = None
