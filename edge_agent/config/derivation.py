"""Where the derived tags of a configuration come from: looked up once, because thousands of alarms ask."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from edge_agent.config.diverters import outputs as diverter_outputs
from models import GroupConfig

if TYPE_CHECKING:
    from edge_agent.config.agent import AgentSettings


class Derivation:
    """The derived tags of settings as they are now, by name."""

    def __init__(self, settings: AgentSettings) -> None:
        self._settings = settings
        self._classes = {t.name: t.class_ for t in settings.tags}
        self._diverted = diverter_outputs(settings.diverters)
        self._of_blocks = settings.sensor_outputs()
        self._of_machines = settings.machine_outputs()
        self._groups = settings.group_outputs()

    def roots(self, name: str) -> list[str]:
        """The measured tags that a derived tag comes from; the name itself when it is measured."""
        diverter = self._diverted.get(name)
        if diverter is not None:
            return [root for n in dict.fromkeys(diverter.inputs().values()) for root in self.roots(n)]
        group = self._groups.get(name)
        if group is not None:
            return self._settings.gathered(group)
        while name not in self._classes and name not in self._of_blocks and name.count(".") >= 2:
            name = name.rsplit(".", 2)[0]
        return [self._of_blocks.get(name, name)]

    def learns(self, derived: str) -> bool:
        """Whether a derived tag comes from a model that goes on learning."""
        if derived in self._of_machines or derived in self._diverted:
            return False
        if derived in self._of_blocks:
            return True  # advisory on gmp_critical streams until approvals reach sensors
        group = self._groups.get(derived)
        if group is not None:
            return group.learns
        return any(self._makes(m, derived) and m.learns for m in self._settings.models)

    def critical(self, name: str) -> bool:
        """Whether a tag is gmp_critical, or one that it comes from."""
        return any(self._classes.get(root) == "gmp_critical" for root in self.roots(name))

    def critical_models(self) -> frozenset[int]:
        """Models on whose outputs an alarm stands that is not advisory and whose measured tags are gmp_critical."""
        names = [a.tag for a in self._settings.alarms if not a.advisory and a.tag not in self._classes]
        critical = [n for n in names if self.critical(n)]
        return frozenset(i for i, model in enumerate(self._settings.models) if any(self._makes(model, name) for name in critical))

    def _makes(self, model: Any, derived: str) -> bool:
        """Whether a model makes a derived tag, or one that it comes from."""
        if isinstance(model, GroupConfig):
            return self._groups.get(derived) is model
        while derived not in self._classes and derived.count(".") >= 2:
            base, kind, _ = derived.rsplit(".", 2)
            if kind == model.kind and any(fnmatchcase(base, p) for p in model.tags):
                return True
            derived = base
        return False
