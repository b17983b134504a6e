"""The names of attributes, in one table: the conventions for generative AI still change.

By https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/ (release 1.38, development status). What the
conventions have no word for is under ``pointsman``.
"""

from __future__ import annotations

from typing import Final

OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
RESPONSE_MODEL: Final = "gen_ai.response.model"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
FIRST_CHUNK_S: Final = "gen_ai.response.time_to_first_chunk"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
CACHED_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
REASONING_TOKENS: Final = "gen_ai.usage.reasoning.output_tokens"
CONVERSATION: Final = "gen_ai.conversation.id"

ERROR: Final = "error.type"
METHOD: Final = "http.request.method"
PATH: Final = "url.path"
STATUS: Final = "http.response.status_code"

DECISION: Final = "pointsman.decision.id"
CHOSEN: Final = "pointsman.decision.model"
STRATEGY: Final = "pointsman.decision.strategy"
PROPENSITY: Final = "pointsman.decision.propensity"
CANDIDATES: Final = "pointsman.decision.candidates"
BUNDLE: Final = "pointsman.bundle"
TIER: Final = "pointsman.tier"
INTENT: Final = "pointsman.intent"
ARM: Final = "pointsman.arm"
ATTEMPT: Final = "pointsman.attempt.index"
REASON: Final = "pointsman.attempt.reason"
WAIT_S: Final = "pointsman.attempt.wait_s"
COST_USD: Final = "pointsman.cost_usd"
BILLED: Final = "pointsman.billed"
ACCOUNT: Final = "pointsman.budget.account"
"""Kind of the account, ``tier:<name>``, ``user`` or ``key``: never whose."""

CHAT: Final = "chat"
