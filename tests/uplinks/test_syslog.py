"""What an edge tells the log server of the site."""

from __future__ import annotations

import asyncio
import ssl
import time
from pathlib import Path

import msgspec
import pytest

from edge_agent.core import AlarmEvent, Append, Audit, NotConnected, audit_link, encode
from edge_agent.core.syslog import alarm_line
from edge_agent.core.wire import KINDS
from edge_agent.uplinks.outgoing import STREAM
from edge_agent.uplinks.syslog import SyslogConfig, audit_line
from tests.certificates import certificates
from tests.gateway.test_syslog import LogServer
from tests.uplinks.acting import Edge, outbox, until

ENTRY = Audit(time_ns=1_767_600_000 * 10**9, user="li", role="engineer", action="unit_mode", object="press1", new="cleaning", reason="换批")
RAISED = AlarmEvent(
    alarm="p1/f.high", tag="p1/f", raised_ns=1, time_ns=10**9, received_ns=2, event="raise", state_from="NORM", state_to="UNACK", priority=2,
)  # fmt: skip


def test_an_entry_carries_its_hash_and_that_of_the_one_before() -> None:
    second = msgspec.structs.replace(ENTRY, action="model_refused", chain=audit_link(ENTRY))
    first, then = audit_line("e1", ENTRY), audit_line("e1", second)
    assert first.startswith('<109>1 2026-01-05T08:00:00.000000Z e1 pharmedge - audit [audit@32473 user="li" role="engineer" action="unit_mode" ')
    assert first.endswith(f'new="cleaning" reason="换批" hash="{audit_link(ENTRY)}"] unit_mode press1: li')
    assert then.startswith("<108>1 ")  # something refused is a warning
    assert f'previous="{audit_link(ENTRY)}"' in then


def test_it_is_encrypted_unless_that_is_taken_away() -> None:
    config = SyslogConfig.model_validate({"kind": "syslog", "name": "siem", "host": "h"})
    assert (config.port, config.tls is not None, config.required) == (6514, True, False)
    assert config.tls is not None
    assert (config.tls.context().verify_mode, config.tls.context().check_hostname) == (ssl.CERT_REQUIRED, True)
    assert SyslogConfig.model_validate({"kind": "syslog", "name": "siem", "host": "h", "tls": None}).tls is None


@pytest.mark.parametrize("alarms", [False, True])
async def test_audit_entries_go_over_tls_and_alarms_where_asked_for(tmp_path: Path, alarms: bool) -> None:
    made = certificates(tmp_path, "127.0.0.1")
    server = LogServer(made)
    log = outbox(tmp_path)
    log.commit([Append(STREAM, 1, b"values") for _ in range(5)])
    log.forget(STREAM, 5)  # values that a gateway has had
    log.commit([Append(STREAM, KINDS[type(record)], encode(record)) for record in (RAISED, ENTRY, RAISED)])
    edge = Edge(log)
    section = {"kind": "syslog", "name": "siem", "host": "127.0.0.1", "port": server.port, "tls": {"ca_file": made.ca}, "alarms": alarms}
    task = asyncio.create_task(SyslogConfig.model_validate(section).uplink(edge.port(time.time_ns)).run())
    await until(lambda: edge.moved and edge.moved[-1] == 8)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    lines = [alarm_line("e1", RAISED), audit_line("e1", ENTRY), alarm_line("e1", RAISED)] if alarms else [audit_line("e1", ENTRY)]
    told = edge.ports[-1].status
    assert (told["sent_records"], told["gone_records"]) == (len(lines), 0), "what is not for a log server is neither sent nor lost"
    assert await asyncio.to_thread(server.heard) == b"".join(f"{len(text)} ".encode() + text for text in (one.encode() for one in lines))
    log.close()


async def test_a_log_server_of_strangers_gets_nothing(tmp_path: Path) -> None:
    ours, stranger = certificates(tmp_path / "a", "127.0.0.1"), certificates(tmp_path / "b", "127.0.0.1")
    server = LogServer(stranger)
    log = outbox(tmp_path)
    log.commit([Append(STREAM, KINDS[Audit], encode(ENTRY))])
    edge = Edge(log)
    section = {"kind": "syslog", "name": "siem", "host": "127.0.0.1", "port": server.port, "tls": {"ca_file": ours.ca}}
    with pytest.raises(NotConnected, match="certificate verify failed"):
        await SyslogConfig.model_validate(section).uplink(edge.port(time.time_ns)).run()
    assert await asyncio.to_thread(server.heard) == b""
    assert edge.moved == []
    log.close()
