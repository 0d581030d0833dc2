"""A test message to one receiver: handed over at once, past the queue, and marked as what it is."""

from __future__ import annotations

import uuid
from zoneinfo import ZoneInfo

from gateway.notify.receiver import Message
from gateway.notify.section import Notifications
from gateway.notify.words import Writer
from gateway.query import NotFound


def trial(section: Notifications, name: str, *, gateway: str, timezone: str, now_ns: int) -> None:
    """Hand a test message to the receiver of that name. NotFound when there is none, NotConnected or Rejected when it was not taken."""
    config = next((r for r in section.receivers if r.name == name), None)
    if config is None:
        raise NotFound(f"receiver: expected one of {', '.join(r.name for r in section.receivers) or 'none that is configured'}, found {name!r}")
    message = Message(
        id=uuid.uuid4().hex,
        receiver=name,
        made_ns=now_ns,
        total=0,
        priorities={},
        step=1,
        first_ns=now_ns,
        simulated=False,
        items=(),
        keys=(),
        test=True,
    )
    config.make(Writer(config, ZoneInfo(timezone), section.console_url), gateway).send(message, now_ns)
