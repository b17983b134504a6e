"""The schemas of the gateway's document."""

from __future__ import annotations

from typing import Any, get_args

from router_runtime.gateway.openapi_memory import MEMORY_SCHEMAS
from router_runtime.policy_settings import STRATEGIES
from router_runtime.records import FeedbackSource
from router_runtime.registry import CAPABILITIES, LATENCY_NEEDS

JSON = dict[str, Any]

_TEXT: JSON = {"type": "string"}
_NAME: JSON = {"type": "string", "minLength": 1, "maxLength": 512}
_NAMES: JSON = {"type": "array", "items": _NAME, "minItems": 1, "maxItems": 256}
_COUNT: JSON = {"type": "integer", "minimum": 0}
_SHARE: JSON = {"type": "number", "minimum": 0, "maximum": 1}
_USD: JSON = {"type": "number", "minimum": 0, "exclusiveMaximum": 1e12}
_TRUTH: JSON = {"type": "boolean"}
_ANY: JSON = {"type": "object"}
_MANY: JSON = {"type": "array", "items": _ANY}


def _object(required: str = "", /, **properties: JSON) -> JSON:
    return {"type": "object", "required": required.split(), "properties": properties}


def _maybe(schema: JSON) -> JSON:
    return {"anyOf": [schema, {"type": "null"}]}


def _ref(name: str) -> JSON:
    return {"$ref": f"#/components/schemas/{name}"}


_MODEL: JSON = {
    "anyOf": [{"enum": ["auto", "auto:cost", "auto:quality", "auto:balanced"]}, _NAME],
    "description": "auto, auto:cost, auto:quality, auto:balanced, intent/NAME, agent/NAME, or a model",
}
_PRICE: JSON = {"anyOf": [_USD, _object(input=_USD, output=_USD) | {"additionalProperties": False}]}
#: Extras that are understood beside the messages, too.
_TOP: dict[str, JSON] = {
    "tier": _maybe(_NAME),
    "budget": _maybe({**_USD, "description": "the most that the call may be predicted to cost, in USD"}),
    "trade_off": _maybe({**_SHARE, "description": "0 = cost alone, 1 = quality alone"}),
    "quality_target": _maybe(_SHARE),
    "capabilities": _maybe({**_NAMES, "items": {"enum": list(CAPABILITIES)}}),
    "models": _maybe({**_NAMES, "description": "the only models allowed"}),
    "max_price": _maybe({**_PRICE, "description": "USD per million tokens"}),
    "intent": _maybe(_NAME),
    "session": _maybe(_NAME),
}
_EXTRAS: JSON = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        **_TOP,
        "labels": _maybe(_NAMES),
        "user": _maybe(_NAME),
        "strategy": _maybe({"enum": list(STRATEGIES)}),
        "latency_need": _maybe({"enum": list(LATENCY_NEEDS)}),
        "explore": _maybe(_TRUTH),
        "stream_recovery": _maybe({"enum": ["error", "continue"]}),
        "timeout": _maybe({"type": "number", "exclusiveMinimum": 0, "maximum": 3600}),
    },
}
_ASKED: dict[str, JSON] = {"model": _MODEL, "pointsman": _maybe(_ref("Extras")), **_TOP}
_MESSAGE = _object("role", role=_TEXT, content={"type": ["string", "array", "null"]})
_TURN = _object(
    "role content", role={"enum": ["user", "assistant"]}, content={"anyOf": [_TEXT, {"type": "array", "items": _ANY}]}
)
_SYSTEM: JSON = {"anyOf": [_TEXT, {"type": "array", "items": _object("type text", type={"const": "text"}, text=_TEXT)}]}
_CLAUDE_TOOL = _object("name input_schema", name=_TEXT, description=_TEXT, input_schema=_ANY)

_FEEDBACK: JSON = {"type": "array", "items": _ref("FeedbackRow"), "minItems": 1, "maxItems": 1000}

SCHEMAS: dict[str, JSON] = {
    "Extras": _EXTRAS,
    "ChatRequest": _object(
        "model messages",
        **_ASKED,
        messages={"type": "array", "items": _MESSAGE, "minItems": 1},
        stream=_maybe(_TRUTH),
        stream_options=_maybe(_object(include_usage=_TRUTH)),
        tools=_maybe(_MANY),
        response_format=_maybe(_ANY),
        user=_maybe(_NAME),
        temperature=_maybe({"type": "number"}),
        top_p=_maybe({"type": "number"}),
        max_tokens=_maybe({"type": "integer"}),
    ),
    "ResponsesRequest": _object(
        "model input",
        **_ASKED,
        input={"anyOf": [_TEXT, {**_MANY, "minItems": 1}]},
        instructions=_maybe(_TEXT),
        stream=_maybe(_TRUTH),
        tools=_maybe(_MANY),
    ),
    "MessagesRequest": _object(
        "model messages max_tokens",
        **_ASKED,
        messages={"type": "array", "items": _TURN, "minItems": 1},
        max_tokens={"type": "integer", "minimum": 1},
        system=_SYSTEM,
        stream=_maybe(_TRUTH),
        tools={"type": "array", "items": _CLAUDE_TOOL},
        stop_sequences={"type": "array", "items": _TEXT},
    ),
    "CountRequest": _object("messages", messages={"type": "array", "items": _TURN, "minItems": 1}, system=_SYSTEM),
    "RouteRequest": {
        **_object(
            "messages",
            **_ASKED,
            messages={"anyOf": [_TEXT, {"type": "array", "items": _MESSAGE, "minItems": 1}]},
            explain=_maybe(_TRUTH),
            tools=_maybe(_MANY),
            response_format=_maybe(_ANY),
            user=_maybe(_NAME),
        ),
        "additionalProperties": False,
    },
    "FeedbackRow": _object(
        "decision_id score",
        decision_id={"type": "string", "minLength": 1, "maxLength": 100},
        score=_SHARE,
        source={"enum": list(get_args(FeedbackSource))},
        metric={"type": "string", "minLength": 1, "maxLength": 100},
        meta=_maybe(_ANY),
    ),
    "FeedbackRequest": {
        "oneOf": [
            {**_ref("FeedbackRow"), "not": {"required": ["feedback"]}},
            _object("feedback", feedback=_FEEDBACK),
        ]
    },
    "ChatResponse": _object(
        "id object model choices", id=_TEXT, object={"const": "chat.completion"}, model=_TEXT, choices=_MANY
    ),
    "Response": _object(
        "id object status model output",
        id=_TEXT, object={"const": "response"}, status={"enum": ["completed", "incomplete"]}, model=_TEXT, output=_MANY,
    ),
    "Message": _object(
        "id type role model content stop_reason usage",
        id=_TEXT, type={"const": "message"}, role={"const": "assistant"}, model=_TEXT, content=_MANY,
        stop_reason=_TEXT, usage=_ANY,
    ),
    "Count": _object("input_tokens", input_tokens=_COUNT),
    "Decision": _object(
        "id chosen propensity candidates filtered reason",
        id=_TEXT, chosen=_TEXT, propensity=_SHARE, candidates=_MANY, filtered=_ANY, reason=_TEXT, influences=_MANY,
    ),
    "Accepted": _object("accepted", accepted=_COUNT),
    "Model": _object("id object created owned_by", id=_TEXT, object={"const": "model"}, created=_COUNT, owned_by=_TEXT),
    "ModelList": _object("object data", object={"const": "list"}, data={"type": "array", "items": _ref("Model")}),
    "Agent": _object(
        "id object name description", id=_TEXT, object={"const": "agent"}, name=_TEXT, description=_TEXT
    ),
    "AgentList": _object("object data", object={"const": "list"}, data={"type": "array", "items": _ref("Agent")}),
    **MEMORY_SCHEMAS,
    "Status": _object("status", status=_TEXT),
    "Document": _object("openapi", openapi=_TEXT),
    "Error": _object(
        "error", error=_object("message type code", message=_TEXT, type=_TEXT, code=_TEXT, param=_maybe(_TEXT))
    ),
    "AnthropicError": _object(
        "type error", type={"const": "error"}, error=_object("type message", type=_TEXT, message=_TEXT)
    ),
}  # fmt: skip
