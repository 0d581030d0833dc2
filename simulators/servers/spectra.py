"""The roads of a simulated spectrometer: OPC UA as ADI (OPC 10020) and LADS (OPC 30500) place it, and MQTT blocks; and of waveforms over
OPC UA. All of it is marked simulated."""

from __future__ import annotations

import datetime
import json
from typing import Any, ClassVar, Final

import numpy as np
import paho.mqtt.client as paho
from asyncua import Server, ua
from paho.mqtt.enums import CallbackAPIVersion

from simulators.servers.mqtt import MqttConfig
from simulators.servers.opcua import BAD_WAITING_FOR_INITIAL_DATA, NAMESPACE, OpcUaConfig, utc
from simulators.servers.spectra_files import PROBE, WORDS
from simulators.signals import BAD_SENSOR_FAILURE, SIMULATED
from simulators.spectrometer import AXIS, INTEGRATION_S, SCANS, UNIT, Spectrum

TOPIC: Final = f"plant/{UNIT}/spectrum"


class _ArrayServer:
    """One OPC UA server of arrays on loopback: what it holds is built by `_build`, and every value of it says that it is simulated."""

    name: ClassVar[str]
    waiting: ClassVar[tuple[str, ...]]
    """Nodes that have no value before the first acquisition: a client sees that and counts none (OPC 10000-4, 7.39)."""

    def __init__(self, config: OpcUaConfig) -> None:
        self._config = config
        self._server: Server | None = None
        self._index = 0

    @property
    def url(self) -> str:
        """Endpoint address."""
        return f"opc.tcp://{self._config.host}:{self._config.port}/"

    async def start(self) -> None:
        """Build the address space and listen. Raises OSError when the port is taken."""
        server = Server()
        await server.init()
        server.set_endpoint(self.url)
        server.set_server_name(f"Pharmedge simulated {self.name}")
        await server.set_application_uri("urn:pharmedge:sim:server")
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        self._index = await server.register_namespace(NAMESPACE)
        await self._build(server)
        for name in self.waiting:
            await server.write_attribute_value(self._node(name), ua.DataValue(None, ua.StatusCode(BAD_WAITING_FOR_INITIAL_DATA)))
        await server.start()
        self._server = server

    async def _build(self, server: Server) -> None:
        raise NotImplementedError

    def _node(self, path: str) -> ua.NodeId:
        raise NotImplementedError

    async def _put(self, name: str, value: Any, variant: ua.VariantType, status: int, time_ns: int) -> None:
        assert self._server is not None, "start() first"
        data = ua.DataValue(ua.Variant(value, variant), ua.StatusCode(status), SourceTimestamp=utc(time_ns), ServerTimestamp=utc(time_ns))
        await self._server.write_attribute_value(self._node(name), data)

    async def stop(self) -> None:
        """Close all sessions and stop listening."""
        if self._server is not None:
            await self._server.stop()
            self._server = None


class AdiServer(_ArrayServer):
    """One analyser with one channel and one stream, and the same spectrum as a sensor function of LADS; the counter is written last."""

    name = "spectrometer"
    waiting = ("ScaledData", "SensorValue", "AcquisitionCounter")

    def __init__(self, config: OpcUaConfig, background: np.ndarray[Any, np.dtype[np.float64]]) -> None:
        super().__init__(config)
        self._background = background

    async def _build(self, server: Server) -> None:
        kind = ua.VariantType
        at = server.nodes.objects
        for name, path in ((UNIT, ""), ("Channel1", "channel1"), ("Stream1", "stream1"), ("ParameterSet", "stream1/set")):
            at = await at.add_object(self._node(path), ua.QualifiedName(name, self._index))

        async def variable(name: str, value: Any, variant: ua.VariantType) -> Any:
            return await at.add_variable(self._node(name), ua.QualifiedName(name, self._index), value, variant)

        scaled = await variable("ScaledData", [0.0] * len(AXIS), kind.Double)
        nm = ua.EUInformation(DisplayName=ua.LocalizedText("nm"), Description=ua.LocalizedText("nanometre"))
        span = ua.Range(float(AXIS[0]), float(AXIS[-1]))
        axis = ua.AxisInformation(EngineeringUnits=nm, EURange=span, Title=ua.LocalizedText("Wavelength"), AxisSteps=[])
        unit = ua.EUInformation(DisplayName=ua.LocalizedText("AU"))
        function = await server.nodes.objects.add_object(self._node("lads"), ua.QualifiedName("NIR", self._index))
        sensed = await function.add_variable(
            self._node("SensorValue"), ua.QualifiedName("SensorValue", self._index), [0.0] * len(AXIS), kind.Double
        )  # fmt: skip
        for array, about in ((scaled, ""), (sensed, "lads/")):
            await array.add_property(self._node(f"{about}x"), ua.QualifiedName("XAxisDefinition", 0), axis)
            await array.add_property(self._node(f"{about}unit"), ua.QualifiedName("EngineeringUnits", 0), unit)
        await variable("AcquisitionEndTime", datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC), kind.DateTime)
        await variable("AcquisitionResultStatus", 0, kind.Int32)
        await variable("ActiveBackground", self._background.tolist(), kind.Double)
        await variable("NumberOfScans", SCANS, kind.Int32)
        await variable("IntegrationTime", INTEGRATION_S, kind.Double)
        await variable("ExecutionCycle", 16, kind.Int32)
        await variable("AcquisitionCounter", 0, kind.UInt32)

    def _node(self, path: str) -> ua.NodeId:
        return ua.NodeId(f"{UNIT}/{path}" if path else UNIT, self._index)

    async def publish(self, spectrum: Spectrum, time_ns: int) -> None:
        """Put one acquisition up."""
        kind = ua.VariantType
        sensed = SIMULATED if WORDS[spectrum.status] == "good" else BAD_SENSOR_FAILURE
        await self._put("SensorValue", spectrum.values.tolist(), kind.Double, sensed, time_ns)
        await self._put("ScaledData", spectrum.values.tolist(), kind.Double, SIMULATED, time_ns)
        await self._put("AcquisitionEndTime", utc(time_ns), kind.DateTime, 0, time_ns)
        await self._put("AcquisitionResultStatus", spectrum.status, kind.Int32, 0, time_ns)
        await self._put("AcquisitionCounter", spectrum.counter, kind.UInt32, 0, time_ns)


class WaveServer(_ArrayServer):
    """One array of accelerations over even time, and the number of the waveform, written behind it."""

    name = "vibration sensor"
    waiting = ("/ScaledData", "/AcquisitionCounter")

    def __init__(self, config: OpcUaConfig, unit: str, points: int, rate_hz: float) -> None:
        super().__init__(config)
        self._unit, self._points, self._rate_hz = unit, points, rate_hz

    async def _build(self, server: Server) -> None:
        at = await server.nodes.objects.add_object(self._node(""), ua.QualifiedName(self._unit, self._index))
        wave = await at.add_variable(
            self._node("/ScaledData"), ua.QualifiedName("ScaledData", self._index), [0.0] * self._points, ua.VariantType.Double
        )  # fmt: skip
        second, unit = (ua.EUInformation(DisplayName=ua.LocalizedText(text)) for text in ("s", "m/s2"))
        span = ua.Range(0.0, (self._points - 1) / self._rate_hz)
        axis = ua.AxisInformation(EngineeringUnits=second, EURange=span, Title=ua.LocalizedText("Time"), AxisSteps=[])
        await wave.add_property(self._node("/x"), ua.QualifiedName("XAxisDefinition", 0), axis)
        await wave.add_property(self._node("/unit"), ua.QualifiedName("EngineeringUnits", 0), unit)
        await at.add_variable(self._node("/AcquisitionCounter"), ua.QualifiedName("AcquisitionCounter", self._index), 0, ua.VariantType.UInt32)

    def _node(self, path: str) -> ua.NodeId:
        return ua.NodeId(self._unit + path, self._index)

    async def publish(self, values: np.ndarray[Any, np.dtype[np.float64]], counter: int, time_ns: int) -> None:
        """Put one waveform up that began at `time_ns`."""
        await self._put("/ScaledData", values.tolist(), ua.VariantType.Double, SIMULATED, time_ns)
        await self._put("/AcquisitionCounter", counter, ua.VariantType.UInt32, 0, time_ns)


def block_message(spectrum: Spectrum, time_ns: int) -> bytes:
    """One acquisition as a JSON block."""
    facts = {
        "status": WORDS[spectrum.status], "counter": spectrum.counter, "integration_s": INTEGRATION_S, "scans": SCANS, "probe": PROBE, "cycle": 16,
    }  # fmt: skip
    axis = {"low": float(AXIS[0]), "high": float(AXIS[-1])}
    said = {"t": time_ns, "v": spectrum.values.tolist(), "axis": axis, "axis_unit": "nm", "unit": "AU", "s": SIMULATED, "acquisition": facts}
    return json.dumps(said).encode()


class SpectraPublisher:
    """Publishes blocks with QoS 1; what the broker has not got is sent again by paho."""

    def __init__(self, config: MqttConfig) -> None:
        self._config = config
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id=config.client_id, clean_session=False, protocol=paho.MQTTv311)
        if config.username is not None:
            self._client.username_pw_set(config.username, config.password)
        self._last: paho.MQTTMessageInfo | None = None

    def start(self) -> None:
        """Begin connecting in the background; the broker may appear later."""
        self._client.connect_async(self._config.host, self._config.port, keepalive=10)
        self._client.loop_start()

    def publish(self, spectrum: Spectrum, time_ns: int) -> None:
        """Hand one acquisition over."""
        self._last = self._client.publish(TOPIC, block_message(spectrum, time_ns), qos=1)

    def stop(self) -> None:
        """Wait a while for the broker, disconnect and end the background thread."""
        if self._last is not None and self._client.is_connected():
            self._last.wait_for_publish(10.0)
        self._client.disconnect()
        self._client.loop_stop()
