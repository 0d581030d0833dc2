"""Expressions again, read and valued in one go, without a program: a value is a number or None where it is not known."""

from __future__ import annotations

import math
import re

_TOKEN = re.compile(r"\s*(\d+\.?\d*|'[^']*'|\w+|[<>=!]=|.)")


def naive(text: str, tags: dict[str, float]) -> float:
    """1 true, 0 false, NaN unknown."""
    tokens = _TOKEN.findall(text)
    found = _or(tokens, tags)
    assert not tokens
    return math.nan if found is None else float(found)


def _or(tokens: list[str], tags: dict[str, float]) -> float | None:
    parts = [_and(tokens, tags)]
    while tokens[:1] == ["or"]:
        tokens.pop(0)
        parts.append(_and(tokens, tags))
    if len(parts) == 1:
        return parts[0]
    return True if True in parts else None if None in parts else False


def _and(tokens: list[str], tags: dict[str, float]) -> float | None:
    parts = [_not(tokens, tags)]
    while tokens[:1] == ["and"]:
        tokens.pop(0)
        parts.append(_not(tokens, tags))
    if len(parts) == 1:
        return parts[0]
    return False if False in parts else None if None in parts else True


def _not(tokens: list[str], tags: dict[str, float]) -> float | None:
    if tokens[:1] == ["not"]:
        tokens.pop(0)
        x = _not(tokens, tags)
        return None if x is None else not x
    x = _sum(tokens, tags)
    if tokens[:1] and tokens[0] in ("<", "<=", ">", ">=", "==", "!="):
        sign = tokens.pop(0)
        y = _sum(tokens, tags)
        if x is None or y is None:
            return None
        return {"<": x < y, "<=": x <= y, ">": x > y, ">=": x >= y, "==": x == y, "!=": x != y}[sign]
    return x


def _sum(tokens: list[str], tags: dict[str, float]) -> float | None:
    x = _product(tokens, tags)
    while tokens[:1] in (["+"], ["-"]):
        sign, y = tokens.pop(0), _product(tokens, tags)
        x = None if x is None or y is None else known(x + y if sign == "+" else x - y)
    return x


def _product(tokens: list[str], tags: dict[str, float]) -> float | None:
    x = _one(tokens, tags)
    while tokens[:1] in (["*"], ["/"]):
        sign, y = tokens.pop(0), _one(tokens, tags)
        if x is None or y is None or (sign == "/" and y == 0):
            x = None
        else:
            x = known(x * y if sign == "*" else x / y)
    return x


def _one(tokens: list[str], tags: dict[str, float]) -> float | None:
    token = tokens.pop(0)
    if token == "-":
        x = _one(tokens, tags)
        return None if x is None else -x
    if token == "(":
        x = _or(tokens, tags)
        assert tokens.pop(0) == ")"
        return x
    if token in ("abs", "min", "max"):
        tokens.pop(0)
        numbers = [_sum(tokens, tags)]
        while tokens[0] == ",":
            tokens.pop(0)
            numbers.append(_sum(tokens, tags))
        tokens.pop(0)
        known_ones = [n for n in numbers if n is not None]
        if len(known_ones) < len(numbers):
            return None
        return abs(known_ones[0]) if token == "abs" else min(known_ones) if token == "min" else max(known_ones)
    if token[0].isdigit():
        return float(token)
    return known(tags.get(token.strip("'"), math.nan))


def known(x: float) -> float | None:
    """NaN is not known: infinity minus infinity is neither."""
    return None if math.isnan(x) else x
