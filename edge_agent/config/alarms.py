"""The alarms of a configuration, each with its rationalisation (ISA-18.2), and what people may do with them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from edge_agent.alarms.rules import SHELVE, AlarmRules
from edge_agent.config.texts import Name, Text, as_text
from edge_agent.core import ShelveRule
from edge_agent.core.settings import Section
from edge_agent.core.tag import TagClass
from edge_agent.pipeline.modes import ModeRules

Mode = Literal["cleaning", "maintenance", "calibration", "simulation"]
LONGEST_RESPONSE_S = 1800.0
"""What may wait longer is no alarm: it is advisory."""


class AlarmBase(Section):
    """What all alarms have."""

    name: Name
    """Unique on this edge."""
    tag: str
    """The tag it watches, or that it is about; may be a derived one."""
    deadband: Annotated[float, Field(ge=0)] = 0.0
    """In the tag's unit: it clears only that far inside the limit."""
    on_delay_s: Annotated[float, Field(ge=0, le=86400)] = 0.0
    """Seconds the condition must last before it is raised."""
    off_delay_s: Annotated[float, Field(ge=0, le=86400)] = 0.0
    """Seconds it must be gone before it clears."""
    priority: Annotated[int, Field(ge=1, le=4)] = 3
    """1 urgent, 2 high, 3 medium, 4 low."""
    advisory: bool = False
    """A finding without a rationalised response: listed, no horn."""
    latching: bool = False
    """Stays until it is reset, also when its cause is gone."""
    re_alarm_s: Annotated[float, Field(ge=0, le=86400 * 7)] = 0.0
    """Seconds after which it is called out again when it was acknowledged and still stands; 0 never."""
    group: str = ""
    """Name of a trip: of the alarms of one group the first that is raised is marked."""
    when_not_first: Literal["announce", "suppress"] = "announce"
    """What becomes of it while another alarm, the first of its group, stands."""
    suppressed_by: tuple[str, ...] = ()
    """Names of alarms whose consequence it is: suppressed by design while one of them stands and is itself shown."""
    suppress_modes: tuple[Mode, ...] = ()
    """Modes of its unit in which it is suppressed by design."""
    cause: Text = {}
    """Likely cause, in English and Chinese."""
    consequence: Text = {}
    """What happens if nobody acts."""
    check: Text = {}
    """How to confirm it."""
    response: Text = {}
    """What the operator does."""
    respond_within_s: Annotated[float, Field(gt=0)] | None = None
    """Seconds there are to respond; what may wait longer than 30 min is advisory."""
    owner: str = ""
    """Who answers for this definition."""
    routing: str = ""
    """Who else is told."""
    gmp_impact: str = ""
    """Critical parameter or attribute it guards, and the template of its deviation."""
    approval: str = ""
    """Number of the approved change."""
    last_review: str = ""
    """Date of the latest review."""

    _texts = field_validator("cause", "consequence", "check", "response", mode="before")(as_text)


class _Limited(AlarmBase):
    """Alarms with a limit that may follow the batch phase."""

    phase_limits: dict[str, float | None] = {}
    """Limits that hold instead of `limit` while the unit is in these batch phases; null: none."""


class LimitAlarm(_Limited):
    """The value is beyond a limit."""

    kind: Literal["limit"]
    side: Literal["high", "low"] = "high"
    """high: above the limit; low: below it."""
    limit: float
    """In the tag's unit; equality does not raise."""


class DeviationAlarm(AlarmBase):
    """The value is too far from its setpoint."""

    kind: Literal["deviation"]
    side: Literal["high", "low"] = "high"
    """high: above setpoint + limit; low: below setpoint - |limit|."""
    limit: float
    """Distance from the setpoint in the tag's unit, positive for high, negative for low; not 0 (OPC 10000-9, 5.8.22)."""
    setpoint: float | None = None
    """A fixed setpoint in the tag's unit."""
    setpoint_tag: str | None = None
    """The tag whose latest good value is the setpoint."""
    hold_off_s: Annotated[float, Field(ge=0, le=86400)] = 0.0
    """Seconds after a change of the setpoint that do not count: about three time constants of the loop."""


class RateAlarm(_Limited):
    """The value changes too fast."""

    kind: Literal["rate"]
    side: Literal["high", "low"] = "high"
    """high: rises faster than the limit; low: falls faster."""
    limit: float
    """Units per second; negative for low."""


class DiscreteAlarm(AlarmBase):
    """The value is a state, or is not."""

    kind: Literal["discrete"]
    when: Literal["equals", "not_equals"] = "equals"
    """equals: met in this state; not_equals: met in every other one."""
    state: float
    """Number of the state."""


class ExpressionAlarm(AlarmBase):
    """A condition over several tags."""

    kind: Literal["expression"]
    expression: str
    """The condition, in the language of docs/alarms.md."""


AnyAlarm = Annotated[LimitAlarm | DeviationAlarm | RateAlarm | DiscreteAlarm | ExpressionAlarm, Field(discriminator="kind")]


class ShelveSection(Section):
    """Who may shelve which alarms."""

    roles: tuple[str, ...]
    """Roles that may."""
    priorities: tuple[Annotated[int, Field(ge=1, le=4)], ...] = (1, 2, 3, 4)
    """Of alarms of these priorities."""
    classes: tuple[TagClass, ...] = ()
    """Of alarms on tags of these classes; empty: all."""
    second_roles: tuple[str, ...] = ()
    """Roles of a second person who has to agree; empty: one person is enough."""
    max_s: Annotated[float, Field(gt=0, le=43200)] = 3600.0
    """Longest time in seconds, at most 12 h: shelving always ends."""


class ModeRulesSection(Section):
    """Who may set the mode of a unit, and for how long."""

    roles: tuple[Annotated[str, Field(min_length=1)], ...] = ModeRules().roles
    """Roles that may set a mode and withdraw it."""
    longest_s: Annotated[float, Field(gt=0, le=86400 * 7)] = ModeRules().longest_s
    """Seconds after which a mode that a person set ends at the latest."""

    def rules(self) -> ModeRules:
        """The same for the pipeline."""
        return ModeRules(roles=self.roles, longest_s=self.longest_s)


class AlarmRulesSection(Section):
    """What people may do with alarms, and when they are too many."""

    shelve: tuple[ShelveSection, ...] = tuple(
        ShelveSection(
            roles=r.roles,
            priorities=r.priorities,
            classes=r.classes,
            second_roles=r.second_roles,
            max_s=r.max_s,
        )
        for r in SHELVE
    )
    """Rules for shelving; the first that fits an alarm decides, without one nobody may."""
    out_of_service: tuple[str, ...] = ("maintenance", "engineer")
    """Roles that may take an alarm out of service under a permit, and put it back."""
    watching: tuple[str, ...] = ("viewer",)
    """Roles that may do nothing; all others acknowledge, reset, comment and unshelve."""
    flood_start: Annotated[int, Field(ge=2, le=1000)] = 10
    """So many alarms within the span begin a flood."""
    flood_end: Annotated[int, Field(ge=1, le=1000)] = 5
    """Fewer than so many end it."""
    flood_span_s: Annotated[float, Field(gt=0, le=86400)] = 600.0
    """Span in seconds."""
    asked_within_s: Annotated[float, Field(gt=0, le=86400)] = 600.0
    """A wish to shelve or to take out of service, or word of a part as new, that arrives later than this, in seconds, is refused."""

    def rules(self) -> AlarmRules:
        """As the pipeline takes them."""
        fields = self.model_dump(exclude={"shelve"})
        return AlarmRules(shelve=tuple(ShelveRule(**row.model_dump()) for row in self.shelve), **fields)
