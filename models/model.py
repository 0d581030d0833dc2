"""What a run-time model is: a bank that judges many tags in one pass over columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

import numpy as np
import pydantic
from numpy.typing import NDArray


class ModelConfig(pydantic.BaseModel):
    """Base of a model's configuration; each model adds `kind: Literal[...]` and its parameters."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False)

    if TYPE_CHECKING:
        kind: str
        """Each model declares its own, as a literal with itself as default."""

    tags: tuple[str, ...] = pydantic.Field(min_length=1)
    """Names of the tags it judges; `*` stands for any text."""
    name: str | None = pydantic.Field(None, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-/]*$", max_length=200)
    """What commands call it (`edge-agent model train --model NAME`); its kind when absent."""
    file: str | None = None
    """Model file that `edge-agent model train` wrote, seen from the configuration's folder: the model is static and learns nothing more."""

    @property
    def learns(self) -> bool:
        """Whether it takes its normal from what it sees while it runs: then it is adaptive and advisory only."""
        return self.file is None


class UnlearnedConfig(ModelConfig):
    """Base of a model that learns nothing: all its figures stand in its configuration, and it has no `file`."""

    @pydantic.model_validator(mode="after")
    def _no_file(self) -> Self:
        if self.file is not None:
            raise ValueError(f"no file: {self.kind} learns nothing")
        return self

    @property
    def learns(self) -> bool:
        """Never."""
        return False


class Bank(Protocol):
    """One kind of model over many slots; a slot is one tag judged with one configuration.

    Constructed as `Bank(configs)` with one configuration per slot. The same rows in the same order give the same outputs and the same state,
    bit for bit, however they are cut into calls (batch invariance), and a restored bank goes on as if it had never stopped.

    A bank whose rules run over several rows may have `restart(slot, role)`: a new batch or phase (`role`) has begun, and what came before is no part
    of a run any more; what was learned stays. One whose state had other arrays in an earlier version has `of_now(state)`, which makes them its own.
    One that has no static form has neither `train` nor `settle`.
    """

    outputs: ClassVar[tuple[str, ...]]
    """Names of the derived tags, appended to the tag's name: `<tag>.<kind>.<output>`."""
    units: ClassVar[tuple[str, ...]]
    """Units of the outputs, "" for none."""
    reasons: ClassVar[tuple[str, ...]]
    """Names of further numbers that explain an output of the same row, e.g. the expected value."""

    watched: ClassVar[tuple[str, ...]]
    """Outputs whose population is compared with that of the training while the model is static."""
    ragged: ClassVar[tuple[str, ...]]
    """Names of state arrays that are flat, with `sizes[slot]` numbers per slot; all others have the slots as first axis."""

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(slots,) numbers of each slot in the ragged arrays."""

    def step(
        self,
        slot: NDArray[np.int32],
        time_ns: NDArray[np.int64],
        value: NDArray[np.float64],
        usable: NDArray[np.uint8],
        out: NDArray[np.float64],
    ) -> None:
        """Judge n rows in order.

        slot    (n,) which slot each row belongs to
        usable  (n,) 1 = judge and learn; 0 = neither (bad quality, wrong mode): the row leaves the state as it was and its outputs are NaN
        out     (n, len(outputs) + len(reasons)) is written; NaN where there is nothing to say, as during warm-up
        """

    @classmethod
    def train(cls, config: Any, time_ns: NDArray[np.int64], value: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        """What it learns of one tag from n usable values in order: the arrays that `settle` takes up. ValueError when they are too few."""

    def settle(self, slot: int, learned: Mapping[str, NDArray[Any]]) -> None:
        """Make a slot, whose configuration has a `file`, what `train` found; from then on it learns nothing. ValueError for other shapes."""

    def state(self) -> dict[str, Any]:
        """Everything that `restore` needs beside what was settled, as arrays and numbers; independent copies."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state of `state`; ValueError when it is of another shape."""


class GroupConfig(ModelConfig):
    """Base of a model of several tags that are looked at together."""

    ordered: ClassVar[bool] = False
    """Whether `tags` are names in an order that matters (`models.records.roles`), one being enough; patterns in the order of the tags otherwise."""
    name: str = pydantic.Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-/]*$", max_length=200)
    """What its derived tags are called after: `<name>.<kind>.<output>`."""
    step_s: float | None = pydantic.Field(None, gt=0)
    """Seconds of a grid on which the last value of each tag is taken; when absent, values of one source time belong together."""
    hold_s: float | None = pydantic.Field(None, gt=0)
    """On a grid: seconds for which a value is held; three steps when absent."""


class Group(Protocol):
    """One model of k tags over instants, constructed as `Group(config, k)`.

    The same instants in the same order give the same outputs and the same state, bit for bit, however they are cut into calls.

    A model of batches has `tell(role, value, time_ns)`: a batch or phase (`role`) of that name has begun on its unit, none where the name is empty.
    One that has no static form has neither `train` nor `settle`.
    """

    outputs: ClassVar[tuple[str, ...]]
    """Names of the derived tags, appended to the group's name: `<name>.<kind>.<output>`."""
    units: ClassVar[tuple[str, ...]]
    """Units of the outputs, "" for none."""
    reasons: ClassVar[tuple[str, ...]]
    """Names of further numbers that explain the outputs of the same instant."""
    watched: ClassVar[tuple[str, ...]]
    """Outputs whose population is compared with that of the training while the model is static."""

    def step(self, time_ns: NDArray[np.int64], value: NDArray[np.float64], usable: NDArray[np.uint8], out: NDArray[np.float64]) -> None:
        """Judge n instants in order.

        value, usable  (n, k); a value that is missing, bad or of the wrong mode has usable 0 and is never looked at
        out            (n, len(outputs) + len(reasons) + k) is written, NaN where there is nothing to say; the last k columns are the shares of
                       the tags in the finding, with the sign of their deviation
        """

    def begin(self, time_ns: int, on: bool) -> None:
        """A batch or phase of its unit begins, or ends with none behind it; asked only of a model whose configuration has `per`."""

    @classmethod
    def train(cls, config: Any, time_ns: NDArray[np.int64], value: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        """What it learns from n complete instants (n, k) in order: the arrays that `settle` takes up. ValueError when they are too few."""

    def settle(self, learned: Mapping[str, NDArray[Any]]) -> None:
        """Become what `train` found, where the configuration has a `file`; from then on it learns nothing. ValueError for other shapes."""

    def state(self) -> dict[str, Any]:
        """Everything that `restore` needs beside what was settled, as arrays; independent copies."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state of `state`; ValueError when it is of another shape."""
