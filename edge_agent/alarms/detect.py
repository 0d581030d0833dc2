"""Detection of limits, deviations and rates with deadband and delays, over columns (ISA-18.2 clause 10, `Detection`).

The rules, for a high side; a low side is the mirror image:

- The compared number x is the value, the value minus its setpoint, or the change per second between consecutive good values.
- Raise when x > limit continuously for the on-delay; clear when x < limit - deadband continuously for the off-delay. Equality does neither.
- A delay ends on either of two clocks: at a sample whose source time is that much later, or at a tick whose received time is that much later,
  so that a value that steps over its limit and never changes again still raises. For a rate a tick only ever clears: there is no rate without
  a new value.
- A row that is not usable holds everything: its time counts up to it, and from the next usable row on.
- A periodic tag silent for more than 3 periods holds the timer; the silence does not count.
- A row older than the newest usable one of the same alarm is ignored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_agent.alarms.expression import CONST, ExpressionError, Program, compiled
from edge_agent.alarms.kernels import (
    BLIND,
    COMPARED,
    CONDITION_KIND,
    DEVIATION_KIND,
    DISCRETE_KIND,
    EXPRESSION_KIND,
    FIRST,
    INPUTS,
    KIND,
    LAST,
    LAST_RECEIVED,
    LIMIT,
    LIMIT_KIND,
    MET,
    NEVER,
    OFF,
    ON,
    RATE_KIND,
    RUNNING,
    SETPOINT,
    SETPOINT_LAST,
    SIGN,
    SILENCE,
    STATUS,
    UNSEEN,
    detect,
    detect_parts,
    evaluate,
)  # fmt: skip
from edge_agent.core import AlarmDefinition, Catalogue, Samples

FOUND_AT_ONCE: Final = 1024
REQUIRED: Final = ("clock", "number", "due")
"""What every saved state has; earlier versions kept no more."""
SILENT_PERIODS: Final = 3

_KINDS: Final = {
    "limit": LIMIT_KIND,
    "deviation": DEVIATION_KIND,
    "rate": RATE_KIND,
    "discrete": DISCRETE_KIND,
    "expression": EXPRESSION_KIND,
}


class Found(NamedTuple):
    """A condition that is now met or over."""

    row: int
    """Row of the samples that ended the delay; -1 when a tick or a call did."""
    alarm: int
    met: bool
    first_ns: int
    """Source time at which it was first met, or first over."""
    compared: float
    """The number that was compared with the limit; NaN for a condition found elsewhere."""
    setpoint: float
    status: int


def delay_ns(seconds: float) -> int:
    """Nanoseconds of a delay.

    >>> delay_ns(0.1)
    100000000
    """
    return round(seconds * 1e9)


class Detection:
    """Whether each alarm's condition is met; row i of every array is definition i."""

    def __init__(self, definitions: Sequence[AlarmDefinition], catalogue: Catalogue) -> None:
        n = len(definitions)
        self._whole = np.zeros((n, 6), np.int64)
        self._real = np.zeros((n, 4), np.float64)
        self._setpoint = np.full(n, np.nan)
        self.clock = np.empty((n, 11), np.int64)
        self.number = np.empty((n, 3), np.float64)
        self.due = np.empty(n, np.int64)
        self._found = np.empty((max(FOUND_AT_ONCE, 2 * n), 5), np.int64)
        self._found_number = np.empty((len(self._found), 2), np.float64)
        self.paused = np.empty(n, np.int64)
        feeds: list[tuple[int, int, int]] = []
        programs: list[Program] = []
        for a, definition in enumerate(definitions):
            program = _program(definition)
            programs.append(program)
            feeds += self._set(a, definition, program, catalogue)
        self._code_start = np.cumsum([0, *(len(p.code) for p in programs)]).astype(np.int64)
        constants: list[float] = []
        code: list[tuple[int, int]] = []
        for p in programs:
            code += [(op, arg + len(constants) if op == CONST else arg) for op, arg in p.code]
            constants += p.constants
        self._code = np.array(code, np.int64).reshape(-1, 2)
        self._constants = np.array(constants, np.float64)
        self._stack = np.zeros(max([1, *(p.stack for p in programs)]))
        self.inputs = np.empty((n, max([0, *(len(p.tags) for p in programs)])), np.float64)
        self.inputs_last = np.empty(self.inputs.shape, np.int64)
        self.forget()
        feeds.sort()
        self._member = np.array([f[1] for f in feeds], np.int64)
        self._role = np.array([f[2] for f in feeds], np.uint8)
        self._start = np.searchsorted(np.array([f[0] for f in feeds], np.int64), np.arange(len(catalogue) + 1)).astype(np.int64)

    def _set(self, a: int, definition: AlarmDefinition, program: Program, catalogue: Catalogue) -> list[tuple[int, int, int]]:
        d = definition
        kind = _KINDS.get(d.kind, CONDITION_KIND)
        for key, number in (("deadband", d.deadband), ("on_delay_s", d.on_delay_s), ("off_delay_s", d.off_delay_s), ("hold_off_s", d.hold_off_s)):
            if not 0 <= number < 1e9:
                raise ValueError(f"alarm {d.name}: {key}: expected 0 or more, found {number}")
        self._whole[a] = kind, delay_ns(d.on_delay_s), delay_ns(d.off_delay_s), NEVER, delay_ns(d.hold_off_s), d.when == "not_equals"
        if kind == CONDITION_KIND:
            return []
        if kind == EXPRESSION_KIND:
            return self._set_expression(a, d, program, catalogue)
        tag = catalogue.get(d.tag)
        if tag is None or tag.kind != "numeric":
            raise ValueError(f"alarm {d.name}: tag: expected a numeric tag, found {d.tag!r}")
        if d.limit is None or not abs(d.limit) < np.inf:
            raise ValueError(f"alarm {d.name}: limit: expected a number, found {d.limit}")
        if tag.expected_s is not None:
            self._whole[a, SILENCE] = delay_ns(SILENT_PERIODS * tag.expected_s)
        sign = 1.0 if d.side == "high" else -1.0
        self._real[a] = (1.0, 0.5, 0.0, d.limit) if kind == DISCRETE_KIND else (sign, d.limit, d.deadband, 0.0)
        feeds = [(tag.id, a, 0)]
        if kind == DEVIATION_KIND:
            if not sign * d.limit > 0:
                raise ValueError(f"alarm {d.name}: limit: expected above 0 on the high side and below 0 on the low side, found {d.limit}")
            if (d.setpoint is None) == (d.setpoint_tag is None):
                raise ValueError(f"alarm {d.name}: setpoint, setpoint_tag: expected one of them, found {d.setpoint}, {d.setpoint_tag}")
            if d.setpoint is not None:
                self._setpoint[a] = d.setpoint
            else:
                follows = catalogue.get(d.setpoint_tag or "")
                if follows is None or follows.kind != "numeric" or follows.id == tag.id:
                    raise ValueError(f"alarm {d.name}: setpoint_tag: expected another numeric tag, found {d.setpoint_tag!r}")
                feeds.append((follows.id, a, 1))
        return feeds

    def _set_expression(self, a: int, d: AlarmDefinition, program: Program, catalogue: Catalogue) -> list[tuple[int, int, int]]:
        feeds = []
        silence = 0
        for k, name in enumerate(program.tags):
            tag = catalogue.get(name)
            # Derived values are judged behind the measured ones of the same instant: what is known would depend on how values arrived.
            if tag is None or tag.kind != "numeric" or tag.derived_from:
                raise ValueError(f"alarm {d.name}: expression: expected measured numeric tags, found {name!r}")
            feeds.append((tag.id, a, INPUTS + k))
            silence = NEVER if tag.expected_s is None else max(silence, delay_ns(SILENT_PERIODS * tag.expected_s))
        self._whole[a, SILENCE] = silence
        self._real[a] = 1.0, 0.5, 0.0, 0.0
        return feeds

    def limited(self, a: int, limit: float | None) -> bool:
        """Let another limit hold for alarm a, None: none; whether it is another one."""
        unlimited = float(self._real[a, SIGN]) * np.inf
        before, self._real[a, LIMIT] = float(self._real[a, LIMIT]), unlimited if limit is None else limit
        return before != float(self._real[a, LIMIT])

    def relimited(self, a: int, limit: float | None, time_ns: int, received_ns: int) -> Found | None:
        """The same while the plant runs: the latest value is judged anew, and delays begin anew."""
        clock = self.clock[a]
        if not self.limited(a, limit):
            return None
        clock[RUNNING] = 0
        self.due[a] = NEVER
        x, setpoint = self.number[a, (COMPARED, SETPOINT)].tolist()
        stale_rate = self._whole[a, KIND] == RATE_KIND and clock[MET] == 0  # a rate is new only with a new value
        if clock[LAST] == UNSEEN or clock[BLIND] != 0 or not abs(x) < np.inf or stale_rate:
            return None
        t = max(time_ns, int(clock[LAST]))
        change = evaluate(a, t, x, received_ns, self._whole, self._real, self.clock, self.due, self.paused)
        return Found(-1, a, change > 0, int(clock[FIRST]), x, setpoint, int(clock[STATUS])) if change else None

    def step(self, samples: Samples, usable: NDArray[np.uint8]) -> list[Found]:
        """Evaluate n rows in order; `usable` (n,): 1 = evaluate, 0 = hold."""
        n = len(samples)
        if usable.shape != (n,) or usable.dtype != np.uint8:
            raise ValueError(f"usable: expected ({n},) uint8, found {usable.shape} {usable.dtype}")
        if n == 0 or len(self._member) == 0:
            return []
        low, high = int(samples.tag.min()), int(samples.tag.max())
        if low < 0 or high >= len(self._start) - 1:
            raise ValueError(f"tag: expected ids 0..{len(self._start) - 2}, found {low}..{high}")
        out: list[Found] = []
        row = 0
        while row < n:
            row, count = detect(
                row, samples.time_ns, samples.tag, samples.value, samples.status, usable, samples.received_ns,
                self._start, self._member, self._role, self._whole, self._real,
                self.clock, self.number, self.due, self._found, self._found_number,
                self.paused, self._code_start, self._code, self._constants, self.inputs, self.inputs_last, self._stack,
            )  # fmt: skip
            rows, numbers = self._found[:count].tolist(), self._found_number[:count].tolist()
            for (i, a, change, first, status), (x, setpoint) in zip(rows, numbers, strict=True):
                out.append(Found(i, a, change > 0, first, x, setpoint, status))
        return out

    def watches(self, tag: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Which rows feed an alarm."""
        return np.asarray(self._start[tag + 1] > self._start[tag], np.bool_)

    def pass_over(
        self, part: int, row: int, until: int, parts: NDArray[np.int64], rows: Samples, usable: NDArray[np.uint8], tick_ns: int, other_ns: int
    ) -> tuple[int, int, list[Found]]:
        """`step` for parts of rows, each with its time of receipt, up to the first that finds something or has a delay end before it.

        The part and its next row where it stopped, and what was found there, its row counted in `rows`: see `kernels.detect_parts`.
        """
        part, row, count = detect_parts(
            part, row, until, parts, tick_ns, other_ns, rows.time_ns, rows.tag, rows.value, rows.status, usable,
            self._start, self._member, self._role, self._whole, self._real,
            self.clock, self.number, self.due, self._found, self._found_number,
            self.paused, self._code_start, self._code, self._constants, self.inputs, self.inputs_last, self._stack,
        )  # fmt: skip
        found, numbers = self._found[:count].tolist(), self._found_number[:count].tolist()
        begin = int(parts[part, 0]) if count else 0
        out = [Found(begin + i, a, turn > 0, first, x, s, status) for (i, a, turn, first, status), (x, s) in zip(found, numbers, strict=True)]
        return int(part), int(row), out

    def tick(self, tick_ns: int) -> list[Found]:
        """End the delays that are over at this tick; a timer of a silent tag is left waiting for its next value."""
        out: list[Found] = []
        for a in np.flatnonzero(self.due <= tick_ns).tolist():
            self.due[a] = NEVER
            if tick_ns - int(self.clock[a, LAST_RECEIVED]) <= int(self._whole[a, SILENCE]):
                out.append(self._turn(a))
        return out

    def condition(self, a: int, active: bool, time_ns: int, received_ns: int) -> Found | None:
        """Say whether a condition that is found elsewhere is met; the change, when it has no delay."""
        clock = self.clock[a]
        if active == bool(clock[MET]):
            clock[RUNNING] = 0
            self.due[a] = NEVER
            return None
        if clock[RUNNING] == 0:
            clock[RUNNING] = 1
            clock[FIRST] = time_ns
            self.due[a] = received_ns + int(self._whole[a, ON if active else OFF])
        clock[LAST_RECEIVED] = received_ns
        if int(self._whole[a, ON if active else OFF]) > 0:
            return None
        self.due[a] = NEVER
        return self._turn(a)

    def _turn(self, a: int) -> Found:
        clock = self.clock[a]
        clock[MET] = 1 - clock[MET]
        clock[RUNNING] = 0
        x, setpoint = self.number[a, (COMPARED, SETPOINT)].tolist()
        return Found(-1, a, bool(clock[MET]), int(clock[FIRST]), x, setpoint, int(clock[STATUS]))

    def is_condition(self, a: int) -> bool:
        """Whether alarm a is a condition that is found elsewhere."""
        return bool(self._whole[a, KIND] == CONDITION_KIND)

    @property
    def due_ns(self) -> int:
        """The earliest tick at which `tick` can find anything; NEVER when there is none."""
        return int(self.due.min()) if len(self.due) else NEVER

    def state(self) -> dict[str, Any]:
        """The state of every alarm, as copies."""
        return {name: own.copy() for name, own in self._kept().items()}

    def _kept(self) -> dict[str, NDArray[Any]]:
        return {
            "clock": self.clock,
            "number": self.number,
            "due": self.due,
            "paused": self.paused,
            "inputs": self.inputs,
            "inputs_last": self.inputs_last,
        }

    def forget(self) -> None:
        """Start anew: nothing seen, nothing met."""
        self.clock[...] = 0
        self.clock[:, (LAST, SETPOINT_LAST)] = UNSEEN
        self.number[...] = np.nan
        self.number[:, SETPOINT] = self._setpoint
        self.due[...] = NEVER
        self.paused[...] = UNSEEN
        self.inputs[...] = np.nan
        self.inputs_last[...] = UNSEEN

    def take(self, a: int, state: Mapping[str, NDArray[Any]], row: int) -> None:
        """Alarm a goes on from one row of a state of `state`; ValueError when it is of another shape."""
        for name, own in self._kept().items():
            if name not in state and name not in REQUIRED:
                continue  # a state of an earlier version
            saved = state[name]
            width = -1 if name.startswith("inputs") else own.shape[1:]  # as wide as the widest expression of its time
            if saved.dtype != own.dtype or saved.ndim != own.ndim or (width != -1 and saved.shape[1:] != width):
                raise ValueError(f"alarms {name}: expected rows of {own.shape[1:]} {own.dtype}, found {saved.shape[1:]} {saved.dtype}")
            if width == -1:
                k = min(own.shape[1], saved.shape[1])
                own[a, :k] = saved[row, :k]
            else:
                own[a] = saved[row]


def _program(d: AlarmDefinition) -> Program:
    if d.kind != "expression":
        return Program()
    try:
        return compiled(d.expression)
    except ExpressionError as error:
        raise ValueError(f"alarm {d.name}: expression: {error}") from error
