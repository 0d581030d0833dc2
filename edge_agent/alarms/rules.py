"""Who may do what with which alarm, for how long, and from how many alarms on it is a flood."""

from __future__ import annotations

from typing import Final

import msgspec

from edge_agent.core import OperatorAction, ShelveRule, shelve_rule

LEAD: Final = ("shift_lead", "engineer")
WITH: Final = ("shift_lead", "engineer", "quality")
SHELVE: Final = (
    ShelveRule(roles=LEAD, classes=("safety", "gmp_critical"), second_roles=WITH),
    ShelveRule(roles=LEAD, priorities=(1,), second_roles=WITH),
    ShelveRule(roles=LEAD, priorities=(2,)),
    ShelveRule(roles=("operator", *LEAD), priorities=(3, 4)),
)


class AlarmRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What people may do with alarms, and when they are too many."""

    shelve: tuple[ShelveRule, ...] = SHELVE
    out_of_service: tuple[str, ...] = ("maintenance", "engineer")
    """Roles that may take an alarm out of service under a permit, and put it back."""
    watching: tuple[str, ...] = ("viewer",)
    """Roles that may do nothing; all others acknowledge, reset, comment and unshelve."""
    flood_start: int = 10
    """So many calls within the span begin a flood (ISA-18.2)."""
    flood_end: int = 5
    """Fewer than so many within the span end it."""
    flood_span_s: float = 600.0
    asked_within_s: float = 600.0
    """A wish to shelve or to take out of service, or word of a part as new, that arrives later than this is refused: nobody remembers it, and its
    time would begin only now."""

    def shelve_rule(self, priority: int, class_: str) -> ShelveRule | None:
        """The rule for an alarm; None: nobody may shelve it."""
        return shelve_rule(self.shelve, priority, class_)

    def refusal(self, action: OperatorAction, priority: int, class_: str, received_ns: int) -> str:
        """Why this person may not do this, asked for when it was and received at `received_ns`; or nothing."""
        if not action.user.strip():
            return f"{action.kind} needs the name of a user"
        if action.role in self.watching:
            return f"the role {action.role} may only watch"
        if action.kind in ("shelve", "out_of_service") and received_ns - action.time_ns > self.asked_within_s * 1e9:
            return "asked too long ago"
        if action.kind == "shelve":
            return self._shelve_refusal(action, priority, class_)
        if action.kind in ("out_of_service", "in_service"):
            if action.role not in self.out_of_service:
                return f"{action.kind} is for {_any(self.out_of_service)}, not for the role {action.role or 'of nobody'}"
            if action.kind == "out_of_service" and not action.permit.strip():
                return "out_of_service needs the number of a work permit"
            if not action.reason.strip():
                return f"{action.kind} needs a reason"
        if action.kind == "comment" and not action.reason.strip():
            return "a comment needs its words"
        return ""

    def _shelve_refusal(self, action: OperatorAction, priority: int, class_: str) -> str:
        rule = self.shelve_rule(priority, class_)
        if rule is None:
            return "nobody may shelve this alarm"
        if action.role not in rule.roles:
            return f"shelving this alarm is for {_any(rule.roles)}, not for the role {action.role or 'of nobody'}"
        if rule.second_roles:
            second = action.second_user.strip().casefold()
            if not second or second == action.user.strip().casefold() or action.second_role not in rule.second_roles:
                return f"nobody may shelve this alarm alone: a second person ({_any(rule.second_roles)}) has to agree"
        if not action.reason.strip():
            return "shelving needs a reason"
        if action.duration_s is not None and not 0 < action.duration_s <= rule.max_s:
            return f"shelving this alarm ends after {rule.max_s / 60:g} min at the latest"
        return ""


def _any(roles: tuple[str, ...]) -> str:
    return " or ".join(roles) or "nobody"
