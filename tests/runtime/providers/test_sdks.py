"""The official SDKs read the corpus off a real local server, and send what our adapters send: both sides agree."""

import json

import anthropic
import httpx
import openai
import pytest
from google import genai
from google.genai import types

from router_runtime.chat import ChatRequest
from router_runtime.providers.base import Target
from router_runtime.providers.catalog import adapter
from router_runtime.providers.joining import join
from tests.provider_server import ProviderServer, reply, stream
from tests.runtime.providers.corpus import CASES
from tests.runtime.providers.test_building import FULL

#: What its stream helper makes of these finish reasons.
SDK_ERRORS = {
    "length": openai.LengthFinishReasonError,
    "content_filter": openai.ContentFilterFinishReasonError,
}
KEY = "sk-test-0123456789abcdef"


def cases(name):
    return pytest.mark.parametrize("case", [c for c in CASES if c.adapter == name], ids=lambda case: case.name)


@pytest.fixture(scope="module")
def server():
    with ProviderServer() as running:
        yield running


def serve(server, case):
    """The next two calls get the case: whole, then streamed in pieces of 50 bytes."""
    pieces = [case.stream[i : i + 50] for i in range(0, len(case.stream), 50)]
    server.push(reply(case.body, content_type="application/json"), stream(pieces))


def ours(case):
    decoder = adapter(case.adapter).decoder()
    streamed = join([*decoder.feed(case.stream), *decoder.close()])
    return adapter(case.adapter).parse(200, {}, case.body), streamed


def calls(response):
    return [(call.id, call.name, json.loads(call.arguments)) for call in response.message.tool_calls]


@pytest.fixture(scope="module")
def openai_client(server):
    with openai.OpenAI(api_key=KEY, base_url=f"{server.url}/v1", max_retries=0) as client:
        yield client


@cases("openai")
def test_openai_chat_completions(server, openai_client, case):
    serve(server, case)
    request = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
    whole = openai_client.chat.completions.create(**request)
    chunks = list(openai_client.chat.completions.create(**request, stream=True))
    mine, streamed = ours(case)
    message = whole.choices[0].message
    assert (message.content, message.refusal) == (mine.message.content, mine.message.refusal)
    found = [(c.id, c.function.name, json.loads(c.function.arguments)) for c in message.tool_calls or ()]
    assert found == calls(mine) == calls(streamed)
    assert whole.choices[0].finish_reason == mine.finish_reason
    usage = whole.usage
    cached, reasoning = usage.prompt_tokens_details.cached_tokens, usage.completion_tokens_details.reasoning_tokens
    assert (usage.prompt_tokens, usage.completion_tokens) == (mine.usage.input_tokens, mine.usage.output_tokens)
    assert (cached, reasoning) == (mine.usage.cached_tokens, mine.usage.reasoning_tokens)
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text == streamed.text
    assert chunks[-1].usage == usage


@cases("openai-responses")
def test_openai_responses(server, openai_client, case):
    serve(server, case)
    whole = openai_client.responses.create(model="m", input="Hi")
    events = list(openai_client.responses.create(model="m", input="Hi", stream=True))
    mine, streamed = ours(case)
    assert whole.output_text == mine.text == streamed.text
    found = [(i.call_id, i.name, json.loads(i.arguments)) for i in whole.output if i.type == "function_call"]
    assert found == calls(mine) == calls(streamed)
    usage = whole.usage
    assert (usage.input_tokens, usage.output_tokens) == (mine.usage.input_tokens, mine.usage.output_tokens)
    assert usage.input_tokens_details.cached_tokens == mine.usage.cached_tokens
    assert usage.output_tokens_details.reasoning_tokens == mine.usage.reasoning_tokens
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == streamed.text
    assert events[-1].response.model == streamed.model


@cases("anthropic")
def test_anthropic_messages(server, case):
    serve(server, case)
    request = {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "Hi"}]}
    with anthropic.Anthropic(api_key=KEY, base_url=server.url, max_retries=0) as client:
        whole = client.messages.create(**request)
        with client.messages.stream(**request) as events:
            final = events.get_final_message()
    mine, streamed = ours(case)
    for theirs, our in ((whole, mine), (final, streamed)):
        assert "".join(block.text for block in theirs.content if block.type == "text") == our.text
        thought = "".join(block.thinking for block in theirs.content if block.type == "thinking")
        assert thought == (our.message.reasoning or "")
        found = [(block.id, block.name, block.input) for block in theirs.content if block.type == "tool_use"]
        assert found == calls(our)
        assert theirs.stop_reason == our.choices[0].extra["native_finish_reason"]
        usage = theirs.usage
        cached, written = usage.cache_read_input_tokens, usage.cache_creation_input_tokens
        assert usage.input_tokens + cached + written == our.usage.input_tokens
        assert (cached, written) == (our.usage.cached_tokens, our.usage.cache_write_tokens)
        assert usage.output_tokens == our.usage.output_tokens
        assert (theirs.id, theirs.model) == (our.id, our.model)


def gemini_client(server):
    return genai.Client(api_key=KEY, http_options=types.HttpOptions(base_url=server.url, api_version="v1beta"))


@cases("gemini")
def test_gemini_generate_content(server, case):
    serve(server, case)
    client = gemini_client(server)
    whole = client.models.generate_content(model="m", contents="Hi")
    parts = list(client.models.generate_content_stream(model="m", contents="Hi"))
    client.close()
    mine, streamed = ours(case)
    found = [(c.id, c.name, dict(c.args)) for c in whole.function_calls or ()]
    assert found == calls(mine) == calls(streamed)
    if not found:
        assert (whole.text or "") == mine.text
        assert "".join(part.text or "" for part in parts) == streamed.text
    usage = whole.usage_metadata
    assert usage.prompt_token_count == mine.usage.input_tokens
    thoughts = usage.thoughts_token_count or 0
    assert (usage.candidates_token_count or 0) + thoughts == mine.usage.output_tokens == streamed.usage.output_tokens
    assert (usage.cached_content_token_count or 0, thoughts) == (mine.usage.cached_tokens, mine.usage.reasoning_tokens)
    assert whole.model_version == mine.model


def built(server, name, path="", **more):
    call = adapter(name).build(ChatRequest.from_openai(FULL | more), Target(server.url + path, "m", KEY), stream=False)
    return call, json.loads(call.body)


def test_the_openai_sdk_sends_what_we_send(server, openai_client):
    call, body = built(server, "openai", "/v1")
    server.push(reply(CASES[0].body, content_type="application/json"))
    openai_client.chat.completions.create(**body)
    sent = server.received[-1]
    assert (sent.json(), sent.headers["authorization"]) == (body, call.headers["authorization"])
    assert call.url.endswith(sent.path)
    call, body = built(server, "openai-responses", "/v1")
    case = next(case for case in CASES if case.adapter == "openai-responses")
    server.push(reply(case.body, content_type="application/json"))
    openai_client.responses.create(**body)
    assert server.received[-1].json() == body
    assert call.url.endswith(server.received[-1].path)


def test_the_anthropic_sdk_sends_what_we_send(server):
    call, body = built(server, "anthropic", stop="END")
    case = next(case for case in CASES if case.adapter == "anthropic")
    server.push(reply(case.body, content_type="application/json"))
    with anthropic.Anthropic(api_key=KEY, base_url=server.url, max_retries=0) as client:
        # Version 2 of this SDK asks for 2026-10-21, which has no sampling parameters; extra_body sends them.
        named = {k: v for k, v in body.items() if k not in ("temperature", "top_p")}
        client.messages.create(**named, extra_body={"temperature": 0.2, "top_p": 0.9})
    sent = server.received[-1]
    assert sent.json() == body
    assert call.url.endswith(sent.path)
    assert sent.headers["authorization"] == f"Bearer {call.headers['x-api-key']}", "either header carries the key"
    assert sent.headers["anthropic-version"] >= call.headers["anthropic-version"]


def test_geminis_sdk_knows_every_field_that_we_send(server):
    """Its models forbid unknown fields."""
    call, body = built(server, "gemini", seed=7, stop="END")
    for content in body["contents"]:
        types.Content.model_validate(content)
    types.Content.model_validate(body["systemInstruction"])
    types.GenerationConfig.model_validate(body["generationConfig"])
    types.ToolConfig.model_validate(body["toolConfig"])
    for tool in body["tools"]:
        types.Tool.model_validate(tool)
    case = next(case for case in CASES if case.adapter == "gemini")
    server.push(reply(case.body, content_type="application/json"))
    client = gemini_client(server)
    client.models.generate_content(model="m", contents="Hi")
    client.close()
    sent = server.received[-1]
    assert call.url.endswith(sent.path)
    assert sent.headers["x-goog-api-key"] == call.headers["x-goog-api-key"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.adapter}-{case.name}")
def test_openais_sdk_reads_our_normalised_stream(server, openai_client, case):
    """What a gateway would send on: our chunks as an event stream, whatever the provider was."""
    decoder = adapter(case.adapter).decoder()
    chunks = [*decoder.feed(case.stream), *decoder.close()]
    lines = [b"data: %s\n\n" % json.dumps(chunk.to_openai()).encode() for chunk in chunks]
    server.push(stream([*lines, b"data: [DONE]\n\n"]))
    request = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
    with openai_client.chat.completions.stream(**request) as events:
        if case.finish_reason in SDK_ERRORS:
            with pytest.raises(SDK_ERRORS[case.finish_reason]):
                events.get_final_completion()
            return
        final = events.get_final_completion()
    message = final.choices[0].message
    assert (message.content or None, message.refusal) == (case.text, case.refusal)
    found = [(c.id, c.function.name, json.loads(c.function.arguments)) for c in message.tool_calls or ()]
    assert found == list(case.calls)
    assert final.choices[0].finish_reason == case.finish_reason
    assert final.usage.prompt_tokens == case.usage.input_tokens


def test_an_adapters_call_is_a_plain_http_request(server):
    """Built bytes, sent by any client, and the answer's bytes read back."""
    case = CASES[0]
    server.push(reply(case.body, content_type="application/json"))
    call, _ = built(server, "openai", "/v1")
    answer = httpx.request(call.method, call.url, headers=call.headers, content=call.body)
    parsed = adapter("openai").parse(answer.status_code, answer.headers, answer.content)
    assert parsed.text == case.text
