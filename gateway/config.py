"""The gateway's configuration file; every key is described where it is declared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field

from edge_agent.core.errors import Mistake
from edge_agent.core.nodes import Node, nodes
from edge_agent.core.renamed import GATEWAY, Renamed
from edge_agent.core.salvage import Place
from edge_agent.core.settings import Section, Settings, is_loopback, load
from gateway.notify.section import Notifications
from gateway.targets import AnyTarget

NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"
"""What an id may look like: it becomes part of topics and file names."""


class GatewaySection(Section):
    """Who this gateway is."""

    id: str = Field(pattern=NAME)
    site: str = Field(pattern=NAME)
    data_dir: Path
    """Folder of everything it keeps; made when missing."""
    mode: Literal["production", "simulation"] = "production"
    """A gateway in production refuses edges that say they are simulated."""
    edges: tuple[Annotated[str, Field(pattern=NAME)], ...] = ()
    """Edges whose records this gateway keeps; all edges of its site when empty."""
    timezone: str = "UTC"
    """IANA name of the plant's time zone, for display only; everything is kept in UTC."""


class Tls(Section):
    """TLS to the broker."""

    ca_file: Path
    cert_file: Path | None = None
    key_file: Path | None = None


class BrokerSection(Section):
    """The MQTT broker between the edges and this gateway."""

    host: str = "127.0.0.1"
    port: int = Field(1883, ge=1, le=65535)
    others: tuple[Node, ...] = ()
    """Other nodes of the same cluster, HOST:PORT each: tried in this order where the first does not let us in."""
    username: str | None = None
    password_file: Path | None = None
    tls: Tls | None = None
    keepalive_s: int = Field(30, ge=5, le=3600)

    @property
    def nodes(self) -> tuple[tuple[str, int], ...]:
        """Host and port of every node, the first first."""
        return nodes(self.host, self.port, self.others)


class Retention(Section):
    """Days to keep sealed segments by class, from their sealing on; a removal is written into the manifest before the file goes."""

    gmp: int = Field(3650, ge=1)
    """Tags of the classes gmp_critical, gmp and safety. Kept longer than asked: without an approved disposition, and there is none, nothing goes."""
    alarm: int = Field(3650, ge=1)
    """Alarm journal, context, gaps and audit trail. They are kept longer than asked: the journal is not trimmed."""
    other: int = Field(400, ge=1)
    """All other tags."""


class StoreSection(Section):
    """How records are kept."""

    seal_after_s: float = Field(600.0, gt=0)
    """Age in seconds at which what is in the inbox is sealed into segments."""
    seal_rows: int = Field(2_000_000, ge=1000)
    """Rows in the inbox at which it is sealed before its time."""
    compact_files: int = Field(8, ge=2)
    """Segments of one edge, day, class and kind that are merged into one."""
    compact_rows: int = Field(4_000_000, ge=1000)
    """Rows of a merged segment at the most."""
    queue_bytes: int = Field(64 << 20, ge=1 << 20)
    """Bytes of messages waiting to be committed; beyond it the gateway stops reading from the broker."""
    quarantine_bytes: int = Field(64 << 20, ge=1 << 16)
    """Bytes of refused messages kept for inspection; they are counted beyond it."""
    retention_days: Retention = Retention()


class HttpSection(Section):
    """The console and the HTTP API."""

    host: str = "127.0.0.1"
    port: int = Field(8080, ge=0, le=65535)
    trusted_proxies: tuple[str, ...] = ()
    """Addresses of TLS proxies whose X-Forwarded-For is believed, such as 127.0.0.1 for one on this computer: request rate, password attempts and the
    station in the audit trail then go by the address of each person. Anything on that computer can then name any address."""


class AccountsSection(Section):
    """Sessions, signatures and the audit trail. Accounts themselves are made with `edge-gateway user add`; while there is none, nobody logs in."""

    idle_s: int = Field(900, ge=30, le=86_400)
    """Seconds without use after which a session falls back to looking only."""
    longest_s: int = Field(43_200, ge=60, le=86_400)
    """Seconds after which a session ends in any case; one shift at the most."""
    secure_cookie: bool = False
    """Send the session cookie over HTTPS only; for a console behind a TLS proxy."""
    sign: tuple[Literal["acknowledge", "shelve", "out_of_service", "hand_over"], ...] = ()
    """Actions that need an electronic signature: the password again, and a meaning. Approvals and reviews always do."""
    panels: tuple[str, ...] = ()
    """Edges whose panels are given the people who may acknowledge: names, roles and argon2id hashes, over the broker, signed."""
    anchor_entries: int = Field(50, ge=1)
    """Audit entries after which the head of the trail is signed and given to the edges."""
    anchor_s: float = Field(300.0, gt=0)
    """Seconds after which this is done in any case."""


class OperationSection(Section):
    """How the plant is run."""

    positions: int = Field(1, ge=1, le=100)
    """Operating positions that share the alarms; the key figures are per position."""
    handover_s: float = Field(0.0, ge=0, le=604_800)
    """Seconds after the last handover was taken over at which the next one is overdue; 0 never."""


class GatewayConfig(Settings):
    """The whole file."""

    gateway: GatewaySection
    broker: BrokerSection = BrokerSection()
    store: StoreSection = StoreSection()
    targets: tuple[AnyTarget, ...] = ()
    accounts: AccountsSection = AccountsSection()
    operation: OperationSection = OperationSection()
    http: HttpSection = HttpSection()
    notifications: Notifications = Notifications()

    command: ClassVar[str] = "edge-gateway"
    renamed: ClassVar[Sequence[Renamed]] = GATEWAY

    def fingerprint(self) -> str:
        """SHA-256 of everything in it, defaults included, as entries of the audit trail name it."""
        words = json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=False, default=str)
        return hashlib.sha256(words.encode()).hexdigest()

    def mistakes(self) -> Iterable[tuple[Place, str, str]]:
        """What only shows between keys."""
        try:
            ZoneInfo(self.gateway.timezone)
        except (ZoneInfoNotFoundError, ValueError):
            yield ("gateway", "timezone"), "an IANA time zone such as Asia/Shanghai", repr(self.gateway.timezone)
        if not is_loopback(self.http.host):
            yield ("http", "host"), "a loopback address (other computers come through a TLS proxy)", repr(self.http.host)
        for i, proxy in enumerate(self.http.trusted_proxies):
            try:
                exact = str(ip_address(proxy)) == proxy
            except ValueError:
                exact = False
            if not exact:
                yield ("http", "trusted_proxies", i), "an IP address in its usual form, such as 127.0.0.1 or ::1", repr(proxy)
        if (self.broker.username is None) != (self.broker.password_file is None):
            yield ("broker", "username"), "username and password_file together", "one of them"
        names = [target.name for target in self.targets]
        for i, name in enumerate(names):
            if name in names[:i]:
                yield ("targets", i, "name"), "a name used once", repr(name)
        for place, expected, found in self.notifications.mistakes():
            yield ("notifications", *place), expected, found


_PATHS: Final[tuple[tuple[str, ...], ...]] = (
    ("gateway", "data_dir"),
    ("broker", "password_file"),
    ("broker", "tls", "ca_file"),
    ("broker", "tls", "cert_file"),
    ("broker", "tls", "key_file"),
)


def _absolute(data: dict[str, Any], file: Path) -> tuple[dict[str, Any], dict[Place, tuple[str, int]], list[Mistake]]:
    """Relative paths of a file are meant from its own folder."""

    def walk(node: Any, path: tuple[str, ...]) -> Any:
        if isinstance(node, dict):
            return {key: walk(value, path[1:]) if path and key == path[0] else value for key, value in node.items()}
        return str(file.parent.absolute() / node) if not path and isinstance(node, str) else node

    for path in _PATHS:
        data = walk(data, path)
    targets = data.get("targets")
    if isinstance(targets, list):
        data = {
            **data,
            "targets": [{k: walk(v, ()) if k.endswith("_file") else v for k, v in t.items()} if isinstance(t, dict) else t for t in targets],
        }
    notifications = data.get("notifications")
    if isinstance(notifications, dict) and isinstance(receivers := notifications.get("receivers"), list):
        found = [{k: walk(v, ()) if k.endswith("_file") else v for k, v in r.items()} if isinstance(r, dict) else r for r in receivers]
        data = {**data, "notifications": {**notifications, "receivers": found}}
    return data, {}, []


def load_config(path: Path, overrides: Mapping[str, Any] | None = None) -> GatewayConfig:
    """The configuration in a file; ConfigError with every mistake."""
    return load(GatewayConfig, path, overrides=overrides, expand=_absolute)
