"""A real local HTTP/1.1 server whose answers are scripted byte by byte.

It runs its own event loop in a thread (or alone: ``python -m tests.provider_server`` for benchmarks), accepts real
sockets, and plays one list of steps per request, so that clients meet the faults of real providers: resets, stalls,
cut streams, bytes that are not HTTP. A script is chosen by the queue first, by the handler otherwise.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Received:
    """One request as it came in."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Send:
    data: bytes


@dataclass(frozen=True)
class Sleep:
    seconds: float


@dataclass(frozen=True)
class Stall:
    """Says nothing more and keeps the connection open, until the client goes away."""


@dataclass(frozen=True)
class Close:
    """Ends the connection in order (FIN), whatever was promised."""


@dataclass(frozen=True)
class Reset:
    """Ends the connection with RST."""


Step = Send | Sleep | Stall | Close | Reset
Script = Sequence[Step]
Handler = Callable[[Received], Script]


def head(status: int = 200, headers: dict[str, str] | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status} Scripted", *(f"{k}: {v}" for k, v in (headers or {}).items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def reply(body: bytes | str | dict[str, Any] | list[Any], status: int = 200, **headers: str) -> Script:
    """One complete answer; header names are written with ``_`` for ``-``."""
    kind = "application/json" if not isinstance(body, bytes | str) else headers.pop("content_type", "text/plain")
    data = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else json.dumps(body).encode()
    sent = {"content-type": kind, "content-length": str(len(data)), **_named(headers)}
    return [Send(head(status, sent) + data)]


def stream(
    parts: Iterable[bytes], *, end: bool = True, then: Script = (), gap: float = 0.0, status: int = 200, **headers: str
) -> Script:
    """An event stream in chunked coding, a chunk per part; ``end`` says whether the last chunk follows."""
    sent = {"content-type": "text/event-stream", "transfer-encoding": "chunked", **_named(headers)}
    steps: list[Step] = [Send(head(status, sent))]
    for part in parts:
        steps.append(Send(b"%x\r\n%s\r\n" % (len(part), part)))
        if gap:
            steps.append(Sleep(gap))
    if end:
        steps.append(Send(b"0\r\n\r\n"))
    return [*steps, *then]


def _named(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


def not_http(data: bytes = b"\x15\x03\x01\x00\x02\x02\x28") -> Script:
    """Bytes that are no HTTP answer (a TLS alert by default), then the end."""
    return [Send(data), Close()]


class _Connection(asyncio.Protocol):
    """Reads requests off one connection and plays their scripts in order."""

    def __init__(self, server: ProviderServer) -> None:
        self.server = server
        self.buffer = b""
        self.waiting: deque[Received] = deque()
        self.task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.server.connections += 1

    def connection_lost(self, exc: Exception | None) -> None:
        if self.task is not None:
            self.task.cancel()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if self.buffer[:1] == b"\x16":  # a TLS ClientHello: this server speaks plain HTTP only
            self.transport.write(b"\x15\x03\x01\x00\x02\x02\x28")
            self.transport.close()
            return
        while (request := self._next_request()) is not None:
            self.waiting.append(request)
        if self.waiting and self.task is None:
            self._play_next()

    def _next_request(self) -> Received | None:
        edge = self.buffer.find(b"\r\n\r\n")
        if edge < 0:
            return None
        first, *lines = self.buffer[:edge].decode("latin-1").split("\r\n")
        headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
        start = edge + 4
        if headers.get("transfer-encoding") == "chunked":
            end = self.buffer.find(b"0\r\n\r\n", start)
            if end < 0:
                return None
            body, end = _dechunk(self.buffer[start:end]), end + 5
        else:
            end = start + int(headers.get("content-length", "0"))
            if len(self.buffer) < end:
                return None
            body = self.buffer[start:end]
        self.buffer = self.buffer[end:]
        method, path, _ = first.split(" ", 2)
        return Received(method, path, headers, body)

    def _play_next(self) -> None:
        script = self.server.script_for(self.waiting.popleft())
        if len(script) == 1 and isinstance(script[0], Send):  # the fast way, so that benchmarks measure clients
            self.transport.write(script[0].data)
            if self.waiting:
                self._play_next()
            return
        self.task = asyncio.get_running_loop().create_task(self._play(script))

    async def _play(self, script: Script) -> None:
        for step in script:
            if isinstance(step, Send):
                self.transport.write(step.data)
                await asyncio.sleep(0)
            elif isinstance(step, Sleep):
                await asyncio.sleep(step.seconds)
            elif isinstance(step, Stall):
                await asyncio.Event().wait()
            else:
                self._end(step)
                return
        self.task = None
        if self.waiting:
            self._play_next()

    def _end(self, step: Step) -> None:
        if isinstance(step, Reset):
            sock = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()
        else:
            self.transport.close()


def _dechunk(data: bytes) -> bytes:
    body = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        body, data = body + data[:length], data[length + 2 :]
    return body


@dataclass
class ProviderServer:
    """The server; a context manager. ``received`` holds every request that was answered, in order."""

    handler: Handler = lambda _request: reply({"error": {"message": "nothing scripted"}}, 404)
    received: list[Received] = field(default_factory=list)
    queue: deque[Script] = field(default_factory=deque)
    connections: int = 0
    port: int = 0
    keep: bool = True

    def push(self, *scripts: Script) -> None:
        """The next requests get these scripts, one each."""
        self.queue.extend(scripts)

    def script_for(self, request: Received) -> Script:
        if self.keep:
            self.received.append(request)
        return self.queue.popleft() if self.queue else self.handler(request)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> ProviderServer:
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        assert ready.wait(10), "the scripted server did not start"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _run(self, ready: threading.Event) -> None:
        with asyncio.Runner() as runner:
            self._loop = runner.get_loop()
            runner.run(self._serve(ready))

    async def _serve(self, ready: threading.Event) -> None:
        self._stop = asyncio.Event()
        alive: set[_Connection] = set()

        def connect() -> _Connection:
            connection = _Connection(self)
            alive.add(connection)
            return connection

        server = await asyncio.get_running_loop().create_server(connect, "127.0.0.1", self.port, backlog=1024)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await self._stop.wait()
        server.close()
        for connection in alive:
            connection.transport.abort()
        await asyncio.sleep(0)


def closed_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _bench_handler(request: Received) -> Script:
    """The fixed Chat Completions answers that benchmarks ask for: one body, or 200 chunks."""
    return _BENCH_STREAM if b'"stream":true' in request.body.replace(b" ", b"") else _BENCH_REPLY


def _chat_chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({"id": "c", "model": "m", "choices": [choice]}).encode() + b"\n\n"


_MESSAGE = {"role": "assistant", "content": "A short answer of the local server."}
_BENCH_REPLY = reply(
    {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": _MESSAGE, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 7, "total_tokens": 16},
    }
)
_BENCH_STREAM = stream(
    [*(_chat_chunk({"content": f"word{i} "}) for i in range(199)), _chat_chunk({}, "stop"), b"data: [DONE]\n\n"]
)


if __name__ == "__main__":  # one line with the URL, then serves until stdin closes
    with ProviderServer(_bench_handler, keep=False) as bench:
        print(bench.url, flush=True)
        sys.stdin.read()
