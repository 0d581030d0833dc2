"""Configuration: typed, checked as a whole, turned into the entry that plans the pipeline."""

from edge_agent.config.agent import AgentSettings, load_agent
from edge_agent.config.start import fingerprint, start_of

__all__ = ["AgentSettings", "fingerprint", "load_agent", "start_of"]
