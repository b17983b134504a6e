"""What a wire format of the gateway is: reads requests, writes answers and streams. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from router_runtime.chat import ChatChunk
from router_runtime.execution import Completion
from router_runtime.gateway.problems import Problem


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, whichever format it came in.

    Args:
        chat: A Chat Completions body: ``model``, ``messages`` and what belongs to them.
        streamed: Whether the answer shall be streamed.
        echo: What the format's answers repeat of the request.
    """

    chat: Mapping[str, Any] = field(repr=False)
    streamed: bool = False
    echo: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Head:
    """What is known of a streamed answer when it begins.

    Args:
        decision_id: Of the decision.
        model: The registry's model that serves.
        created: UTC seconds since the epoch.
        input_tokens: As estimated.
    """

    decision_id: str
    model: str
    created: int
    input_tokens: int = 0


class Encoder(Protocol):
    """Chunks → the bytes of an event stream. For one stream."""

    def begin(self) -> bytes:
        """What comes before the first chunk."""
        ...

    def feed(self, chunks: Sequence[ChatChunk]) -> bytes:
        """The events of ``chunks``, maybe none."""
        ...

    def end(self) -> bytes:
        """What ends a good stream."""
        ...

    def failed(self, problem: Problem) -> bytes:
        """What ends a stream that broke."""
        ...


class Format(Protocol):
    """One wire format."""

    name: str

    def read(self, body: dict[str, Any]) -> Asked:
        """The request.

        Raises:
            GatewayRefusal: It is none, or asks for what the gateway has not.
        """
        ...

    def whole(self, asked: Asked, completion: Completion, now: float) -> dict[str, Any]:
        """A whole answer."""
        ...

    def encoder(self, asked: Asked, head: Head) -> Encoder:
        """For one streamed answer."""
        ...

    def error(self, problem: Problem) -> dict[str, Any]:
        """An error that comes instead of an answer."""
        ...
