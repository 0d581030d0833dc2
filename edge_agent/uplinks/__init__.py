"""Uplinks: one file per target; the union is the register."""

from typing import Annotated

from pydantic import Field

from edge_agent.uplinks.gateway import GatewayConfig
from edge_agent.uplinks.sparkplug import SparkplugConfig
from edge_agent.uplinks.syslog import SyslogConfig
from edge_agent.uplinks.unified import UnifiedConfig

AnyUplink = Annotated[GatewayConfig | SparkplugConfig | SyslogConfig | UnifiedConfig, Field(discriminator="kind")]
