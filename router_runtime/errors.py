"""The one error tree. Everything that Pointsman raises on purpose is a :class:`PointsmanError`.

::

    PointsmanError
    ├── ConfigError              a registry, policy or command line that cannot be used
    │   ├── RegistryError        registry.yaml: file, line and the key meant
    │   └── UnknownModelError    a model that no registry entry and no alias names
    ├── BundleError              a bundle that is refused, by name, before a session is made
    │   ├── BundleTampered       a file's sha256 is not the manifest's
    │   ├── BundleFormatError    truncated, oversized, future format, or not a bundle
    │   ├── BundleUnsafe         operators, subgraphs or external data that are not allowed
    │   └── EncoderMismatch      trained with an encoder that the registry does not name
    ├── PredictionError          a bundle's graph that cannot compute a request; the static table then chooses
    ├── RequestError             a request that cannot be read as messages
    ├── NoCandidateError         every model was filtered out (the reasons are attached)
    ├── DataError                a log or table that cannot be used
    │   ├── RowError             one row: file, row, field, reason
    │   ├── TooManyBadRows       the share of bad rows is above the stated bound
    │   ├── TooFewRows           not enough rows were left to learn from
    │   └── NotSupported         the log cannot say what the policy would have done
    ├── NotPromoted              a version whose verdict does not let it serve
    ├── UnknownVersion           a router version or alias that nobody registered
    ├── BudgetExceeded           refused by a budget; says when it resets
    ├── GatewayRefusal           a request that the gateway does not take; holds the HTTP status
    ├── MemoryRefused            an agent may not read or write there
    ├── StoreError               the outcome store cannot be read or written
    │   └── StateAway            the state that replicas share cannot be reached
    ├── ProviderError            one attempt at one provider failed
    │   └── ...                  (drawn in ``router_runtime.provider_errors``)
    ├── TransportFailure         a connection failed; the engine turns it into a ProviderError
    ├── StreamInterrupted        a stream failed after its first content; holds the partial text
    └── AllAttemptsFailed        every attempt failed; holds them all

Messages are one line, name the place, and where there is one, the fix. They never hold a secret or a prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple


class PointsmanError(Exception):
    """Base of every error that Pointsman raises on purpose."""


class ConfigError(PointsmanError):
    """A configuration that cannot be used."""


class RegistryError(ConfigError):
    """A registry that is not valid.

    Args:
        reason: What is wrong, in one sentence.
        file: The file's name.
        line: The 1-based line, where known.
    """

    def __init__(self, reason: str, *, file: str | None = None, line: int | None = None) -> None:
        place = "" if file is None else f"{file}:{line}: " if line else f"{file}: "
        super().__init__(place + reason)
        self.reason, self.file, self.line = reason, file, line


class UnknownModelError(ConfigError):
    """A model that neither the registry nor an alias names."""


class BundleError(PointsmanError):
    """A bundle that is refused."""


class BundleTampered(BundleError):
    """A file of the bundle is not the one that its manifest describes."""


class BundleFormatError(BundleError):
    """Truncated, oversized, of a future format, or not a bundle at all."""


class BundleUnsafe(BundleError):
    """The graph holds something that a router needs not: custom operators, subgraphs, external data."""


class EncoderMismatch(BundleError):
    """Trained with an encoder, and the registry names none, or another one."""


class PredictionError(PointsmanError):
    """The bundle's graph cannot compute a request: it does not fit, or it asks for more memory than it may have."""


class RequestError(PointsmanError):
    """A request that cannot be read as messages."""


class NoCandidateError(PointsmanError):
    """Every model was filtered out.

    Args:
        filtered: Reason by model name.
    """

    def __init__(self, filtered: Mapping[str, str]) -> None:
        detail = "; ".join(f"{model}: {reason}" for model, reason in filtered.items()) or "the registry lists no model"
        super().__init__(f"no model can take this request ({detail})")
        self.filtered = dict(filtered)


class DataError(PointsmanError):
    """A log or a table that cannot be used."""


class RowError(DataError):
    """One row that cannot be used.

    Args:
        reason: What is wrong with the value.
        file: The file's name.
        row: The 1-based row (the header is not counted).
        field: The field's name.
    """

    def __init__(self, reason: str, *, file: str, row: int, field: str) -> None:
        super().__init__(f"{file}, row {row}, field {field!r}: {reason}")
        self.reason, self.file, self.row, self.field = reason, file, row, field


class TooManyBadRows(DataError):
    """The share of bad rows is above the stated bound, so nothing is learnt from the rest."""


class TooFewRows(DataError):
    """Not enough rows were left to learn from; the message says how many are missing."""


class NotSupported(DataError):
    """The log cannot say what a policy would have done; the message says why, and what exploration would be needed.

    Args:
        reason: One sentence.
        segment: The segment that it is about: ``all``, or ``dimension=value``.
        details: What was found, JSON-ready.
    """

    def __init__(self, reason: str, *, segment: str = "all", details: Mapping[str, Any] | None = None) -> None:
        super().__init__(reason)
        self.segment, self.details = segment, dict(details or {})


class MemoryRefused(PointsmanError):
    """An agent asked the shared memory for what its scopes do not allow."""


class StoreError(PointsmanError):
    """The outcome store cannot be read or written."""


class StateAway(StoreError):
    """The state that replicas share cannot be reached; who met it goes on with what this process knows."""


class NotPromoted(PointsmanError):
    """A router version that the promotion gate did not let through."""


class UnknownVersion(PointsmanError):
    """A router version or alias that nobody registered, or a former champion where there was none."""


class BudgetExceeded(PointsmanError):
    """A call refused by a budget.

    Args:
        detail: What is left and what was asked for.
        account: Whose budget, e.g. ``"tier:free"``.
        window: ``minute``, ``day`` or ``month``.
        resets_at: UTC seconds since the epoch at which the window ends.
    """

    def __init__(self, detail: str, *, account: str, window: str, resets_at: float) -> None:
        when = datetime.fromtimestamp(resets_at, UTC).strftime("%Y-%m-%d %H:%M UTC")
        super().__init__(f"the budget of {account} for this {window} is used up ({detail}); it resets at {when}")
        self.account, self.window, self.resets_at = account, window, resets_at


class GatewayRefusal(PointsmanError):
    """A request that the gateway does not take, before or beside any decision.

    Args:
        reason: What is wrong and how to put it right, in one sentence.
        status: HTTP status, 4xx or 503.
        code: A word for programs, such as ``"invalid_api_key"``.
        retry_after: Seconds after which another try may help; None where it would not.
        param: The field of the body that is meant.
    """

    def __init__(
        self, reason: str, *, status: int, code: str, retry_after: float | None = None, param: str | None = None
    ) -> None:
        super().__init__(reason)
        self.status, self.code, self.retry_after, self.param = status, code, retry_after, param


TransportKind = Literal["connect", "connect_timeout", "tls", "stale", "reset", "protocol", "cut", "too_many_headers"]
_TRANSPORT_WORDS: dict[str, str] = {
    "connect": "no connection",
    "connect_timeout": "no connection in time",
    "tls": "the TLS handshake failed",
    "stale": "the connection, kept from an earlier call, ended before an answer",
    "reset": "the connection ended before an answer",
    "protocol": "the answer is not HTTP",
    "cut": "the answer was cut short",
    "too_many_headers": "the answer has too many headers",
}


class TransportFailure(PointsmanError):
    """A connection that failed; the engine turns it into the :class:`ProviderError` of its attempt.

    Args:
        kind: What failed.
        host: Host and port; never the rest of the URL.
    """

    def __init__(self, kind: TransportKind, host: str) -> None:
        super().__init__(f"{host}: {_TRANSPORT_WORDS[kind]}")
        self.kind: TransportKind = kind
        self.host = host


class Failure(NamedTuple):
    """One failed attempt, or one candidate that was refused before an attempt.

    Args:
        model: The registry's model.
        provider: The registry's provider.
        error: Why.
    """

    model: str
    provider: str
    error: PointsmanError

    def __str__(self) -> str:
        return f"{self.model} at {self.provider}: {type(self.error).__name__}: {self.error}"


class AllAttemptsFailed(PointsmanError):
    """No candidate gave an answer.

    Args:
        failures: Every attempt in order.
        tokens: Of those that are billed.
    """

    def __init__(self, failures: Sequence[Failure], tokens: int = 0) -> None:
        self.failures, self.tokens = tuple(failures), tokens
        super().__init__(f"{len(self.failures)} attempts failed ({'; '.join(map(str, self.failures))})")


class StreamInterrupted(PointsmanError):
    """A stream failed after its first content, and no other model took over.

    Args:
        partial: The text that had been delivered; not part of the message.
        failures: Every attempt in order, the interrupted one included.
    """

    def __init__(self, partial: str, failures: Sequence[Failure]) -> None:
        self.failures = tuple(failures)
        super().__init__(
            f"the stream broke after {len(partial)} characters ({'; '.join(map(str, self.failures))});"
            " stream_recovery 'continue' lets the next model go on"
        )
        self.partial = partial
