"""Spectra and waveforms in MQTT messages, in every form, and what is none."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from edge_agent.core import Acquisition, Block, Tag, decode, encode
from edge_agent.core.status import BAD_DECODING, BAD_OUT_OF_SERVICE, BAD_SENSOR_FAILURE, UNCERTAIN_LAST_USABLE
from edge_agent.sources.blocks import AxisSection, BlockError, StreamSection
from edge_agent.sources.mqtt_blocks import binary, block_of
from edge_agent.sources.mqtt_payload import Columns, Parser, PoisonError, routes

NIR = Tag(id=3, name="blend/nir", kind="block", unit="AU")
FORCE = Tag(id=0, name="press1/main_force")
KNOWN = StreamSection(tag="blend/nir", axis=AxisSection(low=1100, high=1104, unit="nm"), probe="P1", integration_s=0.05)
NOW = 1_767_225_600_000_000_000


def said(**keys: Any) -> bytes:
    return json.dumps({"t": 5, "v": [0.1, 0.2, 0.3], "axis": [1100, 1102, 1104], "axis_unit": "nm"} | keys).encode()


def parsed(payload: bytes, tags: list[Tag], address: dict[int, str], parser: Parser, *, retained: bool = False) -> tuple[Any, ...]:
    columns = Columns()
    (found,) = routes(tags, address).values()
    parser.parse(found, payload, NOW, columns, retained=retained)
    return columns.items()


def test_json_and_binary_say_the_same() -> None:
    facts = {"status": "good", "counter": 7, "integration_s": 0.05, "probe": "P2", "background": "B-4", "cycle": 16}
    one = block_of(NIR, None, said(acquisition=facts), NOW)
    axis = np.array([1100.0, 1102.0, 1104.0])
    other = block_of(NIR, None, binary(np.array([0.1, 0.2, 0.3]), "f8", t=5, axis=axis.tolist(), axis_unit="nm", acquisition=facts), NOW)
    assert one == other
    assert one.acquisition == Acquisition(**facts)
    assert (one.time_ns.tolist(), one.status.tolist(), one.unit, one.axis_unit) == ([5], [0], "AU", "nm")
    assert decode(encode(one)) == one


def test_what_the_instrument_does_not_tell_comes_from_the_configuration() -> None:
    block = block_of(NIR, KNOWN, b'{"v": [1, 2, 3], "acquisition": {"probe": "P9"}}', NOW, UNCERTAIN_LAST_USABLE)
    assert block.axis.tolist() == [1100, 1102, 1104]
    assert block.acquisition == Acquisition(probe="P9", integration_s=0.05)
    assert (block.time_ns.tolist(), block.status.tolist()) == ([NOW], [UNCERTAIN_LAST_USABLE])


def test_a_waveform_of_integers_of_sixteen_bits() -> None:
    tag = Tag(id=4, name="pump/vibration", kind="block", unit="m/s2")
    block = block_of(tag, None, binary(np.arange(-128, 128), "i2", t=9, scale=0.25, axis={"low": 0, "step": 1 / 25600}, axis_unit="s"), NOW)
    assert block.values[0, :2].tolist() == [-32.0, -31.75]
    assert np.diff(block.axis) == pytest.approx(1 / 25600)


def test_several_spectra_in_one_message() -> None:
    block = block_of(NIR, None, said(t=[5, 6], v=[[1, 2, 3], [4, None, 6]], s=[0, 7]), NOW)
    assert block.values.shape == (2, 3)
    assert block.status.tolist() == [0, BAD_DECODING]


@pytest.mark.parametrize(
    ("facts", "status"),
    [({"status": "partial"}, BAD_SENSOR_FAILURE), ({"status": "unknown"}, BAD_SENSOR_FAILURE), ({"status": "good", "cycle": 2}, BAD_OUT_OF_SERVICE),
     ({"status": "good", "cycle": 16 + 32768}, 0), ({}, 0)],
)  # fmt: skip
def test_only_a_good_acquisition_of_a_sample_is_good(facts: dict[str, Any], status: int) -> None:
    assert block_of(NIR, None, said(acquisition=facts), NOW).status.tolist() == [status]


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        (b"{", "expected {"),
        (said(v=["1", 2, 3]), "got `str`"),
        (said(v=[1, [2], 3]), "one length"),
        (said(v=[]), "found none"),
        (said(axis=[1, 2]), "axis of 3 points"),
        (said(axis=[1, 3, 2]), "rises or falls"),
        (said(axis=None), "found neither"),
        (said(t=[1, 2]), "one time for each row"),
        (said(s=-1), ">= 0"),
        (said(wavelength=3), "unknown field"),
        (said(acquisition={"status": "fine"}), "found 'fine'"),
        (binary(np.arange(3.0), t=5)[:-1] + b"x", "damaged"),
        (b"PhBk", "12 or more"),
    ],
)
def test_what_is_no_block_is_poison(payload: bytes, says: str) -> None:
    with pytest.raises(PoisonError, match="blend/nir: ") as error:
        parsed(payload, [NIR], {3: "a"}, Parser())
    assert says in str(error.value)


def test_plain_arrays_in_any_json_beside_other_tags() -> None:
    parser = Parser("/when", "s", [KNOWN])
    items = parsed(b'{"when": 2, "f": 12.5, "x": {"y": [1, 2, 3]}}', [FORCE, NIR], {0: "a#/f", 3: "a#/x/y"}, parser)
    assert [type(i).__name__ for i in items] == ["Samples", "Block"]
    block = items[1]
    assert isinstance(block, Block)
    assert (block.time_ns.tolist(), block.axis_unit, block.values.tolist()) == ([2_000_000_000], "nm", [[1.0, 2.0, 3.0]])
    with pytest.raises(BlockError, match="one length"):
        block_of(NIR, KNOWN, b'{"v": [[1, 2], 3]}', NOW)


def test_an_axis_has_one_end() -> None:
    with pytest.raises(ValueError, match="either high"):
        AxisSection(low=1, high=2, step=0.1)
