"""Adapters by the names that a registry uses."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from router_runtime.errors import ConfigError
from router_runtime.providers.anthropic import Anthropic
from router_runtime.providers.base import Adapter
from router_runtime.providers.gemini import Gemini
from router_runtime.providers.openai_chat import OpenAIChat
from router_runtime.providers.openai_responses import OpenAIResponses

_FOREIGN = frozenset({"thinking_blocks", "reasoning_items"})

#: DeepSeek wants its reasoning back within a turn of tool calls; servers of the compatible kind ignore it.
ADAPTERS: Mapping[str, Adapter] = MappingProxyType(
    {
        adapter.name: adapter
        for adapter in (
            OpenAIChat(),
            OpenAIResponses(),
            Anthropic(),
            Gemini(),
            OpenAIChat("deepseek", "max_tokens", _FOREIGN),
            OpenAIChat("openrouter", "max_tokens", _FOREIGN),
            OpenAIChat("openai-compatible", "max_tokens", _FOREIGN, done_required=False),
        )
    }
)


def adapter(name: str) -> Adapter:
    """The adapter of that name.

    Raises:
        ConfigError: There is none; the message lists those that there are.
    """
    if name not in ADAPTERS:
        raise ConfigError(f"unknown adapter {name[:60]!r}; there are {', '.join(sorted(ADAPTERS))}")
    return ADAPTERS[name]
