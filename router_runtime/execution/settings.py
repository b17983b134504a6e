"""How a call is carried out; the frozen settings and the small types of the package's face."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

from router_runtime.chat import ChatChunk, ChatResponse
from router_runtime.execution.retry import RetrySettings
from router_runtime.records import Attempt, Candidate, Decision
from router_runtime.registry import ModelEntry, ProviderEntry

StreamRecovery = Literal["error", "continue", "restart"]


@dataclass(frozen=True, slots=True)
class ExecutionSettings:
    """What a call may take.

    Args:
        deadline_s: Time for the whole call, all attempts and waits together.
        attempt_share: Part of the time left that one attempt may take while another candidate waits, 0..1; the last
            one may take all of it. The provider's own ``timeout_s`` holds too.
        max_attempts: Attempts in one call; those in which nothing was sent do not count.
        max_response_bytes: Bytes of one answer, streamed or whole.
        accept: Class names of answers that count as good, e.g. ``{"Refused"}``; by default refused, filtered and
            empty answers go on to the next model.
        stream_recovery: Where a stream fails after its first content: ``"error"`` ends it, ``"continue"`` asks the next
            model to go on from the partial text, ``"restart"`` announces a restart and begins anew.
        hedge_after_s: Where no answer, or no first content of a stream, has come by then, the next candidate is asked
            beside it and the first to answer wins; both may be billed, and both are in the books. None turns it off.
        retry: Second tries at one provider.
    """

    deadline_s: float = 300.0
    attempt_share: float = 0.6
    max_attempts: int = 9
    max_response_bytes: int = 32 << 20
    accept: frozenset[str] = frozenset()
    stream_recovery: StreamRecovery = "error"
    hedge_after_s: float | None = None
    retry: RetrySettings = field(default_factory=RetrySettings)


@dataclass(frozen=True, slots=True)
class Route:
    """One candidate of a call, with all that is needed to reach it.

    Args:
        model: The registry's entry.
        provider: Its provider's.
        predicted: What the decision predicted; None for a fallback that the decision had not weighed.
    """

    model: ModelEntry
    provider: ProviderEntry
    predicted: Candidate | None = None

    @property
    def target(self) -> tuple[str, str]:
        """(provider, model), the key of health."""
        return self.provider.name, self.model.name


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer with the decision that led to it and every attempt that it took.

    Args:
        response: The normalised answer.
        decision: What the router chose; the model that served may differ.
        served: The registry's model that answered.
        attempts: In the order in which they ended; a lost hedge may follow the good one.
        cost_usd: Of all attempts together, exact.
        tokens: Prompt and answer tokens of all attempts that are billed.
    """

    response: ChatResponse
    decision: Decision
    served: str
    attempts: tuple[Attempt, ...]
    cost_usd: Decimal
    tokens: int = 0

    @property
    def text(self) -> str:
        """The answer's text, empty where it has none."""
        return self.response.text

    def to_openai(self) -> dict[str, Any]:
        """A ``chat.completion`` object."""
        return self.response.to_openai()


@dataclass(frozen=True, slots=True)
class StreamRestart:
    """In a stream: what came before is void, ``model`` begins anew.

    Args:
        model: The registry's model that answers from here on.
        discarded: The text that had been delivered and is void.
    """

    model: str
    discarded: str


StreamItem = ChatChunk | StreamRestart
