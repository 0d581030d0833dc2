"""The templates for the site's broker: a real Mosquitto with them lets everyone say and hear what is theirs, and nothing else."""

from __future__ import annotations

import asyncio
import getpass
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_agent.broker import BrokerConfig, Link, TlsConfig
from edge_agent.core import NotConnected
from tests.brokers import Broker, executable

FILES = Path(__file__).parents[2] / "configs" / "broker"


LEAVES = ("committed", "actions", "anchors", "manifest", "approvals", "people")


class Secured(Broker):
    """Mosquitto with the delivered configuration, at another port and in another folder."""

    def _mosquitto(self) -> str:
        lines = (FILES / "mosquitto.conf").read_text().replace("/etc/mosquitto/pharmedge", str(self._folder / "pki"))
        lines = lines.replace("/var/lib/mosquitto/", f"{self._folder}/")
        assert lines.count("listener 8883\n") == 1
        return lines.replace("listener 8883\n", f"listener {self.port} 127.0.0.1\n") + f"user {getpass.getuser()}\n"


@pytest.fixture(scope="module")
def broker(tmp_path_factory) -> Iterator[Secured]:
    if executable("mosquitto") is None or shutil.which("openssl") is None:
        pytest.skip("needs mosquitto and openssl")
    folder = tmp_path_factory.mktemp("secured")
    subprocess.run(["sh", FILES / "certificates.sh", folder / "pki", "127.0.0.1", "e1", "e2", "gw1"], check=True, timeout=60)
    (folder / "pki" / "acl").write_text((FILES / "acl").read_text().replace("SITE", "demo"))
    (folder / "pki" / "acl").chmod(0o600)
    broker = Secured("mosquitto", folder)
    broker.start()
    yield broker
    broker.kill()


def config(broker: Secured, name: str | None) -> BrokerConfig:
    pki = broker._folder / "pki"
    own = {"cert_file": pki / f"{name}.pem", "key_file": pki / f"{name}.key"} if name else {}
    return BrokerConfig(host="127.0.0.1", port=broker.port, tls=TlsConfig(ca_file=pki / "ca.pem", **own))


async def test_an_edge_speaks_for_itself_alone_and_a_gateway_under_its_own_name_alone(broker):
    heard: dict[str, list[str]] = {"e1": [], "e2": [], "gw1": []}
    done = asyncio.Event()

    def hear(name: str) -> Any:
        def on_message(message: Any) -> None:
            heard[name].append(f"{message.topic} {message.payload.decode()}")
            if message.payload == b"last":
                done.set()

        return on_message

    links = {name: Link(config(broker, name), name, hear(name)) for name in heard}
    await links["gw1"].open(["pharmedge/demo/+/records"])
    for name in ("e1", "e2"):
        await links[name].open([f"pharmedge/demo/{name}/{leaf}/gw1" for leaf in LEAVES])
    forged = b"forged"
    said = [("e1", "e1/records", b"own"), ("e1", "e2/records", forged), ("e2", "e1/committed/gw1", forged), ("gw1", "e1/committed/gw2", forged)]
    for name, leaf, payload in said:
        links[name].publish(f"pharmedge/demo/{leaf}", payload)
    links["gw1"].publish("pharmedge/demo/e1/committed/gw1", b"last")
    async with asyncio.timeout(30):
        await done.wait()
    done.clear()
    links["e1"].publish("pharmedge/demo/e1/records", b"last")
    async with asyncio.timeout(30):
        await done.wait()
    own = ["pharmedge/demo/e1/records own", "pharmedge/demo/e1/records last"]
    assert heard == {"e1": ["pharmedge/demo/e1/committed/gw1 last"], "e2": [], "gw1": own}
    for link in links.values():
        link.close()


@pytest.mark.parametrize("topic", ["pharmedge/demo/e2/committed/gw1", "pharmedge/demo/+/records", "#"])
async def test_an_edge_cannot_listen_to_others(broker, topic):
    heard: list[Any] = []
    link, e2, gateway = Link(config(broker, "e1"), "e1-ears", heard.append), Link(config(broker, "e2"), "e2-mouth", heard.append), None
    try:
        await link.open([topic])
    except NotConnected:
        return  # the broker says it at once; otherwise nothing may come
    gateway = Link(config(broker, "gw1"), "gw1-mouth", heard.append)
    await e2.open([])
    await gateway.open(["pharmedge/demo/e2/records"])
    e2.publish("pharmedge/demo/e2/records", b"secret")
    async with asyncio.timeout(30):
        while not any(m.payload == b"secret" for m in heard):
            await asyncio.sleep(0.01)
    assert len(heard) == 1, "the gateway alone has heard it"
    for one in (link, e2, gateway):
        one.close()


async def test_nobody_comes_in_without_a_certificate_of_the_site(broker, tmp_path):
    with pytest.raises(NotConnected):
        await Link(config(broker, None), "nobody", lambda _: None).open(["pharmedge/demo/nobody/committed/gw1"])
    subprocess.run(["sh", FILES / "certificates.sh", tmp_path / "pki", "127.0.0.1", "e1"], check=True, timeout=60)
    forged = config(broker, "e1")
    assert forged.tls is not None
    stranger = {"cert_file": tmp_path / "pki" / "e1.pem", "key_file": tmp_path / "pki" / "e1.key"}
    with pytest.raises(NotConnected):
        await Link(forged.model_copy(update={"tls": forged.tls.model_copy(update=stranger)}), "e1", lambda _: None).open(["x"])
