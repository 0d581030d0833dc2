"""Advice to maintenance: what derived values of wear, remaining life and vibration mean in words, as it changes.

Advice is context of a machine, valid until the next: role "advice", the value its texts as JSON, empty when nothing is advised any more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from edge_agent.core import Audit, Catalogue, Context, OperatorAction, Record, Samples
from edge_agent.core.samples import Int64
from edge_agent.core.status import BAD
from models.prognosis.advice import Advice, of_bearing, of_life, of_trend
from models.prognosis.remaining import Estimate
from models.prognosis.rotating import CLEAR, Band, Finding
from models.prognosis.running import STATUSES
from models.prognosis.trend import Passage

if TYPE_CHECKING:
    from edge_agent.pipeline.banks import Derived
    from edge_agent.pipeline.plan import PipelinePlan

ROLE: Final = "advice"
ROLES: Final = ("shift_lead", "maintenance", "engineer")
"""Who may decide on advice and say what was found."""
REMEMBERED_ACTIONS: Final = 256
"""Operator actions whose repetition is recognised."""
AGREE: Final = 3
"""Waveforms in a row that must say the same of a machine before it is told; findings in a row before anything is taken back."""
GREW: Final = 2.0
"""Rejected advice is given again when any evidence of it has grown by this factor: the early end or the middle of the time that is left has halved,
the line stands twice as high."""
FORGOTTEN: Final = 50
"""Findings in a row without what was rejected, behind which the rejection counts no more: a repair of which nobody told."""
_RANK: Final = {"plan": 1, "act": 2}
_BEARING: Final = {"cage": "cage", "outer": "outer race", "inner": "inner race", "ball": "ball"}
_REACHED: Final = 1e-9
_LEAST: Final = 1e-12
"""Of evidence; where a checkpoint of an earlier version does not say how strong it was, whatever is found next is more."""
_NOT_TOLD: Final = (_LEAST, _LEAST)
_UNKNOWN: Final = ("", -1)
"""What advice is about and its time, where a checkpoint of an earlier version does not say it."""


class _Source:
    """One machine or part that advice may be given for: its derived tags by output, and what it is judged by."""

    def __init__(self, name: str, unit: str, kind: str, tags: Mapping[str, int], lead: float = 0.0, horizon: float = 0.0) -> None:
        self.name, self.unit, self.kind, self.tags, self.lead, self.horizon = name, unit, kind, tags, lead, horizon


class _Hushed:
    """Advice that people found to be wrong, or rejected: what it was about, how urgent, since when, and how often in a row nothing was found since.

    evidence: of rejected advice, how strong it was when it was rejected, each larger the worse it is; none for what was found to be no fault, however
    strong.
    """

    def __init__(self, finding: str, urgency: str, advised_ns: int, gone: int = 0, evidence: tuple[float, ...] = ()) -> None:
        self.finding, self.urgency, self.advised_ns, self.gone, self.evidence = finding, urgency, advised_ns, gone, evidence

    def grew(self, evidence: tuple[float, ...]) -> bool:
        """Whether any of the evidence is clearly more than it was when the advice was rejected."""
        return any(now >= GREW * then for now, then in zip(evidence, self.evidence, strict=False))

    def covers(self, finding: str, urgency: str, evidence: tuple[float, ...]) -> bool:
        """Whether this is no news."""
        return finding == self.finding and _RANK.get(urgency, 0) <= _RANK.get(self.urgency, 0) and not self.grew(evidence)

    def over(self) -> bool:
        """Whether nothing was found for so long that it counts no more."""
        return self.gone >= (FORGOTTEN if self.evidence else AGREE)


class Advisor:
    """Everything that advice is given for; `now` is what was told last, by name, `seen` what was found since then and how often in a row.

    `stands` is what the advice in `now` is about and its time, `evidence` how strong it was found last. `hushed` is what people found to be wrong
    or rejected, by name: as long as the same is found it is not told again. It counts no more when something else or something more urgent is
    found, or nothing AGREE times in a row. What was rejected is silent over longer breaks, but not when its evidence has clearly grown.
    """

    def __init__(self, plan: PipelinePlan, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._asked_within_ns = plan.alarm_rules.asked_within_s * 1e9
        self._sources: list[_Source] = []
        for j in plan.judgements:
            if j.kind == "wear":
                outputs = {o.rpartition(".")[2]: catalogue.id(o) for o in j.outputs}
                self._sources.append(_Source(j.tag, j.tag, "wear", outputs, j.config.get("lead_h", 72.0), j.config.get("horizon_h", 336.0)))
        for g in plan.groups:
            if g.kind == "remaining":
                outputs = {o.rpartition(".")[2]: catalogue.id(o) for o in g.outputs}
                self._sources.append(_Source(g.name, g.name, "remaining", outputs, g.config.get("lead", 10.0), g.config.get("horizon", 40.0)))
        for m in plan.machines:
            outputs = {o.rpartition(".")[2]: catalogue.id(o) for o in m.outputs}
            self._sources.append(_Source(m.name, m.name, "machine", outputs))
        self._of = {tag: source for source in self._sources for tag in source.tags.values()}
        self._now: dict[str, str] = {}
        self._seen: dict[str, tuple[str, int]] = {}
        self._stands: dict[str, tuple[str, int]] = {}
        self._evidence: dict[str, tuple[float, ...]] = {}
        self._hushed: dict[str, _Hushed] = {}
        self._acted: dict[str, None] = {}

    def act(self, action: OperatorAction, received_ns: int) -> tuple[list[Record], frozenset[int]]:
        """What people found, in answer to advice: an audit entry that cites the action and, where the advice stood, its end.

        Also the derived tags of what is as new: what was judged of it before counts no more. Nothing at all when the action was seen before.
        """
        none: frozenset[int] = frozenset()
        if action.id in self._acted:
            return [], none
        self._acted[action.id] = None
        while len(self._acted) > REMEMBERED_ACTIONS:
            del self._acted[next(iter(self._acted))]
        subject, renewed = action.alarm, action.kind == "renewed"
        # A machine that is as new takes the drifts of its own figures along.
        mine = [s for s in self._sources if s.name == subject or (renewed and s.name.startswith(subject + "."))]
        refusal = self._refusal(action, received_ns)
        what = f"{action.kind}_refused" if refusal else action.kind
        before = self._now.get(subject, "")
        answer = Audit(
            time_ns=received_ns, user=action.user, role=action.role, station=action.station, action=what, object=subject, old=before, new="",
            reason=refusal or action.reason, action_id=action.id,
        )  # fmt: skip
        if refusal:
            return [answer], none
        told: list[Record] = [answer]
        for source in mine:
            before = self._now.get(source.name, "")
            self._seen.pop(source.name, None)
            self._hushed.pop(source.name, None)
            if not before or action.kind in ("withdraw_no_fault", "withdraw_rejected"):
                continue
            finding, advised_ns = self._stands.pop(source.name, _UNKNOWN)
            strength = self._evidence.pop(source.name, _NOT_TOLD)
            if not renewed:
                rejected = action.kind == "rejected"
                self._hushed[source.name] = _Hushed(finding, before.partition(":")[0], advised_ns, evidence=strength if rejected else ())
            self._now[source.name] = ""
            told.append(self._context(source, None, received_ns, received_ns, before))
        return told, frozenset(tag for s in mine for tag in s.tags.values()) if renewed else none

    def _refusal(self, action: OperatorAction, received_ns: int) -> str:
        """Why what a person found does not count; empty when it does."""
        subject = action.alarm
        if not action.user.strip() or action.role not in ROLES:
            return f"what was found is said by {' or '.join(ROLES)}, not by the role {action.role or 'of nobody'}"
        if not any(s.name == subject for s in self._sources):
            return f"expected a machine, a tag of a wear model or a model of remaining life, found {subject!r}"
        if action.kind in ("withdraw_no_fault", "withdraw_rejected"):
            hushed = self._hushed.get(subject)
            return "" if hushed is not None and hushed.advised_ns == action.raised_ns else "nothing is kept silent because of this advice"
        if action.kind == "renewed" and received_ns - action.time_ns > self._asked_within_ns:
            return "asked too long ago"
        if not self._now.get(subject):
            return "this advice is over" if action.kind in ("no_fault", "rejected") else ""
        return "" if self._stands.get(subject, _UNKNOWN)[1] in (action.raised_ns, _UNKNOWN[1]) else "this advice is over: other advice stands"

    def derived(self, derived: Derived, received_ns: Int64) -> list[tuple[int, Context]]:
        """What follows from values that wear and remaining life computed, each with the row that it came from; received_ns (n,) of these rows."""
        if not self._of:
            return []
        rows, told, origin = derived.samples, [], {}
        mine = np.flatnonzero([k in self._of for k in rows.tag.tolist()]) if len(rows) else np.zeros(0, np.intp)
        groups: dict[tuple[str, int], dict[str, float]] = {}
        whys: dict[tuple[str, int], dict[str, float]] = {}
        for i in mine.tolist():
            source = self._of[int(rows.tag[i])]
            key = source.name, int(rows.time_ns[i])
            output = self._catalogue[int(rows.tag[i])].name.rpartition(".")[2]
            groups.setdefault(key, {})[output] = float(rows.value[i])
            whys[key], origin[key] = derived.why(i), int(derived.origin[i])
        by_name = {s.name: s for s in self._sources}
        for key, values in groups.items():
            source = by_name[key[0]]
            advice = _of_wear(source, values, whys[key]) if source.kind == "wear" else _of_fleet(source, values, whys[key])
            if self._lasts(source.name, advice):
                continue
            # The middle as well: the early end is often 0 long before the middle is.
            evidence = tuple(max(1.0 / max(values.get(o, math.inf), _REACHED), _LEAST) for o in ("rul_low", "rul"))
            told += [(origin[key], context) for context in self._tell(source, advice, "", evidence, key[1], int(received_ns[origin[key]]))]
        return told

    def vibration(self, told: Samples) -> list[Context]:
        """What follows from the values of machines, waveform by waveform."""
        found: dict[tuple[str, int], dict[str, float]] = {}
        for t, k, v, s in zip(told.time_ns.tolist(), told.tag.tolist(), told.value.tolist(), told.status.tolist(), strict=True):
            source = self._of.get(k)
            if source is not None and source.kind == "machine" and s < BAD:
                found.setdefault((source.name, t), {})[self._catalogue[k].name.rpartition(".")[2]] = v
        contexts: list[Context] = []
        by_name = {s.name: s for s in self._sources}
        for (name, t), values in found.items():
            if "zone" not in values:
                continue
            strengths = {_BEARING[o]: values[o] for o in _BEARING if math.isfinite(values.get(o, math.nan))}
            part = max(strengths, key=lambda p: strengths[p]) if strengths else ""
            clear = part if part and strengths[part] >= CLEAR else ""
            zone = "ABCD"[int(values["zone"]) - 1]
            evidence = (max(strengths[clear] if clear else values.get("velocity", 0.0), _LEAST),)
            hushed = self._hushed.get(name)
            worse = hushed is not None and hushed.grew(evidence)
            said = f"{clear}/{zone if zone in 'CD' else ''}{'+' if worse and (clear or zone in 'CD') else ''}"
            before, n = self._seen.get(name, ("", 0))
            n = n + 1 if said == before else 1
            self._seen[name] = said, min(n, AGREE)
            if n > AGREE and said == "/":
                self._nothing(name)
            if n == AGREE:
                finding = Finding(clear, strengths.get(part, 0.0), strengths, Band(1, 0, 0.0))
                contexts += self._tell(by_name[name], of_bearing(name, finding, zone), clear, evidence, t, told.received_ns)
        return contexts

    def _nothing(self, name: str) -> None:
        """One more waveform without what people found to be wrong or rejected."""
        hushed = self._hushed.get(name)
        if hushed is not None:
            hushed.gone += 1
            if hushed.over():
                del self._hushed[name]

    def _lasts(self, name: str, advice: Advice | None) -> bool:
        """Whether what was told stands on, because something milder, or nothing, was not said AGREE times in a row yet."""
        urgency = advice.urgency if advice is not None else ""
        if _RANK.get(urgency, 0) >= _RANK.get(self._now.get(name, "").partition(":")[0], 0):
            self._seen.pop(name, None)
            return False
        n = self._seen.get(name, ("", 0))[1] + 1
        self._seen[name] = "milder", min(n, AGREE)
        return n < AGREE

    def _tell(
        self, source: _Source, advice: Advice | None, finding: str, evidence: tuple[float, ...], time_ns: int, received_ns: int
    ) -> list[Context]:
        """The advice as context where it is another than before: another urgency, or another thing to do.

        `finding` tells apart what may be found of one machine; empty where it can be one thing only. `evidence` is larger
        the worse it is.
        """
        key = "" if advice is None or advice.urgency == "watch" else f"{advice.urgency}: {advice.what['en']}"
        if self._silent(source, finding, key, evidence):
            key, advice = "", None
        if key:
            self._evidence[source.name] = evidence
        before = self._now.get(source.name, "")
        if key == before:
            return []
        self._now[source.name] = key
        if key:
            self._stands[source.name] = finding, time_ns
        else:
            self._stands.pop(source.name, None)
            self._evidence.pop(source.name, None)
        return [self._context(source, advice if key else None, time_ns, received_ns, before)]

    def _silent(self, source: _Source, finding: str, key: str, evidence: tuple[float, ...]) -> bool:
        """Whether this is what people found to be wrong or rejected, no worse than it was, and nothing else was found since."""
        hushed = self._hushed.get(source.name)
        if hushed is None:
            return False
        same = bool(key) and hushed.covers(finding, key.partition(":")[0], evidence)
        if not key:
            hushed.gone += AGREE if source.kind == "machine" else 1  # of a machine AGREE waveforms have said the same by now
        else:
            hushed.gone = 0
        if same or (not key and not hushed.over()):
            return True
        del self._hushed[source.name]
        return False

    def _context(self, source: _Source, advice: Advice | None, time_ns: int, received_ns: int, before: str) -> Context:
        value, reason = ("", "") if advice is None else (written(source.kind, advice), advice.text("en"))
        tag = next(iter(source.tags.values()))
        return Context(unit=source.unit, role=ROLE, value=value, time_ns=time_ns, received_ns=received_ns, tag=tag, previous=before, reason=reason)

    def state(self) -> dict[str, Any]:
        """What was told last, what waveforms say and what people said; pairs in a fixed order."""
        return {
            "now": sorted([k, v] for k, v in self._now.items()), "seen": sorted([k, said, n] for k, (said, n) in self._seen.items()),
            "stands": sorted([k, finding, at] for k, (finding, at) in self._stands.items()),
            "hushed": sorted([k, h.finding, h.urgency, h.advised_ns, h.gone, list(h.evidence)] for k, h in self._hushed.items()),
            "acted": list(self._acted), "evidence": sorted([k, list(e)] for k, e in self._evidence.items()),
        }  # fmt: skip

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state."""
        self._now = dict(state["now"])
        self._seen = {k: (said, n) for k, said, n in state["seen"]}
        # A checkpoint of an earlier version knows neither since when advice stands nor what people found.
        self._stands = {k: (finding, at) for k, finding, at in state.get("stands", ())}
        kept = ((*hushed, 0, 0)[:6] for hushed in state.get("hushed", ()))
        self._hushed = {k: _Hushed(finding, how, at, gone, _strengths(strength)) for k, finding, how, at, gone, strength in kept}
        self._acted = dict.fromkeys(state.get("acted", ()))
        self._evidence = {k: _strengths(e) for k, e in state.get("evidence", ())}


def _strengths(kept: float | Sequence[float]) -> tuple[float, ...]:
    """Evidence as a checkpoint has it; one of an earlier version has the first number alone, 0 for none."""
    if isinstance(kept, int | float):
        return (kept, _LEAST) if kept > 0.0 else ()
    return tuple(kept)


def written(kind: str, advice: Advice) -> str:
    """Advice as the JSON that gateways read: kind, urgency, and what, why, how_soon, how_sure in each language."""
    body = {
        "kind": kind, "urgency": advice.urgency, "what": advice.what, "why": advice.why, "how_soon": advice.how_soon, "how_sure": advice.how_sure,
    }  # fmt: skip
    return msgspec.json.encode(body).decode()


def _of_wear(source: _Source, values: Mapping[str, float], why: Mapping[str, float]) -> Advice | None:
    if "rul" not in values:
        return None
    passed = values["rul"] <= _REACHED
    drift = values.get("drift", math.nan)
    passage = Passage("passed" if passed else "good", values["rul_low"], values["rul"], values["rul_high"], drift, why.get("drift_error", math.nan))
    return of_trend(source.name, passage, lead=source.lead, horizon=source.horizon)


def _of_fleet(source: _Source, values: Mapping[str, float], why: Mapping[str, float]) -> Advice | None:
    if "rul" not in values or "alike" not in why:
        return None
    sensors = sorted(((k, v) for k, v in why.items() if k not in ("alike", "before_end", "weight")), key=lambda kv: -abs(kv[1]))
    estimate = Estimate(
        STATUSES[int(values.get("status", 0))], values["rul"], values["rul_low"], values["rul_high"],
        ((int(why["alike"]) - 1, int(why.get("before_end", 0)), why.get("weight", 0.0)),), tuple((i, v) for i, (_, v) in enumerate(sensors)),
    )  # fmt: skip
    return of_life(source.name, estimate, tuple(k for k, _ in sensors), lead=source.lead, horizon=source.horizon)
