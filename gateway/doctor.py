"""`edge-gateway doctor`: looks at everything a gateway rests on and says in words what is wrong."""

from __future__ import annotations

import json
import sqlite3
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from edge_agent.core import ConfigError, diagnosis
from edge_agent.core.diagnosis import Finding
from edge_agent.core.settings import credential
from gateway.config import GatewayConfig, load_config

ROOM_BYTES: Final = 10_000_000_000
"""Free bytes below which a store should be looked after; how fast it grows is a matter of the site."""


def examine(config: Path) -> Iterator[Finding]:
    """Everything about the gateway of a configuration file; with mistakes in it, these alone."""
    try:
        settings = load_config(config)
    except ConfigError as error:
        for mistake in error.mistakes:
            yield Finding("configuration", "wrong", str(mistake))
        return
    yield Finding("configuration", "ok", f"{config}: {len(settings.targets)} targets")
    folder = settings.gateway.data_dir
    ready = _ready(settings)
    yield diagnosis.own_folder("data folder", folder)
    yield from diagnosis.disk(folder, ROOM_BYTES)
    yield diagnosis.clock(time.time())
    yield diagnosis.port("port of the console", settings.http.host, settings.http.port, ready is not None)
    yield from _databases(folder)
    broker, tls = settings.broker, settings.broker.tls
    for what, path in (("password of the broker", broker.password_file), ("key of the broker", tls.key_file if tls else None)):
        if path is not None:
            yield diagnosis.private(what, credential(path))
    for what, path in (("authority", tls.ca_file), ("own", tls.cert_file)) if tls else ():
        if path is not None:
            yield diagnosis.certificate(f"broker {what}", path, time.time())
    try:
        context = None
        if tls is not None:
            context = ssl.create_default_context(cafile=str(tls.ca_file))
            if tls.cert_file is not None:
                context.load_cert_chain(tls.cert_file, None if tls.key_file is None else credential(tls.key_file))
        yield diagnosis.reach("broker", broker.host, broker.port, context)
    except (OSError, ssl.SSLError) as error:
        yield Finding("broker", "wrong", f"its TLS files cannot be used: {error}")
    for target in settings.targets:
        parts = urlsplit(str(getattr(target, "url", "")))
        if parts.hostname:
            yield diagnosis.reach(f"target {target.name}", parts.hostname, parts.port or (443 if parts.scheme == "https" else 80))
    if ready is None:
        yield Finding("gateway", "look", "does not run, or does not answer at its port")
    elif not ready:
        yield Finding("gateway", "ok", "runs and is ready")
    for why in ready or ():
        yield Finding("gateway", "wrong", f"runs and is not ready: {why}")


def _ready(settings: GatewayConfig) -> list[str] | None:
    host = f"[{settings.http.host}]" if ":" in settings.http.host else settings.http.host
    try:
        with urllib.request.urlopen(f"http://{host}:{settings.http.port}/readyz", timeout=3) as answer:
            found: dict[str, Any] = json.load(answer)
    except urllib.error.HTTPError as error:
        try:
            found = json.load(error)
        except ValueError:
            return None
    except (urllib.error.URLError, TimeoutError, ValueError, OSError):
        return None
    why = found.get("why")
    return why if isinstance(why, list) else None


def _databases(folder: Path) -> Iterator[Finding]:
    for path in sorted(folder.glob("*.sqlite")):
        try:
            with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5) as db:
                said = str(db.execute("PRAGMA quick_check(1)").fetchone()[0])
            db.close()
        except sqlite3.DatabaseError as error:
            said = str(error)
        state: diagnosis.State = "ok" if said == "ok" else "wrong"
        yield Finding(f"database {path.name}", state, f"{path.stat().st_size / 1e6:.0f} MB" if said == "ok" else f"{path}: {said}")
