"""Online models in numpy and numba: no I/O, no clock, no logging."""

from typing import Annotated, Any, Final, get_args

from pydantic import Field

from models.adwin import AdwinConfig
from models.auto import AutoConfig
from models.batch import BatchConfig
from models.budget import BudgetConfig
from models.change import ChangeConfig
from models.cusum import CusumConfig
from models.discord import DiscordConfig
from models.ewma import EwmaConfig
from models.flatline import FlatlineConfig
from models.half_space_trees import HalfSpaceTreesConfig
from models.lagged import CanonicalVariatesConfig, DynamicPcaConfig
from models.limit_cycle import LimitCycleConfig
from models.mahalanobis import MahalanobisConfig
from models.model import Bank, Group, GroupConfig, ModelConfig
from models.page_hinkley import PageHinkleyConfig
from models.pca import PcaConfig
from models.prognosis.onset import DegradationConfig
from models.prognosis.running import RemainingConfig
from models.prognosis.wear import WearConfig
from models.random_cut_forest import RandomCutForestConfig
from models.records.cold_chain import ColdChainConfig
from models.records.energy import EnergyConfig
from models.records.oee import OeeConfig
from models.records.sterilisation import SterilisationConfig
from models.residual import ResidualConfig
from models.river import RiverConfig
from models.robust_z import RobustZConfig
from models.seasonal import SeasonalConfig
from models.shewhart import ShewhartConfig
from models.spc import SpcConfig
from models.unit import UnitConfig

AnyModel = Annotated[
    AutoConfig
    | ShewhartConfig
    | SpcConfig
    | EwmaConfig
    | CusumConfig
    | RobustZConfig
    | FlatlineConfig
    | LimitCycleConfig
    | PageHinkleyConfig
    | AdwinConfig
    | ResidualConfig
    | DiscordConfig
    | SeasonalConfig
    | BudgetConfig
    | RiverConfig
    | UnitConfig
    | ChangeConfig
    | PcaConfig
    | DynamicPcaConfig
    | CanonicalVariatesConfig
    | BatchConfig
    | MahalanobisConfig
    | HalfSpaceTreesConfig
    | RandomCutForestConfig
    | ColdChainConfig
    | SterilisationConfig
    | EnergyConfig
    | OeeConfig
    | WearConfig
    | DegradationConfig
    | RemainingConfig,
    Field(discriminator="kind"),
]
"""The configuration of any model; `kind` says which. The union is the register of models."""

_CONFIGS: Final[tuple[Any, ...]] = get_args(get_args(AnyModel)[0])

BANKS: Final[dict[str, type[Bank]]] = {c.model_fields["kind"].default: c.bank() for c in _CONFIGS if not issubclass(c, GroupConfig)}
"""Every bank (models that judge tags one by one) by the `kind` of its configuration."""

GROUPS: Final[dict[str, type[Group]]] = {c.model_fields["kind"].default: c.group() for c in _CONFIGS if issubclass(c, GroupConfig)}
"""Every model of several tags together by the `kind` of its configuration."""

__all__ = ["BANKS", "GROUPS", "AnyModel", "Bank", "Group", "GroupConfig", "ModelConfig"]
