"""Alarms of the plant of the tests: how they come and go, and what its edges do when somebody acts."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any, Literal

from edge_agent.core import AlarmEvent, PharmedgeError, Refused, occurrence_id
from gateway.kpis import KpiRow, key_figures
from gateway.query import ALL, AlarmFilter, Asked, ModeAsked, NotFound
from gateway.rows import (
    ActionRow,
    AlarmRow,
    EventRow,
    ShelveTerms,
)
from tests.gateway.console.line import EDGES, TEXTS, S, Signal

SIMULATED = 0x42090000


class Alarmed:
    """The part of `tests.gateway.console.plant.Plant` that knows alarms."""

    clock: Any
    signals: dict[str, Signal]
    occurrences: dict[str, AlarmRow]
    asked: list[Asked]
    modes_asked: list[ModeAsked]
    acknowledged: list[tuple[str, str, str]]
    answers: dict[str, str]
    answer_s: float
    refuse: bool
    started_ns: int
    tell: Any

    @staticmethod
    def _terms(priority: int, klass: str) -> ShelveTerms:
        lead = ["shift_lead", "engineer"]
        if klass == "gmp_critical" or priority == 1:
            return {"roles": lead, "second_roles": [*lead, "quality"], "max_s": 3600.0}
        return {"roles": lead if priority == 2 else ["operator", *lead], "second_roles": [], "max_s": 3600.0}

    def raise_alarm(
        self, tag: str, side: str, priority: int, *, ago_s: float = 0.0, factor: float = 1.04, advisory: bool = False,
        group: str = "", first_out: bool = False,
    ) -> str:  # fmt: skip
        s = next(s for s in self.signals.values() if s.name == tag)
        at = self.clock() - int(ago_s * S)
        limit = next((v for d, v, _ in s.limits if d == side), s.mean)
        value = limit * factor if side == "high" else limit / factor
        alarm = f"{tag}.{side}"
        occurrence = occurrence_id(s.edge, alarm, at)
        word = "above" if side == "high" else "below"
        why = f"{value:.{s.decimals}f} {s.unit} {word} {limit:g} {s.unit} for 2 s"
        texts = TEXTS.get(alarm, {})
        row: AlarmRow = {
            "occurrence": occurrence,
            "alarm": alarm,
            "edge": s.edge,
            "tag": tag,
            "state": "UNACK",
            "priority": priority,
            "advisory": advisory,
            "raised_ns": at,
            "last_ns": at,
            "value": value,
            "limit": limit,
            "unit": s.unit,
            "description": {"en": s.en, "zh": s.zh} if s.en else {},
            "acked_by": "",
            "acked_ns": None,
            "cause": texts.get("cause", {}),
            "response": texts.get("response", {}),
            "consequence": texts.get("consequence", {}),
            "check": {},
            "explanation": why,
            "contributions": {},
            "plant_unit": tag.partition("/")[0],
            "group": group,
            "first_out": first_out,
            "respond_within_s": 600.0 if priority < 3 else None,
            "met": True,
            "suppressions": [],
            "pending": [],
            "shelve": self._terms(priority, s.klass),
            "out_of_service": ["maintenance", "engineer"],
            "held": "",
            "events": [],
        }
        self._event(row, "raise", "UNACK", at, explanation=why)
        self.occurrences[occurrence] = row
        self.tell({occurrence: row})
        return occurrence

    def flood(self) -> None:
        """A trip with its consequences, and the edge's word that this is a flood."""
        trip = "press1 stop"
        self.raise_alarm("press1/hopper_level", "low", 2, ago_s=60, group=trip, first_out=True)
        for i, name in enumerate(("fill_depth", "tablet_weight", "main_force", "pre_force", "ejection_force")):
            self.raise_alarm(f"press1/{name}", "low" if i < 3 else "high", 2 + i % 2, ago_s=50.0 - i, group=trip)
        for i, name in enumerate(("bed_temp", "inlet_temp", "spray_rate", "pan_dp")):
            self.raise_alarm(f"coater1/{name}", "high", 3, ago_s=40.0 - i)
        row = self.occurrences[self.raise_alarm("press1/room_temp", "high", 4, ago_s=30, advisory=True)]
        del self.occurrences[row["occurrence"]]
        words = "10 alarms in 10 min, first press1/hopper_level.low"
        id_ = row["occurrence"].replace("press1/room_temp.high", "edge/flood")
        row |= {"alarm": "edge/flood", "tag": "", "occurrence": id_, "explanation": words, "value": 10.0, "limit": None, "unit": "", "plant_unit": ""}
        self.occurrences[id_] = row
        self.tell({id_: row})

    def clear(self, occurrence: str) -> None:
        row = self.occurrences[occurrence]
        self._event(row, "clear", "RTNUN" if row["state"] == "UNACK" else "NORM", self.clock())
        self.tell({occurrence: row})

    def _event(
        self, row: AlarmRow, event: str, state: str, at: int, *, explanation: str = "", user: str = "", reason: str = "", action: str = "",
        overlay: str = "", until_ns: int | None = None, permit: str = "", second_user: str = "",
    ) -> None:  # fmt: skip
        made: EventRow = {
            "time_ns": at,
            "received_ns": at + S // 10,
            "event": event,
            "state_from": row["state"] if row["events"] else "NORM",
            "state_to": state,
            "value": row["value"],
            "status": SIMULATED,
            "explanation": explanation,
            "user": user,
            "role": "",
            "station": "",
            "reason": reason,
            "action_id": action,
            "overlay": overlay,
            "until_ns": until_ns,
            "permit": permit,
            "second_user": second_user,
        }
        row["events"].append(made)
        row["state"] = state
        row["last_ns"] = at

    def _answer(self, asked: Asked, action: str) -> None:
        """The edge carries out an action, or refuses it."""
        _, alarm, raised = asked.occurrence.rsplit("~", 2)
        if raised == "0":
            tag, _, side = alarm.rpartition(".")
            row = self.occurrences[self.raise_alarm(tag, side, 3)]
            row["events"], row["state"], row["met"], row["value"] = [], "NORM", False, None
        else:
            row = self.occurrences[asked.occurrence]
        row["pending"] = []
        at, kind = self.clock(), asked.kind
        told: Any = {"user": asked.user, "reason": asked.reason, "action": action, "second_user": asked.second_user}
        terms = row["shelve"]
        assert terms is not None
        if self.refuse or (kind == "shelve" and (asked.role not in terms["roles"] or (terms["second_roles"] and not asked.second_user))):
            why = "the alarm has changed since" if self.refuse else f"shelving this alarm is for {' or '.join(terms['roles'])}"
            self._event(row, "refuse", row["state"], at, reason=why, action=action)
        elif kind == "acknowledge":
            row["acked_by"], row["acked_ns"] = asked.user, at
            self._event(row, "acknowledge", "ACKED" if row["state"] == "UNACK" else "NORM", at, **told)
        elif kind in ("shelve", "out_of_service"):
            self.suppress(row, "shelved" if kind == "shelve" else "out_of_service", duration_s=asked.duration_s, permit=asked.permit, **told)
        elif kind in ("unshelve", "in_service"):
            overlay = "shelved" if kind == "unshelve" else "out_of_service"
            row["suppressions"] = [s for s in row["suppressions"] if s["overlay"] != overlay]
            self._event(row, "unsuppress", "UNACK" if row["met"] else "NORM", at, overlay=overlay, **told)
        else:
            self._event(row, kind, row["state"] if kind == "comment" else "NORM", at, **told)
        self.answers[action] = row["events"][-1]["reason"] if row["events"][-1]["event"] == "refuse" else ""
        self.tell({row["occurrence"]: row})

    def suppress(
        self, row: AlarmRow, overlay: str, *, duration_s: float | None = None, permit: str = "", user: str = "", reason: str = "",
        action: str = "", second_user: str = "",
    ) -> None:  # fmt: skip
        """Lay a suppression over an alarm."""
        at = self.clock()
        until = at + int((duration_s or 3600) * S) if overlay == "shelved" else None
        row["suppressions"] = [
            *row["suppressions"],
            {"overlay": overlay, "since_ns": at, "until_ns": until, "one_shot": False, "permit": permit, "user": user, "second_user": second_user,
             "reason": reason},
        ]  # fmt: skip
        state = {"shelved": "SHLVD", "designed": "DSUPR", "out_of_service": "OOSRV"}[overlay]
        self._event(
            row, "suppress", state, at, explanation=reason, user=user, reason=reason, action=action, overlay=overlay, until_ns=until,
            permit=permit, second_user=second_user,
        )  # fmt: skip

    def alarms(self, state: Literal["standing", "history"] = "standing", limit: int = 1000, wanted: AlarmFilter = ALL) -> list[AlarmRow]:
        rows = [r for r in list(self.occurrences.values()) if (state == "history" or r["state"] != "NORM") and wanted.takes(r)]
        return sorted(rows, key=lambda r: (r["priority"] if state == "standing" else 0, -r["raised_ns"]))[:limit]

    def alarm(self, occurrence: str) -> AlarmRow:
        if occurrence not in self.occurrences:
            raise NotFound(f"there is no alarm occurrence {occurrence!r}")
        return self.occurrences[occurrence]

    def kpis(self, from_ns: int, to_ns: int) -> KpiRow:
        events = [
            AlarmEvent(
                alarm=row["alarm"],
                tag=row["tag"],
                raised_ns=row["raised_ns"],
                priority=row["priority"],
                advisory=row["advisory"],
                time_ns=e["time_ns"],
                received_ns=e["received_ns"],
                event=e["event"],
                state_from=e["state_from"],
                state_to=e["state_to"],
            )
            for row in self.occurrences.values()
            for e in row["events"]
        ]
        return key_figures(((EDGES[0], e) for e in events), from_ns, to_ns, offset_s=28_800)

    def act(self, asked: Sequence[Asked]) -> list[str | PharmedgeError]:
        return [self._ask(one) for one in asked]

    def _ask(self, asked: Asked) -> str | PharmedgeError:
        if not asked.occurrence.endswith("~0"):
            row = self.alarm(asked.occurrence)
            if asked.kind == "acknowledge" and row["state"] not in ("UNACK", "RTNUN", "LATUN"):
                return Refused("the alarm is acknowledged already")
        self.asked.append(asked)
        action = f"action-{len(self.asked)}"
        if asked.kind == "acknowledge":
            self.acknowledged.append((asked.occurrence, asked.user, asked.reason))
        if not asked.occurrence.endswith("~0"):
            row["pending"] = [*row["pending"], {"action_id": action, "kind": asked.kind, "user": asked.user, "time_ns": self.clock()}]
            self.tell({asked.occurrence: row})
        threading.Timer(self.answer_s, self._answer, (asked, action)).start()
        return action

    def action(self, action_id: str) -> ActionRow:
        if action_id.startswith("mode-"):
            asked = self.modes_asked[int(action_id.removeprefix("mode-")) - 1]
            return {
                "action_id": action_id, "kind": "set_mode" if asked.mode else "withdraw_mode", "user": asked.user, "time_ns": self.clock(),
                "occurrence": f"unit:{asked.edge}/{asked.unit}", "state": "done", "reason": "", "settled_ns": self.clock(),
            }  # fmt: skip
        i = int(action_id.removeprefix("action-")) - 1
        asked, answer = self.asked[i], self.answers.get(action_id)
        return {
            "action_id": action_id,
            "kind": asked.kind,
            "user": asked.user,
            "time_ns": self.started_ns,
            "occurrence": asked.occurrence,
            "state": "pending" if answer is None else "refused" if answer else "done",
            "reason": answer or "",
            "settled_ns": None if answer is None else self.clock(),
        }

    def wait_answered(self) -> None:
        """Until the edge has answered everything."""
        deadline = time.monotonic() + 10
        while len(self.answers) < len(self.asked):
            assert time.monotonic() < deadline
            time.sleep(0.02)
