"""The slow verifying read: by-exception tags that have nothing to say are asked now and then whether they still could.

A subscription whose keep-alives arrive proves the link, not the tag behind it: a server may have lost a device and forgotten to say so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from edge_agent.core.status import BAD_NO_COMMUNICATION, BAD_WAITING_FOR_INITIAL_DATA
from edge_agent.sources.opcua_session import reaching

if TYPE_CHECKING:
    from edge_agent.sources.opcua_session import Session
    from edge_agent.sources.opcua_settings import OpcUaSettings
    from edge_agent.sources.opcua_subscription import Wanted

READ_CHUNK: Final = 500
"""Tags asked in one call."""


async def unanswered(session: Session, config: OpcUaSettings, items: Sequence[Wanted], namespaces: Sequence[str]) -> dict[int, tuple[int, str]]:
    """The tags whose value cannot be read just now, with StatusCode and words; raises NotConnected when the link is gone.

    A tag that still waits for its first value has not failed.
    """
    from asyncua import ua

    failed: dict[int, tuple[int, str]] = {}
    for start in range(0, len(items), READ_CHUNK):
        part = items[start : start + READ_CHUNK]
        nodes = [item.address.node_id(namespaces) for item in part]
        with reaching(config.url, f"a verifying read of {len(part)} tags"):
            try:
                results = await session.services.read_attributes(nodes, ua.AttributeIds.Value)
            except ua.UaStatusCodeError as error:
                failed |= {item.tag: (error.code, "the verifying read was refused") for item in part}
                continue
        for item, result in zip(part, results, strict=True):
            status = result.StatusCode.value if result.StatusCode is not None else 0
            if status >> 30 >= 2 and status != BAD_WAITING_FOR_INITIAL_DATA:
                failed[item.tag] = (status, f"the verifying read found {result.StatusCode.name}")
        failed |= {item.tag: (BAD_NO_COMMUNICATION, "the verifying read was not answered") for item in part[len(results) :]}
    return failed
