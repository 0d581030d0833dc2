"""What every registered source promises (`edge_agent/sources/source.py`), run over the register against a real peer each."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pydantic
import pytest

from edge_agent.core import EndOfInput, NotConnected, Samples
from edge_agent.sources import AnySource
from edge_agent.sources.source import Item, Received, Source
from tests.contract.sources import RIGS, Peer, Rig, plug
from tests.sources.opcua_plant import START_NS, STEP_NS

CONFIGS: dict[str, Any] = {get_args(config.model_fields["kind"].annotation)[0]: config for config in get_args(get_args(AnySource)[0])}
KINDS = sorted(kind for kind, config in CONFIGS.items() if not getattr(config, "blocks", False) and getattr(config, "peer", True))
"""Sources of spectra bring no single values, a clock has no peer that could be told what to send; they are held to the same in their own tests."""
SECTION: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(AnySource)


def source(kind: str, section: dict[str, Any], address: str, folder: Path) -> Source:
    made: Source = SECTION.validate_python({"kind": kind, "name": "rig"} | section).source(plug(address, folder / "data"))
    return made


async def values(source: Source, last: int, *, ack: bool = True) -> tuple[dict[int, float], bytes | None]:
    """Good values by source time until value `last` has come, and the latest bookkeeping."""
    found: dict[int, float] = {}
    resume: bytes | None = None
    async with asyncio.timeout(20):
        while START_NS + last * STEP_NS not in found:
            received = await source.read()
            found |= {t: v for item in received.items if isinstance(item, Samples) for t, v in good(item)}
            resume = received.resume or resume
            if ack:
                received.ack()
    return found, resume


def good(item: Samples) -> list[tuple[int, float]]:
    kept = item.take(item.status < 0x80000000)
    return list(zip(kept.time_ns.tolist(), kept.value.tolist(), strict=True))


def sent(first: int, last: int) -> dict[int, float]:
    return {START_NS + k * STEP_NS: float(k) for k in range(first, last + 1)}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def rig(kind: str) -> Rig:
    return RIGS[kind]


async def opened(kind: str, rig: Rig, peer: Peer, folder: Path, first: int, last: int, resume: bytes | None = None) -> Source:
    """An open source and values under way, whichever comes first for it."""
    if rig.finite:
        await peer.send(first, last)
    made = source(kind, peer.section, peer.address, folder)
    await made.open(resume)
    if not rig.finite:
        await peer.send(first, last)
    return made


def test_every_source_has_a_rig() -> None:
    assert sorted(RIGS) == KINDS


def test_sections_load_without_the_protocols_libraries() -> None:
    script = "import sys, edge_agent.sources; print([m for m in ('asyncua', 'google.protobuf', 'paho', 'pyarrow', 'pymodbus') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_unknown_keys_are_refused(kind: str, rig: Rig) -> None:
    with pytest.raises(pydantic.ValidationError, match="colour"):
        SECTION.validate_python({"kind": kind, "name": "rig", "colour": "red"} | rig.absent)


def test_every_key_is_optional_but_what_must_be_known(kind: str, rig: Rig) -> None:
    config = SECTION.validate_python({"kind": kind, "name": "rig"} | rig.absent)
    assert config.kind == kind
    assert config.watchdog_s is None or config.watchdog_s > 0


async def test_nobody_there_is_not_connected_and_close_is_quiet(kind: str, rig: Rig, tmp_path: Path) -> None:
    made = source(kind, rig.absent, "", tmp_path)
    with pytest.raises(NotConnected):
        await made.open(None)
    await made.close()


async def test_values_come_with_their_time_and_only_of_our_tags(kind: str, rig: Rig, tmp_path: Path) -> None:
    async with rig.peer(tmp_path) as peer:
        made = await opened(kind, rig, peer, tmp_path, 1, 20)
        items: list[Item] = []
        async with asyncio.timeout(20):
            while not any(t == START_NS + 20 * STEP_NS for i in items if isinstance(i, Samples) for t, _ in good(i)):
                received = await made.read()
                assert isinstance(received, Received)
                assert received.items
                items += received.items
                received.ack()
        await made.close()
    found = [pair for i in items if isinstance(i, Samples) for pair in good(i)]
    assert found == sorted(found)
    assert dict(found).items() <= sent(1, 20).items()
    assert len(found) == len(dict(found))
    assert all(set(i.tag.tolist()) == {0} for i in items if isinstance(i, Samples))


async def test_what_was_not_acknowledged_comes_again(kind: str, rig: Rig, tmp_path: Path) -> None:
    if not rig.keeps:
        pytest.skip(f"the peer of {kind} keeps nothing: the place in it is ours")
    async with rig.peer(tmp_path) as peer:
        made = await opened(kind, rig, peer, tmp_path, 1, 10)
        before, resume = await values(made, 10, ack=False)
        await made.close()
        again = source(kind, peer.section, peer.address, tmp_path)
        await again.open(resume)
        after, _ = await values(again, 10)
        await again.close()
    assert after.items() >= {k: v for k, v in before.items() if k == START_NS + 10 * STEP_NS}.items()


async def test_it_goes_on_where_the_committed_bookkeeping_says(kind: str, rig: Rig, tmp_path: Path) -> None:
    async with rig.peer(tmp_path) as peer:
        made = await opened(kind, rig, peer, tmp_path, 1, 10)
        _, resume = await values(made, 10)
        await asyncio.sleep(0.2)  # acknowledgements travel
        await made.close()
        again = await opened(kind, rig, peer, tmp_path, 11, 15, resume)
        found, _ = await values(again, 15)
        await again.close()
    # A server may repeat its last value at a new subscription; nothing older comes twice.
    assert sent(15, 15).items() <= found.items() <= sent(10, 15).items()


async def test_it_can_be_opened_again_and_again(kind: str, rig: Rig, tmp_path: Path) -> None:
    async with rig.peer(tmp_path) as peer:
        made = await opened(kind, rig, peer, tmp_path, 1, 3)
        await values(made, 3)
        for _ in range(3):
            await made.close()
            await made.open(None)
        await made.close()


async def test_a_read_may_be_cancelled_and_leaves_nothing_running(kind: str, rig: Rig, tmp_path: Path) -> None:
    if rig.finite:
        pytest.skip(f"{kind} never waits")
    async with rig.peer(tmp_path) as peer:
        before = asyncio.all_tasks()
        made = await opened(kind, rig, peer, tmp_path, 1, 2)
        await values(made, 2)
        reading = asyncio.ensure_future(made.read())
        await asyncio.sleep(0.02)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await made.close()
        async with asyncio.timeout(5):
            while any(_ours(task) for task in asyncio.all_tasks() - before):
                await asyncio.sleep(0.02)


def _ours(task: asyncio.Task[Any]) -> bool:
    """Whether a task is not the peer's, who may run in this process."""
    code = getattr(task.get_coro(), "cr_code", None)
    return not any(theirs in str(code and code.co_filename) for theirs in ("/asyncua/server/", "/pymodbus/server/"))


async def test_a_finite_source_ends(kind: str, rig: Rig, tmp_path: Path) -> None:
    if not rig.finite:
        pytest.skip(f"{kind} has no end")
    async with rig.peer(tmp_path) as peer:
        made = await opened(kind, rig, peer, tmp_path, 1, 3)
        await values(made, 3)
        for _ in range(2):
            with pytest.raises(EndOfInput):
                await made.read()
        await made.close()
