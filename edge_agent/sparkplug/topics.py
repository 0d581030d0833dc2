"""Topics of Sparkplug B 3.0 (clause 4) and the state of a host application."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

import msgspec

from edge_agent.core import WireError

NAMESPACE: Final = "spBv1.0"
ID: Final = r"^[^/+#]+$"
"""What groups, nodes, devices and hosts may be called."""
NODE_KINDS: Final = frozenset({"NBIRTH", "NDATA", "NDEATH", "NCMD"})
DEVICE_KINDS: Final = frozenset({"DBIRTH", "DDATA", "DDEATH", "DCMD"})


@dataclass(frozen=True, slots=True)
class Topic:
    """`spBv1.0/{group}/{kind}/{node}[/{device}]`."""

    group: str
    kind: str
    node: str
    device: str = ""

    def __str__(self) -> str:
        """The topic as MQTT carries it.

        >>> str(Topic("plant", "DDATA", "edge1", "press1"))
        'spBv1.0/plant/DDATA/edge1/press1'
        """
        return "/".join((NAMESPACE, self.group, self.kind, self.node) + ((self.device,) if self.device else ()))

    @classmethod
    def of(cls, text: str) -> Topic:
        """The parts of a topic; WireError when it is none.

        >>> Topic.of("spBv1.0/plant/NBIRTH/edge1").node
        'edge1'
        """
        parts = text.split("/")
        kinds = {4: NODE_KINDS, 5: DEVICE_KINDS}.get(len(parts), frozenset())
        if parts[0] != NAMESPACE or len(parts) < 3 or parts[2] not in kinds or not all(parts):
            raise WireError(f"topic: expected {NAMESPACE}/GROUP/KIND/NODE[/DEVICE], found {text!r}")
        return cls(parts[1], parts[2], *parts[3:])


def device_id(path: str) -> str:
    """The device that an ISA-95 path names: a device's name must not hold what parts topics.

    >>> device_id("plant1/line/press1")
    'plant1:line:press1'
    """
    for part in "/+#":
        path = path.replace(part, ":")
    return path


def state_topic(host: str) -> str:
    """Where a host application says whether it is there."""
    return f"{NAMESPACE}/STATE/{host}"


class State(msgspec.Struct, frozen=True):
    """Whether a host application is there, since when (ms UTC)."""

    online: bool
    timestamp: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]

    def encode(self) -> bytes:
        """The message.

        >>> State(True, 1486144502122).encode()
        b'{"online":true,"timestamp":1486144502122}'
        """
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> State:
        """The message; WireError when it is no state."""
        try:
            return _state.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise WireError(f"STATE: {error}") from error


_state: Final = msgspec.json.Decoder(State)
