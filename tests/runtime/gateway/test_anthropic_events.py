"""Chunks → Anthropic's events: a tool call is one block, or the stream fails."""

from __future__ import annotations

import pytest

from router_runtime.chat import ChatChunk, ToolCallDelta
from router_runtime.gateway.anthropic_events import MessageEncoder
from router_runtime.gateway.formats import Head
from router_runtime.provider_errors import MalformedAnswer


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
