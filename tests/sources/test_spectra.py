import asyncio
import os
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
import spc_io
from spc_io.high_level import EvenAxis

from edge_agent.core import NotConnected, Tag
from edge_agent.core.status import BAD_DECODING
from edge_agent.sources.source import Plug
from edge_agent.sources.spectra import SpectraConfig, SpectraSource
from edge_agent.sources.spectra_files import SpectrumError, block_of
from edge_agent.sources.zone import ZonedSource

TAG = Tag(id=3, name="blend/nir", kind="block", unit="AU")
T = 1_760_000_000_000_000_000
X = np.arange(1000.0, 1010.0)
Y = np.linspace(0.1, 0.55, 10)

JCAMP = (
    b"##TITLE=blend\n##JCAMP-DX=4.24\n##DATA TYPE=INFRARED SPECTRUM\n##LONGDATE=2025/10/09 08:53:20\n##XUNITS=1/CM\n##YUNITS=ABSORBANCE\n"
    b"##FIRSTX=1000\n##LASTX=1009\n##NPOINTS=10\n##XFACTOR=1\n##YFACTOR=0.01\n##DELTAX=1\n##FIRSTY=0.1\n##XYDATA=(X++(Y..Y))\n"
    b"1000 10 15 20 25 30\n1005 35 40 45 50 55\n##END=\n"
)

LINK = b"##TITLE=study\n##JCAMP-DX=4.24\n##DATA TYPE=LINK\n##BLOCKS=1\n"
NO_POINTS = LINK + b"##TITLE=blend\n##JCAMP-DX=4.24\n##DATA TYPE=INFRARED SPECTRUM\n##XYPOINTS=(XY..XY)\n##END=\n##END=\n"


def text(seed=0.0):
    return (
        "# time: 2025-10-09T08:53:20Z\n# axis_unit: nm\n# unit: AU\nnm,absorbance\n" + "".join(f"{x},{y + seed}\n" for x, y in zip(X, Y, strict=True))
    ).encode()


def spc(n=1):
    made = spc_io.SPC(xarray=EvenAxis(start=1000.0, stop=1009.0, num=10), xtype="XNMETR", ytype="YABSRB", date=datetime(2025, 10, 9, 8, 53))  # noqa: DTZ001
    for i in range(n):
        made.add_subfile(yarray=Y, w=0.0, z=float(i))
    return made.to_spc_raw().to_bytes()


def test_jcamp_spc_and_csv_bring_axis_units_and_time():
    for name, data, unit in (("a.jdx", JCAMP, "1/cm"), ("a.dx", LINK + JCAMP + b"##END=\n", "1/cm"), ("a.csv", text(), "nm"), ("a.spc", spc(), "")):
        block = block_of(name, data, TAG, 5)
        np.testing.assert_allclose(block.values[0], Y, atol=1e-7)
        np.testing.assert_allclose(block.axis, X)
        assert (block.tag, block.axis_unit, block.time_ns.tolist()) == (3, unit, [T if name != "a.spc" else T - 20 * 10**9])


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.jdx", JCAMP[:-8], "##END="),
        ("a.jdx", JCAMP.replace(b"NPOINTS=10", b"NPOINTS=11"), "NPOINTS=11"),
        ("a.csv", text()[:-1], "line end"),
        ("a.csv", text() + b"oops\n", "line 15: expected two numbers, found 'oops'"),
        ("a.csv", b"1,2\n1,3\n", "rises or falls"),
        ("a.csv", text() + text().partition(b"absorbance\n")[2], "found 1000 behind 1009 (point 11)"),
        ("a.csv", b"nm,a,b\n1,2,3\n2,3,4\n", "line 2: expected axis and value of one spectrum, found 3 numbers"),
        ("a.csv", b"1100,5,0,41\n", "found 4 numbers"),
        ("a.csv", b"nm;AU\n", "at least 2, found none: 'nm;AU'"),
        ("a.jdx", JCAMP + JCAMP, "expected one spectrum in a file, found 2"),
        ("a.jdx", JCAMP.replace(b"XYDATA=", b"NOTHING="), "expected one spectrum in a file, found 0"),
        ("a.jdx", NO_POINTS, "expected a block with points in a LINK file, found none in 1"),
        ("a.spc", spc(2), "expected one spectrum in a file, found 2"),
        ("a.csv", b"# nothing\n", "at least 2"),
        ("a.spc", b"\x00" * 40, "expected a spc file"),
        ("a.spc", spc()[:1] + b"\x4d" + spc()[2:], "LSB"),
        ("a.jdx", JCAMP.replace(b"1000 10 15", b"1000 10 |5"), "Unknown character"),
        ("a.jdx", JCAMP.replace(b"NPOINTS=10", b"NPOINTS=1000000000"), "expected at most 4000000 points"),
        ("a.txt", b"", "an ending"),
    ],
)
def test_what_is_no_whole_spectrum_is_named(name, data, says):
    with pytest.raises(SpectrumError, match="^" + name) as error:
        block_of(name, data, TAG, 5)
    assert says in str(error.value)


@pytest.mark.parametrize(
    "data",
    [
        "".join(f"{x:.1f};{y:.4f}\n" for x, y in zip(X, Y, strict=True)).replace(".", ",").encode("utf-8-sig"),
        ("波长 (nm)\t吸光度\r\n" + "".join(f"{x:.1f}\t{y:.4f}\r\n" for x, y in zip(X, Y, strict=True)).replace(".", ",")).encode("gb18030"),
        ("nm\tAU\r\n" + "".join(f"{x:.1f}\t{y:.4f}\r\n" for x, y in zip(X, Y, strict=True))).encode("utf-16"),
        "".join(f"  {x:.1f}   {y:.4e}\n" for x, y in zip(X[::-1], Y[::-1], strict=True)).encode(),
    ],
    ids=["semicolons and decimal commas", "tabs, in Chinese", "UTF-16 of a spreadsheet", "blanks, falling"],
)
def test_separators_decimal_signs_and_encodings_of_the_field_are_read(data):
    block = block_of("a.csv", data, TAG, 5)
    order = np.argsort(block.axis)
    np.testing.assert_allclose(block.axis[order], X)
    np.testing.assert_allclose(block.values[0][order], Y, atol=1e-4)


def test_a_missing_point_makes_the_spectrum_bad():
    block = block_of("a.csv", text().replace(b"1003.0,0.25", b"1003.0,nan"), TAG, 5)
    assert block.status.tolist() == [BAD_DECODING]


def test_when_a_file_was_measured():
    """JCAMP-DX with fraction and offset; SPC counts minutes, and a file that was written within them says the second; a zone is told of offsets."""
    fine = JCAMP.replace(b"08:53:20", b"16:53:20.25 +0800")
    assert block_of("a.jdx", fine, TAG, 5).time_ns.tolist() == [T + 250_000_000]
    minute = T - 20 * 10**9
    assert [int(block_of("a.spc", spc(), TAG, minute + s * 10**9).time_ns[0]) - minute for s in (12, 75, 500)] == [12 * 10**9, 60 * 10**9 - 1, 0]
    shanghai = ZoneInfo("Asia/Shanghai")
    hours = 8 * 3600 * 10**9
    assert block_of("a.jdx", fine, TAG, 5, zone=shanghai).time_ns.tolist() == [T + 250_000_000 + hours]
    assert block_of("a.jdx", JCAMP, TAG, 5, zone=shanghai).time_ns.tolist() == [T]


class Folder:
    def __init__(self, tmp_path: Path, **options) -> None:
        self.path = tmp_path / "in"
        self.path.mkdir()
        self.now = T
        self.data = tmp_path / "data"
        self.config = SpectraConfig(kind="spectra", name="nir", folder=self.path, **options)
        self.source = self.new()

    def new(self) -> SpectraSource:
        self.plug = Plug("nir", [TAG], {3: ""}, lambda: self.now, self.data)

        async def sleep(_: float) -> None:
            self.now += 1_000_000_000
            await asyncio.sleep(0)

        return SpectraSource(self.config, self.plug, sleep=sleep)

    def put(self, name: str, data: bytes, age_s: float = 0.0) -> None:
        (self.path / name).write_bytes(data)
        at = self.now - int(age_s * 1e9)
        os.utime(self.path / name, ns=(at, at))


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


async def test_files_come_once_whole_and_in_order_and_are_not_touched(folder):
    await folder.source.open(None)
    folder.put("b.csv", text(0.2), age_s=3)
    folder.put("a.csv", text(0.1), age_s=2)
    folder.put("copy.csv", text(0.1), age_s=1.5)
    folder.put("fresh.csv", text(0.3))
    first = await folder.source.read()
    assert [round(float(b.values[0, 0]), 3) for b in first.items] == [0.3, 0.2]
    assert folder.plug.counters["duplicates"] == 1
    second = await folder.source.read()
    assert [round(float(b.values[0, 0]), 3) for b in second.items] == [0.4]
    assert sorted(p.name for p in folder.path.iterdir()) == ["a.csv", "b.csv", "copy.csv", "fresh.csv"]


async def test_what_was_committed_is_not_taken_again_and_what_was_not_is(folder):
    await folder.source.open(None)
    folder.put("a.csv", text(0.1), age_s=5)
    first = await folder.source.read()
    folder.put("b.csv", text(0.2), age_s=4)
    lost = await folder.source.read()
    assert len(lost.items) == 1
    folder.source = folder.new()
    await folder.source.open(first.resume)  # the agent died before b was durable
    again = await folder.source.read()
    assert [round(float(b.values[0, 0]), 3) for b in again.items] == [0.3]
    folder.put("renamed.csv", text(0.1), age_s=3)
    folder.put("c.csv", text(0.5), age_s=2)
    assert len((await folder.source.read()).items) == 1


async def test_a_file_that_cannot_be_read_is_tried_again_and_then_kept(folder):
    await folder.source.open(None)
    folder.put("half.jdx", JCAMP[:-8], age_s=2)
    folder.put("good.csv", text(), age_s=2)
    assert len((await folder.source.read()).items) == 1
    folder.put("half.jdx", JCAMP, age_s=1)
    assert len((await folder.source.read()).items) == 1
    folder.put("never.jdx", b"##TITLE=x\n", age_s=2)
    gone = await folder.source.read()
    assert gone.items == ()
    assert folder.plug.counters["dead_letters"] == 1
    assert "##END=" in (folder.data / "dead-letters.jsonl").read_text()


async def test_a_file_of_linked_blocks_without_points_does_not_hold_up_the_others(folder):
    await folder.source.open(None)
    folder.put("link.jdx", NO_POINTS, age_s=100)
    folder.put("good.csv", text(), age_s=2)
    assert len((await asyncio.wait_for(folder.source.read(), 60.0)).items) == 1
    assert folder.plug.counters["dead_letters"] == 1
    assert "LINK file" in (folder.data / "dead-letters.jsonl").read_text()


async def test_a_folder_that_is_not_there_is_not_connected(folder):
    folder.path.rmdir()
    with pytest.raises(NotConnected, match="no such folder"):
        await folder.source.open(None)
    folder.path.mkdir()
    await folder.source.open(None)
    folder.path.rmdir()
    with pytest.raises(NotConnected):
        await folder.source.read()


async def test_in_local_time_a_file_settles_and_is_stamped_by_the_clock_of_the_plant(tmp_path):
    folder = Folder(tmp_path, time={"assumed_zone": "Asia/Shanghai"})
    zone = ZoneInfo("Asia/Shanghai")
    plug = Plug("nir", [TAG], {3: ""}, lambda: folder.now, folder.data)

    def made(inner):
        async def sleep(_: float) -> None:
            folder.now += 1_000_000_000
            await asyncio.sleep(0)

        return SpectraSource(folder.config, inner, sleep=sleep)

    source = ZonedSource.of(made, plug, zone.key)
    await source.open(None)
    began = folder.now
    folder.put("fresh.csv", b"\n".join(line for line in text().splitlines() if b"time" not in line) + b"\n")
    (block,) = (await source.read()).items
    assert folder.now >= began + 10**9  # it was waited for until it had not changed for a second
    assert block.time_ns.tolist() == [began]
