"""Build hook of the wheel: kernels that were compiled ahead of time go into it, and its name then says for which processor and interpreter it is."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CompiledKernels(BuildHookInterface):  # type: ignore[type-arg]
    """Adds `models/_kernels.*.so` where `make venv` made it, or that of another processor from the folder PHARMEDGE_KERNELS."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before the wheel is written; an editable install needs nothing of it."""
        elsewhere = os.environ.get("PHARMEDGE_KERNELS")
        found = sorted(Path(elsewhere or Path(self.root, "models")).glob("_kernels.*.so" if elsewhere else f"_kernels.*-{platform.machine()}-*.so"))
        if version == "editable" or not found:
            return
        build_data["force_include"].update({str(path): f"models/{path.name}" for path in found})
        build_data["pure_python"], build_data["infer_tag"] = False, elsewhere is None
        if elsewhere is not None:
            python, machine = f"cp{sys.version_info.major}{sys.version_info.minor}", found[0].name.split(".")[1].split("-")[2]
            build_data["tag"] = f"{python}-{python}-linux_{machine}"
