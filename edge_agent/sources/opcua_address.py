"""OPC UA node addresses by namespace URI, because a namespace index changes when a server restarts."""

from __future__ import annotations

import base64
import binascii
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

_ADDRESS: Final = re.compile(r"(?:(?:nsu=(?P<uri>[^;]+)|ns=(?P<index>\d+));)?(?P<kind>[isgb])=(?P<id>.+)", re.DOTALL)
EXPECTED: Final = "an OPC UA address such as nsu=<namespace URI>;s=<identifier>"


@dataclass(frozen=True, slots=True)
class Address:
    """A node id whose namespace is named by its URI; an empty URI is namespace 0 of the standard."""

    uri: str
    kind: Literal["i", "s", "g", "b"]
    identifier: int | str | uuid.UUID | bytes

    def __str__(self) -> str:
        if isinstance(self.identifier, bytes):
            text = base64.b64encode(self.identifier).decode()
        else:
            text = str(self.identifier)
        # OPC 10000-6, 5.1.12: ';' and '%' of a URI are written as %3B and %25.
        uri = self.uri.replace("%", "%25").replace(";", "%3B")
        return f"nsu={uri};{self.kind}={text}" if uri else f"{self.kind}={text}"

    def node_id(self, namespaces: Sequence[str]) -> Any:
        """The asyncua NodeId under the server's present namespace array; KeyError when the server has no such namespace."""
        from asyncua import ua

        if self.uri and self.uri not in namespaces:
            raise KeyError(self.uri)
        index = namespaces.index(self.uri) if self.uri else 0
        kinds = {"i": ua.NodeIdType.Numeric, "s": ua.NodeIdType.String, "g": ua.NodeIdType.Guid, "b": ua.NodeIdType.ByteString}
        return ua.NodeId(self.identifier, index, kinds[self.kind])


def parse(text: str, namespace: str = "") -> Address:
    """The address in a text; `namespace` is the URI of an address that names none.

    Raises ValueError saying what was expected and found; an index above 0 is refused because it may point to another node after a restart.

    >>> parse("nsu=urn:plant;s=press1/main_force")
    Address(uri='urn:plant', kind='s', identifier='press1/main_force')
    >>> str(parse("i=2258"))
    'i=2258'
    """
    match = _ADDRESS.fullmatch(text)
    if match is None:
        raise ValueError(f"address: expected {EXPECTED}, found {text!r}")
    if match["index"] not in (None, "0"):
        raise ValueError(f"address: expected the namespace by URI (nsu=...), because its index changes with the server, found {text!r}")
    uri = namespace if match["uri"] is None and match["index"] is None and match["kind"] != "i" else match["uri"] or ""
    uri = uri.replace("%3B", ";").replace("%25", "%")
    kind, value = match["kind"], match["id"]
    try:
        if kind == "i":
            number = int(value)
            if not 0 <= number < 1 << 32:
                raise ValueError
            return Address(uri, "i", number)
        if kind == "g":
            return Address(uri, "g", uuid.UUID(value))
        if kind == "b":
            return Address(uri, "b", base64.b64decode(value, validate=True))
    except (ValueError, binascii.Error) as error:
        raise ValueError(f"address: expected a valid {kind}= identifier, found {text!r}") from error
    return Address(uri, "s", value)


def of_node_id(node_id: Any, namespaces: Sequence[str]) -> Address:
    """The address of an asyncua NodeId under the server's namespace array; KeyError when its index is not in it."""
    if node_id.NamespaceIndex >= len(namespaces):
        raise KeyError(node_id.NamespaceIndex)
    uri = namespaces[node_id.NamespaceIndex] if node_id.NamespaceIndex else ""
    kind: Any = {int: "i", str: "s", uuid.UUID: "g", bytes: "b"}[type(node_id.Identifier)]
    return Address(uri, kind, node_id.Identifier)
