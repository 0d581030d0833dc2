"""What the gateway itself writes into the audit trail: changed configurations, its own and its edges'; and the heads that it signs and gives out."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.core import AlarmEvent, Audit, Definitions, OperatorAction, decode, topic
from gateway.audit import Act, Actor, SignedHead, Trail, instant
from gateway.audit_verify import ANCHOR, faults
from gateway.journal import ALARM, AUDIT, DEFINITIONS, Entry, Journal
from gateway.manifest import GivenHead
from gateway.units import subject

OWN: Final = "config"
SEEN: Final = "definitions"
TOLD: Final = "edge_audit"
HEARD: Final = "edge_alarms"
LOOKED: Final = 1000
"""Alarm events of one look."""
DONE: Final = {
    ("acknowledge", ""): "acknowledge",
    ("reset", ""): "reset",
    ("comment", ""): "comment",
    ("suppress", "shelved"): "shelve",
    ("suppress", "out_of_service"): "out_of_service",
    ("unsuppress", "shelved"): "unshelve",
    ("unsuppress", "out_of_service"): "in_service",
    ("refuse", ""): "refused",
}
"""What a person did beside the line, by event and suppression."""
ANCHORS: Final = (ANCHOR, "manifest_head")
"""Entries with which edges only hand heads back."""
BROKEN: Final = "audit_broken"
DAY_S: Final = 86_400.0


class Watch:
    """Looks for changes and writes them down, each once also across restarts: what was looked at is kept in the same transaction."""

    def __init__(
        self,
        trail: Trail,
        data_dir: Path,
        journal: Journal,
        key: Ed25519PrivateKey,
        *,
        gateway: str,
        site: str,
        anchor_entries: int,
        anchor_s: float,
        clock: Callable[[], int],
        find: Callable[[str, str], None],
        batch_at: Callable[[str, int], str] = lambda _about, _time_ns: "",
    ) -> None:
        self._trail, self._data_dir, self._journal, self._key = trail, data_dir, journal, key
        self._gateway, self._site, self._clock, self._find, self._batch_at = gateway, site, clock, find, batch_at
        self._entries, self._period_s = anchor_entries, anchor_s
        self._service = Actor(f"gateway {gateway}", "service")
        self._last: dict[str, Definitions] = {}
        self._looked = 0
        self._told = 0
        self._heard = 0
        self._given: dict[str, SignedHead] = {}
        self._given_manifest: dict[str, GivenHead | None] = {}
        self._signed_at = -1e18
        self._verified_at = -1e18

    def configured(self, settings: Mapping[str, Any]) -> None:
        """Write down how the gateway's own configuration differs from the one it last ran with."""
        now = json.dumps(settings, sort_keys=True, ensure_ascii=False, default=str)
        before = self._trail.place(OWN)
        if now != before:
            acts = [Act("gateway_config", f"gateway {self._gateway}: {key}", old, new) for key, old, new in differences(before, now)]
            if not before:
                acts = [Act("gateway_config", f"gateway {self._gateway}", "", now, "first start")]
            self._trail.append(self._service, acts, self._clock(), place=(OWN, now))

    def look(self) -> None:
        """Write down definitions of edges that came since the last look."""
        done = int(self._trail.place(SEEN) or 0)
        for entry in islice(self._journal.entries(DEFINITIONS), self._looked, None):
            item = decode(entry.frame)
            assert isinstance(item, Definitions)
            number = self._looked + 1
            acts = changes(self._last.get(item.edge), item)
            if number > done:
                # Who changed a file at the edge is not known here: the edge itself is named.
                who = Actor(f"edge {item.edge}", "service", station=item.edge)
                self._trail.append(who, acts, self._clock(), place=(SEEN, str(number)))
            self._looked, self._last[item.edge] = number, item

    def look_at_edges(self) -> None:
        """Write down what edges say that they did themselves: configurations applied and refused, a new epoch, a damaged log."""
        self._told = max(self._told, int(self._trail.place(TOLD) or 0))
        for n, entry in self._journal.behind(self._told, AUDIT):
            self._told = n
            item = decode(entry.frame)
            if isinstance(item, Audit) and item.action not in ANCHORS:
                edge = Actor(f"edge {entry.edge}", "service", station=entry.edge)
                who = edge if item.role == "system" else Actor(item.user, item.role, "", entry.edge)
                # The trail's time is when the gateway learned of it; an edge that was away says itself when it was.
                told = f"{item.reason} (at the edge {instant(item.time_ns, 'UTC')[0]})".strip()
                batch = self._batch_at(subject(entry.edge, item.object), item.time_ns) if item.action.startswith("unit_mode") else ""
                act = Act(item.action, f"edge {entry.edge}: {item.object}", item.old, item.new, told, batch=batch)
                self._trail.append(who, act, self._clock(), place=(TOLD, str(n)))

    def look_at_alarms(self) -> None:
        """Write down which wishes of the console an edge refused, and what people did at its panel or over OPC UA."""
        self._heard = max(self._heard, int(self._trail.place(HEARD) or 0))
        rows = self._journal.behind(self._heard, ALARM, LOOKED)
        for n, entry in rows:
            event = decode(entry.frame)
            if isinstance(event, AlarmEvent) and event.action_id and entry.edge != self._gateway:
                found = self._of_person(entry, event)
                if found is not None:
                    self._trail.append(*found, self._clock(), place=(HEARD, str(n)))
            self._heard = n
        if len(rows) == LOOKED:  # a long history is not read again at the next start
            self._trail.append(self._service, [], self._clock(), place=(HEARD, str(self._heard)))

    def _of_person(self, entry: Entry, event: AlarmEvent) -> tuple[Actor, Act] | None:
        """Who did what by an event that cites an action; None for what the console's own entry tells already."""
        about, at = entry.occurrence or event.alarm, f"(at the edge {instant(event.time_ns, 'UTC')[0]})"
        asked = self._journal.outcome(event.action_id)
        who: AlarmEvent | OperatorAction
        if asked is not None:
            who, kind = asked[0], f"{asked[0].kind}_refused"
            if event.event != "refuse":
                return None
        else:
            who, kind = event, DONE.get((event.event, event.overlay), "")
            if not event.user or not kind:
                return None
        new = [event.state_to]
        if event.until_ns is not None:
            new.append(f"until {instant(event.until_ns, 'UTC')[0]}")
        if event.permit:
            new.append(f"permit {event.permit}")
        if event.second_user:
            new.append(f"agreed by {event.second_user}" + (f" ({event.second_role})" if event.second_role else ""))
        batch = self._batch_at(about, event.time_ns)
        act = Act(kind, about, event.state_from, ", ".join(new), f"{event.reason} {at}".strip(), batch=batch)
        return Actor(who.user, who.role, "", who.station or entry.edge), act

    def verify(self) -> None:
        """Check the whole trail at the start and once a day; what is wrong becomes an alarm, and an entry states it once."""
        if time.monotonic() - self._verified_at < DAY_S:
            return
        self._verified_at = time.monotonic()
        found = faults(self._data_dir, gateway=self._gateway)
        if found:
            words = "; ".join(found[:20])
            if self._trail.place(BROKEN) != words:
                self._trail.append(self._service, Act(BROKEN, "audit trail", new=words), self._clock(), place=(BROKEN, words))
            self._find(BROKEN, words)

    def sign(self) -> SignedHead | None:
        """Sign the head when enough entries or time have passed; the newest signed head."""
        heads = self._trail.heads()
        last = heads[-1] if heads else None
        due = self._trail.head()[0] - (last.seq if last else 0) >= self._entries or time.monotonic() - self._signed_at >= self._period_s
        if due:
            self._signed_at = time.monotonic()
            return self._trail.sign(self._key, self._clock()) or last
        return last

    def give(self, head: SignedHead | None, edges: list[str], publish: Callable[[str, bytes], None]) -> None:
        """Hand the newest head to every edge that has not got it."""
        if head is None:
            return
        for edge in edges:
            if self._given.get(edge) != head:
                publish(topic(self._site, edge, f"anchors/{self._gateway}"), msgspec.json.encode(head))
                self._given[edge] = head

    def give_manifest(self, head: GivenHead | None, edges: list[str], publish: Callable[[str, bytes], None]) -> None:
        """The same for the head of the manifest."""
        for edge in edges if head is not None else ():
            if self._given_manifest.get(edge) != head:
                publish(topic(self._site, edge, f"manifest/{self._gateway}"), msgspec.json.encode(head))
                self._given_manifest[edge] = head

    def disconnected(self) -> None:
        """The broker may have forgotten what it was given."""
        self._given.clear()
        self._given_manifest.clear()

    def turn(self) -> SignedHead | None:
        """One look; AuditError when the disk refuses."""
        self.look()
        self.look_at_edges()
        self.look_at_alarms()
        self.verify()
        return self.sign()


def differences(before: str, now: str) -> list[tuple[str, str, str]]:
    """Keys with their old and new value, of two JSON objects; a missing one is "".

    >>> differences('{"http":{"port":1},"id":"a"}', '{"http":{"port":2},"id":"a"}')
    [('http.port', '1', '2')]
    """
    old, new = _flat(json.loads(before or "{}")), _flat(json.loads(now or "{}"))
    return [(key, old.get(key, ""), new.get(key, "")) for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]


def _flat(value: Any, place: str = "") -> dict[str, str]:
    if isinstance(value, dict) and (value or not place):
        found: dict[str, str] = {}
        for key, inner in value.items():
            found |= _flat(inner, f"{place}.{key}" if place else str(key))
        return found
    return {place: json.dumps(value, ensure_ascii=False, sort_keys=True)}


def changes(before: Definitions | None, now: Definitions) -> list[Act]:
    """What to write down of an edge's new definitions: the hash of its configuration, and every tag and alarm that differs, old and new."""
    if before is None:
        return [Act("edge_config", f"edge {now.edge}", "", now.config_hash, "first definitions of this edge")]
    acts: list[Act] = []
    for kind, old, new in (("tag", before.tags, now.tags), ("alarm", before.alarms, now.alarms)):
        was: dict[str, str] = {item.name: msgspec.json.encode(item).decode() for item in old}
        is_: dict[str, str] = {item.name: msgspec.json.encode(item).decode() for item in new}
        for name in sorted(was.keys() | is_.keys()):
            if was.get(name) == is_.get(name):
                continue
            parts = differences(was.get(name, ""), is_.get(name, ""))
            reason = "added" if name not in was else "removed" if name not in is_ else "changed"
            acts.append(
                Act(
                    "definition",
                    f"edge {now.edge}: {kind} {name}",
                    "" if reason == "added" else "; ".join(f"{key}={a}" for key, a, _ in parts),
                    "" if reason == "removed" else "; ".join(f"{key}={b}" for key, _, b in parts),
                    reason,
                )
            )
    if before.config_hash != now.config_hash or before.software != now.software or acts:
        head = Act("edge_config", f"edge {now.edge}", before.config_hash, now.config_hash, f"{len(acts)} definitions differ")
        return [head, *acts]
    return []
