"""Spectra over OPC UA from a real server: as ADI and LADS place them, and as plain arrays."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pydantic
import pytest
from asyncua import Server, ua

from edge_agent.core import Block, Connection, NotConnected, Overflow, Tag
from edge_agent.core.status import BAD_SENSOR_FAILURE
from edge_agent.sources.opcua_spectra import OpcUaSpectra, OpcUaSpectraConfig
from edge_agent.sources.source import Item, Plug
from tests.sources.opcua_plant import START_NS, URI, free_port, utc

TAGS = [Tag(id=i, name=n, kind="block", unit="AU") for i, n in enumerate(("adi", "lads", "plain", "late"))]
ADDRESS = {0: f"nsu={URI};s=stream", 1: f"nsu={URI};s=lads", 2: f"nsu={URI};s=wave", 3: f"nsu={URI};s=late"}
STREAMS = [
    {"tag": "adi", "probe": "P1"},
    {"tag": "plain", "axis": {"low": 0, "step": 0.5, "unit": "s"}, "nodes": {"integration_s": f"nsu={URI};s=integration"}},
    {"tag": "late", "axis": {"low": 0, "step": 1, "unit": "nm"}},
]
STEP = 1_000_000_000


class Instrument:
    """An analyser stream, a sensor function and an array, each with its own time."""

    def __init__(self) -> None:
        self.server = Server()
        self.url = f"opc.tcp://127.0.0.1:{free_port()}/"

    def node(self, name: str) -> ua.NodeId:
        return ua.NodeId(name, self.index)

    def called(self, name: str) -> ua.QualifiedName:
        return ua.QualifiedName(name, self.index)

    async def variable(self, parent: Any, name: str, value: Any, kind: ua.VariantType, node: str = "") -> Any:
        return await parent.add_variable(self.node(node or name), self.called(name), value, kind)

    async def start(self) -> Instrument:
        await self.server.init()
        self.server.set_endpoint(self.url)
        self.server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        self.index = await self.server.register_namespace(URI)
        objects, V = self.server.nodes.objects, ua.VariantType
        stream = await objects.add_object(self.node("stream"), self.called("Stream1"))
        parameters = await stream.add_object(self.node("stream.set"), self.called("ParameterSet"))
        scaled = await self.variable(parameters, "ScaledData", [0.0] * 3, V.Float)
        axis = ua.AxisInformation(
            EngineeringUnits=ua.EUInformation(DisplayName=ua.LocalizedText("nm")), EURange=ua.Range(1100.0, 1104.0), AxisSteps=[]
        )
        await scaled.add_property(self.node("x"), ua.QualifiedName("XAxisDefinition", 0), axis)
        for name, value, kind in (
            ("AcquisitionCounter", 0, V.UInt32), ("AcquisitionResultStatus", 1, V.Int32), ("AcquisitionEndTime", utc(START_NS), V.DateTime),
            ("ActiveBackground", [1.0, 2.0, 3.0], V.Float), ("NumberOfScans", 32, V.Int32),
        ):  # fmt: skip
            await self.variable(parameters, name, value, kind)
        context = await parameters.add_object(self.node("context"), self.called("Context"))
        await self.variable(context, "SampleId", "S-1", V.String)
        function = await objects.add_object(self.node("lads"), self.called("Spectrum"))
        sensor = await self.variable(function, "SensorValue", [0.5, 0.25], V.Double)
        unit = ua.EUInformation(DisplayName=ua.LocalizedText("AU"))
        await sensor.add_property(self.node("unit"), ua.QualifiedName("EngineeringUnits", 0), unit)
        lads_axis = ua.AxisInformation(EngineeringUnits=ua.EUInformation(DisplayName=ua.LocalizedText("1/cm")), AxisSteps=[4000.0, 3990.0])
        await sensor.add_property(self.node("lx"), ua.QualifiedName("XAxisDefinition", 0), lads_axis)
        await self.variable(objects, "wave", [1.0, 2.0, 4.0], V.Double)
        await self.variable(objects, "integration", 0.02, V.Double)
        await self.server.start()
        return self

    async def write(self, name: str, value: Any, kind: ua.VariantType, time_ns: int, status: int = 0) -> None:
        data = ua.DataValue(ua.Variant(value, kind), ua.StatusCode(status), SourceTimestamp=utc(time_ns), ServerTimestamp=utc(time_ns))
        await self.server.write_attribute_value(self.node(name), data)

    async def measure(self, counter: int, status: int = 1) -> None:
        """Acquisition number `counter`, a second behind the one before."""
        at, V = START_NS + counter * STEP, ua.VariantType
        await self.write("ScaledData", [counter + 0.25, counter + 0.5, counter + 1.0], V.Float, at)
        await self.write("AcquisitionEndTime", utc(at), V.DateTime, at)
        await self.write("AcquisitionResultStatus", status, V.Int32, at)
        await self.write("AcquisitionCounter", counter, V.UInt32, at)


def config(url: str, **keys: Any) -> OpcUaSpectraConfig:
    return OpcUaSpectraConfig.model_validate({"kind": "opcua_spectra", "name": "nir", "url": url, "streams": STREAMS, "retry_s": 0.01} | keys)


@asynccontextmanager
async def opened(instrument: Instrument, folder: Path, resume: bytes | None = None, tags: list[Tag] = TAGS) -> AsyncIterator[OpcUaSpectra]:
    plug = Plug("nir", tags, ADDRESS, lambda: START_NS + 99 * STEP, folder)
    source = OpcUaSpectra(config(instrument.url), plug, sleep=lambda _: asyncio.sleep(0.005))
    try:
        await source.open(resume)
        yield source
    finally:
        await source.close()


async def until(source: OpcUaSpectra, enough: Any) -> tuple[list[Item], bytes | None]:
    items: list[Item] = []
    resume = None
    async with asyncio.timeout(30):
        while not enough(items):
            received = await source.read()
            items += received.items
            resume = received.resume or resume
    return items, resume


def blocks(items: list[Item], tag: int) -> list[Block]:
    return [i for i in items if isinstance(i, Block) and i.tag == tag]


@pytest.fixture
async def instrument() -> AsyncIterator[Instrument]:
    made = await Instrument().start()
    try:
        yield made
    finally:
        await made.server.stop()


async def test_adi_lads_and_plain_arrays_with_all_that_belongs_to_them(instrument: Instrument, tmp_path: Path) -> None:
    await instrument.measure(1)
    async with opened(instrument, tmp_path) as source:
        items, resume = await until(source, lambda got: all(blocks(got, tag) for tag in (0, 1, 2)))
        (adi,), (lads,), (plain,) = (blocks(items, tag) for tag in (0, 1, 2))
        assert (adi.axis.tolist(), adi.axis_unit, adi.values.tolist()) == ([1100, 1102, 1104], "nm", [[1.25, 1.5, 2.0]])
        assert (adi.time_ns.tolist(), adi.status.tolist(), adi.unit) == ([START_NS + STEP], [0], "AU")
        facts = adi.acquisition
        assert facts is not None
        assert (facts.status, facts.counter, facts.scans, facts.probe, facts.sample) == ("good", 1, 32, "P1", "S-1")
        assert facts.background == "sha256:" + hashlib.sha256(np.array([1.0, 2.0, 3.0]).tobytes()).hexdigest()
        assert (lads.axis.tolist(), lads.axis_unit, lads.unit, lads.values.tolist()) == ([4000, 3990], "1/cm", "AU", [[0.5, 0.25]])
        assert (plain.axis.tolist(), plain.axis_unit) == ([0, 0.5, 1], "s")
        assert plain.acquisition is not None
        assert plain.acquisition.integration_s == 0.02
        assert [i.tags for i in items if isinstance(i, Connection)] == [(3,)]
        # What was not there is found once it is; a not-good acquisition is bad; nothing comes twice.
        await instrument.variable(instrument.server.nodes.objects, "late", [1.0, 2.0], ua.VariantType.Double)
        await instrument.measure(2, status=4)
        more, _ = await until(source, lambda got: blocks(got, 0) and blocks(got, 3))
        (partial,) = blocks(more, 0)
        assert partial.status.tolist() == [BAD_SENSOR_FAILURE]
        assert partial.acquisition is not None
        assert partial.acquisition.status == "partial"
        assert [i.state for i in more if isinstance(i, Connection)] == ["tag_recovered"]
        assert not blocks(more, 1)
    await instrument.measure(5)
    async with opened(instrument, tmp_path, resume, TAGS[:1]) as source:  # what was committed ends with the first
        items, _ = await until(source, lambda got: blocks(got, 0))
        (lost,) = [i for i in items if isinstance(i, Overflow)]
        assert (lost.tag, lost.after_ns, lost.before_ns) == (0, START_NS + STEP, START_NS + 5 * STEP)
        assert source._plug.counters["spectra_missed"] == 3
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await source.read()


async def test_no_server_is_not_connected(tmp_path: Path) -> None:
    source = OpcUaSpectra(config(f"opc.tcp://127.0.0.1:{free_port()}/"), Plug("nir", TAGS, ADDRESS, lambda: 0, tmp_path))
    with pytest.raises(NotConnected):
        await source.open(None)
    await source.close()


def test_one_section_for_each_tag() -> None:
    with pytest.raises(pydantic.ValidationError, match="one section for each tag"):
        config("opc.tcp://a", streams=[{"tag": "a"}, {"tag": "a"}])
