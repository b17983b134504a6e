"""What can go wrong with one attempt at one provider: the provider branch of the one error tree.

::

    ProviderError                  same  next  billed   meaning
    ├── UnsupportedByProvider       no   yes   no       the wire format cannot carry this request; nothing was sent
    ├── BadRequest                  no   yes   no       400/422: the provider does not take this request
    │   └── ContextOverflow         no   yes   no       too long for the model: a larger window may take it
    ├── AuthFailed                  no   yes   no       401/403: key missing, wrong or without permission
    ├── ModelNotFound               no   yes   no       404: no such model for this key
    ├── Redirected                  no   yes   no       3xx: never followed with a key in hand
    ├── RateLimited                 (*)  yes   no       429/402; ``scope`` says whether waiting helps
    ├── Overloaded                  yes  yes   no       529/503: the whole provider is overloaded
    ├── ServerError                 yes  yes   no       any other 5xx, 408, 409
    ├── ContentFiltered             no   yes   (+)      blocked before or after the model answered
    ├── Refused                     no   yes   yes      the model declined
    ├── EmptyAnswer                 yes  yes   yes      200 with neither text nor a tool call
    ├── MalformedAnswer             yes  yes   yes      not the JSON or the event stream of the wire format
    ├── StreamCut                   yes  yes   yes      the stream ended without its terminal event
    ├── ConnectFailed               yes  yes   no       refused, reset or failed TLS before an answer began
    │   └── StaleConnection         yes  yes   no       kept from an earlier call, and closed by the server meanwhile
    └── CallTimeout                 yes  yes   (+)      ConnectTimeout, NoConnectionLeft, FirstTokenTimeout,
                                                        BetweenTokensTimeout, TotalTimeout (neither same nor next)

*same*: a second try at the same provider may help (``retry_same``). *next*: another model may answer
(``fall_through``). *billed*: our guess of whether the provider charges for the attempt. (*) only where ``scope`` is
``"request"``. (+) see the class.

Messages hold the HTTP status and the provider's error code, never its prose, which may repeat the prompt or the key;
the prose, shortened and with long opaque words masked, is in ``detail`` for those who ask.
"""

from __future__ import annotations

import re
from typing import ClassVar, Literal

from router_runtime.errors import PointsmanError

Scope = Literal["request", "daily", "credit"]

_OPAQUE = re.compile(r"[A-Za-z0-9_\-+/=*.]{16,}")
_CODE = re.compile(r"[A-Za-z][A-Za-z]*(_[A-Za-z]+){0,8}")
_DETAIL_CHARS = 300


def safe_detail(prose: str) -> str:
    """One line of at most 300 characters of ``prose``; words of 16 or more opaque characters become ``…``."""
    return _OPAQUE.sub("…", " ".join(prose[: 4 * _DETAIL_CHARS].split()))[:_DETAIL_CHARS]


def safe_code(code: object) -> str | None:
    """``code`` where it looks like an error code (words of letters joined by ``_``), else None."""
    return code if isinstance(code, str) and len(code) <= 64 and _CODE.fullmatch(code) else None


class ProviderError(PointsmanError):
    """One attempt at one provider failed.

    Args:
        reason: One line without secrets, prompts or the provider's prose.
        status: HTTP status, or None where none arrived.
        code: The provider's own error code or type.
        retry_after: Seconds to wait before this provider is asked again, as it asked for; None where it did not say.
        detail: The provider's prose; it is passed through :func:`safe_detail`.
        billed: Overrides the class's guess.
    """

    retry_same: bool = False
    fall_through: bool = True
    billed: bool = False

    def __init__(
        self,
        reason: str,
        *,
        status: int | None = None,
        code: str | None = None,
        retry_after: float | None = None,
        detail: str = "",
        billed: bool | None = None,
    ) -> None:
        self.code = safe_code(code)
        place = ", ".join(part for part in (f"HTTP {status}" if status else "", self.code or "") if part)
        super().__init__(f"{reason} ({place})" if place else reason)
        self.status, self.retry_after, self.detail = status, retry_after, safe_detail(detail)
        if billed is not None:
            self.billed = billed


class UnsupportedByProvider(ProviderError):
    """The wire format cannot carry this request without loss; raised before anything is sent."""


class BadRequest(ProviderError):
    """The provider does not take this request."""


class ContextOverflow(BadRequest):
    """The request is too long for the model; one with a larger window may take it."""


class AuthFailed(ProviderError):
    """The key is missing, wrong, or may not use this model."""


class ModelNotFound(ProviderError):
    """The provider knows no such model, or not for this key."""


class Redirected(ProviderError):
    """The provider answered with a redirect, which is never followed: the key would go to another host."""


class RateLimited(ProviderError):
    """The provider wants fewer calls.

    Args:
        scope: ``"request"``: waiting ``retry_after`` helps; ``"daily"``: a daily quota, which holds until its reset;
            ``"credit"``: credit or a spend limit is exhausted, a failure of that provider until someone pays.
        reason, status, code, detail: As for :class:`ProviderError`.
        retry_after: Seconds until the limit's reset, where the provider says so, whatever the scope.
    """

    def __init__(
        self,
        reason: str,
        *,
        scope: Scope = "request",
        status: int | None = None,
        code: str | None = None,
        retry_after: float | None = None,
        detail: str = "",
    ) -> None:
        super().__init__(reason, status=status, code=code, retry_after=retry_after, detail=detail)
        self.scope: Scope = scope
        self.retry_same = scope == "request"


class Overloaded(ProviderError):
    """The whole provider is overloaded, whatever the model or key."""

    retry_same = True


class ServerError(ProviderError):
    """The provider failed on its side."""

    retry_same = True


class ContentFiltered(ProviderError):
    """A filter of the provider blocked the prompt (not billed) or the answer (``billed=True`` is passed)."""


class Refused(ProviderError):
    """The model declined to answer."""

    billed = True


class EmptyAnswer(ProviderError):
    """A well-formed answer with neither text nor a tool call."""

    retry_same = True
    billed = True


class MalformedAnswer(ProviderError):
    """The answer is not what the wire format describes, or is larger than its bound."""

    retry_same = True
    billed = True


class StreamCut(ProviderError):
    """The stream ended, cleanly or not, without its terminal event."""

    retry_same = True
    billed = True


class ConnectFailed(ProviderError):
    """No connection, or it broke before an answer began."""

    retry_same = True


class StaleConnection(ConnectFailed):
    """A connection that was kept from an earlier call ended before an answer began: the server had closed it meanwhile.

    Nothing is wrong with the provider, and a new connection helps at once.
    """


class CallTimeout(ProviderError):
    """A limit of time passed; ``kind`` names which one."""

    retry_same = True
    kind: ClassVar[str] = "any"


class ConnectTimeout(CallTimeout):
    """No connection within its limit."""

    kind = "connect"


class NoConnectionLeft(ConnectTimeout):
    """As many calls as the registry allows at a time were under way at the provider; nothing was sent."""


class FirstTokenTimeout(CallTimeout):
    """No first byte of content within its limit; the provider may still bill what it made."""

    kind = "first_token"
    billed = True


class BetweenTokensTimeout(CallTimeout):
    """A stream stalled."""

    kind = "between_tokens"
    billed = True


class TotalTimeout(CallTimeout):
    """The call's deadline passed: no try is left, here or elsewhere."""

    kind = "total"
    retry_same = False
    fall_through = False
    billed = True
