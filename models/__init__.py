"""Online models in numpy and numba: no I/O, no clock, no logging."""

from typing import Annotated, Final, get_args

from pydantic import Field

from models.auto import AutoConfig
from models.cusum import CusumConfig
from models.ewma import EwmaConfig
from models.model import Bank, ModelConfig
from models.robust_z import RobustZConfig

AnyModel = Annotated[AutoConfig | EwmaConfig | CusumConfig | RobustZConfig, Field(discriminator="kind")]
"""The configuration of any model; `kind` says which. The union is the register of models."""

BANKS: Final[dict[str, type[Bank]]] = {c.model_fields["kind"].default: c.bank() for c in get_args(get_args(AnyModel)[0])}
"""Every bank by the `kind` of its configuration."""

__all__ = ["BANKS", "AnyModel", "Bank", "ModelConfig"]
