"""The section `notifications` of the gateway's configuration."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from pydantic import Field

from edge_agent.core.salvage import Place
from edge_agent.core.settings import Section
from gateway.notify import AnyReceiver, WebhookConfig
from gateway.notify.rules import Rule, Shift


class Notifications(Section):
    """Who is told of alarms, and how."""

    max_age_s: float = Field(900.0, gt=0)
    """Age in seconds beyond which an event that comes late, or from a recording, tells nobody."""
    settle_s: float = Field(10.0, ge=0, le=600)
    """Seconds after the start in which no step is taken: an edge may have been told meanwhile that somebody takes care of it."""
    keep_days: int = Field(30, ge=1)
    """Days for which closed messages are kept in notify.sqlite."""
    console_url: str = Field("", pattern="^(https?://.+)?$")
    """Address of the console as the readers of messages can open it; absent leaves it out."""
    receivers: tuple[AnyReceiver, ...] = ()
    """Where messages go."""
    shifts: tuple[Shift, ...] = ()
    """Parts of the week, in the time zone of the gateway."""
    rules: tuple[Rule, ...] = ()
    """Which alarms are told, and in which steps."""
    work_requests: tuple[str, ...] = ()
    """Names of receivers that get a work request when a person accepts maintenance advice."""

    def mistakes(self) -> Iterable[tuple[Place, str, str]]:
        """What only shows between keys."""
        receivers, shifts = [r.name for r in self.receivers], [s.name for s in self.shifts]
        for key, names in (("receivers", receivers), ("shifts", shifts), ("rules", [r.name for r in self.rules])):
            for i, name in enumerate(names):
                if name in names[:i]:
                    yield (key, i, "name"), "a name used once", repr(name)
        for i, name in enumerate(self.work_requests):
            if name not in receivers:
                yield ("work_requests", i), "a name in notifications.receivers", repr(name)
        for i, receiver in enumerate(self.receivers):
            if isinstance(receiver, WebhookConfig):
                if bool(receiver.url) == (receiver.url_file is not None):
                    yield ("receivers", i, "url"), "either url or url_file", "both" if receiver.url else "none"
            elif (receiver.username is None) != (receiver.password_file is None):
                yield ("receivers", i, "username"), "username and password_file together", "one of them"
            if receiver.kind == "smtp" and receiver.security == "none" and receiver.username is not None:
                yield ("receivers", i, "security"), "starttls or tls where a password is sent", "'none'"
        for i, shift in enumerate(self.shifts):
            for day in shift.except_dates:
                try:
                    date.fromisoformat(day)
                except ValueError:
                    yield ("shifts", i, "except_dates"), "dates such as 2026-10-01", repr(day)
        for i, rule in enumerate(self.rules):
            for n, step in enumerate(rule.steps):
                place: Place = ("rules", i, "steps", n)
                if n and step.after_s < rule.steps[n - 1].after_s:
                    yield (*place, "after_s"), "steps in the order of time", repr(step.after_s)
                for key, used, known in (("receivers", step.receivers, receivers), ("shifts", step.shifts, shifts)):
                    for name in used:
                        if name not in known:
                            yield (*place, key), f"a name in notifications.{key}", repr(name)
