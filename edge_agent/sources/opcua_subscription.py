"""What a subscription is made of and how a server is asked for it: items in chunks, republishing, transfer (OPC 10000-4, 5.13 and 5.14)."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from edge_agent.core import Tag
from edge_agent.sources.opcua_address import Address
from edge_agent.sources.opcua_decode import REPUBLISH_RESPONSE, envelope
from edge_agent.sources.opcua_session import Session, reaching

if TYPE_CHECKING:
    from edge_agent.sources.opcua_settings import OpcUaSettings

MAX_MONITORED_ITEMS_PER_CALL: Final = 11714
CHUNK: Final = 1000
"""Items per call where the server states no limit: the smallest limit met in the field (S7-1200)."""

BAD_NODE_ID_INVALID: Final = 0x80330000
_TOO_LARGE: Final = frozenset({0x80100000, 0x80B80000, 0x80B90000, 0x80080000})
"""BadTooManyOperations, BadRequestTooLarge, BadResponseTooLarge, BadEncodingLimitsExceeded: ask for fewer."""
_FILTER_REFUSED: Final = frozenset({0x80430000, 0x80440000, 0x80450000, 0x808E0000})
"""BadMonitoredItemFilterInvalid, BadMonitoredItemFilterUnsupported, BadFilterNotAllowed, BadDeadbandFilterInvalid."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One tag's monitored item: sampling in ms (0 as fast as the server can), queue in values."""

    tag: int
    address: Address
    sampling_ms: float
    queue: int


@dataclass(slots=True)
class Granted:
    """What the server made of it: queue size by tag id, refusals by tag id (StatusCode, text), how many tags it gave no trigger on time or a
    slower sampling than asked for."""

    queue: dict[int, int] = field(default_factory=dict)
    refused: dict[int, tuple[int, str]] = field(default_factory=dict)
    without_filter: int = 0
    slowed: int = 0


def wanted(tag: Tag, address: Address, config: OpcUaSettings) -> Wanted:
    """Sampling twice per expected period of a periodic tag, else once per publishing interval; a queue for twice what one interval can hold."""
    sampling = config.sampling_ms
    if sampling is None:
        sampling = config.publishing_ms if tag.expected_s is None else min(config.publishing_ms, tag.expected_s * 500.0)
    queue = config.queue_size if sampling <= 0 else max(config.queue_size, 2 * math.ceil(config.publishing_ms / sampling))
    return Wanted(tag.id, address, sampling, queue)


def plan_of(items: Iterable[Wanted], config: OpcUaSettings) -> str:
    """Fingerprint of all that a subscription on the server must match to be taken up again."""
    lines = [f"{config.url} {config.publishing_ms} {config.keepalive_count} {config.lifetime_count}"]
    lines += [f"{item.tag} {item.address} {item.sampling_ms} {item.queue}" for item in items]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:32]


async def create(session: Session, config: OpcUaSettings) -> tuple[int, float, int]:
    """Id, publishing interval in ms and keep-alive count of a new subscription, as the server revised them."""
    from asyncua import ua
    from asyncua.ua.ua_binary import struct_from_binary

    request = ua.CreateSubscriptionRequest()
    p = request.Parameters
    p.RequestedPublishingInterval = config.publishing_ms
    p.RequestedMaxKeepAliveCount, p.RequestedLifetimeCount = config.keepalive_count, config.lifetime_count
    p.PublishingEnabled = True
    with reaching(config.url, "creating a subscription"):
        body = await session.call(request)
        response = struct_from_binary(ua.CreateSubscriptionResponse, ua.utils.Buffer(body))
        response.ResponseHeader.ServiceResult.check()
    found = response.Parameters
    return int(found.SubscriptionId), float(found.RevisedPublishingInterval), int(found.RevisedMaxKeepAliveCount)


async def alive(session: Session, config: OpcUaSettings, subscription: int) -> bool:
    """Whether the server still has the subscription; asking resets its lifetime."""
    from asyncua import ua

    p = ua.ModifySubscriptionParameters()
    p.SubscriptionId = subscription
    p.RequestedPublishingInterval = config.publishing_ms
    p.RequestedMaxKeepAliveCount, p.RequestedLifetimeCount = config.keepalive_count, config.lifetime_count
    with reaching(config.url, "looking for its subscription"):
        try:
            await session.services.modify_subscription(p)
        except ua.UaStatusCodeError:
            return False
    return True


async def transfer(session: Session, config: OpcUaSettings, subscription: int) -> bool:
    """Move a subscription of a lost session to this one, with its present values sent again; False when the server will not."""
    from asyncua import ua

    params = ua.TransferSubscriptionsParameters()
    params.SubscriptionIds, params.SendInitialValues = [subscription], True
    with reaching(config.url, "transferring its subscription"):
        try:
            (result,) = await session.services.transfer_subscriptions(params)
        except ua.UaStatusCodeError:
            return False
    return bool(result.StatusCode.is_good())


async def delete(session: Session, config: OpcUaSettings, subscription: int) -> None:
    """Delete a subscription that is of no more use; a server that does not have it is as good."""
    from asyncua import ua

    with reaching(config.url, "deleting its old subscription"):
        try:
            await session.services.delete_subscriptions([subscription])
        except ua.UaStatusCodeError:
            return


async def republish(session: Session, config: OpcUaSettings, subscription: int, sequence: int) -> tuple[bytes, int] | None:
    """Body and offset of a NotificationMessage that the server still holds, None when it does not."""
    from asyncua import ua

    request = ua.RepublishRequest()
    request.Parameters.SubscriptionId, request.Parameters.RetransmitSequenceNumber = subscription, sequence
    with reaching(config.url, f"asking for message {sequence} again"):
        try:
            body = await session.call(request)
        except ua.UaStatusCodeError:
            return None
    head = envelope(body)
    # asyncua's server answers an empty message of number 0 where BadMessageNotAvailable is due.
    if head.type_id != REPUBLISH_RESPONSE or head.result >> 30 or int.from_bytes(body[head.at : head.at + 4], "little") != sequence:
        return None
    return body, head.at


async def items_per_call(session: Session, config: OpcUaSettings) -> int:
    """The server's limit of monitored items per call, CHUNK where it states none or a larger one."""
    from asyncua import ua

    with reaching(config.url, "reading its limits"):
        try:
            (found,) = await session.services.read_attributes([ua.NodeId(MAX_MONITORED_ITEMS_PER_CALL)], ua.AttributeIds.Value)
        except ua.UaStatusCodeError:
            return CHUNK
    limit = found.Value.Value if found.Value is not None and found.StatusCode.is_good() else None
    return min(CHUNK, limit) if isinstance(limit, int) and limit > 0 else CHUNK


async def add_items(
    session: Session, config: OpcUaSettings, subscription: int, items: Sequence[Wanted], namespaces: Sequence[str], chunk: int
) -> Granted:
    """Create the monitored items, each on its own merits: one that is refused is told in `refused` and stops no other."""
    from asyncua import ua

    granted = Granted()
    pending: list[tuple[Wanted, Any, bool]] = []
    for item in items:
        try:
            pending.append((item, item.address.node_id(namespaces), True))
        except KeyError:
            granted.refused[item.tag] = (BAD_NODE_ID_INVALID, f"{item.address}: the server has no such namespace")
    while pending:
        part = pending[:chunk]
        params = ua.CreateMonitoredItemsParameters()
        params.SubscriptionId, params.TimestampsToReturn = subscription, ua.TimestampsToReturn.Both
        params.ItemsToCreate = [_request(item, node_id, filtered) for item, node_id, filtered in part]
        with reaching(config.url, f"creating {len(part)} monitored items"):
            try:
                results = await session.services.create_monitored_items(params)
            except ua.UaStatusCodeError as error:
                if error.code not in _TOO_LARGE or len(part) == 1:
                    raise
                chunk = max(1, len(part) // 2)
                continue
        pending = pending[len(part) :]
        for (item, node_id, filtered), result in zip(part, results, strict=True):
            code = result.StatusCode.value
            if result.StatusCode.is_good():
                granted.queue[item.tag] = int(result.RevisedQueueSize)
                granted.without_filter += not filtered
                granted.slowed += result.RevisedSamplingInterval > item.sampling_ms > 0
            elif filtered and code & 0xFFFF0000 in _FILTER_REFUSED:
                pending.append((item, node_id, False))
            else:
                granted.refused[item.tag] = (code, f"{item.address}: {result.StatusCode.name}")
    return granted


def _request(item: Wanted, node_id: Any, filtered: bool) -> Any:
    from asyncua import ua

    request = ua.MonitoredItemCreateRequest()
    request.ItemToMonitor = ua.ReadValueId(node_id, ua.AttributeIds.Value)
    request.MonitoringMode = ua.MonitoringMode.Reporting
    p = request.RequestedParameters
    p.ClientHandle, p.SamplingInterval, p.QueueSize, p.DiscardOldest = item.tag, item.sampling_ms, item.queue, True
    if filtered:
        # A value that is measured again and is the same is a new sample, so the time triggers too; a deadband would distort every statistic.
        p.Filter = ua.DataChangeFilter(ua.DataChangeTrigger.StatusValueTimestamp, int(ua.DeadbandType.None_), 0.0)
    return request
