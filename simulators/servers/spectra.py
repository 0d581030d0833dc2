"""The roads of a simulated spectrometer: OPC UA as ADI (OPC 10020) and LADS (OPC 30500) place it, and MQTT blocks; and of waveforms over
OPC UA. All of it is marked simulated."""

from __future__ import annotations

import datetime
import json
from typing import Any, Final

import numpy as np
import paho.mqtt.client as paho
from asyncua import Server, ua
from paho.mqtt.enums import CallbackAPIVersion

from simulators.servers.mqtt import MqttConfig
from simulators.servers.opcua import NAMESPACE, OpcUaConfig, utc
from simulators.servers.spectra_files import PROBE, WORDS
from simulators.signals import BAD_SENSOR_FAILURE, SIMULATED
from simulators.spectrometer import AXIS, INTEGRATION_S, SCANS, UNIT, Spectrum

TOPIC: Final = f"plant/{UNIT}/spectrum"


class AdiServer:
    """One analyser with one channel and one stream, and the same spectrum as a sensor function of LADS; the counter is written last."""

    def __init__(self, config: OpcUaConfig, background: np.ndarray[Any, np.dtype[np.float64]]) -> None:
        self._config, self._background = config, background
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
        server.set_server_name("Pharmedge simulated spectrometer")
        await server.set_application_uri("urn:pharmedge:sim:server")
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        self._index = await server.register_namespace(NAMESPACE)
        kind = ua.VariantType
        at = server.nodes.objects
        for name, path in ((UNIT, UNIT), ("Channel1", f"{UNIT}/channel1"), ("Stream1", f"{UNIT}/stream1"), ("ParameterSet", f"{UNIT}/stream1/set")):
            at = await at.add_object(self._node(path), ua.QualifiedName(name, self._index))

        async def variable(name: str, value: Any, variant: ua.VariantType) -> Any:
            return await at.add_variable(self._node(f"{UNIT}/{name}"), ua.QualifiedName(name, self._index), value, variant)

        scaled = await variable("ScaledData", [0.0] * len(AXIS), kind.Double)
        nm = ua.EUInformation(DisplayName=ua.LocalizedText("nm"), Description=ua.LocalizedText("nanometre"))
        span = ua.Range(float(AXIS[0]), float(AXIS[-1]))
        axis = ua.AxisInformation(EngineeringUnits=nm, EURange=span, Title=ua.LocalizedText("Wavelength"), AxisSteps=[])
        unit = ua.EUInformation(DisplayName=ua.LocalizedText("AU"))
        function = await server.nodes.objects.add_object(self._node(f"{UNIT}/lads"), ua.QualifiedName("NIR", self._index))
        sensed = await function.add_variable(
            self._node(f"{UNIT}/SensorValue"), ua.QualifiedName("SensorValue", self._index), [0.0] * len(AXIS), kind.Double
        )  # fmt: skip
        for array, about in ((scaled, UNIT), (sensed, f"{UNIT}/lads")):
            await array.add_property(self._node(f"{about}/x"), ua.QualifiedName("XAxisDefinition", 0), axis)
            await array.add_property(self._node(f"{about}/unit"), ua.QualifiedName("EngineeringUnits", 0), unit)
        await variable("AcquisitionEndTime", datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC), kind.DateTime)
        await variable("AcquisitionResultStatus", 0, kind.Int32)
        await variable("ActiveBackground", self._background.tolist(), kind.Double)
        await variable("NumberOfScans", SCANS, kind.Int32)
        await variable("IntegrationTime", INTEGRATION_S, kind.Double)
        await variable("ExecutionCycle", 16, kind.Int32)
        await variable("AcquisitionCounter", 0, kind.UInt32)
        # Until the first acquisition there is no value: a client sees that and counts no spectrum (OPC 10000-4, 7.39).
        for name in ("ScaledData", "SensorValue", "AcquisitionCounter"):
            await server.write_attribute_value(self._node(f"{UNIT}/{name}"), ua.DataValue(None, ua.StatusCode(0x80320000)))
        await server.start()
        self._server = server

    def _node(self, path: str) -> ua.NodeId:
        return ua.NodeId(path, self._index)

    async def publish(self, spectrum: Spectrum, time_ns: int) -> None:
        """Put one acquisition up."""
        assert self._server is not None, "start() first"
        kind = ua.VariantType
        for name, value, variant, status in (
            ("SensorValue", spectrum.values.tolist(), kind.Double, SIMULATED if WORDS[spectrum.status] == "good" else BAD_SENSOR_FAILURE),
            ("ScaledData", spectrum.values.tolist(), kind.Double, SIMULATED), ("AcquisitionEndTime", utc(time_ns), kind.DateTime, 0),
            ("AcquisitionResultStatus", spectrum.status, kind.Int32, 0), ("AcquisitionCounter", spectrum.counter, kind.UInt32, 0),
        ):  # fmt: skip
            data = ua.DataValue(ua.Variant(value, variant), ua.StatusCode(status), SourceTimestamp=utc(time_ns), ServerTimestamp=utc(time_ns))
            await self._server.write_attribute_value(self._node(f"{UNIT}/{name}"), data)

    async def stop(self) -> None:
        """Close all sessions and stop listening."""
        if self._server is not None:
            await self._server.stop()
            self._server = None


class WaveServer:
    """One array of accelerations over even time, and the number of the waveform, written behind it."""

    def __init__(self, config: OpcUaConfig, name: str, points: int, rate_hz: float) -> None:
        self._config, self._name, self._points, self._rate_hz = config, name, points, rate_hz
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
        server.set_server_name("Pharmedge simulated vibration sensor")
        await server.set_application_uri("urn:pharmedge:sim:server")
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        self._index = await server.register_namespace(NAMESPACE)
        at = await server.nodes.objects.add_object(self._node(""), ua.QualifiedName(self._name, self._index))
        wave = await at.add_variable(
            self._node("/ScaledData"), ua.QualifiedName("ScaledData", self._index), [0.0] * self._points, ua.VariantType.Double
        )  # fmt: skip
        second, unit = (ua.EUInformation(DisplayName=ua.LocalizedText(text)) for text in ("s", "m/s2"))
        span = ua.Range(0.0, (self._points - 1) / self._rate_hz)
        axis = ua.AxisInformation(EngineeringUnits=second, EURange=span, Title=ua.LocalizedText("Time"), AxisSteps=[])
        await wave.add_property(self._node("/x"), ua.QualifiedName("XAxisDefinition", 0), axis)
        await wave.add_property(self._node("/unit"), ua.QualifiedName("EngineeringUnits", 0), unit)
        await at.add_variable(self._node("/AcquisitionCounter"), ua.QualifiedName("AcquisitionCounter", self._index), 0, ua.VariantType.UInt32)
        for name in ("/ScaledData", "/AcquisitionCounter"):
            await server.write_attribute_value(self._node(name), ua.DataValue(None, ua.StatusCode(0x80320000)))
        await server.start()
        self._server = server

    def _node(self, path: str) -> ua.NodeId:
        return ua.NodeId(self._name + path, self._index)

    async def publish(self, values: np.ndarray[Any, np.dtype[np.float64]], counter: int, time_ns: int) -> None:
        """Put one waveform up that began at `time_ns`."""
        assert self._server is not None, "start() first"
        for name, value, variant, status in (
            ("/ScaledData", values.tolist(), ua.VariantType.Double, SIMULATED), ("/AcquisitionCounter", counter, ua.VariantType.UInt32, 0),
        ):  # fmt: skip
            data = ua.DataValue(ua.Variant(value, variant), ua.StatusCode(status), SourceTimestamp=utc(time_ns), ServerTimestamp=utc(time_ns))
            await self._server.write_attribute_value(self._node(name), data)

    async def stop(self) -> None:
        """Close all sessions and stop listening."""
        if self._server is not None:
            await self._server.stop()
            self._server = None


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
