"""What all control charts share: their mean and sigma, given, learned in a warm-up or taken from a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from models.baseline import check_learned, floored, offsets, spread_of
from models.model import ModelConfig
from models.state import ArrayState


class ChartConfig(ModelConfig):
    """Base of a control chart's configuration."""

    warmup: int = Field(120, ge=2, le=10_000)
    """Usable values that teach mean and sigma when they are not given."""
    mu: float | None = None
    """Mean in the tag's unit; give it together with sigma to skip the warm-up."""
    sigma: float | None = Field(None, gt=0)
    """Standard deviation of single values in the tag's unit."""
    min_sigma: float = Field(0.0, ge=0)
    """Least sigma in the tag's unit, e.g. its resolution."""

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if (self.mu is None) != (self.sigma is None):
            raise ValueError("mu, sigma: expected both or none, found one")
        return self

    @property
    def learns(self) -> bool:
        """Not when mean and sigma are given."""
        return self.file is None and self.mu is None


class FollowingConfig(ChartConfig):
    """Base of a chart whose mean and sigma may follow the process."""

    adapt: bool = False
    """Whether mean and sigma follow the process slowly (over about 2,000 values) after the warm-up."""

    @model_validator(mode="after")
    def _fixed_beside_a_file(self) -> Self:
        if self.file is not None and self.adapt:
            raise ValueError("adapt: expected false beside a file: a trained model learns nothing more")
        return self

    @property
    def learns(self) -> bool:
        """Not when mean and sigma are given and stay."""
        return self.file is None and (self.mu is None or self.adapt)


class ChartBank(ArrayState):
    """The state of a bank of charts: rows seen, values kept for the warm-up, mean and sigma, and what the chart adds.

    Each chart passes the arrays of `_state` to its kernel in the order in which they stand here.
    """

    ragged: ClassVar[tuple[str, ...]] = ("kept",)

    def __init__(self, configs: Sequence[ChartConfig], more: Mapping[str, NDArray[Any]]) -> None:
        n = len(configs)
        self._least = np.array([c.min_sigma for c in configs], np.float64)
        self._start = offsets(np.array([c.warmup if c.mu is None and c.file is None else 0 for c in configs], np.int64))
        self._state: dict[str, NDArray[Any]] = {
            "seen": np.zeros(n, np.int64),
            "kept": np.zeros(int(self._start[-1]), np.float64),
            "mu": np.array([c.mu or 0.0 for c in configs], np.float64),
            "sigma": np.array([floored(c.sigma or 0.0, c.mu or 0.0, c.min_sigma) for c in configs], np.float64),
            **more,
        }

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(slots,) values each slot keeps."""
        return np.diff(self._start)

    @classmethod
    def train(cls, config: Any, time_ns: NDArray[np.int64], value: NDArray[np.float64]) -> dict[str, NDArray[Any]]:  # noqa: ARG003
        """mu and sigma of n usable values, or those that are configured; see `models.model.Bank.train`."""
        if config.mu is not None and config.sigma is not None:
            return {"mu": np.array(config.mu), "sigma": np.array(floored(config.sigma, config.mu, config.min_sigma))}
        return spread_of(value, config.min_sigma)

    def settle(self, slot: int, learned: Mapping[str, NDArray[Any]]) -> None:
        """Take up mu and sigma that `train` found; see `models.model.Bank.settle`."""
        check_learned({"mu": np.zeros(()), "sigma": np.ones(())}, learned)
        self._state["mu"][slot] = learned["mu"]
        self._state["sigma"][slot] = learned["sigma"]
