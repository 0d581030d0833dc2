"""What can be wrong around a program, said in words: disk, clock, certificates, ports, other computers, files that everyone may read.

Each check looks at one thing, changes nothing that stays, and gives a `Finding`; `doctor` of edge and gateway puts them together.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import os
import shutil
import socket
import ssl
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, Literal

import msgspec

from edge_agent.core.timex import kernel_clock

State = Literal["ok", "look", "wrong"]
"""ok; look: works, and somebody should look at it; wrong: does not work, or loses something."""

SLOW_SYNC_MS: Final = 50.0
"""Everything is tested to work with syncs of this length; above it alarms become durable late."""
EXPIRES_SOON_DAYS: Final = 30
REACH_S: Final = 3.0
_BUILT: Final = 1_767_225_600  # 2026-01-01: no clock that is right shows an earlier time


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at."""

    what: str
    state: State
    said: str


def report(findings: Iterable[Finding]) -> tuple[str, bool]:
    """One line each, and whether nothing is wrong.

    >>> print(report([Finding("disk", "ok", "70.0 GB free"), Finding("clock", "look", "not synchronised")])[0])
    ok     disk: 70.0 GB free
    look   clock: not synchronised
    """
    kept = list(findings)
    return "\n".join(f"{f.state:<6} {f.what}: {f.said}" for f in kept), all(f.state != "wrong" for f in kept)


def disk(folder: Path, budget_bytes: int, held_bytes: int = 0) -> list[Finding]:
    """Room for what a program may keep beside what it keeps already, and how long a durable write takes there (median of 9)."""
    there = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    free, asked = shutil.disk_usage(there).free, max(0, budget_bytes - held_bytes)
    state: State = "ok" if free > asked * 1.1 else "look" if free > 1 << 28 else "wrong"
    need = "" if state == "ok" else f", and its budgets allow {asked / 1e9:.1f} GB more: give it room or lower the budgets"
    findings = [Finding("disk", state, f"{free / 1e9:.1f} GB free in {there}{need}")]
    times = []
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            for _ in range(9):
                began = time.perf_counter()
                file.write(bytes(4096))
                file.flush()
                os.fsync(file.fileno())
                times.append((time.perf_counter() - began) * 1e3)
    except OSError as error:
        return [*findings, Finding("durable writes", "wrong", f"{there}: expected to be able to write, found {error.strerror}")]
    median = sorted(times)[4]
    slow = median > SLOW_SYNC_MS
    said = f"{median:.1f} ms each" + (f": more than {SLOW_SYNC_MS:.0f} ms delays every alarm by that; use another disk" if slow else "")
    return [*findings, Finding("durable writes", "look" if slow else "ok", said)]


def synchronised() -> bool | None:
    """Whether the kernel holds its clock for synchronised (adjtimex(2)); None where it cannot be asked."""
    found = kernel_clock()
    return None if found is None else found.synchronised


def clock(now_s: float, newest_ns: int = 0, sync: Callable[[], bool | None] = synchronised) -> Finding:
    """The wall clock against common sense, against the newest thing kept, and against its own word."""
    shown = datetime.datetime.fromtimestamp(now_s, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if now_s < _BUILT:
        return Finding("clock", "wrong", f"it shows {shown}, before this software was made: set it, and keep it by NTP or PTP")
    if newest_ns / 1e9 > now_s + 1:
        return Finding("clock", "look", f"it shows {shown}, {newest_ns / 1e9 - now_s:.0f} s before the newest entry of the journal")
    in_step = sync()
    if in_step is False:
        return Finding("clock", "look", f"it shows {shown} and the system says that nothing synchronises it: values are stamped by other clocks")
    return Finding("clock", "ok", f"{shown}, {'synchronised' if in_step else 'the system does not tell whether it is synchronised'}")


def certificate(what: str, path: Path, now_s: float) -> Finding:
    """How long the first certificate of a file (PEM or DER) still holds."""
    days, said = expiry(path, now_s)
    state: State = "wrong" if days is None or days < 0 else "look" if days < EXPIRES_SOON_DAYS else "ok"
    return Finding(f"certificate {what}", state, said)


def expiry(path: Path, now_s: float) -> tuple[float | None, str]:
    """Days until a certificate expires, negative when it has; None when there is none or it is not valid yet; and this in words."""
    from cryptography import x509

    try:
        data = path.read_bytes()
        found = x509.load_pem_x509_certificate(data) if b"-----BEGIN" in data else x509.load_der_x509_certificate(data)
    except OSError as error:
        return None, f"{path}: expected a certificate, found {error.strerror}"
    except ValueError:
        return None, f"{path}: expected a certificate as PEM or DER, found something else"
    begins, ends = found.not_valid_before_utc.timestamp(), found.not_valid_after_utc.timestamp()
    until = found.not_valid_after_utc.strftime("%Y-%m-%d")
    if now_s < begins:
        return None, f"{path} is valid from {found.not_valid_before_utc:%Y-%m-%d} on: is the clock right?"
    days = (ends - now_s) / 86400
    return days, f"{path} has expired on {until}: have it renewed" if days < 0 else f"{path} holds until {until}, {days:.0f} days"


def reach(what: str, host: str, port: int, tls: ssl.SSLContext | None = None) -> Finding:
    """Whether somebody answers there within REACH_S, and with `tls` whether it is whom we trust."""
    at = f"{host}:{port}"
    try:
        with contextlib.ExitStack() as stack:
            plain = stack.enter_context(socket.create_connection((host, port), REACH_S))
            if tls is not None:
                shown = stack.enter_context(tls.wrap_socket(plain, server_hostname=host))
                return Finding(what, "ok", f"{at} answers, {shown.version()}")
    except ssl.SSLCertVerificationError as error:
        return Finding(what, "wrong", f"{at} answers and is not trusted: {error.verify_message}")
    except ssl.SSLError as error:
        return Finding(what, "wrong", f"{at} answers and TLS fails: {error.reason or error}")
    except socket.gaierror:
        return Finding(what, "wrong", f"{host}: expected a name that can be resolved, found none: check name and DNS")
    except TimeoutError:
        return Finding(what, "wrong", f"{at} does not answer within {REACH_S:.0f} s: a firewall, a wrong address, or it is off")
    except OSError as error:
        why = "nobody listens there: is it running?" if error.errno == errno.ECONNREFUSED else str(error.strerror or error)
        return Finding(what, "wrong", f"{at}: {why}")
    return Finding(what, "ok", f"{at} answers")


def port(what: str, host: str, number: int, ours: bool) -> Finding:
    """Whether a port to listen on is free, or taken by the running program itself (`ours`)."""
    if number == 0:
        return Finding(what, "ok", "a free port is chosen at the start")
    if ours:
        return Finding(what, "ok", f"{host}:{number} answers")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, number))
        except PermissionError:
            return Finding(what, "wrong", f"{host}:{number}: ports below 1024 are not for this user: choose another one")
        except OSError as error:
            return Finding(what, "wrong", f"{host}:{number} cannot be had: {error.strerror}; another program has it, or the address is not of here")
    return Finding(what, "ok", f"{host}:{number} is free")


def private(what: str, path: Path) -> Finding:
    """Whether a secret can be read by us and not by everyone."""
    try:
        mode = path.stat().st_mode
        with path.open("rb"):
            pass
    except OSError as error:
        return Finding(what, "wrong", f"{path}: expected a file that can be read, found {error.strerror}")
    if mode & 0o007:
        return Finding(what, "look", f"{path} can be read by everyone on this computer: chmod o-rwx")
    return Finding(what, "ok", f"{path} is kept from others")


def own_folder(what: str, folder: Path) -> Finding:
    """Whether a data folder can be written, and is not open to everyone."""
    there = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        owner = there.stat().st_uid
        return Finding(what, "wrong", f"{there} cannot be written by user id {os.getuid()}; it belongs to user id {owner}")
    if there == folder and folder.stat().st_mode & 0o002:
        return Finding(what, "look", f"{folder} can be written by everyone on this computer: chmod o-w")
    return Finding(what, "ok", f"{folder}" if there == folder else f"{folder} will be made")
