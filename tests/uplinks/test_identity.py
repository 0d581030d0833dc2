"""Copied and restored disks, several gateways: each gateway ends with every record of the edge that lives, once, and nothing waits for ever."""

from __future__ import annotations

import itertools
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.core import Append, Committed, Delivery, Epochs, Log
from edge_agent.uplinks.gateway import GatewayConfig, GatewayUplink
from edge_agent.uplinks.outgoing import STREAM
from gateway.inbox import STREAM as INBOX
from gateway.inbox import Inbox, Kept
from tests.uplinks.acting import EDGE, Edge, outbox

NAMES = ("a", "b")
_unique = itertools.count()


class Plant:
    """Gateways that outlive the edges, and what each was told apart from what it holds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.strange = 0
        self.inboxes = {n: Inbox(Log(folder / f"{n}.sqlite", (INBOX,), synchronous="OFF"), gateway=n, production=False) for n in NAMES}

    def held(self, name: str) -> Counter[bytes]:
        rows = self.inboxes[name].log.read(INBOX, 0, max_bytes=1 << 30, max_rows=100_000)
        return Counter(Kept.decode(row.data).frame for row in rows)

    def close(self) -> None:
        for inbox in self.inboxes.values():
            inbox.log.close()


@dataclass
class Wire:
    """Stands for the broker: whoever is reachable commits what is published, save what is lost."""

    plant: Plant
    reachable: Iterable[str]
    lose: Callable[[int], bool]

    def publish(self, _topic: str, payload: bytes) -> None:
        delivery = Delivery.decode(payload)
        if any(self.lose(r.seq) for r in delivery.records):
            return
        for name in self.reachable:
            self.plant.strange += len(self.plant.inboxes[name].take([(delivery, 1)]).strange)


class Life:
    """One disk of the edge in use: its outbox, its uplinks, and who it has heard."""

    def __init__(self, plant: Plant, folder: Path, epochs: Epochs, apart: dict[str, int], uplinks: Sequence[dict[str, Any]]) -> None:
        self.plant, self.folder = plant, folder
        self.edge = Edge(outbox(folder), epochs)
        head = self.edge.log.head(STREAM).seq
        self.edge.apart = dict.fromkeys(NAMES, head) | apart
        configs = [GatewayConfig.model_validate({"kind": "gateway", "host": "x", "name": str(i)} | u) for i, u in enumerate(uplinks)]
        self.uplinks = [GatewayUplink(config, self.edge.port(lambda: 0)) for config in configs]
        self._kinds = uplinks
        self.delivered = [0] * len(uplinks)

    def make(self, n: int) -> None:
        """Records like no others; every third is an alarm."""
        self.edge.log.commit([Append(STREAM, 1, b"%d" % next(_unique), lane=int(i % 3 > 0)) for i in range(n)])

    def frames(self) -> list[bytes]:
        return [row.data for row in self.edge.log.read(STREAM, 0, max_bytes=1 << 30, max_rows=100_000)]

    def exchange(self, reachable: Sequence[str], lose: Callable[[int], bool] = lambda _: False, rounds: int = 60) -> None:
        """Connect, learn, send, until nothing is left to say."""
        for i, uplink in enumerate(self.uplinks):
            wire = Wire(self.plant, [n for n in uplink._holdings if n in reachable], lose)
            if not wire.reachable:
                continue
            for holding in uplink._holdings.values():
                holding.reconnected()
            outgoing = uplink._begin()
            for now in range(rounds):
                for name in wire.reachable:
                    uplink._holdings[name].learn(Committed.decode(self.plant.inboxes[name].committed(EDGE, "s").encode()))
                uplink._look()
                if uplink._epochs != self.edge.epochs:
                    outgoing = uplink._begin()
                message = uplink._step(outgoing, now * 6_000_000_000, True, False)
                while message is not None:
                    uplink._send(wire, message)  # type: ignore[arg-type]
                    message = outgoing.next(now * 6_000_000_000)
                self.delivered[i] = max(self.delivered[i], outgoing.position)
                if outgoing.position == self.edge.log.head(STREAM).seq:
                    break

    def forget(self) -> None:
        self.edge.log.forget(STREAM, min(self.delivered))

    def image(self, folder: Path) -> Callable[[], Life]:
        """The disk as it is now; what is returned starts an edge from it."""
        folder.mkdir()
        with sqlite3.connect(self.folder / "edge.sqlite") as here, sqlite3.connect(folder / "edge.sqlite") as there:
            here.backup(there)
        here.close()
        there.close()
        epochs, apart = self.edge.epochs, dict(self.edge.apart)
        return lambda: Life(self.plant, folder, epochs, apart, self._kinds)

    def restarted(self) -> Life:
        self.edge.log.close()
        again = Life(self.plant, self.folder, self.edge.epochs, self.edge.apart, self._kinds)
        again.delivered = self.delivered
        return again


TWO_UPLINKS = ({"gateways": ["a"]}, {"gateways": ["b"]})
TWO_COPIES = ({"gateways": ["a", "b"], "copies": 2},)


@pytest.fixture
def plant(tmp_path: Path) -> Any:
    made = Plant(tmp_path)
    yield made
    made.close()


def begun(plant: Plant, uplinks: Sequence[dict[str, Any]]) -> Life:
    (plant.folder / "first").mkdir()
    return Life(plant, plant.folder / "first", Epochs(((0, 1),)), {}, uplinks)


def whole(plant: Plant, life: Life) -> None:
    """Every record of a life is at every gateway, and none anywhere twice."""
    for name in NAMES:
        held = plant.held(name)
        assert set(life.frames()) <= set(held), name
        assert held.most_common(1)[0][1] == 1, name


@pytest.mark.parametrize("uplinks", [TWO_UPLINKS, TWO_COPIES])
@pytest.mark.parametrize("made", [5, 30])
def test_a_restored_disk_gives_each_gateway_what_that_one_lacks(plant: Plant, uplinks: Any, made: int) -> None:
    life = begun(plant, uplinks)
    life.make(10)
    life.exchange(["a", "b"], lambda seq: seq > 6)
    life.exchange(["a"])
    image = life.image(plant.folder / "image")
    life.make(10)  # what the other life delivers to one gateway only
    life.exchange(["a"])
    again = image()
    again.make(made)  # fewer than the other life, or more: then only the running CRC tells
    again.exchange(["a", "b"])
    whole(plant, again)
    assert len(again.edge.epochs.begins) == 2
    assert again.edge.epochs.since == 11
    assert {k.decode() for k in plant.held("a")} >= {f.decode() for f in life.frames()[10:]}
    again.make(3)
    again.exchange(["a", "b"])
    whole(plant, again)
    assert again.delivered == [again.edge.log.head(STREAM).seq] * len(uplinks)


def test_what_is_quarantined_is_told_and_leaves_in_an_epoch_of_its_own(plant: Plant) -> None:
    """The end of what the gateway holds was shed here, so that there is nothing to compare: only the gateway can tell."""
    life = begun(plant, TWO_UPLINKS)
    life.make(10)
    life.exchange(["a", "b"])
    image = life.image(plant.folder / "image")
    life.make(10)
    life.exchange(["a", "b"])
    again = image()
    again.make(15)
    with again.edge.log._transaction() as (db, heads):
        again.edge.log._delete(db, heads, STREAM, "seq=?", (20,))
    again.exchange(["a", "b"])
    assert plant.strange > 0
    assert "another record" in again.edge.parted[0][1]
    whole(plant, again)


def test_a_copy_and_its_original_both_live_on(plant: Plant) -> None:
    life = begun(plant, TWO_COPIES)
    life.make(10)
    life.exchange(["a", "b"])
    copy = life.image(plant.folder / "copy")()
    for _ in range(4):
        for one in (life, copy):
            one.make(4)
            one.exchange(["a", "b"])
    whole(plant, life)
    whole(plant, copy)
    assert life.edge.parted == [], "who was heard first keeps the epoch"
    assert len(copy.edge.parted) == 1


def test_an_edge_that_lost_its_log_and_its_clock_takes_an_epoch_behind_the_known_ones(plant: Plant) -> None:
    life = begun(plant, TWO_UPLINKS)
    life.edge.epochs = Epochs(((0, 500),))
    life.make(10)
    life.exchange(["a", "b"])
    (plant.folder / "anew").mkdir()
    anew = Life(plant, plant.folder / "anew", Epochs(((0, 3),)), {}, TWO_UPLINKS)
    anew.make(5)
    anew.exchange(["a", "b"])
    assert anew.edge.epochs.current > 500
    whole(plant, anew)
    life.make(2)  # and the other one, should it live after all, does not answer in kind
    life.exchange(["a", "b"])
    assert life.edge.epochs.current == 500


ACTS = st.one_of(
    st.tuples(st.just("make"), st.integers(1, 7)),
    st.tuples(st.just("exchange"), st.sampled_from([["a"], ["b"], ["a", "b"]]), st.integers(1, 5)),
    st.tuples(st.sampled_from(["image", "restore", "restart", "forget"])),
)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([TWO_UPLINKS, TWO_COPIES]), st.lists(ACTS, max_size=14))
def test_whatever_is_copied_and_restored_when(uplinks: Any, acts: list[tuple[Any, ...]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        plant = Plant(Path(folder))
        life = begun(plant, uplinks)
        images: list[Callable[[], Life]] = []
        for n, (act, *how) in enumerate([*acts, ("make", 3)]):
            match act:
                case "make":
                    life.make(*how)
                case "exchange":
                    names, every = how
                    life.exchange(names, lambda seq, every=every: every > 1 and seq % every == 0, rounds=3)
                case "image":
                    images.append(life.image(plant.folder / f"image{n}"))
                case "restore" if images:
                    life.edge.log.close()
                    life = images.pop()()
                case "restart":
                    life = life.restarted()
                case "forget":
                    life.forget()
        life.exchange(["a", "b"])
        whole(plant, life)
        assert life.delivered == [life.edge.log.head(STREAM).seq] * len(uplinks)
        plant.close()
        life.edge.log.close()
