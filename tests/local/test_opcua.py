"""A real OPC UA client supervises the edge, sees its alarms as conditions, acts as a person, and can write nothing."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asyncua import Client, ua
from asyncua.crypto.cert_gen import setup_self_signed_certificate
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256
from cryptography.x509.oid import ExtendedKeyUsageOID

from edge_agent.core.divert import DivertNow
from edge_agent.local.opcua import NAMESPACE, OpcUaServer, OpcUaServing, Policy
from tests.local.line import PASSWORD, PEOPLE, Line, listed

FORCE, LEVEL, GUARD = "press1/main_force.high", "press1/hopper_level.low", "press1/guard.open"
EVENT_FIELDS = (
    "EventId", "EventType", "Severity", "Message", "SourceName", "ConditionName", "Retain", "AckedState/Id", "ActiveState/Id", "ClientUserId",
    "Comment", "ShelvingState/CurrentState", "SuppressedOrShelved", "Time",
)  # fmt: skip


def at_line() -> Line:
    line = Line()
    line.people.take("gw1", listed(*PEOPLE))
    line.committed([])
    return line


async def served(line: Line, folder: Path, config: OpcUaServing) -> OpcUaServer:
    server = OpcUaServer(config, folder / "pki", line.desk, line.sessions)
    await server.start()
    line.heard.append(server.committed)
    return server


class Seen:
    """What a subscription to the server's events was told."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def event_notification(self, event: Any) -> None:
        self.events.append({**event.get_event_props_as_fields_dict(), "node": event.NodeId if hasattr(event, "NodeId") else None})

    def named(self, alarm: str) -> list[dict[str, Any]]:
        return [e for e in self.events if getattr(e.get("ConditionName"), "Value", None) == alarm]

    async def until(self, alarm: str, n: int) -> dict[str, Any]:
        async with asyncio.timeout(15):
            while len(self.named(alarm)) < n:
                await asyncio.sleep(0.02)
        return {key: getattr(value, "Value", value) for key, value in self.named(alarm)[n - 1].items()}


def wanted() -> ua.EventFilter:
    """What a client selects: fields by path, and the condition's own id (OPC 10000-9, 5.5.2)."""
    clauses = [
        ua.SimpleAttributeOperand(
            TypeDefinitionId=ua.NodeId(ua.ObjectIds.BaseEventType), AttributeId=ua.AttributeIds.Value,
            BrowsePath=[ua.QualifiedName(part) for part in path.split("/")],
        )
        for path in EVENT_FIELDS
    ]  # fmt: skip
    condition = ua.NodeId(ua.ObjectIds.ConditionType)
    clauses.append(ua.SimpleAttributeOperand(TypeDefinitionId=condition, AttributeId=ua.AttributeIds.NodeId, BrowsePath=[]))
    return ua.EventFilter(SelectClauses=clauses)


async def subscribed(client: Client) -> tuple[Seen, Any]:
    seen = Seen()
    subscription = await client.create_subscription(50, seen)
    await subscription.subscribe_events(client.nodes.server, evfilter=wanted())
    return seen, subscription


async def call(client: Client, condition: Any, method: int, *args: Any) -> None:
    await client.get_node(condition).call_method(ua.NodeId(method), *args)


# Building the address space takes seconds: one server for a module, its loop in its own thread.
def _for_module(folder: Path, policy: Policy) -> Iterator[tuple[Line, OpcUaServer]]:
    line = at_line()
    server = asyncio.run(served(line, folder, OpcUaServing(port=0, policy=policy)))
    yield line, server
    asyncio.run(server.stop())


@pytest.fixture(scope="module")
def open_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Line, OpcUaServer]]:
    yield from _for_module(tmp_path_factory.mktemp("open"), "none")


@pytest.fixture(scope="module")
def locked_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Line, OpcUaServer]]:
    yield from _for_module(tmp_path_factory.mktemp("locked"), "basic256sha256")


async def secure(server: OpcUaServer, folder: Path, user: str = "", password: str = "") -> Client:
    client = Client(f"opc.tcp://127.0.0.1:{server.port}/", timeout=15)
    key, certificate, uri = folder / "client.pem", folder / "client.der", "urn:scada"
    client.application_uri = uri
    await setup_self_signed_certificate(key, certificate, uri, "scada", [ExtendedKeyUsageOID.CLIENT_AUTH], {"commonName": "scada"})
    await client.set_security(SecurityPolicyBasic256Sha256, str(certificate), str(key), mode=ua.MessageSecurityMode.SignAndEncrypt)
    if user:
        client.set_user(user)
        client.set_password(password)
    return client


async def test_figures_follow_the_desk_and_nothing_can_be_written(open_server: tuple[Line, OpcUaServer]) -> None:
    line, server = open_server
    async with Client(f"opc.tcp://127.0.0.1:{server.port}/", timeout=15) as client:
        space = await client.get_namespace_index(NAMESPACE)

        async def read(name: str) -> Any:
            return await client.get_node(ua.NodeId(f"press-edge-1/{name}", space)).read_value()

        assert await read("Edge") == "press-edge-1"
        beat = await read("Heartbeat")
        line.turn(GUARD, True)
        async with asyncio.timeout(10):
            while (await read("WorstStandingPriority"), await read("Unacknowledged1"), await read("Ready")) != (1, 1, True):
                await asyncio.sleep(0.05)
        async with asyncio.timeout(10):
            while await read("Heartbeat") == beat:
                line.committed([])
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.6)
        beat = await read("Heartbeat")
        await asyncio.sleep(1.6)
        assert await read("Heartbeat") == beat  # no commit, no beat
        for name in ("Heartbeat", "Edge", "Ready"):
            with pytest.raises(ua.UaStatusCodeError, match=r"BadUserAccessDenied|BadNotWritable"):
                await client.get_node(ua.NodeId(f"press-edge-1/{name}", space)).write_value(await read(name))
        with pytest.raises(ua.UaStatusCodeError):
            await client.nodes.objects.add_variable(space, "mine", 1)
        with pytest.raises(ua.UaStatusCodeError):
            await client.delete_nodes([client.get_node(ua.NodeId("press-edge-1/Heartbeat", space))])


async def test_a_figure_that_cannot_be_told_now_is_told_later(open_server: tuple[Line, OpcUaServer], monkeypatch: pytest.MonkeyPatch) -> None:
    line, server = open_server
    real, failed = line.desk.supervision, asyncio.Event()
    loop = asyncio.get_running_loop()

    def fails() -> Any:
        loop.call_soon_threadsafe(failed.set)
        raise OSError("disk I/O error")

    monkeypatch.setattr(line.desk, "supervision", fails)
    await asyncio.wait_for(failed.wait(), 15)
    monkeypatch.setattr(line.desk, "supervision", real)
    line.committed([])
    async with Client(f"opc.tcp://127.0.0.1:{server.port}/", timeout=15) as client:
        node = client.get_node(ua.NodeId("press-edge-1/Heartbeat", await client.get_namespace_index(NAMESPACE)))
        async with asyncio.timeout(15):
            while await node.read_value() != real().beat:
                await asyncio.sleep(0.05)


async def test_what_a_diverter_has_to_do_is_shown_and_old_words_mean_divert(open_server: tuple[Line, OpcUaServer]) -> None:
    line, server = open_server
    calm = DivertNow("cm1/divert", False, 0, 0, 41, line.clock() + 3600 * 10**9, low=99.0, high=101.0)
    line.desk.committed([], [], diverts=[calm])
    async with Client(f"opc.tcp://127.0.0.1:{server.port}/", timeout=15) as client:
        space = await client.get_namespace_index(NAMESPACE)

        async def read(name: str) -> Any:
            return await client.get_node(ua.NodeId(f"press-edge-1/cm1/divert/{name}", space)).read_value()

        async with asyncio.timeout(10):
            while True:
                try:
                    if await read("DivertRequest") is False:
                        break
                except ua.UaStatusCodeError:  # not made yet
                    pass
                await asyncio.sleep(0.05)
        assert (await read("Watchdog"), await read("Lowest")) == (41, 99.0)
        line.desk.committed([], [], diverts=[dataclasses.replace(calm, valid_until_ns=line.clock() - 1)])
        async with asyncio.timeout(10):
            while await read("DivertRequest") is not True:
                await asyncio.sleep(0.05)
        assert await read("ReasonText") == "request not valid any more"
        with pytest.raises(ua.UaStatusCodeError, match=r"BadUserAccessDenied|BadNotWritable"):
            await client.get_node(ua.NodeId("press-edge-1/cm1/divert/DivertRequest", space)).write_value(False)
    line.desk.committed([], [], diverts=[])


async def test_conditions_are_told_refreshed_and_not_touched_by_nobody(open_server: tuple[Line, OpcUaServer]) -> None:
    line, server = open_server
    line.turn(GUARD, True)
    async with Client(f"opc.tcp://127.0.0.1:{server.port}/", timeout=15) as client:
        seen, subscription = await subscribed(client)
        line.turn(FORCE, True, 16.5)
        event = await seen.until(FORCE, 1)
        assert (event["Severity"], event["SourceName"], event["Retain"], event["AckedState/Id"], event["ActiveState/Id"]) == (
            700, "press1/main_force", True, False, True,
        )  # fmt: skip
        assert event["Message"].Text == "Main compression force: 16.5 beyond the limit"
        assert event["EventType"] == ua.NodeId(ua.ObjectIds.AlarmConditionType)
        line.turn(FORCE, False)
        event = await seen.until(FORCE, 2)
        assert (event["ActiveState/Id"], event["AckedState/Id"], event["Retain"]) == (False, False, True)
        assert seen.named(GUARD) == []
        await client.get_node(ua.ObjectIds.ConditionType).call_method(
            ua.NodeId(ua.ObjectIds.ConditionType_ConditionRefresh), ua.Variant(subscription.subscription_id, ua.VariantType.UInt32)
        )
        await seen.until(GUARD, 1)
        await seen.until(FORCE, 3)
        types = [e["EventType"].Value.Identifier for e in seen.events]
        assert types.index(ua.ObjectIds.RefreshStartEventType) < types.index(ua.ObjectIds.RefreshEndEventType)
        with pytest.raises(ua.UaStatusCodeError, match="BadUserAccessDenied"):
            await call(client, event["node"], ua.ObjectIds.AcknowledgeableConditionType_Acknowledge, event["EventId"], ua.LocalizedText("seen"))
    assert line.actions == []
    with pytest.raises(ua.UaError):
        await _enter(Client(f"opc.tcp://127.0.0.1:{server.port}/", timeout=15), "wang", PASSWORD)


async def _enter(client: Client, user: str, password: str) -> None:
    client.set_user(user)
    client.set_password(password)
    async with client:
        pass


async def test_a_person_acknowledges_comments_and_shelves_and_the_edge_decides(locked_server: tuple[Line, OpcUaServer], tmp_path: Path) -> None:
    line, server = locked_server
    with pytest.raises(ua.UaError):
        async with await secure(server, tmp_path, "wang", "not the password"):
            pass
    o = ua.ObjectIds
    async with await secure(server, tmp_path, "wang", PASSWORD) as client:
        seen, _ = await subscribed(client)
        line.turn(FORCE, True, 16.5)
        event = await seen.until(FORCE, 1)
        node, text = event["node"], ua.LocalizedText
        await call(client, node, o.AcknowledgeableConditionType_Acknowledge, event["EventId"], text("at the press"))
        event = await seen.until(FORCE, 2)
        assert (event["AckedState/Id"], event["ClientUserId"], event["Comment"].Text) == (True, "wang", "at the press")
        (action,) = line.actions
        assert (action.kind, action.user, action.role, action.station, action.reason) == ("acknowledge", "wang", "operator", "opcua", "at the press")
        with pytest.raises(ua.UaStatusCodeError, match="BadConditionBranchAlreadyAcked"):
            await call(client, node, o.AcknowledgeableConditionType_Acknowledge, event["EventId"], text(""))
        await call(client, node, o.ConditionType_AddComment, event["EventId"], text("punch 7"))
        assert (await seen.until(FORCE, 3))["Comment"].Text == "punch 7"
        with pytest.raises(ua.UaStatusCodeError, match="BadEventIdUnknown"):
            await call(client, node, o.AcknowledgeableConditionType_Acknowledge, b"12~3~press1/guard.open", text(""))
        with pytest.raises(ua.UaStatusCodeError, match="BadUserAccessDenied"):  # priority 2: not for an operator
            await call(client, node, o.ShelvedStateMachineType_TimedShelve, 60_000.0)

        line.turn(LEVEL, True, 8.0)
        level = (await seen.until(LEVEL, 1))["node"]
        with pytest.raises(ua.UaStatusCodeError, match="BadShelvingTimeOutOfRange"):
            await call(client, level, o.ShelvedStateMachineType_TimedShelve, 1e9)
        await call(client, level, o.ShelvedStateMachineType_TimedShelve, 600_000.0)
        event = await seen.until(LEVEL, 2)
        assert (event["ShelvingState/CurrentState"].Text, event["SuppressedOrShelved"]) == ("TimedShelved", True)
        assert line.state(LEVEL) == "SHLVD"
        assert line.actions[-1].duration_s == 600
        shelving = ua.NodeId(f"alarm/{LEVEL}/ShelvingState", level.NamespaceIndex)
        await call(client, shelving, o.ShelvedStateMachineType_Unshelve)
        assert (await seen.until(LEVEL, 3))["ShelvingState/CurrentState"].Text == "Unshelved"
        await call(client, level, o.ShelvedStateMachineType_OneShotShelve2, text("probe is dirty"))
        assert (await seen.until(LEVEL, 4))["ShelvingState/CurrentState"].Text == "OneShotShelved"
        assert (line.actions[-1].reason, line.actions[-1].one_shot) == ("probe is dirty", True)
    assert [n[:2] for n in line.notes] == [("login_failed", "wang")]


async def test_an_acknowledgement_of_an_older_occurrence_is_refused(locked_server: tuple[Line, OpcUaServer], tmp_path: Path) -> None:
    line, server = locked_server
    async with await secure(server, tmp_path, "li", PASSWORD) as client:
        seen, _ = await subscribed(client)
        line.turn(GUARD, True, 1.0)
        old = await seen.until(GUARD, 1)
        line.turn(GUARD, False)
        line.turn(GUARD, True, 17.0)
        await seen.until(GUARD, 3)
        with pytest.raises(ua.UaStatusCodeError, match="BadEventIdUnknown"):
            await call(client, old["node"], ua.ObjectIds.AcknowledgeableConditionType_Acknowledge, old["EventId"], ua.LocalizedText(""))
    assert line.state(GUARD) == "UNACK"


async def test_an_unknown_client_certificate_is_refused_where_some_are_trusted(tmp_path: Path) -> None:
    line = at_line()
    other = tmp_path / "other"
    other.mkdir()
    uri = "urn:known"
    await setup_self_signed_certificate(other / "k.pem", other / "c.der", uri, "known", [ExtendedKeyUsageOID.CLIENT_AUTH], {"commonName": "known"})
    server = await served(line, tmp_path, OpcUaServing(port=0, policy="basic256sha256", trusted=(other / "c.der",)))
    try:
        with pytest.raises((ua.UaError, ConnectionError, asyncio.TimeoutError)):
            async with await secure(server, tmp_path, "wang", PASSWORD):
                pass
    finally:
        await server.stop()
    assert line.notes == []
