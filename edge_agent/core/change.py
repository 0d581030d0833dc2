"""Changes of an edge's configuration: how they are written down, told apart, approved and proven (EU GMP Annex 11 clause 10, 21 CFR 11.70).

A configuration is one JSON document: everything after CSV files, environment and defaults were laid over it. Its SHA-256 names it; an approval cites
that hash and is signed (Ed25519) by the gateway at which a second person signed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from edge_agent.core.errors import Refused, WireError
from edge_agent.core.signing import key_id

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

MAX_DOCUMENT: Final = 8 << 20
"""Bytes of one configuration at the most."""
LEAF: Final = "approvals"
"""Topic of an edge, with the id of a gateway behind it, on which that gateway keeps what was approved."""


class Difference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One key of a configuration that differs; a missing side is ""."""

    key: str
    old: str
    new: str


class ChangeApproval(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a second person signed for one edge."""

    site: str
    edge: str
    proposal: int
    """Number of the proposal at its gateway."""
    sha256: str
    """Of the configuration that may run."""
    proposed_by: str
    proposed_name: str
    approved_by: str
    approved_name: str
    approved_role: str
    meaning: str
    reason: str
    effective_ns: int
    """From when on it may run, ns UTC."""
    approved_ns: int
    gateway: str
    key: str = ""
    """Short name of the key that signed it."""
    signature: str = ""
    """Ed25519 over the JSON of all other fields, keys sorted, hex."""

    def words(self) -> str:
        """Who takes responsibility, in one line."""
        people = f"proposed by {self.proposed_by}, approved by {self.approved_by}"
        return f"proposal {self.proposal} of {self.gateway}: {people} ({self.meaning}): {self.reason}"


def canonical_config(settings: Mapping[str, Any]) -> bytes:
    """What is hashed of a configuration.

    >>> canonical_config({"b": 1, "a": [1.5]})
    b'{"a":[1.5],"b":1}'
    """
    return msgspec.json.encode(settings, order="sorted")


def config_sha256(settings: Mapping[str, Any]) -> str:
    """The name of a configuration."""
    return hashlib.sha256(canonical_config(settings)).hexdigest()


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Difference]:
    """Every key that differs between two configurations; items of a list are told apart by their `name` where each has one of its own.

    >>> differences({"alarms": [{"name": "a", "limit": 16.0}]}, {"alarms": [{"name": "b"}, {"name": "a", "limit": 18.0}]})[0]
    Difference(key='alarms[a].limit', old='16.0', new='18.0')
    >>> differences({"models": [{"name": "a"}, {"name": "b"}]}, {"models": [{"name": "b"}, {"name": "a"}]})
    [Difference(key='models (order)', old='a, b', new='b, a')]
    """
    before, now = flat(old), flat(new)
    keys = sorted(before.keys() | now.keys())
    found = [Difference(key, before.get(key, ""), now.get(key, "")) for key in keys if before.get(key) != now.get(key)]
    return found + _moved(_orders(old), _orders(new))


def _moved(old: Mapping[str, Sequence[str]], new: Mapping[str, Sequence[str]]) -> list[Difference]:
    """Lists whose named items stand in another order: what comes first may decide."""
    found = []
    for key in sorted(old.keys() & new.keys()):
        both = set(old[key]) & set(new[key])
        before, now = [n for n in old[key] if n in both], [n for n in new[key] if n in both]
        if before != now:
            found.append(Difference(f"{key} (order)", ", ".join(before), ", ".join(now)))
    return found


def _orders(value: Any, place: str = "") -> dict[str, list[str]]:
    """The names in each list whose items `flat` tells apart by name, in their order."""
    found: dict[str, list[str]] = {}
    if isinstance(value, Mapping):
        for key, inner in value.items():
            found |= _orders(inner, f"{place}.{key}" if place else str(key))
    elif isinstance(value, Sequence) and not isinstance(value, str):
        names = _names(value)
        if names:
            found[place] = names
        for i, item in enumerate(value):
            found |= _orders(item, f"{place}[{names[i] if names else i}]")
    return found


def _names(items: Sequence[Any]) -> list[str]:
    """The names of a list's items; nothing unless each has one of its own."""
    names = [item.get("name") if isinstance(item, Mapping) else None for item in items]
    told = [name for name in names if isinstance(name, str) and name]
    return told if len(set(told)) == len(names) else []


def flat(value: Any, place: str = "") -> dict[str, str]:
    """Keys in full, and their values as JSON."""
    found: dict[str, str] = {}
    if isinstance(value, Mapping) and (value or not place):
        for key, inner in value.items():
            found |= flat(inner, f"{place}.{key}" if place else str(key))
        return found
    if isinstance(value, Sequence) and not isinstance(value, str) and value and all(isinstance(item, Mapping) for item in value):
        names = _names(value)
        for i, item in enumerate(value):
            found |= flat(item, f"{place}[{names[i] if names else i}]")
        return found
    return {place: value if isinstance(value, str) else msgspec.json.encode(value).decode()}


def _signed(approval: ChangeApproval) -> bytes:
    return b"pharmedge change " + msgspec.json.encode(msgspec.structs.replace(approval, signature=""), order="sorted")


def sign_change(approval: ChangeApproval, key: Ed25519PrivateKey) -> ChangeApproval:
    """The approval with its signature."""
    named = msgspec.structs.replace(approval, key=key_id(key.public_key()), signature="")
    return msgspec.structs.replace(named, signature=key.sign(_signed(named)).hex())


def check_change(approval: ChangeApproval, keys: Mapping[str, Ed25519PublicKey], *, site: str, edge: str) -> None:
    """Refused unless it is for this edge, by two different people, and signed with a key that is trusted here."""
    from cryptography.exceptions import InvalidSignature

    if (approval.site, approval.edge) != (site, edge):
        raise Refused(f"approval: expected one for {edge} of {site}, found one for {approval.edge} of {approval.site}")
    if approval.approved_by.strip().casefold() == approval.proposed_by.strip().casefold():
        raise Refused(f"approval: expected another person than {approval.proposed_by}, who proposed it")
    key = keys.get(approval.key)
    if key is None:
        raise Refused(f"approval: expected a key that is trusted here ({', '.join(sorted(keys)) or 'there is none'}), found {approval.key or 'none'}")
    try:
        key.verify(bytes.fromhex(approval.signature), _signed(approval))
    except (InvalidSignature, ValueError) as error:
        raise Refused(f"approval: its signature is not that of key {approval.key}: changed since it was signed") from error


def encode_changes(approvals: Sequence[ChangeApproval]) -> bytes:
    """The approvals of an edge as a JSON list."""
    return msgspec.json.encode(list(approvals))


def decode_changes(data: bytes) -> tuple[ChangeApproval, ...]:
    """The approvals in a message; WireError when it holds anything else. An empty payload is an empty list."""
    if not data:
        return ()
    try:
        return tuple(msgspec.json.decode(data, type=list[ChangeApproval]))
    except (msgspec.DecodeError, RecursionError) as error:
        raise WireError(f"approvals: {error}") from error
