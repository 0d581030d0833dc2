"""Who may act at an edge's panel: a list that a gateway signs and an edge keeps, so that people can log in with the gateway gone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from edge_agent.core.delivery import MAX_MESSAGE
from edge_agent.core.errors import WireError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

REFRESH_S: Final = 3600.0
"""A gateway signs the list anew so often, so that its age says how long the edge has been alone."""


SIGNED: Final = b"pharmedge people "
"""What stands before the list where it is signed."""


class Person(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One person as a panel needs to know them."""

    name: str
    full_name: str
    role: str
    hash: str
    """argon2id, as the gateway keeps it."""
    acts: bool = True
    """Acts; else only agrees with what another does."""
    must_change: bool = False
    """Another person set the password: it opens nothing until the person changed it at the gateway's console."""


_FIELDS: Final = frozenset(Person.__struct_fields__)


class People(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everybody who may act at the panel of one edge, as one gateway says."""

    gateway: str
    site: str
    edge: str
    issued_ns: int
    """When the gateway signed it; an older list never replaces a newer one."""
    open: bool
    """The gateway has no accounts at all: whoever stands at the panel acts under the name they give."""
    people: tuple[Person, ...]
    key: str = ""
    """The gateway's public Ed25519 key, hexadecimal."""
    sig: str = ""

    def signed(self) -> bytes:
        """What the signature is over."""
        return SIGNED + msgspec.json.encode(msgspec.structs.replace(self, sig=""), order="deterministic")

    def find(self, name: str) -> Person | None:
        """The person of a login name."""
        return next((p for p in self.people if p.name == name), None)


def signed_people(people: People, key: Ed25519PrivateKey) -> bytes:
    """The message: the list with its key and signature."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    named = msgspec.structs.replace(people, key=key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex())
    return msgspec.json.encode(msgspec.structs.replace(named, sig=key.sign(named.signed()).hex()))


def decode_people(data: bytes) -> People:
    """The list in a message, its signature checked against the key in it; WireError when it is none. Whose key it is the caller asks.

    Somebody of whom it says more than this version knows is left out: they cannot log in here, everybody else can.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if len(data) > MAX_MESSAGE:
        raise WireError(f"people: expected at most {MAX_MESSAGE} bytes, found {len(data)}")
    try:
        raw = msgspec.json.decode(data, type=dict[str, Any])
        told = msgspec.convert(raw.get("people"), list[dict[str, Any]])
        # A later gateway may say of somebody what this version does not know, and that may be what keeps them out: they are, and nobody else.
        known = [person for person in told if person.keys() <= _FIELDS]
        people = msgspec.convert({**raw, "people": known}, People)
        # The signature is over everybody, as it was sent: the fields are encoded again in the order in which they came.
        whole = SIGNED + msgspec.json.encode({**raw, "sig": ""})
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(people.key)).verify(bytes.fromhex(people.sig), whole)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise WireError(f"people: {error}") from error
    except InvalidSignature as error:
        raise WireError("people: expected a list signed with its key, found another signature") from error
    return people
