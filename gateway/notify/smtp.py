"""Receiver smtp: one e-mail for each message. Encryption and authentication are never left out because a server does not offer them."""

from __future__ import annotations

import smtplib
import ssl
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field

from edge_agent.core import ConfigError, NotConnected
from edge_agent.core.settings import secret
from gateway.notify.receiver import Message, ReceiverConfig, Rejected
from gateway.notify.words import Writer

Address = Annotated[str, Field(pattern=r"^[^@\s<>,;]+@[^@\s<>,;]+$")]
PERMANENT: Final = 500
AUTHENTICATION: Final = frozenset({530, 534, 535, 538})
"""Answers that a change of password or server mends, so that the message is kept although they are permanent by number (RFC 4954)."""


class SmtpConfig(ReceiverConfig):
    """A mail server and who gets the mail."""

    kind: Literal["smtp"] = "smtp"
    host: str = Field(min_length=1)
    port: int = Field(587, ge=1, le=65535)
    security: Literal["starttls", "tls", "none"] = "starttls"
    """starttls (usually port 587), tls from the first byte (usually 465), or none."""
    ca_file: Path | None = None
    """Authority that signed the server's certificate; absent means those of the system."""
    username: str | None = None
    password_file: Path | None = None
    sender: Address
    """Address in From."""
    to: tuple[Address, ...] = Field(min_length=1)
    """Addresses that get the mail."""

    def make(self, writer: Writer, gateway: str) -> SmtpReceiver:
        """The receiver of this configuration."""
        return SmtpReceiver(self, writer, gateway)


class SmtpReceiver:
    """Connects for each message; see RFC 5321."""

    def __init__(self, config: SmtpConfig, writer: Writer, gateway: str) -> None:
        self._config, self._writer, self._gateway = config, writer, gateway

    def mail(self, message: Message, now_ns: int) -> EmailMessage:
        """The mail; its Message-ID is the same at every attempt."""
        config, mail = self._config, EmailMessage()
        mail["From"], mail["To"] = config.sender, ", ".join(config.to)
        mail["Subject"] = self._writer.subject(message)
        mail["Date"] = format_datetime(datetime.fromtimestamp(now_ns // 1_000_000_000, UTC))
        mail["Message-ID"] = f"<{message.id}.{self._gateway}@{config.sender.rpartition('@')[2]}>"
        mail["Auto-Submitted"] = "auto-generated"
        mail["X-Pharmedge-Key"] = message.id
        mail.set_content(self._writer.text(message))
        return mail

    def send(self, message: Message, now_ns: int) -> tuple[str, ...]:
        """See Receiver; addresses that are refused for now are returned, and the others are not written to again."""
        to = message.left or self._config.to
        try:
            with self._connected() as server:
                refused = server.send_message(self.mail(message, now_ns), self._config.sender, list(to))
        except smtplib.SMTPRecipientsRefused as error:
            refused = error.recipients
            if not _for_now(refused):
                raise Rejected(f"{self._config.name}: every address is refused: {_said(next(iter(refused.values())))}") from error
        except smtplib.SMTPResponseException as error:
            why = f"{self._config.name}: {_said((error.smtp_code, error.smtp_error))}"
            permanent = isinstance(error, smtplib.SMTPDataError | smtplib.SMTPSenderRefused) and error.smtp_code >= PERMANENT
            if permanent and error.smtp_code not in AUTHENTICATION:
                raise Rejected(why) from error
            raise NotConnected(why) from error
        except (smtplib.SMTPException, ConfigError, OSError) as error:
            raise NotConnected(f"{self._config.name}: {error}") from error
        if refused and not _for_now(refused):
            # The others have it; what remains is to say that somebody will never get it.
            raise Rejected(f"{self._config.name}: {len(refused)} of {len(to)} addresses are refused: {_said(next(iter(refused.values())))}")
        return tuple(refused)

    def _connected(self) -> smtplib.SMTP:
        config = self._config
        context = None if config.security == "none" else ssl.create_default_context(cafile=str(config.ca_file) if config.ca_file else None)
        if config.security == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(config.host, config.port, timeout=config.timeout_s, context=context)
        else:
            server = smtplib.SMTP(config.host, config.port, timeout=config.timeout_s)
        try:
            if config.security == "starttls":
                server.starttls(context=context)
            if config.username is not None:
                server.login(config.username, secret(config.password_file) or "")
        except BaseException:
            server.close()
            raise
        return server


def _for_now(refused: dict[str, tuple[int, bytes]]) -> bool:
    """Whether any address may be taken later; one that never will be stays with it, so that it is named in the end."""
    return any(code < PERMANENT for code, _ in refused.values())


def _said(answer: tuple[int, bytes | str]) -> str:
    code, text = answer
    return f"{code} {(text.decode(errors='replace') if isinstance(text, bytes) else text)[:200]}"
