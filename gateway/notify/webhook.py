"""Receiver webhook: a POST of JSON over HTTP, signed; with the shapes that the robots of WeCom (企业微信) and DingTalk (钉钉) take.

generic   header `X-Pharmedge-Signature: sha256=HEX` over `TIMESTAMP.BODY` (HMAC-SHA256 with the secret), the time of sending in seconds UTC in
          `X-Pharmedge-Timestamp`, and the id of the message in `Idempotency-Key`
wecom     `{"msgtype": "text", "text": {"content": ...}}`, at most 2048 bytes of content; the key stands in the address
dingtalk  the same, at most 20000 bytes; `timestamp` (ms) and `sign` are added to the address: base64 of HMAC-SHA256 with the secret over
          `TIMESTAMP\\nSECRET`

Both robots answer 200 with `errcode` 0 when they took it. Redirections are not followed: the signed body goes to the address that was configured.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import quote_plus, urlsplit

import msgspec
from pydantic import Field

from edge_agent.core import ConfigError, NotConnected
from edge_agent.core.settings import secret
from gateway.notify.receiver import Content, Message, ReceiverConfig, Rejected
from gateway.notify.words import Writer, cut

NEVER: Final = frozenset({400, 413, 415, 422})
"""Answers that say that this very body will not be taken."""
ANSWER_BYTES: Final = 65536
WECOM_BYTES: Final = 2048
DINGTALK_BYTES: Final = 20_000


class WebhookConfig(ReceiverConfig):
    """Where to post, and in which shape."""

    kind: Literal["webhook"] = "webhook"
    style: Literal["generic", "wecom", "dingtalk"] = "generic"
    """generic JSON, or what the robots of WeCom and DingTalk take."""
    url: str = Field("", pattern="^(https?://.+)?$")
    """Address; a robot's address holds its key and belongs into `url_file`."""
    url_file: Path | None = None
    """File with the address on its first line, instead of `url`."""
    secret_file: Path | None = None
    """File with the secret of the signature; absent means not signed."""
    ca_file: Path | None = None
    """Authority that signed the server's certificate; absent means those of the system."""
    proxy: str = Field("", pattern="^(https?://.+)?$")
    """HTTP proxy on the way; the environment is not asked."""

    @property
    def shown(self) -> Content:
        """How much a message tells; a robot's messages leave the plant."""
        return self.content or ("names" if self.style == "generic" else "minimal")

    def make(self, writer: Writer, gateway: str) -> WebhookReceiver:
        """The receiver of this configuration."""
        return WebhookReceiver(self, writer, gateway)


def signature(key: str, timestamp: str, body: bytes) -> str:
    """What the generic style puts into X-Pharmedge-Signature.

    >>> signature("s3cret", "1767225600", b"{}")
    'sha256=29ee05578fef21788e25d00ee3270df92a9e454a1fb82bc2c22d2269c729892b'
    """
    return "sha256=" + hmac.new(key.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def dingtalk_sign(key: str, timestamp_ms: int) -> str:
    """The `sign` of DingTalk's custom robots, quoted for an address.

    >>> dingtalk_sign("this is secret", 1577262236757)
    'hmPWwU%2B7lVdm3ZZz0r9tSfx0L4Q26jWOZr9%2BGs6EZQM%3D'
    """
    digest = hmac.new(key.encode(), f"{timestamp_ms}\n{key}".encode(), hashlib.sha256).digest()
    return quote_plus(base64.b64encode(digest))


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follow none; the answer is then an error of its own number."""


class WebhookReceiver:
    """Posts each message on a connection of its own."""

    def __init__(self, config: WebhookConfig, writer: Writer, gateway: str) -> None:
        self._config, self._writer, self._gateway = config, writer, gateway

    def send(self, message: Message, now_ns: int) -> tuple[str, ...]:
        """See Receiver."""
        config = self._config
        try:
            # `secret` is called for each message, so that a changed file counts without a restart.
            url = config.url or secret(config.url_file) or ""
            key = secret(config.secret_file)
        except ConfigError as error:
            raise NotConnected(f"{config.name}: {error}") from error
        if urlsplit(url).scheme not in ("http", "https"):
            raise NotConnected(f"{config.name}: expected an http or https address in {config.url_file}, found something else")
        request = self._request(message, url, key, now_ns)
        try:
            with self._opener().open(request, timeout=config.timeout_s) as answer:
                said = answer.read(ANSWER_BYTES)
        except urllib.error.HTTPError as error:
            with error:
                why = f"{config.name}: {error.code} {error.reason}"
            if error.code in NEVER:
                raise Rejected(why) from error
            raise NotConnected(why) from error
        except (OSError, http.client.HTTPException) as error:
            # The address may hold a key: the reason is told without it.
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            raise NotConnected(f"{config.name}: {urlsplit(url).hostname}: {type(error).__name__}: {reason}") from error
        if config.style != "generic":
            self._check(said)
        return ()

    def _request(self, message: Message, url: str, key: str | None, now_ns: int) -> urllib.request.Request:
        headers = {"Content-Type": "application/json; charset=utf-8", "User-Agent": "pharmedge-gateway"}
        style = self._config.style
        if style == "generic":
            document = self._writer.document(message) | {"gateway": self._gateway}
        else:
            content = cut(self._writer.text(message), WECOM_BYTES if style == "wecom" else DINGTALK_BYTES)
            document = {"msgtype": "text", "text": {"content": content}}
        body = msgspec.json.encode(document)
        if style == "generic":
            timestamp = str(now_ns // 1_000_000_000)
            headers |= {"Idempotency-Key": message.id, "X-Pharmedge-Timestamp": timestamp}
            if key is not None:
                headers["X-Pharmedge-Signature"] = signature(key, timestamp, body)
        elif style == "dingtalk" and key is not None:
            timestamp_ms = now_ns // 1_000_000
            url += f"{'&' if urlsplit(url).query else '?'}timestamp={timestamp_ms}&sign={dingtalk_sign(key, timestamp_ms)}"
        return urllib.request.Request(url, body, headers, method="POST")  # noqa: S310 - http or https, checked above

    def _opener(self) -> urllib.request.OpenerDirector:
        config = self._config
        context = ssl.create_default_context(cafile=str(config.ca_file) if config.ca_file else None)
        proxies = {"http": config.proxy, "https": config.proxy} if config.proxy else {}
        return urllib.request.build_opener(urllib.request.ProxyHandler(proxies), urllib.request.HTTPSHandler(context=context), _NoRedirect())

    def _check(self, said: bytes) -> None:
        """A robot says in its answer whether it took the message; a wrong key or too many messages is mended by time or by a person."""
        try:
            answer = msgspec.json.decode(said)
        except msgspec.DecodeError as error:
            raise NotConnected(f"{self._config.name}: expected JSON with errcode, found {said[:100]!r}") from error
        if not isinstance(answer, dict) or answer.get("errcode") != 0:
            found = answer.get("errcode") if isinstance(answer, dict) else None
            text = str(answer.get("errmsg", ""))[:100] if isinstance(answer, dict) else ""
            raise NotConnected(f"{self._config.name}: expected errcode 0, found {found} {text}".rstrip())
