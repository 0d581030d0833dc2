"""The master alarm database from CSV files: one alarm per row, with its rationalisation."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edge_agent.core import ConfigError, Mistake
from edge_agent.core.salvage import Place

_PLAIN: Final = (
    "name", "kind", "tag", "side", "when", "expression", "setpoint_tag", "group", "when_not_first", "owner", "routing", "gmp_impact", "approval",
    "last_review",
)  # fmt: skip
_NUMBERS: Final = (
    "limit", "state", "setpoint", "deadband", "on_delay_s", "off_delay_s", "hold_off_s", "re_alarm_s", "priority", "respond_within_s",
)  # fmt: skip
_FLAGS: Final = ("advisory", "latching")
_LISTS: Final = ("suppressed_by", "suppress_modes")
_TEXTS: Final = ("cause", "consequence", "check", "response")
COLUMNS: Final = (*_PLAIN, *_NUMBERS, *_FLAGS, *_LISTS, "phase_limits", *(f"{text}_{language}" for text in _TEXTS for language in ("en", "zh")))
"""Columns a file may have; lists are separated by ";", limits by phase read "drying=60; idle=none"."""


@dataclass
class _Told:
    file: str
    line: int
    mistakes: list[Mistake]

    def __call__(self, key: str, expected: str, found: str) -> None:
        self.mistakes.append(Mistake(self.file, self.line, key, expected, found))


def expand_alarms(data: dict[str, Any], path: Path) -> tuple[dict[str, Any], dict[Place, tuple[str, int]], list[Mistake]]:
    """The raw configuration with every `- csv: FILE` item of `alarms` replaced by the rows of that file.

    Returns it with the file and line that each of those alarms came from, and the mistakes of files that cannot be read as alarms.
    """
    alarms = data.get("alarms")
    if not isinstance(alarms, list):
        return data, {}, []
    out: list[Any] = []
    places: dict[Place, tuple[str, int]] = {}
    mistakes: list[Mistake] = []
    for item in alarms:
        if not (isinstance(item, dict) and set(item) == {"csv"} and isinstance(item["csv"], str)):
            out.append(item)
            continue
        file = path.parent / item["csv"]
        try:
            rows = read_alarms(file, mistakes)
        except ConfigError as error:
            mistakes += error.mistakes
            continue
        for line, row in rows:
            places["alarms", len(out)] = (str(file), line)
            out.append(row)
    return {**data, "alarms": out}, places, mistakes


def read_alarms(file: Path, mistakes: list[Mistake]) -> list[tuple[int, dict[str, Any]]]:
    """Line number and raw alarm of each row of an alarm CSV; empty cells take the default. What is wrong in a row is added to `mistakes`."""
    out = []
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            header = reader.fieldnames or []
            unknown = [name for name in header if name not in COLUMNS]
            if unknown or not {"name", "kind", "tag"} <= set(header) or len(set(header)) != len(header):
                wrong = f"columns of {', '.join(COLUMNS)}, each once, with name, kind and tag"
                raise ConfigError([Mistake(str(file), 1, "(header)", wrong, ", ".join(unknown or header) or "nothing")])
            for row in reader:
                line = reader.line_num
                if None in row or None in row.values():
                    mistakes.append(Mistake(str(file), line, "(row)", "as many cells as the header", "more or fewer"))
                    continue
                cells = {key: cell.strip() for key, cell in row.items() if cell.strip()}
                out.append((line, _alarm(cells, _Told(str(file), line, mistakes))))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError([Mistake(str(file), 1, "(file)", "a readable UTF-8 CSV file", str(error))]) from error
    return out


def _alarm(cells: dict[str, str], wrong: _Told) -> dict[str, Any]:
    alarm: dict[str, Any] = {key: cells[key] for key in _PLAIN if key in cells}
    for key in _NUMBERS:
        if key in cells:
            try:
                alarm[key] = int(cells[key]) if key == "priority" else float(cells[key])
            except ValueError:
                wrong(key, "a number", repr(cells[key]))
    for key in _FLAGS:
        if key in cells:
            if cells[key].lower() in ("true", "false"):
                alarm[key] = cells[key].lower() == "true"
            else:
                wrong(key, "true or false", repr(cells[key]))
    for key in _LISTS:
        if key in cells:
            alarm[key] = [part.strip() for part in cells[key].split(";") if part.strip()]
    if "phase_limits" in cells:
        alarm["phase_limits"] = _phase_limits(cells["phase_limits"], wrong)
    for text in _TEXTS:
        said = {language: cells[f"{text}_{language}"] for language in ("en", "zh") if f"{text}_{language}" in cells}
        if said:
            alarm[text] = said
    return alarm


def _phase_limits(cell: str, wrong: _Told) -> dict[str, float | None]:
    out: dict[str, float | None] = {}
    for part in (p.strip() for p in cell.split(";")):
        if not part:
            continue
        phase, sign, limit = (x.strip() for x in part.rpartition("="))
        try:
            if not sign or not phase or phase in out:
                raise ValueError
            out[phase] = None if limit == "none" else float(limit)
        except ValueError:
            wrong("phase_limits", "PHASE=LIMIT or PHASE=none, each phase once, separated by ;", repr(part))
    return out
