"""The command ``pointsman``."""

from router_runtime.cli.main import main

__all__ = ["main"]
