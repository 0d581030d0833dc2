"""Every refusal that a person can meet, read from the source: errors raised, reasons returned, reasons written into the audit trail."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
ERRORS = {"Refused", "NotAllowed", "NotLoggedIn", "SignatureNeeded", "TooSoon", "WrongAccount", "WrongProposal", "NotFound", "Busy"}
EVENTS = {"cover", "uncover", "replace", "_flooded", "ended", "Diagnostic"}
TOLD = {"condition": 4, "_say": 1, "partial _told": 2, "Contest": 2}
"""Calls that tell why a diagnostic alarm stands or is over, and which of the arguments says it."""
CONDITIONS = (
    *("edge_agent/pipeline/conditions.py", "edge_agent/uplinks/holding.py"),
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "edge_agent" / "agent").glob("*.py")),
)
"""Where diagnostic alarms are told."""
ENTRIES = {"Act", "_system", "_audit"}
PLACES = (
    *("gateway/accounts.py", "gateway/actions.py", "gateway/answers.py", "gateway/handover.py", "gateway/proposals.py", "gateway/sessions.py"),
    *("gateway/own_alarms.py", "gateway/users.py", "gateway/audit_watch.py", "gateway/console/access.py", "gateway/console/accounts.py"),
    *("gateway/console/handover.py", "gateway/console/live.py", "gateway/console/people.py", "gateway/console/proposals.py"),
    *("edge_agent/alarms/lives.py", "edge_agent/alarms/refusals.py", "edge_agent/alarms/rules.py", "edge_agent/alarms/saved.py"),
    *("edge_agent/alarms/standing.py", "edge_agent/pipeline/modes.py"),
    *CONDITIONS,
)
REASONS = {"refusal", "_refusal", "_shelve_refusal", "other_occurrence", "impossible"}
"""Functions that return why something is refused."""


def form(node: ast.expr) -> str | None:
    """A literal with `{}` where a value is put in; None for what is no literal.

    >>> form(ast.parse("f'the role {role} may not'", mode="eval").body)
    'the role {} may not'
    """
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) and isinstance(part.value, str) else "{}" for part in node.values)
    return None


def _literals(node: ast.expr, names: dict[str, list[ast.expr]]) -> Iterator[str]:
    """Every literal that an expression can be."""
    if isinstance(node, ast.IfExp):
        yield from _literals(node.body, names)
        yield from _literals(node.orelse, names)
    elif isinstance(node, ast.BoolOp):
        for part in node.values:
            yield from _literals(part, names)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Dict):
        for part in (*node.func.value.values, *node.args[1:]):  # {...}.get(key, otherwise)
            yield from _literals(part, names)
    elif isinstance(node, ast.Name):
        for value in names.get(node.id, ()):
            yield from _literals(value, {})
    elif (found := form(node)) and found.replace("{}", "").strip(" :;"):
        # A variable put in may itself be such a literal.
        inner = [part.value for part in node.values if isinstance(part, ast.FormattedValue)] if isinstance(node, ast.JoinedStr) else []
        if inner and isinstance(inner[0], ast.Name) and found.startswith("{}") and (first := list(_literals(inner[0], names))):
            yield from (one + found[2:] for one in first)
        else:
            yield found


def _in(function: ast.AST) -> Iterator[str]:
    names: dict[str, list[ast.expr]] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            names.setdefault(node.targets[0].id, []).append(node.value)
    for node in ast.walk(function):
        if isinstance(node, ast.Call):
            called = node.func.id if isinstance(node.func, ast.Name) else node.func.attr if isinstance(node.func, ast.Attribute) else ""
            if called == "partial" and isinstance(node.args[0], ast.Name):
                called = f"partial {node.args[0].id}"
            for told in node.args[TOLD[called] :][:1] if called in TOLD else ():
                yield from _literals(told, names)
            if called in ERRORS and node.args:
                yield from _literals(node.args[0], names)
            if called in ENTRIES:
                for reason in [k.value for k in node.keywords if k.arg == "reason"] + node.args[4:5]:
                    yield from _literals(reason, names)
            if called in EVENTS:
                for told in [k.value for k in node.keywords if k.arg in ("explanation", "why")]:
                    yield from _literals(told, names)
            if called == "__init__" and isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Call) and node.args:
                yield from _literals(node.args[0], names)
        if isinstance(function, ast.FunctionDef) and function.name in REASONS and isinstance(node, ast.Return) and node.value is not None:
            yield from _literals(node.value, names)


def refusals(places: tuple[str, ...] = PLACES) -> dict[str, str]:
    """Every form with the file it stands in."""
    found: dict[str, str] = {}
    for place in places:
        for node in ast.walk(ast.parse((ROOT / place).read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for one in _in(node):
                    found.setdefault(one, place)
    return found
