"""Walking a live OPC UA server into rows of a tag CSV, for a person to choose from and complete."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from edge_agent.core.status import CODE_MASK, UNCERTAIN_SIMULATED
from edge_agent.sources.opcua import OpcUaConfig
from edge_agent.sources.opcua_address import of_node_id
from edge_agent.sources.opcua_session import Kept, Session, reaching

COLUMNS: Final = (
    "name", "source", "address", "kind", "unit", "range_low", "range_high", "decimals", "description_en", "description_zh", "path", "class",
    "report", "expected_s", "record", "record_reason", "role",
)  # fmt: skip
_OBJECTS, _SERVER, _HIERARCHICAL, _HAS_PROPERTY, _HAS_SUBTYPE = 85, 2253, 33, 46, 45
_NUMERIC: Final = frozenset(range(1, 12)) | {26, 27, 28, 29}
"""Built-in data types that are numbers, with the abstract Number, Integer, UInteger and Enumeration (OPC 10000-6, annex A)."""
_TEXT: Final = frozenset({12, 21})
_PER_CALL: Final = 200
MAX_VARIABLES: Final = 100_000


@dataclass(slots=True)
class _Variable:
    node_id: Any
    name: str
    properties: dict[str, Any] = field(default_factory=dict)


class Browsed(NamedTuple):
    """What a walk found."""

    rows: list[dict[str, str]]
    """One row per scalar variable of numbers or text below Objects, in order of the walk; columns are COLUMNS."""
    simulated: bool
    """One of the first values carries UncertainSimulatedValue."""


async def browse(
    url: str,
    *,
    source: str,
    username: str | None = None,
    password: str | None = None,
    config: OpcUaConfig | None = None,
    data_dir: Path | None = None,
) -> Browsed:
    """Walk the objects of a server.

    `config` gives security and time-outs, `data_dir` the folder of the client's certificate. Every tag is by_exception and of class other until
    a person says otherwise: a server knows neither its period nor its criticality. Raises NotConnected.
    """
    config = config or OpcUaConfig(kind="opcua", name=source, url=url, username=username)
    with tempfile.TemporaryDirectory() as passing:
        # The walk has a session of its own and must not touch what a running agent keeps.
        session = Session(config, Path(passing), Kept(), certificates=data_dir or Path(passing), password=password)
        try:
            await session.open()
            return await _Walk(session, config, source).all()
        finally:
            await session.close()


class _Walk:
    def __init__(self, session: Session, config: OpcUaConfig, source: str) -> None:
        self._services, self._url, self._source = session.services, config.url, source
        self._session = session
        self._kinds: dict[Any, str] = {}

    async def all(self) -> Browsed:
        namespaces = await self._session.namespaces()
        variables = await self._variables()
        described = await self._described(variables)
        out: list[dict[str, str]] = []
        names: dict[str, int] = {}
        numeric: list[Any] = []
        for variable, (data_type, rank, description) in zip(variables, described, strict=True):
            kind = await self._kind(data_type)
            if not kind or (isinstance(rank, int) and rank >= 0):
                continue
            names[variable.name] = names.get(variable.name, 0) + 1
            name = variable.name if names[variable.name] == 1 else f"{variable.name}#{names[variable.name]}"
            row = dict.fromkeys(COLUMNS, "")
            row |= {"name": name, "source": self._source, "address": str(of_node_id(variable.node_id, namespaces)), "kind": kind}
            row |= {"class": "other", "report": "by_exception", "record": "raw", "role": "value"}
            row |= _of_properties(variable.properties, description)
            out.append(row)
            if kind == "numeric":
                numeric.append(variable.node_id)
        return Browsed(out, await self._simulated(numeric[:_PER_CALL]))

    async def _variables(self) -> list[_Variable]:
        """All variables below Objects with the values of their properties, level by level."""
        from asyncua import ua

        found: list[_Variable] = []
        level: list[tuple[Any, str]] = [(ua.NodeId(_OBJECTS), "")]
        seen: set[Any] = {ua.NodeId(_SERVER)}
        properties: list[tuple[_Variable, str, Any]] = []
        owners: dict[Any, _Variable] = {}
        while level and len(found) < MAX_VARIABLES:
            deeper: list[tuple[Any, str]] = []
            references = await self._references([node_id for node_id, _ in level], _HIERARCHICAL, ua.BrowseDirection.Forward)
            for (parent, path), children in zip(level, references, strict=True):
                for child in children:
                    short = (child.BrowseName.Name or "").replace("/", "_")
                    if child.ReferenceTypeId == ua.NodeId(_HAS_PROPERTY):
                        if parent in owners:
                            properties.append((owners[parent], short, child.NodeId))
                        continue
                    if child.NodeId in seen or child.NodeClass not in (ua.NodeClass.Object, ua.NodeClass.Variable):
                        continue
                    seen.add(child.NodeId)
                    name = f"{path}/{short}" if path else short
                    deeper.append((child.NodeId, name))
                    if child.NodeClass == ua.NodeClass.Variable and child.NodeId.NamespaceIndex != 0:
                        owners[child.NodeId] = _Variable(child.NodeId, name)
                        found.append(owners[child.NodeId])
            level = deeper
        wanted = [(v, n, i) for v, n, i in properties if n in ("EURange", "EngineeringUnits", "Description")]
        values = await self._read([(node_id, ua.AttributeIds.Value) for _, _, node_id in wanted])
        for (variable, name, _), value in zip(wanted, values, strict=True):
            variable.properties[name] = value
        return found

    async def _described(self, variables: Sequence[_Variable]) -> list[tuple[Any, Any, Any]]:
        """Data type, value rank and description of each variable."""
        from asyncua import ua

        attributes = (ua.AttributeIds.DataType, ua.AttributeIds.ValueRank, ua.AttributeIds.Description)
        values = await self._read([(variable.node_id, attribute) for variable in variables for attribute in attributes])
        return [(values[i], values[i + 1], values[i + 2]) for i in range(0, len(values), 3)]

    async def _simulated(self, numeric: Sequence[Any]) -> bool:
        from asyncua import ua

        values = await self._answers([(node_id, ua.AttributeIds.Value) for node_id in numeric])
        return any(value.StatusCode is not None and value.StatusCode.value & CODE_MASK == UNCERTAIN_SIMULATED for value in values)

    async def _read(self, wanted: Sequence[tuple[Any, Any]]) -> list[Any]:
        """Values of attributes, None for those that cannot be read."""
        answers = await self._answers(wanted)
        return [a.Value.Value if a.StatusCode is not None and a.StatusCode.is_good() and a.Value is not None else None for a in answers]

    async def _answers(self, wanted: Sequence[tuple[Any, Any]]) -> list[Any]:
        from asyncua import ua

        out: list[Any] = []
        for at in range(0, len(wanted), _PER_CALL):
            params = ua.ReadParameters()
            params.NodesToRead = [ua.ReadValueId(node_id, attribute) for node_id, attribute in wanted[at : at + _PER_CALL]]
            with reaching(self._url, "reading attributes"):
                results = await self._services.read(params)
            out += results
        return out

    async def _references(self, nodes: Sequence[Any], kind: int, direction: Any) -> list[list[Any]]:
        """References of each node, in the nodes' order."""
        from asyncua import ua

        out: list[list[Any]] = []
        for at in range(0, len(nodes), _PER_CALL):
            params = ua.BrowseParameters()
            params.RequestedMaxReferencesPerNode = 0
            params.NodesToBrowse = [_description(node_id, kind, direction) for node_id in nodes[at : at + _PER_CALL]]
            with reaching(self._url, "browsing"):
                results = await self._services.browse(params)
                for result in results:
                    references = list(result.References or [])
                    while result.ContinuationPoint:
                        more = ua.BrowseNextParameters()
                        more.ContinuationPoints = [result.ContinuationPoint]
                        (result,) = await self._services.browse_next(more)
                        references += result.References or []
                    out.append(references)
        return out

    async def _kind(self, data_type: Any) -> str:
        """`numeric`, `text` or "" of a data type, by its nearest built-in supertype."""
        from asyncua import ua

        if data_type is None:
            return ""
        climbed: list[Any] = []
        at = data_type
        while at not in self._kinds and len(climbed) < 20:
            climbed.append(at)
            if at.NamespaceIndex == 0 and at.Identifier in _NUMERIC | _TEXT:
                self._kinds[at] = "numeric" if at.Identifier in _NUMERIC else "text"
                break
            (above,) = await self._references([at], _HAS_SUBTYPE, ua.BrowseDirection.Inverse)
            if not above:
                self._kinds[at] = ""
                break
            at = above[0].NodeId
        kind = self._kinds.get(at, "")
        self._kinds.update(dict.fromkeys(climbed, kind))
        return kind


def _description(node_id: Any, kind: int, direction: Any) -> Any:
    from asyncua import ua

    out = ua.BrowseDescription()
    out.NodeId, out.ReferenceTypeId, out.BrowseDirection, out.IncludeSubtypes = node_id, ua.NodeId(kind), direction, True
    out.NodeClassMask, out.ResultMask = 0, ua.BrowseResultMask.All
    return out


def _of_properties(properties: dict[str, Any], description: Any) -> dict[str, str]:
    """Unit, range and description cells."""
    cells: dict[str, str] = {}
    units: Any = properties.get("EngineeringUnits")
    span: Any = properties.get("EURange")
    if getattr(getattr(units, "DisplayName", None), "Text", None):
        cells["unit"] = units.DisplayName.Text
    low, high = getattr(span, "Low", None), getattr(span, "High", None)
    if isinstance(low, float) and isinstance(high, float) and low < high:
        cells["range_low"], cells["range_high"] = f"{low:.15g}", f"{high:.15g}"
    texts: list[Any] = [properties.get("Description"), description]
    for text in texts:
        if getattr(text, "Text", None):
            column = "description_zh" if (text.Locale or "").lower().startswith("zh") else "description_en"
            cells.setdefault(column, text.Text)
    return cells

