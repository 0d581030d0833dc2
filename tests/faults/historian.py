"""An OPC UA server with a history, as a process: `python -m tests.faults.historian FOLDER PORT TAGS`.

From FOLDER/begin on it writes one value a step to each of its nodes t0, t1 ... and to its history, and every tenth step a text to `word`; with
FOLDER/hush it says no more, and makes FOLDER/hushed. FOLDER/jump holds a number of steps that go into the history alone, after the server has
forgotten all sessions and subscriptions, as after a start of its own; the file is removed when they are in. FOLDER/step holds the last step. Value k
is the k-th step's.
"""

from __future__ import annotations

import asyncio
import datetime
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

URI: Final = "urn:faults:historian"
STEP_NS: Final = 100_000_000
LIVE_S: Final = 0.05
"""Real seconds of one step."""
WORD_EVERY: Final = 10
BEGUN_S: Final = 7200
"""Its clock is so far behind: steps that nobody saw must not lie in the future."""
EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


async def serve(folder: Path, port: int, tags: int) -> None:
    """Until it is killed."""
    from asyncua import Server, ua
    from asyncua.server.history import HistoryDict

    server = Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}/")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    index = await server.register_namespace(URI)
    storage = server.iserver.history_manager.storage = HistoryDict()
    nodes = [ua.NodeId(f"t{i}", index) for i in range(tags)]
    word = ua.NodeId("word", index)
    for node, kind in [*((node, ua.VariantType.Double) for node in nodes), (word, ua.VariantType.String)]:
        name, nothing = ua.QualifiedName(node.Identifier, index), "" if node == word else 0.0
        await server.nodes.objects.add_variable(node, name, nothing, kind)
        await server.write_attribute_value(node, ua.DataValue(None, ua.StatusCode(ua.StatusCodes.BadWaitingForInitialData)))
        await storage.new_historized_node(node, timedelta(days=20_000))
    start_us, step = int(time.time() - BEGUN_S) * 1_000_000, 0

    async def said(node: Any, value: float | str, *, live: bool) -> None:
        at = EPOCH + timedelta(microseconds=start_us + step * STEP_NS // 1000)
        data = ua.DataValue(value, SourceTimestamp=at, ServerTimestamp=at)
        storage._datachanges[node].append(data)
        if live:
            await server.write_attribute_value(node, data)

    async def stepped(*, live: bool) -> None:
        nonlocal step
        step += 1
        for node in nodes:
            await said(node, float(step), live=live)
        if step % WORD_EVERY == 0:
            await said(word, f"B-{step}", live=live)

    async def forgotten() -> None:
        iserver = server.iserver
        for session in list(iserver._external_sessions.values()):
            await session.close_session(True)
        await iserver.subscription_service.delete_subscriptions(list(iserver.subscription_service.subscriptions))

    async with server:
        while True:
            await asyncio.sleep(LIVE_S)
            jump = folder / "jump"
            if jump.exists() and (steps := jump.read_text("ascii").strip()):
                await forgotten()
                for _ in range(int(steps)):
                    await stepped(live=False)
                jump.unlink()
            over = (folder / "hush").exists()
            if (folder / "begin").exists() and not over:
                await stepped(live=True)
            part = folder / "step.part"
            part.write_text(str(step), "ascii")
            part.rename(folder / "step")
            if over:
                (folder / "hushed").touch()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
