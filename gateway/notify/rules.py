"""Who is told what and when: shifts, rules and escalation steps as configured."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta, tzinfo
from fnmatch import fnmatchcase
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field

from edge_agent.core.settings import Section

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: Final[tuple[Day, ...]] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def _clock(value: object) -> object:
    # YAML 1.1 reads 20:00 without quotes as the number 1200.
    return f"{value // 60:02}:{value % 60:02}" if isinstance(value, int) and not isinstance(value, bool) else value


Clock = Annotated[str, BeforeValidator(_clock), Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]
Date = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\d$")]
Pattern = Annotated[str, Field(min_length=1)]



class Shift(Section):
    """A part of the week in the plant's time zone."""

    name: str = Field(min_length=1)
    days: tuple[Day, ...] = DAYS
    """Days on which it begins: mon, tue, wed, thu, fri, sat, sun."""
    from_: Clock = Field("00:00", alias="from")
    """When it begins, HH:MM."""
    to: Clock = "00:00"
    """When it ends, HH:MM; not later than `from` means on the next day."""
    except_dates: tuple[Date, ...] = ()
    """Dates (YYYY-MM-DD) on which it does not begin."""

    def holds(self, local: datetime) -> bool:
        """Whether a local time lies in this shift.

        >>> night = Shift.model_validate({"name": "night", "days": ["sun"], "from": "20:00", "to": "08:00"})
        >>> [night.holds(datetime(2026, 1, d, h)) for d, h in ((4, 19), (4, 20), (5, 7), (5, 8), (5, 20))]
        [False, True, True, False, False]
        """
        clock = f"{local:%H:%M}"
        if self.from_ < self.to:
            return self.from_ <= clock < self.to and self._begins(local.date())
        if clock >= self.from_:
            return self._begins(local.date())
        return clock < self.to and self._begins(local.date() - timedelta(days=1))

    def _begins(self, day: date) -> bool:
        return DAYS[day.weekday()] in self.days and day.isoformat() not in self.except_dates


class Step(Section):
    """One step of an escalation."""

    after_s: float = Field(0.0, ge=0, le=7 * 86400)
    """Seconds after the alarm was raised."""
    when: Literal["unacknowledged", "active"] = "unacknowledged"
    """Taken only if the alarm then still is not acknowledged, or still is active."""
    receivers: tuple[str, ...] = Field(min_length=1)
    """Names of receivers."""
    shifts: tuple[str, ...] = ()
    """Names of shifts in which the step is taken; empty means always."""
    outside: Literal["skip", "wait"] = "skip"
    """Outside these shifts the step is left out, or waits for the next of them."""


class Rule(Section):
    """Alarms, and the steps taken for them."""

    name: str = Field(min_length=1)
    priority: int = Field(2, ge=1, le=4)
    """This priority and more urgent ones; 1 is the most urgent."""
    advisory: bool = False
    """Whether advisory findings count too."""
    edges: tuple[Pattern, ...] = ("*",)
    """Patterns of edge names (* and ?); the gateway's own alarms come from the gateway's id."""
    units: tuple[Pattern, ...] = ("*",)
    """Patterns of the unit's path; * also stands for /."""
    tags: tuple[Pattern, ...] = ("*",)
    """Patterns of tag names."""
    alarms: tuple[Pattern, ...] = ("*",)
    """Patterns of alarm names."""
    routing: tuple[Pattern, ...] = ("*",)
    """Patterns of the alarm's own `routing`, as its definition has it."""
    steps: tuple[Step, ...] = Field(min_length=1)
    """What is done, in the order of time."""

    def covers(self, *, edge: str, unit: str, tag: str, alarm: str, routing: str, priority: int, advisory: bool) -> bool:
        """Whether an alarm is one of this rule."""
        if priority > self.priority or (advisory and not self.advisory):
            return False
        pairs = ((edge, self.edges), (unit, self.units), (tag, self.tags), (alarm, self.alarms), (routing, self.routing))
        return all(any(fnmatchcase(text, pattern) for pattern in patterns) for text, patterns in pairs)


class Calendar:
    """The shifts of a plant."""

    def __init__(self, shifts: Iterable[Shift], zone: tzinfo) -> None:
        self._shifts, self._zone = tuple(shifts), zone

    def open(self, now_ns: int) -> frozenset[str]:
        """The names of the shifts in which an instant lies."""
        local = datetime.fromtimestamp(now_ns // 1_000_000_000, UTC).astimezone(self._zone)
        return frozenset(s.name for s in self._shifts if s.holds(local))
