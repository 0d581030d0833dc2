"""The tables of docs/configuration.md, made from the configuration classes and the texts under their fields.

`python -m tests.docs.options` writes them anew; test_configuration.py fails when that would change anything.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath
from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import pydantic
from pydantic_core import PydanticUndefined

FILE: Final = Path(__file__).parents[2] / "docs" / "configuration.md"
_BETWEEN: Final = re.compile(r"(<!-- options of the (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def settings_of(program: str) -> type[pydantic.BaseModel]:
    """The whole configuration of a program."""
    if program == "agent":
        from edge_agent.config import AgentSettings

        return AgentSettings
    from gateway.config import GatewayConfig

    return GatewayConfig


def texts(model: type[pydantic.BaseModel]) -> dict[str, str]:
    """The text under each field, the nearest class first."""
    found: dict[str, str] = {}
    for cls in model.__mro__:
        if not issubclass(cls, pydantic.BaseModel) or cls.__module__.startswith("pydantic"):
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, text in zip(body.body, body.body[1:], strict=False):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(text, ast.Expr)
                and isinstance(text.value, ast.Constant)
            ):
                found.setdefault(field.target.id, " ".join(str(text.value.value).split()))
    return found


def _members(hint: Any) -> list[Any]:
    """What a type may be, without annotations, None and containers."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _members(args[0])
    if origin in (Union, UnionType):
        return [m for a in args for m in _members(a)]
    if origin in (tuple, list):
        return [m for a in args if a is not Ellipsis for m in _members(a)]
    return [] if hint is type(None) else [hint]


def _sections(hint: Any) -> list[type[pydantic.BaseModel]]:
    return [m for m in _members(hint) if isinstance(m, type) and issubclass(m, pydantic.BaseModel)]


def _described(hint: Any) -> str:
    sections = _sections(hint)
    return (sections[0].__doc__ or "").partition("\n")[0] if len(sections) == 1 else ""


def _is_list(hint: Any) -> bool:
    origin, args = get_origin(hint), get_args(hint)
    return _is_list(args[0]) if origin is Annotated else origin in (tuple, list) and (len(args) == 1 or args[-1] is Ellipsis)


COMMON: Final = {
    "kind": "Which of the kinds this item is.",
    "name": "A name of its own, used in logs, status and alarms.",
    "host": "Name or address.",
    "port": "TCP port.",
    "url": "Address of the server.",
    "username": "User name, if one is asked for; needs `password_file`.",
    "password_file": "File with the password on its first line.",
    "tls": "Encryption; absent means none.",
    "ca_file": "Authority that signed the server's certificate.",
    "cert_file": "Our certificate.",
    "key_file": "The key of our certificate.",
    "token_file": "File with the access token.",
    "data_dir": "Folder for everything that is kept.",
    "timezone": "IANA name of the time zone shown; everything is kept in UTC.",
    "timeout_s": "Seconds to wait for one answer.",
    "keepalive_s": "Seconds of silence after which either side asks whether the other is still there.",
    "site": "ISA-95 site; part of the MQTT topics.",
    "id": "A name of its own among those of its kind at the site.",
    "org": "Organisation, as the server names it.",
    "bucket": "Bucket to write into.",
    "role": "What the person may do.",
    "targets": "Stores that records are passed on to.",
    "users": "People who may use the console; empty lets everyone on this computer in.",
    "publishing_ms": "Milliseconds between two notifications of the server.",
    "session_timeout_s": "Seconds after which the server may drop a session it hears nothing from.",
    "policy": "Security policy; there is no silent fall-back to a weaker one.",
    "mode": "Message security mode.",
    "basis": "Which time a value gets: that of the source, of the server, or of receipt.",
    "version": "Version of MQTT.",
    "dead_letter_bytes": "Bytes of refused messages kept for inspection; beyond it they are only counted.",
}
"""What keys mean wherever a class does not say it closer."""

_WORDS: Final = {str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path"}


def _kind(hint: Any) -> str:
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _kind(args[0])
    if origin is Literal:
        return " or ".join(f"`{a}`" for a in args)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(_kind(a) for a in args if a is not type(None)))
    if origin in (tuple, list):
        return f"list of {_kind(args[0])}" if len(args) == 1 or args[-1] is Ellipsis else f"[{', '.join(_kind(a) for a in args)}]"
    if origin is dict:
        return "mapping"
    if isinstance(hint, type) and issubclass(hint, pydantic.BaseModel):
        return "section"
    return _WORDS.get(hint, getattr(hint, "__name__", str(hint)))


def _default(field: pydantic.fields.FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)  # type: ignore[call-arg]
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, pydantic.BaseModel):
        return "its defaults"
    if isinstance(value, PurePath):
        return f"`{value}`"
    if value is None or value in ((), {}, ""):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def tables(place: str, model: type[pydantic.BaseModel]) -> Iterator[tuple[str, list[tuple[str, str, str, str]]]]:
    """For each section (its place in the file), its rows: key, what it takes, default, text."""
    said = texts(model)
    rows: list[tuple[str, str, str, str]] = []
    inner: list[tuple[str, type[pydantic.BaseModel]]] = []
    for name, field in model.model_fields.items():
        key = field.alias or name
        hint = field.annotation
        rows.append((key, _kind(hint), _default(field), said.get(name) or field.description or COMMON.get(key) or _described(hint)))
        for section in _sections(hint):
            at = f"{place}.{key}".lstrip(".") + ("[]" if _is_list(hint) else "")
            kind = section.model_fields.get("kind")
            inner.append(
                (f"{at} of kind {get_args(kind.annotation)[0]}" if kind is not None and len(get_args(kind.annotation)) == 1 else at, section)
            )
    yield place, rows
    for at, section in inner:
        yield from tables(at.replace(" of kind ", " (") + ")" if " of kind " in at else at, section)


def _heading(program: str, place: str) -> str:
    return f"{program}: `{place}`" if place else f"{program}: top level"


def _link(words: str, program: str, place: str) -> str:
    """To the table of a place, by the anchor that a renderer makes of its heading."""
    return f"[{words}](#{re.sub(r'[^a-z0-9_ -]', '', _heading(program, place).lower()).replace(' ', '-')})"


def contents(program: str, places: Iterable[str]) -> list[str]:
    """One line for each key of the top level, with links to its table or those of its kinds, and in brackets to what is inside them."""
    found: dict[str, dict[str, list[str]]] = {}
    for place in places:
        key, kind, inside = re.fullmatch(r"([^. ]*)(?: \((\w+)\))?(?:\.(.+))?", place).groups()  # type: ignore[union-attr]
        links = found.setdefault(key, {}).setdefault(kind or "", [])
        links.append(_link(inside or kind or (f"`{key}`" if key else "top level"), program, place))
    lines = []
    for key, kinds in found.items():
        said = ", ".join(own + (f" ({', '.join(inner)})" if inner else "") for own, *inner in kinds.values())
        lines.append("- " + (said if "" in kinds else f"`{key}`: {said}"))
    return lines


def page(program: str) -> str:
    """All tables of one program as Markdown, with a list of them before."""
    found = dict(tables("", settings_of(program)))
    lines = [*contents(program, found), ""]
    for place, rows in found.items():
        lines += [
            f"### {_heading(program, place)}",
            "",
            "| key | takes | default | what it does |",
            "|---|---|---|---|",
        ]
        lines += [f"| `{key}` | {kind} | {default} | {text} |".replace("  ", " ") for key, kind, default, text in rows]
        lines.append("")
    return "\n".join(lines) + "\n"


def renewed(text: str) -> str:
    """The page with its tables as the classes say now."""
    return _BETWEEN.sub(lambda match: match[1] + "\n" + page(match[2]) + match[3], text)


if __name__ == "__main__":
    FILE.write_text(renewed(FILE.read_text("utf-8")), "utf-8")
