"""``/v1/responses``: OpenAI's Responses over every provider."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.routing import Route

from router_runtime.chat import Usage
from router_runtime.execution import Completion
from router_runtime.gateway.answering import Answering
from router_runtime.gateway.formats import Asked, Head
from router_runtime.gateway.problems import Problem, openai_error
from router_runtime.gateway.reading import truth
from router_runtime.gateway.responses_events import ResponseEncoder
from router_runtime.gateway.responses_read import chat_body
from router_runtime.gateway.responses_words import call_item, ending, message_item, reasoning_item, skeleton, usage_of
from router_runtime.gateway.service import Service


def routes(service: Service) -> list[Route]:
    """The endpoint."""
    return [Route("/v1/responses", Answering(service, ResponsesFormat()), methods=["POST"])]


class ResponsesFormat:
    """OpenAI's Responses."""

    name = "responses"

    def read(self, body: dict[str, Any]) -> Asked:
        """See :class:`~router_runtime.gateway.formats.Format`."""
        return Asked(chat_body(body), truth(body.get("stream"), "stream"), body)

    def whole(self, asked: Asked, completion: Completion, now: float) -> dict[str, Any]:
        """See :class:`~router_runtime.gateway.formats.Format`."""
        response, decision = completion.response, completion.decision.id
        choice = response.choices[0]
        output = list(_output(choice.message, decision))
        body = skeleton(asked.echo, decision, completion.served, response.created or int(now))
        body |= {"output": output, "usage": usage_of(response.usage or Usage())}
        return body | ending(choice.finish_reason)

    def encoder(self, asked: Asked, head: Head) -> ResponseEncoder:
        """See :class:`~router_runtime.gateway.formats.Format`."""
        return ResponseEncoder(head, asked.echo)

    def error(self, problem: Problem) -> dict[str, Any]:
        """See :class:`~router_runtime.gateway.formats.Format`."""
        return openai_error(problem)


def _output(message: Any, decision: str) -> list[Mapping[str, Any]]:
    items: list[Mapping[str, Any]] = list(message.extra.get("reasoning_items", ()))
    if not items and message.reasoning:
        items.append(reasoning_item(f"rs_{decision}", message.reasoning))
    items += message.extra.get("output_items", ())
    if message.content is not None or message.refusal is not None:
        annotations = message.extra.get("annotations", [])
        items.append(message_item(f"msg_{decision}", message.content, message.refusal, annotations))
    for index, call in enumerate(message.tool_calls):
        items.append(call_item(f"fc_{decision}_{index}", call.id, call.name, call.arguments))
    return items
