"""The compiled loops of alarm detection; their rules stand in `detect.py`."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_agent.alarms.expression import worth
from models.compiled import kernel

NEVER: Final = 2**63 - 1
"""A due time that does not come."""
TICK_NS: Final = 100_000_000
"""The grid of received time on which delays end."""
UNSEEN: Final = -(2**63)
"""Source time before any sample."""

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


@kernel(
    "UniTuple(int64, 3)(int64, int64, int64, int64[:, ::1], int64, int64, Array(int64, 1, 'C', readonly=True), Array(int32, 1, 'C', readonly=True),"
    " Array(float64, 1, 'C', readonly=True), Array(uint32, 1, 'C', readonly=True), Array(uint8, 1, 'C', readonly=True), int64[::1], int64[::1],"
    " uint8[::1], int64[:, ::1], float64[:, ::1], int64[:, ::1], float64[:, ::1], int64[::1], int64[:, ::1], float64[:, ::1],"
    " int64[::1], int64[::1], int64[:, ::1], float64[::1], float64[:, ::1], int64[:, ::1], float64[::1])"
)
def detect_parts(
    part: int,
    row: int,
    until: int,
    parts: NDArray[np.int64],
    tick_ns: int,
    other_ns: int,
    time_ns: NDArray[np.int64],
    tag: NDArray[np.int32],
    value: NDArray[np.float64],
    status: NDArray[np.uint32],
    usable: NDArray[np.uint8],
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
) -> tuple[int, int, int]:
    """`detect` for part after part, until something is found or a delay has ended before a part: the part, its next row and how many were found.

    parts (p, 5)   first row, row behind the last, time of receipt, tick at or before it, 1 where an entry begins
    tick_ns        the latest tick so far; NEVER: no tick comes between these parts
    other_ns       when anything but a delay is due
    """
    soonest = np.int64(-1)
    for p in range(part, until):
        begin = parts[p, 0]
        end = parts[p, 1]
        if parts[p, 4] == 1 and row == 0 and tick_ns != NEVER:
            tick = parts[p, 3]
            if soonest <= tick:
                soonest = np.int64(other_ns)
                for a in range(len(due)):
                    soonest = min(soonest, due[a])
                if soonest <= tick and max(soonest + (-soonest) % TICK_NS, tick_ns + TICK_NS) <= tick:
                    return p, 0, 0
            tick_ns = max(tick_ns, tick)
        ended, n = detect(
            row, time_ns[begin:end], tag[begin:end], value[begin:end], status[begin:end], usable[begin:end], parts[p, 2], start, member, role,
            whole, real, clock, number, due, found, found_number, paused, code_start, code, constants, inputs, inputs_last, stack,
        )  # fmt: skip
        if n > 0 or ended < end - begin:
            return p, ended, n
        row = 0
        for i in range(begin, end):
            for j in range(start[tag[i]], start[tag[i] + 1]):
                soonest = min(soonest, due[member[j]])
    return until, 0, 0
