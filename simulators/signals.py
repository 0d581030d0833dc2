"""What a simulated line offers: its signals and the samples of one step, in columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

SIMULATED = 0x42090000
"""UncertainSimulatedValue: every simulated value that is not Bad carries it (OPC 10000-4, 7.38)."""
BAD_SENSOR_FAILURE = 0x808C0000
"""BadSensorFailure: the value is null."""

SECOND_NS = 1_000_000_000


@dataclass(frozen=True)
class Signal:
    """One signal of a line, with all that a tag definition needs to know."""

    name: str
    """Public name, '/' separated: `press1/main_force`."""
    unit: str
    low: float
    """Lower end of the instrument's range, in `unit`."""
    high: float
    """Upper end of the instrument's range, in `unit`."""
    decimals: int
    period_s: float
    """Sample period in seconds; 0 for values sent when they change."""
    road: Literal["opcua", "mqtt"]
    en: str
    zh: str
    kind: Literal["numeric", "text"] = "numeric"
    tag_class: str = "gmp"
    role: str = "value"

    @property
    def topic(self) -> str:
        """MQTT topic of the signal.

        >>> Signal("press1/nir_api", "%LC", 0, 120, 1, 2.0, "mqtt", "", "").topic
        'plant/press1/nir_api'
        """
        return f"plant/{self.name}"


class TextValue(NamedTuple):
    """A text value and the moment it was set."""

    time_ns: int
    signal: int
    value: str


@dataclass(frozen=True)
class Emission:
    """What a line yields in one step, in time order; times count from the start of the line."""

    time_ns: NDArray[np.int64]
    """(n,) nanoseconds since the line started."""
    signal: NDArray[np.int32]
    """(n,) index into the line's signals."""
    value: NDArray[np.float64]
    """(n,) in the signal's unit; NaN where the status is Bad."""
    status: NDArray[np.uint32]
    """(n,) OPC UA StatusCode."""
    texts: tuple[TextValue, ...] = ()

    def __len__(self) -> int:
        return len(self.time_ns)


def emission(rows: Sequence[tuple[int, int, float, int]], texts: Sequence[TextValue] = ()) -> Emission:
    """Columns from rows of (time_ns, signal, value, status)."""
    if not rows:
        return Emission(np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.float64), np.empty(0, np.uint32),
                        tuple(texts))
    time_ns, signal, value, status = zip(*rows, strict=True)
    return Emission(np.array(time_ns, np.int64), np.array(signal, np.int32), np.array(value, np.float64),
                    np.array(status, np.uint32), tuple(texts))


@dataclass(frozen=True)
class Truth:
    """One fault as it was injected; times in seconds since the line started."""

    fault: str
    t_start: float
    t_end: float
    """Moment at which the effect has faded, recovery included."""
    tags: tuple[str, ...]
    """Every tag the fault moves."""
    detect_within_s: float


class Line(Protocol):
    """A source of simulated samples: pure and seeded, time is passed in."""

    signals: tuple[Signal, ...]
    end_ns: int | None
    """Time of the last sample of a recording; None for a line without end."""

    def step(self, until_ns: int) -> Emission:
        """All samples later than the last step and not later than `until_ns` (ns since start)."""

    def truth(self) -> tuple[Truth, ...]:
        """Faults that have begun so far."""


@runtime_checkable
class Accounted(Protocol):
    """A line that knows what became of its material."""

    def account(self) -> dict[str, float]:
        """Masses in kg by what became of them."""
