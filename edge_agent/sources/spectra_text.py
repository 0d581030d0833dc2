"""Numbers in text as instruments and spreadsheets write them: the encoding, what separates cells, and the decimal sign."""

from __future__ import annotations

from typing import Final

SEPARATORS: Final = (";", "\t", ",")
"""What separates cells, the surest first: where there is a semicolon or a tab, a comma is a decimal sign."""


def decoded(data: bytes) -> str:
    """Text in UTF-8, in UTF-16 with its mark, or else in GB 18030, of which plain digits and signs are the same as everywhere.

    >>> decoded("nm;吸光度".encode("gb18030")), decoded("nm".encode("utf-16"))
    ('nm;吸光度', 'nm')
    """
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("gb18030", errors="replace")


def separator(line: str) -> str:
    """What separates the cells of a line; blanks where it is nothing else.

    >>> separator("1100,5;0,41"), separator("1100.5,0.41"), separator("1100.5 0.41")
    (';', ',', ' ')
    """
    return next((s for s in SEPARATORS if s in line), " ")


def number(cell: str, between: str) -> float:
    """The number in a cell; ValueError where there is none. Between cells that no comma separates, a comma is the decimal sign.

    >>> number("0,41", ";"), number(" 1e-3 ", ",")
    (0.41, 0.001)
    """
    return float(cell.replace(",", ".") if between != "," and cell.count(",") == 1 and "." not in cell else cell)
