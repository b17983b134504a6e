"""Providers that other tools name by a word: the adapter that speaks to each, where it is, where its key stands."""

from __future__ import annotations

from typing import NamedTuple


class Known(NamedTuple):
    """One provider.

    Args:
        adapter: The registry's word for its wire format.
        base_url: None where it must be given.
        key_env: Variable that usually holds its key; None where it needs none.
    """

    adapter: str
    base_url: str | None
    key_env: str | None


KNOWN: dict[str, Known] = {
    "openai": Known("openai", "https://api.openai.com/v1", "OPENAI_API_KEY"),
    "anthropic": Known("anthropic", "https://api.anthropic.com", "ANTHROPIC_API_KEY"),
    "gemini": Known("gemini", "https://generativelanguage.googleapis.com/v1beta", "GEMINI_API_KEY"),
    "google": Known("gemini", "https://generativelanguage.googleapis.com/v1beta", "GEMINI_API_KEY"),
    "deepseek": Known("deepseek", "https://api.deepseek.com", "DEEPSEEK_API_KEY"),
    "openrouter": Known("openrouter", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
    "groq": Known("openai-compatible", "https://api.groq.com/openai/v1", "GROQ_API_KEY"),
    "mistral": Known("openai-compatible", "https://api.mistral.ai/v1", "MISTRAL_API_KEY"),
    "together_ai": Known("openai-compatible", "https://api.together.xyz/v1", "TOGETHERAI_API_KEY"),
    "fireworks_ai": Known("openai-compatible", "https://api.fireworks.ai/inference/v1", "FIREWORKS_AI_API_KEY"),
    "xai": Known("openai-compatible", "https://api.x.ai/v1", "XAI_API_KEY"),
    "perplexity": Known("openai-compatible", "https://api.perplexity.ai", "PERPLEXITYAI_API_KEY"),
    "hosted_vllm": Known("openai-compatible", None, None),
    "custom_openai": Known("openai-compatible", None, None),
    "lm_studio": Known("openai-compatible", None, None),
    "ollama": Known("openai-compatible", "http://127.0.0.1:11434/v1", None),
    "ollama_chat": Known("openai-compatible", "http://127.0.0.1:11434/v1", None),
}
