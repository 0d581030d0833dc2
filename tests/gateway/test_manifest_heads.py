"""Heads of the manifest are given to edges and come back: a manifest that was cut or wholly written anew is found."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from edge_agent.core import Audit
from gateway.audit_verify import heads_in
from gateway.backup import verify
from gateway.manifest import FILE, GivenHead, Manifest, read
from gateway.store import Store
from tests.gateway.conftest import Clock, feed, seal
from tests.gateway.edge import SECOND, START, Edge


@pytest.fixture
def given(opened: Callable[..., Store], clock: Clock) -> tuple[Path, list[GivenHead]]:
    """A store with three sealed lines, and the heads that an edge was given after each and sent back."""
    store = opened()
    edge, heads = Edge(), []
    edge.define()
    for i in range(3):
        edge.samples(i * 100, 20)
        feed(store, edge.deliver())
        seal(store, clock)
        head = store.manifest.given()
        assert head is not None
        heads.append(head)
        text = msgspec.json.encode(head).decode()
        edge.add(Audit(time_ns=START + i * SECOND, user="pharmedge", role="system", action="manifest_head", object="uplink plant", new=text))
    feed(store, edge.deliver())
    store.close()
    assert verify(store.data_dir) == []
    return store.data_dir, heads


def anew(folder: Path, change: Callable[[list[dict[str, object]]], None]) -> None:
    """Write the manifest once more with the right key, so that every hash and signature in it fits, and let the gateway's own anchor agree."""
    lines = [msgspec.to_builtins(line) for line in read(folder / FILE)[0]]
    change(lines)
    (folder / FILE).unlink()
    manifest = Manifest(folder)
    for line in lines:
        fields = {key: line[key] for key in ("first", "last", "files", "gone", "reason")}
        fields["files"] = msgspec.convert(fields["files"], tuple[_file(), ...])  # type: ignore[valid-type, misc]
        fields["gone"] = tuple(fields["gone"])  # type: ignore[arg-type]
        manifest.append(line["what"], line["time_ns"], **fields)  # type: ignore[arg-type]
    from gateway.journal import FILE as JOURNAL
    from gateway.journal import Journal

    journal = Journal(folder / JOURNAL)
    journal.apply(anchor=manifest.head)
    journal.close()
    manifest.close()


def _file() -> type:
    from gateway.manifest import SegmentFile

    return SegmentFile


def test_a_cut_manifest_is_found(given: tuple[Path, list[GivenHead]]) -> None:
    folder, _ = given
    anew(folder, lambda lines: lines.pop())
    assert f"{FILE}: lines 3 to 3 were cut off; a head kept by an edge tells of them" in verify(folder)


def test_a_wholly_rewritten_manifest_is_found(given: tuple[Path, list[GivenHead]]) -> None:
    folder, _ = given

    def later(lines: list[dict[str, object]]) -> None:
        lines[1]["reason"] = "nothing happened"

    anew(folder, later)
    found = verify(folder)
    assert f"{FILE} lines 2 to 2: were written anew; a head kept by an edge has another hash" in found
    assert f"{FILE} lines 2 to 3: were written anew; a head kept by an edge has another hash" in found
    assert not any("lines 1 to 1" in f for f in found)


def test_heads_from_elsewhere_count_too_and_forged_ones_are_named(given: tuple[Path, list[GivenHead]], tmp_path: Path) -> None:
    folder, heads = given
    file = tmp_path / "heads.jsonl"
    forged = msgspec.structs.replace(heads[2], hash="00" * 32)
    beyond = msgspec.structs.replace(heads[2], key="0" * 16, seq=9)
    file.write_text("".join(msgspec.json.encode(h).decode() + "\n" for h in (heads[0], forged, beyond)))
    found = verify(folder, heads_in(file, GivenHead))
    assert any("signature that does not match" in f for f in found)
    assert any("unknown key" in f for f in found)
    file.write_text(json.dumps({"seq": 1}) + "\n")
    with pytest.raises(ValueError, match=r"heads\.jsonl:1"):
        heads_in(file, GivenHead)
