"""A child that takes in one more alarm, tells what is to be told and kills itself at a step: `python -m tests.gateway.notify.dying FOLDER STEP`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from gateway.config import StoreSection
from gateway.notify import Message
from gateway.notify.runner import Notifier
from gateway.store import Store
from tests.gateway.edge import SECOND, START, Edge
from tests.gateway.notify.made import section


def live(folder: Path, step: str) -> None:
    def die(at: str) -> None:
        if at == step:
            os.kill(os.getpid(), signal.SIGKILL)

    class Post:
        def send(self, message: Message, now_ns: int) -> tuple[str, ...]:
            die("sending")
            with (folder / "told.txt").open("a") as file:
                file.write(f"{message.id} {','.join(message.keys)}\n")
            die("sent")
            return ()

    lives = folder / "lives.txt"
    n = len(lives.read_text()) if lives.exists() else 0
    lives.write_text("x" * (n + 1))
    now = START + (1000 + 10 * n) * SECOND
    store = Store(folder / "data", gateway="gw1", production=False, settings=StoreSection(), clock=lambda: now)
    edge = Edge()
    edge.define()
    for i in range(n + 1):
        edge.event("raise", "NORM", "UNACK", raised=990 + i, at=990 + i)
    store.apply(store.take([(edge.deliver(), now)]))

    async def find(name: str, why: str) -> None:
        store.own.find(name, why)

    running = Notifier(
        store.data_dir,
        section(),
        gateway="gw1",
        timezone="UTC",
        catalogue=store.applier.catalogue,
        clock=lambda: now,
        find=find,
        receivers={"mail": Post()},
    )
    running.open()
    die("planning")
    running.step()
    die("planned")
    while asyncio.run(running.send("mail")) is not None:
        pass
    running.close()
    store.close()


if __name__ == "__main__":
    live(Path(sys.argv[1]), sys.argv[2])
