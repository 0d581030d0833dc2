"""Browsing a live server into tag rows, and addresses by namespace URI."""

from __future__ import annotations

import base64
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from asyncua import ua
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core import NotConnected
from edge_agent.sources.opcua_address import Address, of_node_id, parse
from edge_agent.sources.opcua_browse import COLUMNS, browse
from tests.sources.opcua_plant import URI, Plant, Reader, free_port, source


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plant() -> AsyncIterator[Plant]:
    plant = await Plant(free_port(), names=(), before=("urn:other",)).start()
    server, n = plant.server, plant.index
    press = await server.nodes.objects.add_object(ua.NodeId("press1", n), ua.QualifiedName("press1", n))
    force = await press.add_variable(ua.NodeId("press1/force", n), ua.QualifiedName("force", n), 0.0, ua.VariantType.Double)
    await force.add_property(ua.NodeId(1, n), ua.QualifiedName("EURange", 0), ua.Range(0.0, 40.0))
    units = ua.EUInformation(DisplayName=ua.LocalizedText("kN"))
    await force.add_property(ua.NodeId(2, n), ua.QualifiedName("EngineeringUnits", 0), units)
    words = ua.Variant(ua.LocalizedText("Main force", "en"), ua.VariantType.LocalizedText)
    await force.write_attribute(ua.AttributeIds.Description, ua.DataValue(words))
    text = ua.LocalizedText("主压力", "zh-CN")
    await force.add_property(ua.NodeId(3, n), ua.QualifiedName("Description", 0), ua.Variant(text, ua.VariantType.LocalizedText))
    await press.add_variable(ua.NodeId(uuid.UUID(int=7), n), ua.QualifiedName("batch", n), "", ua.VariantType.String)
    await press.add_variable(ua.NodeId(4711, n), ua.QualifiedName("running", n), False, ua.VariantType.Boolean)
    await press.add_variable(ua.NodeId("wave", n), ua.QualifiedName("wave", n), [1.0, 2.0], ua.VariantType.Double)
    await press.add_variable(ua.NodeId("when", n), ua.QualifiedName("when", n), None, ua.VariantType.DateTime)
    duration = await press.add_variable(ua.NodeId("dwell", n), ua.QualifiedName("dwell", n), 1.0, ua.VariantType.Double, ua.NodeId(290))
    await duration.add_variable(ua.NodeId("raw", n), ua.QualifiedName("raw", n), 1, ua.VariantType.UInt16)
    yield plant
    await plant.stop()


@pytest.mark.asyncio(loop_scope="module")
async def test_every_scalar_variable_becomes_a_row_with_unit_range_and_description(plant: Plant) -> None:
    rows, simulated = await browse(plant.url, source="plc")
    assert not simulated
    assert [tuple(row) for row in rows] == [COLUMNS] * len(rows)
    found = {row["name"]: row for row in rows}
    assert set(found) == {"press1/force", "press1/batch", "press1/running", "press1/dwell", "press1/dwell/raw"}
    force = {k: v for k, v in found["press1/force"].items() if v}
    assert force == {
        "name": "press1/force", "source": "plc", "address": f"nsu={URI};s=press1/force", "kind": "numeric", "unit": "kN", "range_low": "0",
        "range_high": "40", "description_en": "Main force", "description_zh": "主压力", "class": "other", "report": "by_exception", "record": "raw",
        "role": "value",
    }  # fmt: skip
    assert found["press1/batch"]["kind"] == "text"
    assert found["press1/batch"]["address"] == f"nsu={URI};g=00000000-0000-0000-0000-000000000007"
    assert found["press1/running"]["address"] == f"nsu={URI};i=4711"


@pytest.mark.asyncio(loop_scope="module")
async def test_the_addresses_it_wrote_can_be_read(plant: Plant, tmp_path: Path) -> None:
    rows, _ = await browse(plant.url, source="plc")
    plc = source(plant, tmp_path, tuple(row["name"] for row in rows))
    plc._plug.address.update({i: row["address"] for i, row in enumerate(rows)})
    reader = Reader(plc)
    assert (await reader.open()).state == "connected"
    assert "tag_failed" not in reader.states()
    await plc.close()
    assert plant.server.iserver._external_sessions == {}


@pytest.mark.asyncio(loop_scope="module")
async def test_a_server_that_is_not_there_cannot_be_browsed() -> None:
    with pytest.raises(NotConnected):
        await browse(f"opc.tcp://127.0.0.1:{free_port()}/", source="plc")


URIS = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=20)
IDS = st.one_of(
    st.tuples(st.just("i"), st.integers(0, 2**32 - 1)), st.tuples(st.just("s"), st.text(min_size=1)), st.tuples(st.just("g"), st.uuids()),
    st.tuples(st.just("b"), st.binary(min_size=1)),
)  # fmt: skip


@given(URIS, IDS)
def test_an_address_is_what_its_text_says_and_back(uri: str, node: tuple[str, object]) -> None:
    address = Address(uri, *node)  # type: ignore[arg-type]
    assert parse(str(address)) == address
    namespaces = ["http://opcfoundation.org/UA/", "urn:server", "urn:x", uri]
    assert of_node_id(address.node_id(namespaces), namespaces) == address


def test_an_address_without_namespace_takes_the_sources_own() -> None:
    assert parse("s=a", "urn:x") == Address("urn:x", "s", "a")
    assert parse("i=2258", "urn:x") == Address("", "i", 2258)
    assert parse("ns=0;i=2258") == Address("", "i", 2258)
    assert parse(f"nsu=u;b={base64.b64encode(b'x').decode()}") == Address("u", "b", b"x")


@pytest.mark.parametrize("text", ["", "press1/force", "ns=2;s=a", "nsu=u;i=x", "i=4294967296", "nsu=u;g=1", "nsu=u;b=%", "nsu=;s=a", "nsu=u;s="])
def test_an_address_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="address: expected"):
        parse(text)
