"""MQTT brokers: where they are, and one connection to them."""

from edge_agent.broker.config import BrokerConfig, TlsConfig
from edge_agent.broker.link import Link, OnMessage

__all__ = ["BrokerConfig", "Link", "OnMessage", "TlsConfig"]
