"""Silence judged by contract, and values that are known to be missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_agent.core import Filled, Gap
from edge_agent.core.record import FILLED
from edge_agent.pipeline.ticks import NEVER

STALE_PERIODS: Final = 3
"""A periodic tag is stale after this many periods without a value (rule 6)."""

STALE_AT_LEAST_NS: Final = 2_000_000_000
"""And after this long at least: values of a 10 Hz tag come in one notification per publishing interval (0.25 to 1 s)."""

NEVER_HEARD: Final = np.iinfo(np.int64).min


@dataclass(frozen=True, slots=True)
class Silent:
    """A tag, or a whole source (`tag` is -1), that went silent (`stale`) or came back."""

    tag: int
    stale: bool
    since_ns: int
    """Received time of its last value, or of the start."""
    source: int = -1


class Silence:
    """Which tags say nothing although they should, and what was missed while a source was away.

    expected_ns  (tags,) period of a periodic tag, 0 for one that reports by exception
    source       (tags,) index of the tag's source, -1 for none
    lossy        (tags,) 1 when values that arise while its source is disconnected are lost (OPC UA), 0 when someone keeps them (a broker)
    """

    def __init__(self, expected_ns: NDArray[np.int64], source: NDArray[np.int32], lossy: NDArray[np.uint8], sources: int) -> None:
        self._expected_ns, self._source, self._lossy = expected_ns, source, lossy
        self._patience_ns = np.maximum(STALE_PERIODS * expected_ns, STALE_AT_LEAST_NS)
        self._periodic = np.flatnonzero((expected_ns > 0) & (source >= 0))
        self._heard_ns = np.full(len(expected_ns), NEVER_HEARD, np.int64)
        self._stale = np.zeros(len(expected_ns), np.bool_)
        self._gap_from_ns = np.full(len(expected_ns), NEVER_HEARD, np.int64)
        self._declared = np.zeros(len(expected_ns), np.int64)
        self._gaps = 0
        self.away = np.ones(sources, np.bool_)
        self._hushed = np.zeros(sources, np.bool_)
        self._due_ns = NEVER

    @property
    def due_ns(self) -> int:
        """A time before which no tag can go stale."""
        return self._due_ns

    def _reckon(self) -> None:
        watched = self._watched()
        self._due_ns = NEVER if not len(watched) else int((self._heard_ns[watched] + self._patience_ns[watched]).min())

    def _watched(self) -> NDArray[np.intp]:
        periodic = self._periodic
        quiet = self.away | self._hushed
        watched: NDArray[np.intp] = periodic[~self._stale[periodic] & ~quiet[self._source[periodic]] & (self._heard_ns[periodic] != NEVER_HEARD)]
        return watched

    def heard(self, tag: NDArray[np.int32], time_ns: NDArray[np.int64], received_ns: int) -> tuple[list[Silent], list[Gap]]:
        """Values came, in rows (tag, time_ns): tags that are back, and gaps now known to be closed."""
        gaps = self._closed(tag, time_ns, received_ns) if self._gaps else []
        self._heard_ns[tag] = received_ns
        back: list[Silent] = []
        if self._hushed.any():
            back += self._speaking(tag, received_ns)
        if self._stale.any():
            for k in np.unique(tag[self._stale[tag]]):
                self._stale[k] = False
                back.append(Silent(int(k), False, received_ns))
            if back:
                self._reckon()
        return back, gaps

    def _closed(self, tag: NDArray[np.int32], time_ns: NDArray[np.int64], received_ns: int) -> list[Gap]:
        gaps: list[Gap] = []
        for i in np.flatnonzero(self._gap_from_ns[tag] != NEVER_HEARD):
            k, t = int(tag[i]), int(time_ns[i])
            if self._gap_from_ns[k] == NEVER_HEARD or t <= self._gap_from_ns[k]:
                continue
            since, period = int(self._gap_from_ns[k]), int(self._expected_ns[k])
            self._gap_from_ns[k] = NEVER_HEARD
            self._gaps -= 1
            if period == 0:
                gaps.append(Gap(tag=k, from_ns=since, to_ns=t, missing=0, cause="source away", received_ns=received_ns))
            elif t - since > period * 3 // 2:
                missing = (t - since + period // 2) // period - 1
                self._declared[k] += missing
                gaps.append(Gap(tag=k, from_ns=since, to_ns=t, missing=missing, cause="source away", received_ns=received_ns))
        return gaps

    def _speaking(self, tag: NDArray[np.int32], received_ns: int) -> list[Silent]:
        sources = np.unique(self._source[tag])
        found = [int(s) for s in sources if s >= 0 and self._hushed[s]]
        for s in found:
            self._hushed[s] = False
            self._heard_ns[self._source == s] = received_ns
        if found:
            self._reckon()
        return [Silent(-1, False, received_ns, s) for s in found]

    def passing(self) -> tuple[NDArray[np.uint8], NDArray[np.intp], NDArray[np.int64], NDArray[np.int64]]:
        """For a pass over many entries: tags whose next value has more to say than a number (tags,), those that may go stale,
        how long each tag may be silent, and when it was last heard, which the pass moves on."""
        stuck = self._stale | (self._gap_from_ns != NEVER_HEARD)
        stuck |= (self._source >= 0) & np.append(self._hushed, False)[self._source]
        return stuck.astype(np.uint8), self._watched(), self._patience_ns, self._heard_ns

    def passed(self, due_ns: int) -> None:
        """A pass has found that no tag goes stale before `due_ns`."""
        self._due_ns = due_ns

    def overflow(
        self, tag: int, after_ns: int, before_ns: int, received_ns: int, *, last_ns: int = NEVER_HEARD, skew_ns: int = 86_400_000_000_000
    ) -> Gap:
        """The gap that a server's overflowing queue left between two values of a tag.

        An empty interval says that the connection had seen no earlier value: then it begins with the newest one known, `last_ns`, where no
        period shows the hole anyway. A value stamped more than `skew_ns` ahead of its receipt is rejected and ends nothing: then nothing is known
        to be missing behind the time of receipt.
        """
        if before_ns > received_ns + skew_ns:
            before_ns = received_ns
        after_ns = min(after_ns, before_ns)
        if after_ns == before_ns and not self._expected_ns[tag] and last_ns != NEVER_HEARD:
            after_ns = min(after_ns, last_ns)
        missing = self._between(tag, after_ns, before_ns)
        self._declared[tag] += missing
        return Gap(tag=tag, from_ns=after_ns, to_ns=before_ns, missing=missing, cause="queue overflow at the server", received_ns=received_ns)

    def filled(self, entry: Filled) -> Gap:
        """What a server's history brought for a gap declared before: no more is taken back than was declared and not taken back yet."""
        back = min(entry.values, self._between(entry.tag, entry.after_ns, entry.before_ns), int(self._declared[entry.tag]))
        self._declared[entry.tag] -= back
        cause = f"{FILLED}: {entry.values} values"
        return Gap(tag=entry.tag, from_ns=entry.after_ns, to_ns=entry.before_ns, missing=-back, cause=cause, received_ns=entry.received_ns)

    def _between(self, tag: int, after_ns: int, before_ns: int) -> int:
        """Values of a periodic tag that belong between two times; 0 where nobody knows."""
        period = int(self._expected_ns[tag])
        return max(0, (before_ns - after_ns + period // 2) // period - 1) if period else 0

    def left(self, source: int, last_ns: NDArray[np.int64]) -> None:
        """A source is away: its tags are not judged, and what arises meanwhile may be missing."""
        self.away[source] = True
        self._hushed[source] = False
        for k in np.flatnonzero((self._source == source) & (self._lossy == 1) & (last_ns != NEVER_HEARD)):
            if self._gap_from_ns[k] == NEVER_HEARD:
                self._gap_from_ns[k] = last_ns[k]
                self._gaps += 1
        self._reckon()

    def came(self, source: int, received_ns: int, *, resumed: bool) -> None:
        """A source is back: its tags have their three periods from now on.

        A source that resumed its stream is believed for the tags without a period: it says by an overflow what it lost. Those with a period show a
        hole themselves: a server may drop what nobody asked for without a word, or send a message again only once and to one who died of it.
        """
        self.away[source] = False
        mine = self._source == source
        if resumed:
            self._gap_from_ns[mine & (self._expected_ns == 0)] = NEVER_HEARD
            self._gaps = int((self._gap_from_ns != NEVER_HEARD).sum())
        self._heard_ns[mine] = np.maximum(self._heard_ns[mine], received_ns)
        self._reckon()

    def tick(self, tick_ns: int) -> list[Silent]:
        """Tags that are stale at this tick and were not before; one source instead of its tags when it says nothing at all any more."""
        if tick_ns < self._due_ns:
            return []
        watched = self._watched()
        stale = watched[tick_ns - self._heard_ns[watched] >= self._patience_ns[watched]]
        found: list[Silent] = []
        for s in np.unique(self._source[stale]):
            mine = stale[self._source[stale] == s]
            last = int(self._heard_ns[self._source == s].max())
            # Two or more tags overdue and not a word from any other: that is one event, not many (fifteen alarms at once when a line pauses).
            if len(mine) >= 2 and tick_ns - last >= int(self._patience_ns[mine].min()):
                self._hushed[s] = True
                found.append(Silent(-1, True, last, int(s)))
                continue
            self._stale[mine] = True
            found += [Silent(int(k), True, int(self._heard_ns[k])) for k in mine]
        self._reckon()
        return found

    def state(self) -> dict[str, Any]:
        """Per-tag arrays; sources are away again after a restart until they say otherwise."""
        return {
            "heard_ns": self._heard_ns.copy(),
            "stale": self._stale.copy(),
            "gap_from_ns": self._gap_from_ns.copy(),
            "declared": self._declared.copy(),
            "away": self.away.copy(),
            "hushed": self._hushed.copy(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state of as many tags or fewer."""
        self._heard_ns[: len(state["heard_ns"])] = state["heard_ns"]
        self._stale[: len(state["stale"])] = state["stale"]
        self._gap_from_ns[: len(state["gap_from_ns"])] = state["gap_from_ns"]
        if "declared" in state:
            self._declared[: len(state["declared"])] = state["declared"]
        self._gaps = int((self._gap_from_ns != NEVER_HEARD).sum())
        if len(state["away"]) == len(self.away):
            self.away[:] = state["away"]
            self._hushed[:] = state["hushed"]
        self._reckon()
