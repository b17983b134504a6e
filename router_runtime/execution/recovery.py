"""What happens to a stream that fails after its first content."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from router_runtime.chat import ChatChunk, ChatRequest
from router_runtime.execution.settings import StreamItem, StreamRestart

_GO_ON = (
    "Your previous message was cut off. Continue it exactly where it stops: no repetition, no remark, not even a"
    " leading space unless the text needs one."
)


@dataclass(slots=True)
class Delivered:
    """What the reader of a stream has seen.

    Args:
        parts: Pieces of the text.
        id: Of the first chunk; a continuation keeps it.
        tools: Whether a fragment of a tool call was among it: half a call cannot be continued by another model.
    """

    parts: list[str] = field(default_factory=list)
    id: str | None = None
    tools: bool = False

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self.parts)

    def see(self, items: Sequence[StreamItem]) -> None:
        """Takes note of what is given out; a restart voids what came before."""
        for item in items:
            if isinstance(item, StreamRestart):
                self.parts.clear()
                self.id, self.tools = None, False
                continue
            if item.content:
                self.parts.append(item.content)
            if item.tool_calls:
                self.tools = True
            if self.id is None:
                self.id = item.id


def continuation(request: ChatRequest, partial: str) -> ChatRequest:
    """The request that asks a model to go on from ``partial``.

    A closing turn of the user says so: several providers refuse a conversation that ends with the assistant. Where
    there is no text yet (reasoning alone, which no provider takes back), it is asked anew.
    """
    if not partial:
        return request
    turns = ({"role": "assistant", "content": partial}, {"role": "user", "content": _GO_ON})
    return replace(request, messages=(*request.messages, *turns))


def as_continuation(chunk: ChatChunk, stream_id: str) -> ChatChunk:
    """``chunk`` under the id of the stream that it continues, without a second role."""
    return replace(chunk, id=stream_id, role=None)
