"""What differs between the configuration that runs and another one: what has to begin again for it, and what goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import zstandard

from edge_agent.config.agent import AgentSettings
from edge_agent.config.approved import document_of
from edge_agent.config.sections import TagSection

JUDGED: Final = ("tags", "models", "sensors", "machines", "alarms", "alarm_rules", "mode_rules", "windows")
"""Sections of the plan. Whatever is not among them, nor a source or uplink, is what everything else is built on (`edge`, `outbox`, `http`, `serve`):
when it changes the agent begins anew, in the same process."""
_OF_THE_PLAN: Final = frozenset({"description", "decimals", "path", "class_", "range", "lateness_s", "record", "record_reason", "role"})
"""Keys of a tag that no connector looks at."""


@dataclass(frozen=True, slots=True)
class Changes:
    """By name, what ends and what begins; what is in both begins again."""

    anew: tuple[str, ...]
    """Why the whole agent begins anew; empty when it need not."""
    sources_end: tuple[str, ...]
    sources_begin: tuple[str, ...]
    uplinks_end: tuple[str, ...]
    uplinks_begin: tuple[str, ...]
    plan: bool
    """Whether what judges the values changes: tags, models, alarms, windows."""

    @property
    def nothing(self) -> bool:
        """Whether both are the same."""
        return not (self.anew or self.sources_end or self.sources_begin or self.uplinks_end or self.uplinks_begin or self.plan)

    def words(self) -> str:
        """For the log and the audit trail.

        >>> Changes((), ("a",), ("a", "b"), (), (), True).words()
        'source a begins again; source b begins; tags, models and alarms are planned anew'
        """
        said = [f"begins anew because of {', '.join(self.anew)}"] if self.anew else []
        for what, end, begin in (("source", self.sources_end, self.sources_begin), ("uplink", self.uplinks_end, self.uplinks_begin)):
            said += [f"{what} {name} {'begins again' if name in begin else 'ends'}" for name in end]
            said += [f"{what} {name} begins" for name in begin if name not in end]
        if self.plan and not self.anew:
            said.append("tags, models and alarms are planned anew")
        return "; ".join(said) or "nothing changed"


class SetAside:
    """The settings that run, packed until a reload asks what differs from them: thousands of tags and alarms take megabytes as objects.

    kept  the settings without tags and alarms, for whoever runs by them; these are in the plan
    """

    def __init__(self, settings: AgentSettings) -> None:
        self._packed = zstandard.compress(msgspec.json.encode(document_of(settings)), 1)
        self.kept = settings.model_copy(update={"tags": (), "alarms": ()})

    def whole(self) -> AgentSettings:
        """The settings as they were."""
        return AgentSettings.model_validate(msgspec.json.decode(zstandard.decompress(self._packed)))


def changes_of(old: AgentSettings, new: AgentSettings) -> Changes:
    """What running `new` in place of `old` asks for."""
    whole = [section for section in AgentSettings.model_fields if section not in (*JUDGED, "sources", "uplinks")]
    anew = [section for section in whole if getattr(old, section) != getattr(new, section)]
    if _confirming(old) != _confirming(new):
        anew.append("uplinks: other gateways confirm")
    if new.serve.opcua is not None and old.alarms != new.alarms:
        anew.append("alarms, which serve.opcua shows")
    before = {s.name: (s, _asked(old.tags, s.name)) for s in old.sources}
    after = {s.name: (s, _asked(new.tags, s.name)) for s in new.sources}
    # A gateway takes definitions as they come; every other peer was told the tags when its session began.
    named = any(getattr(old, key) != getattr(new, key) for key in ("tags", "models", "sensors", "machines"))
    uplinks_before = {u.name: (u, named and u.kind != "gateway") for u in old.uplinks}
    uplinks_after = {u.name: (u, False) for u in new.uplinks}
    plan = any(getattr(old, key) != getattr(new, key) for key in JUDGED) or list(before) != list(after)
    return Changes(
        tuple(anew),
        tuple(n for n, asked in before.items() if after.get(n) != asked),
        tuple(n for n, asked in after.items() if before.get(n) != asked),
        tuple(n for n, uplink in uplinks_before.items() if uplinks_after.get(n) != uplink),
        tuple(n for n, uplink in uplinks_after.items() if uplinks_before.get(n) != uplink),
        plan,
    )


def _asked(tags: Sequence[TagSection], source: str) -> list[TagSection]:
    """The tags of a source as far as its connector looks at them."""
    plain = {key: TagSection.model_fields[key].get_default(call_default_factory=True) for key in _OF_THE_PLAN}
    return [tag.model_copy(update=plain) for tag in tags if tag.source == source]


def _confirming(settings: AgentSettings) -> set[tuple[str, str]]:
    return {(u.name, gateway) for u in settings.uplinks for gateway in getattr(u, "gateways", ())}
