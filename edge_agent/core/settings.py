"""Loading a YAML configuration so that every mistake is named by file, line and key, all at once.

Precedence: command line > environment > file. The environment variable PHARMEDGE_<SECTION>__<KEY> sets section.key.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pydantic
import yaml
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict, SettingsError
from yaml.composer import Composer
from yaml.constructor import SafeConstructor

from edge_agent.core.errors import ConfigError, Mistake
from edge_agent.core.renamed import Renamed
from edge_agent.core.salvage import Place, Salvage

ENV_PREFIX: Final = "PHARMEDGE_"

M = TypeVar("M", bound="Settings")


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError("an IANA time zone such as Asia/Shanghai") from error
    return name


Zone = Annotated[str, pydantic.AfterValidator(_zone)]
"""Name of a time zone that this computer knows."""


class Section(pydantic.BaseModel):
    """Base of every configuration section: frozen, unknown keys refused, keys in snake_case as they stand in the file."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False)


class Settings(BaseSettings):
    """Base of a whole configuration file."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, env_prefix=ENV_PREFIX, env_nested_delimiter="__")

    placeholders: ClassVar[Mapping[Place, Any]] = {}
    """Values that stand in for wrong ones without which nothing else could be judged."""

    command: ClassVar[str] = "edge-agent"
    """The command whose file it is."""
    renamed: ClassVar[Sequence[Renamed]] = ()
    """Options of earlier versions."""

    def mistakes(self) -> Iterable[tuple[Place, str, str]]:
        """What is wrong between sections although each section is right: (place, expected, found)."""
        return ()


class _Lines:
    """Line numbers of every key and item of a YAML document, and what makes it unusable before its content is looked at."""

    def __init__(self, node: yaml.Node | None) -> None:
        self._lines: dict[Place, int] = {(): 1}
        self.duplicates: list[tuple[Place, int]] = []
        self.unusable: list[tuple[Place, int, str, str]] = []
        if node is not None:
            self._walk(node, (), ())

    def _walk(self, node: yaml.Node, place: Place, around: tuple[yaml.Node, ...]) -> None:
        self._lines.setdefault(place, node.start_mark.line + 1)
        if node in around:
            self.unusable.append((place, self._lines[place], "an anchor that does not contain itself", "one that does"))
            return
        around = (*around, node)
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.tag not in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"):
                    # YAML 1.1 reads on, off, yes and no as booleans, also where they are meant as keys.
                    self.unusable.append((place, key.start_mark.line + 1, "a text as key, in quotes if need be", str(key.value) or "nothing"))
                    continue
                inner = (*place, str(key.value))
                if inner in self._lines:
                    self.duplicates.append((inner, key.start_mark.line + 1))
                    self._lines = {known: line for known, line in self._lines.items() if known[: len(inner)] != inner}
                self._lines[inner] = key.start_mark.line + 1
                self._walk(value, inner, around)
        elif isinstance(node, yaml.SequenceNode):
            for i, value in enumerate(node.value):
                self._lines[(*place, i)] = value.start_mark.line + 1
                self._walk(value, (*place, i), around)

    def of(self, place: Place) -> int:
        while place not in self._lines:
            place = place[:-1]
        return self._lines[place]


class _Plain(yaml.resolver.Resolver):
    """Keeps dates as text."""


_Plain.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class _Loader(_Plain, yaml.SafeLoader):
    """SafeLoader that keeps dates as text; refuses anything but plain data, and says what is wrong with a text in words."""


try:
    from yaml._yaml import CParser
except ImportError:  # built without libyaml
    _Fast: Any = _Loader
else:

    class _Fast(_Plain, Composer, CParser, SafeConstructor):  # type: ignore[no-redef]
        """The same on libyaml, ten times as fast. The composer of CSafeLoader is left out: sections inside sections without end crash it."""

        def __init__(self, text: str) -> None:
            CParser.__init__(self, text)
            Composer.__init__(self)
            SafeConstructor.__init__(self)
            _Plain.__init__(self)


def _read(text: str, loader: Any) -> tuple[Any, _Lines]:
    """What stands in a document, and where."""
    reading = loader(text)
    try:
        node = reading.get_single_node()
        lines = _Lines(node)  # before the merge keys of the document are resolved
        return (None if node is None else reading.construct_document(node)), lines
    finally:
        reading.dispose()


def key_text(place: Place) -> str:
    """A place as people write it.

    >>> key_text(("sources", 0, "url"))
    'sources[0].url'
    """
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "(file)"


def read_yaml(path: Path) -> tuple[dict[str, Any], _Lines]:
    """The mapping in a YAML file and its line numbers; ConfigError when it cannot be read as one."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([Mistake(str(path), 1, "(file)", "a readable UTF-8 file", str(error))]) from error
    try:
        try:
            data, lines = _read(text, _Fast)
        except yaml.YAMLError:
            data, lines = _read(text, _Loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        problem = (error.problem or "a syntax error").removeprefix("found ").removeprefix("but found ")
        raise ConfigError([Mistake(str(path), line, "(file)", "valid YAML", problem)]) from error
    except RecursionError as error:
        raise ConfigError([Mistake(str(path), 1, "(file)", "valid YAML", "sections inside sections without end")]) from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a number that no one can read
        raise ConfigError([Mistake(str(path), 1, "(file)", "valid YAML", str(error).splitlines()[0])]) from error
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise ConfigError([Mistake(str(path), 1, "(file)", "a mapping of sections", type(data).__name__)])
    if lines.unusable:
        raise ConfigError([Mistake(str(path), line, key_text(place), expected, found) for place, line, expected, found in lines.unusable])
    return data, lines


def _merge(low: Any, high: Any) -> Any:
    if isinstance(low, Mapping) and isinstance(high, Mapping):
        return {**low, **{k: _merge(low.get(k), v) for k, v in high.items()}}
    return low if high is None else high


def _sets(values: Any, place: Place) -> bool:
    # Whether these values, rather than the file, say what stands at a place.
    for part in place:
        if not isinstance(values, Mapping):
            return True
        if part not in values:
            return False
        values = values[part]
    return True


def _environment(model: type[Settings]) -> dict[str, Any]:
    try:
        return EnvSettingsSource(model, env_prefix=ENV_PREFIX, env_nested_delimiter="__")()
    except SettingsError as error:
        field = str(error).partition('field "')[2].partition('"')[0]
        variable = f"{ENV_PREFIX}{field.upper()}"
        raise ConfigError([Mistake("environment", 1, variable, "JSON, or one variable for each key", repr(os.environ.get(variable, "")))]) from error


_EXPECTED: Final[dict[str, str]] = {
    "missing": "a value",
    "extra_forbidden": "no such key",
    "string_type": "a text",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "list_type": "a list",
    "tuple_type": "a list",
    "string_unicode": "a text of valid characters",
    "path_type": "a path as text",
}


def _expected(error: Any) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind in _EXPECTED:
        return _EXPECTED[kind]
    if kind in ("literal_error", "enum"):
        return f"one of {context['expected']}"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return f"`kind` to be one of {context.get('expected_tags', 'the known kinds')}"
    for bound, word in (("gt", "greater than"), ("ge", "at least"), ("lt", "less than"), ("le", "at most")):
        if bound in context and kind in ("greater_than", "greater_than_equal", "less_than", "less_than_equal"):
            return f"a number {word} {context[bound]}"
    if kind == "string_pattern_mismatch":
        return f"a text of the form {context['pattern']}"
    for bound, word in (("min_length", "at least"), ("max_length", "at most")):
        if bound in context and kind.endswith(("too_short", "too_long")):
            size = context[bound]
            what = "character" if kind.startswith("string") else "item"
            counted = f"{word} {size} {what}{'' if size == 1 else 's'}"
            return f"a text of {counted}" if what == "character" else counted
    words = str(error["msg"])
    for prefix in ("Value error, ", "Assertion failed, ", "Input should be "):
        words = words.removeprefix(prefix)
    return words


def _found(error: Any) -> str:
    if error["type"] == "missing":
        return "nothing"
    if error["type"] == "extra_forbidden":
        return repr(error["loc"][-1])
    text = repr(error["input"])
    return text if len(text) <= 80 else text[:77] + "..."


def _place(loc: tuple[int | str, ...], data: Any) -> Place:
    # pydantic puts the tag of a union member and the names of validators into the location; the file has no such keys.
    place: list[str | int] = []
    here = data
    tagged = False
    for i, part in enumerate(loc):
        last = i == len(loc) - 1
        if isinstance(here, Mapping) and here.get("kind") == part and not last and not tagged:
            tagged = True  # also where a key has the name of the kind
            continue
        if isinstance(here, Mapping) and (part in here or (last and (tagged or here.get("kind") != part))):
            place.append(part)
            here = here.get(part)
        elif isinstance(here, list) and isinstance(part, int) and part < len(here):
            place.append(part)
            here = here[part]
    return tuple(place)


def load(
    model: type[M],
    path: Path,
    *,
    overrides: Mapping[str, Any] | None = None,
    expand: Callable[[dict[str, Any], Path], tuple[dict[str, Any], dict[Place, tuple[str, int]], Sequence[Mistake]]] | None = None,
    also: Callable[[M], Iterable[tuple[Place, str, str]]] | None = None,
) -> M:
    """The configuration in a file, with the environment and `overrides` laid over it.

    `expand` may rewrite the raw data before it is checked (tags from CSV files); it says which places now come from another file and line, and
    which mistakes it found there.
    `also` says what is wrong with files that the configuration names.
    Raises ConfigError with every mistake found, in the order of the file; a mistake in a variable names the file "environment", one in `overrides`
    "command line".
    """
    data, lines = read_yaml(path)
    mistakes = [Mistake(str(path), line, key_text(place), "each key once", "it twice") for place, line in lines.duplicates]
    elsewhere: dict[Place, tuple[str, int]] = {}
    if expand is not None:
        data, elsewhere, in_files = expand(data, path)
        mistakes += in_files

    environment = _environment(model)

    def mistake(place: Place, expected: str, found: str) -> Mistake:
        if place and _sets(overrides or {}, place):
            return Mistake("command line", 1, key_text(place), expected, found)
        if place and _sets(environment, place):
            return Mistake("environment", 1, ENV_PREFIX + "__".join(str(part) for part in place).upper(), expected, found)
        for length in range(len(place), 0, -1):
            if place[:length] in elsewhere:
                file, line = elsewhere[place[:length]]
                return Mistake(file, line, key_text(place), expected, found)
        return Mistake(str(path), lines.of(place), key_text(place), expected, found)

    merged = _merge(_merge(data, environment), dict(overrides or {}))
    settings: M | None = None
    try:
        settings = model.model_validate(merged)
        mistakes += [mistake(*found) for found in settings.mistakes()]
        mistakes += [mistake(*found) for found in also(settings)] if also is not None else []
    except pydantic.ValidationError as error:
        for one in error.errors(include_url=False):
            place = _place(one["loc"], merged)
            old = next((r for r in model.renamed if r.stands_at(place)), None) if one["type"] == "extra_forbidden" else None
            mistakes.append(mistake(place, old.told(model.command) if old is not None else _expected(one), _found(one)))
        salvage = Salvage(merged, model.placeholders)
        rest: M | None = salvage.read(model.model_validate, _place)
        if rest is not None:
            found_there = [*rest.mistakes(), *(also(rest) if also is not None else ())]
            mistakes += [mistake(*found) for found in salvage.sound(found_there)]
    if mistakes or settings is None:
        raise ConfigError(sorted(mistakes, key=lambda m: (m.file != str(path), m.line)))
    return settings


def is_loopback(host: str) -> bool:
    """Whether only this computer can reach a listener on this address.

    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("localhost"), is_loopback("0.0.0.0"), is_loopback("")
    (True, True, True, False, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def credential(path: Path) -> Path:
    """Where a secret file can be read: itself, or what the service manager was told to hand over of it (systemd's `LoadCredential=`).

    systemd calls the files of a folder `<id>_<name>`; the units here use the id `pharmedge`.
    """
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if folder and not os.access(path, os.R_OK):
        for name in (path.name, f"pharmedge_{path.name}"):
            if os.access(Path(folder) / name, os.R_OK):
                return Path(folder) / name
    return path


def secret(path: Path | None) -> str | None:
    """The secret in a file without its trailing newline, or None when there is no file to read; see `credential`."""
    if path is None:
        return None
    path = credential(path)
    try:
        return path.read_text("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        found = "bytes that are not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error.strerror)
        raise ConfigError([Mistake(str(path), 1, "(file)", "a readable secret file", found)]) from error
