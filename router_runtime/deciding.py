"""One decision: features → predictions → policy → record; the arithmetic behind the router."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from router_runtime import policy
from router_runtime.bundle import Bundle
from router_runtime.features import Features
from router_runtime.filters import HealthView, health_scores, too_expensive, too_unwell
from router_runtime.messages import Request
from router_runtime.policy_settings import PolicySettings
from router_runtime.records import Candidate, LatencyNeed, Modality, Slate, TaskProfile
from router_runtime.snapshot import View

Floats = npt.NDArray[np.float64]

DOMAIN_THRESHOLD = 0.5
"""Probability above which a predicted domain counts as a label that the caller did not declare."""


class Predicted(NamedTuple):
    """Predictions for the C candidates of a view; ``latency_ms`` is NaN where nothing is known."""

    view: View
    quality: Floats
    input_tokens: Floats
    output_tokens: Floats
    cost_usd: Floats
    latency_ms: Floats
    domain: str = "unknown"
    domain_probability: float = 0.0

    def take(self, keep: npt.NDArray[np.bool_], reasons: dict[str, str]) -> Predicted:
        """Those where ``keep`` [C] is true."""
        return self._replace(
            view=self.view.take(keep, reasons),
            quality=self.quality[keep],
            input_tokens=self.input_tokens[keep],
            output_tokens=self.output_tokens[keep],
            cost_usd=self.cost_usd[keep],
            latency_ms=self.latency_ms[keep],
        )


class Choice(NamedTuple):
    """What the policy made of the predictions."""

    chosen: int
    propensity: float
    score: Floats
    probability: Floats


def predict(view: View, bundle: Bundle, features: Features, input_tokens: float) -> Predicted:
    """By the bundle; a declared latency stands in where the bundle has no latency for a model."""
    found = bundle.scorer.predict(features, view.indices, view.descriptor)
    tokens = found.output_tokens.astype(np.float64)
    latency = view.latency if found.latency_ms is None else np.where(view.declared, view.latency, found.latency_ms)
    counted = input_tokens * view.input_scale
    place = int(found.domain.argmax())
    return Predicted(
        view=view,
        quality=found.quality.astype(np.float64),
        input_tokens=counted,
        output_tokens=tokens,
        cost_usd=counted * view.price_in + tokens * view.price_out,
        latency_ms=latency,
        domain=bundle.scorer.domains[place],
        domain_probability=float(found.domain[place]),
    )


def assume(view: View, input_tokens: float, output_tokens: float) -> Predicted:
    """By the registry alone: priors, the usual number of output tokens, declared latencies."""
    tokens = np.full(len(view.names), output_tokens)
    counted = input_tokens * view.input_scale
    cost = counted * view.price_in + output_tokens * view.price_out
    return Predicted(view, view.priors, counted, tokens, cost, view.latency)


def with_cache(predicted: Predicted, held: Floats | None) -> Predicted:
    """The same at the cost of a conversation that goes on: what a provider still holds of the prompt is cheaper there.

    Args:
        predicted: At the full price of the prompt.
        held: Tokens that each candidate holds of the conversation, [C]; None = none holds any.
    """
    if held is None:
        return predicted
    saved = np.minimum(held, predicted.input_tokens) * predicted.view.cache_saving
    return predicted._replace(cost_usd=predicted.cost_usd - saved)


def limit_cost(predicted: Predicted, limit: float | None) -> Predicted:
    """Without the candidates that are predicted to cost more than ``limit`` USD.

    Raises:
        NoCandidateError: Where all cost more.
    """
    if limit is None:
        return predicted
    keep, reasons = too_expensive(predicted.view, predicted.cost_usd, limit)
    return predicted.take(keep, reasons) if reasons else predicted


def limit_health(predicted: Predicted, health: HealthView) -> tuple[Predicted, Floats]:
    """Without the candidates that may not be called now, and the health of the rest, float64 [C].

    Raises:
        NoCandidateError: Where none may be called, not even as a last resort.
    """
    keep, reasons = too_unwell(predicted.view, health)
    kept = predicted.take(keep, reasons) if reasons else predicted
    return kept, health_scores(kept.view, health)


def static_weights(view: View, labels: tuple[str, ...]) -> Floats:
    """The rule table as weights [C]: the labels' preferences first, then the static order."""
    preferred = view.weights(labels)
    return view.rank if preferred is None else preferred + 0.001 * view.rank


def ordered_weights(view: View, order: Sequence[str]) -> Floats:
    """An order of preference as weights [C], the first model's largest."""
    return np.array([1.0 - order.index(name) / len(order) for name in view.names])


def choose(
    predicted: Predicted,
    settings: PolicySettings,
    labels: tuple[str, ...],
    health: Floats | None,
    seed: int,
    preferred: Sequence[str] = (),
) -> Choice:
    """Scores, action distribution and the draw; ``preferred`` (the registry's names, in order) makes the weights."""
    view = predicted.view
    if preferred:
        weights: Floats | None = ordered_weights(view, preferred)
    elif settings.strategy == "static":
        weights = static_weights(view, labels)
    else:
        weights = view.weights(labels) if settings.strategy == "capability-first" else None
    score = policy.scores(predicted.quality, predicted.cost_usd, predicted.latency_ms, None, health, settings, weights)
    if settings.exploration == "none":
        best = int(score.argmax())
        probability = np.zeros(len(score))
        probability[best] = 1.0
        return Choice(best, 1.0, score, probability)
    belief = None
    if settings.exploration == "thompson":
        belief = policy.doubt(score, predicted.quality, predicted.cost_usd, health, settings, weights, view.evidence)
    probability = policy.action_dist(score, None, settings, predicted.quality, belief)
    chosen = policy.draw(probability, seed)
    return Choice(chosen, float(probability[chosen]), score, probability)


def candidates(predicted: Predicted, choice: Choice) -> Slate:
    """The records of all candidates, best first, made when they are looked at."""
    return Slate(partial(_rows, predicted, choice))


def _rows(predicted: Predicted, choice: Choice) -> tuple[Candidate, ...]:
    view, order = predicted.view, (-choice.score).argsort(kind="stable")
    places = order.tolist()
    latency = [None if ms != ms else ms for ms in predicted.latency_ms[order].tolist()]  # NaN is not itself
    columns: tuple[Iterable[Any], ...] = (
        [view.names[i] for i in places],
        predicted.quality[order].tolist(),
        predicted.input_tokens[order].tolist(),
        predicted.output_tokens[order].tolist(),
        predicted.cost_usd[order].tolist(),
        latency,
        choice.score[order].tolist(),
        choice.probability[order].tolist(),
        [view.known[i] for i in places],
    )
    return tuple(map(Candidate, *columns))


def task_profile(predicted: Predicted, request: Request, latency_need: LatencyNeed) -> TaskProfile:
    """The task profile; complexity is 1 − the candidates' mean predicted quality."""
    return TaskProfile(
        domain=predicted.domain,
        domain_probability=predicted.domain_probability,
        complexity=min(max(1.0 - float(np.add.reduce(predicted.quality)) / len(predicted.quality), 0.0), 1.0),
        modality=_modality(request),
        latency_need=latency_need,
    )


def _modality(request: Request) -> Modality:
    if request.images:
        return "image"
    if request.audio:
        return "audio"
    return "tools" if request.tools or request.tool_results else "text"


def hash_user(user: str, salt: bytes) -> str:
    """32 hex digits; without the salt nobody can tell whose they are."""
    return hashlib.blake2b(user.encode("utf-8", "surrogatepass"), key=salt, digest_size=16).hexdigest()
