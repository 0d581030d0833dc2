"""The protocol servers against real peers: an asyncua client and a real broker."""

from __future__ import annotations

import asyncio
import json
import math
import stat
import threading
from pathlib import Path
from typing import Any

import numpy as np
import paho.mqtt.client as paho
import pytest
from asyncua import Client, ua
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256
from asyncua.ua.uatypes import datetime_to_win_epoch
from paho.mqtt.enums import CallbackAPIVersion

from simulators.children import free_port, wait_for
from simulators.plant import Plant, PlantConfig
from simulators.press import Press
from simulators.press_signals import press_signals
from simulators.servers.certificate import kept_certificate
from simulators.servers.mqtt import MqttConfig, MqttPublisher
from simulators.servers.opcua import NAMESPACE, OpcUaConfig, OpcUaPlant
from simulators.signals import BAD_SENSOR_FAILURE, SECOND_NS, SIMULATED

from .conftest import Broker

SIGNALS = press_signals(2.0)
FORCE = next(i for i, s in enumerate(SIGNALS) if s.name == "press1/main_force")
BATCH = next(i for i, s in enumerate(SIGNALS) if s.name == "press1/batch")
NIR = next(s for s in SIGNALS if s.name == "press1/nir_api")
T0 = 1_767_225_600 * SECOND_NS


async def served(**how: Any) -> OpcUaPlant:
    plant = OpcUaPlant(SIGNALS, OpcUaConfig(port=free_port(), **how))
    await plant.start()
    return plant


class Changes:
    """Collects data changes of an asyncua subscription."""

    def __init__(self) -> None:
        self.values: list[ua.DataValue] = []

    def datachange_notification(self, node: Any, value: Any, data: Any) -> None:
        self.values.append(data.monitored_item.Value)

    def status_change_notification(self, status: Any) -> None:
        raise AssertionError(status)


async def test_values_times_and_statuses_arrive_unchanged_whatever_the_namespace_index() -> None:
    for others in ((), ("urn:somebody:else", "urn:another")):
        plant = await served(other_namespaces=others)
        async with Client(plant.url) as client:
            space = await client.get_namespace_index(NAMESPACE)
            assert space == 2 + len(others)
            node = client.get_node(f"ns={space};s=press1/main_force")
            changes = Changes()
            assert plant.subscribed() == 0
            subscription = await client.create_subscription(20, changes)
            await subscription.subscribe_data_change(node, queuesize=50)
            assert plant.subscribed() == 1
            for k in range(20):
                await plant.write(FORCE, 12.0 + k / 7.0, SIMULATED, T0 + k * 100_001_000)
            await plant.write(FORCE, math.nan, BAD_SENSOR_FAILURE, T0 + 3 * SECOND_NS)
            for _ in range(100):
                if len(changes.values) == 22:
                    break
                await asyncio.sleep(0.02)
            waiting, *rest = changes.values
            assert waiting.StatusCode.value == 0x80320000
            assert waiting.SourceTimestamp is None
            assert [v.Value.Value for v in rest[:-1]] == [12.0 + k / 7.0 for k in range(20)]
            ticks = [datetime_to_win_epoch(v.SourceTimestamp) for v in rest[:-1]]
            assert ticks == [(T0 + k * 100_001_000) // 100 + 116_444_736_000_000_000 for k in range(20)]
            assert {v.StatusCode.value for v in rest[:-1]} == {SIMULATED}
            assert (rest[-1].Value.Value, rest[-1].StatusCode.value) == (None, BAD_SENSOR_FAILURE)
        await plant.stop()


async def test_variables_carry_range_unit_description_and_texts() -> None:
    plant = await served()
    async with Client(plant.url) as client:
        space = await client.get_namespace_index(NAMESPACE)
        node = client.get_node(f"ns={space};s=press1/main_force")
        found = {(await p.read_browse_name()).Name: await p.read_value() for p in await node.get_properties()}
        assert (found["EURange"].Low, found["EURange"].High) == (0.0, 40.0)
        assert found["EngineeringUnits"].DisplayName.Text == "kN"
        assert found["Description"].Text == (await node.read_description()).Text
        assert await client.get_node(f"ns={space};s=press1").get_children()
        await plant.write_text(BATCH, "TB010001", T0)
        data = await client.get_node(f"ns={space};s=press1/batch").read_data_value(raise_on_bad_status=False)
        assert (data.Value.Value, data.StatusCode.value) == ("TB010001", SIMULATED)
    await plant.stop()


async def test_nobody_may_write() -> None:
    plant = await served()
    async with Client(plant.url) as client:
        space = await client.get_namespace_index(NAMESPACE)
        with pytest.raises(ua.UaStatusCodeError):
            await client.get_node(f"ns={space};s=press1/main_force").write_value(1.0)
    await plant.stop()


async def test_user_and_password_are_asked_for() -> None:
    plant = await served(username="edge", password="right")
    client = Client(plant.url)
    client.set_user("edge")
    client.set_password("right")
    async with client:
        assert await client.get_namespace_index(NAMESPACE) > 1
    wrong = Client(plant.url)
    wrong.set_user("edge")
    wrong.set_password("wrong")
    with pytest.raises(ua.UaError):
        await wrong.connect()
    with pytest.raises(ua.UaError):
        await Client(plant.url).connect()
    await plant.stop()


async def test_basic256sha256_sign_and_encrypt_with_a_kept_certificate(tmp_path: Path) -> None:
    plant = await served(security="basic256sha256", pki_dir=tmp_path / "pki")
    certificate, key = kept_certificate(tmp_path / "client", "urn:test:client", "127.0.0.1")
    client = Client(plant.url)
    client.application_uri = "urn:test:client"
    await client.set_security(SecurityPolicyBasic256Sha256, str(certificate), str(key),
                              server_certificate=str(tmp_path / "pki" / "server_cert.der"))
    async with client:
        assert await client.get_namespace_index(NAMESPACE) > 1
    with pytest.raises((ua.UaError, ConnectionError, TimeoutError)):
        await Client(plant.url, timeout=2).connect()  # without security
    await plant.stop()
    before = (tmp_path / "pki" / "server_cert.der").read_bytes()
    again = await served(security="both", pki_dir=tmp_path / "pki")
    await again.stop()
    assert (tmp_path / "pki" / "server_cert.der").read_bytes() == before
    assert stat.S_IMODE((tmp_path / "pki" / "server_key.pem").stat().st_mode) == 0o600


@pytest.mark.parametrize(("how", "message"), [
    ({"security": "basic128"}, "security: expected none, basic256sha256 or both, found 'basic128'"),
    ({"security": "both"}, "pki_dir: expected a folder"),
    ({"username": "a"}, "expected both or none"),
])
def test_wrong_server_settings_are_refused(how: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OpcUaConfig(**how)


# --- MQTT --------------------------------------------------------------------------------------------------------------
class Listener:
    """A persistent QoS 1 subscriber."""

    def __init__(self, port: int, name: str) -> None:
        self.samples: list[dict[str, Any]] = []
        self.ready = threading.Event()
        self.client = paho.Client(CallbackAPIVersion.VERSION2, client_id=name, clean_session=False)
        self.client.reconnect_delay_set(1, 1)
        self.client.on_connect = lambda c, *_: c.subscribe("plant/#", qos=1)
        self.client.on_subscribe = lambda *_: self.ready.set()
        self.client.on_message = self._take
        self.client.connect("127.0.0.1", port, keepalive=5)
        self.client.loop_start()

    def _take(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        body = json.loads(message.payload)
        self.samples += body if isinstance(body, list) else [body]

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def test_every_sample_outlives_kills_of_the_broker(broker: Broker) -> None:
    listener = Listener(broker.port, "survivor")
    assert listener.ready.wait(10)
    publisher = MqttPublisher(MqttConfig(port=broker.port, client_id="survivor-pub"))
    publisher.start()
    assert publisher.wait_connected(10)
    for k in range(300):
        if k in (60, 170):
            broker.kill()
        if k in (120, 200):
            broker.start()
        assert publisher.publish(NIR, [(T0 + k, float(k), SIMULATED)])
        threading.Event().wait(0.005)
    assert publisher.drain(30) == 0
    assert publisher.not_sent == 0
    assert wait_for(lambda: {s["t"] for s in listener.samples} == {T0 + k for k in range(300)}, 20)
    assert {s["v"] for s in listener.samples} == {float(k) for k in range(300)}
    publisher.stop()
    listener.close()


def test_a_full_queue_refuses_and_counts() -> None:
    publisher = MqttPublisher(MqttConfig(port=free_port(), max_pending=3))
    publisher.start()
    took = [publisher.publish(NIR, [(T0 + k, 1.0, SIMULATED), (T0 + k + 1, 1.0, SIMULATED)]) for k in range(5)]
    assert took == [True, True, True, False, False]
    assert (publisher.pending, publisher.not_sent) == (6, 4)
    assert publisher.drain(0.01) == 6
    publisher.stop()
    with pytest.raises(ValueError, match="max_pending"):
        MqttPublisher(MqttConfig(max_pending=70_000))


# --- both, fed by one line ---------------------------------------------------------------------------------------------
async def test_one_line_feeds_both_protocols_and_accounts_for_every_sample(broker: Broker, tmp_path: Path) -> None:
    listener = Listener(broker.port, "both")
    assert await asyncio.to_thread(listener.ready.wait, 10)
    press = Press(4)
    opcua = OpcUaPlant(press.signals, OpcUaConfig(port=free_port()))
    plant = Plant(press, PlantConfig(duration_s=3.0, keep=tmp_path / "keep", start_when=tmp_path / "go"), opcua,
                  MqttPublisher(MqttConfig(port=broker.port, client_id="both-pub")))
    running = asyncio.create_task(plant.run())
    async with asyncio.timeout(20):
        while not opcua.variables or opcua._server is None:
            await asyncio.sleep(0.05)
    async with Client(opcua.url) as client:
        space = await client.get_namespace_index(NAMESPACE)
        changes = Changes()
        subscription = await client.create_subscription(50, changes)
        await subscription.subscribe_data_change(client.get_node(f"ns={space};s=press1/peak_force"), queuesize=100)
        assert plant.ledger.total == 0
        (tmp_path / "go").touch()
        await running
        rows = {r[0]: r for r in plant.ledger.rows()}
        got = [v for v in changes.values if v.StatusCode.value == SIMULATED]
        assert len(got) == rows["press1/peak_force"][1] == 31
        assert math.fsum(v.Value.Value for v in got) == pytest.approx(rows["press1/peak_force"][4], rel=1e-12)
        stamps = [datetime_to_win_epoch(v.SourceTimestamp) for v in got]
        assert (stamps[-1] - 116_444_736_000_000_000) * 100 == rows["press1/peak_force"][3]
        assert np.all(np.diff(stamps) > 0)
    assert wait_for(lambda: sum("v" in s and isinstance(s["v"], float) for s in listener.samples) > 0, 60)
    mqtt_rows = sum(r[1] for name, r in rows.items()
                    if next(s for s in press.signals if s.name == name).road == "mqtt")
    assert wait_for(lambda: len(listener.samples) == mqtt_rows, 60)
    listener.close()
    sent = (tmp_path / "keep" / "sent.csv").read_text().splitlines()
    assert sent[0] == "tag,n,first_ns,last_ns,sum"
    assert f"press1/peak_force,31,{rows['press1/peak_force'][2]},{rows['press1/peak_force'][3]}," in sent[13]
    state = json.loads((tmp_path / "keep" / "sim.json").read_text())
    assert state["mqtt_pending"] == state["mqtt_not_sent"] == 0


async def test_speed_shrinks_source_times_so_that_none_lies_ahead(tmp_path: Path) -> None:
    press = Press(4)
    plant = Plant(press, PlantConfig(speed=50.0, duration_s=0.4, keep=tmp_path), OpcUaPlant(press.signals, OpcUaConfig(port=free_port())),
                  None, clock_ns=lambda: T0)
    await plant.run()
    rows = {r[0]: r for r in plant.ledger.rows()}
    name, n, first, last, _ = rows["press1/peak_force"]
    assert n == 201  # 20 s of the line in 0.4 s
    assert first <= T0
    assert T0 + 0.39 * SECOND_NS < last <= T0 + 0.4 * SECOND_NS
    assert rows["press1/nir_api"][1] == 0  # no broker: not sent, not counted
    del name


def test_wrong_pace_is_refused() -> None:
    with pytest.raises(ValueError, match="--speed: expected a number > 0, found 0"):
        PlantConfig(speed=0.0)
    with pytest.raises(ValueError, match="--duration: expected seconds > 0"):
        PlantConfig(duration_s=-1.0)
