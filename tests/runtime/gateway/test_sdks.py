"""The official Python SDKs against the gateway, in front of a scripted provider of each wire format."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from pydantic import BaseModel

from tests.provider_server import ProviderServer, Received, reply, stream
from tests.runtime.execution.wires import TEXT, WIRES, begun, good
from tests.runtime.gateway.house import Gateway, registry_at, running
from tests.runtime.gateway.wire_tools import tools_streamed, tools_whole

NAMES = [wire.adapter for wire in WIRES]
BY_NAME = {wire.adapter: wire for wire in WIRES}
PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGP4z8DwHwAFAAH/iZk9HQAAAABJRU5ErkJggg=="  # noqa: E501 - one picture
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def streamed(request: Received) -> bool:
    return b'"stream":true' in request.body or b"stream" in request.path.encode()


@pytest.fixture(scope="module")
def provider() -> Iterator[ProviderServer]:
    with ProviderServer() as server:
        yield server


@pytest.fixture(scope="module")
def gateway(provider: ProviderServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running(registry_at(provider.url, NAMES), tmp_path_factory.mktemp("state")) as gate:
        yield gate


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> str:
    return gateway.key()


@pytest.fixture
def ai(gateway: Gateway, key: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key, max_retries=0) as client:
        yield client


@pytest.fixture
def claude(gateway: Gateway, key: str) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=gateway.url, api_key=key, max_retries=0) as client:
        yield client


@pytest.fixture(params=NAMES)
def wire(request: pytest.FixtureRequest, provider: ProviderServer) -> Any:
    found = BY_NAME[request.param]
    provider.handler = lambda got: good(found, streamed(got))
    return found


HELLO: Any = [{"role": "user", "content": "Which track?"}]


def test_chat(ai: openai.OpenAI, wire: Any) -> None:
    raw = ai.chat.completions.with_raw_response.create(model=f"m-{wire.adapter}", messages=HELLO)
    answer = raw.parse()
    assert answer.model == f"m-{wire.adapter}" == raw.headers["x-pointsman-model"]
    assert answer.choices[0].message.content == TEXT
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (10, 5)
    assert float(raw.headers["x-pointsman-cost-usd"]) == pytest.approx(10 * 2e-6 + 5 * 10e-6)
    assert raw.headers["x-pointsman-decision"] == raw.request_id
    assert "only candidate" in raw.headers["x-pointsman-reason"]


@pytest.mark.parametrize("usage", [True, False])
def test_chat_streams(ai: openai.OpenAI, wire: Any, usage: bool) -> None:
    chunks = list(
        ai.chat.completions.create(
            model=f"m-{wire.adapter}", messages=HELLO, stream=True, stream_options={"include_usage": usage}
        )
    )
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == TEXT
    assert [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason] == ["stop"]
    assert {c.model for c in chunks} == {f"m-{wire.adapter}"}
    assert len({c.id for c in chunks}) == 1
    told = [c.usage for c in chunks if c.usage]
    assert [(u.prompt_tokens, u.completion_tokens) for u in told] == ([(10, 5)] if usage else [])


def test_responses(ai: openai.OpenAI, wire: Any) -> None:
    answer = ai.responses.create(model=f"m-{wire.adapter}", input="Which track?", instructions="Be brief.")
    assert answer.output_text == TEXT
    assert answer.status == "completed"
    assert answer.instructions == "Be brief."
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (10, 5)


def test_responses_stream(ai: openai.OpenAI, wire: Any) -> None:
    with ai.responses.stream(model=f"m-{wire.adapter}", input="Which track?") as events:
        seen = [event.type for event in events]
        final = events.get_final_response()
    assert final.output_text == TEXT
    assert final.usage is not None
    assert (final.usage.input_tokens, final.usage.output_tokens) == (10, 5)
    assert (seen[0], seen[-1]) == ("response.created", "response.completed")
    assert seen.count("response.output_text.delta") == 2


def test_messages(claude: anthropic.Anthropic, wire: Any) -> None:
    answer = claude.messages.create(model=f"m-{wire.adapter}", max_tokens=50, messages=HELLO, system="Be brief.")
    assert answer.content[0].type == "text"
    assert answer.content[0].text == TEXT
    assert (answer.model, answer.stop_reason) == (f"m-{wire.adapter}", "end_turn")
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (10, 5)


def test_messages_stream(claude: anthropic.Anthropic, wire: Any) -> None:
    with claude.messages.stream(model=f"m-{wire.adapter}", max_tokens=50, messages=HELLO) as events:
        assert "".join(events.text_stream) == TEXT
        final = events.get_final_message()
    assert (final.stop_reason, final.usage.output_tokens) == ("end_turn", 5)
    assert final.model == f"m-{wire.adapter}"


CITIES = [{"city": "Oslo"}, {"city": "Bergen"}]


@pytest.fixture(params=NAMES)
def tools(request: pytest.FixtureRequest, provider: ProviderServer) -> str:
    name = request.param
    calls = [("weather", city) for city in CITIES]
    provider.handler = lambda got: (
        stream(tools_streamed(name, calls)) if streamed(got) else reply(tools_whole(name, calls))
    )
    return f"m-{name}"


def test_chat_tools(ai: openai.OpenAI, tools: str) -> None:
    answer = ai.chat.completions.create(model=tools, messages=HELLO, tools=[WEATHER])
    calls: Any = answer.choices[0].message.tool_calls
    assert [json.loads(call.function.arguments) for call in calls] == CITIES
    assert answer.choices[0].finish_reason == "tool_calls"
    assert len({call.id for call in calls}) == 2


def test_chat_tools_stream(ai: openai.OpenAI, tools: str) -> None:
    with ai.chat.completions.stream(model=tools, messages=HELLO, tools=[WEATHER]) as events:
        final = events.get_final_completion()
    calls: Any = final.choices[0].message.tool_calls
    assert [json.loads(call.function.arguments) for call in calls] == CITIES
    assert [call.function.name for call in calls] == ["weather", "weather"]


def test_responses_tools(ai: openai.OpenAI, tools: str) -> None:
    flat: Any = {"type": "function", "strict": False, **WEATHER["function"]}
    answer = ai.responses.create(model=tools, input="Which track?", tools=[flat])
    calls = [item for item in answer.output if item.type == "function_call"]
    assert [json.loads(call.arguments) for call in calls] == CITIES
    with ai.responses.stream(model=tools, input="Which track?", tools=[flat]) as events:
        final = events.get_final_response()
    calls = [item for item in final.output if item.type == "function_call"]
    assert [json.loads(call.arguments) for call in calls] == CITIES


def test_messages_tools(claude: anthropic.Anthropic, tools: str) -> None:
    flat: Any = {"name": "weather", "input_schema": WEATHER["function"]["parameters"]}
    answer = claude.messages.create(model=tools, max_tokens=50, messages=HELLO, tools=[flat])
    assert [block.input for block in answer.content if block.type == "tool_use"] == CITIES
    assert answer.stop_reason == "tool_use"
    with claude.messages.stream(model=tools, max_tokens=50, messages=HELLO, tools=[flat]) as events:
        final = events.get_final_message()
    assert [block.input for block in final.content if block.type == "tool_use"] == CITIES
    assert final.stop_reason == "tool_use"


def test_tool_results_and_images_reach_the_provider(
    claude: anthropic.Anthropic, ai: openai.OpenAI, provider: ProviderServer
) -> None:
    provider.handler = lambda got: good(BY_NAME["openai"], streamed(got))
    image: Any = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL.split(",")[1]}}
    use = {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Oslo"}}
    told = {"type": "tool_result", "tool_use_id": "t1", "content": "rain"}
    turns: Any = [
        {"role": "user", "content": [image, {"type": "text", "text": "Where is this?"}]},
        {"role": "assistant", "content": [use]},
        {"role": "user", "content": [told, {"type": "text", "text": "So?"}]},
    ]
    flat: Any = {"name": "weather", "input_schema": WEATHER["function"]["parameters"]}
    claude.messages.create(model="m-openai", max_tokens=50, messages=turns, tools=[flat])
    sent = provider.received[-1].json()
    assert sent["messages"][0]["content"][0] == {"type": "image_url", "image_url": {"url": PIXEL}}
    assert sent["messages"][1]["tool_calls"][0]["function"] == {"name": "weather", "arguments": '{"city": "Oslo"}'}
    assert sent["messages"][2] == {"role": "tool", "tool_call_id": "t1", "content": "rain"}
    assert sent["messages"][3] == {"role": "user", "content": [{"type": "text", "text": "So?"}]}

    items: Any = [
        {"role": "user", "content": [{"type": "input_image", "image_url": PIXEL}, {"type": "input_text", "text": "?"}]},
        {"type": "function_call", "call_id": "t1", "name": "weather", "arguments": "{}"},
        {"type": "function_call", "call_id": "t2", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "t1", "output": "rain"},
        {"type": "function_call_output", "call_id": "t2", "output": "sun"},
    ]
    ai.responses.create(model="m-openai", input=items)
    sent = provider.received[-1].json()["messages"]
    assert [m["role"] for m in sent] == ["user", "assistant", "tool", "tool"]
    assert [call["id"] for call in sent[1]["tool_calls"]] == ["t1", "t2"]


class Track(BaseModel):
    number: int


def test_structured_output(ai: openai.OpenAI, claude: anthropic.Anthropic, provider: ProviderServer) -> None:
    provider.handler = lambda got: good(BY_NAME["openai"], streamed(got), '{"number": 9}')
    chat = ai.chat.completions.parse(model="m-openai", messages=HELLO, response_format=Track)
    assert chat.choices[0].message.parsed == Track(number=9)
    form = provider.received[-1].json()["response_format"]
    assert form["json_schema"]["schema"]["required"] == ["number"]
    answer = ai.responses.parse(model="m-openai", input="Which track?", text_format=Track)
    assert answer.output_parsed == Track(number=9)
    message = claude.messages.parse(model="m-openai", max_tokens=50, messages=HELLO, output_format=Track)
    assert message.parsed_output == Track(number=9)
    assert provider.received[-1].json()["response_format"]["json_schema"]["schema"]["required"] == ["number"]


STATUSES = [
    (400, openai.BadRequestError, anthropic.BadRequestError),
    (429, openai.RateLimitError, anthropic.RateLimitError),
    (500, openai.InternalServerError, anthropic.InternalServerError),
]


@pytest.mark.parametrize(("status", "theirs", "claudes"), STATUSES)
@pytest.mark.parametrize("stream_it", [False, True])
def test_errors_of_providers(
    tmp_path: Path,
    status: int,
    theirs: type[openai.APIStatusError],
    claudes: type[anthropic.APIStatusError],
    stream_it: bool,
) -> None:
    """Each client hears a status of the kind that it raises as the error it knows, before any stream begins."""
    failing = reply({"error": {"message": "secret prose", "type": "x", "code": None}}, status)
    with (
        ProviderServer(lambda _got: failing) as server,
        running(registry_at(server.url), tmp_path, open_door=True) as gate,
        openai.OpenAI(base_url=f"{gate.url}/v1", api_key="none", max_retries=0) as ai,
        anthropic.Anthropic(base_url=gate.url, api_key="none", max_retries=0) as claude,
    ):
        with pytest.raises(theirs) as found:
            ai.chat.completions.create(model="m-openai", messages=HELLO, stream=stream_it)
        assert "secret prose" not in str(found.value)
        with pytest.raises(theirs):
            ai.responses.create(model="m-openai", input="Which track?", stream=stream_it)
        with pytest.raises(claudes):
            claude.messages.create(model="m-openai", max_tokens=9, messages=HELLO, stream=stream_it)


def test_unknown_models_say_which_is_meant(ai: openai.OpenAI, claude: anthropic.Anthropic) -> None:
    with pytest.raises(openai.NotFoundError, match="did you mean 'm-openai'"):
        ai.chat.completions.create(model="m-opena", messages=HELLO)
    with pytest.raises(anthropic.NotFoundError, match="did you mean 'm-openai'"):
        claude.messages.create(model="m-opena", max_tokens=9, messages=HELLO)


def test_wrong_keys(gateway: Gateway) -> None:
    wrong = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="pm-wrong", max_retries=0)
    with wrong, pytest.raises(openai.AuthenticationError):
        wrong.models.list()
    claude = anthropic.Anthropic(base_url=gateway.url, api_key="pm-wrong", max_retries=0)
    with claude, pytest.raises(anthropic.AuthenticationError):
        claude.messages.create(model="auto", max_tokens=9, messages=HELLO)


def test_streams_that_break_raise(ai: openai.OpenAI, claude: anthropic.Anthropic, provider: ProviderServer) -> None:
    provider.handler = lambda _got: stream(begun(BY_NAME["openai"]))
    chunks = ai.chat.completions.create(model="m-openai", messages=HELLO, stream=True)
    role, first = next(chunks), next(chunks)
    assert role.choices[0].delta.role == "assistant"
    assert TEXT.startswith(first.choices[0].delta.content or "?")
    with pytest.raises(openai.APIError, match="stream broke"):
        next(chunks)
    broken = claude.messages.stream(model="m-openai", max_tokens=9, messages=HELLO)
    with broken as events, pytest.raises(anthropic.APIStatusError, match="stream broke"):
        events.until_done()
    told = list(ai.responses.create(model="m-openai", input="Which track?", stream=True))
    assert [event.type for event in told[-2:]] == ["error", "response.failed"]
    last: Any = told[-1]
    assert "stream broke" in last.response.error.message


def test_models(ai: openai.OpenAI, claude: anthropic.Anthropic) -> None:
    assert {"auto", "auto:cost", *(f"m-{n}" for n in NAMES)} <= {m.id for m in ai.models.list()}
    assert ai.models.retrieve("m-openai").owned_by == "p-openai"
    assert "m-anthropic" in {m.id for m in claude.models.list()}
    assert claude.models.retrieve("auto").id == "auto"


def test_count_tokens(claude: anthropic.Anthropic) -> None:
    short = claude.messages.count_tokens(model="auto", messages=HELLO).input_tokens
    long = claude.messages.count_tokens(
        model="auto", messages=[{"role": "user", "content": "word " * 1000}]
    ).input_tokens
    assert 1 <= short < 20 < 1000 < long < 2000


async def test_async_clients(gateway: Gateway, key: str, provider: ProviderServer) -> None:
    provider.handler = lambda got: good(BY_NAME["openai"], streamed(got))
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=key) as ai:
        answer = await ai.chat.completions.create(model="auto", messages=HELLO)
    assert answer.choices[0].message.content == TEXT
