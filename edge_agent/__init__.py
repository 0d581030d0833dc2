"""The edge agent: reads a line, judges every value, calls the operator and keeps the record."""

__version__ = "0.1.0"
