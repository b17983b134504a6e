"""What the gateway allows itself and its callers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """Limits of size, time and number.

    Args:
        max_body_bytes: Of one request.
        max_header_bytes: Of one request's line and headers together.
        header_timeout_s: From the first byte of a request to the end of its headers.
        body_timeout_s: From the end of the headers to the end of the body.
        write_timeout_s: How long a client may leave what it is sent unread.
        keep_alive_s: How long an idle connection stays open.
        max_concurrent: Requests that are being answered at a time, all callers together; past it 503.
        max_concurrent_per_key: Those of one key; past it 429.
        max_concurrent_memory: Calls of the memory at a time; past it 503.
        max_connections: Open connections; past it 503.
        drain_s: How long requests under way may take to end after SIGTERM.
        ready_delay_s: How long ``/ready`` says no before the listener closes, so that a load balancer sees it.
    """

    max_body_bytes: int = 20 << 20
    max_header_bytes: int = 32 << 10
    header_timeout_s: float = 10.0
    body_timeout_s: float = 30.0
    write_timeout_s: float = 30.0
    keep_alive_s: float = 30.0
    max_concurrent: int = 512
    max_concurrent_per_key: int = 128
    max_concurrent_memory: int = 64
    max_connections: int = 4096
    drain_s: float = 30.0
    ready_delay_s: float = 0.1
