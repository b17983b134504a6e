"""Configurations of other tools as a ``registry.yaml``; one module for each, :data:`FORMATS` names them."""

from router_runtime.importing.base import Format, Imported, detect
from router_runtime.importing.litellm import LITELLM
from router_runtime.importing.openclaw import OPENCLAW

FORMATS: tuple[Format, ...] = (LITELLM, OPENCLAW)
"""Asked in this order which of them a file is."""

__all__ = ["FORMATS", "Format", "Imported", "detect"]
