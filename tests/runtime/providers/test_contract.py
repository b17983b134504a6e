"""The contract that every adapter keeps, run over the whole corpus."""

import contextlib
import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from router_runtime.chat import ChatRequest
from router_runtime.errors import PointsmanError
from router_runtime.provider_errors import (
    ContentFiltered,
    EmptyAnswer,
    MalformedAnswer,
    ProviderError,
    Refused,
    StreamCut,
)
from router_runtime.providers.base import Target, answer_problem
from router_runtime.providers.catalog import ADAPTERS, adapter
from router_runtime.providers.joining import as_chunks, join
from tests.runtime.providers.corpus import CASES, Case, named

SECRET = "sk-test-Zq81LmV0pW7r"
EVERY_CASE = pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.adapter}-{case.name}")
EVERY_ADAPTER = pytest.mark.parametrize("name", sorted(ADAPTERS))
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}]


def read(name, *pieces):
    """(chunks, the error that ended the stream or None)."""
    decoder = adapter(name).decoder()
    chunks = [chunk for piece in pieces for chunk in decoder.feed(piece)]
    try:
        return chunks + decoder.close(), None
    except ProviderError as error:
        return chunks, error


def told(error):
    return (type(error), str(error))


def check(response, case: Case):
    message = response.message
    assert message.content == case.text
    calls = [(call.id, call.name, json.loads(call.arguments)) for call in message.tool_calls]
    assert calls == list(case.calls)
    assert (message.refusal, message.reasoning) == (case.refusal, case.reasoning)
    assert response.finish_reason == case.finish_reason
    assert (response.model, response.usage) == (case.model, case.usage)
    assert case.extra.items() <= message.extra.items()


class TestAdapterContract:
    @EVERY_CASE
    def test_a_whole_answer_comes_to_what_its_case_says(self, case):
        check(adapter(case.adapter).parse(200, {}, case.body), case)

    @EVERY_CASE
    def test_a_stream_comes_to_the_same_answer(self, case):
        chunks, error = read(case.adapter, case.stream)
        assert error is None
        check(join(chunks), case)
        whole = adapter(case.adapter).parse(200, {}, case.body)
        assert {call.id: call.extra for call in join(chunks).message.tool_calls} == {
            call.id: call.extra for call in whole.message.tool_calls
        }
        assert [chunk.usage for chunk in chunks if chunk.usage] == [case.usage], "usage goes out once"

    @EVERY_CASE
    def test_a_whole_answer_as_chunks_joins_to_itself(self, case):
        whole = adapter(case.adapter).parse(200, {}, case.body)
        chunks = as_chunks(whole)
        assert join(chunks) == replace(whole, extra={})
        assert [ChatCompletionChunk.model_validate(chunk.to_openai(), strict=True) for chunk in chunks]

    @EVERY_CASE
    def test_openais_own_types_parse_what_comes_out(self, case):
        whole = ChatCompletion.model_validate(adapter(case.adapter).parse(200, {}, case.body).to_openai(), strict=True)
        assert whole.choices[0].message.content == case.text
        assert whole.usage.prompt_tokens_details.cached_tokens == case.usage.cached_tokens
        chunks, _ = read(case.adapter, case.stream)
        parsed = [ChatCompletionChunk.model_validate(chunk.to_openai(), strict=True) for chunk in chunks]
        deltas = [choice.delta for chunk in parsed for choice in chunk.choices]
        assert ("".join(delta.content or "" for delta in deltas) or None) == case.text
        names = [call.function.name for delta in deltas for call in delta.tool_calls or () if call.function.name]
        assert names == [name for _, name, _ in case.calls]
        reasons = [choice.finish_reason for chunk in parsed for choice in chunk.choices if choice.finish_reason]
        assert reasons == [case.finish_reason]
        json.dumps([chunk.to_openai() for chunk in chunks])

    @EVERY_CASE
    def test_every_cut_in_two_gives_the_same_chunks(self, case):
        expected, _ = read(case.adapter, case.stream)
        for cut in range(0, len(case.stream), 3):
            assert read(case.adapter, case.stream[:cut], case.stream[cut:]) == (expected, None), cut

    @EVERY_CASE
    def test_single_bytes_give_the_same_chunks(self, case):
        pieces = [case.stream[i : i + 1] for i in range(len(case.stream))]
        assert read(case.adapter, *pieces) == read(case.adapter, case.stream)

    @EVERY_CASE
    def test_a_stream_that_ends_early_is_cut_wherever_it_ends(self, case):
        whole, _ = read(case.adapter, case.stream)
        for end in range(0, len(case.stream) - 3, 7):
            chunks, error = read(case.adapter, case.stream[:end])
            assert isinstance(error, StreamCut), end
            assert chunks == whole[: len(chunks)]

    @EVERY_CASE
    def test_the_turn_can_be_sent_back_to_its_own_provider(self, case):
        response = adapter(case.adapter).parse(200, {}, case.body)
        if case.text is None and not case.calls:
            return  # refused: nothing is sent back
        turn = response.message.to_openai()
        results = [
            {"role": "tool", "tool_call_id": call.id, "content": "21"} for call in response.message.tool_calls
        ] or [{"role": "user", "content": "Thanks."}]
        request = ChatRequest.from_openai({"messages": [{"role": "user", "content": "Hi"}, turn, *results]})
        body = json.loads(adapter(case.adapter).build(request, target(), stream=False).body)
        sent = json.dumps(body, ensure_ascii=False)
        if case.text:
            assert case.text in sent
        for kept in (blocks for blocks in case.extra.values()):
            assert json.dumps(kept[0], ensure_ascii=False) in sent
        for call in response.message.tool_calls:
            assert call.id in sent
            assert str(call.extra.get("extra_content", {}).get("google", {}).get("thought_signature", "")) in sent

    @EVERY_ADAPTER
    def test_a_call_shows_its_secret_nowhere_but_in_one_header(self, name):
        request = ChatRequest.from_openai({"messages": "Hello", "tools": TOOLS})
        call = adapter(name).build(request, target(), stream=True)
        assert [header for header, value in call.headers.items() if SECRET in value]
        assert SECRET not in repr(call) + repr(target()) + call.url + call.body.decode()

    @EVERY_ADAPTER
    @pytest.mark.parametrize("status", [301, 400, 401, 402, 403, 404, 408, 413, 418, 429, 500, 503, 529, 599])
    def test_no_error_repeats_what_the_provider_says_about_the_key(self, name, status):
        prose = {"message": f"Incorrect API key: {SECRET}. Prompt: {SECRET * 3}", "type": SECRET, "code": SECRET}
        error = adapter(name).classify(status, {"x-request-id": "1"}, json.dumps({"error": prose}).encode())
        assert error.status == status
        assert SECRET not in str(error) + repr(error) + error.detail + repr(error.args) + repr(vars(error))
        assert "\n" not in str(error)

    @EVERY_ADAPTER
    @pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
    @pytest.mark.parametrize("body", [b"", b"<html>no</html>", b"[]", b'{"error":null}', b'"x"', b"[" * 100_000])
    def test_error_bodies_that_say_nothing_are_judged_by_status(self, name, status, body):
        error = adapter(name).classify(status, {}, body)
        with pytest.raises(type(error)):
            adapter(name).parse(status, {}, body)
        expected = {400: "BadRequest", 404: "ModelNotFound", 429: "RateLimited", 500: "ServerError", 503: "Overloaded"}
        assert type(error).__name__ == expected[status]

    @EVERY_ADAPTER
    @pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b"<html>", b"[" * 100_000, b"1" * 5000, b"\xff\xfe"])
    def test_a_good_status_with_a_bad_body_is_malformed(self, name, body):
        with pytest.raises(MalformedAnswer):
            adapter(name).parse(200, {}, body)

    @EVERY_ADAPTER
    def test_an_endless_event_ends_in_an_error_not_in_memory(self, name):
        decoder = adapter(name).decoder()
        for _ in range(17):
            decoder.feed(b"data: " + b"x" * 1_000_000)
        assert decoder.done
        assert decoder.feed(b"data: more\n\n") == []
        with pytest.raises(MalformedAnswer):
            decoder.close()

    @EVERY_ADAPTER
    def test_chunks_before_an_error_are_kept(self, name):
        case = next(case for case in CASES if case.adapter == name or (name == "openai-compatible"))
        text = case.stream.decode()
        cut = text.index("\n", len(text) // 2)
        chunks, error = read(name, case.stream[: len(text[:cut].encode())] + b"\n\ndata: {broken\n\n" + case.stream)
        assert isinstance(error, MalformedAnswer)
        assert chunks


def target(**fields):
    return Target(**{"base_url": "http://127.0.0.1:9", "model": "some-model", "api_key": SECRET} | fields)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def mangled(draw):
    """A case of the corpus with one value somewhere replaced by any JSON."""
    case = draw(st.sampled_from(CASES))
    source = draw(st.sampled_from([case.whole, *_documents(case.stream)]))
    document = json.loads(json.dumps(source))
    node, steps = document, draw(st.integers(1, 8))
    for step in range(steps):
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            break
        key = draw(st.sampled_from(keys))
        if step == steps - 1 or not isinstance(node[key], dict | list) or not node[key]:
            node[key] = draw(json_values)
            break
        node = node[key]
    return case.adapter, json.dumps(document)


def _documents(stream):
    lines = stream.decode().splitlines()
    return [json.loads(line[6:]) for line in lines if line.startswith("data: {")]


@settings(max_examples=300)
@given(mangled())
def test_any_value_in_any_place_stays_within_the_error_tree(mangled_case):
    name, text = mangled_case
    body = text.encode()
    with contextlib.suppress(PointsmanError):
        json.dumps(adapter(name).parse(200, {}, body).to_openai())
    adapter(name).classify(429, {"retry-after": "x"}, body)
    stream = b"data: " + body + b"\n\ndata: [DONE]\n\n"
    chunks, _ = read(name, stream)
    json.dumps([chunk.to_openai() for chunk in chunks])
    json.dumps(join(chunks).to_openai())


@settings(max_examples=200)
@given(
    st.sampled_from(sorted(ADAPTERS)),
    st.lists(
        st.binary(max_size=30)
        | st.sampled_from([b"data: ", b"\n\n", b"\r", b"event: error\n", b"[DONE]", b'{"error":{}}', b"\xef\xbb\xbf"]),
        max_size=8,
    ),
    st.data(),
)
def test_arbitrary_bytes_end_the_same_way_however_they_are_split(name, pieces, data):
    stream = b"".join(pieces)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    split = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    one, many = read(name, stream), read(name, *split)
    assert one[0] == many[0]
    assert told(one[1]) == told(many[1])
    for status in (400, 429, 500):
        error = adapter(name).classify(status, {"Retry-After": stream.decode("latin-1")}, stream)
        assert error.retry_after is None or error.retry_after >= 0
        with contextlib.suppress(ProviderError):
            adapter(name).parse(200, {}, stream)


@pytest.mark.parametrize(
    ("message", "reason", "kind"),
    [
        ({"content": "Yes."}, "stop", None),
        ({"content": None, "refusal": "No."}, "stop", Refused),
        ({"content": "Half"}, "content_filter", ContentFiltered),
        ({"content": None}, "stop", EmptyAnswer),
        ({"content": " \n"}, "length", EmptyAnswer),
        ({"content": "", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}]}, "stop", None),
    ],
)
def test_what_is_wrong_with_a_well_formed_answer(message, reason, kind):
    body = {"choices": [{"message": message, "finish_reason": reason}]}
    problem = answer_problem(adapter("openai").parse(200, {}, json.dumps(body).encode()))
    assert problem is None if kind is None else type(problem) is kind
    assert problem is None or problem.billed


def test_an_error_event_inside_a_200_ends_the_stream():
    overloaded = named({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})
    _, error = read("anthropic", overloaded)
    assert type(error).__name__ == "Overloaded"
    _, error = read("openrouter", b'data: {"error":{"code":502,"message":"Upstream"},"choices":[]}\n\n')
    assert (type(error).__name__, error.status) == ("ServerError", 502)
    _, error = read("openai-responses", named({"type": "error", "code": "rate_limit_exceeded", "message": "Slow"}))
    assert type(error).__name__ == "RateLimited"
    failed = {"type": "response.failed", "response": {"error": {"code": "server_error", "message": "x"}}}
    _, error = read("openai-responses", named(failed))
    assert type(error).__name__ == "ServerError"
    _, error = read("gemini", b'data: {"error":{"code":503,"status":"UNAVAILABLE","message":"x"}}\n\n')
    assert type(error).__name__ == "Overloaded"


def test_a_compatible_server_may_leave_out_done_but_not_the_finish_reason():
    case = next(case for case in CASES if case.adapter == "openai")
    without_done = case.stream.replace(b"data: [DONE]\n\n", b"")
    chunks, error = read("openai-compatible", without_done)
    assert error is None
    check(join(chunks), case)
    assert isinstance(read("openai", without_done)[1], StreamCut)
    assert isinstance(read("openai-compatible", without_done[:500])[1], StreamCut)


def test_two_answers_of_one_stream_stay_apart_and_logprobs_stay_with_theirs():
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    steps = [(0, "a", None), (1, "x", None), (1, "y", None), (0, "b", None), (0, None, "stop"), (1, None, "length")]
    odds = {"content": [{"token": "x", "logprob": -0.1, "bytes": None, "top_logprobs": []}]}
    events = [
        {
            **head,
            "choices": [
                {
                    "index": index,
                    "delta": {"content": text} if text else {},
                    "finish_reason": reason,
                    "logprobs": odds if text == "x" else None,
                }
            ],
        }
        for index, text, reason in steps
    ]
    stream = b"".join(b"data: %s\n\n" % json.dumps(event).encode() for event in events) + b"data: [DONE]\n\n"
    chunks, error = read("openai", stream)
    assert error is None
    first, second = join(chunks).choices
    assert (first.message.content, first.finish_reason) == ("ab", "stop")
    assert (second.index, second.message.content, second.finish_reason) == (1, "xy", "length")
    assert second.extra["logprobs"] == odds
    assert "logprobs" not in first.extra


@pytest.mark.parametrize(
    "indices",
    [(0, 0, 0, 0), (None, None, None, None), (0, 0, 1, 1), (0, 0, 0, 1)],
    ids=["all the same", "none", "as they should be", "a number that was given away"],
)
def test_parallel_calls_stay_apart_whatever_a_server_does_with_their_index(indices):
    """Ollama and Gemini's compatible endpoint send every call under index 0, in pieces or whole."""
    steps = [("a", "f", '{"x":'), (None, None, "1}"), ("b", "g", '{"y":'), (None, None, "2}")]
    if indices[2] != indices[3]:
        steps = [("a", "f", '{"x":1}'), ("b", "g", '{"y":2}'), ("b", None, ""), ("c", "h", "{}")]
    events = []
    for index, (call, name, arguments) in zip(indices, steps, strict=True):
        function = {"arguments": arguments} | ({"name": name} if name else {})
        fragment = {"function": function} | ({"id": call} if call else {}) | ({} if index is None else {"index": index})
        events.append({"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"tool_calls": [fragment]}}]})
    events.append({"id": "c", "model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
    stream = b"".join(b"data: %s\n\n" % json.dumps(event).encode() for event in events) + b"data: [DONE]\n\n"
    chunks, error = read("openai-compatible", stream)
    assert error is None
    calls = [(call.id, call.name, call.arguments) for call in join(chunks).message.tool_calls]
    expected = [("a", "f", '{"x":1}'), ("b", "g", '{"y":2}'), ("c", "h", "{}")]
    assert calls == expected[: len(calls)]
    assert len(calls) == len({call for call, _, _ in steps} - {None})
