"""The simulated spectrometer end to end: its roads, its truth, and what the shipped calibration and configuration make of it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_agent.config import load_agent
from edge_agent.config.start import start_of
from edge_agent.core import AlarmEvent, Block, Samples, Tag
from edge_agent.core.model_file import read
from edge_agent.core.status import BAD, BAD_SENSOR_FAILURE, UNCERTAIN, UNCERTAIN_SIMULATED
from edge_agent.pipeline.chain import Pipeline
from edge_agent.sources.mqtt import MqttConfig as SourceConfig
from edge_agent.sources.mqtt import MqttSource
from edge_agent.sources.mqtt_blocks import block_of as of_message
from edge_agent.sources.opcua_spectra import OpcUaSpectra, OpcUaSpectraConfig
from edge_agent.sources.source import Plug
from edge_agent.sources.spectra import SpectraConfig, SpectraSource
from edge_agent.sources.spectra_files import block_of as of_file
from models.spectra.sensor import SATURATED, Sensor
from simulators.children import free_port
from simulators.plant import PlantConfig
from simulators.servers.mqtt import MqttConfig
from simulators.servers.opcua import OpcUaConfig
from simulators.servers.spectra import TOPIC, AdiServer, SpectraPublisher, WaveServer, block_message
from simulators.servers.spectra_files import FORMATS
from simulators.spectra_run import SpectraRun
from simulators.spectrometer import AXIS, KINDS, Spectrometer, Spectrum, spectrometer_fault
from tests.simulators.conftest import Broker

CONFIG = Path(__file__).parents[2] / "configs" / "spectra" / "agent.yaml"
T0 = 1_767_225_600_000_000_000
LINE_S = 180


def run(fault: str | None = None, seed: int = 5) -> list[Spectrum]:
    return Spectrometer(seed, () if fault is None else (spectrometer_fault(f"{fault}@60"),)).step(LINE_S * 10**9)


@pytest.fixture(scope="module")
def sensor() -> Sensor:
    return Sensor(read(CONFIG.parent / "api.model").arrays)


def test_the_same_seed_gives_the_same_spectra_and_truth() -> None:
    first, second = run("air_bubble"), run("air_bubble")
    assert all(np.array_equal(a.values, b.values) and a.api == b.api for a, b in zip(first, second, strict=True))
    assert [s.counter for s in first] == list(range(1, LINE_S // 2 + 1))


def test_the_shipped_calibration_finds_the_true_content_within_its_interval(sensor: Sensor) -> None:
    spectra = run()
    found, why = sensor.judge(np.array([s.values for s in spectra]))
    true = np.array([s.api for s in spectra])
    assert not why.any()
    assert np.sqrt(np.mean((found[:, 0] - true) ** 2)) < 0.2
    # The interval holds for a laboratory result, which is less certain than the truth of a simulator: it covers more than its 90 %.
    assert np.mean((found[:, 1] <= true) & (true <= found[:, 2])) >= 0.9


@pytest.mark.parametrize("fault", [k for k in KINDS if k != "acquisition_failure"])
def test_no_fault_yields_a_silent_number(sensor: Sensor, fault: str) -> None:
    spectra = run(fault)
    found, why = sensor.judge(np.array([s.values for s in spectra]))
    hit = np.array([bool(s.faults) for s in spectra])
    assert hit.any()
    assert not why[~hit].any()
    wrong = np.abs(found[:, 0] - np.array([s.api for s in spectra])) > 1.0
    assert (why[hit & wrong] > 0).all()
    first = int(np.flatnonzero(hit & (why > 0))[0])
    assert spectra[first].time_ns / 1e9 - 60 <= KINDS[fault].detect_within_s
    assert fault != "saturation" or (why[hit] & SATURATED).all()


def pipeline() -> tuple[Pipeline, dict[str, int]]:
    settings = load_agent(CONFIG)
    start = start_of(settings, T0)
    made = Pipeline()
    made.step(start)
    return made, {t.name: t.id for t in start.tags}


async def test_from_the_instrument_over_opc_ua_to_values_and_alarms(tmp_path: Path) -> None:
    """ADI server, connector, pipeline of the shipped configuration: the content with its interval, and nothing silent of a bad acquisition."""
    spectra = Spectrometer(5, (spectrometer_fault("acquisition_failure@10"), spectrometer_fault("air_bubble@22"))).step(40 * 10**9)
    server = AdiServer(OpcUaConfig(port=free_port()), Spectrometer(5).background)
    settings = load_agent(CONFIG)
    chain, ids = pipeline()
    (section,) = settings.sources
    assert isinstance(section, OpcUaSpectraConfig)
    tag = Tag(id=ids["nir1/spectrum"], name="nir1/spectrum", kind="block", unit="AU")
    address = next(t.address for t in settings.tags if t.name == "nir1/spectrum")
    plug = Plug("nir_ua", [tag], {tag.id: address or ""}, lambda: T0, tmp_path)
    source = OpcUaSpectra(section.model_copy(update={"url": server.url}), plug, sleep=lambda _: asyncio.sleep(0.005))
    blocks: list[Block] = []
    await server.start()
    try:
        await server.publish(spectra[0], T0 + spectra[0].time_ns)
        await source.open(None)
        async with asyncio.timeout(40):
            for spectrum in spectra:
                await server.publish(spectrum, T0 + spectrum.time_ns)
                blocks += [i for i in (await source.read()).items if isinstance(i, Block)]
    finally:
        await source.close()
        await server.stop()
    assert len(blocks) == len(spectra)
    facts = blocks[0].acquisition
    assert facts is not None
    assert (facts.status, facts.counter, facts.cycle, facts.integration_s, facts.probe) == ("good", 1, 16, 0.05, "feed frame window")
    assert facts.background.startswith("sha256:")
    records: list[Any] = []
    for block in blocks:
        records += chain.step(block.received(int(block.time_ns[0]) + 10**8))
    values = {name: {} for name in ("value", "low", "high", "valid")}  # type: dict[str, dict[int, tuple[float, int]]]
    for record in records:
        if isinstance(record, Samples):
            for t, k, v, s in zip(record.time_ns.tolist(), record.tag.tolist(), record.value.tolist(), record.status.tolist(), strict=True):
                for name, of in values.items():
                    if k == ids[f"nir1/api.{name}"]:
                        of[t] = (v, s)
    inside = 0
    for spectrum in spectra:
        at = T0 + spectrum.time_ns
        value, status = values["value"][at]
        if spectrum.faults == ("acquisition_failure",):
            assert np.isnan(value)
            assert status >= BAD
        elif spectrum.faults:
            assert status >= UNCERTAIN
            assert status != UNCERTAIN_SIMULATED
            assert values["valid"][at][0] == 0.0
        else:
            assert status == UNCERTAIN_SIMULATED
            inside += values["low"][at][0] <= spectrum.api <= values["high"][at][0]
    assert inside >= 0.9 * sum(not s.faults for s in spectra)
    raised = {r.alarm for r in records if isinstance(r, AlarmEvent) and r.event == "raise"}
    assert "nir1/api.invalid" in raised
    assert "nir1/api.high" not in raised


@pytest.mark.parametrize("form", ["json", *FORMATS])
def test_every_road_brings_the_same_spectrum(form: str) -> None:
    spectrum = run()[3]
    tag = Tag(id=0, name="nir1/spectrum", kind="block", unit="AU")
    if form == "json":
        block = of_message(tag, None, block_message(spectrum, T0), 0)
    else:
        block = of_file(f"a.{form}", FORMATS[form](spectrum, T0), tag, 0)
    assert np.allclose(block.values[0], spectrum.values, rtol=0, atol=1e-7 if form == "spc" else 1e-9)  # SPC holds float32
    assert block.status.tolist() == [UNCERTAIN_SIMULATED]
    assert block.time_ns.tolist() == [T0]
    assert np.allclose(block.axis, AXIS, rtol=0, atol=1e-6)
    assert (block.axis_unit, block.unit, len(block.axis)) == ("nm", "AU", 256)
    facts = block.acquisition
    assert facts is not None
    assert (facts.status, facts.counter, facts.scans, facts.integration_s, facts.cycle) == ("good", spectrum.counter, 32, 0.05, 16)
    assert facts.probe == "feed frame window"
    partial = dataclasses.replace(spectrum, status=4)
    if form != "json":
        assert of_file(f"a.{form}", FORMATS[form](partial, T0), tag, 0).status.tolist() == [BAD_SENSOR_FAILURE]


@pytest.mark.parametrize(("form", "cut"), [("csv", 0), ("jdx", 0), ("spc", 0), ("spc", 9)])
async def test_a_folder_of_each_format_is_taken_whole_once_and_again_when_it_was_half(tmp_path: Path, form: str, cut: int) -> None:
    """What a run drops, as the agent takes it: every spectrum once, a copy not at all, a half file when it is whole."""
    folder = tmp_path / "in"
    plant = SpectraRun(Spectrometer(1), PlantConfig(speed=200.0, duration_s=0.1), None, None, folder, lambda: T0, form=form)
    await asyncio.wait_for(plant.run(), 30)
    files = sorted(folder.glob(f"*.{form}"))
    assert len(files) == len(plant.rows) >= 3
    (folder / f"copy.{form}").write_bytes(files[0].read_bytes())
    whole = files[1].read_bytes()
    files[1].write_bytes(whole[: len(whole) - cut if cut else len(whole) // 2])
    now = [time.time_ns() + 10**10]
    tag = Tag(id=0, name="nir1/spectrum", kind="block", unit="AU")
    plug = Plug("nir", [tag], {0: ""}, lambda: now[0], tmp_path)

    async def sleep(_: float) -> None:
        files[1].write_bytes(whole)  # between two looks the instrument goes on writing
        now[0] += 10**10
        await asyncio.sleep(0)

    source = SpectraSource(SpectraConfig(kind="spectra", name="nir", folder=folder), plug, sleep=sleep)
    await source.open(None)
    taken = [b for b in (await source.read()).items if isinstance(b, Block)]
    taken += [b for b in (await source.read()).items if isinstance(b, Block)]
    numbers = sorted(b.acquisition.counter or 0 for b in taken if b.acquisition is not None)
    assert numbers == list(range(1, len(files) + 1))
    assert plug.counters["duplicates"] == 1
    assert "dead_letters" not in plug.counters


async def test_what_the_simulator_publishes_comes_through_a_broker(tmp_path: Path, broker: Broker) -> None:
    spectra = run()[:3]
    tag = Tag(id=0, name="nir1/spectrum", kind="block", unit="AU")
    plug = Plug("nir", [tag], {0: TOPIC}, lambda: T0, tmp_path)
    own = {"kind": "mqtt", "name": "nir", "client_id": "edge-1-in", "topics": [TOPIC], "host": "127.0.0.1", "port": broker.port}
    source, publisher = MqttSource(SourceConfig.model_validate(own), plug), SpectraPublisher(MqttConfig(port=broker.port))
    taken: list[Block] = []
    publisher.start()
    try:
        await source.open(None)
        for spectrum in spectra:
            publisher.publish(spectrum, T0 + spectrum.time_ns)
        async with asyncio.timeout(40):
            while len(taken) < len(spectra):
                received = await source.read()
                taken += [i for i in received.items if isinstance(i, Block)]
                received.ack()
    finally:
        await source.close()
        await asyncio.to_thread(publisher.stop)
    assert [b.time_ns.tolist() for b in taken] == [[T0 + s.time_ns] for s in spectra]
    assert [b.values[0].tolist() for b in taken] == [s.values.tolist() for s in spectra]


async def test_a_run_leaves_files_truth_and_content(tmp_path: Path) -> None:
    instrument = Spectrometer(1, (spectrometer_fault("air_bubble@10"),))
    plant = SpectraRun(instrument, PlantConfig(speed=200.0, duration_s=0.2, keep=tmp_path / "keep"), None, None, tmp_path / "in", lambda: T0)
    await asyncio.wait_for(plant.run(), 30)
    files = sorted((tmp_path / "in").iterdir())
    rows = (tmp_path / "keep" / "spectra.csv").read_text().splitlines()
    assert len(files) == len(rows) - 1 >= 10
    truth = json.loads((tmp_path / "keep" / "truth.jsonl").read_text().splitlines()[0])
    assert truth["fault"] == "air_bubble"
    assert truth["tags"][0] == "nir1/api.valid"


async def test_a_lads_sensor_function_and_a_waveform_come_over_opc_ua(tmp_path: Path) -> None:
    spectrum, wave = run()[3], np.sin(np.arange(2560) / 10.0)

    async def first(url: str, node: str, unit: str) -> Block:
        tag = Tag(id=0, name="a", kind="block", unit=unit)
        plug = Plug("ua", [tag], {0: f"nsu=urn:pharmedge:sim;s={node}"}, lambda: T0, tmp_path)
        section = OpcUaSpectraConfig.model_validate({"kind": "opcua_spectra", "name": "ua", "url": url, "streams": [{"tag": "a"}]})
        source = OpcUaSpectra(section, plug, sleep=lambda _: asyncio.sleep(0.005))
        await source.open(None)
        try:
            async with asyncio.timeout(40):
                while True:
                    for item in (await source.read()).items:
                        if isinstance(item, Block):
                            return item
        finally:
            await source.close()

    nir = AdiServer(OpcUaConfig(port=free_port()), Spectrometer(5).background)
    await nir.start()
    try:
        await nir.publish(spectrum, T0)
        seen = await first(nir.url, "nir1/lads", "AU")
    finally:
        await nir.stop()
    daq = WaveServer(OpcUaConfig(port=free_port()), "p1/vibration", 2560, 25_600.0)
    await daq.start()
    try:
        await daq.publish(wave, 1, T0)
        heard = await first(daq.url, "p1/vibration", "m/s2")
    finally:
        await daq.stop()
    assert (seen.values[0].tolist(), seen.axis_unit, seen.unit, int(seen.time_ns[0])) == (spectrum.values.tolist(), "nm", "AU", T0)
    assert (heard.values[0].tolist(), heard.axis_unit, heard.unit, int(heard.time_ns[0])) == (wave.tolist(), "s", "m/s2", T0)
    assert np.allclose(heard.axis, np.arange(2560) / 25_600.0, rtol=0, atol=1e-12)
    assert heard.acquisition is not None
    assert heard.acquisition.counter == 1
