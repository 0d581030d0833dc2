"""Alarms as conditions (OPC 10000-9, AlarmConditionType): one event for each transition that is durable, and the methods by which people act.

An EventId names the occurrence it is about, so that an acknowledgement is of that occurrence and of no later one, also over a restart.
"""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from asyncua import ua
from asyncua.common import event_objects

from edge_agent.alarms.standing import Standing
from edge_agent.alarms.states import Suppression
from edge_agent.core import AlarmEvent, PharmedgeError
from edge_agent.core.alarm import TO_ACKNOWLEDGE, ActionKind
from edge_agent.local.desk import Desk
from edge_agent.local.opcua import ACTING

SEVERITY: Final = {1: 900, 2: 700, 3: 500, 4: 300}
ADVISORY: Final = 100
ANSWER_S: Final = 10.0
_METHODS: Final = ua.ObjectIds


def event_id(raised_ns: int, alarm: str, number: int) -> bytes:
    """The EventId of the n-th event since the start about one occurrence.

    >>> event_id(12, "a.high", 7)
    b'12~7~a.high'
    """
    return f"{raised_ns}~{number}~{alarm}".encode()


def occurrence_of(event: object) -> tuple[str, int]:
    """Alarm and raise time of an EventId; ValueError when it is none of ours.

    >>> occurrence_of(b'12~7~a.high')
    ('a.high', 12)
    """
    raised, _, rest = (event.decode() if isinstance(event, bytes) else "").partition("~")
    number, _, alarm = rest.partition("~")
    if not (raised.isascii() and raised.isdigit() and number.isdigit() and alarm and len(raised) < 20):
        raise ValueError(f"EventId: expected one of this server, found {event!r}")
    return alarm, int(raised)


def _time(ns: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(ns // 10**9, datetime.UTC) + datetime.timedelta(microseconds=ns // 1000 % 10**6)


def _words(true: str, false: str, on: bool) -> Any:
    return ua.LocalizedText(true if on else false, "en")


class Conditions:
    """The conditions of one server; on its event loop."""

    def __init__(self, server: Any, space: int, edge: Any, desk: Desk) -> None:
        self._server, self._space, self._edge, self._desk = server, space, edge, desk
        self._nodes: dict[str, Any] = {}
        self._alarms: dict[Any, str] = {}
        self._waiting: dict[str, asyncio.Future[AlarmEvent]] = {}
        self._queue: asyncio.Queue[tuple[list[AlarmEvent], Mapping[str, Standing]]] = asyncio.Queue()
        self._sending: asyncio.Task[None] | None = None
        self._number = 0

    async def begin(self, standing: Mapping[str, Standing]) -> None:
        """Offer the methods and tell what stands."""
        methods: dict[int, Callable[..., Awaitable[Any]]] = {
            _METHODS.AcknowledgeableConditionType_Acknowledge: self._acknowledge,
            _METHODS.ConditionType_AddComment: self._comment,
            _METHODS.ShelvedStateMachineType_TimedShelve: self._timed,
            _METHODS.ShelvedStateMachineType_TimedShelve2: self._timed,
            _METHODS.ShelvedStateMachineType_OneShotShelve: self._one_shot,
            _METHODS.ShelvedStateMachineType_OneShotShelve2: self._one_shot,
            _METHODS.ShelvedStateMachineType_Unshelve: self._unshelve,
            _METHODS.ShelvedStateMachineType_Unshelve2: self._unshelve,
        }
        for number, method in methods.items():
            self._server.iserver.isession.add_method_callback(ua.NodeId(number), method)
        for s in standing.values():
            await self._tell(s.alarm, s.raised_ns, s.last_ns, s.state, s, s.explanation)
        self._sending = asyncio.create_task(self._send(), name="conditions")

    def check(self) -> None:
        """Raise what ended the telling, if anything did: a server that says nothing any more must not look alive."""
        if self._sending is not None and self._sending.done():
            self._sending.result()

    async def end(self) -> None:
        """Nothing more is told."""
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)

    # -- telling ----------------------------------------------------------------------------------------------------------------

    def changed(self, events: list[AlarmEvent], standing: Mapping[str, Standing]) -> None:
        """Transitions became durable."""
        self._queue.put_nowait((events, standing))

    async def _send(self) -> None:
        while True:
            events, standing = await self._queue.get()
            for e in events:
                # What is refused changes nothing; its answer goes to who asked.
                if e.event != "refuse":
                    now = standing.get(e.alarm)
                    same = now if now is not None and now.raised_ns == e.raised_ns else None
                    why = e.reason if e.event == "comment" else e.explanation
                    await self._tell(e.alarm, e.raised_ns, e.time_ns, e.state_to, same, why, e)
                if (asked := self._waiting.pop(e.action_id, None)) is not None and not asked.done():
                    asked.set_result(e)

    async def _tell(
        self, alarm: str, raised_ns: int, time_ns: int, state: str, standing: Standing | None, why: str, event: AlarmEvent | None = None
    ) -> None:
        d = self._desk.alarms.get(alarm)
        if d is None:
            return
        self._number += 1
        tag = self._desk.tags.get(d.tag)
        name = (tag.description.get("en") if tag else "") or d.tag or alarm
        suppression = Suppression(standing.suppression) if standing is not None else Suppression.NONE
        active = standing.met if standing is not None else state in ("UNACK", "ACKED")
        acked, shelved = state not in TO_ACKNOWLEDGE, bool(suppression & Suppression.SHELVED)
        severity = ADVISORY if d.advisory else SEVERITY.get(d.priority, 300)
        c = event_objects.AlarmCondition(sourcenode=self._edge, message=f"{name}: {why}" if why else name, severity=severity)
        c.add_property("NodeId", await self._node(alarm), ua.VariantType.NodeId)
        c.emitting_node = ua.NodeId(ua.ObjectIds.Server)
        c.EventId = event_id(raised_ns, alarm, self._number)
        c.SourceName = d.tag or self._desk.facts.edge
        c.Time, c.ReceiveTime = _time(time_ns), datetime.datetime.now(datetime.UTC)
        process = bool(d.tag)
        c.ConditionClassId = ua.NodeId(_METHODS.ProcessConditionClassType if process else _METHODS.SystemConditionClassType)
        c.ConditionClassName = ua.LocalizedText("ProcessConditionClassType" if process else "SystemConditionClassType", "en")
        c.ConditionName, c.BranchId, c.Retain = alarm, ua.NodeId(), state != "NORM"
        setattr(c, "EnabledState/Id", True)
        c.EnabledState = ua.LocalizedText("Enabled", "en")
        c.Quality, c.LastSeverity = ua.StatusCode(event.status if event is not None else 0), severity
        c.Comment = ua.LocalizedText(event.reason if event is not None else "", "en")
        c.ClientUserId = event.user if event is not None else ""
        for field, on, true, false in (
            ("AckedState", acked, "Acknowledged", "Unacknowledged"),
            ("ActiveState", active, "Active", "Inactive"),
            ("SuppressedState", bool(suppression & Suppression.DESIGNED), "Suppressed", "Unsuppressed"),
            ("OutOfServiceState", bool(suppression & Suppression.OUT_OF_SERVICE), "Out of Service", "In Service"),
            ("LatchedState", state in ("LATUN", "LATACK"), "Latched", "Unlatched"),
        ):
            setattr(c, field, _words(true, false, on))
            setattr(c, f"{field}/Id", on)
        self._shelving(c, standing, shelved)
        c.SuppressedOrShelved = bool(suppression)
        c.InputNode = ua.NodeId()
        c.FirstInGroupFlag = event.first_out if event is not None else False
        await self._server.iserver.subscription_service.trigger_event(c)

    @staticmethod
    def _shelving(c: Any, standing: Standing | None, shelved: bool) -> None:
        once = shelved and standing is not None and standing.one_shot
        name = "OneShotShelved" if once else "TimedShelved" if shelved else "Unshelved"
        c.add_variable("ShelvingState/CurrentState", ua.LocalizedText(name, "en"), ua.VariantType.LocalizedText)
        c.add_property("ShelvingState/CurrentState/Id", ua.NodeId(getattr(_METHODS, f"ShelvedStateMachineType_{name}")), ua.VariantType.NodeId)
        left = 0.0
        if shelved and standing is not None and standing.until_ns is not None:
            left = max(0.0, standing.until_ns / 1e6 - datetime.datetime.now(datetime.UTC).timestamp() * 1e3)
        c.add_property("ShelvingState/UnshelveTime", left, ua.VariantType.Double)

    async def _node(self, alarm: str) -> Any:
        """The node of a condition, made when it is first told; and that of its shelving, on which some clients call."""
        if alarm not in self._nodes:
            node, shelving = ua.NodeId(f"alarm/{alarm}", self._space), ua.NodeId(f"alarm/{alarm}/ShelvingState", self._space)
            made = (
                (self._edge, _METHODS.HasComponent, node, ua.QualifiedName(alarm, self._space), _METHODS.AlarmConditionType),
                (node, _METHODS.HasComponent, shelving, ua.QualifiedName("ShelvingState", 0), _METHODS.ShelvedStateMachineType),
            )
            for parent, reference, new, name, kind in made:
                item = ua.AddNodesItem(
                    ParentNodeId=parent, ReferenceTypeId=ua.NodeId(reference), RequestedNewNodeId=new, BrowseName=name,
                    NodeClass=ua.NodeClass.Object, NodeAttributes=ua.ObjectAttributes(DisplayName=ua.LocalizedText(name.Name)),
                    TypeDefinition=ua.NodeId(kind),
                )  # fmt: skip
                (done,) = await self._server.iserver.isession.add_nodes([item])
                done.StatusCode.check()
                self._alarms[new] = alarm
            self._nodes[alarm] = node
        return self._nodes[alarm]

    # -- acting -----------------------------------------------------------------------------------------------------------------

    async def _acknowledge(self, condition: Any, event: Any, comment: Any) -> Any:
        return await self._by_event(condition, "acknowledge", event, comment)

    async def _comment(self, condition: Any, event: Any, comment: Any) -> Any:
        return await self._by_event(condition, "comment", event, comment)

    async def _by_event(self, condition: Any, kind: ActionKind, event: Any, comment: Any) -> Any:
        try:
            alarm, raised_ns = occurrence_of(event.Value)
        except (ValueError, UnicodeDecodeError):
            return ua.StatusCode(ua.StatusCodes.BadEventIdUnknown)
        if self._alarms.get(condition) != alarm:
            return ua.StatusCode(ua.StatusCodes.BadEventIdUnknown)
        return await self._ask(kind, alarm, raised_ns, _text(comment))

    async def _timed(self, condition: Any, time_ms: Any, comment: Any = None) -> Any:
        if not isinstance(time_ms.Value, float) or not 0 < time_ms.Value <= 43_200_000:
            return ua.StatusCode(ua.StatusCodes.BadShelvingTimeOutOfRange)
        return await self._shelve(condition, comment, time_ms.Value / 1000)

    async def _one_shot(self, condition: Any, comment: Any = None) -> Any:
        return await self._shelve(condition, comment, None)

    async def _shelve(self, condition: Any, comment: Any, duration_s: float | None) -> Any:
        # The older methods carry no comment; that it came from there is then all the reason there is.
        why = _text(comment) or "shelved from an OPC UA client that gives no reason"
        return await self._latest("shelve", condition, why, duration_s=duration_s, one_shot=duration_s is None)

    async def _unshelve(self, condition: Any, comment: Any = None) -> Any:
        return await self._latest("unshelve", condition, _text(comment))

    async def _latest(self, kind: ActionKind, condition: Any, why: str, *, duration_s: float | None = None, one_shot: bool = False) -> Any:
        alarm = self._alarms.get(condition, "")
        standing = self._desk.standing.get(alarm)
        if standing is None:
            not_shelved = ua.StatusCodes.BadConditionNotShelved if kind == "unshelve" else ua.StatusCodes.BadInvalidState
            return ua.StatusCode(not_shelved)
        return await self._ask(kind, alarm, standing.raised_ns, why, duration_s=duration_s, one_shot=one_shot)

    async def _ask(
        self, kind: ActionKind, alarm: str, raised_ns: int, why: str, *, duration_s: float | None = None, one_shot: bool = False
    ) -> Any:
        actor = ACTING.get()
        if actor is None:
            return ua.StatusCode(ua.StatusCodes.BadUserAccessDenied)
        try:
            id_ = self._desk.ask(kind, alarm, raised_ns, actor, why, duration_s=duration_s, one_shot=one_shot)
        except PharmedgeError:
            return ua.StatusCode(ua.StatusCodes.BadNodeIdUnknown)
        asked = self._waiting[id_] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(ANSWER_S):
                done = await asked
        except TimeoutError:
            # It may still be carried out: the edge keeps what it was asked.
            return ua.StatusCode(ua.StatusCodes.BadTimeout)
        finally:
            self._waiting.pop(id_, None)
        return None if done.event != "refuse" else ua.StatusCode(_refusal(kind, done.reason))


def _refusal(kind: ActionKind, reason: str) -> int:
    """The status code nearest to what the edge said.

    >>> hex(_refusal("acknowledge", "already acknowledged"))
    '0x80cf0000'
    """
    codes = ua.StatusCodes
    if "already acknowledged" in reason:
        return int(codes.BadConditionBranchAlreadyAcked)
    if "already shelved" in reason:
        return int(codes.BadConditionAlreadyShelved)
    if "not shelved" in reason:
        return int(codes.BadConditionNotShelved)
    if "at the latest" in reason:
        return int(codes.BadShelvingTimeOutOfRange)
    if "role" in reason or "alone" in reason or "nobody" in reason:
        return int(codes.BadUserAccessDenied)
    return int(codes.BadEventIdUnknown if kind in ("acknowledge", "comment") else codes.BadInvalidState)


def _text(comment: Any) -> str:
    value = getattr(comment, "Value", None)
    text = getattr(value, "Text", value) or ""
    return "".join(c for c in str(text)[:500] if c.isprintable()).strip()
