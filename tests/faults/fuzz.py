"""`python -m tests.faults.fuzz`: damaged input for every decoder, for SECONDS (default 600) from SEED (default: drawn and printed).

Each decoder is given sound inputs that were cut, flipped, spliced, repeated or sprinkled with extreme numbers; frames also with a body that was
damaged before its CRC was made, as a hostile sender would. A decoder may refuse with the error that its contract names and with nothing else,
must not take longer than a second, and what it accepts must come out the same when it is written and read again. The last line is JSON.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_agent.core import Catalogue, Tag, WireError, decode, encode, pack, unpack
from edge_agent.core.delivery import Committed, Delivered, Delivery, decode_actions, decode_anchor, encode_actions
from edge_agent.core.wire import frame, unframe
from edge_agent.sources.csv import read_csv
from edge_agent.sources.csv_layout import CsvError
from edge_agent.sources.mqtt_payload import Columns, Parser, PoisonError, routes
from tests.faults.asked import seed_and_seconds
from tests.faults.http_routes import fuzz_routes

GOLDEN = Path(__file__).resolve().parents[1] / "core" / "golden_frames.json"
LONG_CSV = b"\xef\xbb\xbftime;tag;value;status\r\n2026-01-01T00:00:00Z;a;1,5;0\r\n"
SLOW_S = 1.0
ACTION = b'[{"id":"a","kind":"acknowledge","alarm":"x","raised_ns":1,"user":"u","time_ns":2}]'

@dataclass(frozen=True)
class Target:
    """One decoder: sound inputs, how it is called, and the only errors with which it may refuse."""

    name: str
    sound: Sequence[bytes]
    call: Callable[[bytes], Any]
    refuses: tuple[type[Exception], ...]
    again: Callable[[Any], bytes] | None = None
    """Writes what was decoded, where that must be readable again, by `reread`, else `call`."""
    reread: Callable[[bytes], Any] | None = None


@dataclass
class Found:
    """What fuzzing found in one target."""

    tries: int = 0
    accepted: int = 0
    findings: int = 0
    first: str = ""

    def tell(self, what: str, data: bytes) -> None:
        """One finding; the first is kept with its input."""
        self.findings += 1
        self.first = self.first or f"{what}: {data[:400].hex()}"


def damaged(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """One to four injuries."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(out) + 1)
        match rng.randrange(7):
            case 0 if out:
                out[at % len(out)] ^= 1 << rng.randrange(8)
            case 1:
                del out[at:]
            case 2:
                out[at : at + rng.randrange(1, 9)] = rng.randbytes(rng.randrange(9))
            case 3:
                number = rng.choice((0, 1, 0x7F, 0xFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FF8000000000000, 0xFFFFFFFFFFFFFFFF))
                width = rng.choice((1, 2, 4, 8))
                out[at : at + width] = (number & (1 << 8 * width) - 1).to_bytes(width, rng.choice(("little", "big")))  # type: ignore[arg-type]
            case 4:
                other = rng.choice(others)
                out[at:] = other[rng.randrange(len(other) + 1) :]
            case 5:
                out[at:at] = out[: rng.randrange(64)]
            case _:
                out[at : at + rng.randrange(32)] = b""
    return bytes(out)


def targets(folder: Path) -> list[Target]:
    """Every decoder that takes bytes from outside or from a disk."""
    frames = [bytes.fromhex(text) for text in _hex(json.loads(GOLDEN.read_text("utf-8")))]
    bodies = [bytes([kind]) + body for kind, body in map(unframe, frames)]
    delivery = Delivery("demo", "e1", 7, 1, True, tuple(Delivered(i + 1, i * 77, data) for i, data in enumerate(frames[:4])))
    kind, body = unframe(delivery.encode())
    tags = Catalogue([Tag(id=0, name="a"), Tag(id=1, name="b"), Tag(id=2, name="p", kind="text")])
    route = routes(list(tags), {0: "plant/x#/v/0", 1: "plant/x#/w", 2: "plant/x#/p"})
    plain = routes(list(tags), {0: "plant/y"})
    file = folder / "fuzz.csv"

    def csv(data: bytes) -> Any:
        file.write_bytes(data)
        return list(read_csv([file], tags))

    def payload(found: Any) -> Callable[[bytes], Any]:
        return lambda data: Parser().parse(next(iter(found.values())), data, 1_800_000_000_000_000_000, Columns())

    def sealed(data: bytes) -> Any:
        return decode(frame(data[0] if data else 0, data[1:]))

    state = {"a": [1, 2.5, None, "x"], "b": {"c": True}}
    return [
        Target("frame", frames, decode, (WireError,), encode),
        Target("frame with a sound CRC", bodies, sealed, (WireError,), encode, decode),
        Target("delivery", [delivery.encode()], Delivery.decode, (WireError,), Delivery.encode),
        Target("delivery with a sound CRC", [body], lambda d: Delivery.decode(frame(kind, d)), (WireError,), Delivery.encode, Delivery.decode),
        Target("committed", [_committed()], Committed.decode, (WireError,), Committed.encode),
        Target("actions", [encode_actions(()), ACTION], decode_actions, (WireError,), encode_actions),
        Target("anchor", [b'{"seq":7,"hash":"00","signature":"ab"}'], decode_anchor, (WireError,)),
        Target("state", [pack(state)], unpack, (WireError,)),
        Target("MQTT value", [b"12.5", b'{"t":1800000000000000000,"v":3.5,"s":0}', b'[{"t":1,"v":"x"},{"v":2}]'], payload(plain), (PoisonError,)),
        Target("MQTT tree", [b'{"v":[1,2],"w":3.5,"p":"run"}'], payload(route), (PoisonError,)),
        Target("CSV", [b"time,a,b,p\n1,2,3,x\n2,,nan,\n", LONG_CSV], csv, (CsvError,)),
    ]  # fmt: skip


def _committed() -> bytes:
    from edge_agent.core import Ranges

    return Committed("gw1", "s1", "e1", {7: Ranges([(1, 9), (12, 14)])}).encode()


def _hex(tree: Any) -> list[str]:
    if isinstance(tree, str):
        try:
            bytes.fromhex(tree)
        except ValueError:
            return []
        return [tree] if len(tree) > 40 else []
    return [text for part in (tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()) for text in _hex(part)]


def fuzz(seed: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> dict[str, Found]:
    """Go round all targets until the time is over."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        every = targets(Path(folder))
        found = {target.name: Found() for target in every}
        until = clock() + seconds
        while clock() < until:
            for target in every:
                for _ in range(20):
                    _try(target, damaged(rng.choice(target.sound), rng, target.sound), found[target.name])
    return found


def _try(target: Target, data: bytes, found: Found) -> None:
    found.tries += 1
    began = time.thread_time()  # of this thread alone: other work on the machine makes no decoder slow
    try:
        item = target.call(data)
        found.accepted += 1
        if target.again is not None:
            once = target.again(item)
            if target.again((target.reread or target.call)(once)) != once:
                found.tell("not the same when written and read again", data)
    except target.refuses:
        pass
    except Exception as error:  # noqa: BLE001 - any other error is what this program looks for, and it is told
        found.tell(f"{type(error).__name__}: {error}", data)
    if time.thread_time() - began > SLOW_S:
        found.tell("slow", data)


def main() -> int:
    """Fuzz and tell."""
    seed, seconds = seed_and_seconds("fuzz", "Damaged input for every decoder and every route.", 600.0)
    found = fuzz(seed, seconds / 4)
    for name, one in found.items():
        print(f"{name:28s} {one.tries:9d} tries {one.accepted:9d} accepted {one.findings:5d} findings  {one.first[:160]}")
    findings = {name: one.first for name, one in found.items() if one.findings}
    with tempfile.TemporaryDirectory() as folder:
        routes, wrong = fuzz_routes(Path(folder), seed, seconds / 2)
    print(f"{'HTTP routes':28s} {sum(routes.values()):9d} requests to {len(routes)} routes  {wrong[:160]}")
    findings |= {"HTTP routes": wrong} if wrong else {}
    from tests.faults.agent_routes import fuzz_agent  # it damages as this file does

    with tempfile.TemporaryDirectory() as folder:
        count, wrong = fuzz_agent(Path(folder), seed, seconds / 4)
    print(f"{'agent and panel':28s} {count:9d} requests  {wrong[:160]}")
    findings |= {"agent and panel": wrong} if wrong else {}
    print(json.dumps({"seed": seed, "seconds": seconds, "tries": sum(o.tries for o in found.values()), "findings": findings}))
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
