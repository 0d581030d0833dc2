"""One connection to an OPC UA server: channel, session, requests; publishing is in opcua_subscription.py.

asyncua's Client does the channel, the session and the cryptography. What is not used of it: its supervisor, its publish loop and its
subscriptions, which decode every value to an object and acknowledge before anybody has kept it. The one private thing taken from it is
`UASocketProtocol._send_request`, a future of a response's raw bytes; tests/sources/test_opcua_contract.py holds it to that.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from edge_agent.core import ConfigError, NotConnected
from edge_agent.core.settings import secret
from edge_agent.sources.opcua_security import check_trusted, chosen_endpoint, first_certificate, own_certificate, policy_of, write_private

if TYPE_CHECKING:
    from edge_agent.sources.opcua_settings import OpcUaServer

KEPT_FILE: Final = "session"
NAMESPACE_ARRAY: Final = 2255
SILENT_AFTER_TRANSFER: Final = frozenset({"urn:freeopcua.github.io:python:server"})
"""ProductUri of servers that grant TransferSubscriptions and then go on answering the old session (asyncua 2.1.0)."""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What is needed to take up a session after a crash of ours (OPC 10000-4, 6.7); useless to others where the channel is signed.

    peer          whom it belongs to: server, policy, user; nobody else tries it
    token, nonce  authentication token and last server nonce, hex
    plan          fingerprint of the monitored items of `subscription`
    failed        ids of tags that the server refused
    publishing_ms, keepalive_count, queue   what the server granted; queue by tag id
    """

    peer: str = ""
    token: str = ""
    nonce: str = ""
    subscription: int = 0
    plan: str = ""
    failed: tuple[int, ...] = ()
    publishing_ms: float = 0.0
    keepalive_count: int = 0
    queue: dict[int, int] = {}


def read_kept(folder: Path) -> Kept:
    """What the last connection left; nothing when there is no such file or it is damaged."""
    try:
        return msgspec.json.decode((folder / KEPT_FILE).read_bytes(), type=Kept)
    except (OSError, msgspec.DecodeError):
        return Kept()


def write_kept(folder: Path, kept: Kept) -> None:
    """Keep it for the next connection."""
    write_private(folder / KEPT_FILE, msgspec.json.encode(kept))


@contextlib.contextmanager
def reaching(url: str, doing: str) -> Iterator[None]:
    """Whatever asyncua raises while reaching a server becomes NotConnected with the address and what was being done."""
    from asyncua import ua
    from asyncua.common.utils import ServiceError

    try:
        yield
    except AssertionError as error:
        # asyncua takes a fault in place of a secure channel for a mistake of its own.
        raise NotConnected(f"{url}: {doing}: the server refused; it may not trust our certificate") from error
    except (OSError, TimeoutError, ua.UaError, ServiceError, struct.error, ValueError) as error:
        text = str(error) or type(error).__name__
        raise NotConnected(f"{url}: {doing}: {text}") from error


class Session:
    """A channel and an activated session on it.

    folder        where the session is kept for the next connection
    certificates  where our certificate and refused ones are; the same folder unless said otherwise
    password      in place of the one in the configuration's file
    """

    def __init__(
        self, config: OpcUaServer, folder: Path, kept: Kept, *, certificates: Path | None = None, password: str | None = None
    ) -> None:
        from asyncua import Client

        self._config, self._folder = config, folder
        self._certificates, self._password = certificates or folder, password
        self._client: Any = Client(config.url, timeout=config.timeout_s)
        self._client.name = self._client.description = f"Pharmedge {config.name}"
        self._client.product_uri = "urn:pharmedge:edge-agent"
        self._client.session_timeout = round(config.session_timeout_s * 1000)
        self.kept = kept
        self.reactivated = False
        self.product_uri = ""

    @property
    def _peer(self) -> str:
        c = self._config
        return f"{c.url} {c.security.policy} {c.security.mode} {c.username or ''}"

    @property
    def transfer_works(self) -> bool:
        """Whether a transferred subscription can be hoped to publish to us."""
        return self.product_uri not in SILENT_AFTER_TRANSFER

    async def open(self) -> None:
        """Open channel and session: the kept session if the server still has it, else a new one. Raises NotConnected."""
        config, client, url = self._config, self._client, self._config.url
        endpoint = None
        # Making a key takes a while and files are fsynced: neither may hold the event loop.
        own = await asyncio.to_thread(own_certificate, self._certificates, config.name) if config.security.policy != "none" else None
        if own is not None:
            client.application_uri = own.uri
            with reaching(url, "asking for its endpoints"):
                endpoints = await client.connect_and_get_server_endpoints()
            endpoint = chosen_endpoint(endpoints, config.security)
            check_trusted(endpoint.ServerCertificate or b"", config.security.trusted, endpoint.Server.ApplicationUri, self._certificates)
            from asyncua.crypto.uacrypto import CertProperties

            policy, mode = policy_of(config.security)
            with reaching(url, "preparing a secure channel"):
                key = CertProperties(own.key, extension="pem")
                await client.set_security(policy, own.certificate, key, None, first_certificate(endpoint.ServerCertificate), mode)
        else:
            client.application_uri = f"urn:pharmedge:{config.name}"
        with reaching(url, "connecting"):
            await client.connect_socket()
            await client.send_hello()
            await client.open_secure_channel()
            endpoint = chosen_endpoint(await client.get_endpoints(), config.security)
        self.product_uri = endpoint.Server.ProductUri or ""
        if config.security.policy == "none" and config.security.trusted:
            check_trusted(endpoint.ServerCertificate or b"", config.security.trusted, endpoint.Server.ApplicationUri, self._certificates)
        try:
            password = self._password if self._password is not None else secret(config.password_file)
        except ConfigError as error:
            raise NotConnected(str(error)) from error
        self.reactivated = await self._reactivate(endpoint, password)
        if not self.reactivated:
            with reaching(url, "creating a session"):
                await client.create_session()
                await self._activate(password)
        await self.keep(msgspec.structs.replace(self.kept if self.reactivated else _without_token(self.kept), **self._token()))

    def _token(self) -> dict[str, Any]:
        from asyncua.ua.ua_binary import nodeid_to_binary

        session = self._client.uaclient.session
        return {"peer": self._peer, "token": nodeid_to_binary(session.authentication_token).hex(), "nonce": (self._client._server_nonce or b"").hex()}

    async def keep(self, kept: Kept) -> None:
        """Remember for the next connection."""
        self.kept = kept
        await asyncio.to_thread(write_kept, self._folder, kept)

    async def _activate(self, password: str | None) -> None:
        from asyncua import ua

        client, config = self._client, self._config
        if config.username is not None:
            policy = client.server_policy(ua.UserTokenType.UserName)
            open_text = not policy.SecurityPolicyUri or policy.SecurityPolicyUri.endswith("#None")
            if password and open_text and config.security.mode != "sign_and_encrypt" and not config.security.plain_password:
                raise NotConnected(f"{config.url}: the server takes passwords in plain text only; secure the channel, or set security.plain_password")
        await client.activate_session(username=config.username, password=password)

    async def _reactivate(self, endpoint: Any, password: str | None) -> bool:
        """Take up the kept session on this new channel; False when there is none or the server has forgotten it."""
        from asyncua import ua
        from asyncua.common.utils import Buffer
        from asyncua.ua.ua_binary import nodeid_from_binary

        kept, client = self.kept, self._client
        if not kept.token or kept.peer != self._peer:
            return False
        session = client.uaclient.session
        try:
            session.restore_authentication_token(nodeid_from_binary(Buffer(bytes.fromhex(kept.token))))
            client._server_nonce = bytes.fromhex(kept.nonce) or None
        except (ValueError, TypeError, ua.UaError, struct.error):
            session.reset_authentication_token()
            return False
        client._policy_ids = endpoint.UserIdentityTokens
        if not client.security_policy.peer_certificate and endpoint.ServerCertificate:
            client.security_policy.peer_certificate = first_certificate(endpoint.ServerCertificate)
        try:
            with reaching(self._config.url, "taking up the last session"):
                await self._activate(password)
        except NotConnected as error:
            # A lost connection would fail again below; a refusal of the server means that the session is gone.
            if not isinstance(error.__cause__, ua.UaStatusCodeError):
                await self.keep(_without_token(kept))
                raise
            session.reset_authentication_token()
            client._server_nonce = None
            if self._config.security.policy == "none":
                client.security_policy.peer_certificate = None
            return False
        return True

    def send(self, request: Any) -> asyncio.Future[Any]:
        """A future of the raw bytes of the response, without a timeout; NotConnected when the connection is gone."""
        protocol = self._client.uaclient.protocol
        if protocol is None or protocol.transport is None:
            raise NotConnected(f"{self._config.url}: the connection is closed")
        with reaching(self._config.url, "sending"):
            future: asyncio.Future[Any] = protocol._send_request(request, 0)
        return future

    async def call(self, request: Any) -> bytes:
        """The raw bytes of a response other than a ServiceFault, within the time-out; UaStatusCodeError for a fault."""
        buffer = await self._client.uaclient.session._send_request(request)
        return bytes(buffer)

    @property
    def services(self) -> Any:
        """asyncua's service calls of this session."""
        return self._client.uaclient.session

    async def namespaces(self) -> list[str]:
        """The server's namespace array as it is now."""
        from asyncua import ua

        with reaching(self._config.url, "reading its namespaces"):
            (value,) = await self.services.read_attributes([ua.NodeId(NAMESPACE_ARRAY)], ua.AttributeIds.Value)
            value.StatusCode.check()
        return list(value.Value.Value or [])

    async def renew(self) -> None:
        """Renew the channel's security token; due at three quarters of `channel_lifetime_s` (OPC 10000-4, 5.5.2)."""
        with reaching(self._config.url, "renewing the secure channel"):
            await self._client.open_secure_channel(renew=True)
            self._client.uaclient.revolve_security_token()

    @property
    def channel_lifetime_s(self) -> float:
        """Lifetime of the channel's security token as the server granted it."""
        return float(self._client.secure_channel_timeout) / 1000.0

    async def close(self) -> None:
        """Close the session, leaving its subscription to its lifetime, then channel and socket; whatever is already gone is passed over."""
        from asyncua import ua

        client = self._client
        protocol = client.uaclient.protocol
        if protocol is not None and protocol.transport is not None:
            with contextlib.suppress(OSError, TimeoutError, ua.UaError, struct.error):
                await client.uaclient.close_session(delete_subscriptions=False)
                await self.keep(_without_token(self.kept))
            with contextlib.suppress(OSError, TimeoutError, ua.UaError):
                await client.uaclient.close_secure_channel()
        with contextlib.suppress(OSError):
            client.disconnect_socket()


def _without_token(kept: Kept) -> Kept:
    return msgspec.structs.replace(kept, token="", nonce="")


def read_resume(resume: bytes | None) -> Mapping[str, Any]:
    """The connector's bookkeeping out of the journal; empty when it is none of ours."""
    try:
        found = json.loads(resume) if resume else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
