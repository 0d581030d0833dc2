"""Where an MQTT broker is, and how both sides show who they are."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Annotated

from pydantic import Field

from edge_agent.core.nodes import Node, nodes
from edge_agent.core.settings import Section, credential


class _TlsSocket(ssl.SSLSocket):
    """Closes itself when the other side is not who it should be; paho would leave it open."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


class TlsConfig(Section):
    """Encryption towards a broker; TLS 1.2 or later, the server's name is always checked."""

    ca_file: Path | None = None
    """Authority that signed the broker's certificate; the system's authorities when absent."""
    cert_file: Path | None = None
    """Our certificate, when the broker asks for one."""
    key_file: Path | None = None

    def context(self) -> ssl.SSLContext:
        """What these files say; OSError or SSLError when one cannot be used."""
        context = ssl.create_default_context(cafile=None if self.ca_file is None else str(self.ca_file))
        context.sslsocket_class = _TlsSocket
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.cert_file is not None:
            context.load_cert_chain(self.cert_file, None if self.key_file is None else credential(self.key_file))
        return context


class BrokerConfig(Section):
    """Where a broker is and how we show who we are."""

    host: Annotated[str, Field(min_length=1)]
    port: Annotated[int, Field(ge=1, le=65535)] = 1883
    others: tuple[Node, ...] = ()
    """Other nodes of the same cluster, HOST:PORT each: tried in this order where the first does not let us in."""
    username: str | None = None
    password_file: Path | None = None
    tls: TlsConfig | None = None
    keepalive_s: Annotated[int, Field(ge=5, le=3600)] = 30
    """Seconds of silence after which either side asks whether the other is still there."""

    @property
    def address(self) -> str:
        """HOST:PORT as messages name it."""
        return f"{self.host}:{self.port}"

    @property
    def nodes(self) -> tuple[tuple[str, int], ...]:
        """Host and port of every node, the first first."""
        return nodes(self.host, self.port, self.others)
