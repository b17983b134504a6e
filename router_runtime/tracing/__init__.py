"""OpenTelemetry traces (extra ``otel``) by the semantic conventions for generative AI; prompts and answers stay out."""

from router_runtime.tracing.asgi import Traced
from router_runtime.tracing.exporting import open_provider
from router_runtime.tracing.spans import Spans

__all__ = ["Spans", "Traced", "open_provider"]
