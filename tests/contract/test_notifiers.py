"""What every receiver of notifications does, against real peers: a mail server, an HTTP server, an MQTT broker. The suite runs over the register."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

import paho.mqtt.client as mqtt
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.core import NotConnected
from gateway.notify import RECEIVERS, MqttConfig, Receiver, Rejected, SmtpConfig, WebhookConfig
from gateway.notify.webhook import dingtalk_sign, signature
from gateway.notify.words import Writer
from tests.brokers import Broker, free_port, started
from tests.certificates import certificates
from tests.gateway.edge import START
from tests.gateway.notify.made import SHANGHAI, message


class Peer(Protocol):
    """What the suite asks of a peer."""

    def receiver(self, **more: Any) -> Receiver: ...

    def got(self) -> list[tuple[str, str]]:
        """(id, text) of every message it took."""

    def kill(self) -> None: ...


class MailPeer:
    """A mail server that may refuse."""

    def __init__(self, folder: Path) -> None:
        self.mails: list[bytes] = []
        self.rcpts: list[list[str]] = []
        self.answer = "250 OK"
        self.refuse: dict[str, str] = {}
        files = certificates(folder, "127.0.0.1")
        self.ca = files.ca
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(files.cert, files.key)
        (folder / "password.txt").write_text("s3cret\n")
        self.password = folder / "password.txt"
        self._controller = self._make()

    def _make(self) -> Controller:
        controller = Controller(
            self,
            hostname="127.0.0.1",
            port=free_port(),
            tls_context=self._context,
            authenticator=self._authenticate,
            auth_required=True,
            auth_require_tls=True,
        )
        controller.start()
        return controller

    @staticmethod
    def _authenticate(_server: SMTP, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
        return AuthResult(success=isinstance(data, LoginPassword) and data.password == b"s3cret")

    async def handle_RCPT(self, _server: SMTP, _session: Any, envelope: Envelope, address: str, _options: Any) -> str:
        if address in self.refuse:
            return self.refuse[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, _session: Any, envelope: Envelope) -> str:
        if self.answer.startswith("250"):
            assert isinstance(envelope.content, bytes)
            self.mails.append(envelope.content)
            self.rcpts.append(list(envelope.rcpt_tos))
        return self.answer

    def receiver(self, **more: Any) -> Receiver:
        values = {
            "name": "peer",
            "host": "127.0.0.1",
            "port": self._controller.port,
            "ca_file": self.ca,
            "username": "gateway",
            "password_file": self.password,
            "sender": "gw@plant.example",
            "to": ["a@plant.example", "b@plant.example"],
            "timeout_s": 5,
            **more,
        }
        config = SmtpConfig.model_validate(values)
        return config.make(Writer(config, SHANGHAI), "gw1")

    def got(self) -> list[tuple[str, str]]:
        found = [message_from_bytes(m, policy=policy.default) for m in self.mails]
        return [(str(m["X-Pharmedge-Key"]), m.get_content()) for m in found]  # type: ignore[attr-defined]

    def kill(self) -> None:
        if self._controller.server is not None:
            self._controller.stop()


class HttpPeer:
    """An HTTP server with an answer of its own."""

    def __init__(self, folder: Path) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.status, self.said, self.slow_s = 200, b'{"errcode": 0}', 0.0
        self.elsewhere = ""
        (folder / "secret.txt").write_text("s3cret\n")
        self.secret, self.folder = folder / "secret.txt", folder
        peer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                ended.wait(peer.slow_s)
                if peer.status == 200:
                    peer.requests.append((self.path, dict(self.headers), body))
                self.send_response(peer.status)
                if peer.elsewhere:
                    self.send_header("Location", peer.elsewhere)
                self.send_header("Content-Length", str(len(peer.said)))
                self.end_headers()
                self.wfile.write(peer.said)

            def log_message(self, *_: object) -> None:
                return

        ended = self._ended = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def receiver(self, **more: Any) -> Receiver:
        values = {"name": "peer", "url": f"http://127.0.0.1:{self.port}/hook?key=K", "secret_file": self.secret, "timeout_s": 5, **more}
        config = WebhookConfig.model_validate(values)
        return config.make(Writer(config, SHANGHAI), "gw1")

    def got(self) -> list[tuple[str, str]]:
        return [(headers["Idempotency-Key"], json.loads(body)["text"]) for _, headers, body in self.requests]

    def kill(self) -> None:
        self._ended.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class MqttPeer:
    """A broker, and a client that hears what comes by."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.heard: list[bytes] = []
        ready = threading.Event()
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, "hearing")
        self.client.on_subscribe = lambda *_: ready.set()
        self.client.on_message = lambda _c, _u, m: self.heard.append(bytes(m.payload))
        self.client.connect("127.0.0.1", broker.port)
        self.client.loop_start()
        self.client.subscribe("plant/notifications", qos=1)
        assert ready.wait(5)

    def receiver(self, **more: Any) -> Receiver:
        config = MqttConfig.model_validate({"name": "peer", "port": self.broker.port, "topic": "plant/notifications", "timeout_s": 5, **more})
        return config.make(Writer(config, SHANGHAI), "gw1")

    def got(self) -> list[tuple[str, str]]:
        time.sleep(0.2)
        return [(m["id"], m["text"]) for m in map(json.loads, self.heard)]

    def kill(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()
        self.broker.kill()


@pytest.fixture
def mail(tmp_path: Path) -> Iterator[MailPeer]:
    peer = MailPeer(tmp_path)
    yield peer
    peer.kill()


@pytest.fixture
def http(tmp_path: Path) -> Iterator[HttpPeer]:
    peer = HttpPeer(tmp_path)
    yield peer
    if peer._thread.is_alive():
        peer.kill()


@pytest.fixture(params=RECEIVERS, ids=lambda c: c.__name__)
def peer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Peer]:
    if request.param is SmtpConfig:
        yield request.getfixturevalue("mail")
    elif request.param is WebhookConfig:
        yield request.getfixturevalue("http")
    else:
        assert request.param is MqttConfig, "a new receiver needs a peer here"
        with started("nats", tmp_path / "broker") as broker:
            made = MqttPeer(broker)
            yield made
            made.kill()


# --- all -------------------------------------------------------------------------------------------------------------------------


def test_a_message_arrives_with_its_id_however_often_it_is_sent(peer: Peer) -> None:
    receiver = peer.receiver(language="zh")
    assert receiver.send(message(), START) == ()
    assert receiver.send(message(), START + 10**9) == ()
    found = peer.got()
    assert [id_ for id_, _ in found] == ["0123456789abcdef0123456789abcdef"] * 2
    assert found[0][1].startswith("1 条报警需要处理（优先级 2：1 条）")
    assert "press1/main_force.high" in found[0][1]


def test_a_peer_that_is_away_is_not_connected(peer: Peer) -> None:
    receiver = peer.receiver()
    peer.kill()
    with pytest.raises(NotConnected, match="peer"):
        receiver.send(message(), START)


def test_a_peer_that_does_not_answer_is_not_connected_in_time(peer: Peer) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        where = {"url": f"http://127.0.0.1:{port}/"} if isinstance(peer, HttpPeer) else {"port": port}
        begun = time.monotonic()
        with pytest.raises(NotConnected):
            peer.receiver(timeout_s=0.3, **where).send(message(), START)
        assert time.monotonic() - begun < 5


def test_a_missing_secret_is_not_connected_and_mended_without_a_restart(peer: Peer, tmp_path: Path) -> None:
    file = tmp_path / "later.txt"
    keys = {"secret_file": file} if isinstance(peer, HttpPeer) else {"username": "gateway", "password_file": file}
    receiver = peer.receiver(**keys)
    with pytest.raises(NotConnected, match=r"later\.txt"):
        receiver.send(message(), START)
    file.write_text("s3cret\n")
    assert receiver.send(message(), START) == ()


# --- e-mail ----------------------------------------------------------------------------------------------------------------------


def test_a_mail_has_its_headers(mail: MailPeer) -> None:
    mail.receiver(label="产线 3\r\nBcc: x@y.z").send(message(), START)
    found = message_from_bytes(mail.mails[0], policy=policy.default)
    assert found["Message-ID"] == "<0123456789abcdef0123456789abcdef.gw1@plant.example>"
    assert found["Subject"] == "产线 3 Bcc: x@y.z 1 alarm needs attention (priority 2: 1)"
    assert (found["From"], found["To"], found["Bcc"]) == ("gw@plant.example", "a@plant.example, b@plant.example", None)
    assert (found["Auto-Submitted"], found["Date"]) == ("auto-generated", "Thu, 01 Jan 2026 00:00:00 +0000")
    assert mail.rcpts == [["a@plant.example", "b@plant.example"]]


@pytest.mark.parametrize(("answer", "error"), [("451 later", NotConnected), ("554 never", Rejected), ("535 who are you", NotConnected)])
def test_a_mail_server_says_whether_to_come_again(mail: MailPeer, answer: str, error: type[Exception]) -> None:
    mail.answer = answer
    with pytest.raises(error, match=answer):
        mail.receiver().send(message(), START)


def test_only_addresses_that_did_not_take_it_are_written_to_again(mail: MailPeer) -> None:
    mail.refuse = {"b@plant.example": "450 grey"}
    assert mail.receiver().send(message(), START) == ("b@plant.example",)
    mail.refuse = {}
    again = message().__class__(**{**{f: getattr(message(), f) for f in message().__struct_fields__}, "left": ("b@plant.example",)})
    assert mail.receiver().send(again, START) == ()
    assert mail.rcpts == [["a@plant.example"], ["b@plant.example"]]


def test_an_address_that_is_refused_for_good_is_named_after_the_others_have_it(mail: MailPeer) -> None:
    mail.refuse = {"b@plant.example": "550 unknown"}
    with pytest.raises(Rejected, match="1 of 2 addresses are refused: 550 unknown"):
        mail.receiver().send(message(), START)
    assert mail.rcpts == [["a@plant.example"]]
    mail.refuse["a@plant.example"] = "550 unknown"
    with pytest.raises(Rejected, match="every address"):
        mail.receiver().send(message(), START)


def test_a_wrong_password_is_kept_for_when_it_is_right(mail: MailPeer) -> None:
    mail.password.write_text("wrong\n")
    with pytest.raises(NotConnected):
        mail.receiver(timeout_s=1).send(message(), START)
    mail.password.write_text("s3cret\n")
    assert mail.receiver().send(message(), START) == ()


def test_a_certificate_that_nobody_vouches_for_is_refused(mail: MailPeer) -> None:
    with pytest.raises(NotConnected, match=r"(?i)certificate"):
        mail.receiver(ca_file=None).send(message(), START)
    assert mail.mails == []


# --- webhooks --------------------------------------------------------------------------------------------------------------------


def test_generic_json_is_signed_with_its_time(http: HttpPeer) -> None:
    http.receiver(content="full").send(message(3), START)
    ((path, headers, body),) = http.requests
    assert path == "/hook?key=K"
    assert headers["X-Pharmedge-Timestamp"] == "1767225600"
    assert headers["X-Pharmedge-Signature"] == signature("s3cret", "1767225600", body)
    document = json.loads(body)
    assert (document["gateway"], document["total"], document["priorities"], len(document["alarms"])) == ("gw1", 3, {"2": 3}, 3)
    assert (document["alarms"][0]["value"], document["alarms"][0]["occurrence"]) == (16.5, f"press-edge-1~press1/main_force.high~{START}")


@pytest.mark.parametrize("style", ["wecom", "dingtalk"])
def test_robots_get_their_shape_and_nothing_that_tells(http: HttpPeer, style: str) -> None:
    http.receiver(style=style, language="zh").send(message(40), START)
    ((path, _, body),) = http.requests
    document = json.loads(body)
    assert (set(document), document["msgtype"]) == ({"msgtype", "text"}, "text")
    text = document["text"]["content"]
    assert "40 条报警需要处理" in text
    assert not [word for word in ("press1", "main_force", "demo", "press-edge", "16.5", "kN", "B-2026-0042", "停机") if word in body.decode()]
    asked = {key: value[0] for key, value in parse_qs(urlsplit(path).query).items()}
    if style == "wecom":
        assert asked == {"key": "K"}
        http.receiver(style=style, content="full").send(message(40), START)
        assert len(json.loads(http.requests[1][2])["text"]["content"].encode()) <= 2048
    else:
        assert asked["timestamp"] == "1767225600000"
        assert path.endswith("&sign=" + dingtalk_sign("s3cret", 1767225600000))


@pytest.mark.parametrize("said", [b'{"errcode": 45009, "errmsg": "api freq out of limit"}', b"<html>", b"[]"])
def test_a_robot_that_did_not_take_it_is_asked_again(http: HttpPeer, said: bytes) -> None:
    http.said = said
    with pytest.raises(NotConnected, match="errcode"):
        http.receiver(style="wecom").send(message(), START)


@pytest.mark.parametrize(
    ("status", "error"), [(400, Rejected), (413, Rejected), (401, NotConnected), (404, NotConnected), (429, NotConnected), (503, NotConnected)]
)
def test_an_http_answer_says_whether_to_come_again(http: HttpPeer, status: int, error: type[Exception]) -> None:
    http.status = status
    with pytest.raises(error, match=str(status)):
        http.receiver().send(message(), START)


def test_a_slow_answer_is_no_answer(http: HttpPeer) -> None:
    http.slow_s = 3
    with pytest.raises(NotConnected):
        http.receiver(timeout_s=0.2).send(message(), START)


def test_redirections_are_not_followed(http: HttpPeer) -> None:
    http.status, http.elsewhere = 307, f"http://127.0.0.1:{http.port}/elsewhere"
    with pytest.raises(NotConnected, match="307"):
        http.receiver().send(message(), START)
    assert http.requests == []


def test_the_key_in_an_address_is_in_no_error(http: HttpPeer) -> None:
    file = http.folder / "url.txt"
    file.write_text(f"http://127.0.0.1:{http.port}/send?key=VERYSECRET\n")
    receiver: Callable[..., Receiver] = http.receiver
    receiver(url="", url_file=file, style="wecom", secret_file=None).send(message(), START)
    assert http.requests[0][0] == "/send?key=VERYSECRET"
    for status in (400, 503):
        http.status = status
        with pytest.raises((NotConnected, Rejected)) as raised:
            receiver(url="", url_file=file, style="wecom").send(message(), START)
        assert "VERYSECRET" not in str(raised.value)
    http.kill()
    with pytest.raises(NotConnected) as away:
        receiver(url="", url_file=file, style="wecom").send(message(), START)
    assert "VERYSECRET" not in str(away.value)
    file.write_text("ftp://x/VERYSECRET\n")
    with pytest.raises(NotConnected) as odd:
        receiver(url="", url_file=file, style="wecom").send(message(), START)
    assert "VERYSECRET" not in str(odd.value)
