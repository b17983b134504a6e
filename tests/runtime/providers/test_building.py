"""Requests in OpenAI's shape → what each provider is sent, or a typed error where it cannot be said."""

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_runtime.chat import ChatRequest
from router_runtime.errors import ConfigError, PointsmanError, RequestError
from router_runtime.provider_errors import UnsupportedByProvider
from router_runtime.providers.base import Target
from router_runtime.providers.catalog import ADAPTERS, adapter

PIXEL = "data:image/png;base64,iVBORw0KGgo="
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
FUNCTION = {"name": "weather", "description": "The weather.", "parameters": SCHEMA}
FULL = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this? 🏔"},
                {"type": "image_url", "image_url": {"url": PIXEL}},
                {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"n": 1}'}},
                {"id": "c2", "type": "function", "function": {"name": "weather", "arguments": '{"n": 2}'}},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": '{"t": 21}'},
        {"role": "tool", "tool_call_id": "c2", "content": "rain"},
        {"role": "user", "content": "And now?"},
    ],
    "tools": [{"type": "function", "function": FUNCTION}],
    "tool_choice": {"type": "function", "function": {"name": "weather"}},
    "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}},
    "temperature": 0.2,
    "top_p": 0.9,
    "max_tokens": 50,
    "reasoning_effort": "low",
    "user": "u1",
}


def build(name, body, *, stream=False, url="http://127.0.0.1:9/v1", **fields):
    call = adapter(name).build(ChatRequest.from_openai(body), Target(url, "m/x", **fields), stream=stream)
    return call, json.loads(call.body)


def test_chat_completions_goes_through_as_it_is():
    call, body = build("openai", FULL, stream=True, api_key="k")
    assert call.url == "http://127.0.0.1:9/v1/chat/completions"
    assert call.headers["authorization"] == "Bearer k"
    expected = FULL | {"model": "m/x", "stream": True, "stream_options": {"include_usage": True}}
    expected["max_completion_tokens"] = expected.pop("max_tokens")
    assert body == expected


def test_dialects_differ_in_the_limit_and_in_what_goes_back():
    turn = {"role": "assistant", "content": "x", "reasoning_content": "r", "thinking_blocks": [1]}
    request = {"messages": [turn], "max_completion_tokens": 9}
    _, openai = build("openai", request)
    _, deepseek = build("deepseek", request)
    assert openai == {"model": "m/x", "messages": [{"role": "assistant", "content": "x"}], "max_completion_tokens": 9}
    kept = {"role": "assistant", "content": "x", "reasoning_content": "r"}
    assert deepseek == {"model": "m/x", "messages": [kept], "max_tokens": 9}


def test_responses_says_the_same_in_items():
    call, body = build("openai-responses", FULL)
    assert call.url.endswith("/v1/responses")
    assert body["input"] == [
        {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "Be brief."}]},
        {
            "type": "message",
            "role": "user",
            "content": [
                {"type": "input_text", "text": "What is this? 🏔"},
                {"type": "input_image", "image_url": PIXEL, "detail": "auto"},
                {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "auto"},
            ],
        },
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": '{"n": 1}'},
        {"type": "function_call", "call_id": "c2", "name": "weather", "arguments": '{"n": 2}'},
        {"type": "function_call_output", "call_id": "c1", "output": '{"t": 21}'},
        {"type": "function_call_output", "call_id": "c2", "output": "rain"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "And now?"}]},
    ]
    assert body["tools"] == [{"type": "function", **FUNCTION, "strict": False}]
    assert body["tool_choice"] == {"type": "function", "name": "weather"}
    assert body["text"] == {"format": {"type": "json_schema", "name": "answer", "schema": SCHEMA, "strict": True}}
    assert (body["max_output_tokens"], body["reasoning"], body["store"]) == (50, {"effort": "low"}, False)


def test_anthropic_says_the_same_in_blocks():
    call, body = build("anthropic", FULL | {"stop": "END"}, api_key="k")
    assert call.url == "http://127.0.0.1:9/v1/messages"
    assert (call.headers["x-api-key"], call.headers["anthropic-version"]) == ("k", "2023-06-01")
    assert body["system"] == [{"type": "text", "text": "Be brief."}]
    image = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
    assert body["messages"] == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this? 🏔"},
                {"type": "image", "source": image},
                {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "tool_use", "id": "c1", "name": "weather", "input": {"n": 1}},
                {"type": "tool_use", "id": "c2", "name": "weather", "input": {"n": 2}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": '{"t": 21}'}]},
                {"type": "tool_result", "tool_use_id": "c2", "content": [{"type": "text", "text": "rain"}]},
                {"type": "text", "text": "And now?"},
            ],
        },
    ]
    assert body["tools"] == [{"name": "weather", "description": "The weather.", "input_schema": SCHEMA}]
    assert body["tool_choice"] == {"type": "tool", "name": "weather"}
    assert body["output_config"] == {"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}}
    assert (body["max_tokens"], body["stop_sequences"], body["metadata"]) == (50, ["END"], {"user_id": "u1"})


def test_gemini_says_the_same_in_parts():
    call, body = build("gemini", FULL | {"seed": 7}, stream=True, url="http://127.0.0.1:9/v1beta/", api_key="k")
    assert call.url == "http://127.0.0.1:9/v1beta/models/m/x:streamGenerateContent?alt=sse"
    assert call.headers["x-goog-api-key"] == "k"
    assert body["systemInstruction"] == {"parts": [{"text": "Be brief."}]}
    assert body["contents"] == [
        {
            "role": "user",
            "parts": [
                {"text": "What is this? 🏔"},
                {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}},
                {"fileData": {"fileUri": "https://example.com/a.png"}},
            ],
        },
        {
            "role": "model",
            "parts": [
                {"functionCall": {"name": "weather", "args": {"n": 1}, "id": "c1"}},
                {"functionCall": {"name": "weather", "args": {"n": 2}, "id": "c2"}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"name": "weather", "response": {"t": 21}, "id": "c1"}},
                {"functionResponse": {"name": "weather", "response": {"result": "rain"}, "id": "c2"}},
                {"text": "And now?"},
            ],
        },
    ]
    declared = {"name": "weather", "description": "The weather.", "parametersJsonSchema": SCHEMA}
    assert body["tools"] == [{"functionDeclarations": [declared]}]
    assert body["toolConfig"] == {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["weather"]}}
    assert body["generationConfig"] == {
        "temperature": 0.2,
        "topP": 0.9,
        "maxOutputTokens": 50,
        "seed": 7,
        "thinkingConfig": {"thinkingLevel": "LOW"},
        "responseMimeType": "application/json",
        "responseJsonSchema": SCHEMA,
    }


@pytest.mark.parametrize(
    ("names", "more"),
    [
        (("openai-responses", "anthropic"), {"seed": 1}),
        (("openai-responses",), {"stop": ["x"]}),
        (("openai-responses", "anthropic", "gemini"), {"n": 2}),
        (("openai-responses", "anthropic", "gemini"), {"logprobs": True}),
        (("openai-responses", "anthropic"), {"frequency_penalty": 0.5}),
        (("anthropic",), {"response_format": {"type": "json_object"}}),
        (("gemini",), {"parallel_tool_calls": False, "tools": FULL["tools"]}),
        (("openai-responses", "anthropic", "gemini"), {"tools": [{"type": "custom", "custom": {"name": "x"}}]}),
        (("anthropic",), {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]}),
        (
            ("gemini",),
            {"messages": [{"role": "user", "content": "a"}, {"role": "system", "content": "b"}]},
        ),
        (
            ("anthropic", "gemini"),
            {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}]},
        ),
    ],
)
def test_what_a_format_cannot_say_is_a_typed_error_before_anything_is_sent(names, more):
    for name in names:
        with pytest.raises(UnsupportedByProvider) as caught:
            build(name, {"messages": "Hi"} | more)
        assert (caught.value.billed, caught.value.retry_same, caught.value.fall_through) == (False, False, True)
    for name in ("openai", "openrouter"):
        build(name, {"messages": "Hi"} | more)


@pytest.mark.parametrize("name", sorted(ADAPTERS))
def test_extras_reach_the_provider_and_openais_housekeeping_only_openai(name):
    _, body = build(name, {"messages": "Hi", "n": 1, "logprobs": False, "x_own": {"a": 1}, "store": True})
    assert body["x_own"] == {"a": 1}
    assert ("store" in body) == (name not in ("anthropic", "gemini"))


def test_extras_merge_with_what_the_adapter_writes():
    extra = {"generationConfig": {"topK": 3}, "tools": [{"googleSearch": {}}]}
    request = ChatRequest(messages=({"role": "user", "content": "Hi"},), temperature=0.5, extra=extra)
    body = json.loads(adapter("gemini").build(request, Target("https://g.example", "m"), stream=False).body)
    assert body["generationConfig"] == {"temperature": 0.5, "topK": 3}
    assert body["tools"] == [{"googleSearch": {}}]


def test_a_system_message_in_the_middle_stays_there_where_the_format_has_a_place():
    messages = [{"role": "user", "content": "a"}, {"role": "system", "content": "b"}, {"role": "user", "content": "c"}]
    _, body = build("anthropic", {"messages": messages})
    assert [turn["role"] for turn in body["messages"]] == ["user", "system", "user"]


def test_parallel_calls_can_be_turned_off_for_anthropic():
    _, body = build("anthropic", {"messages": "Hi", "tools": FULL["tools"], "parallel_tool_calls": False})
    assert body["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}


def test_sampling_that_a_model_refuses_is_left_out_where_it_is_the_default_or_the_operator_says_so():
    _, body = build("anthropic", {"messages": "Hi", "temperature": 1, "top_p": 1.0})
    assert not {"temperature", "top_p"} & body.keys()
    assert build("anthropic", {"messages": "Hi", "temperature": 0})[1]["temperature"] == 0
    for name in ADAPTERS:
        wanted = {"messages": "Hi", "temperature": 0.5, "stop": "x", "x_own": 1, "seed": 3}
        call, _ = build(name, wanted, drop=frozenset({"temperature", "stop", "x_own", "seed"}))
        assert call == build(name, {"messages": "Hi"})[0]


def limit_of(name, most, **more):
    _, body = build(name, {"messages": [{"role": "user", "content": "x"}], **more}, max_output_tokens=most)
    fields = ("max_tokens", "max_completion_tokens", "max_output_tokens")
    found = [value for field in fields if (value := body.get(field)) is not None]
    return (found or [body.get("generationConfig", {}).get("maxOutputTokens")])[0]


@pytest.mark.parametrize("name", ["openai", "openai-responses", "openai-compatible", "anthropic", "gemini"])
def test_no_longer_answer_is_asked_for_than_the_model_gives(name):
    assert limit_of(name, 8192, max_tokens=100_000) == 8192
    assert limit_of(name, 8192, max_tokens=100) == 100
    assert limit_of(name, None, max_tokens=100_000) == 100_000
    assert limit_of(name, 8192) == (8192 if name == "anthropic" else None), "one format cannot leave it open"


def test_a_turn_that_declined_is_told_to_the_next_model():
    turn = {"role": "assistant", "content": None, "refusal": "I will not."}
    for name in ADAPTERS:
        call, _ = build(name, {"messages": [{"role": "user", "content": "a"}, turn, {"role": "user", "content": "b"}]})
        assert b"I will not." in call.body


def test_a_request_keeps_its_prompt_out_of_its_repr():
    assert "Be brief" not in repr(ChatRequest.from_openai(FULL))


def test_a_lone_surrogate_becomes_a_question_mark():
    call, _ = build("anthropic", {"messages": "a\ud800b"})
    assert b"a?b" in call.body


@pytest.mark.parametrize("name", sorted(ADAPTERS))
@pytest.mark.parametrize(
    "body",
    [
        {},
        {"messages": []},
        {"messages": 5},
        {"messages": ["x"]},
        {"messages": [{"content": "x"}]},
        {"messages": "Hi", "tools": ["x"]},
        {"messages": "Hi", "stop": [1]},
        {"messages": "Hi", "x_own": float("nan")},
        {"messages": "Hi", "x_own": b"bytes"},
    ],
)
def test_requests_that_cannot_be_read_are_refused(name, body):
    with pytest.raises(RequestError):
        build(name, body)


@pytest.mark.parametrize("name", ["openai-responses", "anthropic", "gemini"])
@pytest.mark.parametrize(
    "message",
    [
        {"role": "critic", "content": "x"},
        {"role": "user", "content": 5},
        {"role": "user", "content": [{"text": "no type"}]},
        {"role": "user", "content": [{"type": "text"}]},
        {"role": "user", "content": [{"type": "image_url", "image_url": {}}]},
        {"role": "assistant", "tool_calls": [{"id": "c"}]},
    ],
)
def test_messages_that_cannot_be_converted_are_refused(name, message):
    with pytest.raises(RequestError, match=r"messages\[0\]"):
        build(name, {"messages": [message]})


@pytest.mark.parametrize(
    ("url", "fields"),
    [
        ("ftp://example.com", {}),
        ("file:///etc/passwd", {}),
        ("example.com", {}),
        ("http://", {}),
        ("http://[", {}),
        ("https://me:hunter2@example.com", {}),
        ("https://example.com/v1?key=hunter2", {}),
        ("https://example.com", {"api_key": "hunter2\r\nx-evil: 1"}),
        ("https://example.com", {"headers": {"x": "hunter2\n"}}),
    ],
)
def test_targets_that_cannot_be_called_are_refused_without_their_secrets(url, fields):
    with pytest.raises(ConfigError) as caught:
        Target(url, "m", **fields)
    assert "hunter2" not in str(caught.value)


def test_unknown_adapters_are_named():
    with pytest.raises(ConfigError, match="anthropic, deepseek, gemini"):
        adapter("nope")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def mangled(draw):
    """The full request with one value somewhere replaced by any JSON, or with one more field."""
    document = json.loads(json.dumps(FULL | {"stop": ["x"], "verbosity": "low", "parallel_tool_calls": True}))
    document["messages"][2] |= {"thinking_blocks": [{"type": "thinking"}], "reasoning_items": [{"type": "reasoning"}]}
    node, steps = document, draw(st.integers(1, 7))
    for step in range(steps):
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        key = draw(st.sampled_from(keys))
        if step == steps - 1 or not isinstance(node[key], dict | list) or not node[key]:
            node[key] = draw(json_values)
            break
        node = node[key]
    return document


@settings(max_examples=300)
@given(st.sampled_from(sorted(ADAPTERS)), mangled())
def test_any_request_is_built_or_refused(name, body):
    with contextlib.suppress(PointsmanError):
        call, sent = build(name, body, stream=True)
        assert sent
        assert call.method == "POST"
