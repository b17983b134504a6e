"""Chunks → Anthropic's events: a tool call is one block, or the stream fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from router_runtime.chat import ChatChunk, ToolCallDelta
from router_runtime.gateway.anthropic_events import MessageEncoder
from router_runtime.gateway.formats import Head
from router_runtime.provider_errors import MalformedAnswer
from tests.provider_server import ProviderServer, stream
from tests.runtime.execution.wires import sse
from tests.runtime.gateway.house import registry_at, running


def chunk(content: str | None = None, *calls: ToolCallDelta) -> ChatChunk:
    return ChatChunk("c", "m", content, calls)


BEGUN = ToolCallDelta(0, "call", "f", '{"a"')
REST = ToolCallDelta(0, arguments=":1}")


def test_blanks_between_the_fragments_of_a_call_do_not_end_it() -> None:
    encoder = MessageEncoder(Head("d", "m", 1))
    said = encoder.feed([chunk(None, BEGUN), chunk("\n"), chunk(None, REST)]) + encoder.end()
    assert said.count(b"content_block_start") == 2 * 1  # its event's name, and its type
    assert said.count(b"input_json_delta") == 2


@pytest.mark.parametrize("between", [chunk("text"), chunk(None, ToolCallDelta(1, "other", "g", "{}"))])
def test_a_call_that_goes_on_after_something_else_fails(between: ChatChunk) -> None:
    encoder = MessageEncoder(Head("d", "m", 1))
    encoder.feed([chunk(None, BEGUN), between])
    with pytest.raises(MalformedAnswer, match="interleaved"):
        encoder.feed([chunk(None, REST)])


def sent(delta: dict[str, Any]) -> bytes:
    return sse({"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta}]})


def fragment(index: int, arguments: str, **begun: Any) -> bytes:
    called = {"arguments": arguments, **({"name": "f"} if begun else {})}
    return sent({"tool_calls": [{"index": index, "function": called, **begun}]})


INTERLEAVED = [fragment(0, '{"a"', id="c0"), fragment(1, "{}", id="c1"), fragment(0, ":1}"), sse("[DONE]")]


@pytest.mark.parametrize("packets", [[b"".join(INTERLEAVED)], [sent({"content": "Hello"}), *INTERLEAVED]])
def test_a_stream_that_cannot_be_told_ends_with_an_error_after_what_was_sent(
    tmp_path: Path, packets: list[bytes]
) -> None:
    body = {"model": "auto", "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": "x"}]}
    with (
        ProviderServer(lambda _got: stream(packets, gap=0.02)) as server,
        running(registry_at(server.url), tmp_path, open_door=True) as gate,
    ):
        answer = httpx.post(f"{gate.url}/v1/messages", json=body, timeout=30)
    events = [json.loads(line.removeprefix("data: ")) for line in answer.text.split("\n") if line.startswith("data: ")]
    assert (events[0]["type"], events[-1]["type"]) == ("message_start", "error")
    begun = [one["index"] for one in events if one["type"] == "content_block_start"]
    assert begun == sorted(set(begun)), "nothing is sent twice"
