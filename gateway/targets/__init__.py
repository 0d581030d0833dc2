"""The register of targets: a new one is one file and its name in this union."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gateway.targets.influx import InfluxConfig
from gateway.targets.syslog import SyslogConfig
from gateway.targets.target import Outcome, Page, Reader, Target, TooMany

AnyTarget = Annotated[InfluxConfig | SyslogConfig, Field(discriminator="kind")]
TARGETS: tuple[type[InfluxConfig | SyslogConfig], ...] = (InfluxConfig, SyslogConfig)

__all__ = ["TARGETS", "AnyTarget", "InfluxConfig", "Outcome", "Page", "Reader", "SyslogConfig", "Target", "TooMany"]
