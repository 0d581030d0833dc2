"""Conditions over several tags, written in a small language of their own: parsed here, run by a kernel, never evaluated as Python.

    ("press1/main_force" > 12 and not guard_open == 1) or abs(left - right) >= 0.5 * max(left, right)

Tags stand in quotes, or without where their name has only letters, digits, "_" and "."; numbers as usual; `+ - * /`, comparisons, `and`, `or`,
`not`, `abs(x)`, `min(x, ...)`, `max(x, ...)`, parentheses. The whole must be a condition. What is not known (a tag without a good value, a division
by 0) makes what depends on it unknown; `false and unknown` is false and `true or unknown` is true (Kleene).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from models.compiled import kernel

MOST_CHARACTERS: Final = 4000
MOST_DEPTH: Final = 40
MOST_TAGS: Final = 32

CONST, INPUT, ADD, SUB, MUL, DIV, NEG, ABS, MIN, MAX, LT, LE, GT, GE, EQ, NE, AND, OR, NOT = range(19)
_COMPARISONS: Final = {"<": LT, "<=": LE, ">": GT, ">=": GE, "==": EQ, "!=": NE}
_TOKEN: Final = re.compile(
    r"""\s*(?:(?P<number>\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+)|(?P<quoted>"[^"]*"|'[^']*')|(?P<name>[A-Za-z_][A-Za-z0-9_.]*)"""
    r"""|(?P<sign><=|>=|==|!=|[-+*/<>(),]))"""
)
Kind = Literal["number", "condition"]


class ExpressionError(ValueError):
    """An expression that is none: where, what was expected, what was found."""


@dataclass
class Program:
    """A compiled expression."""

    code: list[tuple[int, int]] = field(default_factory=list)
    """Operations in the order of a stack machine, with the index of their constant or tag."""
    constants: list[float] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    """Names of the tags, each once, in the order of their first appearance."""
    stack: int = 0
    """Numbers on the stack at the most."""


def compiled(text: str) -> Program:
    """The program of an expression; ExpressionError when it is none.

    >>> compiled("a > 1 and 'press1/b' < a").tags
    ['a', 'press1/b']
    >>> compiled("a + 1")
    Traceback (most recent call last):
    edge_agent.alarms.expression.ExpressionError: at 1: expected a condition, found a number
    """
    if len(text) > MOST_CHARACTERS:
        raise ExpressionError(f"expected at most {MOST_CHARACTERS} characters, found {len(text)}")
    return _Parser(text).program()


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str, int]] = []
        at = 0
        while text[at:].strip():
            match = _TOKEN.match(text, at)
            if match is None or match.lastgroup is None:
                at += len(text[at:]) - len(text[at:].lstrip())
                raise ExpressionError(f"at {at + 1}: expected a tag, a number or an operator, found {text[at]!r}")
            self._tokens.append((match.lastgroup, match[match.lastgroup], match.start(match.lastgroup) + 1))
            at = match.end()
        self._tokens.append(("end", "the end", len(text) + 1))
        self._i = 0
        self._depth = 0
        self._program = Program()
        self._now = 0

    def program(self) -> Program:
        self._want(self._or(), "condition", 1)
        if self._tokens[self._i][0] != "end":
            self._wrong("the end")
        if not self._program.tags:
            raise ExpressionError("expected at least one tag, found none")
        return self._program

    def _wrong(self, expected: str) -> None:
        _, found, at = self._tokens[self._i]
        raise ExpressionError(f"at {at}: expected {expected}, found {found}")

    def _want(self, kind: Kind, wanted: Kind, at: int) -> None:
        if kind != wanted:
            raise ExpressionError(f"at {at}: expected a {wanted}, found a {kind}")

    def _taken(self, *signs: str) -> str:
        group, token, _ = self._tokens[self._i]
        if group in ("sign", "name") and token in signs:
            self._i += 1
            return token
        return ""

    def _put(self, op: int, arg: int = 0, *, change: int) -> None:
        self._program.code.append((op, arg))
        self._now += change
        self._program.stack = max(self._program.stack, self._now)

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > MOST_DEPTH:
            raise ExpressionError(f"expected at most {MOST_DEPTH} levels, found more")

    def _joined(self, word: str, op: int) -> Kind:
        at = self._tokens[self._i][2]
        kind = self._and() if word == "or" else self._not()
        while self._taken(word):
            self._want(kind, "condition", at)
            at = self._tokens[self._i][2]
            kind = self._and() if word == "or" else self._not()
            self._want(kind, "condition", at)
            self._put(op, change=-1)
        return kind

    def _or(self) -> Kind:
        self._deeper()
        kind = self._joined("or", OR)
        self._depth -= 1
        return kind

    def _and(self) -> Kind:
        return self._joined("and", AND)

    def _not(self) -> Kind:
        negations = 0
        while self._taken("not"):
            negations += 1
        at = self._tokens[self._i][2]
        kind = self._comparison()
        if negations:
            self._want(kind, "condition", at)
            for _ in range(negations % 2):
                self._put(NOT, change=0)
        return kind

    def _comparison(self) -> Kind:
        at = self._tokens[self._i][2]
        kind = self._sum()
        sign = self._taken(*_COMPARISONS)
        if not sign:
            return kind
        self._want(kind, "number", at)
        at = self._tokens[self._i][2]
        self._want(self._sum(), "number", at)
        self._put(_COMPARISONS[sign], change=-1)
        return "condition"

    def _sum(self) -> Kind:
        return self._chain({"+": ADD, "-": SUB})

    def _chain(self, signs: dict[str, int]) -> Kind:
        def part() -> Kind:
            return self._chain({"*": MUL, "/": DIV}) if "+" in signs else self._unary()

        at = self._tokens[self._i][2]
        kind = part()
        while sign := self._taken(*signs):
            self._want(kind, "number", at)
            at = self._tokens[self._i][2]
            kind = part()
            self._want(kind, "number", at)
            self._put(signs[sign], change=-1)
        return kind

    def _unary(self) -> Kind:
        negations = 0
        while self._taken("-"):
            negations += 1
        at = self._tokens[self._i][2]
        kind = self._atom()
        if negations:
            self._want(kind, "number", at)
            for _ in range(negations % 2):
                self._put(NEG, change=0)
        return kind

    def _atom(self) -> Kind:
        group, token, _ = self._tokens[self._i]
        if self._taken("("):
            kind = self._or()
            if not self._taken(")"):
                self._wrong(")")
            return kind
        if group == "number":
            self._i += 1
            self._program.constants.append(float(token))
            self._put(CONST, len(self._program.constants) - 1, change=1)
            return "number"
        if group == "name" and token in ("abs", "min", "max") and self._tokens[self._i + 1][1] == "(":
            return self._function(token)
        if group == "quoted" or (group == "name" and token not in ("and", "or", "not")):
            self._i += 1
            self._tag(token[1:-1] if group == "quoted" else token)
            return "number"
        self._wrong("a tag, a number or (")
        raise AssertionError  # _wrong raised

    def _tag(self, name: str) -> None:
        if name not in self._program.tags:
            self._program.tags.append(name)
            if len(self._program.tags) > MOST_TAGS:
                raise ExpressionError(f"expected at most {MOST_TAGS} tags, found more")
        self._put(INPUT, self._program.tags.index(name), change=1)

    def _function(self, name: str) -> Kind:
        self._i += 2
        self._deeper()
        n = 0
        while True:
            at = self._tokens[self._i][2]
            self._want(self._sum(), "number", at)
            n += 1
            if n > 1:
                self._put(MIN if name == "min" else MAX, change=-1)
            if name == "abs" or not self._taken(","):
                break
        if name == "abs":
            self._put(ABS, change=0)
        elif n < 2:
            self._wrong(f"a second number for {name}")
        if not self._taken(")"):
            self._wrong(")")
        self._depth -= 1
        return "number"


@kernel("float64(int64, int64, int64[:, ::1], float64[::1], float64[::1], float64[::1])")
def worth(
    start: int,
    end: int,
    code: NDArray[np.int64],
    constants: NDArray[np.float64],
    inputs: NDArray[np.float64],
    stack: NDArray[np.float64],
) -> float:
    """What the program code[start:end] says of its inputs: 1 true, 0 false, NaN unknown."""
    n = 0
    for i in range(start, end):
        op = code[i, 0]
        if op == CONST:
            stack[n] = constants[code[i, 1]]
            n += 1
        elif op == INPUT:
            stack[n] = inputs[code[i, 1]]
            n += 1
        elif op == NEG:
            stack[n - 1] = -stack[n - 1]
        elif op == ABS:
            stack[n - 1] = abs(stack[n - 1])
        elif op == NOT:
            stack[n - 1] = 1.0 - stack[n - 1]
        else:
            n -= 1
            p = stack[n - 1]
            q = stack[n]
            known = p == p and q == q
            r = np.nan
            if op == AND:
                if p == 0.0 or q == 0.0:
                    r = 0.0
                elif known:
                    r = 1.0
            elif op == OR:
                if p == 1.0 or q == 1.0:
                    r = 1.0
                elif known:
                    r = 0.0
            elif known:
                if op == ADD:
                    r = p + q
                elif op == SUB:
                    r = p - q
                elif op == MUL:
                    r = p * q
                elif op == DIV:
                    if q != 0.0:
                        r = p / q
                elif op == MIN:
                    r = min(p, q)
                elif op == MAX:
                    r = max(p, q)
                elif op == LT:
                    r = 1.0 if p < q else 0.0
                elif op == LE:
                    r = 1.0 if p <= q else 0.0
                elif op == GT:
                    r = 1.0 if p > q else 0.0
                elif op == GE:
                    r = 1.0 if p >= q else 0.0
                elif op == EQ:
                    r = 1.0 if p == q else 0.0
                else:
                    r = 1.0 if p != q else 0.0
            stack[n - 1] = r
    return float(stack[0])
