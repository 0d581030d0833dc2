"""`auto`: the default detector of any tag, four small detectors and a watch for frozen values under one calibrated score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from models.auto_fit import AGES, MOST, RECENT, STATES, TAILS
from models.auto_judge import auto
from models.baseline import check_learned, check_rows, enough, offsets
from models.model import ModelConfig
from models.state import ArrayState, take_up


class Member(NamedTuple):
    """Constants of one member.

    family  0: level and spread of the last rows; 1: spread of values and of their differences, blind to the level
    narrow, wide  its two windows as index in WIDTHS
    radius  a state farther than this from every known one is new, in standard deviations of the features
    floor   share of the usual spread below which spreads are not told apart
    q, xi   quantile at which the tail of its statistics begins, and its shape
    start   share of the warm-up after which the tail of novelty is learned
    power   of the root of summed powers that joins novelty, season and level
    smooth, explained  rows over which departures from the calendar are averaged; share of variance the calendar must explain to be heard
    level   index in LEVELS
    """

    family: int
    narrow: int
    wide: int
    radius: float
    floor: float
    q: float
    xi: float
    start: float
    power: float
    smooth: int
    explained: float
    level: int


MEMBERS: Final = (
    Member(0, 0, 2, 1.0, 1.0, 0.95, 0.3, 0.3, 1.5, 10, 0.25, 1),
    Member(1, 1, 3, 0.5, 4.0, 0.9, 0.2, 0.2, 3.0, 5, 0.75, 0),
    Member(0, 1, 3, 2.0, 2.0, 0.975, 0.1, 0.4, 2.0, 20, 0.5, 2),
    Member(1, 2, 4, 1.0, 1.0, 0.9, 0.3, 0.3, 3.0, 10, 0.25, 0),
)
"""Members by a cyclic rule, not by their score."""


class AutoConfig(ModelConfig):
    """The default detector: one configuration for any tag; output score reaches 1 where a finding begins, alarm is 1 on its first row.

    Each of its members joins three weak views of one question, "has this been before": novelty of the local state against at most 128
    remembered states, departure from the hour of the day and of the week, and a slow level outside its own history. Each view is turned into a
    surprise, -log10 of a tail probability, by a tail model learned from the tag itself, so tags need no thresholds of their own.
    Prefer `ewma` or `cusum` where the normal mean is known and a small lasting shift matters.
    """

    kind: Literal["auto"] = "auto"
    profile: Literal["auto", "plant", "light"] = "auto"
    """auto: as usual; plant: small excursions count as much as large ones, and runs of one value are judged; light: two members, half the state."""
    budget: float = Field(2.5, ge=1.0, le=6.0)
    """Surprise at which a finding begins, -log10 of a probability: 2.5, 2.8, 3.1 for fewer and fewer findings."""
    warmup: int = Field(600, ge=16, le=10_000)
    """Usable values before the first score."""
    refractory: int = Field(120, ge=1, le=1_000_000)
    """Values after a finding before the next, unless that is three times as surprising."""
    calendar: bool = True
    """Whether hours of the day and of the week are learned."""
    span: float | None = Field(None, gt=0)
    """Range of the tag in its unit, against which excursions are small or large; the range seen so far when absent."""
    min_sigma: float = Field(0.0, ge=0)
    """Least spread in the tag's unit, e.g. its resolution."""

    @classmethod
    def bank(cls) -> type[Auto]:
        """The bank that runs it."""
        return Auto


_LEARNED: Final = ("floats", "day", "day_n", "week", "week_n", "tail", "scale", "least", "age", "memory")
"""Arrays that hold what is normal; the others hold the last rows."""
_LASTING, _COUNTS = 15, 9
"""Column of `floats` that earlier versions had not, and of the settings whether it counts."""
_PROFILES: Final[dict[str, tuple[Member, ...]]] = {"auto": MEMBERS, "plant": MEMBERS, "light": MEMBERS[:2]}
_ROWS: Final = {name: sum(len(m) for m in list(_PROFILES.values())[:i]) for i, name in enumerate(_PROFILES)}


class Auto(ArrayState):
    """Bank of default detectors (`models/model.py`).

    `reason` says which view found it: 1 novelty (the last rows look like nothing known), 2 season (not what this hour of the week brings),
    3 level (the slow mean lies outside its history), 4 frozen (far less variation than usual); novelty, season and level are their shares.

    >>> bank = Auto([AutoConfig(tags=("a",), warmup=300)])
    >>> rows, rng = 600, np.random.default_rng(1)
    >>> x = rng.normal(20, 0.1, rows)
    >>> x[500:] += 2
    >>> out = np.empty((rows, 9))
    >>> bank.step(np.zeros(rows, np.int32), np.arange(rows) * 10**9, x, np.ones(rows, np.uint8), out)
    >>> np.flatnonzero(out[:, 1] == 1).tolist(), float(out[500, 3])
    ([500], 1.0)
    """

    outputs: ClassVar[tuple[str, ...]] = ("score", "alarm")
    units: ClassVar[tuple[str, ...]] = ("", "")
    watched: ClassVar[tuple[str, ...]] = ("score",)
    reasons: ClassVar[tuple[str, ...]] = ("surprise", "reason", "expected", "novelty", "season", "level", "frozen")
    ragged: ClassVar[tuple[str, ...]] = ("memory",)

    def __init__(self, configs: Sequence[AutoConfig], profiles: Mapping[str, tuple[Member, ...]] | None = None) -> None:
        n = len(configs)
        profiles = profiles or _PROFILES
        self._table = np.array([m for p in profiles.values() for m in p], np.float64)
        begin = dict(zip(profiles, np.cumsum([0, *(len(p) for p in profiles.values())]).tolist(), strict=False))
        self._first = np.array([begin[c.profile] for c in configs], np.int64)
        self._last = np.array([begin[c.profile] + len(profiles[c.profile]) for c in configs], np.int64)
        warmups = np.array([c.warmup for c in configs], np.int64)
        self._sizes: NDArray[np.int64] = np.maximum(4 * STATES * (self._last - self._first), 2 * warmups)
        self._start = offsets(self._sizes)
        gate = {"auto": 0.3, "light": 0.3, "plant": 0.0}
        self._setting = np.array(
            [(c.budget, c.warmup, c.refractory, c.calendar, c.span or 0.0, gate[c.profile], c.min_sigma, c.profile == "plant",
              c.file is not None, True) for c in configs], np.float64
        ).reshape(n, 10)  # fmt: skip
        longest = int(warmups.max(initial=0))
        near = np.zeros(128, np.float32)
        self._scratch = (
            np.zeros(max(longest, 64)), np.zeros((longest, 15)), np.zeros((longest, 6)), near, near.view(np.int32)
        )  # fmt: skip
        self._state: dict[str, NDArray[Any]] = {
            # In the order of the kernel's arguments.
            "ints": np.zeros((n, 4), np.int64),
            "floats": np.zeros((n, 16)),
            "recent": np.zeros((n, RECENT)),
            "apart": np.zeros((n, 8)),
            "residual": np.zeros((n, 32)),
            "day": np.zeros((n, 24, 2)),
            "day_n": np.zeros((n, 24), np.int32),
            "week": np.zeros((n, 168), np.float32),
            "week_n": np.zeros((n, 168), np.uint8),
            "tail": np.zeros((n, TAILS, 4)),
            "scale": np.zeros((n, MOST, 4, 4)),
            "least": np.zeros((n, MOST + 1, 4)),
            "age": np.zeros((n, MOST, AGES), np.int32),
            "memory": np.zeros(int(self._start[-1]), np.float32),
        }

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(slots,) numbers each slot remembers."""
        return self._sizes

    def step(
        self,
        slot: NDArray[np.int32],
        time_ns: NDArray[np.int64],
        value: NDArray[np.float64],
        usable: NDArray[np.uint8],
        out: NDArray[np.float64],
    ) -> None:
        """Judge n rows in order; see `models.model.Bank.step`."""
        check_rows(len(self._first), 9, slot, out)
        auto(
            slot, time_ns, value, usable, out, self._table, self._first, self._last, self._start, self._setting, *self._scratch,
            *self._state.values(),
        )  # fmt: skip

    @classmethod
    def train(cls, config: AutoConfig, time_ns: NDArray[np.int64], value: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        """What it has become behind n usable values; see `models.model.Bank.train`."""
        enough(len(value), config.warmup)
        bank = cls([config.model_copy(update={"file": None})])
        n = len(value)
        bank.step(np.zeros(n, np.int32), time_ns, value, np.ones(n, np.uint8), np.empty((n, 9)))
        learned = {name: bank._state[name][0] for name in _LEARNED if name != "memory"} | {"memory": bank._state["memory"]}
        learned["floats"][6:] = 0.0  # the last finding and sums over the last rows are no part of what is normal
        return learned

    def settle(self, slot: int, learned: Mapping[str, NDArray[Any]]) -> None:
        """Take up what `train` found; see `models.model.Bank.settle`.

        A file of a version that did not weigh what lasts judges as it was calibrated: without.
        """
        self._setting[slot, _COUNTS] = learned["floats"].shape != (_LASTING,) if "floats" in learned else True
        learned = self.of_now(learned)
        part = slice(int(self._start[slot]), int(self._start[slot + 1]))
        own = {name: self._state[name][slot] for name in _LEARNED if name != "memory"} | {"memory": self._state["memory"][part]}
        check_learned(own, learned)
        for name, array in own.items():
            array[...] = learned[name]
        self._state["ints"][slot] = 0, 1 << 40, 0, 0

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state of `state`; ValueError when it is of another shape."""
        take_up(self._state, self.of_now(state))

    @staticmethod
    def of_now(state: Mapping[str, Any]) -> Mapping[str, Any]:
        """Arrays of an earlier version, which did not weigh what lasts, as those of this one: nothing lasted yet; others as they are."""
        floats = state.get("floats")
        if not isinstance(floats, np.ndarray) or floats.shape[-1:] != (_LASTING,):
            return state
        return {**state, "floats": np.concatenate([floats, np.zeros((*floats.shape[:-1], 1))], axis=-1)}
