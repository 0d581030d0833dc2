"""The page of spectra over a simulated spectrometer whose window fouls, and the interface behind it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import expect

from edge_agent.core import Acquisition, Block, encode
from edge_agent.core.model_file import read
from gateway.blocks import BlocksRow, blocks_row, spread_over
from gateway.query import SeriesRow, TagRow
from models.spectra.sensor import Sensor
from simulators.spectrometer import AXIS, PERIOD_S, Spectrometer, Spectrum, spectrometer_fault
from tests.gateway.console.alarmed import SIMULATED
from tests.gateway.console.conftest import Open
from tests.gateway.console.line import Signal
from tests.gateway.console.plant import Plant
from tests.gateway.console.test_office import AXE, IMAGES, clean

S = 1_000_000_000
STREAM = "press-edge-1:nir1/spectrum"
MODEL = Path(__file__).parents[3] / "configs" / "spectra" / "api.model"
LINE_S = 3600
assert AXE.exists()


@cache
def run() -> tuple[list[Spectrum], Any, Any]:
    faults = tuple(spectrometer_fault(text) for text in ("probe_fouling@1800", "acquisition_failure@2700"))
    spectra = Spectrometer(5, faults).step(LINE_S * S)
    found, why = Sensor(read(MODEL).arrays).judge(np.array([s.values for s in spectra]))
    bad = np.array([s.status != 1 for s in spectra])
    found[bad, :5], found[bad, 5] = np.nan, 0.0
    return spectra, found, np.where(bad, 1, why)


class Laboratory(Plant):
    """The line of the tests with a spectrometer and its soft sensor."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.begin_ns = self.started_ns - LINE_S * S

    def tags(self) -> list[TagRow]:
        spectra, found, why = run()
        rows = super().tags()
        last_ns = self.begin_ns + spectra[-1].time_ns
        names = ("spectrum", "api.value", "api.low", "api.high", "api.valid", "api.why", "api.t2", "api.q")
        values = (None, *found[-1, :3], found[-1, 5], float(why[-1]), *found[-1, 3:5])
        for name, value in zip(names, values, strict=True):
            block = name == "spectrum"
            limits = (("low", 95.0, 2), ("high", 105.0, 2)) if name == "api.value" else ()
            unit = "AU" if block else "%LC" if name in ("api.value", "api.low", "api.high") else ""
            en, zh = ("NIR at the feed frame", "加料器近红外") if block else ("", "")
            row = self._tag(Signal("press1/main_force", unit, 0, 0, 2, 0, 0, en, zh, limits=limits))
            row |= {
                "key": f"press-edge-1:nir1/{name}", "name": f"nir1/{name}", "kind": "block" if block else "numeric", "path": "demo/solids/line1/nir1",
                "derived_from": [] if block else ["nir1/spectrum"], "model": "" if block else "spectra",
                "report": {"kind": "by_exception", "expected_s": None},  # its newest spectrum is of when the plant was made, however long ago that is
            }  # fmt: skip
            shown = None if block else float(value or 0.0)
            row["last"] = {"time_ns": last_ns, "value": shown, "status": SIMULATED, "quality": "good", "received_ns": last_ns}
            rows.append(row)
        return rows

    def blocks(self, key: str, from_ns: int, to_ns: int, count: int = 60) -> BlocksRow:
        if key != STREAM:
            return super().blocks(key, from_ns, to_ns, count)
        spectra = run()[0]
        times = np.array([self.begin_ns + s.time_ns for s in spectra])
        inside = times[(times >= from_ns) & (times < to_ns)]
        frames = [encode(self._block(s)) for s in spectra if self.begin_ns + s.time_ns in set(spread_over(inside, count).tolist())]
        return blocks_row(key, len(inside), frames, from_ns, to_ns, simulated=True)

    def _block(self, s: Spectrum) -> Block:
        facts = Acquisition(
            status="good" if s.status == 1 else "partial", counter=s.counter, integration_s=0.05, scans=32, instrument="NIR 1",
            probe="feed frame window", background="sha256:4ea5c508a6566e76240543f8feb06fd457777be39549c4016436afda65d2330e",
            background_ns=self.begin_ns - 600 * S, cycle=16,
        )  # fmt: skip
        status = np.array([SIMULATED if s.status == 1 else 0x808C0000], np.uint32)
        return Block(0, np.array([self.begin_ns + s.time_ns]), s.values[None].copy(), status, AXIS, "nm", "AU", acquisition=facts)

    def series(self, key: str, from_ns: int, to_ns: int, points: int = 500) -> SeriesRow:
        output = key.removeprefix("press-edge-1:nir1/api.")
        if output == key:
            return super().series(key, from_ns, to_ns, points)
        spectra, found, _ = run()
        row = super().series("press-edge-1:press1/main_force", from_ns, from_ns + 1, 1)
        column = found[:, {"value": 0, "low": 1, "high": 2, "t2": 3, "q": 4, "valid": 5}[output]]
        stride = max(1, len(spectra) // points)
        picked = range(0, len(spectra), stride)
        values = [None if np.isnan(column[i]) else float(column[i]) for i in picked]
        return row | {
            "tag": key, "time_ns": [self.begin_ns + spectra[i].time_ns for i in picked], "n": [1] * len(values), "mean": values, "min": values,
            "max": values, "first": values, "last": values, "n_bad": [int(v is None) for v in values], "n_uncertain": [0] * len(values),
            "worst_status": [SIMULATED] * len(values), "text": [],
        }  # fmt: skip


@pytest.fixture
def plant() -> Iterator[Plant]:
    made = Laboratory()
    yield made
    made.stop()


def test_a_choice_over_the_span_with_reference_and_facts() -> None:
    laboratory = Laboratory()
    row = laboratory.blocks(STREAM, 0, 2**62, 50)
    assert (len(row["time_ns"]), row["found"]) == (50, LINE_S / PERIOD_S)
    assert row["time_ns"][-1] == laboratory.begin_ns + LINE_S * S
    assert (row["axis_unit"], row["unit"], len(row["axis"]), len(row["values"][0])) == ("nm", "AU", 256, 256)
    assert row["acquisition"][0]["probe"] == "feed frame window"
    reference = row["reference"]
    assert reference is not None
    assert (np.array(reference["low"]) < reference["median"]).all()
    assert laboratory.blocks(STREAM, 5, 6)["time_ns"] == []


def test_another_axis_is_left_out_and_a_missing_point_is_null() -> None:
    def block(time_ns: int, axis: list[float], values: list[float]) -> bytes:
        return encode(Block(0, np.array([time_ns]), np.array([values]), np.zeros(1, np.uint32), np.array(axis), "nm", "AU"))

    row = blocks_row("e:a", 2, [block(1, [1.0, 2.0, 4.0], [1.0, 2.0, 3.0]), block(2, [1.0, 2.0, 3.0], [1.0, np.nan, 3.0])], 0, 9, simulated=False)
    assert (row["other_axis"], row["values"], row["reference"], row["acquisition"]) == (1, [[1.0, None, 3.0]], None, [{}])


@pytest.mark.browser
@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_shows_spectrum_reference_facts_and_the_soft_sensor(open_page: Open, language: str) -> None:
    page = open_page("#/trends", language=language)
    page.locator(".bar a[href='#/spectra']").click()
    page.wait_for_selector(".x-curve canvas")
    expect(page.locator("[data-fact=probe]")).to_have_text("feed frame window")
    expect(page.locator("[data-fact=integration_s]")).to_have_text("50 ms")
    expect(page.locator(".x-state")).to_have_attribute("data-quality", "good")
    expect(page.locator(".x-now")).to_contain_text("LC")
    expect(page.locator(".x-trend canvas")).to_be_visible()
    expect(page.locator(".x-odd canvas")).to_be_visible()
    clean(page)
    if os.environ.get("PHARMEDGE_SCREENSHOTS") == "1":
        page.set_viewport_size({"width": 1280, "height": 1400})
        page.wait_for_timeout(300)
        page.screenshot(path=IMAGES / f"console-spectra-{language}.png")
    # The keyboard reaches every spectrum of the picture: home is the oldest.
    page.locator(".x-slide").focus()
    page.keyboard.press("Home")
    expect(page.locator("[data-fact=counter]")).not_to_have_text("1800")
    page.keyboard.press("End")
    expect(page.locator("[data-fact=counter]")).to_have_text("1800")
