"""Spans of decisions, attempts and requests, as OpenTelemetry's own SDK collects them."""

import os
import subprocess
import sys

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from opentelemetry.trace import SpanKind, StatusCode

from router_runtime import Router
from router_runtime.tracing import Spans, names
from tests.provider_server import Close, ProviderServer, reply
from tests.runtime.execution.wires import WIRES, good
from tests.runtime.gateway.house import quick_engine, registry_at, running

SECRET = "the launch code is 0000"
ASK = {"model": "auto", "messages": [{"role": "user", "content": SECRET}]}


@pytest.fixture
def collected():
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield Spans(provider), exporter
    provider.shutdown()


@pytest.fixture(scope="module")
def upstream():
    with ProviderServer(lambda got: good(WIRES[0], b'"stream":true' in got.body)) as server:
        yield server


async def test_a_call_is_a_decision_and_its_attempts(upstream, collected):
    spans, exporter = collected
    router = Router.open(registry=registry_at(upstream.url), state_dir=None, engine=quick_engine())
    router.listen(spans.observe)
    with spans.tracer.start_as_current_span("caller") as caller:
        completion = await router.complete(SECRET)
    await router.aclose()
    found = {span.name: span for span in exporter.get_finished_spans()}
    assert set(found) == {"caller", "route", "chat m-openai"}
    route, attempt = found["route"], found["chat m-openai"]
    assert route.attributes[names.DECISION] == completion.decision.id == attempt.attributes[names.DECISION]
    assert attempt.kind == SpanKind.CLIENT
    assert attempt.parent.span_id == caller.get_span_context().span_id == route.parent.span_id
    assert attempt.attributes[names.OPERATION] == "chat"
    assert attempt.attributes[names.PROVIDER] == "p-openai"
    assert attempt.attributes[names.INPUT_TOKENS] == completion.attempts[0].input_tokens
    assert attempt.attributes[names.FINISH_REASONS] == ("stop",)
    assert attempt.attributes[names.COST_USD] == completion.attempts[0].cost_usd
    assert attempt.status.status_code == StatusCode.UNSET
    assert SECRET not in "".join(span.to_json() for span in found.values())


async def test_a_failed_attempt_says_its_class(upstream, collected):
    spans, exporter = collected
    upstream.queue.append([Close()])
    router = Router.open(registry=registry_at(upstream.url), state_dir=None, engine=quick_engine())
    router.listen(spans.observe)
    completion = await router.complete("hello")
    await router.aclose()
    attempts = [span for span in exporter.get_finished_spans() if span.name.startswith("chat")]
    assert [span.attributes.get(names.ERROR) for span in attempts] == [one.error for one in completion.attempts]
    assert attempts[0].status.status_code == StatusCode.ERROR
    assert attempts[1].attributes[names.REASON] == "retry"


def test_the_gateway_goes_on_with_the_clients_trace(upstream, tmp_path, collected):
    spans, exporter = collected
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"}
    with running(registry_at(upstream.url), tmp_path, open_door=True, spans=spans) as gate:
        for stream in (False, True):
            body = {**ASK, "stream": stream}
            answer = httpx.post(f"{gate.url}/v1/chat/completions", json=body, headers=headers)
            assert answer.status_code == 200
    found = exporter.get_finished_spans()
    assert sorted(span.name for span in found) == sorted(2 * ["POST /v1/chat/completions", "route", "chat m-openai"])
    assert {f"{span.context.trace_id:032x}" for span in found} == {trace_id}
    servers = {span.context.span_id for span in found if span.kind == SpanKind.SERVER}
    assert {span.parent.span_id for span in found if span.kind != SpanKind.SERVER} == servers
    assert SECRET not in "".join(span.to_json() for span in found)


def test_the_names_are_those_of_the_conventions():
    known = {value for name, value in vars(gen_ai_attributes).items() if name.startswith("GEN_AI")}
    ours = {value for value in vars(names).values() if isinstance(value, str) and value.startswith("gen_ai.")}
    assert ours <= known


def test_what_waits_is_sent_when_the_command_ends(upstream, tmp_path):
    """``pointsman serve --trace`` with a collector that counts what it is sent."""
    registry = tmp_path / "registry.yaml"
    registry.write_text(
        f"providers: {{p: {{adapter: openai-compatible, base_url: '{upstream.url}/v1'}}}}\n"
        "models:\n  a: {provider: p, prices: [{valid_from: 2026-04-01, input: 1, output: 1}]}\n"
    )
    with ProviderServer(lambda got: reply(b"", content_type="application/x-protobuf")) as collector:
        command = [sys.executable, "-m", "router_runtime.cli", "serve", "--trace", "--insecure-local", "--port", "0"]
        environ = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "600000"}
        where = ["--registry", str(registry), "--state", str(tmp_path / "state")]
        with subprocess.Popen([*command, *where], stderr=subprocess.PIPE, text=True, env=environ) as child:
            url = child.stderr.readline().split()[-1]
            assert httpx.post(f"{url}/v1/chat/completions", json=ASK).status_code == 200
            assert collector.received == []
            child.terminate()
            child.communicate(timeout=30)
        (sent,) = collector.received
    assert sent.path == "/v1/traces"
    found = ExportTraceServiceRequest.FromString(sent.body)
    spans = [span.name for one in found.resource_spans for scope in one.scope_spans for span in scope.spans]
    assert sorted(spans) == ["POST /v1/chat/completions", "chat a", "route"]
    assert SECRET.encode() not in sent.body
