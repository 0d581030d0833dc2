"""A store on a temporary folder with a clock that the test moves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from edge_agent.core import PharmedgeError
from gateway.config import StoreSection
from gateway.query import Asked
from gateway.store import Store
from tests.gateway.edge import SECOND, START


class Clock:
    """A clock that stands still."""

    def __init__(self) -> None:
        self.now_ns = START + 1000 * SECOND

    def __call__(self) -> int:
        return self.now_ns

    def go(self, seconds: float) -> None:
        self.now_ns += int(seconds * SECOND)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def opened(tmp_path: Path, clock: Clock) -> Iterator[Callable[..., Store]]:
    """Opens the store of this test's folder; all are closed at the end."""
    stores: list[Store] = []

    def make(*, production: bool = False, folder: str = "data", gateway: str = "gw1", edges: Sequence[str] = (), **settings: object) -> Store:
        made = Store(tmp_path / folder, gateway=gateway, production=production, settings=StoreSection(**settings), edges=edges, clock=clock)
        stores.append(made)
        return made

    yield make
    for store in stores:
        store.close()


@pytest.fixture
def store(opened: Callable[..., Store]) -> Store:
    return opened()


def feed(store: Store, *deliveries: object) -> object:
    """Take and apply deliveries as the writer thread does."""
    taken = store.take([(d, store._clock()) for d in deliveries])  # type: ignore[misc]
    store.apply(taken)
    return taken


def seal(store: Store, clock: Clock) -> int:
    """Close the open generation by age, seal and trim."""
    clock.go(store.settings.seal_after_s + 1)
    store.roll(clock())
    done = store.seal(clock())
    store.trim(2**62)
    return done


def ask(store: Store, occurrence: str, user: str, reason: str, id_: str, kind: Any = "acknowledge", **more: Any) -> str:
    """Ask for one action as the API does."""
    (answer,) = store.act([(Asked(kind=kind, occurrence=occurrence, user=user, reason=reason, **more), id_)])
    if isinstance(answer, PharmedgeError):
        raise answer
    return answer
