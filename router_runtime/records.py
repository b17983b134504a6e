"""The log contract: frozen, append-only events joined by ``decision_id``.

Versioned by :data:`SCHEMA_VERSION`; ``data/schema/`` is generated from these types and drift-tested. Money is USD,
times are UTC seconds since the epoch, durations are ms, probabilities and qualities lie in 0..1.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any, Literal, overload

SCHEMA_VERSION = 1

Modality = Literal["text", "image", "audio", "tools"]
LatencyNeed = Literal["interactive", "normal", "batch"]
FeedbackSource = Literal["user", "judge", "test", "implicit"]


@dataclass(frozen=True, slots=True)
class TaskProfile:
    """What kind of request this is.

    Args:
        domain: Most probable domain of the task head, or ``"unknown"`` where the bundle has none.
        domain_probability: Its probability, 0..1.
        complexity: 0 (every model is predicted to answer well) .. 1 (none is).
        modality: The richest input or output kind that the request needs.
        latency_need: As declared by the caller, else by the intent, else ``"normal"``.
    """

    domain: str = "unknown"
    domain_probability: float = 0.0
    complexity: float = 0.5
    modality: Modality = "text"
    latency_need: LatencyNeed = "normal"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One eligible model of one decision, as it was predicted and weighed.

    Args:
        model: The registry's name of the model.
        quality: Predicted P(good answer), 0..1.
        input_tokens: Prompt tokens, estimated as its provider counts them.
        output_tokens: Predicted completion tokens.
        cost_usd: Predicted cost of the call at the prices in force.
        latency_ms: Predicted or declared latency; None where nothing is known.
        score: The policy's score; higher is better.
        probability: The share that the policy gives to this model, 0..1.
        known: False where the bundle never saw the model and its descriptor was used.
    """

    model: str
    quality: float
    input_tokens: float
    output_tokens: float
    cost_usd: float
    latency_ms: float | None
    score: float
    probability: float
    known: bool = True


class Slate(Sequence[Candidate]):
    """The candidates of a decision, made when somebody first looks at them.

    A service that routes and goes on never looks, and the log's thread looks later: 20 records less to make in the
    request's own time. Equal to any sequence of the same candidates.

    Args:
        make: Gives the candidates; called once (twice at worst, where two threads look first at the same moment).
    """

    __slots__ = ("_made", "_make")

    def __init__(self, make: Callable[[], tuple[Candidate, ...]]) -> None:
        self._make: Callable[[], tuple[Candidate, ...]] | None = make
        self._made: tuple[Candidate, ...] = ()

    def _rows(self) -> tuple[Candidate, ...]:
        make = self._make
        if make is not None:
            self._made, self._make = make(), None
        return self._made

    @overload
    def __getitem__(self, index: int) -> Candidate: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Candidate, ...]: ...
    def __getitem__(self, index: int | slice) -> Candidate | tuple[Candidate, ...]:
        return self._rows()[index]

    def __len__(self) -> int:
        return len(self._rows())

    def __iter__(self) -> Iterator[Candidate]:
        return iter(self._rows())

    def __eq__(self, other: object) -> bool:
        return self._rows() == tuple(other) if isinstance(other, Sequence) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._rows())

    def __repr__(self) -> str:
        return repr(self._rows())

    def __reduce__(self) -> tuple[type[tuple[Candidate, ...]], tuple[tuple[Candidate, ...]]]:
        return tuple, (self._rows(),)


class LateText:
    """A text made when somebody first reads it (the log's thread, not the request), and not kept as it was before.

    Equal to a string of the same characters.

    Args:
        make: Gives the text; called once (twice at worst, where two threads read first at the same moment).
        holds: Bytes of memory that ``make`` keeps until then; what ``sys.getsizeof`` then says of this text.
    """

    __slots__ = ("_holds", "_made", "_make")

    def __init__(self, make: Callable[[], str], holds: int = 0) -> None:
        self._make: Callable[[], str] | None = make
        self._made, self._holds = "", holds

    def __str__(self) -> str:
        make = self._make
        if make is not None:
            self._made = make()
            self._make = None
        return self._made

    def __sizeof__(self) -> int:
        return object.__sizeof__(self) + self._holds

    def __repr__(self) -> str:
        return repr(str(self))

    def __eq__(self, other: object) -> bool:
        return str(self) == str(other) if isinstance(other, str | LateText) else NotImplemented

    def __hash__(self) -> int:
        return hash(str(self))

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (str(self),)


@dataclass(frozen=True, slots=True)
class Decision:
    """One choice of a model, with all that is needed to learn from it and to evaluate another policy on it.

    Args:
        id: UUIDv7, the join key of attempts and feedback.
        time: UTC seconds since the epoch.
        chosen: The model that the policy drew (``Attempt.model`` says which one served).
        propensity: Probability with which ``chosen`` was drawn, 0..1.
        candidates: The eligible models, best first; their ``probability`` is the action distribution.
        filtered: Reason by model that was not eligible.
        task: The task profile.
        policy: Name of the policy, e.g. ``"balanced"``; ``"static"`` where the deadline was missed or no
            bundle is open.
        policy_version: Fingerprint of the policy's settings.
        bundle_version: Fingerprint of the bundle, or ``"none"``.
        price_version: Fingerprint of the prices in force.
        session: Caller's session id, or None.
        tier: Caller's tier, or None.
        user_hash: Salted hash of the caller's user id, or None.
        intent: Declared intent, or None.
        labels: Labels declared by the caller or mapped from the intent.
        arm: Experiment arm, or None.
        seed: Seed of the draw, so that the choice can be repeated.
        elapsed_ms: Time that the decision took.
        prompt: The text, redacted or not, where ``log_prompts`` allows it.
        features: Hash ids and structural numbers, where ``log_prompts`` asks for them, or the kept text gives others.
        matched_intent: The registry's intent that the declared one was taken for, or None.
        agent: The agent that had the task, or None.
        agent_propensity: Probability with which it was given to that agent, 0..1; None without one.
        agent_dist: Probability by agent that could have been given it; None without one.
        counts: Of a request whose text is kept in full, what the text does not tell: the numbers of
            :class:`router_runtime.messages.Request` that are not those of a bare prompt (turns, tools …).
    """

    id: str
    time: float
    chosen: str
    propensity: float
    candidates: Sequence[Candidate]
    filtered: dict[str, str]
    task: TaskProfile
    policy: str
    policy_version: str
    bundle_version: str
    price_version: str
    session: str | None = None
    tier: str | None = None
    user_hash: str | None = None
    intent: str | None = None
    labels: tuple[str, ...] = ()
    arm: str | None = None
    seed: int = 0
    elapsed_ms: float = 0.0
    prompt: str | LateText | None = None
    features: dict[str, Any] | None = None
    matched_intent: str | None = None
    agent: str | None = None
    agent_propensity: float | None = None
    agent_dist: dict[str, float] | None = None
    counts: dict[str, int] | None = None

    @property
    def action_dist(self) -> dict[str, float]:
        """Probability by model over the eligible candidates; sums to 1."""
        return {c.model: c.probability for c in self.candidates}

    @property
    def best(self) -> Candidate:
        """The chosen candidate with its predictions."""
        return next(c for c in self.candidates if c.model == self.chosen)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call to one provider.

    Args:
        decision_id: The decision that it belongs to.
        index: 0 for the first attempt of the call.
        time: UTC seconds since the epoch at which it started.
        model: The registry's model.
        provider: The registry's provider.
        status: HTTP status, or None where none arrived.
        error: Class of the error, or None for a good answer.
        input_tokens, output_tokens, cached_tokens, reasoning_tokens: As the provider counted them, for a stream that
            ended early at least what had come; None where unknown.
        cost_usd: Cost at the prices in force; None where unknown.
        billed: Whether the provider is taken to bill this attempt.
        latency_ms: Time that the provider took, from the request to the end of its answer; what the reader of a stream
            did between its pieces is left out.
        first_token_ms: As much of it as passed before the first content, for streams.
        finish_reason: Normalised (OpenAI's words).
        response_model: The model that the response names; upstreams rename and reroute.
    """

    decision_id: str
    index: int
    time: float
    model: str
    provider: str
    status: int | None = None
    error: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost_usd: float | None = None
    billed: bool = True
    latency_ms: float | None = None
    first_token_ms: float | None = None
    finish_reason: str | None = None
    response_model: str | None = None


@dataclass(frozen=True, slots=True)
class Feedback:
    """One quality signal; may be late, repeated, or about a decision that nobody knows.

    Args:
        decision_id: The decision that it is about.
        time: UTC seconds since the epoch.
        metric: Name of the signal, e.g. ``"thumbs"``.
        value: 0 (bad) .. 1 (good).
        source: Who says so.
    """

    decision_id: str
    time: float
    metric: str
    value: float
    source: FeedbackSource = "user"
    meta: dict[str, Any] = field(default_factory=dict)


Event = Decision | Attempt | Feedback


def to_dict(event: Event) -> dict[str, Any]:
    """A JSON-ready dict of ``event`` with its ``kind`` and ``schema_version``."""
    body = {"kind": type(event).__name__.lower(), "schema_version": SCHEMA_VERSION, **_plain(event)}
    if isinstance(event, Decision):
        prompt = event.prompt
        body["candidates"] = [_plain(candidate) for candidate in event.candidates]
        body["task"], body["labels"] = _plain(event.task), list(event.labels)
        body["prompt"] = str(prompt) if isinstance(prompt, LateText) else prompt
    return body


def _plain(record: Event | Candidate | TaskProfile) -> dict[str, Any]:
    """The fields of ``record`` as they are."""
    names, values = _FIELDS[type(record)]
    return dict(zip(names, values(record), strict=True))


_FIELDS = {
    kind: (names := tuple(one.name for one in fields(kind)), attrgetter(*names))
    for kind in (Decision, Attempt, Feedback, Candidate, TaskProfile)
}


def uuid7(now: float | None = None, entropy: bytes | None = None) -> str:
    """A UUIDv7 (RFC 9562 §5.7): 48 bits of ms since the epoch, then random bits, so that ids sort by time.

    Args:
        now: UTC seconds since the epoch; the system clock by default.
        entropy: 10 random bytes; ``os.urandom`` by default.
    """
    millis = int((time.time() if now is None else now) * 1000) & (1 << 48) - 1
    noise = int.from_bytes(os.urandom(10) if entropy is None else entropy, "big")
    value = (millis << 80) | (noise & ~(0xF << 76 | 0x3 << 62)) | 0x7 << 76 | 0x2 << 62
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
