"""LiteLLM's spend logs (table ``LiteLLM_SpendLogs``, as ``/spend/logs`` and exports give it) → one outcome a row.

Fields read: ``request_id, call_type, spend, prompt_tokens, completion_tokens, startTime, endTime,
request_duration_ms, model, model_group, metadata, cache_hit, request_tags, messages, proxy_server_request, session_id,
status``. LiteLLM keeps prompts only with ``store_prompts_in_spend_logs: true``, and it knows no quality: by default
``metadata.quality`` (0..1) is read, a mapping names another field and scale. Rows without a label are kept, unlabelled.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from training.importers.collecting import Outcome, Skip
from training.importers.mapping import ColumnMapping, Quality
from training.importers.reading import Row
from training.importers.values import BadValue, decoded, find, number, prompt_text, seconds, text

CHAT_CALLS = ("completion", "acompletion", "responses", "aresponses", "anthropic_messages", "text_completion", "")
"""Call types that are answers to prompts; ``atext_completion``, embeddings, images and the like are left out."""
DEFAULT = ColumnMapping(prompt="messages", model="model_group", quality=Quality("metadata.quality"))
PROMPTS = ("messages", "proxy_server_request.messages", "proxy_server_request.input", "proxy_server_request")
TASK_TAG = "task:"


def convert(row: Row, mapping: ColumnMapping = DEFAULT) -> Iterable[Outcome] | Skip:
    """The outcome of one row, or the rule that leaves it out.

    Args:
        row: One row of the table.
        mapping: Names the quality, and anything that is to be read from elsewhere.

    Raises:
        BadValue: Where a field cannot be used.
    """
    rule = _rule(row)
    if rule:
        return Skip(rule)
    prompt = _prompt(row)
    if prompt is None:
        return Skip("no prompt was stored (store_prompts_in_spend_logs)")
    model = text(row.get("model_group"), "model_group") or text(row.get("model"), "model")
    if model is None:
        raise BadValue("model", "is missing")
    time = seconds(row.get("startTime"), "startTime")
    return [
        Outcome(
            prompt_id=text(row.get("request_id"), "request_id"),
            text=prompt,
            model=model,
            quality=mapping.quality.read(row) if mapping.quality else None,
            input_tokens=number(row.get("prompt_tokens"), "prompt_tokens"),
            output_tokens=number(row.get("completion_tokens"), "completion_tokens"),
            cost_usd=number(row.get("spend"), "spend"),
            latency_ms=_latency(row, time),
            task=_tagged(row),
            extra={"session": text(row.get("session_id"), "session_id"), "time": time},
        )
    ]


def with_mapping(mapping: ColumnMapping | None) -> ColumnMapping:
    """The default with the quality that ``mapping`` names."""
    if mapping is None:
        return DEFAULT
    return replace(DEFAULT, quality=mapping.quality or DEFAULT.quality, prices=mapping.prices)


def _rule(row: Row) -> str | None:
    if str(row.get("call_type") or "") not in CHAT_CALLS:
        return "not a chat call"
    if str(row.get("cache_hit") or "").lower() == "true":
        return "answered from the cache"
    if str(row.get("status") or "success").lower() not in ("success", ""):
        return "the call failed"
    return None


def _prompt(row: Row) -> str | None:
    for path in PROMPTS:
        found = decoded(find(row, path))
        if found in (None, "", {}, []):
            continue
        prompt = prompt_text(found, path)
        if prompt:
            return prompt
    return None


def _latency(row: Row, start: float | None) -> float | None:
    """Milliseconds from start to end."""
    stated = number(row.get("request_duration_ms"), "request_duration_ms")
    if stated is not None:
        return stated
    end = seconds(row.get("endTime"), "endTime")
    if start is None or end is None:
        return None
    if end < start:
        raise BadValue("endTime", "is before startTime")
    return (end - start) * 1000


def _tagged(row: Row) -> str | None:
    """The task of a tag such as ``task:legal_summaries``."""
    tags = decoded(row.get("request_tags"))
    if not isinstance(tags, list):
        return None
    return next((tag[len(TASK_TAG) :] for tag in tags if isinstance(tag, str) and tag.startswith(TASK_TAG)), None)
