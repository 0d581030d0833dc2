"""Received time: the wall clock at the start, carried on by the monotonic clock; and the alarm when the two go apart."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Final

from edge_agent.core import ClockStep, Diagnostic, Entry, Note

ALARM: Final = "edge/clock"
STEP_NS: Final = 100_000_000
"""A wall clock that has gone apart by more is reported as a step (domain: log every step above 100 ms)."""
BEHIND_NS: Final = 1_000_000_000
"""A wall clock that is so far behind the journal at the start is told."""
STEADY_NS: Final = 60_000_000_000
"""Without a step for so long the wall clock counts as steady again."""
FOLLOW_NS: Final = 5_000_000_000
"""A wall clock must have been ahead for so long before received time follows it."""
_APART_NS: Final = 1_000_000
_TRIES: Final = 5


class Clock:
    """Gives received times that never decrease, whatever the wall clock does.

    floor_ns  the last received time in the journal: after a restart time goes on behind it even when the wall clock was set back

    >>> wall, mono = [5_000_000_000], [0]
    >>> clock = Clock(wall=lambda: wall[0], monotonic=lambda: mono[0])
    >>> mono[0] = 1_000_000_000; wall[0] = 9_000_000_000
    >>> clock(), clock.step_ns(), clock.step_ns()
    (6000000000, 3000000000, 0)
    """

    def __init__(self, floor_ns: int = 0, *, wall: Callable[[], int] = time.time_ns, monotonic: Callable[[], int] = time.monotonic_ns) -> None:
        self._wall, self._monotonic = wall, monotonic
        now = wall()
        self.behind_ns = max(0, floor_ns + 1 - now)
        """How far the wall clock was behind the journal at the start."""
        self._start_wall, self._start_mono = max(now, floor_ns + 1), monotonic()
        self._offset_ns = self.behind_ns

    def __call__(self) -> int:
        """Received time now, ns UTC."""
        return self._start_wall + self._monotonic() - self._start_mono

    def step_ns(self) -> int:
        """How far the wall clock has stepped against received time since the last call; 0 when at most STEP_NS."""
        offset = self._apart_ns()
        step = self._offset_ns - offset
        if abs(step) <= STEP_NS:
            return 0
        self._offset_ns = offset
        return step

    def ahead_ns(self) -> int:
        """How far the wall clock is ahead of received time; negative when it is behind."""
        return -self._apart_ns()

    def follow(self) -> None:
        """Received time goes on from the wall clock where that is ahead; it never goes back."""
        ahead = self.ahead_ns()
        if ahead > 0:
            self._start_wall += ahead
            self._offset_ns = 0

    def _apart_ns(self) -> int:
        # Whoever is kept waiting between the two readings would take that for a step.
        for _ in range(_TRIES):
            before, wall, after = self(), self._wall(), self()
            if after - before <= _APART_NS:
                break
        return before - wall


def beginning(clock: Clock) -> list[Callable[[int], Entry]]:
    """How the wall clock stood to the journal at the start: entries for the journal, to be given their received time."""
    behind, s = clock.behind_ns > BEHIND_NS, clock.behind_ns / 1e9
    words = f"the wall clock is {s:.1f} s behind the journal" if behind else "the wall clock is in step with the journal"
    told = partial(_told, behind, words)
    return [told, partial(_began_behind, f"{s:.1f} s behind the journal")] if behind else [told]


class Following:
    """Whether received time is to follow a wall clock that has gone ahead: a machine that booted before it knew the time.

    It is when, for FOLLOW_NS without a break, the clock has been ahead by more than sources may be without another step, and of the sources
    that stamp their values themselves some were rejected for a stamp too far in the future while not one value was taken that agrees with
    received time: all that know the time then agree with the clock. One that is wrong by itself is not followed, nor one whose only witness is a
    device that is always ahead. A value that is late, or further behind received time than the clock is ahead of it, is wrong by both and
    speaks for neither. Asked every second or so.

    skew_ns  how far in the future a value may be stamped
    """

    def __init__(self, skew_ns: int) -> None:
        self._skew_ns = max(skew_ns, STEP_NS)
        self._ahead_ns = 0
        self._since_ns = 0
        self._rejected = 0
        self._taken = 0

    def look(self, now_ns: int, ahead_ns: int, rejected: int, taken: int) -> bool:
        """`now_ns` is received time; `rejected` and `taken` count the values so far of sources that stamp them themselves (`Pipeline.testimony`)."""
        if ahead_ns <= self._skew_ns:
            self._ahead_ns = 0
            return False
        if abs(ahead_ns - self._ahead_ns) > STEP_NS or taken != self._taken:
            self._ahead_ns, self._since_ns, self._rejected, self._taken = ahead_ns, now_ns, rejected, taken
            return False
        return now_ns - self._since_ns >= FOLLOW_NS and rejected > self._rejected


class ClockWatch:
    """Whether the wall clock is steady: the alarm `edge/clock` stands from a step until none has come for STEADY_NS.

    A clock that was behind the journal at the start stands like one that has stepped. Asked every few seconds.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._steady_at = clock() + STEADY_NS if self.behind else 0

    @property
    def behind(self) -> bool:
        """Whether the clock began behind the journal."""
        return self._clock.behind_ns > BEHIND_NS

    def look(self) -> list[Callable[[int], Entry]]:
        """Entries for the journal, to be given their received time: each step, the alarm when one comes, its return when it has been steady."""
        step = self._clock.step_ns()
        if step:
            began, self._steady_at = not self._steady_at, self._clock() + STEADY_NS
            stepped = partial(_stepped, step)
            return [stepped, partial(_told, True, f"the wall clock stepped by {step / 1e9:+.3f} s")] if began else [stepped]
        if self._steady_at and self._clock() >= self._steady_at:
            self._steady_at = 0
            return [partial(_told, False, f"no step for {STEADY_NS / 1e9:.0f} s")]
        return []


def _stepped(step_ns: int, now: int) -> Entry:
    return ClockStep(received_ns=now, step_ns=step_ns)


def _began_behind(how_far: str, now: int) -> Entry:
    return Note(received_ns=now, action="clock_behind", object="clock", reason=how_far)


def _told(active: bool, why: str, now: int) -> Entry:
    return Diagnostic(received_ns=now, alarm=ALARM, active=active, explanation=why)
