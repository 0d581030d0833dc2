"""`edge-agent doctor`: looks at everything an edge rests on and says in words what is wrong."""

from __future__ import annotations

import json
import sqlite3
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from edge_agent.agent.commit import CHECKPOINTS, JOURNAL, OUTBOX, STREAMS, checkpoint_position
from edge_agent.agent.opening import FILE
from edge_agent.broker import TlsConfig
from edge_agent.config import AgentSettings
from edge_agent.config.credentials import certificates_of, secrets_of
from edge_agent.config.trained import load_whole
from edge_agent.core import ConfigError, Log, PharmedgeError, decode, diagnosis
from edge_agent.core.diagnosis import Finding
from edge_agent.core.settings import credential


def examine(config: Path) -> Iterator[Finding]:
    """Everything about the edge of a configuration file; with mistakes in it, these alone."""
    try:
        settings = load_whole(config)
    except ConfigError as error:
        for mistake in error.mistakes:
            yield Finding("configuration", "wrong", str(mistake))
        return
    base = config.resolve().parent
    yield Finding("configuration", "ok", f"{config}: {len(settings.sources)} sources, {len(settings.tags)} tags, {len(settings.alarms)} alarms")
    data_dir = base / settings.edge.data_dir
    status = _running(settings)
    yield diagnosis.own_folder("data folder", data_dir)
    journal, newest_ns, held = _log(settings, data_dir)
    yield journal
    yield from diagnosis.disk(data_dir, settings.outbox.max_bytes + settings.outbox.journal_bytes, held)
    yield diagnosis.clock(time.time(), newest_ns)
    yield diagnosis.port("port of status and metrics", settings.http.host, settings.http.port, status is not None)
    for what, path in secrets_of(settings, base):
        yield diagnosis.private(what, credential(path))
    for what, path in certificates_of(settings, base):
        yield diagnosis.certificate(what, path, time.time())
    yield from _others(settings, base)
    yield from _of_the_running(status)


def _running(settings: AgentSettings) -> dict[str, Any] | None:
    host = f"[{settings.http.host}]" if ":" in settings.http.host else settings.http.host
    try:
        with urllib.request.urlopen(f"http://{host}:{settings.http.port}/status", timeout=3) as answer:
            found: dict[str, Any] = json.load(answer)
    except (urllib.error.URLError, TimeoutError, ValueError, OSError):
        return None
    return found if found.get("edge") == settings.edge.id else None


def _log(settings: AgentSettings, data_dir: Path) -> tuple[Finding, int, int]:
    """The journal, the received time of its newest entry, and the bytes held."""
    path = data_dir / FILE
    if not path.exists():
        return Finding("journal", "ok", "none yet: the agent has not run"), 0, 0
    try:
        log = Log(path, STREAMS)
        try:
            journal, outbox = log.head(JOURNAL), log.head(OUTBOX)
            rows = log.read(JOURNAL, journal.seq - 1, max_rows=1)
            newest_ns = decode(rows[0].data).received_ns if rows else 0  # type: ignore[union-attr]
            kept = [checkpoint_position(d) for n in CHECKPOINTS if (d := log.value(n))]
        finally:
            log.close()
    except (OSError, sqlite3.DatabaseError, PharmedgeError, ValueError) as error:
        return Finding("journal", "wrong", f"{path}: {error}; edge-agent log verify names every fault"), 0, 0
    held = journal.bytes + outbox.bytes
    full = outbox.bytes / settings.outbox.max_bytes
    said = f"{journal.bytes / 1e6:.0f} MB of journal, {outbox.bytes / 1e6:.0f} MB wait for delivery, {full:.0%} of what is allowed"
    said += "" if kept else "; no checkpoint yet, so a start steps the whole journal again"
    return Finding("journal", "wrong" if full > 0.9 else "look" if full > 0.7 else "ok", said), newest_ns, held


def _others(settings: AgentSettings, base: Path) -> Iterator[Finding]:
    for section in (*settings.sources, *settings.uplinks):
        what = f"{section.kind} {section.name}"
        host, port = getattr(section, "host", None), getattr(section, "port", None)
        if url := getattr(section, "url", None):
            parts = urlsplit(str(url))
            host, port = parts.hostname, parts.port or {"opc.tcp": 4840, "https": 443}.get(parts.scheme, 80)
        if not host or not port:
            yield from _files(what, section, base)
            continue
        tls = getattr(section, "tls", None)
        try:
            context = _beside(tls, base).context() if isinstance(tls, TlsConfig) else None
        except (OSError, ssl.SSLError) as error:
            yield Finding(what, "wrong", f"its TLS files cannot be used: {error}")
            continue
        yield diagnosis.reach(what, host, port, context)


def _beside(tls: TlsConfig, base: Path) -> TlsConfig:
    paths = {key: base / path for key in ("ca_file", "cert_file", "key_file") if (path := getattr(tls, key)) is not None}
    return tls.model_copy(update=paths)


def _files(what: str, section: Any, base: Path) -> Iterator[Finding]:
    for path in getattr(section, "files", ()):
        there = (base / path).exists()
        yield Finding(what, "ok" if there else "wrong", f"{base / path}" + ("" if there else ": expected a file, found none"))


def _of_the_running(status: dict[str, Any] | None) -> Iterator[Finding]:
    if status is None:
        yield Finding("agent", "look", "does not run, or does not answer at its port")
        return
    problems = status["problems"]
    if not problems:
        yield Finding("agent", "ok", f"runs for {status['uptime_s']:.0f} s and is ready")
    for problem in problems:
        yield Finding("agent", "wrong", f"runs and is not ready: {problem}")
    for source in status.get("sources", []):
        yield from _filled(source["name"], source.get("counters", {}))


def _filled(name: str, counters: dict[str, int]) -> Iterator[Finding]:
    """What came from the history of an OPC UA server since the start, and what could not be filled."""
    holes = {key.removeprefix("history_holes_").replace("_", " "): n for key, n in counters.items() if key.startswith("history_holes_")}
    if not holes:
        return
    whole = holes.pop("filled", 0)
    said = f"{whole} holes filled with {counters.get('history_values', 0)} values"
    if holes:
        said += f"; not or not wholly: {', '.join(f'{n} {why}' for why, n in sorted(holes.items()))}; what did not come stays declared as a gap"
    yield Finding(f"history of {name}", "look" if holes else "ok", said)
