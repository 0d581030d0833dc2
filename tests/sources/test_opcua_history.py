"""Holes are filled from the history of a server: exactly what is missing comes, once, after live data, and whatever dies between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import pytest_asyncio
from asyncua import ua
from asyncua.server.history import HistoryDict, HistoryManager

from edge_agent.core import Filled, Overflow, Recalled, RecalledTexts, Samples, Texts
from edge_agent.sources import opcua, opcua_history
from edge_agent.sources.opcua import OpcUaConfig, OpcUaSource
from edge_agent.sources.opcua_decode import Decoder
from edge_agent.sources.opcua_holes import Cursor, Holes
from edge_agent.sources.source import Plug
from tests.sources.opcua_plant import START_NS, STEP_NS, Plant, Reader, cut, free_port, source, tags, utc

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def started() -> AsyncIterator[Plant]:
    plant = await Plant(free_port()).start()
    yield plant
    await plant.stop()


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No link is given up because everybody in this process stood still."""
    monkeypatch.setattr(opcua, "SILENCE_AT_LEAST_S", 60.0)


@pytest_asyncio.fixture(loop_scope="module")
async def plant(started: Plant) -> Plant:
    """With an empty history that the test writes: what a server's own recording would hold."""
    started.server.iserver.history_manager.storage = HistoryDict()
    storage = started.server.iserver.history_manager.storage
    for name in started.names:
        await storage.new_historized_node(ua.NodeId(name, started.index), timedelta(days=20_000))
    return await started.fresh()


async def lived(plant: Plant, name: str, first: int, last: int) -> None:
    """Steps that the server recorded, whether anybody was there or not."""
    storage = plant.server.iserver.history_manager.storage
    for k in range(first, last + 1):
        value = ua.DataValue(float(k), SourceTimestamp=utc(START_NS + k * STEP_NS), ServerTimestamp=utc(START_NS + k * STEP_NS))
        storage._datachanges[ua.NodeId(name, plant.index)].append(value)


class Journal(Reader):
    """A reader whose source knows what was committed, as the agent's does; server and source share a process that may stand still for seconds."""

    wait_s = 120.0

    def __init__(self, plant: Plant, folder: Path, *, before: Journal | None = None, **config: Any) -> None:
        self.newest: dict[int, int] = dict(before.newest) if before is not None else {}
        section = {"fill": True, "page": 10, "oldest_s": 1e9} | config.pop("history", {})
        plc = source(plant, folder, newest_ns=self.newest.get, history=section, **({"timeout_s": 60} | config))
        super().__init__(plc)
        if before is not None:
            self.items, self.resume = list(before.items), before.resume

    def commit(self) -> None:
        """With what the pipeline then knows."""
        for received in self.waiting:
            for item in received.items:
                if isinstance(item, Samples | Texts):
                    for tag, time_ns in zip(map(int, item.tag), map(int, item.time_ns), strict=True):
                        self.newest[tag] = max(self.newest.get(tag, 0), time_ns)
        super().commit()

    def filled(self) -> list[tuple[int, int, int, int]]:
        """Tag, grid steps around it and values of every hole that was filled."""
        return [(f.tag, (f.after_ns - START_NS) // STEP_NS, (f.before_ns - START_NS) // STEP_NS, f.values) for f in self.of(Filled)]

    async def until_filled(self, holes: int) -> None:
        """Read until so many holes are filled."""
        while len(self.of(Filled)) < holes:
            await self.read()

    async def counted(self, counter: str) -> int:
        """Read until something was counted."""
        while counter not in self.plc._plug.counters:
            await self.read()
        return self.plc._plug.counters[counter]


async def gone(plant: Plant) -> None:
    """The server forgets everybody, as after a start of its own."""
    iserver = plant.server.iserver
    for session in list(iserver._external_sessions.values()):
        await session.close_session(True)
    await iserver.subscription_service.delete_subscriptions(list(plant.subscriptions))


async def outage(plant: Plant, folder: Path, last: int = 40, **config: Any) -> Journal:
    """Steps 1 to 3 came, then nobody was there until step `last`, of which the history has everything; live is `last`."""
    before = Journal(plant, folder, **config)
    await before.open()
    for name in plant.names:
        await plant.run(name, 1, 3)
    while 3.0 not in before.values(0) or 3.0 not in before.values(1):
        await before.read()
    cut(before.plc)
    await gone(plant)
    for name in plant.names:
        await lived(plant, name, 1, last)
        await plant.run(name, last, last)
    return before


async def test_a_hole_is_filled_page_by_page_behind_live_data_and_nothing_comes_twice(plant: Plant, tmp_path: Path) -> None:
    after = Journal(plant, tmp_path, before=await outage(plant, tmp_path))
    await after.open()
    await after.until_filled(2)
    for tag in (0, 1):
        assert sorted(after.values(tag)) == [float(k) for k in range(1, 41)]
        assert after.values(tag).index(40.0) < after.values(tag).index(4.0), "live data goes first"
        assert all(time == START_NS + int(value) * STEP_NS for time, value, _ in after.rows(tag))
    assert {v for s in after.of(Recalled) for v in s.value.tolist()} == {float(k) for k in range(4, 40)}
    assert sorted(after.filled()) == [(0, 3, 40, 36), (1, 3, 40, 36)]
    assert after.plc._plug.counters["history_values"] == 72
    await after.plc.close()


async def test_texts_are_filled_too(plant: Plant, tmp_path: Path) -> None:
    await plant.add("batch")
    node, storage = ua.NodeId("batch", plant.index), plant.server.iserver.history_manager.storage
    await storage.new_historized_node(node, timedelta(days=20_000))
    before = Journal(plant, tmp_path, names=("a", "b", "batch"), expected_s=None)
    await before.open()
    await plant.write("batch", "B-1", START_NS + STEP_NS)
    while (2, "B-1") not in before.words():
        await before.read()
    cut(before.plc)
    await gone(plant)
    for k in (1, 10, 20, 30):
        at = utc(START_NS + k * STEP_NS)
        storage._datachanges[node].append(ua.DataValue(f"B-{k}", SourceTimestamp=at, ServerTimestamp=at))
    await plant.write("batch", "B-40", START_NS + 40 * STEP_NS)
    after = Journal(plant, tmp_path, before=before, names=("a", "b", "batch"), expected_s=None, history={"page": 2})
    await after.open()
    await after.until_filled(1)
    assert after.words() == [(2, f"B-{k}") for k in (1, 40, 10, 20, 30)]
    assert [text for told in after.of(RecalledTexts) for text in told.value] == ["B-10", "B-20", "B-30"]
    assert after.filled() == [(2, 1, 40, 3)]
    await after.plc.close()


@pytest.mark.parametrize("point", [b"", b"more"])
async def test_pages_go_on_by_continuation_point_or_by_time(plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: bytes) -> None:
    """asyncua's own server cuts an answer to the number asked for and gives no point: a server that does is put in its place."""
    asked: list[tuple[bytes | None, int]] = []
    whole = HistoryManager._read_history

    async def read(manager: HistoryManager, details: Any, node: Any) -> Any:
        asked.append((node.ContinuationPoint, details.NumValuesPerNode))
        if point:
            details.NumValuesPerNode, at = 0, int((node.ContinuationPoint or b"more0")[4:])
            node.ContinuationPoint = None
            result = await whole(manager, details, node)
            rows = result.HistoryData.DataValues
            result.HistoryData.DataValues = rows[at : at + 10]
            result.ContinuationPoint = b"more%d" % (at + 10) if at + 10 < len(rows) else None
            details.StartTime = None
            return result
        return await whole(manager, details, node)

    monkeypatch.setattr(HistoryManager, "_read_history", read)
    after = Journal(plant, tmp_path, before=await outage(plant, tmp_path))
    await after.open()
    await after.until_filled(2)
    assert sorted(after.values(0)) == [float(k) for k in range(1, 41)]
    assert any(found for found, _ in asked) == bool(point)
    await after.plc.close()


async def test_a_death_between_two_pages_goes_on_where_the_journal_stands(plant: Plant, tmp_path: Path) -> None:
    dying = Journal(plant, tmp_path, before=await outage(plant, tmp_path))
    await dying.open()
    while "history_values" not in dying.plc._plug.counters:
        await dying.read()
    known = list(dying.items)
    while len(dying.items) == len(known):
        await dying.read(commit=False)  # a page that never became durable
    dying.items = known
    cut(dying.plc)
    after = Journal(plant, tmp_path, before=dying)
    await after.open()
    await after.until_filled(2)
    for tag in (0, 1):
        assert sorted(after.values(tag)) == [float(k) for k in range(1, 41)]
    assert sorted(after.filled()) == [(0, 3, 40, 36), (1, 3, 40, 36)]
    await after.plc.close()


async def test_a_death_before_the_live_value_was_kept_finds_the_hole_anew(plant: Plant, tmp_path: Path) -> None:
    dying = Journal(plant, tmp_path, before=await outage(plant, tmp_path))
    known = list(dying.items)
    await dying.open()
    while 40.0 not in dying.values(0):
        await dying.read(commit=False)
    dying.items, dying.waiting = known, []
    cut(dying.plc)
    await gone(plant)
    for name in plant.names:
        await lived(plant, name, 41, 50)
        await plant.run(name, 50, 50)
    after = Journal(plant, tmp_path, before=dying)
    await after.open()
    await after.until_filled(2)
    assert sorted(after.filled()) == [(0, 3, 50, 46), (1, 3, 50, 46)]
    assert sorted(after.values(0)) == [float(k) for k in range(1, 51)]
    await after.plc.close()


async def test_what_a_server_without_history_cannot_give_stays_declared(plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(manager: HistoryManager, details: Any, node: Any) -> ua.HistoryReadResult:
        return ua.HistoryReadResult(StatusCode=ua.StatusCode(ua.StatusCodes.BadHistoryOperationUnsupported))

    monkeypatch.setattr(HistoryManager, "_read_history", refused)
    after = Journal(plant, tmp_path, before=await outage(plant, tmp_path))
    await after.open()
    while after.plc._plug.counters.get("history_holes_refused") != 2:
        await after.read()
    assert after.filled() == []
    await after.plc.close()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page is asked for again at once."""
    monkeypatch.setattr(opcua_history.Backoff, "next_s", lambda _: 0.0)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(
    "status", ["BadTimeout", "BadTooManyOperations", "BadResourceUnavailable", "BadNoContinuationPoints", "BadServerNotConnected"]
)
async def test_a_server_that_cannot_just_now_is_asked_again(plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: str) -> None:
    whole, refused = HistoryManager._read_history, 0

    async def busy(manager: HistoryManager, details: Any, node: Any) -> ua.HistoryReadResult:
        nonlocal refused
        refused += 1
        if refused % 5:
            return ua.HistoryReadResult(StatusCode=ua.StatusCode(getattr(ua.StatusCodes, status)))
        return await whole(manager, details, node)

    monkeypatch.setattr(HistoryManager, "_read_history", busy)
    after = Journal(plant, tmp_path, before=await outage(plant, tmp_path))
    await after.open()
    await after.until_filled(2)
    assert sorted(after.filled()) == [(0, 3, 40, 36), (1, 3, 40, 36)]
    assert sorted(after.values(0)) == [float(k) for k in range(1, 41)]
    await after.plc.close()


@pytest.mark.usefixtures("hasty")
async def test_a_server_that_can_never_is_asked_so_often_and_no_more(plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def busy(manager: HistoryManager, details: Any, node: Any) -> ua.HistoryReadResult:
        asked.append(node.NodeId.Identifier)
        return ua.HistoryReadResult(StatusCode=ua.StatusCode(ua.StatusCodes.BadTimeout))

    monkeypatch.setattr(HistoryManager, "_read_history", busy)
    after = Journal(plant, tmp_path, before=await outage(plant, tmp_path))
    await after.open()
    while after.plc._plug.counters.get("history_holes_unanswered") != 2:
        await after.read()
    assert {name: asked.count(name) for name in plant.names} == dict.fromkeys(plant.names, opcua_history.TRIES)
    await after.plc.close()


async def test_a_page_that_stays_unanswered_is_asked_for_again_later(tmp_path: Path) -> None:
    sent: list[asyncio.Future[bytes]] = []

    class Mute:
        def send(self, request: Any) -> asyncio.Future[bytes]:
            sent.append(asyncio.get_running_loop().create_future())
            return sent[-1]

    book = holes(tmp_path, {0: START_NS})
    book.opened(resumed=False)
    assert book.see([rows(0, 10)], 0.0, FAR_NS)
    section = {"kind": "opcua", "name": "plc", "url": "opc.tcp://127.0.0.1:4840/", "timeout_s": 4, "history": {"fill": True}}
    config = OpcUaConfig.model_validate(section)
    plug = Plug("plc", tags("a"), {}, lambda: START_NS, tmp_path)
    wanted = cast("Any", {0: SimpleNamespace(address=SimpleNamespace(node_id=lambda _: ua.NodeId("a", 1)))})
    history = opcua_history.History(cast("Any", Mute()), config, plug, Decoder("plc", tags("a")), book, wanted, [], lambda: None)
    now_s, waits = 0.0, []
    for _ in range(opcua_history.TRIES):
        history.ask(now_s)
        assert history.due_s(now_s) == now_s + 4.0
        now_s += 4.0
        assert book.first is not None
        history.ask(now_s)
        waits.append(history.due_s(now_s) - now_s)
        assert history.page(now_s) == []
        now_s += waits[-1]
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 0.0]
    assert (len(sent), book.first, plug.counters) == (opcua_history.TRIES, None, {"history_holes_unanswered": 1})


async def test_a_hole_that_is_given_up_moves_no_bookkeeping_before_what_it_says(tmp_path: Path) -> None:
    """Live values that are handed on in between carry the bookkeeping of before: a death behind them loses no word."""
    newest = {0: START_NS + 10 * STEP_NS}
    book = holes(tmp_path, {0: START_NS})
    book.opened(resumed=False)
    assert book.see([rows(0, 10)], 0.0, FAR_NS)
    book.write()
    hole = book.holes[0]
    book.came(hole, START_NS + 5 * STEP_NS, 4)
    before = book.told()
    config = OpcUaConfig.model_validate({"kind": "opcua", "name": "plc", "url": "opc.tcp://127.0.0.1:4840/", "history": {"fill": True}})
    plug = Plug("plc", tags("a"), {}, lambda: START_NS, tmp_path)
    told: list[None] = []
    history = opcua_history.History(cast("Any", None), config, plug, Decoder("plc", tags("a")), book, {}, [], lambda: told.append(None))
    history.ask(0.0)  # of a tag that is no longer read from there
    assert (told, book.told(), book.first) == ([None], before, hole)
    items = history.page(0.0)
    assert [(i.values, i.after_ns) for i in items if isinstance(i, Filled)] == [(4, START_NS)]
    assert book.told() != before
    assert holes(tmp_path, newest, {"history": before}).holes == [hole]


@pytest.mark.parametrize(
    ("history", "counter", "filled"),
    [({"oldest_s": 1.0}, "history_holes_too_old", []), ({"values_per_hole": 20}, "history_holes_cut", [(0, 3, 40, 27)])],
)
async def test_what_is_too_old_or_too_much_is_counted_and_stays_declared(
    plant: Plant, tmp_path: Path, history: dict[str, Any], counter: str, filled: list[tuple[int, int, int, int]]
) -> None:
    after = Journal(plant, tmp_path, before=await outage(plant, tmp_path), history=history)
    if "oldest_s" in history:
        after.plc._plug = Plug("plc", tags("a", "b"), after.plc._plug.address, lambda: START_NS + 10**12, tmp_path, newest_ns=after.newest.get)
    await after.open()
    assert await after.counted(counter) >= 1
    assert after.filled()[:1] == filled
    await after.plc.close()


async def test_nothing_is_asked_before_all_of_a_hole_is_late(plant: Plant, tmp_path: Path) -> None:
    after = Journal(plant, tmp_path, before=await outage(plant, tmp_path), late_after_s=3600.0)
    await after.open()
    await after.until(0, 40.0)
    history = after.plc._history
    assert history is not None
    now = asyncio.get_running_loop().time()
    assert 3500.0 < history.due_s(now) - now <= 3600.0
    await after.plc.close()


FAR_NS = START_NS + 10**15


def holes(folder: Path, newest: dict[int, int], resume: dict[str, Any] | None = None, expected_s: float | None = 0.1) -> Holes:
    return Holes(folder, tags("a", "b", "batch", expected_s=expected_s), newest.get, resume or {})


def rows(tag: int, *steps: int) -> Samples:
    return Samples.of([START_NS + k * STEP_NS for k in steps], [tag] * len(steps), [0.0] * len(steps))


async def test_only_a_hole_of_more_than_one_and_a_half_periods_is_one(tmp_path: Path) -> None:
    book = holes(tmp_path, {0: START_NS, 1: START_NS})
    book.opened(resumed=True)
    assert not book.see([rows(0, 0, 1, 2)], 0.0, FAR_NS)
    assert book.see([rows(1, 5), rows(2, 9)], 0.0, FAR_NS)
    assert [(h.tag, h.after_ns, h.before_ns) for h in book.holes] == [(1, START_NS, START_NS + 5 * STEP_NS)]


async def test_a_tag_by_exception_has_a_hole_where_its_subscription_is_new_or_an_overflow_says_so(tmp_path: Path) -> None:
    newest = {0: START_NS, 1: START_NS}
    book = holes(tmp_path, newest, expected_s=None)
    book.opened(resumed=True)
    assert not book.see([rows(0, 7)], 0.0, FAR_NS)
    at = START_NS + 9 * STEP_NS
    assert book.see([Overflow(received_ns=0, source="plc", tag=0, after_ns=at, before_ns=at)], 0.0, FAR_NS), (
        "a connection that had seen nothing before"
    )
    book = holes(tmp_path, newest, expected_s=None)
    book.opened(resumed=False)
    assert not book.see([rows(0, 0)], 0.0, FAR_NS), "a new subscription shows the last value again"
    assert book.see([rows(0, 7)], 0.0, FAR_NS)
    assert book.first is not None
    assert (book.first.after_ns, book.first.before_ns) == (START_NS, START_NS + 7 * STEP_NS)


async def test_a_stamp_too_far_ahead_ends_no_hole(tmp_path: Path) -> None:
    book = holes(tmp_path, {0: START_NS, 1: START_NS})
    book.opened(resumed=True)
    until_ns = START_NS + 50 * STEP_NS
    ahead = START_NS + 99 * STEP_NS
    assert not book.see([rows(0, 99), Overflow(received_ns=0, source="plc", tag=1, after_ns=START_NS, before_ns=ahead)], 0.0, until_ns)
    assert book.see([rows(0, 10), rows(1, 10)], 0.0, until_ns)
    assert [(h.tag, h.after_ns, h.before_ns) for h in book.holes] == [(t, START_NS, START_NS + 10 * STEP_NS) for t in (0, 1)]
    book.opened(resumed=True)
    assert book.see([rows(0, 20)], 0.0, until_ns)
    assert book.holes[-1].after_ns == START_NS + 10 * STEP_NS


async def test_a_book_is_kept_and_what_is_settled_or_never_ended_is_not_taken_up(tmp_path: Path) -> None:
    newest = {0: START_NS, 1: START_NS}
    book = holes(tmp_path, newest)
    book.opened(resumed=False)
    assert book.see([rows(0, 10), rows(1, 10)], 0.0, FAR_NS)
    book.write()
    assert holes(tmp_path, newest).holes == [], "their ends never became durable"
    newest = {0: START_NS + 10 * STEP_NS, 1: START_NS + 10 * STEP_NS}
    assert holes(tmp_path, newest).holes == book.holes
    first = book.holes[0]
    assert book.came(first, START_NS + 5 * STEP_NS, 4) == 4
    again = holes(tmp_path, newest, {"history": book.told()})
    assert (again.start_ns(first), again.came(first, START_NS + 6 * STEP_NS, 1)) == (START_NS + 5 * STEP_NS, 5)
    again.settle(first)
    assert [h.tag for h in holes(tmp_path, newest, {"history": again.told()}).holes] == [1]
    (tmp_path / "holes").write_bytes(b"no book")
    damaged = holes(tmp_path, newest, {"history": again.told()})
    assert (damaged.holes, damaged.cursor) == ([], Cursor(2))


@pytest.mark.parametrize("time", [{"basis": "server"}, {"assumed_zone": "Asia/Shanghai"}])
async def test_history_needs_the_source_s_own_time_in_utc(time: dict[str, Any]) -> None:
    section = {"kind": "opcua", "name": "plc", "url": "opc.tcp://127.0.0.1:4840/", "history": {"fill": True}, "time": time}
    with pytest.raises(ValueError, match="history"):
        OpcUaConfig.model_validate(section)
    assert isinstance(OpcUaConfig.model_validate(section | {"time": {}}).source(Plug("plc", (), {}, lambda: 0, Path())), OpcUaSource)
