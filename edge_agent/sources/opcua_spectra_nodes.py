"""Where an OPC UA server keeps what belongs to a spectrum, and how its values become a block (OPC 10020, OPC 30500, OPC 10000-8)."""

from __future__ import annotations

import datetime
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from edge_agent.core import Acquisition, Block, Tag
from edge_agent.core.samples import Float64
from edge_agent.core.status import UNCERTAIN
from edge_agent.sources.blocks import STATUSES, BlockError, block, spread
from edge_agent.sources.opcua_session import Session, reaching

if TYPE_CHECKING:
    from edge_agent.sources.opcua_settings import OpcUaServer
    from edge_agent.sources.opcua_spectra import OpcUaStream

_ARRAYS: Final = ("ScaledData", "SensorValue", "RawData", "RawValue")
"""Names of the array in an ADI stream and in a LADS sensor function; scaled goes before raw."""
_BESIDE: Final = {
    "AcquisitionCounter": "counter", "AcquisitionResultStatus": "status", "AcquisitionEndTime": "end_time", "ActiveBackground": "background",
    "ActiveBackground1": "background", "IntegrationTime": "integration_s", "NumberOfScans": "scans", "RequestedNumberOfScans": "scans",
    "ExecutionCycle": "cycle", "SampleId": "sample",
}  # fmt: skip
"""Names of what stands beside the array, or in the folder Context there (ADI, StreamType.ParameterSet)."""
_BELOW: Final = {"XAxisDefinition": "axis", "EngineeringUnits": "unit"}
_HIERARCHICAL: Final = 33
_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


@dataclass(frozen=True, slots=True)
class Value:
    """One attribute as it was read: value None where there is none, StatusCode, source time in ns UTC or None."""

    value: Any
    status: int
    source_ns: int | None


async def read_values(session: Session, config: OpcUaServer, nodes: Sequence[Any]) -> list[Value]:
    """The values of nodes, all in one Read."""
    from asyncua import ua

    params = ua.ReadParameters()
    params.NodesToRead = [ua.ReadValueId(node_id, ua.AttributeIds.Value) for node_id in nodes]
    params.TimestampsToReturn = ua.TimestampsToReturn.Both
    with reaching(config.url, "reading spectra"):
        results = await session.services.read(params)
    return [
        Value(
            None if r.Value is None else r.Value.Value, 0 if r.StatusCode is None else int(r.StatusCode.value),
            _ns(r.SourceTimestamp) if r.SourceTimestamp is not None else _ns(r.ServerTimestamp),
        )
        for r in results
    ]  # fmt: skip


def _ns(moment: Any) -> int | None:
    if not isinstance(moment, datetime.datetime) or moment.year < 1971:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
    return int((moment - _EPOCH) // datetime.timedelta(microseconds=1)) * 1000


async def located(session: Session, config: OpcUaServer, tag: Tag, text: str, stream: OpcUaStream) -> dict[str, Any]:
    """Node ids by role of one tag's stream; BlockError when there is no array."""
    from asyncua import ua

    namespaces = await session.namespaces()

    def node(address: str) -> Any:
        try:
            return config.address(address).node_id(namespaces)
        except (ValueError, KeyError) as error:
            raise BlockError(f"{tag.name}: address {address!r}: {error}") from error

    at = node(text or tag.name)
    around: dict[str, Any] = {}
    data = at
    with reaching(config.url, f"looking for {tag.name}"):
        (of,) = await session.services.read_attributes([at], ua.AttributeIds.NodeClass)
        if of.StatusCode is not None and not of.StatusCode.is_good():
            raise BlockError(f"{tag.name}: address {text!r}: {of.StatusCode.name}")
        if of.Value.Value == ua.NodeClass.Variable:
            for parent in await _references(session, at, ua.BrowseDirection.Inverse):
                around |= await _named(session, parent.NodeId)
        else:
            around = await _named(session, at)
            if "ParameterSet" in around:
                around |= await _named(session, around["ParameterSet"])
            found = next((around[name] for name in _ARRAYS if name in around), None)
            if found is None:
                raise BlockError(f"{tag.name}: expected {', '.join(_ARRAYS)} in {text!r}, found {', '.join(sorted(around)) or 'nothing'}")
            data = found
        if "Context" in around:
            around |= await _named(session, around["Context"])
        below = await _named(session, data)
    roles = {"data": data}
    roles |= {role: around[name] for name, role in _BESIDE.items() if name in around}
    roles |= {role: below[name] for name, role in _BELOW.items() if name in below}
    told = stream.nodes.model_dump()
    return roles | {role: node(address) for role, address in told.items() if address}


async def _named(session: Session, node_id: Any) -> dict[str, Any]:
    from asyncua import ua

    return {r.BrowseName.Name or "": r.NodeId for r in await _references(session, node_id, ua.BrowseDirection.Forward)}


async def _references(session: Session, node_id: Any, direction: Any) -> list[Any]:
    from asyncua import ua

    wanted = ua.BrowseDescription()
    wanted.NodeId, wanted.ReferenceTypeId, wanted.BrowseDirection, wanted.IncludeSubtypes = node_id, ua.NodeId(_HIERARCHICAL), direction, True
    wanted.NodeClassMask, wanted.ResultMask = 0, ua.BrowseResultMask.All
    params = ua.BrowseParameters()
    params.RequestedMaxReferencesPerNode, params.NodesToBrowse = 0, [wanted]
    (result,) = await session.services.browse(params)
    return list(result.References or [])


def made(tag: Tag, stream: OpcUaStream, values: dict[str, Value], received_ns: int) -> tuple[Block, int | None]:
    """The block of one acquisition, and its number; BlockError when the array or its axis cannot be had."""
    data = values["data"]
    if not isinstance(data.value, list | tuple) or len(data.value) < 2:
        raise BlockError(f"{tag.name}: expected an array of 2 or more numbers, found {type(data.value).__name__} with status {data.status:#010x}")
    axis, axis_unit, points = _axis(tag, stream, data.value, values)
    acquisition = _acquisition(stream, values)
    end = values.get("end_time")
    time_ns = (_ns(end.value) if end is not None else None) or data.source_ns
    status = data.status if time_ns is not None else max(data.status, UNCERTAIN)
    unit = str(getattr(getattr(values["unit"].value, "DisplayName", None), "Text", "") or "") if "unit" in values else ""
    time_ns = received_ns if time_ns is None else time_ns
    try:
        made = block(tag, [time_ns], points, axis, axis_unit, unit, status=status, acquisition=acquisition)
    except BlockError as error:
        raise BlockError(f"{tag.name}: {error}") from error
    return made, acquisition.counter if acquisition is not None else None


def _axis(tag: Tag, stream: OpcUaStream, data: Sequence[Any], values: dict[str, Value]) -> tuple[Float64, str, Float64]:
    told = values["axis"].value if "axis" in values else None
    unit = str(getattr(getattr(getattr(told, "EngineeringUnits", None), "DisplayName", None), "Text", "") or "")
    if hasattr(data[0], "X"):  # XYArrayItemType
        return np.array([p.X for p in data], np.float64), unit, np.array([p.Value for p in data], np.float64)
    try:
        points = np.array(data, np.float64)
    except (ValueError, TypeError) as error:
        raise BlockError(f"{tag.name}: expected an array of numbers, found {type(data[0]).__name__}") from error
    if points.ndim != 1:
        raise BlockError(f"{tag.name}: expected an array of one dimension, found {points.ndim}")
    steps, span = list(getattr(told, "AxisSteps", None) or []), getattr(told, "EURange", None)
    if steps:
        return np.array(steps, np.float64), unit, points
    scale = getattr(told, "AxisScaleType", 0)
    if span is not None and span.Low != span.High and int(scale or 0) == 0:
        return spread(float(span.Low), float(span.High), None, len(points)), unit, points
    if stream.axis is None:
        raise BlockError(f"{tag.name}: expected an axis at the server (XAxisDefinition, linear or with steps) or in the configuration, found neither")
    return stream.axis.points(len(points)), stream.axis.unit, points


def _acquisition(stream: OpcUaStream, values: dict[str, Value]) -> Acquisition | None:
    def number(role: str, least: float) -> float | None:
        value = values[role].value if role in values else None
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= least else None

    told = values["status"].value if "status" in values else ""
    if isinstance(told, int):
        told = STATUSES[told] if 0 <= told < len(STATUSES) else "unknown"
    status = str(getattr(told, "Text", told) or "").lower()
    if "status" in values and (status not in STATUSES or values["status"].status >> 31):
        status = "unknown"  # an instrument that keeps a status and does not say it is not believed
    background, background_ns = _background(values.get("background"))
    counter, scans, cycle, integration = number("counter", 0), number("scans", 1), number("cycle", 0), number("integration_s", 0)

    def text(role: str) -> str:
        value = values[role].value if role in values else ""
        return str(getattr(value, "Text", value) or "")

    own = Acquisition(
        status=status, counter=None if counter is None else int(counter), integration_s=integration, scans=None if scans is None else int(scans),
        probe=text("probe"), background=background, background_ns=background_ns, cycle=None if cycle is None else int(cycle), sample=text("sample"),
    )  # fmt: skip
    return stream.acquisition(own)


def _background(told: Value | None) -> tuple[str, int | None]:
    """Name of the background reference, or the hash of its values as float64, and its time."""
    if told is None or told.value is None or told.status >> 31:
        return "", None
    if isinstance(told.value, list | tuple):
        if not told.value:
            return "", None
        return "sha256:" + hashlib.sha256(np.array(told.value, "<f8").tobytes()).hexdigest(), told.source_ns
    return str(getattr(told.value, "Text", told.value)), told.source_ns
