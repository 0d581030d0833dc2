"""HistoryRead of raw values for holes (OPC 10000-11, 6.5.3): one node and one page at a time, and never while live data waits.

A page is asked for when nothing else is to be read, and the next one no sooner than the last one took, or than `values_per_s` allows: a server gives
at most half of its time to it. A hole is read only when everything in it is late for the pipeline: stored and counted, but judged by nobody.

Paging goes by continuation points where the server gives them, and by time where it does not: asyncua's server cuts an answer to the number
asked for and says that it was all.
"""

from __future__ import annotations

import asyncio
import datetime
from typing import TYPE_CHECKING, Any, Final

from edge_agent.backoff import Backoff
from edge_agent.core import Filled, Recalled, RecalledTexts, Samples, Texts
from edge_agent.sources.opcua_decode import extension, response_head
from edge_agent.sources.opcua_walk import DamagedError, Walker
from edge_agent.sources.source import Item, Plug

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edge_agent.sources.opcua_decode import Decoder
    from edge_agent.sources.opcua_holes import Hole, Holes
    from edge_agent.sources.opcua_session import Session
    from edge_agent.sources.opcua_settings import OpcUaSettings
    from edge_agent.sources.opcua_subscription import Wanted

HISTORY_READ_RESPONSE: Final = 667
_HISTORY_DATA: Final = 658
"""Numbers of the binary encodings in namespace 0 (OPC 10000-6, annex A)."""
_BAD_CONTINUATION_POINT_INVALID: Final = 0x804A0000
_BAD_NO_CONTINUATION_POINTS: Final = 0x804B0000
_NEVER_OFFERED: Final = frozenset({0x800B0000, 0x803D0000, 0x80400000, 0x80720000})
"""BadServiceUnsupported, BadNotSupported, BadNotImplemented, BadHistoryOperationUnsupported of a whole answer: this server has no history."""
_PASSING: Final = frozenset(
    {
        0x80030000, 0x80040000, 0x80050000, 0x800A0000, 0x800C0000, 0x800D0000, 0x800E0000, 0x80100000, 0x80220000, 0x80250000, 0x80260000,
        0x80270000, 0x80310000, 0x804B0000, 0x807D0000, 0x80840000, 0x80850000,
    }
)  # fmt: skip
"""BadOutOfMemory, BadResourceUnavailable, BadCommunicationError, BadTimeout, BadShutdown, BadServerNotConnected, BadServerHalted,
BadTooManyOperations, BadSecureChannelIdInvalid, BadSessionIdInvalid, BadSessionClosed, BadSessionNotActivated, BadNoCommunication,
BadNoContinuationPoints, BadTcpServerTooBusy, BadRequestInterrupted, BadRequestTimeout: they say nothing of the hole, and it is asked for again."""
TRIES: Final = 8
"""Times in a row that a page is asked for in one connection before its hole is left: over about three minutes."""
_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


class History:
    """Fills the holes of one connection.

    decoder  of its own: what it reads is no news of any tag
    news     called when an answer is there
    """

    def __init__(
        self, session: Session, config: OpcUaSettings, plug: Plug, decoder: Decoder, holes: Holes, wanted: Mapping[int, Wanted],
        namespaces: list[str], news: Callable[[], None],
    ) -> None:  # fmt: skip
        self._session, self._config, self._plug, self._decoder = session, config, plug, decoder
        self._holes, self._wanted, self._namespaces, self._news = holes, wanted, namespaces, news
        self._future: asyncio.Future[Any] | None = None
        self._asked_s = 0.0
        self._next_s = 0.0
        self._point = b""
        self._from_ns = 0
        self._retried = False
        self._untried = TRIES
        self._backoff = Backoff(lambda: 0.5)
        self._giving_up = ""
        self._told: list[Item] = []

    def due_s(self, now_s: float) -> float:
        """When there is something to ask, or to give up; infinite while there is nothing."""
        hole = self._holes.first
        if hole is None:
            return float("inf")
        if self._giving_up:
            return now_s
        if self._future is not None:
            return self._asked_s + self._config.timeout_s
        return max(self._next_s, self._holes.found_s(hole, now_s) + self._plug.late_after_s)

    def ask(self, now_s: float) -> None:
        """Ask for the next page if it is time; NotConnected when the connection is gone."""
        hole = self._holes.first
        if hole is None or self._giving_up or now_s < self.due_s(now_s):
            return
        if self._future is not None:
            self._again(now_s, "unanswered")
            return
        history = self._config.history
        if self._plug.clock() - hole.before_ns > history.oldest_s * 1e9:
            self._give_up("too_old")
            return
        wanted = self._wanted.get(hole.tag)
        try:
            node_id = wanted.address.node_id(self._namespaces) if wanted is not None else None
        except KeyError:
            node_id = None
        if node_id is None:
            self._give_up("refused")
            return
        self._asked_s = now_s
        future = self._session.send(self._request(hole, node_id))
        future.add_done_callback(self._answered)
        self._future = future

    def _again(self, now_s: float, how: str) -> None:
        """The answer says nothing of the hole: the same page is asked for later, by time, unless that was tried often enough."""
        self._future, self._point, self._retried = None, b"", False
        self._untried -= 1
        if self._untried <= 0:
            self._give_up(how)
        else:
            self._next_s = max(self._next_s, now_s + self._backoff.next_s())

    def _give_up(self, how: str) -> None:
        """The next `page` settles the hole: its bookkeeping may not move before what it says is handed on with it."""
        self._giving_up = how
        self._news()

    def _answered(self, future: asyncio.Future[Any]) -> None:
        if not future.cancelled():
            future.exception()  # looked at, whether anybody still waits for it or not; a lost connection is told by the publisher
        self._news()

    def _request(self, hole: Hole, node_id: Any) -> Any:
        from asyncua import ua

        details = ua.ReadRawModifiedDetails()
        details.IsReadModified, details.ReturnBounds = False, False
        if not self._point:
            self._from_ns = self._holes.start_ns(hole)  # with a continuation point the question stays the same
        # asyncua writes microseconds: outwards, the rows are cut to the hole afterwards.
        details.StartTime = _EPOCH + datetime.timedelta(microseconds=self._from_ns // 1000)
        details.EndTime = _EPOCH + datetime.timedelta(microseconds=-(-hole.before_ns // 1000))
        details.NumValuesPerNode = self._config.history.page
        value = ua.HistoryReadValueId()
        value.NodeId, value.ContinuationPoint = node_id, self._point or None
        request = ua.HistoryReadRequest()
        p = request.Parameters
        p.HistoryReadDetails, p.TimestampsToReturn, p.NodesToRead = details, ua.TimestampsToReturn.Both, [value]
        p.ReleaseContinuationPoints = False
        return request

    def page(self, now_s: float) -> list[Item]:
        """What the answer brought that is there, its bookkeeping in `Holes.cursor`; empty when there is none."""
        future, hole = self._future, self._holes.first
        if future is not None and future.done():
            self._future = None
            if future.cancelled() or future.exception() is not None:
                self._again(now_s, "unanswered")
            elif hole is not None:
                try:
                    self._read(bytes(future.result()), hole, now_s)
                except DamagedError:
                    self._leave(hole, "damaged")
        hole = self._holes.first
        if self._giving_up and hole is not None:
            self._leave(hole, self._giving_up)
        told, self._told = self._told, []
        return told

    def _read(self, body: bytes, hole: Hole, now_s: float) -> None:
        result, status, point, at, end = answer(body)
        self._next_s = now_s + (now_s - self._asked_s)
        if result >> 31 or status >> 31:
            self._refused(hole, result, status, now_s)
            return
        self._untried = TRIES
        self._backoff.reset()
        start_ns, history = self._holes.start_ns(hole), self._config.history
        found = self._decoder.history(body, at, end, hole.tag, self._plug.clock())
        self._next_s = max(self._next_s, now_s + len(found) / history.values_per_s)
        inside = _within(found, start_ns, hole.before_ns)
        total = self._holes.came(hole, int(max(inside.time_ns)) if len(inside) else start_ns, len(inside))
        if len(inside):
            self._plug.count("history_values", len(inside))
            self._told.append(inside)
        # One empty page is believed when it says that there is more, a second one is not.
        more = (bool(point) and (len(found) > 0 or not self._retried)) or (not point and len(found) >= history.page and len(inside) > 0)
        self._point, self._retried = point, not len(found)
        if more and total >= history.values_per_hole:
            self._leave(hole, "cut")
        elif not more:
            self._leave(hole, "filled" if total else "empty")

    def _refused(self, hole: Hole, result: int, status: int, now_s: float) -> None:
        code = (result if result >> 31 else status) & 0xFFFF0000
        if code in (_BAD_CONTINUATION_POINT_INVALID, _BAD_NO_CONTINUATION_POINTS) and not self._retried:
            self._point, self._retried = b"", True  # goes on by time from what has come
            return
        if code in _PASSING:
            self._again(now_s, "unanswered")
            return
        self._leave(hole, "refused")
        if result >> 31 and code in _NEVER_OFFERED:
            while (other := self._holes.first) is not None:
                self._leave(other, "refused")

    def _leave(self, hole: Hole, how: str) -> None:
        """A hole is settled, with whatever came: what did not come stays declared."""
        self._plug.count(f"history_holes_{how}")
        if total := self._holes.came(hole, self._holes.start_ns(hole), 0):
            self._told.append(
                Filled(received_ns=0, source=self._plug.name, tag=hole.tag, after_ns=hole.after_ns, before_ns=hole.before_ns, values=total)
            )
        self._future, self._point, self._retried, self._giving_up = None, b"", False, ""
        self._untried = TRIES
        self._backoff.reset()
        self._holes.settle(hole)


def _within(found: Samples | Texts, after_ns: int, before_ns: int) -> Recalled | RecalledTexts:
    """What lies between two times, both left out."""
    if isinstance(found, Texts):
        told = found.take([i for i, t in enumerate(found.time_ns) if after_ns < t < before_ns])
        return RecalledTexts(told.time_ns, told.tag, told.value, told.status)
    rows = found.take((found.time_ns > after_ns) & (found.time_ns < before_ns))
    return Recalled(rows.time_ns, rows.tag, rows.value, rows.status)


def answer(body: bytes) -> tuple[int, int, bytes, int, int]:
    """Service result, the node's status, continuation point, start and end of its HistoryData; DamagedError when it is no such answer."""
    kind, result, at = response_head(body)
    if result >> 31:
        return result, 0, b"", at, at
    walker = Walker(body, at, len(body))
    if kind != HISTORY_READ_RESPONSE or walker.count(4) != 1:
        raise DamagedError(f"history: expected the answer for one node, found a response of type {kind}")
    status = walker.unsigned(4)
    point = walker.take(walker.count(1))
    kind, start, end = extension(body, walker.at)
    if kind != _HISTORY_DATA and end > start:
        raise DamagedError(f"history: expected HistoryData, found type {kind}")
    return result, status, point, start, end
