"""The gateway: commits what edges send exactly once, keeps it, shows it."""

__version__ = "0.1.0"
