"""What the OPC UA source relies on in asyncua beyond its public interface: when a new version changes it, these tests say so first."""

from __future__ import annotations

import asyncio
import datetime
import importlib.metadata
import inspect
import struct
import subprocess
import sys
from typing import Any

from asyncua import Client, Server, ua
from asyncua.client.ua_client import UASocketProtocol
from asyncua.client.ua_session import UaSession
from asyncua.common.utils import Buffer
from asyncua.server.subscription_service import SubscriptionService
from asyncua.ua.ua_binary import struct_from_binary, struct_to_binary

from edge_agent.sources.opcua_session import SILENT_AFTER_TRANSFER

WHEN = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def test_the_version_is_the_one_that_was_read() -> None:
    assert importlib.metadata.version("asyncua") == "2.1.0"


def test_a_request_can_be_sent_for_a_future_of_raw_bytes() -> None:
    assert list(inspect.signature(UASocketProtocol._send_request).parameters) == ["self", "request", "timeout", "message_type"]
    assert not inspect.iscoroutinefunction(UASocketProtocol._send_request)
    assert list(inspect.signature(UaSession._send_request).parameters)[:2] == ["self", "request"]


async def test_the_future_is_resolved_with_the_bytes_of_the_body_and_fails_with_the_connection() -> None:
    protocol = UASocketProtocol(1)
    written: list[bytes] = []

    class Transport:
        def write(self, data: bytes) -> None:
            written.append(data)

    protocol.connection_made(Transport())  # type: ignore[arg-type]
    future = protocol._send_request(ua.PublishRequest(), 0)
    assert isinstance(future, asyncio.Future)
    assert len(written) == 1
    protocol._call_callback(protocol._request_id, Buffer(b"xbody", 1))
    assert bytes(future.result()) == b"body"
    lost = protocol._send_request(ua.PublishRequest(), 0)
    protocol.connection_lost(None)
    assert isinstance(lost.exception(), ConnectionError)


async def test_a_client_has_the_places_that_taking_up_a_session_needs() -> None:
    client = Client("opc.tcp://127.0.0.1:1/")
    for name in ("_server_nonce", "_policy_ids", "secure_channel_timeout", "session_timeout", "application_uri", "security_policy"):
        assert hasattr(client, name), name
    for name in ("restore_authentication_token", "reset_authentication_token", "authentication_token"):
        assert hasattr(client.uaclient.session, name), name
    assert client.uaclient.protocol is None


def test_numbers_of_the_encodings() -> None:
    numbers = {
        "ServiceFault": 397, "PublishResponse": 829, "RepublishResponse": 835, "DataChangeNotification": 811, "StatusChangeNotification": 820,
    }  # fmt: skip
    for name, number in numbers.items():
        assert getattr(ua.ObjectIds, f"{name}_Encoding_DefaultBinary") == number


def test_asyncua_keeps_only_microseconds() -> None:
    data = b"\x04" + struct.pack("<q", 134_116_992_000_000_009)
    assert struct_from_binary(ua.DataValue, Buffer(data)).SourceTimestamp == WHEN


def test_asyncua_puts_picoseconds_behind_both_times_where_the_standard_puts_them_behind_each() -> None:
    value: Any = ua.DataValue(None, None, WHEN, WHEN, 1, 2)
    value.Value = None
    ticks = struct.pack("<q", 134_116_992_000_000_000)
    assert struct_to_binary(value) == b"\x3c" + ticks + ticks + b"\1\0\2\0"


def test_the_server_known_to_grant_transfers_in_vain_is_asyncuas() -> None:
    (uri,) = SILENT_AFTER_TRANSFER
    assert repr(uri).replace("'", '"') in inspect.getsource(Server.__init__)
    # Once transfers rebind where publish requests are taken from, the entry can go.
    assert "pub_request_callback" not in inspect.getsource(SubscriptionService.transfer_subscriptions)


def test_the_section_loads_without_asyncua_and_numba() -> None:
    program = (
        "import sys, edge_agent.sources.opcua as o\n"
        "o.OpcUaConfig(kind='opcua', name='plc', url='opc.tcp://x:4840/')\n"
        "sys.exit(sorted({'asyncua', 'numba', 'cryptography'} & set(sys.modules)) or 0)"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False).stderr == ""
