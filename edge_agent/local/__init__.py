"""Beside the line: the panel for people, and what DCS and SCADA may look at. Everything here works with gateway and network gone."""

from edge_agent.core.settings import Section
from edge_agent.local.modbus import ModbusServing
from edge_agent.local.opcua import OpcUaServing


class ServeSection(Section):
    """What supervising systems may look at; absent: nothing listens."""

    opcua: OpcUaServing | None = None
    modbus: ModbusServing | None = None


__all__ = ["ModbusServing", "OpcUaServing", "ServeSection"]
