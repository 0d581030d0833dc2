"""Uplinks: one file per target; the union is the register."""

from edge_agent.uplinks.gateway import GatewayConfig

AnyUplink = GatewayConfig
"""A union, discriminated by `kind`, as soon as there is a second one."""
