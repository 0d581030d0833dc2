"""Options of earlier versions and what they have become: the one table behind `config migrate`, and behind the error for an old option.

A file is changed line by line, so that its comments, order and quotes stay. What no longer is an option stays as a comment, with what to do instead.
"""

from __future__ import annotations

import difflib
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from edge_agent.core.errors import ConfigError, Mistake

Place = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Renamed:
    """One option of an earlier version.

    place   where it stood; `*` is any item of a list
    became  its name now, beside the others there; None: it is no option any more
    since   the first version that does not know it
    why     what it is now, in words that end a sentence
    """

    place: tuple[str, ...]
    became: str | None
    since: str
    why: str

    def stands_at(self, place: Place) -> bool:
        """Whether a place in a file is this option.

        >>> old = Renamed(("sources", "*", "speed"), "rate", "0.2.0", "")
        >>> old.stands_at(("sources", 3, "speed")), old.stands_at(("sources", 3)), old.stands_at(("sources", "x", "speed"))
        (True, False, False)
        """
        return len(place) == len(self.place) and all(
            isinstance(found, int) if wanted == "*" else found == wanted for wanted, found in zip(self.place, place, strict=True)
        )

    def told(self, command: str) -> str:
        """What the error for it says was expected."""
        now = f"{self.became!r}" if self.became is not None else "no such key"
        return f"{now} since {self.since} ({self.why}); `{command} config migrate -c FILE` rewrites the file"


AGENT: Final[tuple[Renamed, ...]] = ()
"""Options of `edge-agent`; none has changed its name yet."""
GATEWAY: Final[tuple[Renamed, ...]] = (
    Renamed(("users",), None, "0.1.0", "accounts are made with `edge-gateway user add`, so that no password or hash stands in this file"),
)
"""Options of `edge-gateway`."""


def migrated(text: str, table: Sequence[Renamed], file: str) -> str:
    r"""The file with the options of today; ConfigError when it is no YAML.

    >>> migrated("a: 1 # one\nold: [x,\n  y]\nz: 2\n", [Renamed(("old",), None, "0.2.0", "gone")], "f")
    'a: 1 # one\n# old is no option since 0.2.0: gone\n# old: [x,\n#   y]\nz: 2\n'
    >>> migrated("s:\n  - {speed: 1}\n", [Renamed(("s", "*", "speed"), "rate", "0.2.0", "")], "f")
    's:\n  - {rate: 1}\n'
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark is not None else 1
        raise ConfigError([Mistake(file, line, "(file)", "valid YAML", str(getattr(error, "problem", "") or error))]) from error
    lines = text.splitlines(keepends=True)
    last_first = sorted(_found(root, table, ()), key=lambda found: (found[1].start_mark.line, found[1].start_mark.column), reverse=True)
    for old, key, value, parent in last_first:
        at = key.start_mark
        if old.became is not None:
            names = [other.value for other, _ in parent.value]
            if old.became in names:
                raise ConfigError([Mistake(file, at.line + 1, str(key.value), f"it or {old.became!r}, which it has become", "both")])
            row = lines[at.line]
            lines[at.line] = row[: at.column] + old.became + row[key.end_mark.column :]
        elif parent.flow_style or lines[at.line][: at.column].strip():
            raise ConfigError([Mistake(file, at.line + 1, str(key.value), f"no such key: {old.why}", "it in a line with others: mend it by hand")])
        else:
            end = max(_last_line(value), key.end_mark.line)
            while end > at.line and not lines[end].strip():
                end -= 1
            indent = " " * at.column
            said = f"{indent}# {key.value} is no option since {old.since}: {old.why}\n"
            lines[at.line : end + 1] = [said, *(f"{indent}# {row[at.column :] or row.lstrip(' ')}" for row in lines[at.line : end + 1])]
    return "".join(lines)


def _last_line(value: yaml.Node) -> int:
    """The last line of a value; a block's own end mark stands behind the blank lines that follow it."""
    if isinstance(value, yaml.ScalarNode):
        return int(value.end_mark.line) - (1 if value.style in ("|", ">") else 0)
    assert isinstance(value, yaml.CollectionNode)
    if value.flow_style or not value.value:
        return int(value.end_mark.line)
    last = value.value[-1]
    return _last_line(last[1] if isinstance(last, tuple) else last)


def _found(node: yaml.Node | None, table: Sequence[Renamed], place: Place) -> Iterator[tuple[Renamed, yaml.Node, yaml.Node, yaml.MappingNode]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*place, str(key.value))
            for old in table:
                if old.stands_at(here):
                    yield old, key, value, node
            yield from _found(value, table, here)
    elif isinstance(node, yaml.SequenceNode):
        for i, value in enumerate(node.value):
            yield from _found(value, table, (*place, i))


def difference(before: str, after: str, file: str) -> str:
    """What would change, as `diff -u` says it; empty when nothing does."""
    return "".join(difflib.unified_diff(before.splitlines(keepends=True), after.splitlines(keepends=True), file, f"{file} (migrated)"))


def migrate(path: Path, table: Sequence[Renamed], *, write: bool) -> tuple[str, Path | None]:
    """The difference that migrating a file makes, and where the file as it was is kept once it was written; ConfigError when it cannot be read."""
    try:
        before = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([Mistake(str(path), 1, "(file)", "a readable UTF-8 file", str(error))]) from error
    after = migrated(before, table, str(path))
    found = difference(before, after, str(path))
    if not write or not found:
        return found, None
    kept = _backup(path)
    made = path.with_name(f".{path.name}.migrated")
    with made.open("w", encoding="utf-8", newline="") as stream:
        stream.write(after)
        stream.flush()
        os.fsync(stream.fileno())
    shutil.copystat(path, made)
    made.replace(path)
    return found, kept


def _backup(path: Path) -> Path:
    """A copy beside the file under a name that was free: an earlier one is never written over."""
    number = 1
    while True:
        kept = path.with_name(f"{path.name}.bak{number}")
        try:
            with kept.open("xb") as stream:
                stream.write(path.read_bytes())
                stream.flush()
                os.fsync(stream.fileno())
        except FileExistsError:
            number += 1
            continue
        shutil.copystat(path, kept)
        return kept
