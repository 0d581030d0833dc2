"""Connectors: one file per protocol; the union is the register."""

from typing import Annotated

from pydantic import Field

from edge_agent.sources.clock import ClockConfig
from edge_agent.sources.csv import CsvConfig
from edge_agent.sources.modbus import ModbusConfig
from edge_agent.sources.mqtt import MqttConfig
from edge_agent.sources.opcua import OpcUaConfig
from edge_agent.sources.opcua_spectra import OpcUaSpectraConfig
from edge_agent.sources.sparkplug import SparkplugConfig
from edge_agent.sources.spectra import SpectraConfig

AnySource = Annotated[
    OpcUaConfig | OpcUaSpectraConfig | MqttConfig | SparkplugConfig | ModbusConfig | CsvConfig | SpectraConfig | ClockConfig,
    Field(discriminator="kind"),
]
