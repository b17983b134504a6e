"""Where spans go: over OTLP, set up by OpenTelemetry's own environment variables."""

from __future__ import annotations

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor


def open_provider(service: str = "pointsman") -> TracerProvider:
    """Sends spans in batches to ``OTEL_EXPORTER_OTLP_ENDPOINT`` (``http://localhost:4318`` where it is not set).

    The queue is bounded and the sender a thread of its own: a collector that is away costs spans, never a request.
    ``OTEL_SERVICE_NAME`` and ``OTEL_TRACES_SAMPLER`` hold as usual. Call ``shutdown`` of it at the end.
    """
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider
