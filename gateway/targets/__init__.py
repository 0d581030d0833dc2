"""The register of targets: a new one is one file and its name in this union."""

from __future__ import annotations

from gateway.targets.influx import InfluxConfig
from gateway.targets.target import Outcome, Page, Reader, Target, TooMany

AnyTarget = InfluxConfig
"""Becomes `Annotated[InfluxConfig | NextConfig, Field(discriminator="kind")]` with the second kind."""
TARGETS: tuple[type[InfluxConfig], ...] = (InfluxConfig,)

__all__ = ["TARGETS", "AnyTarget", "InfluxConfig", "Outcome", "Page", "Reader", "Target", "TooMany"]
