"""Tags from CSV files: the columns that `edge-agent browse` writes."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, Final

from edge_agent.core import ConfigError, Mistake
from edge_agent.core.salvage import Place

COLUMNS: Final = (
    "name",
    "source",
    "address",
    "kind",
    "unit",
    "range_low",
    "range_high",
    "decimals",
    "description_en",
    "description_zh",
    "path",
    "class",
    "report",
    "expected_s",
    "record",
    "record_reason",
    "role",
)
_NUMBERS: Final = ("range_low", "range_high", "expected_s")


def expand_tags(data: dict[str, Any], path: Path) -> tuple[dict[str, Any], dict[Place, tuple[str, int]], list[Mistake]]:
    """The raw configuration with every `- csv: FILE` item of `tags` replaced by the rows of that file.

    Returns it with the file and line that each of those tags came from, and the mistakes of files that cannot be read as tags.
    """
    tags = data.get("tags")
    if not isinstance(tags, list):
        return data, {}, []
    out: list[Any] = []
    places: dict[Place, tuple[str, int]] = {}
    mistakes: list[Mistake] = []
    for item in tags:
        if not (isinstance(item, dict) and set(item) == {"csv"} and isinstance(item["csv"], str)):
            out.append(item)
            continue
        file = path.parent / item["csv"]
        try:
            rows = read_tags(file)
        except ConfigError as error:
            mistakes += error.mistakes
            continue
        for line, row in rows:
            places["tags", len(out)] = (str(file), line)
            out.append(row)
    return {**data, "tags": out}, places, mistakes


def read_tags(file: Path) -> list[tuple[int, dict[str, Any]]]:
    """Line number and raw tag of each row of a tag CSV; empty cells take the default."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            header = reader.fieldnames or []
            unknown = [name for name in header if name not in COLUMNS]
            if unknown or "name" not in header:
                raise ConfigError([Mistake(str(file), 1, "(header)", f"columns of {', '.join(COLUMNS)} with name", ", ".join(header) or "nothing")])
            return [(reader.line_num, _tag(row, str(file), reader.line_num)) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError([Mistake(str(file), 1, "(file)", "a readable UTF-8 CSV file", str(error))]) from error


def _tag(row: dict[str, str | None], file: str, line: int) -> dict[str, Any]:
    if None in row or None in row.values():
        raise ConfigError([Mistake(file, line, "(row)", "as many cells as the header", "more or fewer")])
    cells: dict[str, Any] = {k: v.strip() for k, v in row.items() if v is not None and v.strip()}
    for name in _NUMBERS:
        if name in cells:
            try:
                cells[name] = float(cells[name])
            except ValueError:
                raise ConfigError([Mistake(file, line, name, "a number", repr(cells[name]))]) from None
    tag: dict[str, Any] = {
        k: v for k, v in cells.items() if k in ("name", "source", "address", "kind", "unit", "path", "class", "record", "record_reason", "role")
    }
    if "decimals" in cells:
        tag["decimals"] = cells["decimals"]
    if "range_low" in cells or "range_high" in cells:
        tag["range"] = [cells.get("range_low"), cells.get("range_high")]
    description = {lang: cells[f"description_{lang}"] for lang in ("en", "zh") if f"description_{lang}" in cells}
    if description:
        tag["description"] = description
    if "report" in cells or "expected_s" in cells:
        kind = cells.get("report", "periodic")
        tag["report"] = {"kind": kind} | ({"expected_s": cells["expected_s"]} if "expected_s" in cells else {})
    return tag
