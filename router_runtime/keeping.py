"""What a decision keeps of its request, by the setting ``log_prompts``."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import fields
from functools import partial
from typing import Any, Literal

from router_runtime.features import FEATURES_VERSION, Features
from router_runtime.messages import Request
from router_runtime.records import LateText
from router_runtime.redaction import redact

LogPrompts = Literal["full", "redacted", "features", "none"]
"""The text; the text redacted, with the features of the original; the features alone; nothing."""
WITH_FEATURES = ("redacted", "features")
_BARE = Request("")
COUNTS: Mapping[str, int] = {
    one.name: int(getattr(_BARE, one.name)) for one in fields(Request) if one.name not in ("text", "intent")
}
"""The numbers of a request, and what they are of a bare prompt."""


def kept_text(text: str, log_prompts: LogPrompts) -> str | LateText | None:
    """The text to keep; redaction waits for its first reader, which is the log's thread."""
    if log_prompts == "redacted":
        return LateText(partial(redact, text), sys.getsizeof(text))
    return text if log_prompts == "full" else None


def kept_counts(request: Request, log_prompts: LogPrompts) -> dict[str, int] | None:
    """What is no part of the text and yet of the features, where the text stands for them; None for a bare prompt."""
    if log_prompts != "full":
        return None
    found = {name: int(getattr(request, name)) for name, usual in COUNTS.items() if getattr(request, name) != usual}
    return found or None


def keeps_features(request: Request, log_prompts: LogPrompts) -> bool:
    """Whether the features are kept: as the setting says, and beside a full text that no store holds as it is."""
    return log_prompts in WITH_FEATURES or (log_prompts == "full" and not _storable(request))


def kept_features(features: Features | None, request: Request, log_prompts: LogPrompts) -> dict[str, Any] | None:
    """The features to keep, JSON-ready and exact: retraining from them gives the model that the text would give."""
    if features is None or not keeps_features(request, log_prompts):
        return None
    return {"version": FEATURES_VERSION, "ids": features.ids.tolist(), "structural": features.structural.tolist()}


def _storable(request: Request) -> bool:
    """Whether a log gives text and intent back as they are, which it does not where they hold a lone surrogate."""
    for told in (request.text, request.intent or ""):
        if not told.isascii():
            try:
                told.encode()
            except UnicodeEncodeError:
                return False
    return True
