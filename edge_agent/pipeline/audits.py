"""Audit entries of what happened to the edge itself: starts, models, and what the agent noted."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from edge_agent.core import Audit, Note, OperatorAction, Record
from edge_agent.pipeline.plan import StaticPlan


def by_system(time_ns: int, action: str, subject: str, *, old: str = "", new: str = "", reason: str = "") -> Audit:
    """An entry of the system itself."""
    return Audit(time_ns=time_ns, user="pharmedge", role="system", action=action, object=subject, old=old, new=new, reason=reason)


def noted(entry: Note) -> Audit:
    """The entry of what the agent noted; in the name of a person where one did it."""
    told = by_system(entry.received_ns, entry.action, entry.object, old=entry.old, new=entry.new, reason=entry.reason)
    return msgspec.structs.replace(told, user=entry.user, role=entry.role, station=entry.station) if entry.user else told


def not_understood(action: OperatorAction, now: int) -> Audit:
    """The answer to an action that this version cannot read; its reason says why."""
    return Audit(
        time_ns=now, user=action.user, role=action.role, station=action.station, action="action_refused", object=action.alarm, old="", new="",
        reason=action.reason, action_id=action.id,
    )  # fmt: skip


def of_static_models(now: int, before: Sequence[StaticPlan], after: Sequence[StaticPlan]) -> list[Record]:
    """What a start changes in the static models, in their approvals, and which files were refused."""
    records: list[Record] = []
    old = {(s.kind, s.name): s for s in before}
    for model in after:
        was = old.pop((model.kind, model.name), None)
        name = f"model {model.kind} {model.name}"
        if model.signature and (was is None or was.signature != model.signature):
            since = np.datetime64(model.effective_ns, "ns").astype("datetime64[s]")
            reason = f"{model.meaning}: {model.reason}; from {since}Z on; signature {model.signature}"
            user, role = model.approved_by, model.role
            records.append(Audit(time_ns=now, user=user, role=role, action="model_approved", object=name, old="", new=model.sha256, reason=reason))
        if was is None or was.sha256 != model.sha256:
            records.append(by_system(now, "model_in_force", name, old=was.sha256 if was else "", new=model.sha256))
        if model.refused and (was is None or was.refused != model.refused):
            records.append(by_system(now, "model_refused", name, old=model.sha256, new=model.sha256, reason=model.refused))
    records += [by_system(now, "model_gone", f"model {gone.kind} {gone.name}", old=gone.sha256) for gone in old.values()]
    return records
