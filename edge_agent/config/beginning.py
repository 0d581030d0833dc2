"""The first configuration of an edge: what a walk over a live server found, in the commented file that `config init` writes."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from edge_agent.config.tag_csv import COLUMNS
from edge_agent.core import ConfigError, Mistake

TEMPLATE: Final = Path(__file__).with_name("agent.example.yaml")
TAGS: Final = "tags.csv"
ALARMS: Final = "alarms.csv"
_ALARM_COLUMNS: Final = (
    "name", "kind", "tag", "side", "limit", "deadband", "on_delay_s", "priority", "cause_en", "cause_zh", "response_en", "response_zh",
)  # fmt: skip
_OURS: Final = ("sources", "tags", "models", "alarms")
"""Sections that a walk writes anew; the others stay as they stand in the file."""


def begin(
    file: Path, url: str, rows: Sequence[Mapping[str, str]], *, simulated: bool, username: str | None, password_file: Path | None
) -> list[Path]:
    """Write FILE, `tags.csv` and `alarms.csv` beside it; returns what was written.

    FILE is new, or the example with other sections than these four changed at the most. Raises ConfigError where it would overwrite somebody's
    work, OSError where it cannot write.
    """
    example = sections(TEMPLATE.read_text("utf-8"))
    there = sections(file.read_text("utf-8")) if file.exists() else example
    kept = [name for name in _OURS if there.get(name) != example[name]]
    taken = [path for path in (file.with_name(TAGS), file.with_name(ALARMS)) if path.exists()]
    if kept or taken:
        found = f"{', '.join(kept)} that somebody wrote" if kept else f"{' and '.join(str(path) for path in taken)} already"
        raise ConfigError([Mistake(str(file), 1, "(file)", "a new file, or the example as it was installed", f"{found}; --out writes tags alone")])
    source = rows[0]["source"] if rows else "plc"
    there |= {
        "sources": _source(source, url, username, password_file),
        "tags": f"tags:\n  - csv: {TAGS}                # unit, range, period, class, description of each: complete them in a spreadsheet\n\n",
        "models": "models: []                      # see docs/models.md\n\n",
        "alarms": f"alarms:\n  - csv: {ALARMS}              # one row for each; beside them each tag has its alarms of silence and bad quality\n\n",
    }
    if simulated and not re.search(r"^  simulated:", there["edge"], re.MULTILINE):
        there["edge"] = there["edge"].rstrip("\n") + "\n  simulated: true             # this server says that its values are simulated\n\n"
    written = {file: "".join(there.values()), file.with_name(TAGS): tag_csv(rows), file.with_name(ALARMS): ",".join(_ALARM_COLUMNS) + "\n"}
    for path, text in written.items():
        path.write_text(text, "utf-8")
    _given_to_readers_of(file, list(written))
    return list(written)


def sections(text: str) -> dict[str, str]:
    """The text of each top-level key, comments above it included, in the order of the file; what stands before the first has the key "".

    >>> sections("# file\\n\\na:\\n  b: 1\\n\\n# of c\\nc: 2\\n")
    {'': '# file\\n\\n', 'a': 'a:\\n  b: 1\\n\\n', 'c': '# of c\\nc: 2\\n'}
    """
    out = {"": ""}
    at, pending = "", ""
    for line in text.splitlines(keepends=True):
        key = re.match(r"([A-Za-z_]+):", line)
        if key:
            at = key[1]
            out[at] = pending + line
            pending = ""
        elif line.startswith("#") and at:
            pending += line
        else:
            out[at] += pending + line
            pending = ""
    out[at] += pending
    return out


def tag_csv(rows: Sequence[Mapping[str, str]]) -> str:
    """Tag rows as the CSV that `tags: - csv:` reads."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _source(name: str, url: str, username: str | None, password_file: Path | None) -> str:
    lines = [f"  - name: {json.dumps(name, ensure_ascii=False)}", "    kind: opcua", f"    url: {json.dumps(url)}"]
    if username is not None:
        lines.append(f"    username: {json.dumps(username)}")
    if password_file is not None:
        lines.append(f"    password_file: {json.dumps(str(password_file.resolve()))}")
    lines.append("    publishing_ms: 500        # milliseconds between two notifications of the server")
    return "sources:\n" + "\n".join(lines) + "\n\n"


def _given_to_readers_of(file: Path, written: list[Path]) -> None:
    # Root prepares what a service reads as somebody else: whoever may read the folder's configuration may read these too.
    if os.geteuid() != 0:
        return
    group = file.parent.stat().st_gid
    for path in written:
        os.chown(path, -1, group)
        path.chmod(0o640)
