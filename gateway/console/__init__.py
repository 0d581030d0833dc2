"""The operator's screen and the HTTP interface of the gateway."""

from gateway.console.app import create_app

__all__ = ["create_app"]
