"""``/v1/messages`` and ``/v1/messages/count_tokens``: Anthropic's Messages over every provider."""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request
from starlette.routing import Route

from router_runtime.chat import Message, Usage
from router_runtime.execution import Completion
from router_runtime.filters import estimate_tokens
from router_runtime.gateway.answering import Answering
from router_runtime.gateway.anthropic_events import MessageEncoder
from router_runtime.gateway.anthropic_read import chat_body
from router_runtime.gateway.anthropic_words import stop_of, usage_of
from router_runtime.gateway.formats import Asked, Head
from router_runtime.gateway.problems import Problem, anthropic_error
from router_runtime.gateway.reading import truth
from router_runtime.gateway.service import Service
from router_runtime.gateway.wire import Json, read_json
from router_runtime.messages import read_request


def routes(service: Service) -> list[Route]:
    """The endpoints."""

    async def count(request: Request) -> Json:
        body = read_json(await request.body())
        chat = chat_body({"max_tokens": 1, **body})
        asked = read_request(chat["messages"], tools=chat.get("tools"), response_format=chat.get("response_format"))
        return Json({"input_tokens": max(1, round(estimate_tokens(asked)))})

    return [
        Route("/v1/messages", Answering(service, MessagesFormat()), methods=["POST"]),
        Route("/v1/messages/count_tokens", count, methods=["POST"]),
    ]


class MessagesFormat:
    """Anthropic's Messages."""

    name = "messages"

    def read(self, body: dict[str, Any]) -> Asked:
        """See :class:`~router_runtime.gateway.formats.Format`."""
        return Asked(chat_body(body), truth(body.get("stream"), "stream"))

    def whole(self, asked: Asked, completion: Completion, now: float) -> dict[str, Any]:  # noqa: ARG002 - the protocol's
        """See :class:`~router_runtime.gateway.formats.Format`."""
        response = completion.response
        choice = response.choices[0]
        body: dict[str, Any] = {
            "id": response.id or f"msg_{completion.decision.id}",
            "type": "message",
            "role": "assistant",
            "model": completion.served,
            "content": blocks_of(choice.message),
            "usage": usage_of(response.usage or Usage()),
        }
        return body | stop_of(choice.finish_reason, choice.extra)

    def encoder(self, asked: Asked, head: Head) -> MessageEncoder:  # noqa: ARG002 - the protocol's
        """See :class:`~router_runtime.gateway.formats.Format`."""
        return MessageEncoder(head)

    def error(self, problem: Problem) -> dict[str, Any]:
        """See :class:`~router_runtime.gateway.formats.Format`."""
        return anthropic_error(problem)


def blocks_of(message: Message) -> list[dict[str, Any]]:
    """Thinking, text (or why the model declined), tool calls."""
    blocks = [dict(block) for block in message.extra.get("thinking_blocks", ())]
    if not blocks and message.reasoning:
        blocks.append({"type": "thinking", "thinking": message.reasoning, "signature": ""})
    blocks += message.extra.get("native_blocks", ())
    words = message.content or message.refusal
    if words:
        blocks.append({"type": "text", "text": words, "citations": message.extra.get("citations")})
    for call in message.tool_calls:
        blocks.append({"type": "tool_use", "id": call.id, "name": call.name, "input": _input(call.arguments)})
    return blocks


def _input(arguments: str) -> dict[str, Any]:
    """Arguments as an object; a model that wrote no JSON object is quoted, so that its caller sees what it said."""
    try:
        found = json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {"arguments": arguments}
