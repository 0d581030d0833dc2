"""A server that measures all tags by itself and encodes its notifications in bulk: asyncua's own queues could not keep up."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from asyncua import Server, ua
from asyncua.server.internal_subscription import InternalSubscription

from tests.benchmarks import _plant

URI: Final = "urn:pharmedge:bench"

Body = Callable[[dict[int, Any], list[ua.NodeId]], bytes | None]
"""A DataChangeNotification for monitored items of nodes; None when there is nothing to tell."""


@asynccontextmanager
async def serving(port: int, tags: int, body: Body) -> AsyncIterator[None]:
    """Serve so many tags, waiting for their first value, on loopback; says `ready` on standard output."""
    nodes: list[ua.NodeId] = []

    def pop(self: Any, result: Any) -> None:
        self._triggered_datachanges = {}
        if told := body(self.monitored_item_srv._monitored_items, nodes):
            result.NotificationMessage.NotificationData.append(ua.ExtensionObject(ua.FourByteNodeId(811), told))

    InternalSubscription._pop_triggered_datachanges = pop
    InternalSubscription.has_published_results = lambda _: True
    server = Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}/")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    index = await server.register_namespace(URI)
    for name in _plant.names(tags):
        node = await server.nodes.objects.add_variable(ua.NodeId(name, index), ua.QualifiedName(name, index), 0.0)
        await server.write_attribute_value(node.nodeid, ua.DataValue(None, ua.StatusCode(0x80320000)))
        nodes.append(node.nodeid)
    await server.start()
    print("ready", flush=True)
    try:
        yield
    finally:
        await server.stop()
