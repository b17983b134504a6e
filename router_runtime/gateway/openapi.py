"""``/openapi.json``: the gateway's own document (OpenAPI 3.1), put together from small schemas.

Requests are described as far as the gateway reads them; what belongs to the provider goes through and is left open.
"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.routing import Route

from router_runtime.gateway.openapi_schemas import SCHEMAS
from router_runtime.gateway.service import Service
from router_runtime.gateway.wire import Json

JSON = dict[str, Any]

#: Any error may come of any request: by its status.
_ERRORS = {
    "400": "the request cannot be read, or nothing can take it",
    "401": "no good API key",
    "403": "the key does not open this",
    "404": "no such model, intent or path",
    "405": "the path does not take this method",
    "408": "the body did not come in time",
    "413": "the body is too large",
    "429": "a rate or a budget is used up",
    "500": "a fault of the gateway",
    "502": "the providers failed",
    "503": "full, draining, or no model is well",
    "504": "the providers took too long",
}


def routes(service: Service) -> list[Route]:
    """The endpoint."""
    del service
    document = build_document()

    async def openapi(_request: Request) -> Json:
        return Json(document)

    return [Route("/openapi.json", openapi, methods=["GET"])]


def build_document() -> JSON:
    """The document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Pointsman",
            "version": "1",
            "description": "A learned router for language models behind OpenAI's and Anthropic's formats.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"bearer": []}, {"apiKey": []}],
        "paths": _paths(),
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
    }


def _paths() -> JSON:
    return {
        "/v1/chat/completions": _answering("Chat Completions", "ChatRequest", "ChatResponse", "Error"),
        "/v1/responses": _answering("Responses", "ResponsesRequest", "Response", "Error"),
        "/v1/messages": _answering("Messages", "MessagesRequest", "Message", "AnthropicError"),
        "/v1/messages/count_tokens": _post("Count tokens", "CountRequest", "Count", "AnthropicError"),
        "/v1/route": _post("Decide only", "RouteRequest", "Decision", "Error"),
        "/v1/feedback": _post("Say how good an answer was", "FeedbackRequest", "Accepted", "Error"),
        "/v1/models": {"get": _operation("List models", _replies("ModelList", "Error"))},
        "/v1/models/{model}": {
            "get": _operation("One model", _replies("Model", "Error"))
            | {"parameters": [{"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}]}
        },
        "/v1/agents": {"get": _operation("List agents", _replies("AgentList", "Error"))},
        "/v1/agents/{agent}": {
            "get": _operation("One agent", _replies("Agent", "Error"))
            | {"parameters": [{"name": "agent", "in": "path", "required": True, "schema": {"type": "string"}}]}
        },
        "/v1/agents/match": _post("Say who would take a task", "MatchRequest", "Match", "Error"),
        "/v1/memory": {
            **_post("Remember something", "MemoryWrite", "Remembered", "Error"),
            "delete": _post("Forget what an agent wrote", "MemoryForget", "Forgotten", "Error")["post"],
        },
        "/v1/memory/search": _post("Find what an agent may read", "MemorySearch", "MemoryList", "Error"),
        "/health": {"get": _open("Whether the process answers", "Status")},
        "/ready": {"get": _open("Whether it wants traffic", "Status", "Status")},
        "/openapi.json": {"get": _open("This document", "Document")},
    }


def _answering(summary: str, asked: str, answered: str, error: str) -> JSON:
    """An endpoint whose answer may be streamed."""
    path = _post(summary, asked, answered, error)
    content = path["post"]["responses"]["200"]["content"]
    content["text/event-stream"] = {"schema": {"type": "string"}}
    path["post"]["responses"]["200"]["headers"] = {
        f"x-pointsman-{name}": {"schema": {"type": "string"}, "description": words}
        for name, words in {
            "decision": "id of the decision, for feedback",
            "model": "the registry's model that served",
            "cost-usd": "cost of all attempts; in a stream, what was predicted",
            "reason": "why this model",
        }.items()
    }
    return path


def _post(summary: str, asked: str, answered: str, error: str) -> JSON:
    body = {"required": True, "content": {"application/json": {"schema": _ref(asked)}}}
    return {"post": _operation(summary, _replies(answered, error)) | {"requestBody": body}}


def _open(summary: str, answered: str, unavailable: str | None = None) -> JSON:
    """An endpoint without a key."""
    replies = {"200": _reply("done", answered), "405": _reply(_ERRORS["405"], "Error")}
    if unavailable is not None:
        replies["503"] = _reply("draining", unavailable)
    return _operation(summary, replies) | {"security": []}


def _operation(summary: str, responses: JSON) -> JSON:
    return {"operationId": summary.lower().replace(" ", "_"), "summary": summary, "responses": responses}


def _replies(answered: str, error: str) -> JSON:
    return {"200": _reply("done", answered), **{status: _reply(words, error) for status, words in _ERRORS.items()}}


def _reply(words: str, schema: str) -> JSON:
    return {"description": words, "content": {"application/json": {"schema": _ref(schema)}}}


def _ref(name: str) -> JSON:
    return {"$ref": f"#/components/schemas/{name}"}
