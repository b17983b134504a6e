"""What rules a model out before the policy weighs it: each filter with its reason in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from router_runtime.errors import NoCandidateError
from router_runtime.health import UNHEALTHY
from router_runtime.messages import Request
from router_runtime.registry import CAPABILITIES, IntentEntry
from router_runtime.snapshot import View

SAMPLE_CHARS = 4096
TOKENS_PER_ASCII_CHAR = 0.25
TOKENS_PER_OTHER_CHAR = 0.7
TOKENS_PER_MESSAGE = 4.0
TOKENS_PER_TOOL = 120.0
TOKENS_PER_PART = 800.0


class HealthView(Protocol):
    """What a decision asks of health; :class:`router_runtime.health.Health` is one."""

    def mask(self, targets: Sequence[tuple[str, str]]) -> npt.NDArray[np.bool_]:
        """Which (provider, model) may be called now, bool [C]."""

    def scores(
        self, targets: Sequence[tuple[str, str]], sla_ms: Sequence[float | None] | None = None
    ) -> npt.NDArray[np.float32]:
        """How well each has been doing, float32 [C], 0..1."""

    def last_resort(self, targets: Sequence[tuple[str, str]]) -> list[int]:
        """Which to try, in order, where none may be called."""


def needed_capabilities(request: Request, intent: IntentEntry | None) -> tuple[str, ...]:
    """Sorted names of what a model must be able to do for this request."""
    if intent is None and not (
        request.tools
        or request.images
        or request.audio
        or request.files
        or request.json_output
        or request.tool_results
        or request.tool_calls
    ):
        return ()
    needed = set(intent.capabilities) if intent is not None else set()
    present = {
        "tools": request.tools or request.tool_results or request.tool_calls,
        "vision": request.images,
        "audio": request.audio,
        "files": request.files,
        "json": request.json_output,
    }
    needed |= {name for name, count in present.items() if count}
    return tuple(name for name in CAPABILITIES if name in needed)


def estimate_tokens(request: Request) -> float:
    """Prompt tokens, estimated without a tokenizer.

    A quarter of a token for an ASCII character and 0.7 for any other (their share is taken from the first 4,096
    characters), a quarter for a character of a call's arguments, 4 for a message, 120 for a tool's definition and 800
    for an image, a sound or a file.
    """
    text = request.text
    rate = TOKENS_PER_ASCII_CHAR
    if not text.isascii():
        sample = text[:SAMPLE_CHARS]
        other = 1.0 - len(sample.encode("ascii", "ignore")) / len(sample)
        rate += other * (TOKENS_PER_OTHER_CHAR - TOKENS_PER_ASCII_CHAR)
    parts = request.images + request.audio + request.files
    return (
        len(text) * rate
        + request.argument_chars * TOKENS_PER_ASCII_CHAR
        + request.turns * TOKENS_PER_MESSAGE
        + request.tools * TOKENS_PER_TOOL
        + parts * TOKENS_PER_PART
    )


def fit_context(view: View, tokens: float) -> View:
    """Without the models whose context window is too small for the prompt."""
    needed = tokens * view.input_scale
    keep = view.windows >= needed
    said = _reasons(view, keep, lambda i: f"context of {int(view.windows[i])} tokens, about {int(needed[i])} needed")
    return view.take(keep, said)


def too_unwell(view: View, health: HealthView) -> tuple[npt.NDArray[np.bool_], dict[str, str]]:
    """Which candidates may be called now, bool [C], and the reasons of the others.

    Where none may be called, those of the last resort stay: a call that may fail is better than none.

    Raises:
        NoCandidateError: Where not even that is left.
    """
    keep = health.mask(view.targets)
    if not keep.any():
        keep = np.zeros(len(view.names), dtype=np.bool_)
        keep[health.last_resort(view.targets)] = True
    return keep, _reasons(view, keep, lambda _: UNHEALTHY)


def health_scores(view: View, health: HealthView) -> npt.NDArray[np.float64]:
    """How well each candidate has been doing, float64 [C], 0..1."""
    sla = [None if np.isnan(value) else float(value) for value in view.latency]
    return health.scores(view.targets, sla).astype(np.float64)


def too_expensive(
    view: View, cost: npt.NDArray[np.float64], limit: float
) -> tuple[npt.NDArray[np.bool_], dict[str, str]]:
    """Which candidates cost at most ``limit`` USD, bool [C], and the reasons of the others.

    Raises:
        NoCandidateError: Where all cost more.
    """
    keep = cost <= limit
    return keep, _reasons(view, keep, lambda i: f"predicted to cost ${cost[i]:.6f}, at most ${limit:.6f} allowed")


def _reasons(view: View, keep: npt.NDArray[np.bool_], reason: Callable[[int], str]) -> dict[str, str]:
    """The reason by name of those that are not kept; ``reason`` is asked by their place.

    Raises:
        NoCandidateError: Where nothing is left.
    """
    found = {view.names[place]: reason(place) for place in (~keep).nonzero()[0].tolist()}
    if len(found) == len(view.names):
        raise NoCandidateError({**view.filtered, **found})
    return found
