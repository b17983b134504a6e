"""``/v1/chat/completions``: our normalised shape is this one, so most goes through as it is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from starlette.routing import Route

from router_runtime.chat import ChatChunk
from router_runtime.execution import Completion
from router_runtime.gateway.answering import Answering
from router_runtime.gateway.formats import Asked, Head
from router_runtime.gateway.problems import Problem, openai_error
from router_runtime.gateway.reading import maybe_obj, truth
from router_runtime.gateway.service import Service
from router_runtime.gateway.wire import to_json


def routes(service: Service) -> list[Route]:
    """The endpoint."""
    return [Route("/v1/chat/completions", Answering(service, ChatFormat()), methods=["POST"])]


class ChatFormat:
    """OpenAI's Chat Completions."""

    name = "chat"

    def read(self, body: dict[str, Any]) -> Asked:
        """See :class:`~router_runtime.gateway.formats.Format`."""
        streamed = truth(body.get("stream"), "stream")
        options = maybe_obj(body.get("stream_options"), "stream_options")
        usage = truth(options.get("include_usage"), "stream_options.include_usage")
        return Asked(body, streamed, {"include_usage": usage})

    def whole(self, asked: Asked, completion: Completion, now: float) -> dict[str, Any]:  # noqa: ARG002 - the protocol's
        """See :class:`~router_runtime.gateway.formats.Format`."""
        body = completion.to_openai()
        body["model"] = completion.served
        body["id"] = body["id"] or f"chatcmpl-{completion.decision.id}"
        body["created"] = body["created"] or int(now)
        return body

    def encoder(self, asked: Asked, head: Head) -> ChatEncoder:
        """See :class:`~router_runtime.gateway.formats.Format`."""
        return ChatEncoder(head, include_usage=asked.echo["include_usage"])

    def error(self, problem: Problem) -> dict[str, Any]:
        """See :class:`~router_runtime.gateway.formats.Format`."""
        return openai_error(problem)


class ChatEncoder:
    """``data: {chunk}`` …, ``data: [DONE]``.

    Nearly all chunks hold a piece of text and nothing else: those are written between two halves that are made once.

    Args:
        head: Of the answer.
        include_usage: Whether the last chunk tells the usage.
    """

    def __init__(self, head: Head, *, include_usage: bool) -> None:
        self._head, self._include_usage = head, include_usage
        self._before = b""
        self._id = ""

    def begin(self) -> bytes:
        """Nothing."""
        return b""

    def feed(self, chunks: Sequence[ChatChunk]) -> bytes:
        """See :class:`~router_runtime.gateway.formats.Encoder`."""
        return b"".join([self._event(chunk) for chunk in chunks])

    def end(self) -> bytes:
        """See :class:`~router_runtime.gateway.formats.Encoder`."""
        return b"data: [DONE]\n\n"

    def failed(self, problem: Problem) -> bytes:
        """An event that OpenAI's clients raise as an APIError; no ``[DONE]``."""
        return b"data: " + to_json(openai_error(problem)) + b"\n\n"

    def _event(self, chunk: ChatChunk) -> bytes:
        if chunk.id != self._id or not self._before:
            self._begin_halves(chunk)
        if _is_plain(chunk):
            return self._before + json.dumps(chunk.content).encode() + _AFTER
        if chunk.empty and not (chunk.usage and self._include_usage):
            return b""
        body = chunk.to_openai()
        body |= {"id": self._id, "model": self._head.model, "created": body["created"] or self._head.created}
        if not self._include_usage:
            body.pop("usage", None)
        return b"data: " + to_json(body) + b"\n\n"

    def _begin_halves(self, chunk: ChatChunk) -> None:
        self._id = chunk.id or f"chatcmpl-{self._head.decision_id}"
        head = {"id": self._id, "object": "chat.completion.chunk", "created": chunk.created or self._head.created}
        half = to_json({**head, "model": self._head.model})
        self._before = b"data: " + half[:-1] + b',"choices":[{"index":0,"delta":{"content":'


_AFTER = b'},"finish_reason":null}]}\n\n'


def _is_plain(chunk: ChatChunk) -> bool:
    return bool(chunk.content) and not (
        chunk.index
        or chunk.finish_reason
        or chunk.role
        or chunk.tool_calls
        or chunk.reasoning
        or chunk.refusal
        or chunk.extra
        or chunk.choice_extra
        or chunk.usage
    )
