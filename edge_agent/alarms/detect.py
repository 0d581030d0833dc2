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

from edge_agent.alarms.expression import CONST, ExpressionError, Program, compiled, worth
from edge_agent.core import AlarmDefinition, Catalogue, Samples
from models.compiled import kernel

NEVER: Final = 2**63 - 1
"""A due time that does not come."""
UNSEEN: Final = -(2**63)
"""Source time before any sample."""
FOUND_AT_ONCE: Final = 1024
REQUIRED: Final = ("clock", "number", "due")
"""What every saved state has; earlier versions kept no more."""
SILENT_PERIODS: Final = 3

# Columns of the settings of an alarm.
KIND, ON, OFF, SILENCE, HOLD_OFF, UNEQUAL = range(6)
SIGN, LIMIT, DEADBAND, STATE = range(4)
LIMIT_KIND, DEVIATION_KIND, RATE_KIND, CONDITION_KIND, DISCRETE_KIND, EXPRESSION_KIND = range(6)
# Columns of its state: int64, then float64.
LAST, LAST_RECEIVED, FIRST, FROM, FROM_RECEIVED, HELD, SETPOINT_LAST, STATUS, MET, RUNNING, BLIND = range(11)
VALUE, COMPARED, SETPOINT = range(3)

# What a row of a tag is for an alarm: its value, its setpoint, or from INPUTS on one of the inputs of its expression.
SETPOINT_ROLE: Final = 1
INPUTS: Final = 2

_KINDS: Final = {
    "limit": LIMIT_KIND,
    "deviation": DEVIATION_KIND,
    "rate": RATE_KIND,
    "discrete": DISCRETE_KIND,
    "expression": EXPRESSION_KIND,
}


@kernel("int64(int64, int64, float64, int64, int64[:, ::1], float64[:, ::1], int64[:, ::1], int64[::1], int64[::1])")
def evaluate(
    a: int,
    t: int,
    x: float,
    received_ns: int,
    whole: NDArray[np.int64],
    real: NDArray[np.float64],
    clock: NDArray[np.int64],
    due: NDArray[np.int64],
    paused: NDArray[np.int64],
) -> int:
    """Let alarm a see x at source time t: 1 when it is now met, -1 when it is now over, 0 when nothing changed.

    paused (alarms,)   source time until which nothing counts for the on-delay
    """
    edge = real[a, SIGN] * real[a, LIMIT]
    y = real[a, SIGN] * x
    met = clock[a, MET] != 0
    if met:
        turning = y < edge - real[a, DEADBAND]
        delay = whole[a, OFF]
    else:
        turning = y > edge
        delay = whole[a, ON]
    due[a] = NEVER
    if not turning:
        clock[a, RUNNING] = 0
        return 0
    if clock[a, RUNNING] == 0:
        clock[a, RUNNING] = 1
        clock[a, HELD] = 0
        if not met and t < paused[a]:
            clock[a, HELD] = t - paused[a]
        clock[a, FIRST] = t
        clock[a, FROM] = t
        clock[a, FROM_RECEIVED] = received_ns
    elif clock[a, BLIND] != 0:
        clock[a, FROM] = t
        clock[a, FROM_RECEIVED] = received_ns
    elif t - clock[a, LAST] > whole[a, SILENCE]:
        clock[a, HELD] += max(clock[a, LAST] - clock[a, FROM], 0)
        clock[a, FROM] = t
        clock[a, FROM_RECEIVED] = received_ns
    if clock[a, HELD] + (t - clock[a, FROM]) >= delay:
        clock[a, RUNNING] = 0
        clock[a, MET] = 0 if met else 1
        return -1 if met else 1
    if met or whole[a, KIND] != RATE_KIND:
        due[a] = clock[a, FROM_RECEIVED] + (delay - clock[a, HELD])
    return 0


@kernel("void(int64, int64, int64, int64[:, ::1], int64[:, ::1], int64[::1])")
def hold(a: int, t: int, received_ns: int, whole: NDArray[np.int64], clock: NDArray[np.int64], due: NDArray[np.int64]) -> None:
    """Alarm a sees a row at t that is not usable: its timer stands still from here until the next usable row."""
    if clock[a, LAST] == UNSEEN or t < clock[a, LAST] or clock[a, BLIND] != 0:
        return
    clock[a, BLIND] = 1
    due[a] = NEVER
    if clock[a, RUNNING] != 0:
        until = min(t, received_ns)  # a source time ahead of its receipt must not end a delay early
        if t - clock[a, LAST] > whole[a, SILENCE]:
            until = clock[a, LAST]
        clock[a, HELD] += max(until - clock[a, FROM], 0)


@kernel(
    "UniTuple(int64, 2)(int64, Array(int64, 1, 'C', readonly=True), Array(int32, 1, 'C', readonly=True), Array(float64, 1, 'C', readonly=True),"
    " Array(uint32, 1, 'C', readonly=True), Array(uint8, 1, 'C', readonly=True), int64, int64[::1], int64[::1], uint8[::1],"
    " int64[:, ::1], float64[:, ::1], int64[:, ::1], float64[:, ::1], int64[::1], int64[:, ::1], float64[:, ::1],"
    " int64[::1], int64[::1], int64[:, ::1], float64[::1], float64[:, ::1], int64[:, ::1], float64[::1])"
)
def detect(
    row: int,
    time_ns: NDArray[np.int64],
    tag: NDArray[np.int32],
    value: NDArray[np.float64],
    status: NDArray[np.uint32],
    usable: NDArray[np.uint8],
    received_ns: int,
    start: NDArray[np.int64],
    member: NDArray[np.int64],
    role: NDArray[np.uint8],
    whole: NDArray[np.int64],
    real: NDArray[np.float64],
    clock: NDArray[np.int64],
    number: NDArray[np.float64],
    due: NDArray[np.int64],
    found: NDArray[np.int64],
    found_number: NDArray[np.float64],
    paused: NDArray[np.int64],
    code_start: NDArray[np.int64],
    code: NDArray[np.int64],
    constants: NDArray[np.float64],
    inputs: NDArray[np.float64],
    inputs_last: NDArray[np.int64],
    stack: NDArray[np.float64],
) -> tuple[int, int]:
    """Evaluate the alarms of rows from `row` on until all are done or `found` is full; the next row and how many were found.

    start (tags + 1,), member, role   alarms that a tag feeds, and as what: member[start[tag]:start[tag + 1]]
    found (m, 5)        row, alarm, 1 met or -1 over, source time at which the timer began, status of the value
    found_number (m, 2) x, setpoint
    code_start (alarms + 1,), code, constants, stack   programs of expressions (`expression.py`)
    inputs, inputs_last (alarms, k)   latest values of their tags, NaN where it is not good, and their source times
    """
    n = 0
    for i in range(row, len(tag)):
        j = start[tag[i]]
        end = start[tag[i] + 1]
        if j == end:
            continue
        if n + (end - j) > len(found):
            return i, n
        t = time_ns[i]
        v = value[i]
        good = usable[i] != 0 and abs(v) < np.inf
        while j < end:
            a = member[j]
            change = 0
            if role[j] >= INPUTS:
                k = role[j] - INPUTS
                if t >= inputs_last[a, k]:
                    inputs_last[a, k] = t
                    inputs[a, k] = v if good else np.nan
                    x = worth(code_start[a], code_start[a + 1], code, constants, inputs[a], stack)
                    at = max(t, clock[a, LAST])
                    if x != x:
                        hold(a, at, received_ns, whole, clock, due)
                    else:
                        number[a, COMPARED] = x
                        change = evaluate(a, at, x, received_ns, whole, real, clock, due, paused)
                        clock[a, BLIND] = 0
                        clock[a, LAST] = at
                        clock[a, LAST_RECEIVED] = received_ns
                        clock[a, STATUS] = status[i]
            elif role[j] == SETPOINT_ROLE:
                if good and t >= clock[a, SETPOINT_LAST]:
                    clock[a, SETPOINT_LAST] = t
                    if v != number[a, SETPOINT]:
                        if whole[a, HOLD_OFF] > 0 and number[a, SETPOINT] == number[a, SETPOINT]:
                            paused[a] = t + whole[a, HOLD_OFF]
                            if clock[a, MET] == 0:
                                clock[a, RUNNING] = 0
                                due[a] = NEVER
                        number[a, SETPOINT] = v
                        if clock[a, LAST] != UNSEEN and clock[a, BLIND] == 0:
                            number[a, COMPARED] = number[a, VALUE] - v
                            change = evaluate(a, max(t, clock[a, LAST]), number[a, COMPARED], received_ns, whole, real, clock, due, paused)
            elif not good:
                hold(a, t, received_ns, whole, clock, due)
            elif t >= clock[a, LAST]:
                x = v
                if whole[a, KIND] == DEVIATION_KIND:
                    x = v - number[a, SETPOINT]
                elif whole[a, KIND] == RATE_KIND:
                    x = np.nan
                    if clock[a, LAST] != UNSEEN and t > clock[a, LAST]:
                        x = (v - number[a, VALUE]) * 1e9 / (t - clock[a, LAST])
                judged = abs(x) < np.inf
                if judged:
                    number[a, COMPARED] = x
                    if whole[a, KIND] == DISCRETE_KIND:
                        x = 1.0 if (v == real[a, STATE]) == (whole[a, UNEQUAL] == 0) else 0.0
                    change = evaluate(a, t, x, received_ns, whole, real, clock, due, paused)
                if judged or clock[a, RUNNING] == 0:
                    clock[a, BLIND] = 0
                number[a, VALUE] = v
                clock[a, LAST] = t
                clock[a, LAST_RECEIVED] = received_ns
                clock[a, STATUS] = status[i]
            if change != 0:
                found[n, 0] = i
                found[n, 1] = a
                found[n, 2] = change
                found[n, 3] = clock[a, FIRST]
                found[n, 4] = clock[a, STATUS]
                found_number[n, 0] = number[a, COMPARED]
                found_number[n, 1] = number[a, SETPOINT]
                n += 1
            j += 1
    return len(tag), n


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
